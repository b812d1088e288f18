"""softmax and log_softmax, which couple a row, and the costs that belong to them."""

from typing import Any

import numpy as np

from fastbackprop.jit.kernels import EXACT, kernel
from fastbackprop.jit.words import exp, expm1, formula, log, plus, scalar, where

# softmax couples a row: a_k = e^(z_k - m) / sum_i e^(z_i - m), m = max_i z_i;
# da_k/dz_j = a_k (1[k=j] - a_j), symmetric. When a moves along R a, what dC/dz_j = a_j (u_j - sum_k
# u_k a_k), u = dC/da, moves along is R a_j (u_j - sum_k u_k a_k) - a_j sum_k u_k R a_k.


def softmax(Z: np.ndarray) -> np.ndarray:
    E = np.exp(Z - Z.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)


def softmax_pull_back(G: np.ndarray, Z: np.ndarray, A: np.ndarray) -> np.ndarray:
    return A * (G - (G * A).sum(axis=1, keepdims=True))


def softmax_second(
    U: np.ndarray, RZ: np.ndarray, RA: np.ndarray, Z: np.ndarray, A: np.ndarray
) -> np.ndarray:
    inner, R_inner = ((U * X).sum(axis=1, keepdims=True) for X in (A, RA))
    return RA * (U - inner) - A * R_inner


@kernel(fastmath=EXACT)
def softmax_row(z, a, p):
    m = z[0]
    for k in range(z.shape[0]):
        m = max(m, z[k])
    total = a.dtype.type(0)
    for k in range(z.shape[0]):
        a[k] = exp(z[k] - m)
        total = plus(total, a[k])
    for k in range(z.shape[0]):
        a[k] /= total


@kernel
def softmax_pull_back_row(z, a, delta, p):
    inner = a.dtype.type(0)
    for k in range(a.shape[0]):
        inner += delta[k] * a[k]
    for j in range(a.shape[0]):
        delta[j] = a[j] * (delta[j] - inner)


@kernel
def softmax_second_row(z, a, u, Rz, Ra, Rdelta, p):
    inner, R_inner = a.dtype.type(0), a.dtype.type(0)
    for k in range(a.shape[0]):
        inner += u[k] * a[k]
        R_inner += u[k] * Ra[k]
    for j in range(a.shape[0]):
        Rdelta[j] += Ra[j] * (u[j] - inner) - a[j] * R_inner


# log_softmax: a_k = (z_k - m) - log sum_i e^(z_i - m); da_k/dz_j = 1[k=j] - e^a_j


def log_softmax(Z: np.ndarray) -> np.ndarray:
    Z = Z - Z.max(axis=1, keepdims=True)
    return Z - np.log(np.exp(Z).sum(axis=1, keepdims=True))


def log_softmax_pull_back(G: np.ndarray, Z: np.ndarray, A: np.ndarray) -> np.ndarray:
    return G - np.exp(A) * G.sum(axis=1, keepdims=True)


def log_softmax_push_forward(RZ: np.ndarray, Z: np.ndarray, A: np.ndarray) -> np.ndarray:
    return RZ - (np.exp(A) * RZ).sum(axis=1, keepdims=True)


def log_softmax_second(
    U: np.ndarray, RZ: np.ndarray, RA: np.ndarray, Z: np.ndarray, A: np.ndarray
) -> np.ndarray:
    return -np.exp(A) * RA * U.sum(axis=1, keepdims=True)


@kernel(fastmath=EXACT)
def log_sum(z):
    """m = max_i z_i, and log sum_i e^(z_i - m)."""
    m = z[0]
    for k in range(z.shape[0]):
        m = max(m, z[k])
    total = z.dtype.type(0)
    for k in range(z.shape[0]):
        total = plus(total, exp(z[k] - m))
    return m, log(total)


@kernel(fastmath=EXACT)
def log_softmax_row(z, a, p):
    m, log_total = log_sum(z)
    for k in range(z.shape[0]):
        a[k] = (z[k] - m) - log_total


@kernel
def log_softmax_pull_back_row(z, a, delta, p):
    total = a.dtype.type(0)
    for k in range(a.shape[0]):
        total += delta[k]
    for j in range(a.shape[0]):
        delta[j] -= exp(a[j]) * total


