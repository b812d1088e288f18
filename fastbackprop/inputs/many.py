"""Arguments of `fit_many`: one value for all networks, or a sequence with one for each."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastbackprop.inputs.arrays import numeric
from fastbackprop.numbers import shown


def distinct(values: Any, kind: type, what: str) -> list[Any]:
    """A list of at least one object of this class, none of them twice.

    Raises TypeError or ValueError.
    """
    if isinstance(values, kind) or not hasattr(values, "__iter__"):
        raise TypeError(f"{what} must be a list of {kind.__name__}s; got {shown(values)}")
    objects = list(values)
    if not objects:
        raise ValueError(f"{what} must hold at least one {kind.__name__}; it is empty")
    for k, value in enumerate(objects):
        if not isinstance(value, kind):
            raise TypeError(f"{what}[{k}] must be a {kind.__name__}; got {shown(value)}")
    refuse_twice(objects, what, "")
    return objects


def refuse_twice(objects: Sequence[Any], what: str, advice: str) -> None:
    """Raise ValueError if an object, other than None or a name, is there twice."""
    places: dict[int, int] = {}
    for k, value in enumerate(objects):
        if value is None or isinstance(value, str):
            continue
        first = places.setdefault(id(value), k)
        if first != k:
            raise ValueError(f"{what}[{first}] and {what}[{k}] are the same object{advice}")


def for_each(
    value: Any, n: int, what: str, is_one: Callable[[Any], bool] | None = None
) -> list[Any]:
    """A value for each of n networks: those of a list or tuple, or the same for all.

    `is_one` says of an item of a list whether it is the value of one network, where a list may also
    be a value for all. Raises ValueError for another number of values.
    """
    of_each = isinstance(value, list | tuple) and len(value) > 0
    if not of_each or (is_one is not None and not all(map(is_one, value))):
        return [value] * n
    return as_many(value, n, what)


def as_many(values: Any, n: int, what: str) -> list[Any]:
    """A list of n values. Raises TypeError or ValueError."""
    if isinstance(values, str) or not hasattr(values, "__len__"):
        raise TypeError(f"{what} must hold one for each network; got {shown(values)}")
    if len(values) != n:
        raise ValueError(f"{what} must hold one for each of the {n} networks; got {len(values)}")
    return list(values)


def data_of_each(X: Any, y: Any, n: int) -> tuple[list[Any], list[Any]]:
    """X and y of each of n networks: lists of matrices and targets, or the same for all.

    Raises TypeError or ValueError.
    """
    if y is None:
        raise TypeError(
            "y must be targets: networks that are trained together take arrays, not batches that "
            "come one by one. Call fit of each network for these"
        )
    if isinstance(X, list | tuple) and X and all(_is_matrix(item) for item in X):
        if not isinstance(y, list | tuple):
            raise TypeError(
                f"X holds a matrix for each network, so y must be a list of their targets; "
                f"got {shown(y)}"
            )
        return as_many(X, n, "X"), as_many(y, n, "y")
    return [X] * n, [y] * n


def rows_of_each(rows: Any, n: int) -> list[Any]:
    """Numbers of rows for each of n networks, or None. Raises TypeError or ValueError."""
    if rows is None:
        return [None] * n
    return as_many(rows, n, "rows")


def weights_of_each(sample_weight: Any, n: int) -> list[Any]:
    """Sample weights of each of n networks, from those of all, or from n vectors."""
    if isinstance(sample_weight, np.ndarray) and sample_weight.ndim == 2:
        sample_weight = list(sample_weight)
    return for_each(sample_weight, n, "sample_weight", lambda s: s is None or np.ndim(s) > 0)


def shares(weights: Any, n: int) -> np.ndarray:
    """Weights of n networks, (n,) float64, whose sum is 1. Raises TypeError or ValueError."""
    if weights is None:
        return np.full(n, 1 / n)
    w = numeric(weights, np.dtype(np.float64), "weights")
    if w.shape != (n,):
        raise ValueError(f"weights must have shape (n_networks,) = ({n},); got {w.shape}")
    if w.min() < 0 or w.sum() == 0:
        raise ValueError(f"weights must not be negative, nor all zero; got {weights!r}")
    normalised: np.ndarray = w / w.sum()
    return normalised


def _is_matrix(value: Any) -> bool:
    return len(getattr(value, "shape", ())) == 2
