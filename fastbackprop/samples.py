"""Samples as engines see them: checked arrays of inputs, targets and weights."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastbackprop.layout import read_only

# Places in the array of sums, float64: of the call or epoch so far, and of the current minibatch.
COST, WEIGHT, MINIBATCH_COST = range(3)
N_SUMS = 3


class Samples(NamedTuple):
    """Inputs, targets (values or labels) and weights of samples; absent fields have no rows.

    A sparse X is (n_samples, 0), and row i has values[p] in columns[p] for p of spans[i]; repeated
    columns add up. So a subset of its rows is a subset of the rows of `spans`.
    """

    X: np.ndarray  # (n_samples, n_0)
    Y: np.ndarray  # (n_samples, n_L), or (0, n_L) if there are labels
    labels: np.ndarray  # (n_samples,) int64, or (0,)
    s: np.ndarray  # sample weights, (n_samples,) float64, or (0,) if all are one
    spans: np.ndarray  # first and last p of each row, (n_samples, 2) int64, or (0, 2): X is dense
    columns: np.ndarray  # int32
    values: np.ndarray

    @property
    def is_sparse(self) -> bool:
        """Whether X is sparse."""
        return len(self.spans) > 0

    @property
    def inputs_per_sample(self) -> float:
        """The number of inputs that are multiplied by weights, on average."""
        if not self.is_sparse:
            return float(self.X.shape[1])
        return float(np.diff(self.spans).mean())

    def part(self, take: Callable[[Any], Any]) -> "Samples":
        """Some of the samples: `take` selects rows of a field with a row for each sample."""
        fields = self._asdict()
        fields |= {name: take(fields[name]) for name in OF_EACH if len(fields[name])}
        return Samples(**fields)


OF_EACH = ("X", "Y", "labels", "s", "spans")
NO_LABELS, NO_WEIGHTS = read_only(np.zeros(0, np.int64)), read_only(np.zeros(0))
NO_SPANS, NO_COLUMNS = read_only(np.zeros((0, 2), np.int64)), read_only(np.zeros(0, np.int32))


def without_targets(X: Any, n_out: int, dtype: np.dtype) -> Samples:
    """Samples for a call that reads the inputs alone."""
    Y, values = read_only(np.zeros((0, n_out), dtype)), read_only(np.zeros(0, dtype))
    return Samples(X, Y, NO_LABELS, NO_WEIGHTS, NO_SPANS, NO_COLUMNS, values)
