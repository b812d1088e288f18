"""Decorators of compiled code, and the compiler's options.

- `kernel`: explicit loops over arrays. Machine code of its own, made once for each signature, kept
  on disk, and called by its name from other kernels, as C's functions from other files are: an edit
  in a kernel leaves the kernels below it as they are. With `entry=True` Python can call it too;
  with `linked=True` it is optimised together with each kernel that calls it, for short ones and
  the innermost of a product;
- `inlined`: a named part of a kernel, put in place before compilation. It may return a view;
- `jit.words.formula`: an expression in NumPy's words.

Nothing is compiled at import: a kernel compiles, or is read from the disk, when first called.
"""

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numba
import numpy as np

from fastbackprop.jit import math  # noqa: F401 (tells Numba of words and formulas)
from fastbackprop.jit.cache import DiskCache, identity
from fastbackprop.jit.numba_internals import Inner, Kernel, digest, is_linked

# `reassoc` lets a sum be split over vector lanes. Never `nnan` or `ninf`: with them a test for NaN
# means nothing. Nor `arcp`: the reciprocal of a tiny sum of weights overflows, the quotient not.
FASTMATH = frozenset({"contract", "reassoc", "nsz"})

# For formulas whose roundings must not be rearranged.
EXACT = frozenset({"contract", "nsz"})

# For results that two kernels must share: `contract` leaves open which product of a sum is fused.
ROUNDED = frozenset({"nsz"})

# Without the runtime (`_nrt`) nothing counts references, and nothing can be allocated: a step of a
# small network takes a quarter of the time, and an allocation in a kernel is an error.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False}


def kernel(
    function: Callable | None = None,
    *,
    entry: bool = False,
    linked: bool = False,
    fastmath: frozenset = FASTMATH,
) -> Any:
    """Compile explicit loops to machine code; see the top of this file."""
    if function is None:
        return functools.partial(kernel, entry=entry, linked=linked, fastmath=fastmath)
    if numba.config.DISABLE_JIT:  # plain Python, with the arithmetic of compiled code: no warnings
        return np.errstate(all="ignore")(function)
    options = OPTIONS | {"fastmath": set(fastmath)}
    if not is_linked():
        result = numba.njit(function, forceinline=linked, **options)
        result.plain_options = options | {"forceinline": linked}
        return result
    key = identity(function)
    if key is not None:
        # Numba tells closures of one name apart by a number, and numbers them anew in each
        # process: machine code from the disk would meet other code of the same name.
        function = _renamed(function, f"{function.__qualname__}.{digest(key)}")
    result = (Kernel if entry else Inner)(function, key, entry, linked, options)
    if key is not None and (entry or not linked):
        result.keep_in(DiskCache(result))
    return result


def _renamed(function: Any, qualified_name: str) -> FunctionType:
    code, names, closure = function.__code__, function.__globals__, function.__closure__
    copy = FunctionType(code, names, function.__name__, function.__defaults__, closure)
    functools.update_wrapper(copy, function)
    copy.__qualname__ = qualified_name
    return copy


def inlined(function: Callable) -> Any:
    """Put the function's body where it is called."""
    if numba.config.DISABLE_JIT:
        return function
    return numba.njit(inline="always", **OPTIONS)(function)


def in_python(function: Callable) -> Callable:
    """A decorator for an intrinsic: its meaning where nothing is compiled."""
    return lambda intrinsic: function if numba.config.DISABLE_JIT else intrinsic
