"""Samples larger than memory: rows stay where they are and are read when a call comes to them.

Engines see plain arrays. For a native call on rows (or minibatches) `start` ... `stop`, the
functions here put at hand what it needs: all samples as they are, if they are in memory, or else a
block of those rows alone. Sums keep their order, so no bit of a result depends on which it was.
"""

import sys
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any

import numpy as np

from fastbackprop.layout import read_only
from fastbackprop.samples import Samples

BLOCK = 1 << 22  # elements read at once, about: some 32 MB

Numbers = range | np.ndarray  # which rows of the source, for error messages
Check = Callable[..., np.ndarray]  # (rows, numbers=)


class Rows:
    """A matrix to read rows from: a memory map, an HDF5 data set or anything like it.

    `source` has a shape and takes a slice, or an increasing array, of row numbers; `check` makes
    the array that engines see of what was read, (n, `width`), or raises. `index` keeps these rows
    alone.
    """

    def __init__(
        self, source: Any, check: Check, width: int, index: np.ndarray | None = None
    ) -> None:
        self.source, self._check, self._index = source, check, index
        self.shape = (source.shape[0] if index is None else len(index), width)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """The array of these rows, checked."""
        if self._index is not None:
            rows = self._index[rows]
        if isinstance(rows, slice):
            return self._check(self.source[rows], numbers=range(*rows.indices(len(self))))
        increasing = np.argsort(rows)  # kind to disks, and HDF5 takes no other order
        read = self._check(self.source[rows[increasing]], numbers=rows[increasing])
        place = np.empty_like(increasing)
        place[increasing] = np.arange(len(rows))
        result = read[place]
        result.flags.writeable = False
        return result

    def part(self, index: np.ndarray) -> "Rows":
        """These rows out of all, unread."""
        kept = index if self._index is None else self._index[index]
        return Rows(self.source, self._check, self.shape[1], kept)


def in_memory(samples: Samples) -> bool:
    """Whether there is nothing to be read."""
    return not isinstance(samples.X, Rows) and not isinstance(samples.Y, Rows)


def rows_at_once(samples: Samples) -> int:
    """How many rows to read at once; of those that are in memory, any number."""
    widest = max(1, samples.X.shape[1], samples.Y.shape[1])
    return sys.maxsize if in_memory(samples) else max(1, BLOCK // widest)


def at_hand(
    samples: Samples, pieces: Iterator[tuple[int, int]]
) -> Iterator[tuple[Samples, int, int, int]]:
    """For every piece of all rows: samples, start and stop for an engine, and where the piece is.

    Row `start` of what is yielded is row `start + offset` of all.
    """
    for start, stop in pieces:
        if in_memory(samples):
            yield samples, start, stop, 0
        else:
            rows = slice(start, stop)
            yield samples.part(itemgetter(rows)), 0, stop - start, start


def minibatches_at_hand(
    samples: Samples, order: np.ndarray, batch_size: int, start: int, stop: int
) -> tuple[Samples, np.ndarray, int, int, int]:
    """Samples, order, start and stop for `train`, and the offset of these two.

    `order[start:stop]` may begin or end inside a minibatch. The samples of it that are not read
    have a weight in the block, for the minibatch's sum of weights, and their part of a sparse X,
    but no row.
    """
    if in_memory(samples):
        return samples, order, start, stop, 0
    first = start // batch_size * batch_size
    last = min(-(-stop // batch_size) * batch_size, len(order))
    read, n, before = order[start:stop], stop - start, start - first
    unread = np.concatenate([order[first:start], order[stop:last]])
    all_of_them = np.concatenate([read, unread])
    block = samples.part(lambda field: read_only(field[read]))._replace(
        s=read_only(samples.s[all_of_them]) if len(samples.s) else samples.s,
        spans=read_only(samples.spans[all_of_them]) if samples.is_sparse else samples.spans,
    )
    places = np.arange(last - first)
    places = np.concatenate([places[n : n + before], places[:n], places[n + before :]])
    return block, places, before, before + n, first
