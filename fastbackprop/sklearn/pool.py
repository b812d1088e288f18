"""Arrays of folds as parts of arrays of all rows, for networks that train on rows of the same X."""

from __future__ import annotations

import numpy as np

from fastbackprop.sklearn.data import Data


class Pool:
    """Arrays of n rows, put together from the parts that folds have.

    The rows that two folds have in common must be equal, bit for bit; else each has an array.
    """

    def __init__(self) -> None:
        self._whole: list[tuple[np.ndarray, np.ndarray]] = []  # with the rows that are known

    def place(self, data: Data, rows: np.ndarray, n: int) -> Data:
        """The samples of a fold, with these numbers, among n; as they are where that cannot be."""
        parts = [part for part in data[:4] if part is not None]
        if len(np.unique(rows)) < len(rows) or not all(type(part) is np.ndarray for part in parts):
            return data
        X, Y, y, s = (self._place(part, rows, n) for part in data[:4])
        return Data(X, Y, y, s, rows)

    def _place(self, part: np.ndarray | None, rows: np.ndarray, n: int) -> np.ndarray | None:
        if part is None:
            return None
        shape = n, *part.shape[1:]
        for whole, known in self._whole:
            if whole.dtype == part.dtype and whole.shape == shape:
                common = known[rows]
                if whole[rows[common]].tobytes() == part[common].tobytes():
                    break
        else:
            whole, known = np.zeros(shape, part.dtype), np.zeros(n, np.bool_)
            self._whole.append((whole, known))
        whole[rows], known[rows] = part, True
        return whole
