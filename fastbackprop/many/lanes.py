"""An epoch of several trainings of one kind, with their networks on the lanes of vectors."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastbackprop import samples as sums_of
from fastbackprop.engines import lanes
from fastbackprop.engines.lanes import ALIVE, COST, MOST_ROWS, STRIP, WEIGHT
from fastbackprop.engines.update import N_COEFFICIENTS
from fastbackprop.inputs.on_disk import in_memory
from fastbackprop.machine import Pause, slices
from fastbackprop.optimizers.adam import ADAM, ADAMW, NADAM, RADAM
from fastbackprop.optimizers.adaptive import ADAGRAD, RMSPROP
from fastbackprop.optimizers.sgd import MOMENTUM, NESTEROV, PLAIN
from fastbackprop.training.callbacks import EndOfTraining
from fastbackprop.training.trainer import Trainer

MOST_PLACES = 1 << 14  # of the orders that are made ready at once
NO_WEIGHTS = np.zeros((0, 1))

# Rules that need nothing but + - * / and the square root, and at most two states.
RULES = {
    rule.rule for rule in (PLAIN, MOMENTUM, NESTEROV, ADAM, ADAMW, NADAM, RADAM, RMSPROP, ADAGRAD)
}


def kind(training: Trainer) -> Any:
    """Equal for trainings whose networks may share vectors; None for those that may not."""
    machine, plan, stepper = training.machine, training.plan, training.stepper
    samples, rule = plan.samples, stepper.settings.rule
    if (
        type(training) is not Trainer
        or training.perturbed is not machine.model
        or samples is None
        or samples.is_sparse
        or not in_memory(samples)
        or not stepper.is_rule_alone
        or rule.rule not in RULES
    ):
        return None
    size, n = plan.batch_size, plan.n_samples
    if size is None or size > MOST_ROWS >= n:
        size = n
    if size > MOST_ROWS:
        return None
    data = id(samples.X), id(samples.Y), id(samples.labels)
    listeners = tuple(id(callback) for callback in training.callbacks.having("on_pause"))
    description = machine.sizes, tuple(machine.sigma), machine.cost, machine.dtype
    return *description, size, rule.rule, rule.n_states, data, listeners


def share(kind: Any) -> int:
    """How many trainings of a kind have a turn together."""
    return lanes.width(kind[3])


def few(trainings: Sequence[Trainer]) -> bool:
    """Whether these networks of one kind are faster one after the other."""
    machine = trainings[0].machine
    return len(trainings) < lanes.fewest(machine.layout.n_parameters, machine.dtype)


class Group:
    """Memory for V networks of a kind; one call at a time uses it."""

    def __init__(self, kind: Any, training: Trainer) -> None:
        *_, self.dtype, self.batch_size, formula, n_states, _, _ = kind
        assert training.plan.samples is not None
        self.samples = training.plan.samples  # X and y are those of all; weights are not
        self.layout = training.machine.layout
        self.V = share(kind)
        self.index = self.layout.flatten(np.arange(self.layout.length))  # of each parameter
        self.lanes = lanes.make(training.machine.model, n_states, self.batch_size, self.dtype)
        self.values = self.lanes.values.reshape(1 + n_states, -1, self.V)
        self.rule = lanes.compiled_rule(formula, n_states, self.dtype)

    def epoch(self, trainings: Sequence[Trainer]) -> list[Trainer]:
        """The next epoch of up to V trainings; returns those whose networks diverged.

        Raises EndOfTraining, as a pause does, with all networks between two steps.
        """
        pause = trainings[0].pause(lambda: None)
        began = [training.begin_epoch() for training in trainings]
        samples = [training.plan.samples or self.samples for training in trainings]
        orders = [
            training.order(of_lane) for training, of_lane in zip(trainings, samples, strict=True)
        ]
        self._pack(trainings)
        sums = np.zeros((3, self.V))
        sums[ALIVE] = 1
        taken = np.zeros(len(trainings), np.int64)
        try:
            self._passes(trainings, orders, sums, taken, pause)
        except EndOfTraining:
            self._unpack(trainings, sums, taken)
            raise
        sums[ALIVE] *= np.isfinite(self.values[0]).all(axis=0)
        self._unpack(trainings, sums, taken)
        diverged = []
        for lane, training in enumerate(trainings):
            training.sums[[sums_of.COST, sums_of.WEIGHT]] = sums[[COST, WEIGHT], lane]
            if not sums[ALIVE, lane]:  # nothing of it is changed: once more, as `fit` does it
                training.sums[:] = 0
                if not training.one_pass(samples[lane], orders[lane], pause):
                    diverged.append(training)
                    continue
            training.end_epoch(training.end_steps(began[lane], pause))
        return diverged

    def _passes(
        self,
        trainings: Sequence[Trainer],
        orders: Sequence[np.ndarray],
        sums: np.ndarray,
        taken: np.ndarray,
        pause: Pause,
    ) -> None:
        """The steps of an epoch; `taken` counts those of each network."""
        n, size = max(map(len, orders)), self.batch_size
        work = self.layout.n_parameters * self.V
        for start, stop in slices(n, size, size, work, MOST_PLACES // size * size):
            if start:
                pause()
            steps, takes = self._steps(trainings, orders, start, stop)
            lanes.train(self.lanes, steps, sums.reshape(-1), 0, len(takes))
            taken_now = takes[:, : len(trainings)].sum(axis=0)
            taken += taken_now
            for training, more in zip(trainings, taken_now.tolist(), strict=True):
                training.stepper.steps += more

    def _steps(
        self, trainings: Sequence[Trainer], orders: Sequence[np.ndarray], start: int, stop: int
    ) -> tuple[lanes.Steps, np.ndarray]:
        """The minibatches of places start ... stop, and which lanes take a step, (steps, V)."""
        V, K = self.V, len(trainings)
        places = _places(start, stop, self.batch_size, tuple(map(len, orders)), V)
        order = np.zeros((len(places.real), V), np.int64)
        numbers = [of_lane[i] for of_lane, i in zip(orders, places.indices, strict=True)]
        order[:, :K] = np.transpose(numbers)
        takes, weight = places.counts > 0, NO_WEIGHTS
        weights = [training.plan.samples.s for training in trainings if training.plan.samples]
        if any(map(len, weights)):
            weight = np.ones((len(order), V))
            for lane, s in enumerate(weights):
                if len(s):
                    weight[:, lane] = s[numbers[lane]]
            takes = np.add.reduceat(weight * places.real, places.starts[:-1]) > 0
        c = np.zeros((len(takes), N_COEFFICIENTS, V), self.dtype)
        for lane, training in enumerate(trainings):
            m = int(np.count_nonzero(places.counts[:, lane]))
            rows = training.stepper.coefficients(m)
            if len(weight) and len(rows) > 1:
                before: np.ndarray = np.cumsum(takes[:m, lane]) - takes[:m, lane]
                rows = rows[before]
            c[:m, :, lane] = rows
        arrays = order.reshape(-1), weight.reshape(-1), places.counts.reshape(-1), places.starts
        return lanes.Steps(self.samples, *arrays, self.rule, c.reshape(-1)), takes

    def _pack(self, trainings: Sequence[Trainer]) -> None:
        for lane, training in enumerate(trainings):
            for vector, of_lanes in zip(_vectors(training), self.values, strict=True):
                of_lanes[:, lane] = vector[self.index]

    def _unpack(self, trainings: Sequence[Trainer], sums: np.ndarray, taken: np.ndarray) -> None:
        """Give each network its parameters and states, but for those that diverged."""
        for lane, training in enumerate(trainings):
            if sums[ALIVE, lane]:
                for vector, of_lanes in zip(_vectors(training), self.values, strict=True):
                    vector[self.index] = of_lanes[:, lane]
            else:
                training.stepper.steps -= int(taken[lane])


def _vectors(training: Trainer) -> list[np.ndarray]:
    return [training.machine.theta, *training.stepper.states]


class _Places(NamedTuple):
    """The places of some minibatches, padded to whole strips."""

    indices: list[np.ndarray]  # of each lane: which sample of its order is at each place, (places,)
    real: np.ndarray  # (places, V): whether it counts, or is padding
    counts: np.ndarray  # (steps, V) float64: samples of the lane's minibatch
    starts: np.ndarray  # (steps + 1,): the first place of each


@functools.lru_cache(maxsize=8)
def _places(start: int, stop: int, size: int, n: tuple[int, ...], V: int) -> _Places:
    """Of the samples start ... stop of orders of n samples, `size` to a minibatch."""
    first = np.arange(start, stop, size)
    padded, last = (-(-width // STRIP) * STRIP for width in (size, min(size, stop - first[-1])))
    n_places, offset = (len(first) - 1) * padded + last, np.arange(padded)
    index = (first[:, None] + np.minimum(offset, size - 1)).reshape(-1)[:n_places]
    indices = {length: np.minimum(index, length - 1) for length in set(n)}
    lengths = np.array([*n, *(0,) * (V - len(n))])
    counts = np.clip(lengths - first[:, None], 0, size).astype(np.float64)
    real = (offset[:, None] < counts[:, None]).reshape(-1, V)[:n_places]
    starts = np.minimum(np.arange(len(first) + 1) * padded, n_places)
    return _Places([indices[length] for length in n], real, counts, starts)
