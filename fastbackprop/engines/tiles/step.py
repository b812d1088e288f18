"""The gradient of a row tile, (3) and (4), and the step of a minibatch."""

from fastbackprop.engines.minibatch import is_sparse
from fastbackprop.engines.noise import Noise
from fastbackprop.engines.rules import (
    average,
    coefficients,
    complete,
    limit_columns,
    squares,
    step_elements,
    step_slice,
)
from fastbackprop.engines.tiles.equations import bias_gradient, weight_gradient
from fastbackprop.engines.tiles.product import ROW_UNIT, TALL, Into, Matrix, up
from fastbackprop.engines.tiles.sparse import errors_of_layer_1
from fastbackprop.engines.tiles.task import PANEL, RowTile, neurons, panels, weights
from fastbackprop.jit.call import call
from fastbackprop.jit.kernels import kernel
from fastbackprop.jit.team import barrier, share
from fastbackprop.jit.tile import vector_lanes, view


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
        first, last = share(up(n_in, ROW_UNIT), ROW_UNIT, team)
        if l > 1 or not is_sparse(task.samples):
            weight_gradient(A, Delta_rows, Into(G, fresh, one), n, n_l, first, last)
        elif not direct:
            if fresh:
                gradient[G.offset + first * G.stride : G.offset + last * G.stride] = 0
            D = errors_of_layer_1(task)
            arguments = (task, tile, noise, D, G, one, first, last)
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
        first, last = share(up(n_in, ROW_UNIT), ROW_UNIT, team)
        height, some = max(PANEL // stride // TALL[0], 1) * TALL[0], work.panels[team.t]
        if l == 1 and is_sparse(task.samples):
            W, G = weights(model, theta, 1), weights(model, update.g, 1)
            start, stop = G.offset + first * stride, G.offset + last * stride
            if direct:
                minus_rate = -coefficients(update, 1, 1)[0]
                every = RowTile(batch, tile.start + n - batch)
                of_all = Noise(noise.seed, noise.step, 0)
                arguments = (task, every, of_all, G, W, minus_rate, first, last)
                call(work.of_sparse.weight_gradient, arguments)
            else:
                if whole:
                    update.g[start:stop] = 0
                D = errors_of_layer_1(task)
                arguments = (task, tile, noise, D, G, one, first, last)
                call(work.of_sparse.weight_gradient, arguments)
                step_slice(theta, view(update.g, start, stop - start), update, 1, 1, start, stop)
        elif whole and update.plain:
            W, minus_rate = weights(model, theta, l), -coefficients(update, l, 1)[0]
            weight_gradient(A, Delta_rows, Into(W, False, minus_rate), n, n_l, first, last)
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
                weight_gradient(A, Delta_rows, Into(G, whole, one), n, n_l, j, end)
                step_slice(theta, g, update, l, 1, start, stop)
        if team.t == team.T - 1:
            start = model.layers[l]["bias_start"]
            g = view(some, 0, stride) if whole else view(update.g, start, stride)
            bias_gradient(Delta_rows, n, g, whole)
            if update.plain:  # too few for a call by address
                minus_rate = -coefficients(update, l, 0)[0]
                for k in range(stride):
                    theta[start + k] += minus_rate * g[k]
            else:
                step_slice(theta, g, update, l, 0, start, start + stride)


@kernel
def complete_step(task, update):
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


@kernel
def step_with_complete_gradient(task, update):
    """The update of one thread with the gradient in update.g."""
    if update.completion != 0:
        call(update.completion, (task, update))
    else:
        step_elements(task.model.layers, task.theta, update, 0, task.theta.shape[0])
    update.t[0] += 1
