"""The short way of calls on few samples, in one thread: costs, gradients, steps, passes of steps.

All that such a call needs except its samples is stored in an array once (`jit.reference`), so the
call itself passes some arrays and no tuple. `take` looks at the samples; where they need
conversion or are to be refused it returns False and has done nothing. The other calls are about
the samples that it took.
"""

import functools
from typing import NamedTuple

import numba
import numpy as np
from numba import types

from fastbackprop.engines.bound import Bound
from fastbackprop.engines.rules import update_type
from fastbackprop.engines.tiles.calls import cost_tiles, gradient_tiles, train_tiles
from fastbackprop.engines.tiles.step import step_with_complete_gradient
from fastbackprop.engines.tiles.task import Task, copy, pad, task_type, without_padding
from fastbackprop.engines.update import Update, no_update
from fastbackprop.functions.costs import TARGETS, Cost
from fastbackprop.jit.kernels import kernel
from fastbackprop.jit.reference import ReferenceType, reference_in, setter, stored
from fastbackprop.jit.team import Team
from fastbackprop.layout import aligned_zeros, read_only
from fastbackprop.samples import COST, N_SUMS, WEIGHT, without_targets

REAL, UNIT, DISTRIBUTION, SIGN, _, POSITIVE = range(len(TARGETS))  # places in `TARGETS`
SUM_OF_PROBABILITIES = 0.999e-3  # further from 1 `inputs` has to decide
WEIGHTS = 1e-15, 1e15  # the largest weight lies between them, as `inputs` has it


class Few(NamedTuple):
    """A call on few samples: all but these."""

    task: Task
    update: Update
    before: np.ndarray  # (vectors that a step changes, length): as they were before the step
    sums: np.ndarray
    targets: int  # the values that y may hold: a place in `TARGETS`
    missing: bool  # whether y may hold NaN


@functools.cache
def few_type(dtype: np.dtype) -> ReferenceType:
    """Numba's type of a reference to a `Few`."""
    before = types.Array(numba.from_dtype(np.dtype(dtype)), 2, "C")
    sums = types.Array(types.float64, 1, "C")
    fields = [task_type(dtype).to, update_type(dtype), before, sums, types.int64, types.boolean]
    return ReferenceType(types.NamedTuple(fields, Few))


_few_in = reference_in(few_type)
_set_X, _set_Y, _set_labels, _set_s = map(setter, ("X", "Y", "labels", "s"))
_set_order, _set_first, _set_c = map(setter, ("order", "first", "c"))


class Ready(NamedTuple):
    """The array that holds a `Few`, and the arrays that it refers to."""

    memory: np.ndarray  # of the network's dtype, which tells the kernels what is in it
    few: Few


@kernel(entry=True)
def _store(memory, few):
    return stored(memory, few)


