"""Functions for activations and costs of your own: those that the built-in ones are written with.

In compiled code, a network's or your own, these are polynomials that the compiler vectorises, to 2
units in the last place; the same functions of `math` and `numpy` are calls of the C library, one
element at a time, and make a kernel several times as slow. In an activation or a cost of your own
the latter are replaced by these. In Python they take arrays, as NumPy's.

Numba is imported when the first of them is asked for: it has to know them before it compiles a
call.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastbackprop.jit import words

if TYPE_CHECKING:
    from fastbackprop.jit.words import cos, erf, exp, expm1, log, log1p, sigmoid, sin, tanh

__all__ = ["cos", "erf", "exp", "expm1", "log", "log1p", "sigmoid", "sin", "tanh"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import_module("fastbackprop.jit.math")
    except ImportError:  # there is no Numba: they are for Python alone
        pass
    return globals().setdefault(name, getattr(words, name))


def __dir__() -> list[str]:
    return [*globals(), *__all__]
