"""The same equations on register tiles, a tile of rows of samples at a time.

Letters are those of the derivation. The three sums, over j in (0), over k in (2) and over the
samples i in (3), are one kind of product, a sum of outer products, with other things on the rows
and on the vector lanes:

    (0)  Z[i, k]   += A[i, j] W[j, k]          rows i, lanes k
    (2)  P^T[j, i] += W[j, k] Delta^T[k, i]    rows j, lanes i: Delta transposed, never W
    (3)  G[j, k]   += A[i, j] Delta[i, k]      rows j, lanes k

Every row in memory is padded with zeros to whole vectors, so no loop has a remainder.
"""

from typing import NamedTuple

import numpy as np

from fastbackprop.activations import activate, multiply_by_derivative
from fastbackprop.costs import cost_of_sample
from fastbackprop.engines._compile import inlined, kernel
from fastbackprop.engines._samples import (
    COST,
    MINIBATCH_COST,
    WEIGHT,
    Samples,
    end_minibatch,
    minibatch,
    target,
    weight,
)
from fastbackprop.engines._tile import (
    VECTOR_BYTES,
    load,
    outer_across,
    outer_along,
    store,
    transpose_block,
)
from fastbackprop.engines.loops import output_error
from fastbackprop.layout import Model, aligned_zeros

ROWS = 128  # samples of a row tile, at most
ROW = 4  # rows of every product come in fours
UNROLL = 4  # outer products of one `outer_along`
BLOCK = 128  # outer products before a tile goes back to memory: the lanes' factor stays in L1

# (vectors, rows) of a tile, widest first: as many accumulators as there are registers for.
SHAPES = ((4, 4), (2, 8), (1, 16)) if VECTOR_BYTES == 64 else ((2, 4), (1, 8))


class Matrix(NamedTuple):
    """A matrix in a flat array; stride 0 repeats a row."""

    array: np.ndarray
    offset: int
    stride: int


@inlined
def shifted(matrix, elements):
    """The same matrix from some elements on."""
    return Matrix(matrix.array, matrix.offset + elements, matrix.stride)


# --- the product ---------------------------------------------------------------------------------


def _along(R, C):
    """Z[r, c] = I[r, c] + sum_t S[r, t] W[t, c] for rows r of first ... last and C vectors c."""

    @kernel
    def panel(S, W, I, Z, depth, first, last):
        for r in range(first, last, R):
            acc = load(I.array, I.offset + r * I.stride, I.stride, R, C)
            s, w = S.offset + r * S.stride, W.offset
            for _ in range(0, depth, UNROLL):
                acc = outer_along(acc, S.array, s, S.stride, W.array, w, W.stride, UNROLL)
                s += UNROLL
                w += UNROLL * W.stride
            store(acc, Z.array, Z.offset + r * Z.stride, Z.stride)

    return panel


def _across(R, C):
    """Z[r, c] = I[r, c] + sum_t S[t, r] W[t, c] for rows r of first ... last and C vectors c."""

    @kernel
    def panel(S, W, I, Z, depth, first, last):
        for r in range(first, last, R):
            acc = load(I.array, I.offset + r * I.stride, I.stride, R, C)
            s, w = S.offset + r, W.offset
            for _ in range(depth):
                acc = outer_across(acc, S.array, s, W.array, w)
                s += S.stride
                w += W.stride
            store(acc, Z.array, Z.offset + r * Z.stride, Z.stride)

    return panel


def _product(panel):
    """A product for any number of rows (a multiple of ROW) and vectors, from panels of SHAPES."""

    @kernel
    def product(S, W, I, Z, depth, rows, vectors, V):
        pass

    for C, R in reversed(SHAPES):
        product = _panels(C, R, panel(R, C), panel(ROW, C), product)
    return product


def _panels(C, R, tall, short, narrower):
    """Panels of C vectors while they fit; the narrower product does what is left."""

    @kernel
    def product(S, W, I, Z, depth, rows, vectors, V):
        c, full = 0, rows // R * R
        while c + C <= vectors:
            W_c, I_c, Z_c = shifted(W, c * V), shifted(I, c * V), shifted(Z, c * V)
            tall(S, W_c, I_c, Z_c, depth, 0, full)
            short(S, W_c, I_c, Z_c, depth, full, rows)
            c += C
        if c < vectors:
            W_c, I_c, Z_c = shifted(W, c * V), shifted(I, c * V), shifted(Z, c * V)
            narrower(S, W_c, I_c, Z_c, depth, rows, vectors - c, V)

    return product


product_across = _product(_across)
_product_along = _product(_along)


