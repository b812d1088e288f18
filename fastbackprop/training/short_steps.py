"""Steps of few samples, and passes over few, each one native call."""

import dataclasses
from operator import itemgetter
from typing import Any

import numpy as np

from fastbackprop.jit.interrupts import deferred
from fastbackprop.machine import Machine
from fastbackprop.numbers import is_plain
from fastbackprop.optimizers import Optimizer
from fastbackprop.optimizers.steps import Stepper
from fastbackprop.samples import Samples

MANY = 1024  # steps whose coefficients are computed at once


class ShortSteps:
    """An optimizer at work on a network by the engine's short way: all but the samples is settled.

    A step returns None, and has changed nothing, where it has to go the long way; and infinity,
    with the parameters and states from before the step, where that diverges.

    Parameters
    ----------
    machine : Machine
        Its cost tells which samples are accepted.
    model
        Of the engine's `perturbed`.
    stepper : Stepper
    rng : numpy.random.Generator
        For dropout and shuffling.
    """

    def __init__(
        self, machine: Machine, model: Any, stepper: Stepper, rng: np.random.Generator
    ) -> None:
        self.machine, self.model, self.stepper, self._rng = machine, model, stepper, rng
        self._has_noise = model is not machine.model
        self._short = machine.engine.short
        self._order = np.arange(0)
        self._update = stepper.next(MANY)
        self._idle = [machine.ready(model, self._update)]

    @staticmethod
    def are_possible(machine: Machine, stepper: Stepper, n_threads: int | None) -> bool:
        """Whether the engine has them, and the step is not a Python function's."""
        one = n_threads in (None, 1)
        return one and machine.engine.short is not None and stepper.settings.function is None

    def step(self, X: Any, y: Any, sample_weight: Any, shuffle: bool = False) -> float | None:
        """One step on these samples; their mean cost before it."""
        arrays = self.machine.few_samples(X, y, sample_weight)
        if arrays is None:
            return None
        ready = self._lent()
        try:
            if not self._short.take(ready.memory, *arrays):
                ready = self._renewed(ready)
                if not self._short.take(ready.memory, *arrays):
                    return None
            if self.stepper.schedule is None:
                return self._step(ready, len(arrays[0]), shuffle)
            with deferred():
                ready = self._scheduled(ready)
                cost = self._step(ready, len(arrays[0]), shuffle)
                if cost < np.inf:
                    self.stepper.schedule.epoch_ended(cost)
            return cost
        finally:
            self._idle.append(ready)

    def _step(self, ready: Any, n: int, shuffle: bool) -> float:
        order = self._rng.permutation(n) if shuffle else self._in_order(n)
        seed = int(self._rng.integers(2**32)) if self._has_noise else 0
        cost: float = self._short.step_of_few(ready.memory, order, seed)
        return cost

    def apply(self, gradient: Any, cost: float | None) -> float | None:
        """One step with this gradient, (n_parameters,); 0.0 where it was taken."""
        plain = type(gradient) is np.ndarray and gradient.dtype == self.machine.dtype
        n = self.machine.layout.n_parameters
        if not plain or gradient.shape != (n,) or not gradient.flags.carray:
            return None
        ready, schedule = self._lent(), self.stepper.schedule
        taken: float
        try:
            ready = self._renewed(ready)
            if schedule is None:
                taken = self._short.apply_to_few(ready.memory, gradient)
            else:
                with deferred():
                    ready = self._scheduled(ready)
                    taken = self._short.apply_to_few(ready.memory, gradient)
                    if cost is not None and taken < np.inf:
                        schedule.epoch_ended(cost)
            return None if np.isnan(taken) else taken
        finally:
            self._idle.append(ready)

    def _lent(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            raise RuntimeError(
                "another thread is in a step of this network: steps are taken one after the other"
            ) from None

    def _in_order(self, n: int) -> np.ndarray:
        if len(self._order) != n:
            self._order = np.arange(n)
        return self._order

    def _renewed(self, ready: Any) -> Any:
        """With the coefficients of the steps that come."""
        if self.stepper.schedule is None:
            update = self.stepper.next(MANY)
            if update is not self._update:
                self._update = update
                return self._short.with_coefficients(ready, update)
        return ready

    def _scheduled(self, ready: Any) -> Any:
        """With the coefficients of the next step, as the schedule has them."""
        if self.stepper.schedule is None:
            return ready
        self.stepper.begin_epoch(1)
        return self._short.with_coefficients(ready, self.stepper.next(1))


class Unchanged:
    """Whether an optimizer is at work as it was, asked in less time than its checks take."""

    def __init__(self, optimizer: Optimizer, stepper: Stepper) -> None:
        self._optimizer, self._stepper = optimizer, stepper
        names = [field.name for field in dataclasses.fields(optimizer) if field.init]
        self._hyperparameters = itemgetter(*names)
        self._values = self._hyperparameters(vars(optimizer))
        self._plain = is_plain(self._values)

    def __call__(self, optimizer: Optimizer) -> bool:
        """Never where a hyperparameter is an object, which may have changed without a trace."""
        return (
            optimizer is self._optimizer
            and self._plain
            and optimizer.is_at_work(self._stepper)
            and self._hyperparameters(vars(optimizer)) == self._values
        )


class ShortPasses:
    """Passes over the same samples, each one native call of one thread.

    Parameters
    ----------
    machine : Machine
    model
        Of the engine's `perturbed`.
    stepper : Stepper
    samples : Samples
        In memory; not sparse.
    """

    def __init__(self, machine: Machine, model: Any, stepper: Stepper, samples: Samples) -> None:
        self._short, self._stepper, self._samples = machine.engine.short, stepper, samples
        self._update = stepper.next(1)
        self._ready = machine.ready(model, self._update)
        arrays = samples.X, samples.Y, samples.labels, samples.s
        self._short.take_checked(self._ready.memory, *arrays)

    def take(self, order: np.ndarray, batch_size: int, seed: int, sums: np.ndarray) -> bool:
        """Steps on minibatches of the samples in this order; their costs are added to the sums.

        False, and nothing has changed, where that diverges.
        """
        update = self._stepper.next(-(-len(order) // batch_size))
        if update is not self._update:
            self._update, self._ready = update, self._short.with_coefficients(self._ready, update)
        taken: bool = self._short.pass_of_few(self._ready.memory, order, batch_size, seed, sums)
        return taken
