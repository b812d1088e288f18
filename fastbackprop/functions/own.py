"""A user's own activations and costs: what is asked of them, and how they are compiled.

They come as plain scalar functions, or as functions that `numba.njit` has made, and are compiled
here, anew for each dtype, with the options of kernels: a number written in one is of the network's
dtype, as in the built-in formulas, and exp of `math` or NumPy is that of `fastbackprop.math`, which
is vectorised; so in `njit` functions that they call. What could raise an exception is refused: a
thread that left a kernel by one would leave the others of its team waiting for it, for ever.
"""

import functools
import inspect
import math
import re
from collections.abc import Callable
from types import CellType, FunctionType, ModuleType
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.core.dispatcher import Dispatcher
from numba.core.errors import NumbaError
from numba.extending import overload

from fastbackprop.jit import math as _math
from fastbackprop.jit.compiler import EXACT, OPTIONS

Function = Callable[..., Any]  # of whatever a user, or Numba, gives it


def is_ours(function: Function) -> bool:
    """Whether a formula is one of the package's."""
    return (function.__module__ or "").startswith("fastbackprop.")


@functools.cache
def compiled(function: Function, dtype: np.dtype, within: tuple[Function, ...] = ()) -> Any:
    """A user's scalar function for numbers of this dtype; plain Python where nothing compiles.

    Called by those `within` which it is: calls of these, recursion, stay as they are.
    """
    number = np.dtype(dtype).type
    plain = getattr(function, "py_func", function)
    constants = (number(c) if type(c) is float else c for c in plain.__code__.co_consts)
    code = plain.__code__.replace(co_consts=tuple(constants))
    if numba.config.DISABLE_JIT:
        names, cells = plain.__globals__, plain.__closure__
    else:

        def ours(value: Any) -> Any:
            if type(value) is float:
                return number(value)
            theirs = isinstance(value, Dispatcher) and not is_ours(value)
            if theirs and value.py_func not in (plain, *within):
                return compiled(value, dtype, (plain, *within))
            return _in_our_words(value)

        used = {*code.co_names} & {*plain.__globals__}
        names = plain.__globals__ | {name: ours(plain.__globals__[name]) for name in used}
        cells = tuple(CellType(ours(cell.cell_contents)) for cell in plain.__closure__ or ())
    copy = FunctionType(code, names, plain.__name__, plain.__defaults__, cells)
    if numba.config.DISABLE_JIT:
        return copy
    return numba.njit(copy, fastmath=set(EXACT), forceinline=True, **OPTIONS)


def _word(ours: Function, theirs: Function) -> Function:
    """Ours of floats, theirs of integers."""

    def word(x: Any) -> Any:
        return theirs(x)

    overload(word, jit_options={"forceinline": True})(
        lambda x: (lambda x: ours(x)) if isinstance(x, types.Float) else (lambda x: theirs(x))
    )
    return word


def _in_our_words(value: Any) -> Any:
    """What a name in a user's function means: a word of `math` or NumPy is ours."""
    if value is math or value is np:
        return MODULES[value.__name__]
    return WORDS.get(id(value), value)


MODULES: dict[str, ModuleType] = {}
WORDS: dict[int, Function] = {}  # by the id of theirs
for _module in (math, np):
    MODULES[_module.__name__] = _copy = ModuleType(_module.__name__)
    _copy.__dict__.update(vars(_module))
    for _name in ("cos", "erf", "exp", "expm1", "log", "log1p", "sin", "tanh"):
        if hasattr(_module, _name):
            _theirs = getattr(_module, _name)
            WORDS[id(_theirs)] = _word(getattr(_math, _name), _theirs)
            setattr(_copy, _name, WORDS[id(_theirs)])


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
