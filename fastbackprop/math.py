"""Words for functions of your own: what the built-in activations and costs are written with.

In compiled code, a network's or your own, these are polynomials that the compiler vectorises, to 2
units in the last place; the same functions of `math` and `numpy` are calls of the C library, one
element at a time, and make a kernel several times as slow. In an activation or a cost of your own
the latter become these by themselves. In Python they take arrays, as NumPy's.
"""

from fastbackprop.jit.math import cos, erf, exp, expm1, log, log1p, sigmoid, sin, tanh

__all__ = ["cos", "erf", "exp", "expm1", "log", "log1p", "sigmoid", "sin", "tanh"]
