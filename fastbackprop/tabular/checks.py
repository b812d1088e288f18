"""Checks of targets and numbers, and their messages."""

from typing import Any

import numpy as np

from fastbackprop.numbers import number
from fastbackprop.tabular.features import is_missing


def refuse_missing_targets(y: np.ndarray) -> None:
    """Raise ValueError for NaN, None or infinity among the targets, with the number of rows."""
    rows = y.reshape(len(y), -1)
    if y.dtype.kind == "f":
        missing, infinite = np.isnan(rows).any(axis=1), np.isinf(rows).any(axis=1)
    else:
        values = rows.tolist() if y.dtype.kind == "O" else []
        missing = np.array([any(map(is_missing, row)) for row in values], bool)
        infinite = np.zeros(0, bool)
    if missing.any():
        raise ValueError(
            f"Input y contains NaN in {int(missing.sum())} of {len(y)} rows: leave these rows out"
        )
    if infinite.any():
        raise ValueError(
            f"Input y contains infinity or a value too large for {y.dtype!r} in "
            f"{int(infinite.sum())} of {len(y)} rows"
        )


def share(value: Any, what: str) -> float:
    """A number in (0, 1). Raises TypeError or ValueError."""
    return number(value, what, 0, 1, ends="()")
