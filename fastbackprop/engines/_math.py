"""Elementary functions that mean the same in a kernel (scalars) and in Python (arrays).

In Python each is NumPy's; in compiled code it is what the function marked `overload` returns.
`formula`s are written with these, so one text serves both, and compiled code can get faster ones
without any formula changing.
"""

import math
from typing import Any

import numpy as np
from numba.extending import overload

from fastbackprop.engines._compile import kernel


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


def exp(x: Any) -> Any:
    """e^x."""
    return np.exp(x)


@overload(exp)
def _(x):
    return lambda x: math.exp(x)


def expm1(x: Any) -> Any:
    """e^x - 1, accurate near 0."""
    return np.expm1(x)


@overload(expm1)
def _(x):
    return lambda x: math.expm1(x)


def log1p(x: Any) -> Any:
    """log(1 + x), accurate near 0."""
    return np.log1p(x)


@overload(log1p)
def _(x):
    return lambda x: math.log1p(x)


def tanh(x: Any) -> Any:
    """Hyperbolic tangent."""
    return np.tanh(x)


@overload(tanh)
def _(x):
    return lambda x: math.tanh(x)


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


@overload(erf)
def _(x):
    return lambda x: math.erf(x)


@kernel(cached=True)
def _erf_of_each(x, result):
    for i in range(x.shape[0]):
        result[i] = math.erf(x[i])
