"""Arrays of real numbers: lists, frames and the like become C-contiguous, finite and read-only."""

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbackprop.layout import read_only
from fastbackprop.numbers import shown

CHUNK = 1 << 20  # elements checked at once: memory does not grow with the data
REAL = "fiub"  # kinds of dtype that hold real numbers


def numeric(
    values: Any,
    dtype: np.dtype,
    what: str,
    numbers: Sequence[int] | np.ndarray | None = None,
    missing: bool = False,
) -> np.ndarray:
    """A C-contiguous, finite, read-only array of this dtype; a view if nothing has to change.

    If `values` are some rows of a larger array, `numbers` are their row numbers, for messages. With
    `missing` it may hold NaN.
    """
    array = as_array(values, what)
    if array.dtype.kind not in REAL:
        is_text = array.dtype.kind == "U" and array.ndim == 0
        hint = ". Read the file first, and pass what it holds" if is_text else ""
        raise TypeError(f"{what} must hold real numbers; got dtype {array.dtype}{hint}")
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(array, dtype).reshape(array.shape)
    wrong = first_non_finite(converted, array, missing)
    if wrong is not None:
        place = np.unravel_index(wrong, array.shape)
        if numbers is not None:
            place = (np.intp(numbers[int(place[0])]), *place[1:])
        names = column_names(values)
        refuse_value(array.flat[wrong], what, place, dtype, names[place[1]] if names else None)
    return read_only(converted)


def parameters(values: Any, n: int, dtype: np.dtype, what: str) -> np.ndarray:
    """A value for every parameter, (n,), as `numeric` makes it."""
    if isinstance(values, tuple | list) and any(isinstance(value, list) for value in values):
        raise TypeError(
            f"{what} must be flat, (n_parameters,) in the order of get_parameters, as of "
            f"gradient_sums and backward; got {shown(values)}"
        )
    flat = numeric(values, dtype, what)
    if flat.shape != (n,):
        raise ValueError(f"{what} must have shape (n_parameters,) = ({n},); got {flat.shape}")
    return flat


def as_array(values: Any, what: str) -> np.ndarray:
    """A plain array. Raises TypeError or ValueError for values that are not one."""
    if type(values) is np.ndarray and values.dtype.kind in REAL:
        return values  # the checks below take longer than a step of a small network
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise TypeError(f"{what} is a masked array with masked values: fill or drop them first")
    if hasattr(values, "toarray"):
        raise TypeError(f"{what} is a sparse {type(values).__name__}: pass {what}.toarray()")
    if values is None:
        raise TypeError(f"{what} must be an array of numbers; got None")
    if is_frame(values):
        return _from_frame(values, what)
    kind = str(getattr(values, "dtype", "")).lower()
    if kind.startswith(("categ", "enum")):  # NumPy would take the categories' values
        raise TypeError(f"{what} is categorical: encode it as numbers first, such as its codes")
    if kind.startswith("sparse"):
        raise TypeError(f"{what} is sparse, of dtype {values.dtype}: make it dense first")
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{what} must be rectangular: its rows differ in length") from None
    except (RuntimeError, TypeError) as error:  # of a tensor on a GPU, or with a gradient
        raise TypeError(f"{what} is no array that NumPy can read: {error}") from None
    return _from_objects(array, values, what) if array.dtype == object else array


def _from_objects(array: np.ndarray, values: Any, what: str) -> np.ndarray:
    """Numbers that NumPy holds as objects, such as fractions and large integers, as float64."""
    got = f"dtype {values.dtype}" if hasattr(values, "dtype") else shown(values)
    try:
        if any(isinstance(value, str | bytes) for value in array.flat):
            raise TypeError
        return array.astype(np.float64)
    except OverflowError:
        raise ValueError(f"{what} holds an integer too large for a float") from None
    except (TypeError, ValueError):
        raise TypeError(f"{what} must hold real numbers; got {got}{_about(values)}") from None


def _about(values: Any) -> str:
    """What to do with a value that is no data."""
    if inspect.isgeneratorfunction(values):
        return ": pass an object whose __iter__ yields the batches anew in each epoch"
    if hasattr(values, "__iter__") and not hasattr(values, "dtype"):
        return ". Of an iterable of batches, (X, y) each, pass no y"
    return ""


def is_frame(values: Any) -> bool:
    """Whether it is a table with named columns, as of pandas and polars; we import neither."""
    return hasattr(type(values), "columns")


def column_names(values: Any) -> list[str] | None:
    """The names of a frame's columns, quoted; None for anything else."""
    return [repr(name) for name in values.columns] if is_frame(values) else None


def _from_frame(frame: Any, what: str) -> np.ndarray:
    """The columns side by side. An error names the column that holds no numbers."""
    if hasattr(type(frame), "to_delayed"):
        raise TypeError(
            f"{what} is a {type(frame).__name__} of Dask: pass {what}.compute(), or train on its "
            f"partitions with fastbackprop.dask.fit"
        )
    if hasattr(type(frame), "collect"):
        raise TypeError(f"{what} is a {type(frame).__name__}: pass {what}.collect()")
    columns = frame.items() if hasattr(frame, "items") else zip(frame.columns, frame, strict=True)
    arrays = []
    for name, column in columns:
        array = as_array(column, f"{what}: column {name!r}")
        if array.dtype.kind not in REAL or array.ndim != 1:
            raise TypeError(
                f"{what}: column {name!r} must hold real numbers; got dtype {column.dtype}. "
                f"Encode it as numbers, or leave it out"
            )
        arrays.append(array)
    return np.column_stack(arrays) if arrays else np.empty(frame.shape)


def first_non_finite(
    converted: np.ndarray, original: np.ndarray, missing: bool = False
) -> int | None:
    """The index, in the flattened array, of the first value that is not finite, nor `missing`."""
    if original.dtype.kind != "f":
        return None
    flat = converted.reshape(-1)
    for start in range(0, flat.size, CHUNK):
        some = flat[start : start + CHUNK]
        finite = ~np.isinf(some) if missing else np.isfinite(some)
        if not finite.all():
            return start + int(np.argmin(finite))
    return None


def refuse_value(
    value: Any, what: str, place: tuple[Any, ...], dtype: np.dtype, column: str | None = None
) -> None:
    """Raise ValueError for a value that is not finite, or too large for this dtype."""
    where = f"{what}[{', '.join(map(str, place))}]" if place else what
    where += f" (column {column})" if column else ""
    if np.isfinite(value):
        raise ValueError(f"{where} is {value}: too large for {dtype}")
    raise ValueError(f"{what} must be finite; {where} is {value}")
