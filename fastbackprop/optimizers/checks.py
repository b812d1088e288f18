"""Checks of hyperparameters."""

from typing import Any

from fastbackprop.numbers import is_number, is_whole


def number(name: str, value: Any, low: float, high: float) -> float:
    """A hyperparameter in [low, high), as a float. Raises ValueError."""
    if not is_number(value) or not low <= value < high:
        raise ValueError(f"{name} must be a number in [{low:g}, {high:g}); got {value!r}")
    return float(value)


def whole_number(name: str, value: Any, least: int, kind: str) -> None:
    """Raise ValueError for anything but an integer of at least this."""
    if not is_whole(value) or value < least:
        raise ValueError(f"{name} must be a {kind}; got {value!r}")


def two_numbers(name: str, values: Any, low: float, high: float) -> tuple[float, float]:
    """Two hyperparameters in [low, high). Raises ValueError."""
    try:
        first, second = values
    except (TypeError, ValueError):
        expected = f"two numbers in [{low:g}, {high:g})"
        raise ValueError(f"{name} must be {expected}; got {values!r}") from None
    return number(f"{name}[0]", first, low, high), number(f"{name}[1]", second, low, high)
