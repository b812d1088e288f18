"""Averages of the parameters over the steps."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fastbackprop.numbers import number, whole
from fastbackprop.optimizers.rules import MOST


@dataclass(frozen=True)
class EMA:
    """mean <- decay mean + (1 - decay) theta after each step; after the first it is theta.

    As PyTorch's `swa_utils.get_ema_multi_avg_fn`.
    """

    decay: float = 0.999

    def __post_init__(self) -> None:
        number(self.decay, "decay", 0, 1)

    start: ClassVar[int] = 1

    def weights(self, t: np.ndarray) -> np.ndarray:
        """The part of the way that the mean goes to theta after step t."""
        return np.where(t == 1, 1.0, 1 - self.decay)


@dataclass(frozen=True)
class SWA:
    """The mean of the parameters after steps start, start + every, ... Izmailov et al. (2018)."""

    start: int
    every: int = 1

    def __post_init__(self) -> None:
        for name in ("start", "every"):
            whole(getattr(self, name), name, 1, MOST, must="be a whole number of steps, 1 at least")

    def weights(self, t: np.ndarray) -> np.ndarray:
        """The part of the way that the mean goes to theta after step t."""
        n, rest = np.divmod(t - self.start, self.every)
        return np.where((n >= 0) & (rest == 0), 1 / np.maximum(n + 1, 1), 0.0)
