"""Formulas as graphs: `recorded` calls a formula with symbols that record each operation on them.

Formats are written from these graphs. A node is a word (a NumPy function's name, or one of
`REDUCTIONS`) and its parts; leaves are `Z`, `P`, `Q` and numbers. Equal expressions are one node,
so a part that is used twice is there once.

A formula may use operators, `np.where`, `np.maximum`, elementary functions of NumPy, `math` or
`fastbackprop.math`, other functions made of these, and, where it is of one number, `if`: it is then
called once for each answer. Of arrays, it may reduce a sample's neurons with `max`, `sum` and
`mean` (axis=1, keepdims=True), or take the first, `Z[:, :1]`.
"""

import math
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from types import CellType, FunctionType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from fastbackprop.functions.activations import Activation
from fastbackprop.functions.layer_norms import LayerNorm, normalised
from fastbackprop.functions.own import takes_p
from fastbackprop.jit import words

ELEMENTARY = ("cos", "erf", "exp", "expm1", "log", "log1p", "sin", "sqrt", "tanh")
ARITHMETIC = (
    *("add", "subtract", "multiply", "divide", "power", "negative", "absolute"),
    *("maximum", "minimum", "where"),
)
RELATIONS = ("greater", "greater_equal", "less", "less_equal", "equal", "not_equal")
LOGIC = ("logical_and", "logical_or", "logical_not")
REDUCTIONS = ("largest", "total", "mean", "first")  # of a sample's neurons
COMMUTATIVE = {"add", "multiply", "maximum", "minimum"}
MOST_CONDITIONS = 8  # of `if` on one way through a formula

_SYNONYMS = {
    **{"true_divide": "divide", "abs": "absolute", "fabs": "absolute", "pow": "power"},
    **{"bitwise_and": "logical_and", "bitwise_or": "logical_or", "invert": "logical_not"},
    **{"fmax": "maximum", "fmin": "minimum", "float_power": "power"},
}
_WORDS = {*ELEMENTARY, *ARITHMETIC, *RELATIONS, *LOGIC}


class NotRecordable(ValueError):
    """A formula does something that symbols cannot record."""


class _Undecided(Exception):
    """`if` asks for a condition whose answer depends on z."""


_decided: ContextVar[dict["Symbol", bool]] = ContextVar("decided")


