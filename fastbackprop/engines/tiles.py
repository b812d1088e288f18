"""The same equations on register tiles, strips of samples at a time, by a team of threads.

Letters are those of the derivation. The three sums, over j in (0), over k in (2) and over the
samples i in (3), are one kind of product, a sum of outer products of a column and a row of vectors:

    (0)  Z[k, i]     += W[j, k] A[j, i]            rows k, lanes i
    (2)  P[j, i]     += W[j, k] Delta[k, i]        rows j, lanes i
    (3)  G[j, k]     += A[j, i] Delta'[i, k]       rows j, lanes k

Z, A and Delta have neurons as rows and samples on the vector lanes: no width of a layer wastes any
lanes there, softmax and costs are vectorised whatever n_L, and W is never transposed. They lie in
memory as strips of one or two vectors of samples, a strip after the other, so every product reads
its vectors one behind the other. Delta' is the same as Delta with neurons on the lanes, as (3)
needs it. Rows come in multiples of ROW and strips in whole vectors: no loop has a remainder.

A row tile of samples goes through all layers and back strip by strip; the threads of a team own
strips. Then they own rows of G, which they sum over the strips and use for the update at once.

A sparse X has products of its own for layer 1, in `_sparse`.
"""

import functools
import operator
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fastbackprop.activations import Activation
from fastbackprop.costs import Cost
from fastbackprop.engines import _functions, _team
from fastbackprop.engines._columns import scale
from fastbackprop.engines._compile import address, call, inlined, kernel
from fastbackprop.engines._functions import (
    C,
    Model,
    activate,
    cost_gradient,
    cost_of_samples,
    multiply_by_derivative,
)
from fastbackprop.engines._noise import (
    SILENCE,
    Noise,
    drop_out,
    perturb_input,
    perturbed_for_kernels,
)
from fastbackprop.engines._product import (
    ROW,
    TALL,
    UNROLL,
    Matrix,
    Owned,
    Strips,
    column_sums_1,
    column_sums_2,
    panel,
    product_across,
    product_along,
    strip,
    sums_over_samples,
    up,
)
from fastbackprop.engines._reference import ReferenceType, reference
from fastbackprop.engines._samples import (
    COST,
    MINIBATCH_COST,
    NO_COLUMNS,
    NO_LABELS,
    NO_SPANS,
    NO_WEIGHTS,
    WEIGHT,
    Samples,
    is_sparse,
    minibatch,
    weight,
    without_targets,
)
from fastbackprop.engines._sparse import errors_of_layer_1, of_sparse
from fastbackprop.engines._task import (
    PANEL,
    ROWS,
    OfSparse,
    RowTile,
    Task,
    Work,
    biases,
    clear,
    flat,
    lanes_of,
    neurons,
    panels,
    sample,
    scratch,
    task_type,
    weights,
)
from fastbackprop.engines._team import Team, barrier, begins, share
from fastbackprop.engines._tile import (
    VECTOR_BYTES,
    gather_block,
    transpose_block,
    vector_lanes,
    view,
)
from fastbackprop.engines._update import (
    average,
    coefficients,
    compiled_rule,
    complete,
    limit_columns,
    squares,
    step_slice,
    update_type,
)
from fastbackprop.layout import Layout, read_only

# Multiply-adds of (0) that a thread must have to do in a step and in each of its row tiles, to be
# worth the barriers, and in a call, to be worth starting.
MIN_STEP, MIN_TILE, MIN_CALL = 190_000, 80_000, 20_000_000


# --- the equations -------------------------------------------------------------------------------


@inlined
def weighted_input(W, b, A, Z, n_in, n_l, own):
    """(0)  z^l_ki = sum_j w^l_jk a^{l-1}_ji + b^l_k"""
    product_across(W, b, A, Z, n_in, up(n_l, ROW), own)


@inlined
def output_error(sigma, cost, z, a, y, delta, lanes):
    """(1)  delta^L_ji = dC/da^L_ji sigma_L'(z^L_ji)"""
    cost_gradient(cost, z, a, y, delta, lanes)
    if not cost.fused:
        multiply_by_derivative(sigma, z, a, delta, lanes)


@inlined
def hidden_error(sigma, W_next, Delta_next, Z, A, Delta, n_next, n_l, none, own):
    """(2)  delta^l_ji = sigma_l'(z^l_ji) sum_k w^{l+1}_jk delta^{l+1}_ki"""
    depth, rows = up(n_next, UNROLL), up(n_l, ROW)
    product_along(W_next, none, Delta_next, Delta, depth, rows, own)
    for s in range(own.first, own.last):
        z, a, delta = flat(Z, s, n_l), flat(A, s, n_l), flat(Delta, s, n_l)
        multiply_by_derivative(sigma, z, a, delta, own.lanes)


