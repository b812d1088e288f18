"""X, y and sample_weight: the `Samples` that engines work on."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbackprop.inputs.arguments import choice
from fastbackprop.inputs.arrays import column_names, first_non_finite, numeric, refuse_value
from fastbackprop.inputs.on_disk import OnDisk, stays_on_disk
from fastbackprop.inputs.targets import targets
from fastbackprop.layout import read_only
from fastbackprop.numbers import as_float
from fastbackprop.samples import NO_WEIGHTS, Samples, without_targets

if TYPE_CHECKING:
    from fastbackprop.functions.costs import Cost


def samples(
    X: Any, y: Any, sample_weight: Any, n_in: int, n_out: int, dtype: np.dtype, cost: Cost
) -> Samples:
    """Checked inputs, targets and weights."""
    inputs = inputs_alone(X, n_in, n_out, dtype)
    n = len(inputs.X)
    Y, labels = targets(y, n, n_out, dtype, cost)
    checked = weighted(inputs._replace(Y=Y, labels=labels), sample_weight)
    return checked._replace(s=_of_known(Y, checked.s)) if cost.missing else checked


def inputs_alone(X: Any, n_in: int, n_out: int, dtype: np.dtype, least: int = 1) -> Samples:
    """Checked inputs, sparse or not, of at least so many rows, without targets."""
    if not is_sparse(X):
        return without_targets(matrix(X, n_in, dtype, least=least), n_out, dtype)
    _check_shape(tuple(X.shape), n_in, "X", least=least)
    n = X.shape[0]
    spans, columns, values = _sparse_rows(X.tocsr(), n_in, dtype)
    empty = without_targets(read_only(np.zeros((n, 0), dtype)), n_out, dtype)
    return empty._replace(spans=spans, columns=columns, values=values)


def matrix(X: Any, n_columns: int, dtype: np.dtype, what: str = "X", least: int = 1) -> Any:
    """X, (n_samples, n_columns), n_samples >= `least`; `OnDisk` where it stays in its file."""
    array: np.ndarray | OnDisk
    if stays_on_disk(X):
        array = OnDisk(X, what, partial(numeric, dtype=dtype, what=what), X.shape[1])
        numeric(X[:0], dtype, what)
    else:
        array = numeric(X, dtype, what)
    _check_shape(array.shape, n_columns, what, column_names(X), least)
    return array


def _check_shape(
    shape: tuple[int, ...],
    n_columns: int,
    what: str,
    names: list[str] | None = None,
    least: int = 1,
) -> None:
    if len(shape) != 2 or shape[1] != n_columns:
        hint = ""
        if shape == (n_columns,):
            hint = f": for one sample pass {what}.reshape(1, -1)"
        elif len(shape) == 1 and n_columns == 1:
            hint = f": pass {what}.reshape(-1, 1)"
        elif names:
            hint = f", columns {', '.join(names[:20])}{', ...' * (len(names) > 20)}"
        raise ValueError(f"{what} must have shape (n_samples, {n_columns}); got {shape}{hint}")
    if shape[0] < least:
        raise ValueError(f"{what} must have at least one row; got shape {shape}")


def is_sparse(values: Any) -> bool:
    """Whether it is a sparse matrix, of SciPy or like one; we do not import SciPy."""
    return hasattr(values, "tocsr")


def refuse_sparse(X: Any, why: str) -> None:
    """Raise TypeError for a sparse X."""
    if is_sparse(X):
        raise TypeError(f"X is a sparse {type(X).__name__}, and {why}: pass X.toarray()")


def _sparse_rows(X: Any, n_in: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`Samples.spans`, columns and values of a CSR matrix.

    Kernels use spans and columns as indices, so these are copies, checked after they were made: no
    callback or thread that writes into X can change them. They take 16 bytes per row and 4 per
    non-zero.
    """
    starts = np.array(X.indptr, np.int64)
    given, indices = np.asarray(X.data), np.asarray(X.indices)
    flat = starts.ndim == given.ndim == indices.ndim == 1
    if n_in > np.iinfo(np.int32).max:
        raise ValueError(f"a sparse X has at most {np.iinfo(np.int32).max} columns; got {n_in}")
    n = starts[-1] if flat and len(starts) == X.shape[0] + 1 else -1
    if n < 0 or n > min(len(given), len(indices)) or starts[0] < 0 or (np.diff(starts) < 0).any():
        raise ValueError(
            "X is not a CSR matrix: its indptr does not fit its shape, indices and data"
        )
    given, columns = given[:n], _columns(indices[:n], n_in)
    if given.dtype.kind not in "fiub":
        raise TypeError(f"X must hold real numbers; got dtype {given.dtype}")
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(given, dtype)
    wrong = first_non_finite(values, given)
    if wrong is not None:
        row = np.searchsorted(starts, wrong, side="right") - 1
        refuse_value(given[wrong], "X", (row, columns[wrong]), dtype)
    return read_only(np.column_stack([starts[:-1], starts[1:]])), columns, read_only(values)


