"""Checks of the numbers, flags and pairs that a user passes.

A number is any real number of Python or NumPy except True and False. A value of another kind is
refused with TypeError, a number outside the range with ValueError. The message has the argument's
name, the expectation and the value.
"""

import math
import numbers
from typing import Any

import numpy as np

PLAIN = type(None), bool, int, float, str


def is_number(value: Any) -> bool:
    """Whether it is a real number; NaN and infinity are."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Whether it is an integer; 2.0 is not."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def number(
    value: Any,
    what: str,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    ends: str = "[)",
    must: str = "be a number",
) -> float:
    """A finite number of an interval, as a float.

    Parameters
    ----------
    value
    what : str
        The argument's name, for messages.
    low, high : float
    ends : {"[)", "[]", "(]", "()"}
        Whether the interval includes `low` and `high`: a square bracket does.
    must : str
        What the number has to do, for messages: "be a number", "lie", ... in [0, 1).

    Raises
    ------
    TypeError
        For a value that is no number.
    ValueError
        For a number that is not finite or outside the interval.
    """
    x = value
    if type(value) is not float:  # the usual kind: to ask for the others takes longer than the rest
        if not is_number(value):
            raise TypeError(f"{what} must {must}{_interval(low, high, ends)}; got {shown(value)}")
        x = _rounded(value)
    at_an_end = (x == low and ends[0] == "[") or (x == high and ends[1] == "]")
    if not (low < x < high or at_an_end) or math.isinf(x):
        expected = f"{must}{_interval(low, high, ends)}"
        expected = "be finite" if expected == "be a number" else expected
        raise ValueError(f"{what} must {expected}; got {text(value)}")
    return float(x)


def _interval(low: float, high: float, ends: str) -> str:
    if high < math.inf:
        between = f"between {low:g} and {high:g}"
        return f" {between}" if ends == "()" else f" in {ends[0]}{low:g}, {high:g}{ends[1]}"
    if low > -math.inf:
        return f" above {low:g}" if ends[0] == "(" else f" of at least {low:g}"
    return ""


def _rounded(value: Any) -> float:
    """A number as a float: infinity where it is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def as_float(value: Any, what: str) -> float:
    """A real number, NaN and infinity included, as a float.

    Raises TypeError for a value that is no number, ValueError for one too large for a float.
    """
    if not is_number(value):
        raise TypeError(f"{what} must be a number; got {shown(value)}")
    x = _rounded(value)
    if math.isinf(x) and value != x:
        raise ValueError(f"{what} is too large for a float; got {text(value)}")
    return x


def whole(
    value: Any, what: str, least: int = 1, most: int | None = None, *, must: str | None = None
) -> int:
    """An integer of at least `least`, and at most `most`.

    `must` is the expectation for messages: "be a positive integer". Raises TypeError for a value
    that is no integer, ValueError for one outside the range.
    """
    must = must or f"be a whole number, {least} at least"
    if not is_whole(value):
        raise TypeError(f"{what} must {must}; got {shown(value)}")
    if value < least:
        raise ValueError(f"{what} must {must}; got {text(value)}")
    if most is not None and value > most:
        raise ValueError(f"{what} must {must} and {most} at most; got {text(value)}")
    return int(value)


def is_plain(value: Any) -> bool:
    """Whether nobody can change it: a number, text or nothing of Python, or a tuple of these."""
    return isinstance(value, PLAIN) or (type(value) is tuple and all(map(is_plain, value)))


def flag(value: Any, what: str) -> bool:
    """True or False. Raises TypeError for anything else."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{what} must be True or False; got {shown(value)}")
    return bool(value)


def two(
    values: Any, what: str, low: float = -math.inf, high: float = math.inf, *, ends: str = "[)"
) -> tuple[float, float]:
    """Two numbers as `number` takes them. Raises TypeError or ValueError."""
    try:
        first, second = values
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"{what} must be two numbers{_interval(low, high, ends)}; got {text(values)}"
        ) from None
    return (
        number(first, f"{what}[0]", low, high, ends=ends),
        number(second, f"{what}[1]", low, high, ends=ends),
    )


def shown(value: Any) -> str:
    """A refused value and its type, for a message."""
    return f"{text(value)} ({type(value).__name__})"


def text(value: Any) -> str:
    """`repr`, cut to fit a message."""
    try:
        full = repr(value)
    except ValueError:  # Python prints no integer of more than 4,300 digits
        full = f"an integer of {value.bit_length()} bits" if is_whole(value) else "a value"
    return full if len(full) < 60 else full[:57] + "..."