@inlined
def weight_gradient(A, Delta_rows, G, fresh, factor, n, n_l, first, last):
    """(3)  dC/dw^l_jk = sum_i a^{l-1}_ji delta^l_ik, for rows j of first ... last

    Times the factor and added to what G holds, unless `fresh`.
    """
    sums_over_samples(A, Delta_rows, G, fresh, factor, up(n, UNROLL), n_l, first, last)


@kernel
def bias_gradient(Delta_rows, n, g, fresh):
    """(4)  dC/db^l_k = sum_i delta^l_ik, added to g (n_l,) unless that is `fresh`."""
    V = vector_lanes(g)
    for k in range(0, Delta_rows.width, 2 * V):
        D, g_k = panel(Delta_rows, k), Matrix(g, k, 0)
        if D.stride == V:
            column_sums_1(D, g_k, fresh, up(n, ROW))
        else:
            column_sums_2(D, g_k, fresh, up(n, ROW))


# --- a row tile ----------------------------------------------------------------------------------


@kernel
def gather(task, tile, own):
    """a^0 of the samples; lanes behind the last repeat it, so they are as finite as the rest."""
    model, work, X = task.model, task.work, task.samples.X
    n_0, lanes, V = model.layers[0]["width"], own.lanes, vector_lanes(work.a)
    A = neurons(model, work.a, 0, lanes)
    for s in range(own.first, own.last):
        for i in range(0, lanes, V):
            for j in range(0, n_0, V):
                a = strip(A, s) + j * lanes + i
                p, rest = s * lanes + i, min(V, n_0 - j)
                gather_block(X, j, n_0, work.rows, p, rest, A.array, a, lanes)
        clear(A, s, up(n_0, V), up(n_0, ROW))


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
            arguments = (task, tile, noise, W, b, Z, Z_rows, n_l, own)
            call(work.of_sparse.weighted_input, arguments)
        else:
            weighted_input(W, b, A, Z, model.layers[l - 1]["width"], n_l, own)
        A_l, Delta = neurons(model, work.a, l, lanes), neurons(model, work.delta, l, lanes)
        for s in range(own.first, own.last):
            a = flat(A_l, s, n_l)
            activate(sigma, flat(Z, s, n_l), a, flat(Delta, s, n_l), lanes)
            drop_out(sigma, l, of_strip(noise, s, lanes), lanes_of(work.keys, s, lanes), a)
            clear(A_l, s, n_l, up(n_l, ROW))


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


@kernel
def costs(task, tile, own):
    """sum_i s_i C_i of each vector of samples, in work.costs."""
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
            n_l, n = model.layers[l]["width"], sigma["width"]
            none, Delta = Matrix(work.zeros, 0, 0), neurons(model, work.delta, l, lanes)
            Z, A = neurons(model, work.z, l - 1, lanes), neurons(model, work.a, l - 1, lanes)
            W, Delta_l = weights(model, theta, l), neurons(model, work.delta, l - 1, lanes)
            if sigma["drop"] > 0:
                for s in range(own.first, own.last):  # a as it was
                    activate(sigma, flat(Z, s, n), flat(A, s, n), flat(Delta_l, s, n), lanes)
            hidden_error(sigma, W, Delta, Z, A, Delta_l, n_l, n, none, own)
            if sigma["drop"] > 0:
                for s in range(own.first, own.last):
                    of_rows, keys = of_strip(noise, s, lanes), lanes_of(work.keys, s, lanes)
                    drop_out(sigma, l - 1, of_rows, keys, flat(A, s, n))
                    drop_out(sigma, l - 1, of_rows, keys, flat(Delta_l, s, n))