def _columns(indices: np.ndarray, n_in: int) -> np.ndarray:
    """A copy, int32, checked; longer integers also before, as int32 might wrap around."""
    columns = indices.astype(np.int32)
    for array in (columns,) if indices.dtype == np.int32 else (indices, columns):
        if array.size and not 0 <= array.min() <= array.max() < n_in:
            raise ValueError(
                f"X is not a CSR matrix of {n_in} columns: its indices span {array.min()} ... "
                f"{array.max()}"
            )
    return read_only(columns)


def weighted(samples: Samples, sample_weight: Any) -> Samples:
    """The samples with these weights, or with those of their classes.

    Raises TypeError or ValueError.
    """
    if isinstance(sample_weight, str | Mapping):
        targets = samples.labels if len(samples.labels) else samples.Y
        sample_weight = _class_weights(sample_weight, targets)
    return samples._replace(s=_weights(sample_weight, len(samples.X)))


def _class_weights(weights: Any, targets: Any) -> np.ndarray:
    """A weight for each sample from those of the classes, (n,).

    "balanced" is n / (number of classes * samples of the class). `targets` are labels, or one
    column of 0 and 1. Raises TypeError or ValueError.
    """
    y = np.asarray(targets[:])
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    classes, place, counts = np.unique(y, return_inverse=True, return_counts=True)
    if y.ndim != 1 or (classes % 1 != 0).any():
        raise ValueError(
            "sample_weight by class needs integer labels, or one column of 0 and 1, as y; pass a "
            "weight for each sample"
        )
    if isinstance(weights, str):
        choice(weights, ["balanced"], "sample_weight")
        return (len(y) / (len(classes) * counts))[place]
    lacking = [int(label) for label in classes if label not in weights]
    if lacking:
        raise ValueError(f"sample_weight has no weight for the labels {lacking[:10]} of y")
    return np.array([as_float(weights[c], f"sample_weight[{c:g}]") for c in classes])[place]


def _weights(sample_weight: Any, n: int) -> np.ndarray:
    if sample_weight is None:
        return NO_WEIGHTS
    s = numeric(sample_weight, np.dtype(np.float64), "sample_weight")
    if s.shape != (n,):
        raise ValueError(f"sample_weight must have shape (n_samples,) = ({n},); got {s.shape}")
    if s.min() < 0:
        raise ValueError(
            f"sample_weight must not be negative; its smallest value is {s.min()}. For terms of "
            f"both signs, such as advantages, pass their gradient to Network.backward"
        )
    if s.max() == 0:
        raise ValueError("sample_weight must not be zero for every sample")
    if not 1e-15 < s.max() < 1e15:
        raise ValueError(
            f"the largest sample_weight must lie between 1e-15 and 1e15; got {s.max()}. Only the "
            f"proportions of the weights count: scale them"
        )
    return s


def _of_known(Y: np.ndarray, s: np.ndarray) -> np.ndarray:
    """The weights, with zeros for samples of which no target is known."""
    known = ~np.isnan(Y).all(axis=1)
    if known.all():
        return s
    if not known.any():
        raise ValueError("y holds no targets: all of its values are NaN")
    s = np.where(known, s if len(s) else 1.0, 0.0)
    if not s.any():
        raise ValueError("sample_weight is zero for every sample with a target that is known")
    return read_only(s)


def take(samples: Samples, numbers: np.ndarray) -> Samples:
    """The samples of these numbers."""
    part = samples.subset(lambda field: _take(field, numbers))
    refuse_zero_weights(part.s)
    return part


def refuse_zero_weights(s: np.ndarray) -> None:
    """Raise ValueError if some samples are selected that all have the weight zero."""
    if len(s) and s.sum() == 0:
        raise ValueError(
            "sample_weight is zero for every sample on one side of the validation split"
        )


def _take(field: Any, numbers: np.ndarray) -> Any:
    if isinstance(field, OnDisk):
        return field.subset(numbers)
    return read_only(field[numbers])
