"""The sums of the derivation for V networks: sums of products of vectors, lane by lane.

One kind of sum does for (0), (2) and (3): rows r and columns c of it are a tile of the registers,
and every term is R + C loads for R C multiply-adds.

    (0)  Z[k, i] = b[k] + sum_j W[j, k] A[j, i]      rows k, columns i
    (2)  P[j, i] = sum_k W[j, k] Delta[k, i]         rows j, columns i
    (3)  G[j, k] = sum_i A[j, i] Delta[k, i]         rows j, columns k

Terms are added in the order of `tiles`, so a lane's results have the same bits.
"""

from typing import NamedTuple

import numpy as np

from fastbackprop.jit.kernels import kernel
from fastbackprop.jit.tile import VECTOR_BYTES, store, vector_lanes, zeros
from fastbackprop.jit.vectors import add_products, repeated

STRIP = 8  # samples that go through the layers together
ROWS = 4 if VECTOR_BYTES == 64 else 2  # of a tile: 32 vector registers hold four, 16 hold two


class Sum(NamedTuple):
    """out[r, c] = start[r] + sum_t A[r, t] B[c, t], all of them vectors.

    Numbers are of elements from a row, column or term to the next.
    """

    A: np.ndarray
    B: np.ndarray
    out: np.ndarray
    a_row: int
    a_term: int
    b_column: int
    b_term: int
    out_row: int
    terms: int
    strips: int  # so many runs of terms follow each other,
    a_jump: int  # these far apart
    b_jump: int


def _tile(R, C, bias, few):
    """R rows of C columns.

    Sums begin with the `bias` of their row, or with 0; so `few` terms are known here, or 0.
    """

    @kernel(linked=True)
    def tile(q, a, b, out, start):
        if bias:
            acc = repeated(q.A, start, vector_lanes(q.A), R, C)
        else:
            acc = zeros(q.out, R, C)
        for s in range(q.strips):
            at_a, at_b = a + s * q.a_jump, b + s * q.b_jump
            for _ in range(few or q.terms):
                acc = add_products(acc, q.A, at_a, q.a_row, q.B, at_b, q.b_column)
                at_a += q.a_term
                at_b += q.b_term
        store(acc, q.out, out, q.out_row)

    return tile


def _row(R, bias, few):
    """R rows, all columns."""
    of_4, of_2, of_1 = (_tile(R, C, bias, few) for C in (4, 2, 1))

    @kernel(linked=True)
    def row(q, a, b, out, start, columns):
        V, c = vector_lanes(q.out), 0
        while c + 4 <= columns:
            of_4(q, a, b + c * q.b_column, out + c * V, start)
            c += 4
        if c + 2 <= columns:
            of_2(q, a, b + c * q.b_column, out + c * V, start)
            c += 2
        if c < columns:
            of_1(q, a, b + c * q.b_column, out + c * V, start)

    return row


def _sums(bias, few=0):
    """All rows and columns."""
    tall, pair, single = (_row(R, bias, few) for R in (ROWS, 2, 1))

    @kernel
    def sums(q, a, b, out, start, rows, columns):
        V, r = vector_lanes(q.out), 0
        while r + ROWS <= rows:
            tall(q, a + r * q.a_row, b, out + r * q.out_row, start + r * V, columns)
            r += ROWS
        if r + 2 <= rows:
            pair(q, a + r * q.a_row, b, out + r * q.out_row, start + r * V, columns)
            r += 2
        if r < rows:
            single(q, a + r * q.a_row, b, out + r * q.out_row, start + r * V, columns)

    return sums


sums_from_bias, sums_from_zero = _sums(True), _sums(False)
sums_over_samples = _sums(False, STRIP)