class Symbol(NDArrayOperatorsMixin):
    """A value in a formula. Made by `symbol` alone."""

    def __init__(self, word: str, parts: tuple[Any, ...]) -> None:
        self.word, self.parts = word, parts

    __hash__ = object.__hash__  # equal symbols are one object; == is recorded

    @property
    def value(self) -> float:
        """Of a number."""
        return float(self.parts[0])

    @property
    def is_condition(self) -> bool:
        return self.word in RELATIONS or self.word in LOGIC

    # --- operations of formulas -------------------------------------------------------------------

    dtype = SimpleNamespace(type=float)  # numbers of any dtype are recorded as they are written

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        name = _SYNONYMS.get(ufunc.__name__, ufunc.__name__)
        if method != "__call__" or options:
            raise NotRecordable(f"np.{ufunc.__name__} with options")
        if name == "square":
            return self * self
        if name not in _WORDS:
            raise NotRecordable(f"np.{ufunc.__name__}")
        return apply(name, *inputs)

    def __array_function__(self, function: Any, types: Any, inputs: Any, options: Any) -> Any:
        if function is np.where and len(inputs) == 3:
            return apply("where", *inputs)
        if function is np.clip and len(inputs) == 3 and not options:
            return apply("minimum", apply("maximum", *inputs[:2]), inputs[2])
        methods = {np.max: Symbol.max, np.sum: Symbol.sum, np.mean: Symbol.mean}
        if function not in methods:
            raise NotRecordable(f"np.{function.__name__}")
        return methods[function](*inputs, **options)

    def max(self, axis: Any = None, keepdims: bool = False) -> "Symbol":
        return self._reduced("largest", axis, keepdims)

    def sum(self, axis: Any = None, keepdims: bool = False) -> "Symbol":
        return self._reduced("total", axis, keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> "Symbol":
        return self._reduced("mean", axis, keepdims)

    def _reduced(self, word: str, axis: Any, keepdims: bool) -> "Symbol":
        if axis not in (1, -1) or not keepdims:
            raise NotRecordable("a reduction but with axis=1, keepdims=True")
        return symbol(word, self)

    def __getitem__(self, key: Any) -> "Symbol":
        if key != (slice(None), slice(None, 1)):
            raise NotRecordable("an index but [:, :1]")
        return symbol("first", self)

    def __bool__(self) -> bool:
        decided = _decided.get()
        condition = self if self.is_condition else apply("not_equal", self, 0.0)
        if condition not in decided:
            raise _Undecided(condition)
        return decided[condition]

    def __float__(self) -> float:
        raise NotRecordable("a function of C, or float()")

    __int__ = __index__ = __iter__ = __len__ = __float__


_known: dict[tuple[Any, ...], Symbol] = {}


def symbol(word: str, *parts: Any) -> Symbol:
    """The one symbol of this word and these parts: symbols, or the text of a number."""
    key = (word, *(id(part) if isinstance(part, Symbol) else part for part in parts))
    return _known.setdefault(key, Symbol(word, parts))


Z, P, Q = symbol("z"), symbol("p"), symbol("q")  # z, p[0] and p[1]
VARIABLES = {Z, P, Q}


def number(value: Any) -> Symbol:
    """A symbol, or a constant of a formula as one."""
    if isinstance(value, Symbol):
        return value
    if isinstance(value, bool | int | float | np.number | np.bool_):
        return symbol("number", repr(float(value)))
    raise NotRecordable(f"a value of the type {type(value).__name__}")


def apply(word: str, *inputs: Any) -> Symbol:
    """A word applied to symbols and numbers; a condition counts as 1 or 0 in arithmetic."""
    parts = [number(part) for part in inputs]
    for i, part in enumerate(parts):
        wanted = word in LOGIC or (word == "where" and i == 0)
        if part.is_condition and not wanted:
            parts[i] = _as_number(part)
        elif wanted and not part.is_condition:
            parts[i] = apply("not_equal", part, 0.0)
    return symbol(word, *parts)


def _as_number(value: Symbol) -> Symbol:
    return apply("where", value, 1.0, 0.0) if value.is_condition else value


# --- recording -----------------------------------------------------------------------------------


def recorded(activation: Activation, p: Sequence[Any] | None = None) -> Symbol:
    """sigma's graph, of `Z`; with these values or symbols in place of its parameters.

    Raises NotRecordable, with the activation's name and the operation that is not known.
    """
    p = activation.p if p is None else p
    z = normalised(Z, activation.epsilon)[0] if isinstance(activation, LayerNorm) else Z  # type: ignore[arg-type]
    return record(activation.sigma, (z,), tuple(p), activation.name)


def record(function: Callable[..., Any], arguments: tuple[Any, ...], p: Any, name: str) -> Symbol:
    """The graph of a formula of these arguments, and of p if it takes that."""
    f = _with_recording_words(function, {})
    if isinstance(f, FunctionType) and takes_p(f, len(arguments)):
        arguments = (*arguments, p)
    try:
        return _as_number(_every_way(lambda: f(*arguments), {}))
    except NotRecordable as error:
        raise NotRecordable(f"the formula of {name!r} cannot be recorded: {error}") from None
    except (TypeError, AttributeError, ValueError, IndexError) as error:
        raise NotRecordable(f"the formula of {name!r} cannot be recorded: {error}") from error


def _every_way(call: Callable[[], Any], decided: dict[Symbol, bool]) -> Symbol:
    """The value of a formula; of one with `if`, both values and the condition."""
    token = _decided.set(decided)
    try:
        return number(call())
    except _Undecided as undecided:
        (condition,) = undecided.args
    finally:
        _decided.reset(token)
    if len(decided) == MOST_CONDITIONS:
        raise NotRecordable(f"more than {MOST_CONDITIONS} conditions, or a loop that depends on z")
    yes, no = (_every_way(call, decided | {condition: answer}) for answer in (True, False))
    return apply("where", condition, yes, no)


def _word(name: str) -> Callable[[Any], Any]:
    return lambda x: apply(name, x) if isinstance(x, Symbol) else getattr(math, name)(x)


_RECORDING = {name: _word(name) for name in ELEMENTARY} | {
    "fabs": abs,
    "pow": lambda x, y: x**y,
    "sigmoid": words.sigmoid,
}
_MODULES = {
    "math": SimpleNamespace(**vars(math) | _RECORDING),
    "fastbackprop.math": SimpleNamespace(**_RECORDING),
    "fastbackprop": SimpleNamespace(math=SimpleNamespace(**_RECORDING)),
}


def _with_recording_words(function: Any, seen: dict[Any, Any]) -> Any:
    """A copy of a function whose names mean words that record; NumPy's do so by themselves."""
    plain = getattr(function, "py_func", function)
    if plain is words.erf:
        return _RECORDING["erf"]
    if not isinstance(plain, FunctionType):
        return plain
    if plain in seen:
        return seen[plain]
    seen[plain] = plain  # of one that calls itself

    def meaning(value: Any) -> Any:
        if isinstance(value, ModuleType):
            return _MODULES.get(value.__name__, value)
        if getattr(value, "__module__", None) == "math":
            return _RECORDING.get(value.__name__, value)
        if isinstance(value, FunctionType) or hasattr(value, "py_func"):
            return _with_recording_words(value, seen)
        return value

    used = {*plain.__code__.co_names} & {*plain.__globals__}
    names = plain.__globals__ | {name: meaning(plain.__globals__[name]) for name in used}
    cells = tuple(CellType(meaning(cell.cell_contents)) for cell in plain.__closure__ or ())
    seen[plain] = FunctionType(plain.__code__, names, plain.__name__, plain.__defaults__, cells)
    return seen[plain]


# --- graphs --------------------------------------------------------------------------------------


def nodes(root: Symbol, within: Callable[[Symbol], bool] = lambda node: True) -> list[Symbol]:
    """Every symbol in a graph, parts before wholes; parts only of those `within`."""
    found: dict[Symbol, None] = {}

    def visit(node: Symbol) -> None:
        if node not in found:
            for part in node.parts if within(node) else ():
                if isinstance(part, Symbol):
                    visit(part)
            found[node] = None

    visit(root)
    return list(found)


def is_leaf(node: Symbol) -> bool:
    return not any(isinstance(part, Symbol) for part in node.parts)


def match(
    pattern: Symbol, node: Symbol, found: dict[Symbol, Symbol]
) -> dict[Symbol, Symbol] | None:
    """The symbols that Z, P and Q of the pattern stand for, if it is the node; else None.

    P and Q stand for numbers, or parameters.
    """
    if pattern in VARIABLES:
        fits = pattern is Z or node.word in ("number", "p", "q")
        return {**found, pattern: node} if fits and found.get(pattern, node) is node else None
    if is_leaf(pattern) or is_leaf(node):
        return found if pattern is node else None
    if pattern.word != node.word:
        return None
    orders = [node.parts] + [node.parts[::-1]] * (node.word in COMMUTATIVE)
    for order in orders:
        result: dict[Symbol, Symbol] | None = found
        for part, of_node in zip(pattern.parts, order, strict=True):
            result = None if result is None else match(part, of_node, result)
        if result is not None:
            return result
    return None
