"""Costs of probabilities: cross-entropy, Kullback-Leibler divergence and focal.

Each belongs to the output that makes probabilities, and its derivatives are by z.
"""

from typing import Any

import numpy as np

from fastbackprop.functions.costs import COSTS, Cost, CoupledCost, between, parametric, register
from fastbackprop.functions.named import parameter
from fastbackprop.functions.softmaxes import log_softmax
from fastbackprop.jit.words import exp, expm1, formula, log, log1p, scalar, sigmoid, where

# Label smoothing p: y_k becomes (1 - p) y_k + p / n, n = n_L of softmax, 2 of each sigmoid.
# Szegedy et al. (2016)

# --- cross_entropy -------------------------------------------------------------------------------


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


register(
    "cross_entropy",
    sigmoid_cross_entropy,
    sigmoid_cross_entropy_delta,
    "-sum_k [y_k log a_k + (1 - y_k) log(1 - a_k)]",
    output="sigmoid",
    targets="unit",
    p=(0.0,),
    second=sigmoid_cross_entropy_second,
)


# With softmax: -log a_k = (m - z_k) + log sum_i e^(z_i - m), m = max_i z_i;
# dC/dz_j = a_j sum_k y_k - y_j; (H v)_j = a_j (v_j - sum_k a_k v_k) sum_k y_k.


def _smooth(Y: np.ndarray, p: Any) -> np.ndarray:
    return Y + p[0] * (1 / Y.dtype.type(Y.shape[1]) - Y)


def softmax_cross_entropy(Z: np.ndarray, A: np.ndarray, Y: np.ndarray, p: Any) -> np.ndarray:
    return _smooth(Y, p) * -log_softmax(Z)


def softmax_cross_entropy_delta(Z: np.ndarray, A: np.ndarray, Y: np.ndarray, p: Any) -> np.ndarray:
    Y = _smooth(Y, p)
    return A * Y.sum(axis=1, keepdims=True) - Y


def softmax_cross_entropy_second(
    V: np.ndarray, Z: np.ndarray, A: np.ndarray, Y: np.ndarray, p: Any
) -> np.ndarray:
    total = _smooth(Y, p).sum(axis=1, keepdims=True)
    return A * (V - (A * V).sum(axis=1, keepdims=True)) * total


register(
    "cross_entropy",
    softmax_cross_entropy,
    softmax_cross_entropy_delta,
    "-sum_k y_k log a_k",
    output="softmax",
    targets="distribution",
    p=(0.0,),
    second=softmax_cross_entropy_second,
    kind=CoupledCost,
)


# With log_softmax, whose a is log softmax: the same with e^a for a.


def log_softmax_cross_entropy_delta(
    Z: np.ndarray, A: np.ndarray, Y: np.ndarray, p: Any
) -> np.ndarray:
    return softmax_cross_entropy_delta(Z, np.exp(A), Y, p)


def log_softmax_cross_entropy_second(
    V: np.ndarray, Z: np.ndarray, A: np.ndarray, Y: np.ndarray, p: Any
) -> np.ndarray:
    return softmax_cross_entropy_second(V, Z, np.exp(A), Y, p)


register(
    "cross_entropy",
    softmax_cross_entropy,
    log_softmax_cross_entropy_delta,
    "-sum_k y_k a_k",
    output="log_softmax",
    targets="distribution",
    p=(0.0,),
    second=log_softmax_cross_entropy_second,
    kind=CoupledCost,
)


@parametric("cross_entropy")
def CrossEntropy(label_smoothing: float = 0.0) -> Cost:
    """The cost cross_entropy with label smoothing s in [0, 1).

    The target y_k becomes (1 - s) y_k + s / n: n is n_L for softmax and log_softmax, 2 for sigmoid.
    """
    if parameter("CrossEntropy", "label_smoothing", label_smoothing) != 0:
        between("CrossEntropy", "label_smoothing", label_smoothing, 0, 1)
    return COSTS["cross_entropy"][0].with_parameters(label_smoothing=label_smoothing)


# --- kl_divergence -------------------------------------------------------------------------------

# sum_k y_k (log y_k - log a_k); with y_k = 0 the term is 0. Cross-entropy less its part that
# depends on y alone: the same gradient, and a cost of 0 where a is y. Smoothing p is 0 there.


def softmax_kl(Z: np.ndarray, A: np.ndarray, Y: np.ndarray, p: Any) -> np.ndarray:
    return Y * (np.log(np.where(Y > 0, Y, 1)) - log_softmax(Z))


@formula
def kl_term(minus_log, y, p):
    """Of one output, from -log a_k."""
    T = scalar(y)
    return where(y > T(0), y * (log(where(y > T(0), y, T(1))) + minus_log), T(0))


