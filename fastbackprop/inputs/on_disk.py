"""Matrices larger than memory: rows stay in their file and are read when a call needs them.

Engines see plain arrays. For a native call on samples (or minibatches) `start` ... `stop` the
functions here yield the arrays it needs: all samples as they are, if they are in memory, or a block
of those samples alone. Sums keep their order, so no bit of a result depends on which it was.
"""

import sys
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any

import numpy as np

from fastbackprop.inputs.arrays import as_array
from fastbackprop.layout import read_only
from fastbackprop.samples import Samples

BLOCK = 1 << 22  # elements read at once, about: some 32 MB

Check = Callable[..., np.ndarray]  # (array, numbers=): of rows with these numbers


class OnDisk:
    """A matrix whose rows stay on disk: a memory map, an HDF5 data set or anything like it.

    Indexing reads rows and returns a checked array, (n, `width`).

    Parameters
    ----------
    source
        It has a shape, and takes a slice or an increasing array of row numbers.
    what : str
        The argument's name, for messages.
    check : callable
        Makes the array that engines see of the rows that were read, or raises.
    width : int
        Columns of that array.
    index : ndarray, optional
        Numbers of the rows that belong to the matrix; all where it is left out.
    """

    def __init__(
        self, source: Any, what: str, check: Check, width: int, index: np.ndarray | None = None
    ) -> None:
        self.source, self._what, self._check, self._index = source, what, check, index
        self._n_rows, self._n_columns = map(int, source.shape)
        self.shape = (self._n_rows if index is None else len(index), width)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """The array of these rows. Raises ValueError or TypeError for a bad one."""
        if self._index is not None:
            rows = self._index[rows]
        if isinstance(rows, slice):
            return self._read(rows, range(*rows.indices(self._n_rows)))
        order = np.argsort(rows)  # increasing: kind to disks, and all that HDF5 takes
        read = self._read(rows[order], rows[order])
        place = np.empty_like(order)
        place[order] = np.arange(len(rows))
        return read_only(read[place])

    def _read(self, rows: Any, numbers: range | np.ndarray) -> np.ndarray:
        """Kernels trust the shape: a source that gives another than it promised is refused."""
        try:
            array = as_array(self.source[rows], self._what)
        except IndexError as error:
            raise ValueError(f"{self._what} has no row that it should have: {error}") from None
        expected = (len(numbers), self._n_columns)
        if array.shape != expected:
            raise ValueError(
                f"{self._what} gave an array of shape {array.shape} for {expected[0]} rows of "
                f"{expected[1]}: its shape was ({self._n_rows}, {self._n_columns}) when it was "
                f"passed. Has the file been changed?"
            )
        return self._check(array, numbers=numbers)

    def subset(self, index: np.ndarray) -> "OnDisk":
        """The matrix of these rows, unread."""
        kept = index if self._index is None else self._index[index]
        return OnDisk(self.source, self._what, self._check, self.shape[1], kept)


def stays_on_disk(values: Any) -> bool:
    """Whether to read rows when they are needed: of memory maps, and of arrays on a disk.

    The latter are matrices with a dtype of NumPy and rows to take whose memory cannot be accessed.
    """
    if isinstance(values, np.ndarray):
        return isinstance(values, np.memmap) and values.ndim == 2
    matrix = isinstance(getattr(values, "dtype", None), np.dtype) and hasattr(values, "__getitem__")
    if not matrix or len(getattr(values, "shape", ())) != 2:
        return False
    in_memory = ("__array_interface__", "__dlpack__", "toarray", "columns")
    return not any(hasattr(values, name) for name in in_memory)


def in_memory(samples: Samples) -> bool:
    """Whether there is nothing to be read."""
    return not isinstance(samples.X, OnDisk) and not isinstance(samples.Y, OnDisk)


def rows_at_once(samples: Samples) -> int:
    """Most rows to read at once; no limit if all are in memory."""
    widest = max(1, samples.X.shape[1], samples.Y.shape[1])
    return sys.maxsize if in_memory(samples) else max(1, BLOCK // widest)


def at_hand(
    samples: Samples, pieces: Iterator[tuple[int, int]]
) -> Iterator[tuple[Samples, int, int, int]]:
    """For every piece of all samples: samples, start and stop for an engine, and an offset.

    Sample `start` of the yielded samples is sample `start + offset` of all.
    """
    for start, stop in pieces:
        if in_memory(samples):
            yield samples, start, stop, 0
        else:
            rows = slice(start, stop)
            yield samples.subset(itemgetter(rows)), 0, stop - start, start


def minibatches_at_hand(
    samples: Samples, order: np.ndarray, batch_size: int, start: int, stop: int
) -> tuple[Samples, np.ndarray, int, int, int]:
    """Samples, order, start and stop for `train`, and the offset of the last two.

    `order[start:stop]` may begin or end inside a minibatch. The samples of that minibatch which are
    not read have their weight in the block, for the minibatch's sum of weights, and their part of a
    sparse X, but no row of X or Y.
    """
    if in_memory(samples):
        return samples, order, start, stop, 0
    first = start // batch_size * batch_size
    last = min(-(-stop // batch_size) * batch_size, len(order))
    read, n, before = order[start:stop], stop - start, start - first
    unread = np.concatenate([order[first:start], order[stop:last]])
    all_of_them = np.concatenate([read, unread])
    block = samples.subset(lambda field: read_only(field[read]))._replace(
        s=read_only(samples.s[all_of_them]) if len(samples.s) else samples.s,
        spans=read_only(samples.spans[all_of_them]) if samples.is_sparse else samples.spans,
    )
    places = np.arange(last - first)
    places = np.concatenate([places[n : n + before], places[:n], places[n + before :]])
    return block, places, before, before + n, first