@kernel
def product_along(S, W, I, Z, depth, rows, vectors, V):
    """Z[r, c] = I[r, c] + sum_t S[r, t] W[t, c], the sum over t in blocks."""
    for t in range(0, depth, BLOCK):
        S_t, W_t = shifted(S, t), shifted(W, t * W.stride)
        _product_along(S_t, W_t, I if t == 0 else Z, Z, min(BLOCK, depth - t), rows, vectors, V)


@kernel
def transpose(S, D, rows, columns, V):
    """D[c, r] = S[r, c]; rows and columns are whole vectors."""
    for r in range(0, rows, V):
        for c in range(0, columns, V):
            s, d = S.offset + r * S.stride + c, D.offset + c * D.stride + r
            transpose_block(S.array, s, S.stride, D.array, d, D.stride)


# --- where things are ----------------------------------------------------------------------------


class Work(NamedTuple):
    """Scratch for one row tile: z, a and delta of every layer, a matrix each, layer after layer."""

    z: np.ndarray  # (ROWS * sum of strides,)
    a: np.ndarray
    delta: np.ndarray
    delta_T: np.ndarray  # Delta^l transposed, (largest stride * ROWS,)
    P_T: np.ndarray  # Delta^{l+1} (W^{l+1})^T transposed
    zeros: np.ndarray  # a row of them
    y: np.ndarray  # (n_L,)
    no_order: np.ndarray  # (0,) int64: samples as they stand


@inlined
def neurons(model, array, l):
    """The matrix of layer l, (ROWS, stride of l)."""
    return Matrix(array, ROWS * model.layers[l]["start"], model.layers[l]["stride"])


@inlined
def weights(model, vector, l):
    """W^l, or its gradient, with padding."""
    return Matrix(vector, model.layers[l]["weight_start"], model.layers[l]["stride"])


@inlined
def biases(model, vector, l):
    """b^l, or its gradient, as a matrix of equal rows."""
    return Matrix(vector, model.layers[l]["bias_start"], 0)


@inlined
def part(matrix, rows):
    """The first rows of a matrix, flat."""
    return matrix.array[matrix.offset : matrix.offset + rows * matrix.stride]


@inlined
def row(matrix, i, n):
    """The first n elements of row i."""
    start = matrix.offset + i * matrix.stride
    return matrix.array[start : start + n]


@inlined
def up(n, unit):
    """n rounded up to a multiple of the unit."""
    return (n + unit - 1) // unit * unit


# --- the equations, for the n samples of a row tile ---------------------------------------------


