"""Costs of the distance between a and y: terms, dC/da and d2C/da2.

A block ends with the line of the registry.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from fastbackprop.functions.costs import COSTS, Cost, CoupledCost, between, parametric, register
from fastbackprop.jit.words import exp, expm1, formula, log1p, scalar, tanh, where


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


register("squared_error", squared_error, difference, "1/2 sum_k (a_k - y_k)^2", second=one)


@formula
def along(z, a, y):
    return a * y


@formula
def given(z, a, y):
    """dC/da of `GIVEN`: the target."""
    return y


# The cost whose gradient comes from elsewhere, in the place of y. It is not registered.
GIVEN = Cost("given", along, given, "sum_k a_k y_k")


@formula
def absolute_error(z, a, y):
    return abs(a - y)


@formula
def absolute_error_gradient(z, a, y):
    T = scalar(a)
    return where(a > y, T(1), where(a < y, T(-1), T(0)))


@formula
def zero(z, a, y):
    """d2C/da2 of piecewise linear costs."""
    return scalar(a)(0)


register(
    "absolute_error", absolute_error, absolute_error_gradient, "sum_k abs(a_k - y_k)", second=zero
)


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


register(
    "huber",
    huber,
    huber_gradient,
    "sum_k x_k^2 / 2 for x_k = abs(a_k - y_k) < p, else p (x_k - p / 2)",
    p=(1.0,),
    second=huber_second,
)


@parametric("huber")
def Huber(delta: float = 1.0) -> Cost:
    """The cost huber: quadratic up to a distance of `delta` > 0, then a line. Huber (1964)."""
    between("Huber", "delta", delta, 0, math.inf)
    return COSTS["huber"][0].with_parameters(delta=delta)


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


register(
    "log_cosh", log_cosh, log_cosh_gradient, "sum_k log cosh(a_k - y_k)", second=log_cosh_second
)


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


register(
    "quantile",
    quantile,
    quantile_gradient,
    "sum_k max(p (y_k - a_k), (p - 1) (y_k - a_k))",
    p=(0.5,),
    second=quantile_second,
    kind=CoupledCost,
)


@parametric("quantile", several=True)
def Quantile(levels: float | Iterable[float] = 0.5) -> Cost:
    """The cost quantile: outputs become these quantiles of y, given x.

    `levels` are one or several in (0, 1), ascending. With m targets and q levels the network has
    m q outputs: those of the first level for all targets, then those of the second, ...
    """
    several = list(levels) if isinstance(levels, Iterable) else [levels]
    checked = [between("Quantile", "levels", level, 0, 1) for level in several]
    if not checked or sorted(set(checked)) != checked:
        raise ValueError(f"levels of Quantile must ascend from one to the next; got {levels!r}")
    return replace(COSTS["quantile"][0], p=tuple(checked), outputs_per_target=len(checked))


# --- of margins: y is -1 or 1 --------------------------------------------------------------------


@formula
def hinge(z, a, y):
    T = scalar(a)
    return np.maximum(T(1) - y * a, T(0))


@formula
def hinge_gradient(z, a, y):
    T = scalar(a)
    return where(y * a < T(1), -y, T(0))


register("hinge", hinge, hinge_gradient, "sum_k max(1 - y_k a_k, 0)", targets="sign", second=zero)


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


register(
    "squared_hinge",
    squared_hinge,
    squared_hinge_gradient,
    "sum_k max(1 - y_k a_k, 0)^2",
    targets="sign",
    second=squared_hinge_second,
)


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


register(
    "cosine",
    cosine,
    cosine_gradient,
    "1 - sum_k a_k y_k / sqrt(sum_k a_k^2 sum_k y_k^2)",
    second=cosine_second,
    kind=CoupledCost,
)
