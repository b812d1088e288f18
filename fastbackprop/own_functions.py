"""A user's own activations and costs: what is asked of them, and how they are compiled.

They come as plain scalar functions, or as functions that `numba.njit` has made, and are compiled
here, anew for each dtype, with the options of kernels: a number written in one is of the network's
dtype, as in the built-in formulas. What could raise an exception is refused: a thread that left a
kernel by one would leave the others of its team waiting for it, for ever.
"""

import functools
import inspect
import re
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.core.errors import NumbaError

from fastbackprop.engines._compile import EXACT, OPTIONS

Function = Callable[..., Any]  # of whatever a user, or Numba, gives it


def is_ours(function: Function) -> bool:
    """Whether a formula is one of the package's."""
    return (function.__module__ or "").startswith("fastbackprop.")


@functools.cache
def compiled(function: Function, dtype: np.dtype) -> Any:
    """A user's scalar function for numbers of this dtype; plain Python where nothing compiles."""
    number = np.dtype(dtype).type
    plain = getattr(function, "py_func", function)
    constants = (number(c) if type(c) is float else c for c in plain.__code__.co_consts)
    copy = FunctionType(
        plain.__code__.replace(co_consts=tuple(constants)),
        plain.__globals__,
        plain.__name__,
        plain.__defaults__,
        plain.__closure__,
    )
    if numba.config.DISABLE_JIT:
        return copy
    return numba.njit(copy, fastmath=set(EXACT), forceinline=True, **OPTIONS)


def takes_p(function: Function, n: int) -> bool:
    """Whether a formula of n arguments has its parameters as one more."""
    return len(inspect.signature(getattr(function, "py_func", function)).parameters) > n


def check(function: Any, what: str, words: str, dtype: np.dtype, p: tuple[float, ...]) -> None:
    """Refuse what is no scalar function of these words ("z, a") that can be compiled.

    Its parameters are compiled as a tuple of so many as p has: no index may lie outside.

    Raises TypeError for another kind of thing or number of arguments, ValueError for one that does
    not compile, returns no number, or could raise an exception.
    """
    plain = getattr(function, "py_func", function)
    if not isinstance(plain, FunctionType):
        name = getattr(function, "__name__", None)
        hint = f": wrap it, as in lambda {words}: {name}({words})" if callable(function) else ""
        raise TypeError(f"{what} must be a function of ({words}); got {function!r}{hint}")
    n = len(words.split(", "))
    parameters = inspect.signature(plain).parameters.values()
    simple = all(q.kind in (q.POSITIONAL_ONLY, q.POSITIONAL_OR_KEYWORD) for q in parameters)
    if not simple or len(parameters) not in (n, n + 1):
        raise TypeError(
            f"{what} must be a function of ({words}), or ({words}, p) with parameters; "
            f"got {plain.__name__}{inspect.signature(plain)}"
        )
    if len(parameters) > n and not p:
        raise ValueError(f"{what}, {plain.__name__}, takes parameters p, and has none: p=()")
    if numba.config.DISABLE_JIT:
        return
    number = numba.from_dtype(np.dtype(dtype))
    arguments = (number,) * n
    if len(parameters) > n:
        arguments += (types.UniTuple(number, len(p)),)
    dispatcher = compiled(function, np.dtype(dtype))
    try:
        dispatcher.compile(arguments)
    except NumbaError as error:
        raise ValueError(
            f"{what}, {plain.__name__}, cannot be compiled for {dtype}: {_first_lines(error)}"
        ) from None
    result = dispatcher.overloads[arguments].signature.return_type
    if not isinstance(types.unliteral(result), types.Float | types.Integer | types.Boolean):
        raise ValueError(f"{what}, {plain.__name__}, must return a number; it returns {result}")
    if _can_raise(dispatcher.overloads[arguments]):
        raise ValueError(
            f"{what}, {plain.__name__}, could raise an exception, which kernels that run in "
            f"threads cannot: leave out raise, assert, print and indices that may be out of range, "
            f"and return nan where there is no value"
        )


def _first_lines(error: Exception) -> str:
    """What Numba says, without its advice and its own traceback."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # without colours
    lines = [line.strip() for line in plain.splitlines()]
    lines = [line for line in lines if line and not line.startswith("Failed in nopython mode")]
    said = []
    for line in lines:
        if re.match(r'File "|During:|This error may|To find out|For more info|>>>', line):
            break
        said.append(line)
    return " ".join(said)[:300] or type(error).__name__


def _can_raise(result: Any) -> bool:
    """Whether the machine code returns anything but the status 0.

    Numba's functions return a status. The optimizer knows where it is always 0.
    """
    name = re.escape(result.fndesc.llvm_func_name)
    text = result.library.get_llvm_str()
    body = re.search(rf'^define [^\n]*@"?{name}"?\(.*?^}}', text, re.MULTILINE | re.DOTALL)
    return body is None or {*re.findall(r"ret i32 (\S+)", body[0])} != {"0"}