@kernel
def add_gradient(task, tile, noise, gradient, fresh, direct, own):
    """(3) and (4), the rows this thread owns, added to the gradient unless it is `fresh`.

    Without (3) of a sparse X where the step takes that `direct`ly to W.
    """
    team, model, work = task.team, task.model, task.work
    one, lanes, n = gradient.dtype.type(1), own.lanes, tile.n
    for l in range(model.layers.shape[0] - 1, 0, -1):
        A, G = neurons(model, work.a, l - 1, lanes), weights(model, gradient, l)
        Delta_rows = panels(model, work.delta_rows, l)
        n_in, n_l = model.layers[l - 1]["width"], model.layers[l]["width"]
        first, last = share(up(n_in, ROW), ROW, team)
        if l > 1 or not is_sparse(task.samples):
            weight_gradient(A, Delta_rows, G, fresh, one, n, n_l, first, last)
        elif not direct:
            if fresh:
                gradient[G.offset + first * G.stride : G.offset + last * G.stride] = 0
            D = errors_of_layer_1(task)
            arguments = (task, tile, noise, D, G, one, n_l, first, last)
            call(work.of_sparse.weight_gradient, arguments)
        if team.t == team.T - 1:
            start = model.layers[l]["bias_start"]
            bias_gradient(Delta_rows, n, view(gradient, start, G.stride), fresh)


