"""Early stopping: end a training where a figure stops improving, and restore the best epoch."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbackprop import inputs
from fastbackprop.numbers import number


@dataclass(frozen=True)
class EarlyStopping:
    """End the training where a figure has not improved for `patience` epochs in a row.

    NaN is never an improvement. The best value so far is that of this call of `fit`, or of the
    checkpoint that it continues.

    Parameters
    ----------
    patience : int
        Epochs without improvement, 1 at least.
    min_improvement : float
        An improvement is better than the best so far by more than this amount.
    restore_best : bool
        Give the network the parameters of the best epoch when the training ends, unless it ends by
        an exception. The optimizer keeps the state of the last step.
    monitor : str or None
        A column of the history. None: validation_cost, or, without validation, cost.
    maximize : bool or None
        Whether larger is better. None: costs are minimised, "accuracy" and "r2" maximised; for a
        metric of your own it must be given.
    """

    patience: int = 10
    min_improvement: float = 0.0
    restore_best: bool = True
    monitor: str | None = None
    maximize: bool | None = None

    def for_training(self, training: Any) -> "Stopping":
        """The state of one training. Raises TypeError or ValueError for settings without sense."""
        inputs.positive_integer(self.patience, "patience")
        inputs.flag(self.restore_best, "restore_best")
        number(self.min_improvement, "min_improvement", 0)
        directions = training.plan.figures()
        default = "validation_cost" if "validation_cost" in directions else "cost"
        monitor = inputs.choice(self.monitor or default, directions, "monitor")
        maximize = self.maximize
        if maximize is None:
            maximize = directions[monitor]
        else:
            inputs.flag(maximize, "maximize")
        if maximize is None:
            raise ValueError(
                f"it is not known whether larger values of {monitor!r} are better: pass "
                f"EarlyStopping(monitor={monitor!r}, maximize=True), or maximize=False"
            )
        return Stopping(self, training.machine, monitor, maximize)


class Stopping:
    """An early stopping during one training, with monitor and direction decided."""

    def __init__(self, rule: EarlyStopping, machine: Any, monitor: str, maximize: bool) -> None:
        self.rule, self.monitor, self.maximize = rule, monitor, maximize
        self._machine = machine
        self.best: float | None = None
        self.waited = 0
        self.parameters: np.ndarray | None = None  # of the layout

    def on_epoch_finished(self, logs: dict[str, float]) -> None:
        """Take note of an epoch, and of the parameters after it."""
        value = logs[self.monitor]
        gain = 0.0
        if self.best is not None:
            gain = value - self.best if self.maximize else self.best - value
        improved = value == value if self.best is None else gain > self.rule.min_improvement
        self.waited = 0 if improved else self.waited + 1
        if improved:
            self.best = value
            if self.rule.restore_best:
                self.parameters = self._machine.theta.copy()

    def stop_reason(self) -> str | None:
        """Why the training should end now, if it should."""
        return "early_stopping" if self.waited >= self.rule.patience else None

    def on_restore(self) -> None:
        """Give the network the best parameters, if any epoch was better than nothing."""
        if self.parameters is not None:
            self._machine.theta[...] = self.parameters

    def get_state(self) -> dict[str, Any]:
        """For a checkpoint."""
        state: dict[str, Any] = {"best": self.best, "waited": self.waited}
        if self.parameters is not None:
            state["parameters"] = self._machine.layout.flatten(self.parameters)
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint. Raises ValueError."""
        best, waited, flat = state.get("best"), state.get("waited", 0), state.get("parameters")
        shape = None if flat is None else np.shape(flat)
        fits = flat is None or (
            shape == (self._machine.layout.n_parameters,) and bool(np.isfinite(flat).all())
        )
        if type(waited) is not int or not isinstance(best, float | None) or not fits:
            raise ValueError("its state of the early stopping is not valid")
        self.best, self.waited = best, waited
        if flat is not None:
            self.parameters = np.zeros_like(self._machine.theta)
            self._machine.layout.unflatten(flat, self.parameters)