@kernel
def weighted_input(A, W, b, Z, n, V):
    """(0)  z^l_ik = sum_j a^{l-1}_ij w^l_jk + b^l_k

    A (n, n_{l-1}), W (n_{l-1}, n_l), b repeated in every row -> Z (n, n_l).
    """
    product_along(A, W, b, Z, A.stride, up(n, ROW), Z.stride // V, V)


@kernel
def hidden_error(sigma, W_next, Delta_next, Z, A, Delta, n, work, V):
    """(2)  delta^l_ij = sigma_l'(z^l_ij) sum_k delta^{l+1}_ik w^{l+1}_jk

    W_next (n_l, n_{l+1}), Delta_next (n, n_{l+1}), Z, A (n, n_l) -> Delta (n, n_l).
    """
    n_V, zeros = up(n, V), Matrix(work.zeros, 0, 0)
    Delta_T, P_T = Matrix(work.delta_T, 0, n_V), Matrix(work.P_T, 0, n_V)
    transpose(Delta_next, Delta_T, n_V, Delta_next.stride, V)
    product_along(W_next, Delta_T, zeros, P_T, W_next.stride, Delta.stride, n_V // V, V)
    transpose(P_T, Delta, Delta.stride, n_V, V)
    multiply_by_derivative(sigma, part(Z, n), part(A, n), part(Delta, n))


@kernel
def weight_gradient(A, Delta, before, G, n, n_in, V):
    """(3)  dC/dw^l_kj = sum_i a^{l-1}_ik delta^l_ij, added to what was before

    A (n, n_in), Delta (n, n_l), before (n_in, n_l): zeros, or G itself -> G (n_in, n_l).
    """
    product_across(A, Delta, before, G, n, up(n_in, ROW), G.stride // V, V)


@kernel
def bias_gradient(Delta, n, g):
    """(4)  dC/db^l_j = sum_i delta^l_ij, added to g (n_l,)."""
    for i in range(n):
        delta = row(Delta, i, g.shape[0])
        for j in range(g.shape[0]):
            g[j] += delta[j]


# --- a row tile ----------------------------------------------------------------------------------


@kernel
def gather(model, X, order, first, n, work):
    """a^0: the rows order[first:first + n] of X; an empty order leaves them as they stand."""
    A_0 = neurons(model, work.a, 0)
    for i in range(n):
        x = X[order[first + i]] if order.shape[0] > 0 else X[first + i]
        a = row(A_0, i, x.shape[0])
        for j in range(x.shape[0]):
            a[j] = x[j]


@kernel
def forward(model, theta, n, work, V):
    """(0) and a^l = sigma_l(z^l) for n samples through all layers."""
    for l in range(1, model.layers.shape[0]):
        A, Z = neurons(model, work.a, l - 1), neurons(model, work.z, l)
        W, b = weights(model, theta, l), biases(model, theta, l)
        weighted_input(A, W, b, Z, n, V)
        width, A_l = model.layers[l]["width"], neurons(model, work.a, l)
        if l == model.layers.shape[0] - 1:
            for i in range(n):
                activate(model.layers[l]["sigma"], row(Z, i, width), row(A_l, i, width))
        else:
            activate(model.layers[l]["sigma"], part(Z, n), part(A_l, n))
            for i in range(n):  # sigma(0) need not be 0
                for k in range(width, A_l.stride):
                    A_l.array[A_l.offset + i * A_l.stride + k] = 0


@kernel
def cost_of_tile(model, samples, order, first, n, work):
    """sum_i s_i C_i of the samples in work."""
    L = model.layers.shape[0] - 1
    width = model.layers[L]["width"]
    Z, A = neurons(model, work.z, L), neurons(model, work.a, L)
    cost = 0.0
    for i in range(n):
        sample = order[first + i] if order.shape[0] > 0 else first + i
        target(samples, sample, work.y)
        C = cost_of_sample(model.cost, row(Z, i, width), row(A, i, width), work.y)
        cost += weight(samples, sample) * C
    return cost


@kernel
def error_of_tile(model, samples, order, first, n, total, work, V):
    """(1) for the samples in work, times s_i / total; zeros for the rows up to whole vectors."""
    L = model.layers.shape[0] - 1
    width, sigma = model.layers[L]["width"], model.layers[L]["sigma"]
    Z, A = neurons(model, work.z, L), neurons(model, work.a, L)
    Delta = neurons(model, work.delta, L)
    for i in range(n):
        sample = order[first + i] if order.shape[0] > 0 else first + i
        target(samples, sample, work.y)
        delta = row(Delta, i, width)
        output_error(sigma, model.cost, row(Z, i, width), row(A, i, width), work.y, delta)
        factor = delta.dtype.type(weight(samples, sample) / total)
        for j in range(width):
            delta[j] *= factor
    for i in range(n, up(n, V)):
        row(Delta, i, width)[:] = 0


@kernel
def backward(model, theta, n, gradient, fresh, work, V):
    """(3), (4) and (2) for n samples; gradient is filled if `fresh`, else added to."""
    for l in range(model.layers.shape[0] - 1, 0, -1):
        A, Delta = neurons(model, work.a, l - 1), neurons(model, work.delta, l)
        G, g = weights(model, gradient, l), row(biases(model, gradient, l), 0, Delta.stride)
        before = Matrix(work.zeros, 0, 0) if fresh else G
        if fresh:
            g[:] = 0
        weight_gradient(A, Delta, before, G, n, model.layers[l - 1]["width"], V)
        bias_gradient(Delta, n, g)
        if l > 1:
            W, sigma = weights(model, theta, l), model.layers[l - 1]["sigma"]
            Z, Delta_l = neurons(model, work.z, l - 1), neurons(model, work.delta, l - 1)
            hidden_error(sigma, W, Delta, Z, A, Delta_l, n, work, V)


# --- the engine contract -------------------------------------------------------------------------


def stride(width: int, dtype: np.dtype) -> int:
    """Rows are padded to whole vectors and whole ROWs; never to a multiple of 2 KiB.

    At such strides the rows of a column would all fall into the same few sets of the cache.
    """
    itemsize = np.dtype(dtype).itemsize
    unit = max(VECTOR_BYTES // itemsize, ROW)
    padded = -(-width // unit) * unit
    return padded + unit if padded * itemsize % 2048 == 0 else padded


def row_tile(model: Model) -> int:
    """Samples that are in the cache together."""
    return ROWS


def workspace(model: Model, dtype: np.dtype) -> Work:
    """Scratch that depends on the network alone."""
    strides = model.layers["stride"]
    per_sample, widest = int(strides.sum()), int(strides.max())
    z, a, delta = (aligned_zeros(ROWS * per_sample, dtype) for _ in range(3))
    delta_T, P_T = (aligned_zeros(ROWS * widest, dtype) for _ in range(2))
    y = np.zeros(model.layers["width"][-1], dtype)
    zeros, no_order = aligned_zeros(max(widest, ROWS), dtype), np.zeros(0, np.int64)
    return Work(z, a, delta, delta_T, P_T, zeros, y, no_order)


@inlined
def vector_lanes(array):
    """V of an array's dtype."""
    return VECTOR_BYTES // array.itemsize


@kernel(cached=True)
def predict(model, theta, X, out, work, start, stop):
    """out[i] = a^L of X[i]."""
    L = model.layers.shape[0] - 1
    for first in range(start, stop, ROWS):
        n = min(ROWS, stop - first)
        gather(model, X, work.no_order, first, n, work)
        forward(model, theta, n, work, vector_lanes(theta))
        A = neurons(model, work.a, L)
        for i in range(n):
            a = row(A, i, out.shape[1])
            for k in range(out.shape[1]):
                out[first + i, k] = a[k]


@kernel(cached=True)
def cost_sum(model, theta, samples, sums, work, start, stop):
    """Add sum_i s_i C_i and sum_i s_i to sums."""
    for first in range(start, stop, ROWS):
        n = min(ROWS, stop - first)
        gather(model, samples.X, work.no_order, first, n, work)
        forward(model, theta, n, work, vector_lanes(theta))
        sums[COST] += cost_of_tile(model, samples, work.no_order, first, n, work)
        for i in range(first, first + n):
            sums[WEIGHT] += weight(samples, i)


@inlined
def forward_and_back(model, theta, samples, order, first, n, total, gradient, fresh, work):
    """A row tile through all layers and back, into the gradient; returns its sum_i s_i C_i."""
    V = vector_lanes(theta)
    gather(model, samples.X, order, first, n, work)
    forward(model, theta, n, work, V)
    error_of_tile(model, samples, order, first, n, total, work, V)
    backward(model, theta, n, gradient, fresh, work, V)
    return cost_of_tile(model, samples, order, first, n, work)


@kernel(cached=True)
def gradient_sums(model, theta, samples, total, gradient, sums, work, start, stop):
    """Add also sum_i s_i / total dC_i/dtheta to gradient."""
    for first in range(start, stop, ROWS):
        n = min(ROWS, stop - first)
        sums[COST] += forward_and_back(
            model, theta, samples, work.no_order, first, n, total, gradient, False, work
        )
        for i in range(first, first + n):
            sums[WEIGHT] += weight(samples, i)


@kernel(cached=True)
def train(model, theta, samples, order, batch_size, update, sums, work, start, stop):
    """Minibatch steps over order[start:stop]; a minibatch may be spread over several calls."""
    place = start
    while place < stop:
        first, last, sum_of_weights = minibatch(samples, order, batch_size, place)
        end, total = min(last, stop), sum_of_weights if sum_of_weights > 0 else 1.0
        if place == first:
            sums[MINIBATCH_COST] = 0
        for tile in range(place, end, ROWS):
            n, fresh = min(ROWS, end - tile), tile == first
            sums[MINIBATCH_COST] += forward_and_back(
                model, theta, samples, order, tile, n, total, update.g, fresh, work
            )
        if end == last and not end_minibatch(theta, update, sums, sum_of_weights):
            return first
        place = end
    return stop


def activations(model: Model, theta: np.ndarray, X: np.ndarray) -> list[np.ndarray]:
    """a^0 ... a^L, (n_samples, n_l) each."""
    work, arrays = workspace(model, theta.dtype), _by_layer(model, len(X), theta.dtype)
    out = np.empty((len(X), model.layers["width"][-1]), theta.dtype)
    for start in range(0, len(X), ROWS):
        stop = min(start + ROWS, len(X))
        predict(model, theta, X, out, work, start, stop)
        _keep(model, work.a, arrays, start, stop)
    return arrays


def trace(
    model: Model,
    theta: np.ndarray,
    samples: Samples,
    total: float,
    gradient: np.ndarray,
    sums: np.ndarray,
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """What `gradient_sums` does, and z, a, delta of every sample by layer."""
    n, work = len(samples.X), workspace(model, theta.dtype)
    z, a, delta = (_by_layer(model, n, theta.dtype) for _ in range(3))
    for start in range(0, n, ROWS):
        stop = min(start + ROWS, n)
        gradient_sums(model, theta, samples, total, gradient, sums, work, start, stop)
        for array, kept in ((work.z, z), (work.a, a), (work.delta, delta)):
            _keep(model, array, kept, start, stop)
    return z[1:], a, delta[1:]


def _by_layer(model: Model, n: int, dtype: np.dtype) -> list[np.ndarray]:
    return [np.empty((n, width), dtype) for width in model.layers["width"]]


def _keep(model: Model, array: np.ndarray, kept: list[np.ndarray], start: int, stop: int) -> None:
    """Copy a row tile out of the scratch memory."""
    for layer, of_layer in zip(model.layers, kept, strict=True):
        offset, stride = ROWS * layer["start"], layer["stride"]
        rows = array[offset : offset + ROWS * stride].reshape(ROWS, stride)
        of_layer[start:stop] = rows[: stop - start, : layer["width"]]
