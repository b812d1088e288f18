"""RMSprop, Adagrad, Adadelta: steps scaled by squares of the gradient."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbackprop.jit.words import formula
from fastbackprop.numbers import number
from fastbackprop.optimizers.base import Optimizer
from fastbackprop.optimizers.rules import Rule
from fastbackprop.optimizers.schedules import LearningRate, base_rate


@formula
def rmsprop(theta, g, v, c):
    v = c[1] * v + c[2] * g * g
    return theta - c[0] * (g / (np.sqrt(v) + c[3])), v


@formula
def rmsprop_momentum(theta, g, v, mean, b, c):
    v = c[1] * v + c[2] * g * g
    mean = mean + c[2] * (g - mean)
    b = c[4] * b + g / (np.sqrt(np.maximum(v - c[5] * mean * mean, c[6])) + c[3])
    return theta - c[0] * b, v, mean, b


def rmsprop_coefficients(h: tuple[float, ...], t: np.ndarray, tiny: float) -> tuple[Any, ...]:
    _, alpha, epsilon, mu, centered = h
    return 1.0, alpha, 1 - alpha, max(epsilon, tiny), mu, centered, 0.0


RMSPROP = Rule(rmsprop, rmsprop_coefficients, 1)
RMSPROP_MOMENTUM = Rule(rmsprop_momentum, rmsprop_coefficients, 3)


@dataclass(repr=False)
class RMSprop(Optimizer):
    """Steps scaled by the running mean of squares of the gradient. Tieleman and Hinton (2012).

    v <- alpha v + (1 - alpha) g^2; theta <- theta - learning_rate * g / (sqrt(v) + epsilon). With
    `centered`, v less the square of the running mean of g takes v's place. Graves (2013). With
    momentum mu: b <- mu b + g / (sqrt(v) + epsilon); theta <- theta - learning_rate * b.
    """

    name = "rmsprop"
    learning_rate: LearningRate = 1e-2
    alpha: float = 0.99
    epsilon: float = 1e-8
    momentum: float = 0.0
    centered: bool = False

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        learning_rate = base_rate(self.learning_rate)
        alpha, mu = number(self.alpha, "alpha", 0, 1), number(self.momentum, "momentum", 0, 1)
        epsilon = number(self.epsilon, "epsilon", 0, np.inf)
        rule = RMSPROP_MOMENTUM if mu or self.centered else RMSPROP
        return rule, (learning_rate, alpha, epsilon, mu, float(self.centered))


@formula
def adagrad(theta, g, v, c):
    v = v + c[2] + g * g
    return theta - c[0] * (g / (np.sqrt(v) + c[1])), v


def adagrad_coefficients(h: tuple[float, ...], t: np.ndarray, tiny: float) -> tuple[Any, ...]:
    _, rate_decay, initial, epsilon = h
    rate = 1 / (1 + (t - 1) * rate_decay) if rate_decay else 1.0
    return rate, max(epsilon, tiny), np.where(t == 1, initial, 0.0) if initial else 0.0


ADAGRAD = Rule(adagrad, adagrad_coefficients, 1)


@dataclass(repr=False)
class Adagrad(Optimizer):
    """Steps scaled by the sum of squares of the gradient so far. Duchi et al. (2011).

    v <- v + g^2, from initial_accumulator on; theta <- theta - learning_rate / (1 + (t - 1)
    rate_decay) * g / (sqrt(v) + epsilon).
    """

    name = "adagrad"
    learning_rate: LearningRate = 1e-2
    rate_decay: float = 0.0
    initial_accumulator: float = 0.0
    epsilon: float = 1e-10

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        names = ("rate_decay", "initial_accumulator", "epsilon")
        others = (number(getattr(self, name), name, 0, np.inf) for name in names)
        return ADAGRAD, (base_rate(self.learning_rate), *others)


@formula
def adadelta(theta, g, v, d, c):
    v = c[1] * v + c[2] * g * g
    step = np.sqrt(d + c[3]) / np.sqrt(v + c[3]) * g
    return theta - c[0] * step, v, c[1] * d + c[2] * step * step


def adadelta_coefficients(h: tuple[float, ...], t: np.ndarray, tiny: float) -> tuple[Any, ...]:
    _, rho, epsilon = h
    return 1.0, rho, 1 - rho, max(epsilon, tiny)


ADADELTA = Rule(adadelta, adadelta_coefficients, 2)


@dataclass(repr=False)
class Adadelta(Optimizer):
    """Steps as large as the steps before, by running means of squares. Zeiler (2012).

    v <- rho v + (1 - rho) g^2; s = sqrt(d + epsilon) / sqrt(v + epsilon) * g;
    d <- rho d + (1 - rho) s^2; theta <- theta - learning_rate * s.
    """

    name = "adadelta"
    learning_rate: LearningRate = 1.0
    rho: float = 0.9
    epsilon: float = 1e-6

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        learning_rate = base_rate(self.learning_rate)
        rho, epsilon = number(self.rho, "rho", 0, 1), number(self.epsilon, "epsilon", 0, np.inf)
        return ADADELTA, (learning_rate, rho, epsilon)
