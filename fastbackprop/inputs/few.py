"""Few samples for the short ways of an engine: arrays that need at most another dtype.

The other checks of X, y and weights take several times as long as a step of a small network. Here
they are those of shapes and dtypes alone; the engine looks at the values. Whatever is not accepted
goes the long way, which converts it or has the message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastbackprop.inputs.arrays import REAL

if TYPE_CHECKING:
    from fastbackprop.functions.costs import Cost

FLOAT64 = np.dtype(np.float64)


class FewSamples:
    """The samples that a network takes as they are, `most` at a time."""

    def __init__(self, n_in: int, n_out: int, dtype: np.dtype, cost: Cost, most: int) -> None:
        self._n_in, self._n_out, self._dtype, self._most = n_in, n_out, dtype, most
        self._takes_labels = cost.targets == "distribution"
        if cost.outputs_per_target > 1:  # they have copies of y
            self._most = 0
        self._no_Y, self._no_labels = np.zeros((0, n_out), dtype), np.zeros(0, np.int64)
        self._no_weights = np.zeros(0)

    def __call__(self, X: Any, y: Any, sample_weight: Any) -> tuple[np.ndarray, ...] | None:
        """X, Y, labels and weights, or None. Those that are absent have length 0."""
        if type(X) is not np.ndarray or type(y) is not np.ndarray or X.ndim != 2:
            return None
        n, m = X.shape
        if m != self._n_in or not 0 < n <= self._most:
            return None
        Y, labels, s = y, self._no_labels, self._no_weights
        if y.shape != (n, self._n_out):
            if y.shape != (n,):
                return None
            if self._takes_labels:
                if y.dtype.kind not in "iub":
                    return None
                # A copy that no other thread can write into: kernels use labels as indices.
                Y, labels = self._no_Y, y.astype(np.int64)
            elif self._n_out == 1:
                Y = y.reshape(n, 1)
            else:
                return None
        if sample_weight is not None:
            if type(sample_weight) is not np.ndarray or sample_weight.shape != (n,):
                return None
            s = _plain(sample_weight, FLOAT64)
        X, Y = _plain(X, self._dtype), _plain(Y, self._dtype)
        return None if X is None or Y is None or s is None else (X, Y, labels, s)


def _plain(array: np.ndarray, dtype: np.dtype) -> Any:
    """The array, or a copy, C-contiguous, writable and of this dtype; None if it has no numbers."""
    if array.dtype == dtype and array.flags.carray:
        return array
    if array.dtype.kind not in REAL:
        return None
    with np.errstate(over="ignore"):  # infinity is refused afterwards
        return np.array(array, dtype, order="C")
