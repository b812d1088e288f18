"""A row tile of samples, forward through all layers and back: its strips, thread by thread."""

from typing import NamedTuple

import numpy as np

from fastbackprop.engines.dropout import drop_out, perturb_input
from fastbackprop.engines.functions import activate, cost_of_samples
from fastbackprop.engines.functions.columns import scale
from fastbackprop.engines.minibatch import is_sparse, weight
from fastbackprop.engines.noise import Noise
from fastbackprop.engines.tiles.equations import hidden_error, output_error, weighted_input
from fastbackprop.engines.tiles.product import (
    ROW_UNIT,
    UNROLL,
    Matrix,
    Owned,
    Strips,
    panel,
    product_along,
    strip,
    up,
)
from fastbackprop.engines.tiles.task import (
    biases,
    clear,
    flat,
    lanes_of,
    layer_of,
    neurons,
    panels,
    sample,
    weights,
)
from fastbackprop.jit.call import call
from fastbackprop.jit.kernels import EXACT, ROUNDED, inlined, kernel
from fastbackprop.jit.team import share
from fastbackprop.jit.tile import gather_block, transpose_block, vector_lanes, view


@kernel
def gather(task, tile, own):
    """a^0 of the samples; lanes behind the last repeat it, so they are as finite as the rest."""
    model, work, X = task.model, task.work, task.samples.X
    n_0, lanes, V = model.layers[0]["width"], own.lanes, vector_lanes(work.a)
    A = neurons(model, work.a, 0, lanes)
    for s in range(own.first, own.last):
        for i in range(0, lanes, V):
            rows = view(work.rows, s * lanes + i, V)
            for j in range(0, n_0, V):
                a = strip(A, s) + j * lanes + i
                gather_block(X, j, n_0, rows, min(V, n_0 - j), A.array, a, lanes)
        clear(A, s, up(n_0, V), up(n_0, ROW_UNIT))


class Outputs(NamedTuple):
    """Layer L of a strip of samples: arrays of n_L rows of `lanes`."""

    z: np.ndarray
    a: np.ndarray
    delta: np.ndarray
    y: np.ndarray


@inlined
def outputs(model, work, s, lanes):
    """Layer L in strip s."""
    L = model.layers.shape[0] - 1
    n = model.layers[L]["width"]
    return Outputs(
        flat(neurons(model, work.z, L, lanes), s, n),
        flat(neurons(model, work.a, L, lanes), s, n),
        flat(neurons(model, work.delta, L, lanes), s, n),
        flat(Strips(work.y, 0, model.layers[L]["stride"], lanes), s, n),
    )


@inlined
def of_strip(noise, s, lanes):
    """Where the random numbers of strip s belong."""
    return Noise(noise.seed, noise.step, noise.row + s * lanes)


@kernel
def forward(task, tile, noise, own):
    """a^0, (0) and a^l = sigma_l(z^l) through all layers; in training, dropout of both."""
    model, theta, work = task.model, task.theta, task.work
    lanes, sparse = own.lanes, is_sparse(task.samples)
    for i in range(own.first * lanes, own.last * lanes):
        work.rows[i] = sample(task, tile, i)
    if not sparse:
        gather(task, tile, own)
        for s in range(own.first, own.last):
            a, keys = neurons(model, work.a, 0, lanes), lanes_of(work.keys, s, lanes)
            a_0 = flat(a, s, model.layers[0]["width"])
            perturb_input(model.layers[0], of_strip(noise, s, lanes), keys, a_0)
    for l in range(1, model.layers.shape[0]):
        A, Z = neurons(model, work.a, l - 1, lanes), neurons(model, work.z, l, lanes)
        W, b = weights(model, theta, l), biases(model, theta, l)
        n_l, sigma = model.layers[l]["width"], model.layers[l]
        if l == 1 and sparse:
            Z_rows = Matrix(work.delta, Z.offset, Z.height)
            call(work.of_sparse.weighted_input, (task, tile, noise, Z, Z_rows, own))
        else:
            weighted_input(W, b, A, Z, model.layers[l - 1]["width"], n_l, own)
        A_l, Delta = neurons(model, work.a, l, lanes), neurons(model, work.delta, l, lanes)
        for s in range(own.first, own.last):
            a = flat(A_l, s, n_l)
            activate(sigma, flat(Z, s, n_l), a, flat(Delta, s, n_l), lanes)
            drop_out(sigma, l, of_strip(noise, s, lanes), lanes_of(work.keys, s, lanes), a)
            clear(A_l, s, n_l, up(n_l, ROW_UNIT))


