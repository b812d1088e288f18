"""Dropout and noise during a training."""

from dataclasses import dataclass, field
from typing import Any

from fastbackprop import inputs


@dataclass(frozen=True)
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
    """

    hidden: Any = 0.0
    inputs: float = field(default=0.0, kw_only=True)
    noise: float = field(default=0.0, kw_only=True)

    def rates(self, n_layers: int) -> tuple[float, ...]:
        """Of a^0 ... a^{L-1}. Raises TypeError or ValueError."""
        return inputs.dropout_rates(self.hidden, self.inputs, n_layers)

    def deviation(self) -> float:
        """The noise's standard deviation. Raises TypeError or ValueError."""
        return inputs.deviation(self.noise, "noise of Dropout")


def as_dropout(value: Any) -> Dropout:
    """A Dropout from one, or from the rates of the hidden layers."""
    return value if isinstance(value, Dropout) else Dropout(value)
