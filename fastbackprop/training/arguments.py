"""Arguments of `fit` that become objects of a training: optimizer, metrics, early stopping."""

from collections.abc import Iterable, Mapping
from typing import Any

from fastbackprop.functions.costs import Cost
from fastbackprop.inputs.arguments import choice, positive_integer
from fastbackprop.numbers import flag, number, shown
from fastbackprop.optimizers import OPTIMIZERS, Optimizer
from fastbackprop.training.callbacks import EarlyStopping, Stopping
from fastbackprop.training.metrics import METRICS, Metric, of_function


def optimizer(value: Any) -> Optimizer:
    """An optimizer from a name or an object."""
    if isinstance(value, Optimizer):
        return value
    if isinstance(value, type) and issubclass(value, Optimizer):
        raise TypeError(f"optimizer must be an object: pass {value.__name__}(), not the class")
    return OPTIMIZERS[choice(value, OPTIMIZERS, "optimizer")]()


def metrics(value: Any, labels: bool, cost: Cost) -> list[Metric]:
    """Metrics from a name, a function, an iterable of both, or a dict of functions by name."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        named = [(str(name), function) for name, function in value.items()]
    else:
        items = [value] if isinstance(value, str) or callable(value) else value
        if not isinstance(items, Iterable):
            raise TypeError(f"metrics must be names or functions; got {shown(value)}")
        named = [(getattr(item, "__name__", "metric"), item) for item in items]
    result: dict[str, Metric] = {}
    for name, item in named:
        metric = _metric(name, item, labels, cost)
        if metric.name in result or metric.name in ("cost", "seconds", "learning_rate"):
            raise ValueError(
                f"two figures of an epoch would have the name {metric.name!r}: name metrics by a "
                f"dict, metrics={{'name': function}}"
            )
        result[metric.name] = metric
    return list(result.values())


def _metric(name: str, item: Any, labels: bool, cost: Cost) -> Metric:
    if callable(item):
        return of_function(name, item, cost.outputs_per_target)
    metric = METRICS[choice(item, METRICS, "metric")]
    if labels and not metric.takes_labels:
        raise ValueError(f"the metric {metric.name!r} is not for integer labels")
    if cost.outputs_per_target > 1:
        raise ValueError(
            f"the metric {metric.name!r} compares each output with a target of its own, "
            f"and {cost} has {cost.outputs_per_target} outputs for each: pass a function"
        )
    return metric


def early_stopping(
    value: Any, metrics: Iterable[Metric], has_validation: bool, of_training: bool
) -> Stopping | None:
    """The watch over a training, from None, False, True, a patience or an `EarlyStopping`."""
    if value is None or value is False:
        return None
    if value is True:
        value = EarlyStopping()
    elif not isinstance(value, EarlyStopping):
        value = EarlyStopping(positive_integer(value, "early_stopping"))
    positive_integer(value.patience, "patience")
    flag(value.restore_best, "restore_best")
    number(value.min_improvement, "min_improvement", 0)
    directions: dict[str, bool | None] = {"cost": False}
    if has_validation:
        directions["validation_cost"] = False
    for metric in metrics:
        if has_validation:
            directions[f"validation_{metric.name}"] = metric.maximize
        if of_training:
            directions[metric.name] = metric.maximize
    default = "validation_cost" if has_validation else "cost"
    monitor = choice(value.monitor or default, directions, "monitor")
    maximize = directions[monitor] if value.maximize is None else flag(value.maximize, "maximize")
    if maximize is None:
        raise ValueError(
            f"early stopping must know whether more of {monitor!r} is better: "
            f"EarlyStopping(monitor={monitor!r}, maximize=True), or False"
        )
    return Stopping(value, monitor, maximize)
