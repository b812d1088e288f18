"""Native calls of a team: the costs, the gradient, the steps of some samples."""

import numpy as np

from fastbackprop.engines.minibatch import is_sparse, minibatch
from fastbackprop.engines.noise import SILENCE, Noise
from fastbackprop.engines.tiles.layers import (
    add_sums,
    backward_tile,
    cost_of_tile,
    forward_tile,
    input_errors,
    owned,
)
from fastbackprop.engines.tiles.product import Matrix, up
from fastbackprop.engines.tiles.sparse import errors_of_layer_1
from fastbackprop.engines.tiles.step import (
    add_gradient,
    step_with_complete_gradient,
    step_with_gradient,
)
from fastbackprop.engines.tiles.task import ROWS, RowTile, Task, task_of, weights
from fastbackprop.jit.call import call
from fastbackprop.jit.kernels import kernel
from fastbackprop.jit.reference import reference
from fastbackprop.jit.team import ALONE, barrier, begins
from fastbackprop.jit.tile import vector_lanes
from fastbackprop.samples import COST, MINIBATCH_COST, WEIGHT


@kernel(entry=True)
def cost_sum(team, bound, samples, sums, start, stop):
    """`cost_sum` of the contract, one thread's part."""
    if begins(team):
        cost_tiles(reference(task_of(team, bound, samples)), sums, start, stop)


@kernel
def cost_tiles(task, sums, start, stop):
    """Add sum_i s_i C_i and sum_i s_i of samples start ... stop to sums."""
    team, V = task.team, vector_lanes(task.theta)
    for first in range(start, stop, ROWS):
        tile = RowTile(first, min(ROWS, stop - first))
        forward_tile(task, tile, SILENCE, owned(team, tile.n, V))
        barrier(team)
        if team.t == 0:
            add_sums(sums, task, tile, V)
        barrier(team)


@kernel(entry=True)
def gradient_sums(team, bound, samples, total, gradient, sums, start, stop):
    """`gradient_sums` of the contract, one thread's part."""
    if begins(team):
        task, below = reference(task_of(team, bound, samples)), gradient[:0].reshape((0, 0))
        gradient_tiles(task, total, gradient, below, sums, start, stop)


@kernel
def gradient_tiles(task, total, gradient, below, sums, start, stop):
    """The same, and sum_i s_i / total dC_i/dtheta to gradient, unless one of them is (0,).

    Row i of below, unless it has none, becomes s_i / total dC_i/da^0.
    """
    team, V = task.team, vector_lanes(task.theta)
    for first in range(start, stop, ROWS):
        tile = RowTile(first, min(ROWS, stop - first))
        own = owned(team, tile.n, V)
        forward_tile(task, tile, SILENCE, own)
        D = errors_of_layer_1(task)
        backward_tile(task, tile, total, SILENCE, D, own)
        if below.shape[0] > 0:
            input_errors(task, tile, below, own)
        barrier(team)
        if gradient.shape[0] > 0:
            add_gradient(task, tile, SILENCE, gradient, False, False, own)
        if team.t == 0:
            add_sums(sums, task, tile, V)
        barrier(team)


@kernel(entry=True)
def train(team, bound, minibatches, update, sums, start, stop):
    """`train` of the contract, one thread's part: all threads come to the same decisions."""
    if not begins(team):
        return stop
    samples, order = minibatches.samples, minibatches.order
    task = reference(Task(team, bound.model, bound.theta, samples, order, bound.work))
    size, seed = minibatches.batch_size, minibatches.seed
    return train_tiles(task, reference(update), size, seed, sums, start, stop)


@kernel
def train_tiles(task, update, batch_size, seed, sums, start, stop):
    """The steps of task.order[start:stop]."""
    team, model, work, samples, order = task.team, task.model, task.work, task.samples, task.order
    V, place, steps_taken = vector_lanes(task.theta), start, update.t[0]
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
                step_with_gradient(task, tile, noise, update, batch, direct, own)
            else:
                fresh = first == batch
                add_gradient(task, tile, noise, update.g, fresh, direct, own)
            barrier(team)
            if steps:
                if update.completion != 0:
                    call(update.completion, (task, update))
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


@kernel(entry=True)
def take_step(bound, samples, update):
    """`take_step` of the contract; the samples are of no matter."""
    step_with_complete_gradient(reference(task_of(ALONE, bound, samples)), reference(update))
