"""Dropout and noise during a training."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastbackprop import inputs
from fastbackprop.functions.named import called
from fastbackprop.numbers import number


@dataclass(frozen=True, repr=False)
class Dropout:
    """Random zeros in the activations, and noise on the inputs, in each step of a training.

    Activations that are kept are divided by 1 minus the rate (Srivastava et al., 2014).
    Predictions and validation use all activations and no noise.

    Parameters
    ----------
    hidden : float or sequence of float
        The rate of the hidden layers, one for all or one for each, in [0, 1).
    inputs : float
        The rate of the inputs.
    noise : float
        Standard deviation of normal noise that is added to the inputs; X must be dense.
    schedule : callable, optional
        schedule(epoch) returns the factor, in [0, 1], of the rates in that epoch; the first is 1.
        For `fit` and `fit_many`, which know the epochs.
    """

    hidden: Any = 0.0
    inputs: float = field(default=0.0, kw_only=True)
    noise: float = field(default=0.0, kw_only=True)
    schedule: Callable[[int], float] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.schedule is not None and not callable(self.schedule):
            raise TypeError(
                f"schedule of Dropout must be a function of the epoch; got {self.schedule!r}"
            )

    def __repr__(self) -> str:
        defaults = {"inputs": 0.0, "noise": 0.0, "schedule": None}
        set_ones = [name for name, value in defaults.items() if getattr(self, name) != value]
        shown = [f"{name}={called(getattr(self, name))}" for name in set_ones]
        return f"Dropout({', '.join([repr(self.hidden), *shown])})"

    def rates(self, n_layers: int) -> tuple[float, ...]:
        """Of a^0 ... a^{L-1}. Raises TypeError or ValueError."""
        return inputs.dropout_rates(self.hidden, self.inputs, n_layers)

    def factor(self) -> Callable[[int], float] | None:
        """That of the rates in an epoch, counted from 1, as a function; None where it is always 1.

        The function raises TypeError or ValueError for a schedule that returns something else.
        """
        schedule = self.schedule
        if schedule is None:
            return None
        return lambda n: number(schedule(n), f"schedule({n}) of Dropout", 0, 1, ends="[]")

    def refuse_schedule(self, where: str) -> None:
        """Raise ValueError if the rates depend on the epoch."""
        if self.schedule is not None:
            raise ValueError(
                f"{where} knows no epochs, so Dropout can have no schedule here; got {self!r}"
            )

    def deviation(self) -> float:
        """The noise's standard deviation. Raises TypeError or ValueError."""
        return inputs.deviation(self.noise, "noise of Dropout")


def as_dropout(value: Any) -> Dropout:
    """A Dropout from one, or from the rates of the hidden layers."""
    return value if isinstance(value, Dropout) else Dropout(value)
