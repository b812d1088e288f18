"""Epochs of several trainings of one kind, with their networks on the lanes of vectors."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbackprop.engines import lanes
from fastbackprop.engines.lanes import COST, MOST_ROWS, N_FIGURES, SQUARES, WEIGHT
from fastbackprop.engines.update import N_COEFFICIENTS
from fastbackprop.inputs.on_disk import in_memory
from fastbackprop.machine import slices
from fastbackprop.many import choice
from fastbackprop.optimizers.adam import ADAM, ADAMW, NADAM, RADAM
from fastbackprop.optimizers.adaptive import ADAGRAD, RMSPROP
from fastbackprop.optimizers.sgd import MOMENTUM, NESTEROV, PLAIN
from fastbackprop.training.orders import Orders
from fastbackprop.training.trainer import DivergenceError, Trainer

MOST_PLACES = 1 << 16  # of the orders that are made ready at once, but for those of one epoch
NO_WEIGHTS = np.zeros(0)

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
        or stepper.only_penalty is None
        or rule.rule not in RULES
        or training.callbacks.having("on_batch_end")
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


def few(n: int, kind: Any) -> bool:
    """Whether n networks of a kind are faster one after the other."""
    sizes, _, _, dtype, *_ = kind
    return choice.together(n, sizes, share(kind), dtype) < n


class Group:
    """Memory for V networks of a kind; one call at a time uses it."""

    def __init__(self, kind: Any, training: Trainer) -> None:
        *_, self.dtype, self.batch_size, formula, self._n_states, _, _ = kind
        assert training.plan.samples is not None
        self.samples = training.plan.samples  # X and y are those of all; weights are not
        self.layout, self.V = training.machine.layout, share(kind)
        self._index = self.layout.flatten(np.arange(self.layout.length))  # of each parameter
        self._lanes = lanes.make(
            training.machine.model, self._n_states, self.batch_size, self.dtype
        )
        self._before = np.empty_like(self._lanes.values)  # the values, before some epochs
        self._rule = lanes.compiled_rule(formula, self._n_states, self.dtype)
        self._order = np.zeros(0, np.int64)
        self._seconds = float("inf")  # of an epoch

    def turn(self, members: Sequence[Any], seconds: float) -> list[Any]:
        """Epochs of up to V trainings, for so many seconds; returns those that diverged.

        A training's first turn is one epoch. Raises EndOfTraining, as a pause does, with all
        networks between two steps.
        """
        trainings = [member.training for member in members]
        addresses = np.zeros((1 + self._n_states, self.V), np.int64)
        for lane, member in enumerate(members):
            addresses[:, lane] = member.addresses()
        first = any(member.is_new for member in members)
        end, looked_at = time.perf_counter() + seconds, any(t.is_looked_at for t in trainings)
        orders, packed, lost = self._orders(trainings), False, []
        for member in members:
            member.remember_generator()
        try:
            while True:
                if not packed:
                    self._pack(addresses)
                    packed = True
                n = 1 if first else self._epochs_at_once(trainings, end)
                run = _Run(self, trainings, orders, n)
                try:
                    run.take()
                finally:
                    alive = run.alive
                    self._unpack(addresses * ~alive, self._before)
                    run.take_back()
                    addresses *= alive
                if looked_at:
                    self._unpack(addresses, self._lanes.values)
                    packed = False
                run.tell()
                for lane in np.flatnonzero(~alive[: len(members)]).tolist():
                    members[lane].rewind_generator()
                    if not run.take_again(lane):
                        lost.append(members[lane])
                if first or not alive.all() or time.perf_counter() > end:
                    return lost
                if sum(training.goes_on() for training in trainings) < len(trainings):
                    return lost
        finally:
            if packed:
                self._unpack(addresses, self._lanes.values)

    def _epochs_at_once(self, trainings: Sequence[Trainer], end: float) -> int:
        """So many as there is time for, and none beyond the last of any training."""
        left = min(
            min(training.plan.epochs - len(training.history), training.epochs_ahead)
            for training in trainings
        )
        places = self.V * max(training.plan.n_samples for training in trainings)
        in_time = (end - time.perf_counter()) / self._seconds
        return int(max(1, min(left, in_time, MOST_PLACES // places)))

    def _orders(self, trainings: Sequence[Trainer]) -> Orders:
        generators = [training.rng if training.plan.shuffle else None for training in trainings]
        lengths = [training.plan.n_samples for training in trainings]
        empty = self.V - len(trainings)
        return Orders(
            trainings[0].machine.engine, generators + [None] * empty, lengths + [0] * empty
        )

    def _pack(self, addresses: np.ndarray) -> None:
        lanes.pack(self._lanes.values, self._index, self.layout.length, addresses.reshape(-1))

    def _unpack(self, addresses: np.ndarray, values: np.ndarray) -> None:
        lanes.unpack(values, self._index, self.layout.length, addresses.reshape(-1))

    def order_of(self, n_epochs: int, n: int) -> np.ndarray:
        """Memory for orders of n samples, (n_epochs, V, n): its values are numbers of rows."""
        places = n_epochs * self.V * n
        if len(self._order) < places:
            self._order = np.zeros(places, np.int64)
        return self._order[:places].reshape(n_epochs, self.V, n)


class _Run:
    """Some epochs of a group, taken together.

    Attributes
    ----------
    alive : ndarray, (V,) bool
        Which networks have a finite cost and finite parameters.
    """

    def __init__(
        self, group: Group, trainings: Sequence[Trainer], orders: Orders, n_epochs: int
    ) -> None:
        self._group, self._trainings, self._n_epochs = group, trainings, n_epochs
        self._orders = orders
        self._pause = trainings[0].pause(_nothing)
        self._steps = [training.stepper.steps for training in trainings]
        self._taken, self.alive = np.zeros(group.V, np.int64), np.ones(group.V, bool)
        self._sums = np.zeros((n_epochs, N_FIGURES, group.V))

    def take(self) -> None:
        """The steps. Raises EndOfTraining, between two steps."""
        group, trainings = self._group, self._trainings
        self._began = [training.begin_epoch() for training in trainings]
        started = time.perf_counter()
        epochs = self._epochs()
        group._before[:] = group._lanes.values
        n, size = epochs.n, group.batch_size
        work, alive = group.layout.n_parameters * group.V, epochs.alive
        pieces = slices(n, size, size, work) if self._n_epochs == 1 else [(0, n)]
        try:
            for start, stop in pieces:
                if start:
                    self._pause()
                epochs = self._with_coefficients(epochs, start, stop)
                lanes.train(group._lanes, epochs, self._sums.reshape(-1), start, stop)
                for lane, training in enumerate(trainings):
                    training.stepper.steps = self._steps[lane] + int(self._taken[lane])
        finally:
            self.alive = alive > 0
        group._seconds = (time.perf_counter() - started) / self._n_epochs

    def _epochs(self) -> lanes.Epochs:
        """All but the coefficients."""
        group, trainings = self._group, self._trainings
        lengths = self._orders.lengths
        n = int(lengths.max())
        order, weight = group.order_of(self._n_epochs, n), NO_WEIGHTS
        weights = [t.plan.samples.s for t in trainings if t.plan.samples is not None]
        if any(map(len, weights)):
            weight = np.ones(order.shape)
        self._orders.draw(order)
        for lane, (training, s) in enumerate(zip(trainings, weights, strict=True)):
            length, rows = lengths[lane], training.plan.rows
            if rows is not None:
                places = order[:, lane, :length]
                np.take(rows, places, out=places, mode="clip")  # they are in range
            if len(s):
                weight[:, lane, :length] = s[order[:, lane, :length]]
        penalty = np.zeros((group.V, 2), group.dtype)
        penalty[: len(trainings)] = [training.stepper.only_penalty for training in trainings]
        return lanes.Epochs(
            samples=group.samples,
            order=order.reshape(-1),
            weight=weight.reshape(-1),
            lengths=lengths,
            n=n,
            batch_size=group.batch_size,
            rule=group._rule,
            c=np.zeros(0, group.dtype),
            c_rows=0,
            c_first=np.zeros(group.V, np.int64),
            penalty=penalty.T.reshape(-1) if penalty.any() else np.zeros(0, group.dtype),
            taken=self._taken,
            alive=np.ones(group.V, group.dtype),
        )

    def _with_coefficients(self, epochs: lanes.Epochs, start: int, stop: int) -> lanes.Epochs:
        """Those of the steps on places start ... stop of each epoch."""
        of_each, most = [], 1
        for length, training in zip(epochs.lengths.tolist(), self._trainings, strict=False):
            steps = max(0, -(-(min(length, stop) - start) // epochs.batch_size))
            rows = training.stepper.coefficients(self._n_epochs * steps)
            of_each.append(rows)
            most = max(most, len(rows))
        c = np.zeros((self._group.V, most, N_COEFFICIENTS), self._group.dtype)
        for lane, rows in enumerate(of_each):
            c[lane, : len(rows)] = rows
            if len(rows) == 1:
                c[lane, 1:] = rows
        first = self._taken.copy()
        return epochs._replace(c=c.reshape(-1), c_rows=most, c_first=first)

    def take_back(self) -> None:
        """Steps of those that are not alive have not been taken."""
        for training, steps, alive in zip(self._trainings, self._steps, self.alive, strict=False):
            if not alive:
                training.stepper.steps = steps

    def take_again(self, lane: int) -> bool:
        """What this training does by itself, from the same start; False where it diverges."""
        training = self._trainings[lane]
        try:
            training.rest_of_epoch(self._began[lane], _nothing)
            for _ in range(self._n_epochs - 1):
                training.one_epoch(_nothing)
        except DivergenceError:
            return False
        return True

    def tell(self) -> None:
        """The figures of the epochs, to the histories and the callbacks."""
        figures = self._sums[:, [COST, WEIGHT, SQUARES]].transpose(2, 0, 1).tolist()
        for of_one, training, alive in zip(figures, self._trainings, self.alive, strict=False):
            if alive:
                training.epochs_over(of_one, self._group._seconds, self._pause)


def _nothing() -> None: ...
