"""Costs of how likely y is: terms, first and second derivative, by z where that is more precise."""

import numpy as np

from fastbackprop.jit.kernels import EXACT, kernel
from fastbackprop.jit.words import exp, formula, log1p, plus, scalar, sigmoid

# --- of a mean mu = e^z: deviances of distributions, without what depends on y alone -------------


@formula
def poisson(z, a, y):
    return exp(z) - y * z


@formula
def poisson_delta(z, a, y):
    return exp(z) - y


@formula
def poisson_second(z, a, y):
    return exp(z)


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


@kernel(fastmath=EXACT)
def gaussian_nll_row(z, a, y, p):
    n, C = a.shape[0] // 2, a.dtype.type(0)
    for k in range(n):
        C = plus(C, of_moments(a[k], a[n + k], y[k]))
    return C


@kernel(fastmath=EXACT)
def gaussian_nll_gradient_row(z, a, y, delta, p):
    n = a.shape[0] // 2
    for j in range(n):
        x = a[j] - y[j]
        delta[j] = x * exp(-a[n + j])
        delta[n + j] = a.dtype.type(0.5) * (a.dtype.type(1) - x * delta[j])


# --- of probabilities a = 1 / (1 + e^-z) ---------------------------------------------------------

# Label smoothing p: y_k becomes (1 - p) y_k + p / n, n = n_L of softmax, 2 of each sigmoid.
# Szegedy et al. (2016)


@formula
def sigmoid_cross_entropy(z, a, y, p):
    T = scalar(z)  # -y log a - (1 - y) log(1 - a), with a = 1 / (1 + e^-z) put in
    y = y + p[0] * (T(0.5) - y)
    return np.maximum(z, T(0)) - z * y + log1p(exp(-abs(z)))


@formula
def sigmoid_cross_entropy_delta(z, a, y, p):
    T = scalar(z)
    return a - (y + p[0] * (T(0.5) - y))


@formula
def sigmoid_cross_entropy_second(z, a, y):
    T = scalar(z)
    return a * (T(1) - a)


# focal, Lin et al. (2017): what is right already counts less, by (1 - a)^p. With f = log(1 + e^-z),
# g = log(1 + e^z): C = y f e^(-p g) + (1 - y) g e^(-p f).


@formula
def _softplus(z):
    T = scalar(z)
    return np.maximum(z, T(0)) + log1p(exp(-abs(z)))


@formula
def sigmoid_focal(z, a, y, p):
    T = scalar(z)
    f, g = _softplus(-z), _softplus(z)
    return y * f * exp(-p[0] * g) + (T(1) - y) * g * exp(-p[0] * f)


@formula
def sigmoid_focal_delta(z, a, y, p):
    T = scalar(z)
    f, g, s, rest = _softplus(-z), _softplus(z), sigmoid(z), sigmoid(-z)
    of_y, of_rest = rest + p[0] * s * f, s + p[0] * rest * g
    return (T(1) - y) * of_rest * exp(-p[0] * f) - y * of_y * exp(-p[0] * g)


@formula
def sigmoid_focal_second(z, a, y, p):
    T = scalar(z)
    f, g, s, rest = _softplus(-z), _softplus(z), sigmoid(z), sigmoid(-z)
    of_y = s * rest * (T(1) + p[0] - p[0] * f) + p[0] * s * (rest + p[0] * s * f)
    of_rest = s * rest * (T(1) + p[0] - p[0] * g) + p[0] * rest * (s + p[0] * rest * g)
    return y * of_y * exp(-p[0] * g) + (T(1) - y) * of_rest * exp(-p[0] * f)
