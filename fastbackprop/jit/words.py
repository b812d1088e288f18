"""`formula`, and the elementary functions that formulas are written with.

A formula is an expression that means the same for whole arrays in Python and for scalars in a
kernel, so the loops and the loop-free engine share one text. Here is what the functions mean in
Python, which is NumPy's meaning; `jit.math` has the compiled one. Nothing here needs Numba.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

_waiting: list[Callable] = []  # formulas that Numba has not been told of
_register: Callable | None = None  # tells Numba of one


def formula(function: Callable) -> Any:
    """Let compiled code call the function, once there is a compiler."""
    if _register is None:
        _waiting.append(function)
    else:
        _register(function)
    return function


def register_formulas(register: Callable) -> None:
    """Tell Numba of every formula: those marked so far, and each that will be, at once."""
    global _register
    _register = register
    while _waiting:
        register(_waiting.pop())


def scalar(x: Any) -> Any:
    """The type of an element of x: with `T = scalar(x)`, `T(0.5)` leaves float32 float32.

    A bare 0.5 is a float64 to the compiler and would turn the whole expression, and every vector,
    into float64.
    """
    return x.dtype.type


def where(condition: Any, x: Any, y: Any) -> Any:
    """x where the condition holds, else y. Both are computed: keep both free of overflow."""
    return np.where(condition, x, y)


def plus(total: Any, x: Any) -> Any:
    """Total + x, in a sum whose order does not matter, so that it is split over vector lanes.

    A kernel's `reassoc` would allow that too, but for the additions within x as well.
    """
    return total + x


def exp(x: Any) -> Any:
    """e^x."""
    return np.exp(x)


def expm1(x: Any) -> Any:
    """e^x - 1, accurate near 0."""
    return np.expm1(x)


def log(x: Any) -> Any:
    """Natural logarithm."""
    return np.log(x)


def log1p(x: Any) -> Any:
    """log(1 + x), accurate near 0."""
    return np.log1p(x)


def sigmoid(x: Any) -> Any:
    """1 / (1 + e^-x)."""
    e = np.exp(-np.abs(x))  # at most 1: no overflow on either side
    return np.where(x >= 0, x.dtype.type(1), e) / (1 + e)


def tanh(x: Any) -> Any:
    """Hyperbolic tangent."""
    return np.tanh(x)


def erf(x: Any) -> Any:
    """Error function, 2/sqrt(pi) times the integral of e^(-t^2) from 0 to x.

    NumPy has none: this is a loop, compiled where there is Numba.
    """
    if np.ndim(x) == 0:  # inside a kernel that runs as plain Python
        return x.dtype.type(math.erf(x))
    x = np.ascontiguousarray(x)
    result = np.empty_like(x)
    _erf_loop()(x.reshape(-1), result.reshape(-1))
    return result


def _erf_of_each(x: Any, result: Any) -> None:
    for i in range(x.shape[0]):
        result[i] = erf(x[i])


@functools.cache
def _erf_loop() -> Any:
    try:
        from fastbackprop.jit.kernels import kernel
    except ImportError:  # there is no Numba
        return _erf_of_each
    return kernel(_erf_of_each, entry=True)


def sin(x: Any) -> Any:
    """Sine."""
    return np.sin(x)


def cos(x: Any) -> Any:
    """Cosine."""
    return np.cos(x)


def near_sin(x: Any) -> Any:
    """Sin x, |x| <= `vector_math.SIN_LIMIT`. Loops over it are vectorised, over `sin` they are not.

    `sin` has no limit.
    """
    return np.sin(x)


def near_cos(x: Any) -> Any:
    """Cos x, |x| <= `vector_math.SIN_LIMIT`, likewise."""
    return np.cos(x)
