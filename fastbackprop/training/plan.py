"""Plan: the arguments of `Network.fit`, checked. Nothing is changed while it is made."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastbackprop import inputs
from fastbackprop.machine import Machine
from fastbackprop.samples import Samples
from fastbackprop.training.dropout import as_dropout
from fastbackprop.training.metrics import Metric, Metrics, as_metrics


class Plan(NamedTuple):
    """One training: on which samples, and how."""

    epochs: int
    parts: Iterable[Samples]  # an epoch goes through all samples, or through batches as they come
    samples: Samples | None = None  # all of them, unless they come in batches
    rows: np.ndarray | None = None  # the samples to train on, by number; None: all of them
    validation: Samples | None = None
    batch_size: int | None = None  # None takes each part as one minibatch
    shuffle: bool = False
    rates: tuple[float, ...] = ()  # of the dropout of a^0 ... a^{L-1}
    factor: Callable[[int], float] | None = None  # of the rates in an epoch, counted from 1
    noise: float = 0.0  # standard deviation of the noise on a^0
    metrics: Sequence[Metric] = ()
    of_training: bool = False  # whether the metrics are computed for the training samples
    n_threads: int | None = None
    missing_targets: bool = False
    n_steps: int | None = None  # of an epoch, where X comes in batches that say how many they are

    @property
    def n_samples(self) -> int:
        """Samples of an epoch; 0 where they come in batches."""
        if self.rows is not None:
            return len(self.rows)
        return 0 if self.samples is None else len(self.samples.X)

    @property
    def is_random(self) -> bool:
        """Whether it needs the network's generator."""
        return self.shuffle or any(self.rates) or self.noise > 0

    def figures(self) -> dict[str, bool | None]:
        """The figures of an epoch that may be watched, and whether larger is better."""
        figures: dict[str, bool | None] = {"cost": False}
        if self.validation is not None:
            figures["validation_cost"] = False
        for metric in self.metrics:
            if self.validation is not None:
                figures[f"validation_{metric.name}"] = metric.maximize
            if self.of_training:
                figures[metric.name] = metric.maximize
        return figures


def make_plan(
    machine: Machine,
    data: tuple[Any, Any, Any],
    settings: dict[str, Any],
    auto_batch_size: int | None,
    samples_of: Callable[..., Samples],
) -> Plan:
    """The plan of a training on `data`, X, y and sample_weight, which `samples_of` checks.

    `settings` are arguments of `fit`, and perhaps `rows`. Raises TypeError or ValueError.
    """
    dropout = as_dropout(settings["dropout"])
    rates, noise = dropout.rates(len(machine.sizes) - 1), dropout.deviation()
    metrics, validation, rows = settings["metrics"], settings["validation"], settings.get("rows")
    if not isinstance(metrics, Metrics):
        metrics = Metrics(metrics)

    def check(X: Any, y: Any, sample_weight: Any = None) -> Samples:
        if noise:
            inputs.refuse_sparse(X, "input noise would make it dense")
        return samples_of(machine, X, y, sample_weight)

    epochs, (X, y, sample_weight) = settings["epochs"], data
    parts: Iterable[Samples]
    samples, n_steps = None, None
    if inputs.are_batches(X, y):
        if sample_weight is not None:
            raise ValueError(
                "sample_weight cannot be passed with batches: yield (X, y, sample_weight)"
            )
        parts = batches = inputs.Batches(X, epochs, check)
        if (metrics.training or validation is None) and not batches.begin_anew:
            inputs.refuse_for_batches(metrics=metrics.metrics)
        n_steps = batches.count() if settings["batch_size"] in (None, "auto") else None
        held_out = _validation_samples(machine, _beside_batches(validation), samples_of)
    else:
        samples = check(X, y, sample_weight)
        if rows is not None:
            rows = inputs.row_numbers(rows, len(samples.X), samples.s)
        if validation is None or isinstance(validation, tuple | list):
            held_out = _validation_samples(machine, validation, samples_of)
        else:
            samples, rows, held_out = _set_aside(validation, samples, rows)
        parts = [samples]
    looked_at = samples or held_out
    labels = looked_at is not None and len(looked_at.labels) > 0
    return Plan(
        epochs=epochs,
        parts=parts,
        samples=samples,
        rows=rows,
        validation=held_out,
        batch_size=inputs.batch_size(settings["batch_size"], auto_batch_size if samples else None),
        shuffle=inputs.flag(settings["shuffle"], "shuffle"),
        rates=rates,
        factor=dropout.factor(),
        noise=noise,
        metrics=as_metrics(metrics.metrics, labels, machine.cost),
        of_training=metrics.training or held_out is None,
        n_threads=inputs.thread_count(settings["n_threads"]),
        missing_targets=machine.cost.missing,
        n_steps=n_steps,
    )


def for_targets(machine: Machine, missing: Any) -> Machine:
    """The network, or, where targets may be missing, the same with a cost that leaves them out.

    Raises TypeError, or ValueError for a cost that cannot.
    """
    if missing is False or not inputs.flag(missing, "missing_targets"):
        return machine
    return machine.with_cost(machine.cost.with_missing_targets)


def samples_of(machine: Machine, X: Any, y: Any, sample_weight: Any = None) -> Samples:
    """Checked samples for this network."""
    n_in, n_out = machine.sizes[0], machine.sizes[-1]
    return inputs.samples(X, y, sample_weight, n_in, n_out, machine.dtype, machine.cost)


def _beside_batches(validation: Any) -> Any:
    """`validation` beside batches; an iterable of batches becomes one. Raises ValueError."""
    if validation is None or isinstance(validation, tuple | list):
        return validation
    if not inputs.are_batches(validation, None):
        raise ValueError(
            f"with batches, validation must be (X, y), (X, y, sample_weight) or an iterable of "
            f"these; got {validation!r}"
        )
    with inputs.naming("validation"):
        return inputs.together(validation)


def _set_aside(
    validation: Any, samples: Samples, rows: np.ndarray | None
) -> tuple[Samples, np.ndarray | None, Samples]:
    """Samples, the rows to train on, and the validation samples among them.

    `validation` is a fraction, or, where there are rows, perhaps numbers of rows. Raises TypeError
    or ValueError.
    """
    if rows is None:
        train, rest = inputs.split(validation, len(samples.X))
        return inputs.take(samples, train), None, inputs.take(samples, rest)
    if isinstance(validation, np.ndarray):
        with inputs.naming("validation"):
            rest = inputs.row_numbers(validation, len(samples.X), samples.s)
        return samples, rows, inputs.take(samples, rest)
    train, rest = inputs.split(validation, len(rows))
    held_out, rows = inputs.take(samples, rows[rest]), rows[train]
    inputs.refuse_zero_weights(samples.s[rows] if len(samples.s) else samples.s)
    return samples, rows, held_out


def _validation_samples(
    machine: Machine, validation: Any, samples_of: Callable[..., Samples]
) -> Samples | None:
    if validation is None:
        return None
    if len(validation) not in (2, 3):
        raise ValueError(
            f"validation must be (X, y), (X, y, sample_weight) or a fraction; "
            f"got {len(validation)} items"
        )
    with inputs.naming("validation"):
        return samples_of(machine, *validation)
