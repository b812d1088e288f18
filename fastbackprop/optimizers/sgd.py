"""Stochastic gradient descent, with and without momentum."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbackprop.jit.words import formula
from fastbackprop.numbers import number
from fastbackprop.optimizers.base import Optimizer
from fastbackprop.optimizers.rules import Rule
from fastbackprop.optimizers.schedules import LearningRate, base_rate


@formula
def sgd(theta, g, c):
    return (theta - c[0] * g,)


@formula
def momentum(theta, g, v, c):
    v = c[1] * v + c[2] * g
    return theta - c[0] * v, v


@formula
def nesterov(theta, g, v, c):
    v = c[1] * v + c[2] * g
    return theta - c[0] * (g + c[1] * v), v


def sgd_coefficients(h: tuple[float, ...], t: np.ndarray, tiny: float) -> tuple[Any, ...]:
    _, mu, dampening = h
    # PyTorch does not dampen the first gradient.
    return 1.0, mu, np.where(t == 1, 1.0, 1 - dampening) if dampening else 1.0


PLAIN = Rule(sgd, sgd_coefficients, 0, plain=True)
MOMENTUM = Rule(momentum, sgd_coefficients, 1)
NESTEROV = Rule(nesterov, sgd_coefficients, 1)


@dataclass(repr=False)
class SGD(Optimizer):
    """Stochastic gradient descent: theta <- theta - learning_rate * g.

    With momentum mu: v <- mu v + (1 - dampening) g, the first g undampened; theta <- theta -
    learning_rate * v, or, with `nesterov`, theta - learning_rate * (g + mu v). Sutskever et al.
    (2013), in PyTorch's form.
    """

    name = "sgd"
    learning_rate: LearningRate = 1e-2
    momentum: float = 0.0
    nesterov: bool = False
    dampening: float = 0.0

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        learning_rate = base_rate(self.learning_rate)
        mu = number(self.momentum, "momentum", 0, 1)
        dampening = number(self.dampening, "dampening", 0, np.inf)
        if self.nesterov and (mu == 0 or dampening != 0):
            raise ValueError(
                f"nesterov=True needs a momentum above 0 and no dampening; got "
                f"momentum={self.momentum!r} and dampening={self.dampening!r}"
            )
        rule = PLAIN if mu == 0 else NESTEROV if self.nesterov else MOMENTUM
        return rule, (learning_rate, mu, dampening)
