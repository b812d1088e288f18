"""What counts as a number in an argument: Python's and NumPy's kinds, but not True and False."""

import numbers
from typing import Any


def is_number(value: Any) -> bool:
    """Whether it is a real number, NaN and infinity included."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Whether it is an integer: 2.0 is none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
