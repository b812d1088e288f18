"""Costs of how far a is from y: C's terms, dC/da and d2C/da2."""

import math
from typing import Any

import numpy as np

from fastbackprop.jit.kernels import EXACT, kernel
from fastbackprop.jit.words import exp, expm1, formula, log1p, plus, scalar, tanh, where

# --- of the distance from a to y -----------------------------------------------------------------


@formula
def squared_error(z, a, y):
    T = scalar(a)
    return T(0.5) * (a - y) * (a - y)


@formula
def difference(z, a, y):
    """dC/da of squared_error, and dC/dz of poisson with exp."""
    return a - y


@formula
def one(z, a, y):
    """d2C/da2 of squared_error."""
    return scalar(a)(1)


@formula
def absolute_error(z, a, y):
    return abs(a - y)


@formula
def absolute_error_gradient(z, a, y):
    T = scalar(a)
    return where(a > y, T(1), where(a < y, T(-1), T(0)))


@formula
def zero(z, a, y):
    """d2C/da2 of what is made of straight lines."""
    return scalar(a)(0)


@formula
def huber(z, a, y, p):
    T = scalar(a)
    distance = abs(a - y)
    near = np.minimum(distance, p[0])
    return near * (distance - T(0.5) * near)


@formula
def huber_gradient(z, a, y, p):
    return np.minimum(np.maximum(a - y, -p[0]), p[0])


@formula
def huber_second(z, a, y, p):
    T = scalar(a)
    return where(abs(a - y) < p[0], T(1), T(0))


@formula
def log_cosh(z, a, y):
    """|x| - log 2 + log(1 + e^-2|x|), x = a - y; near 0 by cosh x - 1 = (e^x - 1)^2 / 2 e^x."""
    T = scalar(a)
    x = abs(a - y)
    near = x < T(1)
    e = expm1(np.minimum(x, T(1)))
    part = log1p(where(near, T(0.5) * e * e / (T(1) + e), exp(T(-2) * x)))
    return where(near, part, (x - T(math.log(2))) + part)


@formula
def log_cosh_gradient(z, a, y):
    return tanh(a - y)


@formula
def log_cosh_second(z, a, y):
    T = scalar(a)
    slope = tanh(a - y)
    return T(1) - slope * slope


# quantile: the outputs of the levels p_0, p_1, ... come one after the other, each for all targets.
# C = sum_k max(p (y_k - a_k), (p - 1) (y_k - a_k)); Koenker and Bassett (1978). At a_k = y_k the
# slope is 0.


