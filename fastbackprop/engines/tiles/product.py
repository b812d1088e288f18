"""The products of the tiles engine: sums of outer products of a column and a row of vectors.

    product_across         Z[r, c] = b[r] + sum_t S[t, r] M[t, c]        (0)
    product_along          Z[r, c] = b[r] + sum_t S[r, t] M[t, c]        (2)
    sums_over_samples      G[r, c] = sum_i A[r, i] D[i, c], or added     (3)
    column_sums_C          g[c] = sum_i D[i, c], or added                (4), for C vectors c

Every sum stays in the registers from its first term to its last. Rows come in multiples of
ROW_UNIT and vectors are whole: no loop has a remainder. Rows of strips and panels are a known
number of vectors apart, so the innermost loops compute sums and no addresses.
"""

from typing import NamedTuple

import numpy as np

from fastbackprop.jit.kernels import EXACT, inlined, kernel
from fastbackprop.jit.tile import (
    VECTOR_BYTES,
    folded,
    load,
    outer_across,
    outer_along,
    plus,
    prefetch,
    prefetch_tile,
    scaled,
    spread,
    store,
    vector_lanes,
    zeros,
)

ROW_UNIT = 4  # rows of every product come in fours
UNROLL = 2  # outer products of one `outer_along`
FAR = (1 << 20) // VECTOR_BYTES  # vectors that the second cache does not hold
BLOCK = 128  # rows of a gradient that meet all columns before the next: their A stays in the cache

# Rows of a tile of one and of two vectors: as many accumulators as hide the latency of a sum.
TALL = (16, 8) if VECTOR_BYTES == 64 else (8, 4)


@inlined
def up(n, unit):
    """n rounded up to a multiple of the unit."""
    return (n + unit - 1) // unit * unit


class Strips(NamedTuple):
    """Matrices (height, lanes) in a flat array, one behind the other."""

    array: np.ndarray
    offset: int
    height: int
    lanes: int


@inlined
def strip(M, s):
    """Where strip s begins."""
    return M.offset + s * M.height * M.lanes


class Owned(NamedTuple):
    """The strips of a row tile that a thread takes through the layers."""

    lanes: int  # V or 2 V
    first: int
    last: int


class Matrix(NamedTuple):
    """Rows of a flat array, so many elements apart; 0 repeats a row."""

    array: np.ndarray
    offset: int
    stride: int


class Into(NamedTuple):
    """Where a sum goes: times the factor, it is added to G, or takes its place if `fresh`."""

    G: Matrix
    fresh: bool
    factor: float  # of G's dtype; 1 where `fresh`


class Panels(NamedTuple):
    """A matrix (height, width) in panels of two vectors of columns, or one at last, in a row."""

    array: np.ndarray
    offset: int
    height: int
    width: int


@inlined
def panel(M, c):
    """The panel with column c."""
    pair = 2 * vector_lanes(M.array)
    c = c // pair * pair
    return Matrix(M.array, M.offset + c * M.height, min(pair, M.width - c))


def _across(R, C, far=False):
    """Z[r, c] = b[r] + sum_t S[t, r] M[t, c] for R rows r of strip s.

    Every S[t, r] is on another page. Where all of them are `far`, those of the next rows r are
    asked for meanwhile; it takes time where they are not.
    """

    @kernel(linked=True)
    def tile(S, b, M, Z, depth, r, s):
        lanes = C * vector_lanes(M.array)
        acc = spread(b.array, b.offset + r * b.stride, R, C)
        at, m = S.offset + r, strip(M, s)
        for _ in range(depth):
            acc = outer_across(acc, S.array, at, M.array, m)
            if far:
                prefetch(S.array, at + R)
            at += S.stride
            m += lanes
        store(acc, Z.array, strip(Z, s) + r * lanes, lanes)

    return tile


def _along(R, C):
    """Z[r, c] = b[r] + sum_t S[r, t] M[t, c] for R rows r of strip s; depth in UNROLLs."""

    @kernel(linked=True)
    def tile(S, b, M, Z, depth, r, s):
        lanes = C * vector_lanes(M.array)
        acc = spread(b.array, b.offset + r * b.stride, R, C)
        at, m = S.offset + r * S.stride, strip(M, s)
        for _ in range(0, depth, UNROLL):
            acc = outer_along(acc, S.array, at, S.stride, M.array, m, lanes, UNROLL)
            at += UNROLL
            m += UNROLL * lanes
        store(acc, Z.array, strip(Z, s) + r * lanes, lanes)

    return tile


