"""Predictions: of any number of rows, of few rows in one call, of one row."""

import numpy as np

from fastbackprop.engines.functions import CostLoops, Model, activate
from fastbackprop.engines.noise import SILENCE
from fastbackprop.engines.tiles.layers import forward, outputs, owned
from fastbackprop.engines.tiles.task import ROWS, OfSparse, RowTile, Task, Work, task_of
from fastbackprop.engines.tiles.whole import alone, are_whole
from fastbackprop.jit.kernels import kernel
from fastbackprop.jit.reference import reference
from fastbackprop.jit.team import Team, barrier, begins, take
from fastbackprop.jit.tile import vector_lanes
from fastbackprop.samples import NO_COLUMNS, NO_LABELS, NO_SPANS, NO_WEIGHTS, Samples


@kernel
def predict_tiles(task, out, start, stop):
    """out[i] = a^L of samples start ... stop."""
    team, V, n = task.team, vector_lanes(task.theta), stop - start
    if are_whole(task, n):
        own, k = reference(alone(task)), take(team, -1)
        while k * ROWS < n:
            tile = RowTile(start + k * ROWS, min(ROWS, n - k * ROWS))
            predict_tile(own, tile, out, owned(own.team, tile.n, V))
            k = take(team, k)
        return
    for first in range(start, stop, ROWS):
        tile = RowTile(first, min(ROWS, stop - first))
        predict_tile(task, tile, out, owned(team, tile.n, V))
        barrier(team)  # the next tile may have other strips


@kernel
def predict_tile(task, tile, out, own):
    """out[i] = a^L of the samples of these strips."""
    n_L = out.shape[1]
    forward(task, tile, SILENCE, own)
    for s in range(own.first, own.last):
        a = outputs(task.model, task.work, s, own.lanes).a
        for i in range(min(own.lanes, tile.n - s * own.lanes)):
            row = out[tile.start + s * own.lanes + i]
            for k in range(n_L):
                row[k] = a[k * own.lanes + i]


@kernel(entry=True)
def predict(team, bound, samples, out, start, stop):
    """`predict` of the contract, one thread's part."""
    if begins(team):
        predict_tiles(reference(task_of(team, bound, samples)), out, start, stop)


@kernel(entry=True)
def predict_rows(layers, theta, X, out, z, a, delta, rows):
    """The short way of `predict` for some rows; False, and nothing done, if X is not finite.

    Few arrays and no tuple are passed: a tuple costs the caller 2 us. Fields of `Work` that a
    prediction does not use are filled with these arrays.
    """
    zero = theta.dtype.type(0)
    for i in range(X.shape[0]):
        for j in range(X.shape[1]):
            zero += X[i, j] * theta.dtype.type(0)
    if zero != 0:  # NaN or infinity times 0 is NaN
        return False
    nothing = rows[:0]
    team, model = Team(nothing, 0, 1), Model(layers, CostLoops(0, 0, False, theta))
    samples = Samples(X, X[:0], NO_LABELS, NO_WEIGHTS, NO_SPANS, NO_COLUMNS, X[0])
    costs, keys, panels = rows.view(np.float64), rows.view(np.uint32), z.reshape((1, z.shape[0]))
    none = OfSparse(0, 0, 0)
    work = Work(
        z, a, delta, a, a, a, a, costs, panels, a, nothing, keys, rows, costs, a, 1, 1, none
    )
    task = reference(Task(team, model, theta, samples, nothing, work))
    predict_tiles(task, out, 0, X.shape[0])
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
