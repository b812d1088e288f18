"""StepTrainer: training by steps that the caller asks for, one at a time."""

import copy
import os
from typing import Any

import numpy as np

from fastbackprop import inputs
from fastbackprop.jit.interrupts import deferred
from fastbackprop.numbers import number
from fastbackprop.optimizers import LBFGS, Optimizer
from fastbackprop.samples import COST, WEIGHT
from fastbackprop.training import checkpoint
from fastbackprop.training.callbacks import Callbacks
from fastbackprop.training.dropout import as_dropout
from fastbackprop.training.fit import as_optimizer
from fastbackprop.training.interrupted import Interrupted
from fastbackprop.training.plan import Plan, samples_of
from fastbackprop.training.short_steps import ShortSteps
from fastbackprop.training.trainer import Trainer, diverged


class StepTrainer:
    """An optimizer at work on a network, a step at a time: `Network.trainer` makes it.

    The optimizer's hyperparameters are read once. It keeps its state, so `fit` with the same
    optimizer continues it, and steps after that `fit` continue again. To a schedule each step is an
    epoch of one step. Ctrl-C never lands inside a step. A trainer can be copied and pickled, with
    its network and optimizer; threads must take turns.

    Attributes
    ----------
    network : Network
    optimizer : Optimizer
    """

    def __init__(
        self,
        network: Any,
        optimizer: Any,
        dropout: Any = 0.0,
        n_threads: Any = None,
        missing_targets: bool = False,
    ) -> None:
        self.network, self.optimizer = network, as_optimizer(optimizer)
        self._settings = dropout, n_threads, missing_targets
        if isinstance(self.optimizer, LBFGS):
            raise ValueError(
                "LBFGS takes no single steps, it searches along lines: use fit(optimizer=LBFGS()), "
                "or fb.minimize for a loss of your own"
            )
        self._prepare()

    def _prepare(self) -> None:
        dropout, n_threads, missing_targets = self._settings
        self.optimizer.check_free_for(self.network.machine)
        dropout = as_dropout(dropout)
        dropout.refuse_schedule("a trainer of single steps")
        plan = Plan(
            epochs=1,
            parts=(),
            rates=dropout.rates(self.network.n_layers),
            noise=dropout.deviation(),
            n_threads=inputs.thread_count(n_threads),
            missing_targets=inputs.flag(missing_targets, "missing_targets"),
        )
        self._steps = _Steps(self.network, plan, self.optimizer, Callbacks(()))

    def __copy__(self) -> "StepTrainer":
        return copy.deepcopy(self)  # a copy that shared the network would not be another trainer

    def __getstate__(self) -> dict[str, Any]:
        return {
            "network": self.network,
            "optimizer": self.optimizer,
            "settings": self._settings,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.network, self.optimizer = state["network"], state["optimizer"]
        self._settings = state["settings"]
        self._prepare()

    def __repr__(self) -> str:
        return f"<StepTrainer of {self.network!r} with {self.optimizer!r}, step {self.steps}>"

    @property
    def steps(self) -> int:
        """Steps taken since the optimizer's state was new."""
        return self.optimizer.steps

    def step(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """One step on these samples, all in one minibatch and in this order.

        The bits are those of `partial_fit` with one minibatch and without shuffling.

        Parameters
        ----------
        X, y, sample_weight
            As for `Network.evaluate`. C-contiguous arrays of the network's dtype, and integer
            labels, are checked inside the native call.

        Returns
        -------
        float
            The mean cost of the samples before the step.

        Raises
        ------
        ValueError, TypeError
            As `Network.evaluate`; nothing is changed then.
        DivergenceError
            Where the cost, or a parameter after the step, is not finite; nothing is changed then.
        RuntimeError
            During a `fit` of this network.
        Interrupted
            After Ctrl-C, before the step or after it.
        """
        try:
            steps = self._at_work()
            if steps.short is not None:
                cost = steps.short.step(X, y, sample_weight)
                if cost is not None:
                    if cost == np.inf:
                        raise steps.divergence()
                    return cost
            return steps.step(X, y, sample_weight)
        except KeyboardInterrupt:
            raise self._interrupted() from None

    def apply(self, gradient: Any, cost: float | None = None) -> None:
        """One step with a gradient from elsewhere, such as `Network.backward`.

        Clipping, penalties, averaging and schedule are as in `step`.

        Parameters
        ----------
        gradient : array_like, (n_parameters,)
            In the order of `get_parameters`.
        cost : float, optional
            For a schedule that depends on it, such as `Plateau`.

        Raises
        ------
        ValueError, TypeError
            For another shape, values that are not finite, or a missing cost; nothing is changed
            then.
        DivergenceError, RuntimeError, Interrupted
            As `step`.
        """
        try:
            self._apply(self._at_work(), gradient, cost)
        except KeyboardInterrupt:
            raise self._interrupted() from None

    def _apply(self, steps: "_Steps", gradient: Any, cost: float | None) -> None:
        schedule = steps.stepper.schedule
        if cost is not None:
            cost = number(cost, "cost")
        elif schedule is not None and schedule.get_state():
            raise ValueError(
                f"the schedule {schedule!r} goes by the cost of each step: pass apply(gradient, "
                f"cost=...)"
            )
        taken = None if steps.short is None else steps.short.apply(gradient, cost)
        if taken == np.inf:
            raise steps.divergence()
        if taken is None:
            steps.apply(gradient, cost)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write parameters and the states of the optimizer, schedule and generator to a file.

        It is a checkpoint, as `Checkpoint` writes it. Raises OSError where that fails; what was in
        the file is still there then.
        """
        steps = self._at_work()
        with deferred():
            checkpoint.save(inputs.file_of(path, self.network.machine.theta), steps)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Continue from a file of `save`, of a trainer with the same network and settings.

        Raises OSError or ValueError, and nothing is changed, for anything else.
        """
        steps = self._at_work()
        with deferred():
            checkpoint.restore(inputs.file_path(path, "path"), steps)

    def _interrupted(self) -> Interrupted:
        """The error after Ctrl-C, which may have come when the memory of steps was lent."""
        self._prepare()
        message = f"training interrupted after {self.steps} steps"
        return Interrupted(message, self._steps.history)

    def _at_work(self) -> "_Steps":
        """The steps, prepared anew where the optimizer's state or hyperparameters were replaced."""
        if self.network.is_training:
            raise RuntimeError(
                "a step cannot be taken while fit trains the same network: take it before or after "
                "fit, or train a copy.deepcopy of the network"
            )
        if not self.optimizer.is_at_work(self._steps.stepper):
            self._prepare()
        return self._steps


class _Steps(Trainer):
    """Single steps by the means of `fit`, and, where there is one, by the short way."""

    def __init__(
        self, network: Any, plan: Plan, optimizer: Optimizer, callbacks: Callbacks
    ) -> None:
        super().__init__(network, plan, optimizer, callbacks)
        self.stepper = optimizer.stepper(self.machine)
        self.short: ShortSteps | None = None
        if ShortSteps.are_possible(self.machine, self.stepper, plan.n_threads):
            self.short = ShortSteps(self.machine, self.perturbed, self.stepper, network.rng)

    def divergence(self) -> Exception:
        """The error of the step that would come next."""
        return diverged(f"step {self.stepper.steps + 1}", self.history)

    def step(self, X: Any, y: Any, sample_weight: Any) -> float:
        """The mean cost before a step on these samples."""
        if self.plan.noise:
            inputs.refuse_sparse(X, "input noise would make it dense")
        samples = samples_of(self.machine, X, y, sample_weight)
        with deferred() as interrupt:
            self.stepper.begin_epoch(1)
            self.sums[:] = 0
            if not self._part(samples, interrupt):
                raise self.divergence()
            cost = float(self.sums[COST] / self.sums[WEIGHT])
            self._ended(cost)
        return cost

    def apply(self, gradient: Any, cost: float | None) -> None:
        """A step with this gradient."""
        machine = self.machine
        n = machine.layout.n_parameters
        flat = inputs.parameters(gradient, n, machine.dtype, "gradient")
        with deferred(), machine.bound() as bound:
            self.stepper.begin_epoch(1)
            self._keep()
            for _, _, update in self.stepper.turns(0, 1, 1):
                machine.layout.unflatten(flat, update.g)
                machine.engine.take_step(bound, update)
            if not self._finite():
                self._restore()
                raise self.divergence()
            self._ended(cost)

    def _ended(self, cost: float | None) -> None:
        if self.stepper.schedule is not None and cost is not None:
            self.stepper.schedule.epoch_ended(cost)
