"""Lion and Rprop: steps by the sign of the gradient."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbackprop.jit.words import formula
from fastbackprop.numbers import flag, number, two
from fastbackprop.optimizers.base import Optimizer
from fastbackprop.optimizers.rules import Rule
from fastbackprop.optimizers.schedules import LearningRate, base_rate


@formula
def lion(theta, g, m, c):
    direction = np.sign(m + c[1] * (g - m))
    return theta - c[0] * (direction + c[3] * theta), m + c[2] * (g - m)


def lion_coefficients(h: tuple[float, ...], t: np.ndarray, tiny: float) -> tuple[Any, ...]:
    _, beta_1, beta_2, decay = h
    return 1.0, 1 - beta_1, 1 - beta_2, decay


LION = Rule(lion, lion_coefficients, 1)


@dataclass(repr=False)
class Lion(Optimizer):
    """The sign of a mean of the gradient. Chen et al. (2023).

    theta <- theta - learning_rate * [sign(beta_1 m + (1 - beta_1) g) + weight_decay theta]; then
    m <- beta_2 m + (1 - beta_2) g. With `decay_biases=False` the decay is that of weights alone.
    """

    name = "lion"
    learning_rate: LearningRate = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    decay_biases: bool = True

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        learning_rate = base_rate(self.learning_rate)
        decay = number(self.weight_decay, "weight_decay", 0, np.inf)
        return LION, (learning_rate, *two(self.betas, "betas", 0, 1), decay)

    def _of_biases(self, h: tuple[float, ...]) -> tuple[float, ...]:
        return h if flag(self.decay_biases, "decay_biases") else (*h[:-1], 0.0)


@formula
def rprop(theta, g, before, size, c):
    turn = np.sign(g * before)
    size = (size + c[0]) * (c[5] + turn * (c[1] * (c[5] + turn) + c[2] * (c[5] - turn)))
    size = np.minimum(np.maximum(size, c[3]), c[4])
    g = g * np.minimum(c[5] + turn, c[5])
    return theta - np.sign(g) * size, g, size


def rprop_coefficients(h: tuple[float, ...], t: np.ndarray, tiny: float) -> tuple[Any, ...]:
    _, eta_minus, eta_plus, smallest, largest = h
    # The factor of the size is eta_plus for turn = 1, eta_minus for -1 and 1 for 0.
    up, down = (eta_plus - 1) / 2, (1 - eta_minus) / 2
    return np.where(t == 1, 1.0, 0.0), up, down, smallest, largest, 1.0


RPROP = Rule(rprop, rprop_coefficients, 2)


@dataclass(repr=False)
class Rprop(Optimizer):
    """Each parameter has a step size of its own. Riedmiller and Braun (1993).

    Where g has the sign it had before, the size grows by etas[1]; where that has turned, it shrinks
    by etas[0] and there is no step; theta <- theta - sign(g) size. learning_rate is the first size;
    a schedule does not change it. For all samples at once (batch_size=None).
    """

    name = "rprop"
    learning_rate: LearningRate = 1e-2
    etas: tuple[float, float] = (0.5, 1.2)
    step_sizes: tuple[float, float] = (1e-6, 50.0)

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        learning_rate = base_rate(self.learning_rate)
        eta_minus, eta_plus = two(self.etas, "etas", 0, np.inf)
        if not 0 < eta_minus < 1 < eta_plus:
            raise ValueError(
                f"etas must be two numbers, 0 < etas[0] < 1 < etas[1]; got {self.etas!r}"
            )
        smallest, largest = two(self.step_sizes, "step_sizes", 0, np.inf)
        return RPROP, (learning_rate, eta_minus, eta_plus, smallest, largest)
