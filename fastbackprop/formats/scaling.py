"""Affine scaling of inputs and outputs, for files that take numbers as they come."""

from typing import Any, NamedTuple

import numpy as np

from fastbackprop import inputs
from fastbackprop.numbers import shown


class Scaling(NamedTuple):
    """x becomes (x - shift) / scale; an output a becomes a scale + shift. (n,) each, float64."""

    shift: np.ndarray
    scale: np.ndarray


def scaling(scaler: Any, n: int, what: str) -> Scaling | None:
    """The scaling of a fitted scaler of scikit-learn, or of a pair (shift, scale); None of None.

    StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler, and others with their attributes.
    Raises TypeError or ValueError for anything else, or another number of columns.
    """
    if scaler is None:
        return None
    shift, scale = _parts(scaler, what)
    values = []
    for name, value, usual in (("shift", shift, 0.0), ("scale", scale, 1.0)):
        array = np.full(n, usual) if value is None else value
        checked = inputs.numeric(array, np.dtype(np.float64), f"{name} of {what}")
        checked = np.full(n, checked) if checked.ndim == 0 else checked
        if checked.shape != (n,):
            raise ValueError(f"{name} of {what} must have shape ({n},); got {checked.shape}")
        values.append(checked)
    if (values[1] == 0).any():
        raise ValueError(f"scale of {what} must not be 0")
    return Scaling(*values)


def _parts(scaler: Any, what: str) -> tuple[Any, Any]:
    """Shift and scale, which may be None."""
    if isinstance(scaler, tuple | list) and len(scaler) == 2:
        return scaler[0], scaler[1]
    if getattr(scaler, "clip", False) is True:  # an array has a method of this name
        raise ValueError(f"{what} clips its values, which no affine scaling does")
    if hasattr(scaler, "min_") and hasattr(scaler, "scale_"):  # x scale_ + min_
        return -scaler.min_ / scaler.scale_, 1 / scaler.scale_
    for shift in ("mean_", "center_"):
        if hasattr(scaler, shift) and hasattr(scaler, "scale_"):
            centred = getattr(scaler, f"with_{shift[:-1]}", getattr(scaler, "with_centering", True))
            return getattr(scaler, shift) if centred else None, scaler.scale_
    if hasattr(scaler, "max_abs_"):
        return None, scaler.scale_
    raise TypeError(
        f"{what} must be a fitted StandardScaler, MinMaxScaler, MaxAbsScaler or RobustScaler, or a "
        f"pair (shift, scale); got {shown(scaler)}"
    )