# softmax with cross-entropy: -log a_k = (m - z_k) + log sum_i e^(z_i - m), m = max_i z_i;
# dC/dz_j = a_j sum_k y_k - y_j; (H v)_j = a_j (v_j - sum_k a_k v_k) sum_k y_k.
# With label smoothing p both are (1 - p) times that plus p times that of y_k = 1 / n_L.


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


@kernel(fastmath=EXACT)
def softmax_cross_entropy_row(z, a, y, p):
    T, n = z.dtype.type, z.shape[0]
    m, log_total = log_sum(z)
    C = T(0)
    for k in range(n):
        C = plus(C, y[k] * ((m - z[k]) + log_total))
    if p[0] > 0:
        C *= T(1) - p[0]
        for k in range(n):
            C = plus(C, p[0] / T(n) * ((m - z[k]) + log_total))
    return C


@kernel
def softmax_cross_entropy_delta_row(z, a, y, delta, p):
    T, n = y.dtype.type, y.shape[0]
    total = T(0)
    for k in range(n):
        total += y[k]
    for j in range(n):
        delta[j] = a[j] * total - y[j]
    if p[0] > 0:
        for j in range(n):
            delta[j] = (T(1) - p[0]) * delta[j] + p[0] * (a[j] - T(1) / T(n))


@kernel
def softmax_cross_entropy_second_row(z, a, y, Rz, Ra, Rdelta, p):
    T = y.dtype.type
    total = T(0)
    for k in range(y.shape[0]):
        total += y[k]
    total += p[0] * (T(1) - total)
    for j in range(y.shape[0]):
        Rdelta[j] = total * Ra[j]


# log_softmax, whose a is log softmax: the same with e^a for a.


def log_softmax_cross_entropy_delta(
    Z: np.ndarray, A: np.ndarray, Y: np.ndarray, p: Any
) -> np.ndarray:
    return softmax_cross_entropy_delta(Z, np.exp(A), Y, p)


def log_softmax_cross_entropy_second(
    V: np.ndarray, Z: np.ndarray, A: np.ndarray, Y: np.ndarray, p: Any
) -> np.ndarray:
    return softmax_cross_entropy_second(V, Z, np.exp(A), Y, p)


@kernel(fastmath=EXACT)
def log_softmax_cross_entropy_delta_row(z, a, y, delta, p):
    T, n = y.dtype.type, y.shape[0]
    total = T(0)
    for k in range(n):
        total = plus(total, y[k])
    for j in range(n):
        delta[j] = (T(1) - p[0]) * (exp(a[j]) * total - y[j])
        delta[j] += p[0] * (exp(a[j]) - T(1) / T(n))


# kl_divergence: sum_k y_k (log y_k - log a_k); with y_k = 0 the term is 0. Cross-entropy less what
# depends on y alone: the same gradient, and a cost of 0 where a is y. Smoothing p is 0 there.


def softmax_kl(Z: np.ndarray, A: np.ndarray, Y: np.ndarray, p: Any) -> np.ndarray:
    return Y * (np.log(np.where(Y > 0, Y, 1)) - log_softmax(Z))


@formula
def kl_term(minus_log, y, p):
    """Of one output, from -log a_k."""
    T = scalar(y)
    return where(y > T(0), y * (log(where(y > T(0), y, T(1))) + minus_log), T(0))


@kernel(fastmath=EXACT)
def softmax_kl_row(z, a, y, p):
    m, log_total = log_sum(z)
    C = z.dtype.type(0)
    for k in range(z.shape[0]):
        C = plus(C, kl_term((m - z[k]) + log_total, y[k], p))
    return C


# softmax with focal, Lin et al. (2017): C = -sum_k y_k q_k^p log a_k, q = 1 - a. With
# h_k = dC/d log a_k = y_k (p q_k^(p-1) a_k log a_k - q_k^p) it is dC/dz_j = h_j - a_j sum_k h_k.


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


@kernel(fastmath=EXACT)
def softmax_focal_row(z, a, y, p):
    m, log_total = log_sum(z)
    C = z.dtype.type(0)
    for k in range(z.shape[0]):
        C = plus(C, focal_term((m - z[k]) + log_total, y[k], p))
    return C


@kernel(fastmath=EXACT)
def softmax_focal_delta_row(z, a, y, delta, p):
    total = z.dtype.type(0)
    for k in range(z.shape[0]):
        delta[k] = focal_slope(a[k], y[k], p)
        total = plus(total, delta[k])
    for j in range(z.shape[0]):
        delta[j] -= a[j] * total