def _product(tile, far=None):
    """The sums of all rows (a multiple of ROW_UNIT) in the strips a thread owns.

    A group of rows of S meets all strips before the next: it is read from far away once.
    """
    tall_1, tall_2 = tile(TALL[0], 1), tile(TALL[1], 2)
    short_1, short_2 = tile(ROW_UNIT, 1), tile(ROW_UNIT, 2)
    far_2 = far or tall_2

    @kernel
    def product(S, b, M, Z, depth, rows, own):
        r = 0
        if own.lanes == vector_lanes(M.array):
            while r + TALL[0] <= rows:
                for s in range(own.first, own.last):
                    tall_1(S, b, M, Z, depth, r, s)
                r += TALL[0]
            while r < rows:
                for s in range(own.first, own.last):
                    short_1(S, b, M, Z, depth, r, s)
                r += ROW_UNIT
        else:
            is_far = depth * rows > FAR * vector_lanes(M.array)
            while r + TALL[1] <= rows:
                for s in range(own.first, own.last):
                    if is_far:
                        far_2(S, b, M, Z, depth, r, s)
                    else:
                        tall_2(S, b, M, Z, depth, r, s)
                r += TALL[1]
            while r < rows:
                for s in range(own.first, own.last):
                    short_2(S, b, M, Z, depth, r, s)
                r += ROW_UNIT

    return product


product_across, product_along = _product(_across, _across(TALL[1], 2, far=True)), _product(_along)


def _over_strips(R, C, Q):
    """G[r, c] = G[r, c] + factor sum_i A[r, i] D[i, c], or the sum if `fresh`, for R rows r.

    The sum over i is over all strips of A, of Q vectors. With factor 1 it adds a gradient, with
    minus the learning rate it is the step of plain SGD, whose gradient is then never in memory.
    """

    @kernel(linked=True)
    def tile(A, D, into, depth, r):
        G, fresh, factor = into.G, into.fresh, into.factor
        V, g = vector_lanes(G.array), G.offset + r * G.stride
        lanes, width = Q * V, C * V
        if not fresh:
            prefetch_tile(G.array, g, G.stride, R, C)
        acc = zeros(G.array, R, C)
        a, d = A.offset + r * lanes, D.offset
        while depth > 0:
            for i in range(0, min(lanes, depth), UNROLL):
                acc = outer_along(acc, A.array, a + i, lanes, D.array, d, width, UNROLL)
                d += UNROLL * width
            a += A.height * lanes
            depth -= lanes
        if not fresh:
            acc = plus(load(G.array, g, G.stride, R, C), scaled(acc, factor))
        store(acc, G.array, g, G.stride)

    return tile


def _rows_of_panel(R, C, Q):
    """The same for rows first ... last (a multiple of ROW_UNIT)."""
    tall, short = _over_strips(R, C, Q), _over_strips(ROW_UNIT, C, Q)

    @kernel(linked=True)
    def rows(A, D, into, depth, first, last):
        r = first
        while r + R <= last:
            tall(A, D, into, depth, r)
            r += R
        while r < last:
            short(A, D, into, depth, r)
            r += ROW_UNIT

    return rows


narrow_1, narrow_2 = _rows_of_panel(TALL[0], 1, 1), _rows_of_panel(TALL[0], 1, 2)
wide_1, wide_2 = _rows_of_panel(TALL[1], 2, 1), _rows_of_panel(TALL[1], 2, 2)


@kernel
def sums_over_samples(A, Delta_rows, into, depth, n, first, last):
    """The same for all n columns."""
    G, V = into.G, vector_lanes(into.G.array)
    for top in range(first, last, BLOCK):
        bottom = min(top + BLOCK, last)
        for c in range(0, n, 2 * V):
            D, G_c = panel(Delta_rows, c), Matrix(G.array, G.offset + c, G.stride)
            into_c = Into(G_c, into.fresh, into.factor)
            if D.stride == V:
                if A.lanes == V:
                    narrow_1(A, D, into_c, depth, top, bottom)
                else:
                    narrow_2(A, D, into_c, depth, top, bottom)
            elif A.lanes == V:
                wide_1(A, D, into_c, depth, top, bottom)
            else:
                wide_2(A, D, into_c, depth, top, bottom)


def _column_sums(C):
    """g[c] (+)= sum_i D[i, c], for C vectors c."""

    @kernel(fastmath=EXACT)
    def sums(D, g, fresh, depth):
        acc = zeros(D.array, ROW_UNIT, C)
        for i in range(0, depth, ROW_UNIT):
            acc = plus(load(D.array, D.offset + i * D.stride, D.stride, ROW_UNIT, C), acc)
        total = folded(acc)
        store(
            total if fresh else plus(load(g.array, g.offset, 0, 1, C), total), g.array, g.offset, 0
        )

    return sums


column_sums_1, column_sums_2 = _column_sums(1), _column_sums(2)
