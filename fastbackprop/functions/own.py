"""A user's own activations and costs: which functions are accepted, and how they are compiled.

They are plain scalar functions, or functions made by `numba.njit`. They are compiled here, anew for
each dtype, with the options of kernels: a number written in one is of the network's dtype, as in
the built-in formulas, and exp of `math` or NumPy is the vectorised one of `fastbackprop.math`. The
same holds for the `njit` functions that they call. A function that could raise an exception is
refused: the threads of a team would wait for ever for the one that it ended. So is one that uses
arrays, or that calls itself: it could read or write beyond memory.

Numba is imported when the first function is compiled.
"""

import functools
import inspect
import math
import re
from collections.abc import Callable
from types import CellType, FunctionType, ModuleType
from typing import Any

import numpy as np

from fastbackprop.jit import words as our_words
from fastbackprop.jit.availability import compiles
from fastbackprop.jit.interrupts import deferred

Function = Callable[..., Any]  # of whatever a user, or Numba, gives it


def is_ours(function: Function) -> bool:
    """Whether a formula is one of the package's."""
    return (function.__module__ or "").startswith("fastbackprop.")


@functools.cache
def compiled(function: Function, dtype: np.dtype, within: tuple[Function, ...] = ()) -> Any:
    """A user's scalar function for numbers of this dtype; plain Python where nothing compiles.

    `within` are the functions whose compilation led here. Calls of these, recursion, are left as
    they are.
    """
    number = np.dtype(dtype).type
    plain = getattr(function, "py_func", function)
    constants = (number(c) if type(c) is float else c for c in plain.__code__.co_consts)
    code = plain.__code__.replace(co_consts=tuple(constants))
    if not compiles():
        names, cells = plain.__globals__, plain.__closure__
        return FunctionType(code, names, plain.__name__, plain.__defaults__, cells)

    import numba

    from fastbackprop.jit.kernels import EXACT, OPTIONS
    from fastbackprop.jit.numba_internals import Dispatcher

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
    return numba.njit(copy, fastmath=set(EXACT), forceinline=True, **OPTIONS)


# --- words of math and NumPy ---------------------------------------------------------------------


def _in_our_words(value: Any) -> Any:
    """The meaning of a name in a user's function: a word of `math` or NumPy is ours."""
    modules, words = _replacements()
    if value is math or value is np:
        return modules[value.__name__]
    return words.get(id(value), value)


@functools.cache
def _replacements() -> tuple[dict[str, ModuleType], dict[int, Function]]:
    """Copies of `math` and NumPy with our words, by name; our words, by the id of theirs."""
    modules, words = {}, {}
    for module in (math, np):
        modules[module.__name__] = copy = ModuleType(module.__name__)
        copy.__dict__.update(vars(module))
        for name in ("cos", "erf", "exp", "expm1", "log", "log1p", "sin", "tanh"):
            if hasattr(module, name):
                theirs = getattr(module, name)
                words[id(theirs)] = _word(getattr(our_words, name), theirs)
                setattr(copy, name, words[id(theirs)])
    return modules, words


def _word(ours: Function, theirs: Function) -> Function:
    """Ours of floats, theirs of integers."""
    from numba import types
    from numba.extending import overload

    def word(x: Any) -> Any:
        return theirs(x)

    overload(word, jit_options={"forceinline": True})(
        lambda x: (lambda x: ours(x)) if isinstance(x, types.Float) else (lambda x: theirs(x))
    )
    return word


# --- checks --------------------------------------------------------------------------------------


def takes_p(function: Function, n: int) -> bool:
    """Whether a formula of n arguments has its parameters as one more."""
    return len(inspect.signature(getattr(function, "py_func", function)).parameters) > n


def check(function: Any, what: str, words: str, dtype: np.dtype, p: tuple[float, ...]) -> None:
    """Refuse anything but a scalar function of these words ("z, a") that can be compiled.

    Its parameters are compiled as a tuple of as many numbers as p has: no index may lie outside.

    Raises TypeError for another kind of thing or number of arguments, ValueError for a function
    that does not compile, returns no number, or could raise an exception.
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
    if compiles():
        n_p = len(p) if len(parameters) > n else None
        _check_compiled(function, f"{what}, {plain.__name__}", np.dtype(dtype), n, n_p)


def _check_compiled(
    function: Function, what: str, dtype: np.dtype, n: int, n_p: int | None
) -> None:
    """Refuse a function of n numbers, and a tuple of n_p, that cannot be in a kernel."""
    import numba
    from numba import types

    from fastbackprop.jit.numba_internals.functions import can_raise

    number = numba.from_dtype(dtype)
    arguments = (number,) * n
    if n_p is not None:
        arguments += (types.UniTuple(number, n_p),)
    dispatcher = compiled(function, dtype)
    try:
        with deferred():
            dispatcher.compile(arguments)
    except numba.NumbaError as error:
        raise ValueError(f"{what}, cannot be compiled for {dtype}: {_first_lines(error)}") from None
    (result,) = [s.return_type for s in dispatcher.nopython_signatures if s.args == arguments]
    if not isinstance(types.unliteral(result), types.Float | types.Integer | types.Boolean):
        raise ValueError(f"{what}, must return a number; it returns {result}")
    if unsafe := _unsafe(dispatcher):
        raise ValueError(f"{what}, {unsafe}")
    if can_raise(dispatcher, arguments):
        raise ValueError(
            f"{what}, could raise an exception, which kernels that run in threads cannot: leave "
            f"out raise, assert, print and indices that may be out of range, and return nan where "
            f"there is no value"
        )


def _unsafe(dispatcher: Any, within: tuple[Any, ...] = ()) -> str:
    """Why the function, or one that it calls, could read beyond memory; "" where it cannot.

    Nothing checks the indices of arrays, nor the depth of calls. `within` are the functions whose
    calls led here.
    """
    from numba import types

    from fastbackprop.jit.numba_internals.functions import variable_types

    name, used = dispatcher.py_func.__name__, variable_types(dispatcher)
    if dispatcher in within:
        return f"calls {name} within {name}: write a loop, for no depth of calls is safe"
    if used is None:
        return f"calls {name}, whose machine code is from a disk: leave out its cache=True"
    if any(isinstance(type_, types.Buffer | types.NumpyFlatType) for type_ in used):
        return (
            f"uses an array in {name}, whose indices nothing checks: use numbers, or a tuple with "
            f"constant indices"
        )
    called = [type_.dispatcher for type_ in used if isinstance(type_, types.Dispatcher)]
    theirs = (_unsafe(f, (*within, dispatcher)) for f in called if not is_ours(f))
    return next(filter(None, theirs), "")


def _first_lines(error: Exception) -> str:
    """Numba's message, without its advice and its own traceback."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # without colours
    lines = [line.strip() for line in plain.splitlines()]
    lines = [line for line in lines if line and not line.startswith("Failed in nopython mode")]
    said = []
    for line in lines:
        if re.match(r'File "|During:|This error may|To find out|For more info|>>>', line):
            break
        said.append(line)
    return " ".join(said)[:300] or type(error).__name__
