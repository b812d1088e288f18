"""Elementary functions that mean the same in a kernel (scalars) and in Python (arrays).

In Python each is NumPy's; in compiled code it is what the function marked `overload` returns, or
the recipe that `compiled` names. `formula`s are written with these, so one text serves both.
"""

import math
from typing import Any

import numpy as np
from numba.extending import overload

from fastbackprop.jit import vector_math as _vector_math
from fastbackprop.jit.compiler import kernel
from fastbackprop.jit.vector_math import SIN_LIMIT, compiled


def scalar(x: Any) -> Any:
    """The type of an element of x: with `T = scalar(x)`, `T(0.5)` leaves float32 float32.

    A bare 0.5 is a float64 to the compiler and would turn the whole expression, and every vector,
    into float64.
    """
    return x.dtype.type


@overload(scalar)
def _(x):
    return lambda x: type(x)


def where(condition: Any, x: Any, y: Any) -> Any:
    """x where the condition holds, else y. Both are computed: keep both free of overflow."""
    return np.where(condition, x, y)


@overload(where)
def _(condition, x, y):
    return lambda condition, x, y: x if condition else y


@compiled(_vector_math.plus)
def plus(total: Any, x: Any) -> Any:
    """Total + x, in a sum whose order does not matter, so that it is split over vector lanes.

    A kernel's `reassoc` would allow that too, but for the additions within x as well.
    """
    return total + x


@compiled(_vector_math.exp)
def exp(x: Any) -> Any:
    """e^x."""
    return np.exp(x)


@compiled(_vector_math.expm1)
def expm1(x: Any) -> Any:
    """e^x - 1, accurate near 0."""
    return np.expm1(x)


@compiled(_vector_math.log)
def log(x: Any) -> Any:
    """Natural logarithm."""
    return np.log(x)


@compiled(_vector_math.log1p)
def log1p(x: Any) -> Any:
    """log(1 + x), accurate near 0."""
    return np.log1p(x)


@compiled(_vector_math.sigmoid)
def sigmoid(x: Any) -> Any:
    """1 / (1 + e^-x)."""
    e = np.exp(-np.abs(x))  # at most 1: no overflow on either side
    return np.where(x >= 0, x.dtype.type(1), e) / (1 + e)


@compiled(_vector_math.tanh)
def tanh(x: Any) -> Any:
    """Hyperbolic tangent."""
    return np.tanh(x)


@compiled(_vector_math.erf)
def erf(x: Any) -> Any:
    """Error function, 2/sqrt(pi) times the integral of e^(-t^2) from 0 to x.

    NumPy has none: a compiled loop.
    """
    if np.ndim(x) == 0:  # inside a kernel that runs as plain Python
        return x.dtype.type(math.erf(x))
    x = np.ascontiguousarray(x)
    result = np.empty_like(x)
    _erf_of_each(x.reshape(-1), result.reshape(-1))
    return result


@compiled(_vector_math.sin)
def near_sin(x: Any) -> Any:
    """Sin x, where |x| <= SIN_LIMIT; `sin` has no limit, but loops over it are not vectorised."""
    return np.sin(x)


@compiled(_vector_math.cos)
def near_cos(x: Any) -> Any:
    """Cos x, where |x| <= SIN_LIMIT, likewise."""
    return np.cos(x)


def sin(x: Any) -> Any:
    """Sine."""
    return np.sin(x)


def cos(x: Any) -> Any:
    """Cosine."""
    return np.cos(x)


@overload(sin)
def _(x):
    return lambda x: near_sin(x) if abs(x) <= SIN_LIMIT else np.sin(x)


@overload(cos)
def _(x):
    return lambda x: near_cos(x) if abs(x) <= SIN_LIMIT else np.cos(x)


@kernel(entry=True)
def _erf_of_each(x, result):
    for i in range(x.shape[0]):
        result[i] = erf(x[i])
