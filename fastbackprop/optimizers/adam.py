"""Adam and its kin: steps scaled by running means of the gradient and of its square."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbackprop.jit.words import formula
from fastbackprop.numbers import flag, number, two
from fastbackprop.optimizers.base import Optimizer
from fastbackprop.optimizers.rules import Rule, power
from fastbackprop.optimizers.schedules import LearningRate, base_rate


@formula
def adam(theta, g, m, v, c):
    m = m + c[1] * (g - m)
    v = c[2] * v + c[3] * g * g
    return theta - c[0] * (m / (np.sqrt(v) / c[4] + c[5])), m, v


@formula
def amsgrad(theta, g, m, v, v_max, c):
    m = m + c[1] * (g - m)
    v = c[2] * v + c[3] * g * g
    v_max = np.maximum(v_max, v)
    return theta - c[0] * (m / (np.sqrt(v_max) / c[4] + c[5])), m, v, v_max


@formula
def adamw(theta, g, m, v, c):
    m = m + c[1] * (g - m)
    v = c[2] * v + c[3] * g * g
    return theta - c[0] * (c[6] * theta + m / (np.sqrt(v) / c[4] + c[5])), m, v


@formula
def adamw_amsgrad(theta, g, m, v, v_max, c):
    m = m + c[1] * (g - m)
    v = c[2] * v + c[3] * g * g
    v_max = np.maximum(v_max, v)
    return theta - c[0] * (c[6] * theta + m / (np.sqrt(v_max) / c[4] + c[5])), m, v, v_max


def adam_coefficients(h: tuple[float, ...], t: np.ndarray, tiny: float) -> tuple[Any, ...]:
    _, beta_1, beta_2, epsilon, decay = h
    bias_1, bias_2 = 1 - power(beta_1, t), 1 - power(beta_2, t)
    epsilon = max(epsilon, tiny)
    return 1 / bias_1, 1 - beta_1, beta_2, 1 - beta_2, np.sqrt(bias_2), epsilon, decay * bias_1


ADAM, AMSGRAD = Rule(adam, adam_coefficients, 2), Rule(amsgrad, adam_coefficients, 3)
ADAMW = Rule(adamw, adam_coefficients, 2)
ADAMW_AMSGRAD = Rule(adamw_amsgrad, adam_coefficients, 3)


@dataclass(repr=False)
class Adam(Optimizer):
    """Steps scaled by the running mean and variance of the gradient. Kingma and Ba (2015).

    m <- beta_1 m + (1 - beta_1) g; v <- beta_2 v + (1 - beta_2) g^2;
    theta <- theta - learning_rate * m' / (sqrt(v') + epsilon), where m' and v' are m and v
    divided by 1 - beta_1^t and 1 - beta_2^t. With `amsgrad` the largest v so far takes v's place.
    Reddi et al. (2018).
    """

    name = "adam"
    learning_rate: LearningRate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    amsgrad: bool = False

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        return (AMSGRAD if self.amsgrad else ADAM), (*_adaptive(self), 0.0)


def _adaptive(optimizer: Any) -> tuple[float, float, float, float]:
    """learning_rate, beta_1, beta_2 and epsilon, checked."""
    learning_rate = base_rate(optimizer.learning_rate)
    beta_1, beta_2 = two(optimizer.betas, "betas", 0, 1)
    return learning_rate, beta_1, beta_2, number(optimizer.epsilon, "epsilon", 0, np.inf)


@dataclass(repr=False)
class AdamW(Optimizer):
    """Adam, and theta <- theta - learning_rate * weight_decay * theta. Loshchilov, Hutter (2019).

    The decay is beside the gradient, not in it, and of biases too, as PyTorch's, unless
    `decay_biases` is False.
    """

    name = "adamw"
    learning_rate: LearningRate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 1e-2
    amsgrad: bool = False
    decay_biases: bool = True

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        decay = number(self.weight_decay, "weight_decay", 0, np.inf)
        return (ADAMW_AMSGRAD if self.amsgrad else ADAMW), (*_adaptive(self), decay)

    def _of_biases(self, h: tuple[float, ...]) -> tuple[float, ...]:
        return h if flag(self.decay_biases, "decay_biases") else (*h[:-1], 0.0)


@formula
def nadam(theta, g, m, v, c):
    m = m + c[1] * (g - m)
    v = c[2] * v + c[3] * g * g
    return theta - c[0] * ((g + c[6] * m) / (np.sqrt(v) / c[4] + c[5])), m, v


def nadam_coefficients(h: tuple[float, ...], t: np.ndarray, tiny: float) -> tuple[Any, ...]:
    _, beta_1, beta_2, epsilon, momentum_decay = h

    def mu(t: np.ndarray) -> np.ndarray:
        return beta_1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))

    # The product of all mu so far, from the first step on: below beta_1^t, it is soon zero.
    vanished = beta_1 ** t[0] == 0
    product = 0.0 * t
    if not vanished:
        product = np.multiply.accumulate(mu(np.arange(1, t[-1] + 1)))[-len(t) :]
    of_g, of_m = (1 - mu(t)) / (1 - product), mu(t + 1) / (1 - product * mu(t + 1))
    root = np.sqrt(1 - power(beta_2, t))
    return of_g, 1 - beta_1, beta_2, 1 - beta_2, root, max(epsilon, tiny), of_m / of_g


NADAM = Rule(nadam, nadam_coefficients, 2)


@dataclass(repr=False)
class NAdam(Optimizer):
    """Adam with Nesterov's momentum. Dozat (2016).

    m and v are Adam's; mu_t = beta_1 (1 - 0.96^(t momentum_decay) / 2); theta <- theta -
    learning_rate * [(1 - mu_t) g / (1 - mu_1 ... mu_t) + mu_{t+1} m / (1 - mu_1 ... mu_{t+1})] /
    (sqrt(v') + epsilon).
    """

    name = "nadam"
    learning_rate: LearningRate = 2e-3
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    momentum_decay: float = 4e-3

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        return NADAM, (*_adaptive(self), number(self.momentum_decay, "momentum_decay", 0, np.inf))


@formula
def radam(theta, g, m, v, c):
    m = m + c[1] * (g - m)
    v = c[2] * v + c[3] * g * g
    return theta - c[0] * (m * (c[6] + c[4] / (np.sqrt(v) + c[5]))), m, v


def radam_coefficients(h: tuple[float, ...], t: np.ndarray, tiny: float) -> tuple[Any, ...]:
    _, beta_1, beta_2, epsilon = h
    bias_1, bias_2 = 1 - power(beta_1, t), 1 - power(beta_2, t)
    longest = 2 / (1 - beta_2) - 1
    rho = longest - 2 * t * power(beta_2, t) / bias_2
    rectified = rho > 5
    rho = np.where(rectified, rho, longest)
    factor = (rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho)
    adapted = np.where(rectified, np.sqrt(bias_2 * np.where(rectified, factor, 0.0)), 0.0)
    plain = np.where(rectified, 0.0, 1.0)
    return 1 / bias_1, 1 - beta_1, beta_2, 1 - beta_2, adapted, max(epsilon, tiny), plain


RADAM = Rule(radam, radam_coefficients, 2)


@dataclass(repr=False)
class RAdam(Optimizer):
    """Adam whose first steps, where v knows too little, are not divided by it. Liu et al. (2020).

    rho_t = rho - 2 t beta_2^t / (1 - beta_2^t), rho = 2 / (1 - beta_2) - 1; theta <- theta -
    learning_rate * m', times, where rho_t > 5, sqrt(1 - beta_2^t) / (sqrt(v) + epsilon) and
    sqrt((rho_t - 4) (rho_t - 2) rho / ((rho - 4) (rho - 2) rho_t)).
    """

    name = "radam"
    learning_rate: LearningRate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        return RADAM, _adaptive(self)


@formula
def adamax(theta, g, m, u, c):
    m = m + c[1] * (g - m)
    u = np.maximum(c[2] * u, np.abs(g) + c[3])
    return theta - c[0] * (m / u), m, u


def adamax_coefficients(h: tuple[float, ...], t: np.ndarray, tiny: float) -> tuple[Any, ...]:
    _, beta_1, beta_2, epsilon = h
    return 1 / (1 - power(beta_1, t)), 1 - beta_1, beta_2, max(epsilon, tiny)


ADAMAX = Rule(adamax, adamax_coefficients, 2)


@dataclass(repr=False)
class Adamax(Optimizer):
    """Adam with the infinity norm. Kingma and Ba (2015).

    m is Adam's; u <- max(beta_2 u, |g| + epsilon); theta <- theta - learning_rate * m' / u.
    """

    name = "adamax"
    learning_rate: LearningRate = 2e-3
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        return ADAMAX, _adaptive(self)
