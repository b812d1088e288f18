"""Metrics: figures of predictions that nobody minimises, told after every epoch."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from fastbackprop import inputs
from fastbackprop.functions.costs import Cost


class Metric(NamedTuple):
    """A metric as training takes it: value(y_true, y_pred, s), s (n_samples,) or empty.

    `maximize` says whether more is better; None where nobody knows.
    """

    name: str
    value: Callable[[np.ndarray, np.ndarray, np.ndarray], float]
    maximize: bool | None
    takes_labels: bool = True

    def check_labels(self) -> None:
        """Raise ValueError if it is not for targets that are integer labels."""
        if not self.takes_labels:
            raise ValueError(f"the metric {self.name!r} is not for integer labels")


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
        except (TypeError, ValueError, OverflowError):
            raise TypeError(
                f"the metric {name!r} must return a number; it returned {result!r}"
            ) from None

    return Metric(name, value, None)


class Metrics:
    """Metrics, and of which samples: `fit(metrics=Metrics("accuracy", training=True))`.

    Parameters
    ----------
    metrics : str, function, iterable of them, or dict of functions by name
        As for `fit`.
    training : bool
        Whether they are computed for the training samples where there are validation samples too.
    """

    def __init__(self, metrics: Any, *, training: bool = False) -> None:
        self.metrics, self.training = metrics, inputs.flag(training, "training")

    def __repr__(self) -> str:
        return f"Metrics({self.metrics!r}, training={self.training!r})"


def as_metrics(value: Any, labels: bool, cost: Cost) -> list[Metric]:
    """Metrics from a name, a function, an iterable of both, or a dict of functions by name.

    `labels` says whether the targets are integer labels. Raises TypeError or ValueError.
    """
    if value is None:
        return []
    if isinstance(value, Mapping):
        named = [(str(name), function) for name, function in value.items()]
    else:
        items = [value] if isinstance(value, str) or callable(value) else value
        if not isinstance(items, Iterable):
            raise TypeError(f"metrics must be names or functions; got {value!r}")
        named = [(getattr(item, "__name__", "metric"), item) for item in items]
    result: dict[str, Metric] = {}
    for name, item in named:
        metric = _metric(name, item, labels, cost)
        if metric.name in result or metric.name in ("cost", "seconds", "learning_rate"):
            raise ValueError(
                f"two columns of the history would be named {metric.name!r}: name metrics by a "
                f"dict, metrics={{'name': function}}"
            )
        result[metric.name] = metric
    return list(result.values())


def _metric(name: str, item: Any, labels: bool, cost: Cost) -> Metric:
    if callable(item):
        return of_function(name, item, cost.outputs_per_target)
    metric = METRICS[inputs.choice(item, METRICS, "metric")]
    if labels:
        metric.check_labels()
    if cost.outputs_per_target > 1:
        raise ValueError(
            f"the metric {metric.name!r} compares each output with a target of its own, "
            f"and {cost} has {cost.outputs_per_target} outputs for each: pass a function"
        )
    return metric