def ready(bound: Bound, cost: Cost, update: Update | None = None) -> Ready:
    """All but the samples of calls on few samples; with an update also of steps."""
    dtype, model = bound.theta.dtype, bound.model
    n_in, n_out = model.layers["width"][[0, -1]].tolist()
    X = read_only(np.zeros((1, n_in), dtype))
    samples, order = without_targets(X, n_out, dtype), bound.work.no_order
    task = Task(Team(order, 0, 1), model, bound.theta, samples, order, bound.work)
    vectors = 0
    if update is None:
        update = no_update(len(bound.theta), dtype)
    else:
        vectors = 1 + len(update.states) + (len(update.mean) > 0)
    before, sums = np.zeros((vectors, len(bound.theta)), dtype), np.zeros(N_SUMS)
    few = Few(task, update, before, sums, TARGETS.index(cost.targets), cost.missing)
    n_bytes = _store(np.zeros(0, dtype), few)
    memory = aligned_zeros(-(-n_bytes // dtype.itemsize), dtype)
    _store(memory, few)
    return Ready(memory, few)


# --- samples -------------------------------------------------------------------------------------


@kernel
def is_finite(x):
    """Whether all elements of a vector are finite."""
    total, zero = x.dtype.type(0), x.dtype.type(0)
    for p in range(x.shape[0]):
        total += x[p] * zero  # NaN or infinity times 0 is NaN
    return total == zero


@kernel
def are_targets(Y, targets, missing):
    """Whether a cost takes these values of y: they are all finite, or known to be missing."""
    if targets == REAL and not missing:
        return is_finite(Y.reshape(Y.size))
    for i in range(Y.shape[0]):
        total, n_known = 0.0, 0
        for k in range(Y.shape[1]):
            y = Y[i, k]
            if missing and y != y:
                continue
            if not abs(y) < np.inf:
                return False
            n_known, total = n_known + 1, total + y
            if targets == UNIT or targets == DISTRIBUTION:
                if y < 0 or y > 1:
                    return False
            elif targets == SIGN:
                if abs(y) != 1:
                    return False
            elif targets != REAL and (y < 0 or (targets == POSITIVE and y == 0)):
                return False
        if n_known == 0 or (targets == DISTRIBUTION and abs(total - 1) > SUM_OF_PROBABILITIES):
            return False
    return True


@kernel
def are_labels(labels, n):
    """Whether all labels are places of n outputs."""
    right = True
    for i in range(labels.shape[0]):
        right &= 0 <= labels[i] < n
    return right


@kernel
def are_weights(s):
    """Whether all are numbers of at least 0, and the largest is neither tiny nor huge."""
    low, high = WEIGHTS
    largest = 0.0
    for i in range(s.shape[0]):
        if not 0 <= s[i] < high:
            return False
        largest = max(largest, s[i])
    return s.shape[0] == 0 or largest > low


@kernel
def has_coefficients(update):
    """Whether those of the next step are known."""
    known, place = update.c.shape[0], update.t[0] - update.first
    return known == 1 or 0 <= place < known


@kernel(entry=True)
def take(memory, X, Y, labels, s):
    """Whether calls can be about these samples: Y (n_samples, n_L) or labels; s may be (0,)."""
    few = _few_in(memory)
    samples, layers = few.task.samples, few.task.model.layers
    n_out = layers[layers.shape[0] - 1]["width"]
    if not (has_coefficients(few.update) and is_finite(X.reshape(X.size)) and are_weights(s)):
        return False
    if not (are_targets(Y, few.targets, few.missing) and are_labels(labels, n_out)):
        return False
    _set_X(samples, X)
    _set_Y(samples, Y)
    _set_labels(samples, labels)
    _set_s(samples, s)
    return True


@kernel(entry=True)
def take_checked(memory, X, Y, labels, s):
    """Calls are about these samples, which have been checked."""
    samples = _few_in(memory).task.samples
    _set_X(samples, X)
    _set_Y(samples, Y)
    _set_labels(samples, labels)
    _set_s(samples, s)


# --- calls ---------------------------------------------------------------------------------------


@kernel(entry=True)
def cost_of_few(memory):
    """The mean cost."""
    few = _few_in(memory)
    sums = few.sums
    sums[:] = 0
    cost_tiles(few.task, sums, 0, few.task.samples.X.shape[0])
    return sums[COST] / sums[WEIGHT]


@kernel(entry=True)
def gradient_of_few(memory, total, flat, below):
    """The mean cost; flat, (n_parameters,), becomes the gradient of sum_i s_i / total C_i.

    Row i of below becomes s_i / total dC_i/da^0. Either is left out where it has length 0.
    """
    few = _few_in(memory)
    task, sums, g = few.task, few.sums, few.update.g
    sums[:] = 0
    if flat.shape[0] == 0:
        g = g[:0]
    g[:] = 0
    gradient_tiles(task, total, g, below, sums, 0, task.samples.X.shape[0])
    if flat.shape[0] > 0:
        without_padding(task.model, flat, g)
    return sums[COST] / sums[WEIGHT]


@kernel
def _keep(few):
    """A copy of the parameters and states."""
    update, before = few.update, few.before
    copy(few.task.theta, before[0])
    n = update.states.shape[0]
    for u in range(n):
        copy(update.states[u], before[1 + u])
    if update.mean.shape[0] > 0:
        copy(update.mean, before[1 + n])


@kernel
def _take_back(few):
    """All that has changed since the copy was made, but for the number of steps."""
    update, before = few.update, few.before
    copy(before[0], few.task.theta)
    n = update.states.shape[0]
    for u in range(n):
        copy(before[1 + u], update.states[u])
    if update.mean.shape[0] > 0:
        copy(before[1 + n], update.mean)


@kernel(entry=True)
def step_of_few(memory, order, seed):
    """A step on the samples in this order: the mean cost before it.

    Infinity, and nothing has changed, where the cost or a parameter would not be finite.
    """
    few = _few_in(memory)
    task, sums, n = few.task, few.sums, order.shape[0]
    _set_order(task, order)
    sums[:] = 0
    _keep(few)
    if train_tiles(task, few.update, n, seed, sums, 0, n) < n:
        return np.inf
    if not is_finite(task.theta):
        _take_back(few)
        few.update.t[0] -= 1
        return np.inf
    return sums[COST] / sums[WEIGHT]


@kernel(entry=True)
def pass_of_few(memory, order, batch_size, seed, sums):
    """Steps on minibatches of the samples in this order; their costs are added to the sums.

    False, and nothing has changed, where a cost or a parameter would not be finite.
    """
    few = _few_in(memory)
    task, update, n, steps = few.task, few.update, order.shape[0], few.update.t[0]
    _set_order(task, order)
    _keep(few)
    few.sums[:] = 0
    reached = train_tiles(task, update, batch_size, seed, few.sums, 0, n)
    if reached < n or not is_finite(task.theta):
        _take_back(few)
        update.t[0] = steps
        return False
    sums[COST] += few.sums[COST]
    sums[WEIGHT] += few.sums[WEIGHT]
    return True


@kernel(entry=True)
def apply_to_few(memory, flat):
    """A step with this gradient, (n_parameters,): 0, or infinity as `step_of_few`.

    NaN, and nothing has changed, where the gradient is not finite or there are no coefficients.
    """
    few = _few_in(memory)
    task, update = few.task, few.update
    if not (is_finite(flat) and has_coefficients(update)):
        return np.nan
    pad(task.model, flat, update.g)
    _keep(few)
    step_with_complete_gradient(task, update)
    if not is_finite(task.theta):
        _take_back(few)
        update.t[0] -= 1
        return np.inf
    return 0.0


@kernel(entry=True)
def _set_coefficients(memory, first, c):
    update = _few_in(memory).update
    _set_first(update, first)
    _set_c(update, c)


def with_coefficients(ready: Ready, update: Update) -> Ready:
    """For the steps whose coefficients this update has."""
    _set_coefficients(ready.memory, update.first, update.c)
    return ready._replace(few=ready.few._replace(update=update))
