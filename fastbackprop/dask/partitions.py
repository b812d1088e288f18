"""Rows in partitions: Dask's collections, futures, delayed objects, or a function that loads."""

from collections.abc import Callable
from typing import Any, NamedTuple

import dask
import dask.array
import numpy as np
from dask.delayed import Delayed
from distributed import Future

from fastbackprop import inputs
from fastbackprop.numbers import shown


class Partitions(NamedTuple):
    """Partitions that a function loads: `partitions` makes it."""

    load: Callable[[int], Any]
    n: int


def partitions(load: Callable[[int], Any], n: int) -> Partitions:
    """Rows that a function loads where they are needed, in place of X and y.

    Parameters
    ----------
    load : function
        load(i) returns (X, y) or (X, y, sample_weight) of partition i, 0 ... n - 1: arrays, frames,
        sparse matrices, memory maps, as `Network.fit` takes them; for `predict` also X. It runs on
        workers, again where one was lost, and has to return the same each time.
    n : int
        Number of partitions: as many as the cluster has threads, or some times as many.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbackprop.dask import partitions
    >>> def load(i):
    ...     X = np.random.default_rng(i).normal(size=(1000, 4))
    ...     return X, np.sin(X.sum(axis=1))
    >>> partitions(load, 16).n
    16
    """
    if not callable(load):
        raise TypeError(f"load must be a function of the partition's number; got {shown(load)}")
    return Partitions(load, inputs.positive_integer(n, "n"))


def sources(X: Any, y: Any = None, sample_weight: Any = None) -> list[tuple[Any, ...]]:
    """What each partition is made from, (X, y), (X, y, weights) or one object for all of them.

    Its items are functions, futures or delayed objects. Raises TypeError or ValueError.
    """
    if y is None and sample_weight is not None:
        raise ValueError(
            "sample_weight cannot be passed without y: let the parts of X be (X, y, sample_weight)"
        )
    if y is None and isinstance(X, dask.array.Array):
        raise TypeError("y must be a Dask array beside a Dask array X; it was left out")
    columns = {"X": X, "y": y, "sample_weight": sample_weight}
    given = {name: blocks(v, name, X) for name, v in columns.items() if v is not None}
    n = len(given["X"])
    for name, of_each in given.items():
        if len(of_each) != n:
            raise ValueError(
                f"{name} must have as many partitions as X, {n}; it has {len(of_each)}"
            )
    if not n:
        raise ValueError("X must have at least one partition; it is empty")
    return list(zip(*given.values(), strict=True))


def is_spread(value: Any) -> bool:
    """Whether it is of a form that `blocks` takes, and not of this process."""
    first = value[0] if isinstance(value, list | tuple) and value else value
    kinds = Partitions | Future | Delayed
    return isinstance(value, kinds) or isinstance(first, kinds) or dask.is_dask_collection(value)


def blocks(value: Any, what: str, X: Any = None) -> list[Any]:
    """One object for each partition. Raises TypeError or ValueError."""
    if isinstance(value, Partitions):
        return [value.load] * value.n
    if isinstance(value, list | tuple) and value:
        for i, item in enumerate(value):
            if not isinstance(item, Future | Delayed):
                raise TypeError(
                    f"{what}[{i}] must be a future or a delayed object, a partition of rows; "
                    f"got {shown(item)}. {HOW}"
                )
        return list(value)
    if isinstance(value, Future | Delayed):
        return [value]
    if not dask.is_dask_collection(value) or not hasattr(value, "to_delayed"):
        raise TypeError(
            f"{what} must be a Dask array or DataFrame, a list of futures or of delayed objects, "
            f"or partitions(load, n); got {shown(value)}. {HOW}"
        )
    if isinstance(value, dask.array.Array):
        value = _by_rows(value, what, X)
    return list(np.ravel(value.to_delayed()))


HOW = (
    "Rows that fit this machine: Network.fit, or dask.array.from_array(X, chunks=(100_000, -1)) "
    "to spread them"
)


def _by_rows(array: Any, what: str, X: Any) -> Any:
    """A Dask array whose blocks are whole rows, cut where X is."""
    if array.ndim not in (1, 2):
        raise ValueError(f"{what} must have one or two dimensions; got shape {array.shape}")
    if array.ndim == 2 and array.numblocks[1] > 1:
        array = array.rechunk({1: -1})
    rows = X.chunks[0] if isinstance(X, dask.array.Array) else array.chunks[0]
    known = not np.isnan([*rows, *array.chunks[0]]).any()
    if known and rows != array.chunks[0]:
        if sum(rows) != sum(array.chunks[0]):
            raise ValueError(
                f"{what} must have a row for each of the {sum(rows)} rows of X; "
                f"got shape {array.shape}"
            )
        array = array.rechunk({0: rows})
    return array
