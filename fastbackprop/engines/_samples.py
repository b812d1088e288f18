"""The samples of a call as engines see them, and what compiled engines do with them alike."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastbackprop.engines._compile import inlined
from fastbackprop.engines._update import step
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


@inlined
def is_sparse(samples):
    """Whether X is."""
    return samples.spans.shape[0] > 0


@inlined
def target(samples, i, y):
    """y (n_L,): the target of sample i, one-hot where it is a label."""
    if samples.labels.shape[0] > 0:
        for k in range(y.shape[0]):
            y[k] = 0
        y[samples.labels[i]] = 1
    else:
        for k in range(y.shape[0]):
            y[k] = samples.Y[i, k]


@inlined
def weight(samples, i):
    """s_i."""
    return samples.s[i] if samples.s.shape[0] > 0 else 1.0


@inlined
def minibatch(samples, order, batch_size, place):
    """(first, last, sum of s_i) of the minibatch order[first:last] that the place lies in."""
    first = place // batch_size * batch_size
    last = min(first + batch_size, order.shape[0])
    sum_of_weights = float(last - first)
    if samples.s.shape[0] > 0:
        sum_of_weights = 0.0
        for i in range(first, last):
            sum_of_weights += samples.s[order[i]]
    return first, last, sum_of_weights


@inlined
def end_minibatch(layers, theta, update, sums, sum_of_weights):
    """Take the step, if any sample has a weight; False, and no step, if the cost is not finite."""
    finite = np.isfinite(sums[MINIBATCH_COST])
    if finite:
        sums[COST] += sums[MINIBATCH_COST]
        sums[WEIGHT] += sum_of_weights
        if sum_of_weights > 0:
            step(layers, theta, update)
    return finite