for _output, _formula, _delta, _second in (
    (
        "softmax",
        "sum_k y_k (log y_k - log a_k)",
        softmax_cross_entropy_delta,
        softmax_cross_entropy_second,
    ),
    (
        "log_softmax",
        "sum_k y_k (log y_k - a_k)",
        log_softmax_cross_entropy_delta,
        log_softmax_cross_entropy_second,
    ),
):
    register(
        "kl_divergence",
        softmax_kl,
        _delta,
        _formula,
        output=_output,
        targets="distribution",
        p=(0.0,),
        second=_second,
        kind=CoupledCost,
    )


# --- focal ---------------------------------------------------------------------------------------

# Lin et al. (2017): outputs that are right already count less, by (1 - a)^p.
# With f = log(1 + e^-z), g = log(1 + e^z): C = y f e^(-p g) + (1 - y) g e^(-p f).


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


register(
    "focal",
    sigmoid_focal,
    sigmoid_focal_delta,
    "-sum_k [y_k (1 - a_k)^p log a_k + (1 - y_k) a_k^p log(1 - a_k)]",
    output="sigmoid",
    targets="unit",
    p=(2.0,),
    second=sigmoid_focal_second,
)


# With softmax: C = -sum_k y_k q_k^p log a_k, q = 1 - a. With h_k = dC/d log a_k
# = y_k (p q_k^(p-1) a_k log a_k - q_k^p) it is dC/dz_j = h_j - a_j sum_k h_k.


def _focal_parts(Z: np.ndarray, p: Any) -> tuple[np.ndarray, ...]:
    """a, -log a, and q^p, q^(p-1), q^(p-2), the last two 0 where q is."""
    minus_log = -log_softmax(Z)
    q = -np.expm1(-minus_log)
    safe = np.where(q > 0, q, Z.dtype.type(1))
    once, twice = (np.where(q > 0, safe ** (p[0] - n), Z.dtype.type(0)) for n in (1, 2))
    return np.exp(-minus_log), minus_log, q ** p[0], once, twice


def softmax_focal(Z: np.ndarray, A: np.ndarray, Y: np.ndarray, p: Any) -> np.ndarray:
    _, minus_log, power, _, _ = _focal_parts(Z, p)
    return Y * power * minus_log


def softmax_focal_delta(Z: np.ndarray, A: np.ndarray, Y: np.ndarray, p: Any) -> np.ndarray:
    A, minus_log, power, once, _ = _focal_parts(Z, p)
    H = -Y * (p[0] * once * A * minus_log + power)
    return H - A * H.sum(axis=1, keepdims=True)


def softmax_focal_second(
    V: np.ndarray, Z: np.ndarray, A: np.ndarray, Y: np.ndarray, p: Any
) -> np.ndarray:
    A, minus_log, power, once, twice = _focal_parts(Z, p)
    H = -Y * (p[0] * once * A * minus_log + power)
    VA = A * (V - (A * V).sum(axis=1, keepdims=True))  # of a; V is of z
    slope = p[0] * once * (minus_log - 2) - p[0] * (p[0] - 1) * twice * A * minus_log
    VH = -Y * slope * VA
    total, V_total = (F.sum(axis=1, keepdims=True) for F in (H, VH))
    return VH - VA * total - A * V_total


@formula
def _power(q, exponent):
    """q^exponent, and 0 for q = 0."""
    T = scalar(q)
    return where(q > T(0), exp(exponent * log(where(q > T(0), q, T(1)))), T(0))


@formula
def focal_term(minus_log, y, p):
    """Of one output, from -log a_k."""
    return y * _power(-expm1(-minus_log), p[0]) * minus_log


@formula
def focal_slope(a, y, p):
    """h_k."""
    T = scalar(a)
    minus_log = -log(where(a > T(0), a, T(1)))  # times a, so 0 where a is
    once = _power(T(1) - a, p[0] - T(1))
    return -y * once * (p[0] * a * minus_log + (T(1) - a))


register(
    "focal",
    softmax_focal,
    softmax_focal_delta,
    "-sum_k y_k (1 - a_k)^p log a_k",
    output="softmax",
    targets="distribution",
    p=(2.0,),
    second=softmax_focal_second,
    kind=CoupledCost,
)


@parametric("focal")
def Focal(gamma: float = 2.0) -> Cost:
    """The cost focal with the exponent `gamma` > 0; 0 would be cross_entropy."""
    between("Focal", "gamma", gamma, 0, np.inf)
    return COSTS["focal"][0].with_parameters(gamma=gamma)