def _levels(A: np.ndarray, p: Any) -> np.ndarray:
    return np.repeat(np.array(p, A.dtype), A.shape[1] // len(p))


def quantile(Z: np.ndarray, A: np.ndarray, Y: np.ndarray, p: Any) -> np.ndarray:
    level = _levels(A, p)
    return np.maximum(level * (Y - A), (level - 1) * (Y - A))


def quantile_gradient(Z: np.ndarray, A: np.ndarray, Y: np.ndarray, p: Any) -> np.ndarray:
    level = _levels(A, p)
    return np.where(A > Y, 1 - level, np.where(A < Y, -level, A.dtype.type(0)))


def quantile_second(
    V: np.ndarray, Z: np.ndarray, A: np.ndarray, Y: np.ndarray, p: Any
) -> np.ndarray:
    return np.zeros_like(V)


@formula
def of_level(level, a, y):
    """The term of one output."""
    T = scalar(a)
    return np.maximum(level * (y - a), (level - T(1)) * (y - a))


@formula
def of_level_gradient(level, a, y):
    T = scalar(a)
    return where(a > y, T(1) - level, where(a < y, -level, T(0)))


@kernel(fastmath=EXACT)
def quantile_row(z, a, y, p):
    n, C = a.shape[0] // p.shape[0], a.dtype.type(0)
    for q in range(p.shape[0]):
        for k in range(q * n, (q + 1) * n):
            C = plus(C, of_level(p[q], a[k], y[k]))
    return C


@kernel(fastmath=EXACT)
def quantile_gradient_row(z, a, y, delta, p):
    n = a.shape[0] // p.shape[0]
    for q in range(p.shape[0]):
        for j in range(q * n, (q + 1) * n):
            delta[j] = of_level_gradient(p[q], a[j], y[j])


# --- of margins: y is -1 or 1 --------------------------------------------------------------------


@formula
def hinge(z, a, y):
    T = scalar(a)
    return np.maximum(T(1) - y * a, T(0))


@formula
def hinge_gradient(z, a, y):
    T = scalar(a)
    return where(y * a < T(1), -y, T(0))


@formula
def squared_hinge(z, a, y):
    T = scalar(a)
    missing = np.maximum(T(1) - y * a, T(0))
    return missing * missing


@formula
def squared_hinge_gradient(z, a, y):
    T = scalar(a)
    return T(-2) * y * np.maximum(T(1) - y * a, T(0))


@formula
def squared_hinge_second(z, a, y):
    T = scalar(a)
    return where(y * a < T(1), T(2) * y * y, T(0))


# --- of a direction ------------------------------------------------------------------------------

# cosine: C = 1 - c, c = u . v of the unit vectors u = a / |a|, v = y / |y|; dC/da = (c u - v) / |a|
# Where |a| or |y| is 0 so are c and the gradient. Scaled by the largest entry no square overflows.


def _unit(A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of length one, or zero, and the lengths before."""
    largest = abs(A).max(axis=1, keepdims=True)
    scaled = A / np.where(largest > 0, largest, A.dtype.type(1))
    length = np.sqrt((scaled * scaled).sum(axis=1, keepdims=True))
    return scaled / np.where(length > 0, length, A.dtype.type(1)), largest * length


def cosine(Z: np.ndarray, A: np.ndarray, Y: np.ndarray) -> np.ndarray:
    return 1 - (_unit(A)[0] * _unit(Y)[0]).sum(axis=1, keepdims=True)


def cosine_gradient(Z: np.ndarray, A: np.ndarray, Y: np.ndarray) -> np.ndarray:
    (U, length), (V, _) = _unit(A), _unit(Y)
    c = (U * V).sum(axis=1, keepdims=True)
    return np.where(length > 0, c * U - V, 0) / np.where(length > 0, length, A.dtype.type(1))


def cosine_second(V: np.ndarray, Z: np.ndarray, A: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """(c x + (x . w) u + (x . u) (w - 3 c u)) / |a|^2 of each row x of V; w is y's unit vector."""
    (U, length), (W, _) = _unit(A), _unit(Y)
    c, on_u, on_w = ((F * G).sum(axis=1, keepdims=True) for F, G in ((U, W), (V, U), (V, W)))
    product = c * V + on_w * U + on_u * (W - 3 * c * U)
    square = np.where(length > 0, length, A.dtype.type(1)) ** 2
    return np.where(length > 0, product, 0) / square


@kernel(fastmath=EXACT)
def _length(a):
    """The largest |a_k|, or 1, and what a part of that |a| is, as its reciprocal, or 0."""
    T = a.dtype.type
    largest, total = T(0), T(0)
    for k in range(a.shape[0]):
        largest = max(largest, abs(a[k]))
    if not largest > 0:
        return T(1), T(0)
    for k in range(a.shape[0]):
        total += (a[k] / largest) * (a[k] / largest)
    return largest, T(1) / np.sqrt(total)


@kernel(fastmath=EXACT)
def _cosine_of(a, y):
    """c, and what makes u of a and v of y."""
    a_scale, a_part = _length(a)
    y_scale, y_part = _length(y)
    c = a.dtype.type(0)
    for k in range(a.shape[0]):
        c += (a[k] / a_scale * a_part) * (y[k] / y_scale * y_part)
    return c, a_scale, a_part, y_scale, y_part


@kernel(fastmath=EXACT)
def cosine_row(z, a, y, p):
    return a.dtype.type(1) - _cosine_of(a, y)[0]


@kernel(fastmath=EXACT)
def cosine_gradient_row(z, a, y, delta, p):
    c, a_scale, a_part, y_scale, y_part = _cosine_of(a, y)
    for j in range(a.shape[0]):
        u, v = a[j] / a_scale * a_part, y[j] / y_scale * y_part
        delta[j] = (c * u - v) * a_part / a_scale
