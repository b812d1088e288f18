"""Directions, and gradients by the derivatives along them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbackprop.functions.activations import Activation
from fastbackprop.inputs.arrays import as_array, numeric
from fastbackprop.layout import read_only
from fastbackprop.numbers import whole

ORDINALS = ("first", "second", "third")


def order(value: Any) -> int:
    """1 or 2. Raises TypeError or ValueError."""
    checked = whole(value, "order", must="be 1 or 2")
    if checked > 2:
        raise ValueError(f"order must be 1 or 2; got {value!r}")
    return checked


def rays(values: Any, n_samples: int, n_in: int, dtype: np.dtype) -> np.ndarray:
    """Directions, (1, D, n_0) or (n_samples, D, n_0)."""
    array = numeric(values, dtype, "directions")
    each = array[None] if array.ndim == 2 else array
    if each.ndim != 3 or each.shape[2] != n_in or not each.shape[1]:
        raise ValueError(
            f"directions must have shape (n_directions, {n_in}), or (n_samples, n_directions, "
            f"{n_in}) with directions of each sample's own; got {array.shape}"
        )
    if array.ndim == 3 and len(array) != n_samples:
        raise ValueError(
            f"directions of shape (n_samples, n_directions, {n_in}) must be those of the "
            f"{n_samples} samples in X; got {array.shape}"
        )
    return read_only(each)


def output_gradients(
    gradients: Sequence[Any], n_rays: int, shape: tuple[int, int], dtype: np.dtype
) -> np.ndarray:
    """dC/da, dC/d(da) and, if given, dC/d(d2a) behind each other, (channels, n_samples, n_L)."""
    of_rays = "(n_directions, n_samples, n_L)", (n_rays, *shape)
    expected = {
        "dC_da": ("(n_samples, n_L)", shape),
        "dC_d_da": of_rays,
        "dC_d_d2a": of_rays,
    }
    parts = []
    for (name, (words, its_shape)), values in zip(expected.items(), gradients, strict=True):
        if values is None and name == "dC_d_d2a":
            continue
        part = numeric(values, dtype, name)
        if part.shape != its_shape:
            raise ValueError(f"{name} must have shape {words} = {its_shape}; got {part.shape}")
        parts.append(part.reshape(-1, *shape))
    return np.concatenate(parts)


def slopes(
    values: Any, sizes: tuple[int, int, int], dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray]:
    """Directions as of `rays`, and the slopes along them, (n_samples, D, n_L), NaN where unknown.

    `values` are Jacobians, or a pair of directions and slopes along them; `sizes` are the number
    of samples, n_0 and n_L.
    """
    n, n_in, n_out = sizes
    if isinstance(values, tuple):
        if len(values) != 2:
            raise ValueError(
                f"slopes must be an array or a pair (directions, slopes); got {len(values)} items"
            )
        directions = rays(values[0], n, n_in, dtype)
        along = _with_nan(values[1], dtype)
        expected = directions.shape[1], n, n_out
        if along.shape != expected:
            raise ValueError(
                f"the slopes along directions must have shape (n_directions, n_samples, n_L) = "
                f"{expected}; got {along.shape}"
            )
        return directions, along.swapaxes(0, 1)
    jacobian = _with_nan(values, dtype)
    if n_out == 1 and jacobian.shape == (n, n_in):
        jacobian = jacobian[:, None]
    if jacobian.shape != (n, n_out, n_in):
        short = f", or {(n, n_in)}" if n_out == 1 else ""
        raise ValueError(
            f"slopes must have shape (n_samples, n_L, n_0) = {(n, n_out, n_in)}{short}, or be a "
            f"pair (directions, slopes); got {jacobian.shape}"
        )
    return read_only(np.eye(n_in, dtype=dtype)[None]), jacobian.swapaxes(1, 2)


def _with_nan(values: Any, dtype: np.dtype) -> np.ndarray:
    """Numbers of this dtype; NaN stays. Raises ValueError where there is nothing else."""
    array = as_array(values, "slopes")
    if array.dtype.kind != "f":
        return numeric(array, dtype, "slopes")
    unknown = np.isnan(array)
    if unknown.all():
        raise ValueError("slopes must have a value that is known; all of them are NaN")
    known = numeric(np.where(unknown, 0, array), dtype, "slopes")
    return np.where(unknown, dtype.type(np.nan), known)


def have_derivatives(sigma: Sequence[Activation], n: int) -> None:
    """Raise ValueError for an activation that has fewer than n derivatives along a direction."""
    for activation in sigma:
        if activation.coupled:
            raise ValueError(
                f"derivatives along directions need activations that take each neuron by itself; "
                f"{activation.name!r} couples the neurons of a layer"
            )
        if activation.n_derivatives < n:
            lacking = ORDINALS[activation.n_derivatives]
            raise ValueError(
                f"the activation {activation.name!r} has no {lacking} derivative, which this "
                f"needs: give it one with `{lacking}`"
            )
