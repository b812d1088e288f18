"""Native calls of a team: the costs, the gradient, the steps of some samples."""

import numpy as np

from fastbackprop.engines.minibatch import is_sparse, minibatch
from fastbackprop.engines.noise import SILENCE, Noise
from fastbackprop.engines.tiles.layers import (
    add_sums,
    backward_tile,
    cost_of_tile,
    forward_tile,
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
    if not begins(team):
        return
    V, task = vector_lanes(bound.theta), reference(task_of(team, bound, samples))
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
    if not begins(team):
        return
    V, task = vector_lanes(bound.theta), reference(task_of(team, bound, samples))
    for first in range(start, stop, ROWS):
        tile = RowTile(first, min(ROWS, stop - first))
        own = owned(team, tile.n, V)
        forward_tile(task, tile, SILENCE, own)
        D = errors_of_layer_1(task)
        backward_tile(task, tile, total, SILENCE, D, own)
        barrier(team)
        add_gradient(task, tile, SILENCE, gradient, False, False, own)
        if team.t == 0:
            add_sums(sums, task, tile, V)
        barrier(team)


@kernel(entry=True)
def train(team, bound, minibatches, update, sums, start, stop):
    """`train` of the contract, one thread's part: all threads come to the same decisions."""
    if not begins(team):
        return stop
    model, work, samples, order = bound.model, bound.work, minibatches.samples, minibatches.order
    V, place, steps_taken = vector_lanes(bound.theta), start, update.t[0]
    task, to_do = reference(Task(team, model, bound.theta, samples, order, work)), reference(update)
    while place < stop:
        batch, batch_end, sum_of_weights = minibatch(samples, order, minibatches.batch_size, place)
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
            noise = Noise(minibatches.seed, steps_taken, first - batch)
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


@kernel(entry=True)
def take_step(bound, samples, update):
    """`take_step` of the contract; the samples are of no matter."""
    step_with_complete_gradient(reference(task_of(ALONE, bound, samples)), reference(update))
