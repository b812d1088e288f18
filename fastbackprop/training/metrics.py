"""Metrics: figures of predictions that nobody minimises, told after every epoch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Metric(NamedTuple):
    """A metric as training takes it: value(y_true, y_pred, s), s (n_samples,) or empty.

    `maximize` says whether more is better; None where nobody knows.
    """

    name: str
    value: Callable[[np.ndarray, np.ndarray, np.ndarray], float]
    maximize: bool | None
    takes_labels: bool = True


def accuracy(y_true: np.ndarray, y_pred: np.ndarray, s: np.ndarray) -> float:
    """Share of samples whose class is right, weighted where there are weights.

    The class is the place of the largest output; of a single output, whether it is above 1/2.
    """
    if y_pred.shape[1] == 1:
        right = (y_pred[:, 0] > 0.5) == (y_true[:, 0] > 0.5)
    else:
        label = y_true if y_true.ndim == 1 else y_true.argmax(axis=1)
        right = y_pred.argmax(axis=1) == label
    return float(np.average(right, weights=s if len(s) else None))


def r2(y_true: np.ndarray, y_pred: np.ndarray, s: np.ndarray) -> float:
    """1 - sum_i s_i (y_i - a_i)^2 / sum_i s_i (y_i - mean y)^2, the mean over the outputs.

    An output whose targets are all the same has 1 where it is met exactly, else 0: scikit-learn's
    convention.
    """
    Y, A = y_true.astype(np.float64), y_pred.astype(np.float64)
    weights = s if len(s) else np.ones(len(Y))
    mean = np.average(Y, axis=0, weights=weights)
    missed, spread = weights @ (Y - A) ** 2, weights @ (Y - mean) ** 2
    ratio = np.divide(missed, spread, out=(missed > 0).astype(np.float64), where=spread > 0)
    return float(1 - ratio.mean())


METRICS = {
    metric.name: metric
    for metric in (Metric("accuracy", accuracy, True), Metric("r2", r2, True, takes_labels=False))
}


def of_function(
    name: str, function: Callable[[np.ndarray, np.ndarray], Any], outputs_per_target: int = 1
) -> Metric:
    """A user's function (y_true, y_pred) -> float. What it returns is checked when it does."""

    def value(y_true: np.ndarray, y_pred: np.ndarray, s: np.ndarray) -> float:
        if outputs_per_target > 1:
            y_true = y_true[:, : y_true.shape[1] // outputs_per_target]
        result = function(y_true, y_pred)
        try:
            return float(result)
        except (TypeError, ValueError):
            raise TypeError(
                f"the metric {name!r} must return a number; it returned {result!r}"
            ) from None

    return Metric(name, value, None)
