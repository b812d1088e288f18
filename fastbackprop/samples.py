"""Samples as engines see them: checked arrays of inputs, targets and weights."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastbackprop.layout import read_only

# Places in the array of sums, float64: over the call or epoch so far, and of the minibatch at work.
COST, WEIGHT, MINIBATCH_COST = range(3)
N_SUMS = 3


class Samples(NamedTuple):
    """Inputs, targets (values or labels) and weights of samples; what is not there has no rows.

    A sparse X is (n_samples, 0), and row i has values[p] in columns[p] for p of spans[i]; what is
    there twice adds up. So any rows of it are those rows of `spans`.
    """

    X: np.ndarray  # (n_samples, n_0)
    Y: np.ndarray  # (n_samples, n_L), or (0, n_L) where there are labels
    labels: np.ndarray  # (n_samples,) int64, or (0,)
    s: np.ndarray  # sample weights, (n_samples,) float64, or (0,) where all are one
    spans: np.ndarray  # from and up to which p, (n_samples, 2) int64, or (0, 2) where X is dense
    columns: np.ndarray  # int32
    values: np.ndarray

    @property
    def is_sparse(self) -> bool:
        """Whether X is."""
        return len(self.spans) > 0

    @property
    def inputs_per_sample(self) -> float:
        """Those that there are to multiply by weights."""
        if not self.is_sparse:
            return float(self.X.shape[1])
        return float(np.diff(self.spans).mean())

    def part(self, take: Callable[[Any], Any]) -> "Samples":
        """Some of the samples: `take` takes them out of a field with a row for each."""
        fields = self._asdict()
        fields |= {name: take(fields[name]) for name in OF_EACH if len(fields[name])}
        return Samples(**fields)


OF_EACH = ("X", "Y", "labels", "s", "spans")
NO_LABELS, NO_WEIGHTS = read_only(np.zeros(0, np.int64)), read_only(np.zeros(0))
NO_SPANS, NO_COLUMNS = read_only(np.zeros((0, 2), np.int64)), read_only(np.zeros(0, np.int32))


def without_targets(X: Any, n_out: int, dtype: np.dtype) -> Samples:
    """Samples for a call that looks at the inputs alone."""
    Y, values = read_only(np.zeros((0, n_out), dtype)), read_only(np.zeros(0, dtype))
    return Samples(X, Y, NO_LABELS, NO_WEIGHTS, NO_SPANS, NO_COLUMNS, values)
