"""Native calls of a team: the costs, the gradient, the steps of some samples.

The threads share every row tile, or take row tiles `whole`.
"""

from typing import NamedTuple

import numpy as np

from fastbackprop.engines.minibatch import is_sparse, minibatch
from fastbackprop.engines.noise import SILENCE, Noise
from fastbackprop.engines.rules import step_elements
from fastbackprop.engines.tiles.layers import (
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
from fastbackprop.engines.tiles.whole import (
    add_slots,
    add_weights,
    alone,
    are_whole,
    end_of_slots,
    own_elements,
    rows_of_slots,
    slot,
)
from fastbackprop.jit.call import call
from fastbackprop.jit.kernels import EXACT, kernel
from fastbackprop.jit.reference import reference
from fastbackprop.jit.team import ALONE, barrier, begins, take, take_anew
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
    if are_whole(task, stop - start):
        costs_of_whole_tiles(task, sums, start, stop)
        return
    for first in range(start, stop, ROWS):
        tile = RowTile(first, min(ROWS, stop - first))
        forward_tile(task, tile, SILENCE, owned(team, tile.n, V))
        barrier(team)
        if team.t == 0:
            sums[COST] += cost_of_tile(task.work, tile.n, V)
            add_weights(sums, task, first, tile.n)
        barrier(team)


@kernel
def costs_of_whole_tiles(task, sums, start, stop):
    """The same by threads that take row tiles whole."""
    team, own, V = task.team, reference(alone(task)), vector_lanes(task.theta)
    rows = rows_of_slots(task.work, ROWS)
    for first in range(start, stop, rows):
        n = min(rows, stop - first)
        k = take(team, -1)
        while k * ROWS < n:
            tile = RowTile(first + k * ROWS, min(ROWS, n - k * ROWS))
            forward_tile(own, tile, SILENCE, owned(own.team, tile.n, V))
            own.work.tile_costs[k] = cost_of_tile(own.work, tile.n, V)
            k = take(team, k)
        barrier(team)
        end_of_slots(task, (n + ROWS - 1) // ROWS, sums, first, n)
        barrier(team)


@kernel(entry=True)
def gradient_sums(team, bound, samples, total, into, sums, start, stop):
    """`gradient_sums` of the contract, one thread's part."""
    if begins(team):
        task = reference(task_of(team, bound, samples))
        gradient_tiles(task, total, into.by_theta, into.by_X, sums, start, stop)


@kernel
def gradient_tiles(task, total, gradient, below, sums, start, stop):
    """The same, and sum_i s_i / total dC_i/dtheta to gradient, unless one of them is (0,).

    Row i of below, unless it has none, becomes s_i / total dC_i/da^0.
    """
    team, V = task.team, vector_lanes(task.theta)
    if are_whole(task, stop - start):
        gradients_of_whole_tiles(task, total, gradient, below, sums, start, stop)
        return
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
            sums[COST] += cost_of_tile(task.work, tile.n, V)
            add_weights(sums, task, first, tile.n)
        barrier(team)


@kernel
def gradients_of_whole_tiles(task, total, gradient, below, sums, start, stop):
    """The same by threads that take row tiles whole."""
    team, rows = task.team, rows_of_slots(task.work, ROWS)
    own = reference(alone(task))
    first_element, last_element = own_elements(task)
    with_gradient = gradient.shape[0] > 0
    for first in range(start, stop, rows):
        n = min(rows, stop - first)
        fill_slots(team, own, total, SILENCE, below, with_gradient, first, n)
        barrier(team)
        n_slots = (n + ROWS - 1) // ROWS
        if with_gradient:
            add_slots(task, n_slots, gradient, False, first_element, last_element)
        end_of_slots(task, n_slots, sums, first, n)
        barrier(team)


@kernel
def fill_slots(team, own, total, noise, below, with_gradient, first, n):
    """Take row tiles of samples first ... first + n; `noise` is that of the first.

    `own` is the task of this thread `alone`.
    """
    V, k = vector_lanes(own.theta), take(team, -1)
    while k * ROWS < n:
        tile = RowTile(first + k * ROWS, min(ROWS, n - k * ROWS))
        of_tile = Noise(noise.seed, noise.step, noise.row + k * ROWS)
        strips = owned(own.team, tile.n, V)
        forward_tile(own, tile, of_tile, strips)
        own.work.tile_costs[k] = cost_of_tile(own.work, tile.n, V)
        backward_tile(own, tile, total, of_tile, errors_of_layer_1(own), strips)
        if below.shape[0] > 0:
            input_errors(own, tile, below, strips)
        if with_gradient:
            add_gradient(own, tile, of_tile, slot(own, k), True, False, strips)
        k = take(team, k)


# --- steps ---------------------------------------------------------------------------------------


class Part(NamedTuple):
    """Places start ... stop of a minibatch, which may be spread over several calls."""

    batch: int  # the place where it begins
    start: int
    stop: int
    ends: bool  # whether the minibatch ends here
    sum_of_weights: float
    total: float  # the same, or one where all weights are zero
    direct: bool  # see `step.step_with_gradient`


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
    team, samples, order = task.team, task.samples, task.order
    place, steps_taken = start, update.t[0]
    while place < stop:
        batch, batch_end, sum_of_weights = minibatch(samples, order, batch_size, place)
        end, total = min(batch_end, stop), sum_of_weights if sum_of_weights > 0 else 1.0
        # Plain SGD on a sparse X needs no gradient of W^1: the errors of the whole minibatch lie in
        # its place.
        direct = is_sparse(samples) and update.plain and update.completion == 0
        direct = direct and up(batch_end - batch, ROWS) <= task.model.layers[0]["width"]
        part = Part(batch, place, end, end == batch_end, sum_of_weights, total, direct)
        cost = 0.0 if place == batch else sums[MINIBATCH_COST]
        noise = Noise(seed, steps_taken, place - batch)
        if are_whole(task, end - place):
            cost = part_of_whole_tiles(task, update, part, noise, cost)
        else:
            cost = part_of_shared_tiles(task, update, part, noise, cost)
        if part.ends:
            if not abs(cost) < np.inf:  # np.isfinite takes x - x: reassociated that is 0
                return batch
            if sum_of_weights > 0:
                if update.completion != 0:
                    call(update.completion, (task, update))
                    barrier(team)
                steps_taken += 1  # of each thread: thread 0 may be ahead
                if team.t == 0:
                    update.t[0] += 1
        if team.t == 0:
            sums[MINIBATCH_COST] = cost
            if part.ends:
                sums[COST] += cost
                sums[WEIGHT] += sum_of_weights
        place = end
    return stop


@kernel
def part_of_shared_tiles(task, update, part, noise, cost):
    """The gradient of a part of a minibatch, and the step unless there is a completion.

    Returns the minibatch's cost up to here; where it ends and that is not finite, without a step.
    """
    team, work, V = task.team, task.work, vector_lanes(task.theta)
    G = weights(task.model, update.g, 1)
    for first in range(part.start, part.stop, ROWS):
        tile = RowTile(first, min(ROWS, part.stop - first))
        own, ends = owned(team, tile.n, V), part.ends and first + tile.n == part.stop
        of_tile = Noise(noise.seed, noise.step, first - part.batch)
        forward_tile(task, tile, of_tile, own)
        D = errors_of_layer_1(task)
        if part.direct:
            D = Matrix(update.g, G.offset + (first - part.batch) * G.stride, G.stride)
        backward_tile(task, tile, part.total, of_tile, D, own)
        barrier(team)
        cost += cost_of_tile(work, tile.n, V)
        if ends and not abs(cost) < np.inf:
            return cost
        if ends and part.sum_of_weights > 0 and update.completion == 0:
            step_with_gradient(task, tile, of_tile, update, part.batch, part.direct, own)
        else:
            fresh = first == part.batch
            add_gradient(task, tile, of_tile, update.g, fresh, part.direct, own)
        barrier(team)
    return cost


@kernel
def part_of_whole_tiles(task, update, part, noise, cost):
    """The same by threads that take row tiles whole."""
    team, rows = task.team, rows_of_slots(task.work, ROWS)
    own = reference(alone(task))
    first_element, last_element = own_elements(task)
    nothing = update.states[:0]
    for first in range(part.start, part.stop, rows):
        n = min(rows, part.stop - first)
        of_rows = Noise(noise.seed, noise.step, first - part.batch)
        fill_slots(team, own, part.total, of_rows, nothing, True, first, n)
        barrier(team)
        n_slots = (n + ROWS - 1) // ROWS
        cost = with_costs_of_slots(task.work, n_slots, cost)
        ends = part.ends and first + n == part.stop
        if ends and not abs(cost) < np.inf:
            return cost
        fresh = first == part.batch
        add_slots(task, n_slots, update.g, fresh, first_element, last_element)
        if ends and part.sum_of_weights > 0 and update.completion == 0:
            step_elements(task.model.layers, task.theta, update, first_element, last_element)
        if team.t == 0:
            take_anew(team)
        barrier(team)
    return cost


@kernel(linked=True, fastmath=EXACT)
def with_costs_of_slots(work, n_slots, cost):
    """The cost and those in the slots, one after the other."""
    for k in range(n_slots):
        cost += work.tile_costs[k]
    return cost


@kernel(entry=True)
def take_step(bound, samples, update):
    """`take_step` of the contract; the samples are of no matter."""
    step_with_complete_gradient(reference(task_of(ALONE, bound, samples)), reference(update))
