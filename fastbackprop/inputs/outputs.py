"""`out=`: arrays of the caller to fill."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbackprop.inputs.on_disk import OnDisk
from fastbackprop.layout import read_only
from fastbackprop.numbers import shown
from fastbackprop.samples import Samples


def outputs(out: Any, shapes: Sequence[tuple[int, ...]], dtype: np.dtype) -> list[np.ndarray]:
    """Arrays of these shapes: those that were passed, and new ones in the place of None."""
    if not isinstance(out, tuple | list) or len(out) != len(shapes):
        raise TypeError(f"out must be {len(shapes)} arrays, each may be None; got {shown(out)}")
    for array, shape in zip(out, shapes, strict=True):
        if array is not None:
            check_output(array, shape, dtype)
    given = [array for array in out if array is not None]
    for i, array in enumerate(given):
        if any(np.may_share_memory(array, other) for other in given[:i]):
            raise ValueError("the arrays of out must not share memory with each other")
    return [
        np.empty(shape, dtype) if array is None else np.asarray(array)
        for array, shape in zip(out, shapes, strict=True)
    ]


def check_output(out: Any, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Refuse an array to fill that is not of this shape and dtype, C-contiguous and writable."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a NumPy array; got {shown(out)}")
    if out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
        order = "" if out.flags.c_contiguous else ", not C-contiguous"
        raise ValueError(
            f"out must be a C-contiguous {dtype} array of shape {shape}; "
            f"got {out.dtype} of shape {out.shape}{order}"
        )
    if not out.flags.writeable:
        raise ValueError("out must be writable; got a read-only array")


def check_apart(out: np.ndarray, **others: Any) -> None:
    """Refuse an array to fill that shares memory with an array still to be read."""
    for what, other in others.items():
        if shares_memory(out, other):
            raise ValueError(f"out must not share memory with {what}")


def apart_from(out: np.ndarray, samples: Samples) -> Samples:
    """The samples, with copies of the arrays that share memory with `out`."""
    for name in ("X", "values", "columns"):
        array = getattr(samples, name)
        if shares_memory(out, array):
            samples = samples._replace(**{name: read_only(array[:].copy())})
    return samples


def shares_memory(out: np.ndarray, source: Any) -> bool:
    """Whether filling `out` might change `source`, an array or `OnDisk`.

    Only arrays are asked: NumPy would read the whole of a data set on a disk.
    """
    if isinstance(source, OnDisk):
        source = source.source
    return isinstance(source, np.ndarray) and np.may_share_memory(out, source)