@kernel
def step_with_gradient(task, tile, noise, update, batch, direct, own):
    """(3), (4) and the update, for the rows this thread owns, some rows at a time.

    The gradient of a minibatch that is one row tile needs no memory but for these rows, which stay
    in the cache, or none. Otherwise it is added to that of the row tiles before. The minibatch
    begins at place `batch`.
    """
    team, model, theta, work = task.team, task.model, task.theta, task.work
    one, lanes, V, n = theta.dtype.type(1), own.lanes, vector_lanes(theta), tile.n
    whole = tile.start == batch
    for l in range(model.layers.shape[0] - 1, 0, -1):
        A, stride = neurons(model, work.a, l - 1, lanes), model.layers[l]["stride"]
        Delta_rows = panels(model, work.delta_rows, l)
        n_in, n_l = model.layers[l - 1]["width"], model.layers[l]["width"]
        first, last = share(up(n_in, ROW), ROW, team)
        height, some = max(PANEL // stride // TALL[0], 1) * TALL[0], work.panels[team.t]
        if l == 1 and is_sparse(task.samples):
            W, G = weights(model, theta, 1), weights(model, update.g, 1)
            start, stop = G.offset + first * stride, G.offset + last * stride
            if direct:
                minus_rate = -coefficients(update, 1)[0]
                every = RowTile(batch, tile.start + n - batch)
                of_all = Noise(noise.seed, noise.step, 0)
                arguments = (task, every, of_all, G, W, minus_rate, n_l, first, last)
                call(work.of_sparse.weight_gradient, arguments)
            else:
                if whole:
                    update.g[start:stop] = 0
                D = errors_of_layer_1(task)
                arguments = (task, tile, noise, D, G, one, n_l, first, last)
                call(work.of_sparse.weight_gradient, arguments)
                step_slice(theta, view(update.g, start, stop - start), update, 1, start, stop)
        elif whole and update.plain:
            W, minus_rate = weights(model, theta, l), -coefficients(update, l)[0]
            weight_gradient(A, Delta_rows, W, False, minus_rate, n, n_l, first, last)
        else:
            if whole:  # columns that no sum fills: the update must find zeros
                for r in range(height):
                    some[r * stride + up(n_l, V) : (r + 1) * stride] = 0
            for j in range(first, last, height):
                end = min(j + height, last)
                start = model.layers[l]["weight_start"] + j * stride
                stop = start + (end - j) * stride
                g = view(some, 0, stop - start) if whole else view(update.g, start, stop - start)
                G = Matrix(g, -j * stride, stride)
                weight_gradient(A, Delta_rows, G, whole, one, n, n_l, j, end)
                step_slice(theta, g, update, l, start, stop)
        if team.t == team.T - 1:
            start = model.layers[l]["bias_start"]
            g = view(some, 0, stride) if whole else view(update.g, start, stride)
            bias_gradient(Delta_rows, n, g, whole)
            if update.plain:  # too few for a call by address
                minus_rate = -coefficients(update, l)[0]
                for k in range(stride):
                    theta[start + k] += minus_rate * g[k]
            else:
                step_slice(theta, g, update, l, start, start + stride)


@kernel
def _complete_step(task, update):
    """The step with a gradient that is complete but for what the optimizer does to it."""
    team, theta = task.team, task.theta
    first, last = share(update.pieces.shape[0], 1, team)
    squares(update, first, last)
    barrier(team)
    complete(theta, update, first, last)
    barrier(team)
    limit_columns(task.model.layers, theta, update, team.t, team.T)
    barrier(team)
    average(theta, update, first, last)


# --- the engine contract -------------------------------------------------------------------------


def model(layout: Layout, sigma: Sequence[Activation], cost: Cost, dtype: np.dtype) -> Model:
    """The functions are loops over strips of samples."""
    return _functions.model(layout, sigma, cost, dtype, columns=True)


def stride(width: int, dtype: np.dtype) -> int:
    """Rows are padded to whole vectors and whole ROWs; never to a multiple of 2 KiB.

    At such strides the rows of a column would all fall into the same few sets of the cache.
    """
    itemsize = np.dtype(dtype).itemsize
    unit = max(VECTOR_BYTES // itemsize, ROW)
    padded = -(-width // unit) * unit
    return padded + unit if padded * itemsize % 2048 == 0 else padded


rule, perturbed = compiled_rule, perturbed_for_kernels


@functools.cache
def completion(dtype: np.dtype) -> int:
    """`Update.completion`; compiled, or read from the disk, here."""
    return address(_complete_step, task_type(dtype), ReferenceType(update_type(dtype)))


def row_tile(model: Model) -> int:
    """Samples that are in the cache together."""
    return ROWS


def threads(
    model: Model,
    batch_size: int | None,
    n_samples: int,
    inputs_per_sample: float | None = None,
) -> int:
    """So many threads as the call, and its steps if it takes any, give work to.

    With fewer vectors of samples in a minibatch than threads they share the gradient only: up to
    15 % slower.
    """
    widths = model.layers["width"].tolist()
    if inputs_per_sample is not None:
        widths[0] = inputs_per_sample
    products = _products(widths)
    work = [n_samples * products // MIN_CALL]
    if batch_size is not None:
        work += [batch_size * products // MIN_STEP]
        work += [min(batch_size, ROWS) * products // MIN_TILE]
        work += [-(-batch_size * model.cost.p.itemsize // VECTOR_BYTES)]
    return max(1, int(min(*work, _team.available_processors())))


def few(sizes: Sequence[int]) -> int:
    """So many rows at most are no work for a second thread, nor long: 100,000 of a tiny network."""
    return max(1, int(2 * MIN_CALL // max(_products(sizes), 400)))


def _products(widths: Sequence[float]) -> float:
    """Multiply-adds of (0) for a sample."""
    return sum(map(operator.mul, widths, widths[1:]))


def workspace(model: Model, dtype: np.dtype, n_threads: int = 1, sparse: bool = False) -> Work:
    """Scratch that depends on the network, and a little on the threads; less for a sparse X."""
    return scratch(model, dtype, n_threads, of_sparse(dtype) if sparse else None)


@inlined
def strips_of(n, V, T):
    """(lanes of a strip, strips) for n samples and T threads.

    Two vectors for speed; one where that leaves no thread idle, or no vector empty, and holds ROW
    samples, of which (4) takes so many at once.
    """
    vectors = (n + V - 1) // V
    narrow = V >= ROW and (vectors < 2 * T or vectors == 3)
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


@inlined
def cost_of_tile(work, n, V):
    """sum_i s_i C_i of a row tile, when every thread has its costs."""
    cost = 0.0
    for v in range((n + V - 1) // V):
        cost += work.costs[v]
    return cost


@inlined
def add_sums(sums, task, tile, V):
    """sum_i s_i C_i and sum_i s_i of a row tile."""
    sums[COST] += cost_of_tile(task.work, tile.n, V)
    for i in range(tile.n):
        sums[WEIGHT] += weight(task.samples, task.work.rows[i])


@kernel
def _predict_tiles(task, out, start, stop):
    """out[i] = a^L of samples start ... stop."""
    model, work, V, n_L = task.model, task.work, vector_lanes(task.theta), out.shape[1]
    for first in range(start, stop, ROWS):
        tile = RowTile(first, min(ROWS, stop - first))
        own = owned(task.team, tile.n, V)
        forward(task, tile, SILENCE, own)
        for s in range(own.first, own.last):
            a = outputs(model, work, s, own.lanes).a
            for i in range(min(own.lanes, tile.n - s * own.lanes)):
                row = out[first + s * own.lanes + i]
                for k in range(n_L):
                    row[k] = a[k * own.lanes + i]
        barrier(task.team)  # the next tile may have other strips


@kernel(entry=True)
def _predict(team, model, theta, samples, out, work, start, stop):
    if begins(team):
        task = reference(Task(team, model, theta, samples, work.no_order, work))
        _predict_tiles(task, out, start, stop)


@kernel(entry=True)
def _predict_rows(layers, theta, X, out, z, a, delta, costs, panels, keys, rows):
    """`predict` alone; False, and nothing done, if X is not finite.

    No tuple is passed, for each costs the caller 2 us. What no prediction looks at is one of the
    arrays that there are.
    """
    zero = theta.dtype.type(0)
    for i in range(X.shape[0]):
        for j in range(X.shape[1]):
            zero += X[i, j] * theta.dtype.type(0)
    if zero != 0:  # NaN or infinity times 0 is NaN
        return False
    nothing = rows[:0]
    team, model = Team(nothing, 0, 1), Model(layers, C(0, 0, False, theta))
    samples = Samples(X, X[:0], NO_LABELS, NO_WEIGHTS, NO_SPANS, NO_COLUMNS, X[0])
    work = Work(
        z, a, delta, a, a, a, a, costs, panels, a, nothing, keys, rows, 1, OfSparse(0, 0, 0)
    )
    task = reference(Task(team, model, theta, samples, nothing, work))
    _predict_tiles(task, out, 0, X.shape[0])
    return True


@kernel(entry=True)
def predict_row(layers, theta, X, out, neurons):
    """out[0] = a^L of the only row of X; False, and nothing done, if that is not finite.

    Index by index: one row fills no lanes. Few arrays and no tuple, for each costs the caller time.
    neurons, (3, largest stride), is scratch.
    """
    a, z, delta, n = neurons[0], neurons[1], neurons[2], layers[0]["width"]
    zero = a.dtype.type(0)
    for j in range(n):
        a[j] = X[0, j]
        zero += X[0, j] * a.dtype.type(0)
    if zero != 0:  # NaN or infinity times 0 is NaN
        return False
    for l in range(1, layers.shape[0]):
        stride, start = layers[l]["stride"], layers[l]["weight_start"]
        z_l, b = z[:stride], theta[layers[l]["bias_start"] :][:stride]
        for k in range(z_l.shape[0]):
            z_l[k] = b[k]
        for j in range(n):
            w, a_j = theta[start + j * stride :][:stride], a[j]
            for k in range(z_l.shape[0]):
                z_l[k] += a_j * w[k]
        n = layers[l]["width"]
        activate(layers[l], z[:n], a[:n], delta[:n], 1)
    for k in range(n):
        out[0, k] = a[k]
    return True


@kernel(entry=True)
def _cost_sum(team, model, theta, samples, sums, work, start, stop):
    if not begins(team):
        return
    V = vector_lanes(theta)
    task = reference(Task(team, model, theta, samples, work.no_order, work))
    for first in range(start, stop, ROWS):
        tile = RowTile(first, min(ROWS, stop - first))
        forward_tile(task, tile, SILENCE, owned(team, tile.n, V))
        barrier(team)
        if team.t == 0:
            add_sums(sums, task, tile, V)
        barrier(team)


@kernel(entry=True)
def _gradient_sums(team, model, theta, samples, total, gradient, sums, work, start, stop):
    if not begins(team):
        return
    V = vector_lanes(theta)
    task = reference(Task(team, model, theta, samples, work.no_order, work))
    for first in range(start, stop, ROWS):
        tile = RowTile(first, min(ROWS, stop - first))
        own = owned(team, tile.n, V)
        forward_tile(task, tile, SILENCE, own)
        D = errors_of_layer_1(task)
        backward_tile(task, tile, total, SILENCE, D, own)
        barrier(team)
        never = stop < start
        add_gradient(task, tile, SILENCE, gradient, never, never, own)
        if team.t == 0:
            add_sums(sums, task, tile, V)
        barrier(team)


@kernel(entry=True)
def _train(team, model, theta, samples, order, batch_size, update, seed, sums, work, start, stop):
    """A minibatch may be spread over several calls; all threads come to the same decisions."""
    if not begins(team):
        return stop
    V, place, steps_taken = vector_lanes(theta), start, update.t[0]
    task, to_do = reference(Task(team, model, theta, samples, order, work)), reference(update)
    while place < stop:
        batch, batch_end, sum_of_weights = minibatch(samples, order, batch_size, place)
        end, total = min(batch_end, stop), sum_of_weights if sum_of_weights > 0 else 1.0
        cost = 0.0 if place == batch else sums[MINIBATCH_COST]
        # Plain SGD on a sparse X needs no gradient of W^1: the errors of the whole minibatch lie in
        # its place.
        G = weights(model, update.g, 1)
        direct = is_sparse(samples) and update.plain and update.completion == 0
        direct = direct and up(batch_end - batch, ROWS) <= model.layers[0]["width"]
        for first in range(place, end, ROWS):
            tile = RowTile(first, min(ROWS, end - first))
            own, ends = owned(team, tile.n, V), first + tile.n == batch_end
            noise = Noise(seed, steps_taken, first - batch)
            forward_tile(task, tile, noise, own)
            D = errors_of_layer_1(task)
            if direct:
                D = Matrix(update.g, G.offset + (first - batch) * G.stride, G.stride)
            backward_tile(task, tile, total, noise, D, own)
            steps = ends and sum_of_weights > 0
            barrier(team)
            cost += cost_of_tile(work, tile.n, V)
            if ends and not abs(cost) < np.inf:  # np.isfinite takes x - x: reassociated that is 0
                return batch
            if steps and update.completion == 0:
                step_with_gradient(task, tile, noise, to_do, batch, direct, own)
            else:
                fresh = first == batch
                add_gradient(task, tile, noise, update.g, fresh, direct, own)
            barrier(team)
            if steps:
                if update.completion != 0:
                    call(update.completion, (task, to_do))
                    barrier(team)
                steps_taken += 1  # of each thread: thread 0 may be ahead
                if team.t == 0:
                    update.t[0] += 1
        if team.t == 0:
            sums[MINIBATCH_COST] = cost
            if end == batch_end:
                sums[COST] += cost
                sums[WEIGHT] += sum_of_weights
        place = end
    return stop


def predict(model, theta, samples, out, work, start, stop):
    """out[i] = a^L of sample i."""
    _team.run(_predict, work.n_threads, model, theta, samples, out, work, start, stop)


def predict_rows(layers, theta, X, out, work):
    """The same in one thread, of so `few` rows that nothing has checked; False if not finite."""
    arrays = work.z, work.a, work.delta, work.costs, work.panels, work.keys, work.rows
    return _predict_rows(layers, theta, read_only(X), out, *arrays)


def cost_sum(model, theta, samples, sums, work, start, stop):
    """Add sum_i s_i C_i and sum_i s_i to sums."""
    _team.run(_cost_sum, work.n_threads, model, theta, samples, sums, work, start, stop)


def gradient_sums(model, theta, samples, total, gradient, sums, work, start, stop):
    """Add also sum_i s_i / total dC_i/dtheta to gradient."""
    arguments = (model, theta, samples, total, gradient, sums, work, start, stop)
    _team.run(_gradient_sums, work.n_threads, *arguments)


def train(model, theta, samples, order, batch_size, update, seed, sums, work, start, stop):
    """Minibatch steps over order[start:stop]; a minibatch may be spread over several calls."""
    arguments = (model, theta, samples, order, batch_size, update, seed, sums, work, start, stop)
    return _team.run(_train, work.n_threads, *arguments)


def activations(model: Model, theta: np.ndarray, X: np.ndarray) -> list[np.ndarray]:
    """a^0 ... a^L, (n_samples, n_l) each."""
    work, arrays = workspace(model, theta.dtype), _by_layer(model, len(X), theta.dtype)
    out = np.empty((len(X), model.layers["width"][-1]), theta.dtype)
    samples = without_targets(X, out.shape[1], theta.dtype)
    for start in range(0, len(X), ROWS):
        stop = min(start + ROWS, len(X))
        predict(model, theta, samples, out, work, start, stop)
        _keep(model.layers, work.a, arrays, start, stop)
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
        _keep(model.layers, work.a, a, start, stop)
        _keep(model.layers[1:], work.z, z[1:], start, stop)
        _keep(model.layers[1:], work.delta, delta[1:], start, stop)
    return z[1:], a, delta[1:]


def _by_layer(model: Model, n: int, dtype: np.dtype) -> list[np.ndarray]:
    return [np.empty((n, width), dtype) for width in model.layers["width"]]


def _keep(
    layers: np.ndarray, array: np.ndarray, kept: list[np.ndarray], start: int, stop: int
) -> None:
    """Copy a row tile, as one thread leaves it, out of the scratch memory."""
    lanes, strips = strips_of.py_func(stop - start, VECTOR_BYTES // array.itemsize, 1)
    for layer, of_layer in zip(layers, kept, strict=True):
        offset, height = ROWS * layer["start"], layer["stride"]
        rows = array[offset : offset + strips * height * lanes].reshape(strips, height, lanes)
        of_samples = rows.transpose(0, 2, 1).reshape(strips * lanes, height)
        of_layer[start:stop] = of_samples[: stop - start, : layer["width"]]
