"""Costs of how likely y is: terms, first and second derivative, by z where that is more precise.

A block ends with the line of the registry.
"""

import numpy as np

from fastbackprop.functions.costs import COSTS, Cost, CoupledCost, between, parametric, register
from fastbackprop.jit.words import exp, formula, scalar

# --- of a mean mu = e^z: deviances of distributions, without the part that depends on y alone ----

LINKS = (  # output, mu, log mu: the network gives the logarithm of the mean, or the mean
    ("identity", "e^a_k", "a_k"),
    ("exp", "a_k", "log a_k"),
)


@formula
def poisson(z, a, y):
    return exp(z) - y * z


@formula
def poisson_delta(z, a, y):
    return exp(z) - y


@formula
def poisson_second(z, a, y):
    return exp(z)


for _output, _mu, _log_mu in LINKS:
    register(
        "poisson",
        poisson,
        poisson_delta,
        f"sum_k [{_mu} - y_k {_log_mu}]",
        _output,
        targets="non-negative",
        second=poisson_second,
    )


@formula
def gamma(z, a, y):
    return y * exp(-z) + z


@formula
def gamma_delta(z, a, y):
    T = scalar(z)
    return T(1) - y * exp(-z)


@formula
def gamma_second(z, a, y):
    return y * exp(-z)


for _output, _mu, _log_mu in LINKS:
    register(
        "gamma",
        gamma,
        gamma_delta,
        f"sum_k [y_k / {_mu} + {_log_mu}]",
        _output,
        targets="positive",
        second=gamma_second,
    )


@formula
def tweedie(z, a, y, p):
    T = scalar(z)
    q, r = p[0] - T(1), T(2) - p[0]  # both positive
    return y * exp(-q * z) / q + exp(r * z) / r


@formula
def tweedie_delta(z, a, y, p):
    T = scalar(z)
    q, r = p[0] - T(1), T(2) - p[0]
    return exp(r * z) - y * exp(-q * z)


@formula
def tweedie_second(z, a, y, p):
    T = scalar(z)
    q, r = p[0] - T(1), T(2) - p[0]
    return r * exp(r * z) + q * (y * exp(-q * z))


for _output, _mu, _log_mu in LINKS:
    register(
        "tweedie",
        tweedie,
        tweedie_delta,
        f"sum_k [y_k {_mu}^(1 - p) / (p - 1) + {_mu}^(2 - p) / (2 - p)]",
        _output,
        targets="non-negative",
        p=(1.5,),
        second=tweedie_second,
    )


@parametric("tweedie")
def Tweedie(power: float = 1.5) -> Cost:
    """The cost tweedie: the variance is proportional to mu^`power`, between 1 and 2.

    For a power of 1 there is the cost poisson, for 2 gamma.
    """
    between("Tweedie", "power", power, 1, 2)
    return COSTS["tweedie"][0].with_parameters(power=power)


# gaussian_nll: the first half of the outputs are means, the second half logarithms of variances.
# C = 1/2 sum_k [s_k + (m_k - y_k)^2 e^-s_k]; Nix and Weigend (1994)


def _halves(A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n = A.shape[1] // 2
    return A[:, :n], A[:, n:]


def gaussian_nll(Z: np.ndarray, A: np.ndarray, Y: np.ndarray) -> np.ndarray:
    (M, S), (Y, _) = _halves(A), _halves(Y)
    return A.dtype.type(0.5) * (S + (M - Y) * (M - Y) * np.exp(-S))


def gaussian_nll_gradient(Z: np.ndarray, A: np.ndarray, Y: np.ndarray) -> np.ndarray:
    (M, S), (Y, _) = _halves(A), _halves(Y)
    G = (M - Y) * np.exp(-S)
    return np.hstack([G, A.dtype.type(0.5) * (1 - (M - Y) * G)])


def gaussian_nll_second(V: np.ndarray, Z: np.ndarray, A: np.ndarray, Y: np.ndarray) -> np.ndarray:
    (M, S), (Y, _), (V_m, V_s) = _halves(A), _halves(Y), _halves(V)
    precision = np.exp(-S)
    G = (M - Y) * precision
    return np.hstack([precision * V_m - G * V_s, (M - Y) * G / 2 * V_s - G * V_m])


@formula
def of_moments(m, s, y):
    """The term of one target."""
    T = scalar(m)
    return T(0.5) * (s + (m - y) * (m - y) * exp(-s))


register(
    "gaussian_nll",
    gaussian_nll,
    gaussian_nll_gradient,
    "1/2 sum_k [s_k + (m_k - y_k)^2 e^-s_k], a = (m_1, ..., s_1, ...)",
    output="identity",
    second=gaussian_nll_second,
    outputs_per_target=2,
    kind=CoupledCost,
)