@kernel
def targets(task, y, s, lanes):
    """y of the samples of strip s, one-hot where there are labels."""
    rows, labels, Y = lanes_of(task.work.rows, s, lanes), task.samples.labels, task.samples.Y
    if labels.shape[0] > 0:
        y[:] = 0
        for i in range(lanes):
            y[labels[rows[i]] * lanes + i] = 1
    else:
        for i in range(lanes):
            for j in range(Y.shape[1]):
                y[j * lanes + i] = Y[rows[i], j]


@kernel(fastmath=ROUNDED)
def costs(task, tile, own):
    """sum_i s_i C_i of each vector of samples, one after the other, in work.costs."""
    model, work, lanes, V = task.model, task.work, own.lanes, vector_lanes(task.theta)
    for s in range(own.first, own.last):
        z, a, delta, y = outputs(model, work, s, lanes)
        targets(task, y, s, lanes)
        cost_of_samples(model.cost, z, a, y, delta, lanes_of(work.C, s, lanes), lanes)
        for v in range(0, lanes, V):  # by vectors: strips may differ with the number of threads
            cost = 0.0
            for i in range(s * lanes + v, min(s * lanes + v + V, tile.n)):
                cost += weight(task.samples, work.rows[i]) * work.C[i]
            work.costs[(s * lanes + v) // V] = cost


@inlined
def factors(task, tile, total, s, lanes):
    """s_i / total of the samples of strip s, (lanes,); zeros behind the last sample."""
    factor, weights = lanes_of(task.work.factor, s, lanes), task.samples.s
    factor[:] = 1 / total
    if weights.shape[0] > 0:
        rows = lanes_of(task.work.rows, s, lanes)
        for i in range(lanes):
            factor[i] = weights[rows[i]] / total
    for i in range(max(0, tile.n - s * lanes), lanes):
        factor[i] = 0
    return factor


@kernel
def output_errors(task, tile, total, own):
    """(1) times s_i / total, for the strips whose costs are known; zeros behind the last sample."""
    model, lanes = task.model, own.lanes
    for s in range(own.first, own.last):
        z, a, delta, y = outputs(model, task.work, s, lanes)
        output_error(model.layers[model.layers.shape[0] - 1], model.cost, z, a, y, delta, lanes)
        scale(delta, lanes, factors(task, tile, total, s, lanes))


@kernel
def neurons_on_lanes(Delta, Delta_rows, n_l, own):
    """Delta' from the strips of Delta."""
    V = vector_lanes(Delta.array)
    for k in range(0, n_l, V):
        D = panel(Delta_rows, k)
        for s in range(own.first, own.last):
            for i in range(0, Delta.lanes, V):
                source = strip(Delta, s) + k * Delta.lanes + i
                target = D.offset + (s * Delta.lanes + i) * D.stride + k % (2 * V)
                transpose_block(Delta.array, source, Delta.lanes, D.array, target, D.stride)


@inlined
def put_on_lanes(model, l, work, own):
    """Delta' of layer l, when the padding is zero."""
    Delta, n_l = neurons(model, work.delta, l, own.lanes), model.layers[l]["width"]
    for s in range(own.first, own.last):
        clear(Delta, s, n_l, up(n_l, max(vector_lanes(work.delta), UNROLL)))
    neurons_on_lanes(Delta, panels(model, work.delta_rows, l), n_l, own)


@kernel
def hidden_errors(task, noise, own):
    """(2) down to layer 1, and Delta' of every layer."""
    model, theta, work, lanes = task.model, task.theta, task.work, own.lanes
    for l in range(model.layers.shape[0] - 1, 0, -1):
        put_on_lanes(model, l, work, own)
        if l > 1:
            sigma = model.layers[l - 1]
            n, W = sigma["width"], weights(model, theta, l)
            none, Delta = Matrix(work.zeros, 0, 0), neurons(model, work.delta, l, lanes)
            here = layer_of(model, work, l - 1, lanes)
            Z, A, Delta_l = here.Z, here.A, here.Delta
            if sigma["drop"] > 0:
                for s in range(own.first, own.last):  # a as it was
                    activate(sigma, flat(Z, s, n), flat(A, s, n), flat(Delta_l, s, n), lanes)
            hidden_error(sigma, model.layers[l], W, Delta, here, none, own)
            if sigma["drop"] > 0:
                for s in range(own.first, own.last):
                    of_rows, keys = of_strip(noise, s, lanes), lanes_of(work.keys, s, lanes)
                    drop_out(sigma, l - 1, of_rows, keys, flat(A, s, n))
                    drop_out(sigma, l - 1, of_rows, keys, flat(Delta_l, s, n))


@kernel
def put(M, width, out, place, stride, n, own):
    """Out[place + i stride + k], k < width, for n samples i: from strips to rows."""
    V = vector_lanes(M.array)
    for s in range(own.first, own.last):
        for i in range(0, M.lanes, V):
            first = s * M.lanes + i
            for k in range(0, width, V):
                source, target = strip(M, s) + k * M.lanes + i, place + first * stride + k
                if first + V <= n and k + V <= width:
                    transpose_block(M.array, source, M.lanes, out, target, stride)
                else:
                    for r in range(min(V, n - first)):
                        for c in range(min(V, width - k)):
                            out[target + r * stride + c] = M.array[source + c * M.lanes + r]


@inlined
def errors_below(W, Delta, U, n_l, n, work, own):
    """The sum of (2): u_j = sum_k delta_k w_jk; n_l and n are the neurons of Delta and of U."""
    none = Matrix(work.zeros, 0, 0)
    product_along(W, none, Delta, U, up(n_l, UNROLL), up(n, ROW_UNIT), own)


@kernel
def input_errors(task, tile, below, own):
    """Row tile.start + i of below becomes dC/da^0 of sample i: (2) once more, without sigma'."""
    model, work = task.model, task.work
    n_1, n_0 = model.layers[1]["width"], model.layers[0]["width"]
    Delta, U = neurons(model, work.delta, 1, own.lanes), neurons(model, work.delta, 0, own.lanes)
    errors_below(weights(model, task.theta, 1), Delta, U, n_1, n_0, work, own)
    put(U, n_0, below.reshape(below.size), tile.start * n_0, n_0, tile.n, own)


@inlined
def strips_of(n, V, T):
    """(lanes of a strip, strips) for n samples and T threads.

    Two vectors for speed. One if it keeps a thread busy or a vector full, and if it holds ROW_UNIT
    samples, which (4) takes at once.
    """
    vectors = (n + V - 1) // V
    narrow = V >= ROW_UNIT and (vectors < 2 * T or vectors == 3)
    lanes = V if narrow else 2 * V
    return lanes, (n + lanes - 1) // lanes


@inlined
def owned(team, n, V):
    """The strips of n samples that this thread owns."""
    lanes, strips = strips_of(n, V, team.T)
    first, last = share(strips, 1, team)
    return Owned(lanes, first, last)


@inlined
def forward_tile(task, tile, noise, own):
    """A row tile to a^L, and its costs."""
    forward(task, tile, noise, own)
    costs(task, tile, own)


@inlined
def backward_tile(task, tile, total, noise, Delta_rows, own):
    """The errors of a row tile; where X is sparse, also those of layer 1 as rows."""
    output_errors(task, tile, total, own)
    hidden_errors(task, noise, own)
    if is_sparse(task.samples):
        Delta = neurons(task.model, task.work.delta, 1, own.lanes)
        arguments = (Delta, Delta_rows, task.model.layers[1]["width"], own)
        call(task.work.of_sparse.errors_as_rows, arguments)


@kernel(linked=True, fastmath=EXACT)
def cost_of_tile(work, n, V):
    """sum_i s_i C_i of a row tile, when every thread has its costs."""
    cost = 0.0
    for v in range((n + V - 1) // V):
        cost += work.costs[v]
    return cost
