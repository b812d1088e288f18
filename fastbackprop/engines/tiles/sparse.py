"""Equations (0) and (3) of the tiles engine for a sparse X.

Only the non-zeros x_ij are looked at: a row of Z' in (0) is a sum of rows of W, and x_ij adds to a
row of G in (3). Both have neurons on the lanes, and every sum the order of X.
"""

import functools
from typing import Any, NamedTuple

import numba
import numpy as np

from fastbackprop.engines.dropout import input_after_dropout, key_of_input
from fastbackprop.engines.noise import SILENCE
from fastbackprop.engines.tiles.product import Matrix, Owned, Strips, strip, up
from fastbackprop.engines.tiles.task import (
    ROWS,
    OfSparse,
    RowTile,
    biases,
    sample,
    task_type,
    weights,
)
from fastbackprop.jit.call import address
from fastbackprop.jit.kernels import inlined, kernel
from fastbackprop.jit.tile import load, plus, scaled, store, transpose_block, vector_lanes
from fastbackprop.samples import Samples


class Inputs(NamedTuple):
    """The inputs of sample i, before their dropout."""

    layer: Any  # the record of layer 0
    samples: Samples
    i: int
    key: int  # of the dropout


def _sum_of_rows(C):
    """z_k = b_k + sum_j x_j w_jk for one sample and C vectors of neurons from k on."""

    @kernel(linked=True)
    def sums(x_i, W, b, Z_rows, z, k):
        samples, acc = x_i.samples, load(b.array, b.offset + k, 0, 1, C)
        for p in range(samples.spans[x_i.i, 0], samples.spans[x_i.i, 1]):
            j = samples.columns[p]
            x = input_after_dropout(x_i.layer, x_i.key, j, samples.values[p])
            acc = plus(acc, scaled(load(W.array, W.offset + j * W.stride + k, 0, 1, C), x))
        store(acc, Z_rows.array, z + k, 0)

    return sums


sum_of_rows_1, sum_of_rows_2, sum_of_rows_4, sum_of_rows_8 = map(_sum_of_rows, (1, 2, 4, 8))


@kernel
def _sparse_weighted_input(task, tile, noise, Z, Z_rows, own):
    """(0) for layer 1: z^1_ik = sum_j x_ij w^1_jk + b^1_k, over the j where x_ij is not zero.

    Z_rows are scratch; lanes behind the last sample repeat it.
    """
    layer, samples = task.model.layers[0], task.samples
    W, b = weights(task.model, task.theta, 1), biases(task.model, task.theta, 1)
    V, lanes, n_l = vector_lanes(Z.array), own.lanes, task.model.layers[1]["width"]
    width = up(n_l, V)
    for s in range(own.first, own.last):
        for i in range(s * lanes, (s + 1) * lanes):
            z, k = Z_rows.offset + i * Z_rows.stride, 0
            if i >= tile.n:
                for k in range(0, n_l, V):
                    store(
                        load(Z_rows.array, z - Z_rows.stride + k, 0, 1, 1), Z_rows.array, z + k, 0
                    )
                continue
            x_i = Inputs(layer, samples, sample(task, tile, i), key_of_input(noise, i))
            while k + 8 * V <= width:
                sum_of_rows_8(x_i, W, b, Z_rows, z, k)
                k += 8 * V
            if k + 4 * V <= width:
                sum_of_rows_4(x_i, W, b, Z_rows, z, k)
                k += 4 * V
            if k + 2 * V <= width:
                sum_of_rows_2(x_i, W, b, Z_rows, z, k)
                k += 2 * V
            if k < width:
                sum_of_rows_1(x_i, W, b, Z_rows, z, k)
        for k in range(0, n_l, V):
            for i in range(0, lanes, V):
                source = Z_rows.offset + (s * lanes + i) * Z_rows.stride + k
                target = strip(Z, s) + k * lanes + i
                transpose_block(Z_rows.array, source, Z_rows.stride, Z.array, target, lanes)


@kernel
def _errors_as_rows(Delta, Delta_rows, n_l, own):
    """Delta' in rows as long as those of W, for the samples of the strips of this thread."""
    V = vector_lanes(Delta.array)
    for s in range(own.first, own.last):
        for k in range(0, n_l, V):
            for i in range(0, Delta.lanes, V):
                source = strip(Delta, s) + k * Delta.lanes + i
                target = Delta_rows.offset + (s * Delta.lanes + i) * Delta_rows.stride + k
                transpose_block(
                    Delta.array, source, Delta.lanes, Delta_rows.array, target, Delta_rows.stride
                )


def _add_row(C):
    """g_k += x delta_k for C vectors."""

    @inlined
    def add(G, g, D, d, x):
        total = plus(load(G, g, 0, 1, C), scaled(load(D, d, 0, 1, C), x))
        store(total, G, g, 0)

    return add


add_row_1, add_row_2, add_row_4 = map(_add_row, (1, 2, 4))


@kernel
def _sparse_weight_gradient(task, tile, noise, Delta_rows, G, factor, first, last):
    """(3) for layer 1: factor sum_i x_ij delta^1_ik added to rows j of first ... last.

    The tile may be longer than ROWS: whatever Delta_rows are of.
    """
    layer, samples, V = task.model.layers[0], task.samples, vector_lanes(G.array)
    width = up(task.model.layers[1]["width"], V)
    for i in range(tile.n):
        row, key = sample(task, tile, i), key_of_input(noise, i)
        for p in range(samples.spans[row, 0], samples.spans[row, 1]):
            j = samples.columns[p]
            if first <= j < last:
                x = factor * input_after_dropout(layer, key, j, samples.values[p])
                g, d = G.offset + j * G.stride, Delta_rows.offset + i * Delta_rows.stride
                k = 0
                while k + 4 * V <= width:
                    add_row_4(G.array, g + k, Delta_rows.array, d + k, x)
                    k += 4 * V
                if k + 2 * V <= width:
                    add_row_2(G.array, g + k, Delta_rows.array, d + k, x)
                    k += 2 * V
                if k < width:
                    add_row_1(G.array, g + k, Delta_rows.array, d + k, x)


@inlined
def errors_of_layer_1(task):
    """Where `_errors_as_rows` may leave those of a row tile: in place of Z, which is done with."""
    layer = task.model.layers[1]
    return Matrix(task.work.z, ROWS * layer["start"], layer["stride"])


@functools.cache
def of_sparse(dtype: np.dtype) -> OfSparse:
    """Compiled, or read from the disk, here."""
    vector, task = np.zeros(1, dtype), task_type(dtype)
    a_tile, a_matrix = RowTile(0, 0), Matrix(vector, 0, 0)
    some_strips, some_owned = Strips(vector, 0, 0, 0), Owned(0, 0, 0)
    values = a_tile, SILENCE, a_matrix, some_strips, some_owned
    tile, noise, matrix, strips, own = map(numba.typeof, values)
    number, integer = numba.from_dtype(dtype), numba.intp
    to_rows = tile, noise, strips, matrix, own
    to_gradient = tile, noise, matrix, matrix, number, integer, integer
    return OfSparse(
        address(_sparse_weighted_input, task, *to_rows),
        address(_errors_as_rows, strips, matrix, integer, own),
        address(_sparse_weight_gradient, task, *to_gradient),
    )
