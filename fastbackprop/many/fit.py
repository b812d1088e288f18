"""fit_many: many networks trained together, each as its own `fit` would train it."""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fastbackprop import inputs
from fastbackprop.inputs import many
from fastbackprop.jit.interrupts import deferred
from fastbackprop.many.turns import OneAtATime, Stop, take_turns
from fastbackprop.names import names_keywords
from fastbackprop.network import Network
from fastbackprop.optimizers import Optimizer
from fastbackprop.samples import Samples
from fastbackprop.training import Checkpoint, Dropout, EarlyStopping, History, Metrics, TimeBudget
from fastbackprop.training.callbacks import ANY_NUMBER, Callbacks, warn
from fastbackprop.training.fit import prepare
from fastbackprop.training.interrupted import Interrupted
from fastbackprop.training.plan import samples_of
from fastbackprop.training.progress import bars, begun
from fastbackprop.training.trainer import Trainer

Function = Callable[..., Any]


@names_keywords("fit_many")
def fit_many(
    networks: Iterable[Network],
    X: Any,
    y: Any,
    *,
    epochs: int | Sequence[int] = 100,
    batch_size: int | str | Sequence[int | None] | None = "auto",
    optimizers: str | Sequence[str | Optimizer] = "adam",
    rows: Any = None,
    validation: Any = None,
    sample_weight: Any = None,
    shuffle: bool | Sequence[bool] = True,
    dropout: float | Sequence[float] | Dropout | Sequence[Dropout] = 0.0,
    callbacks: Any = (),
    early_stopping: bool | int | EarlyStopping | Sequence[Any] | None = None,
    metrics: str
    | Function
    | Iterable[str | Function]
    | Mapping[str, Function]
    | Metrics
    | Sequence[Any]
    | None = None,
    progress: Any = None,
    n_threads: int | None = None,
    missing_targets: bool | Sequence[bool] = False,
) -> list[History]:
    """Train many networks, in place, each as its own `fit` would train it.

    Every network ends with the parameters, and gets the history, that
    `networks[k].fit(X[rows[k]], y[rows[k]], optimizer=optimizers[k], ...)` would have given it, bit
    for bit, whatever the other networks are and however many threads there are. The networks take
    turns, first of an epoch, then of some milliseconds, so that all have come about equally far
    when Ctrl-C or a time budget ends the call. Any mix of sizes, functions and engines will do.

    Parameters
    ----------
    networks : iterable of Network
        Each once. Those whose training is random have generators of their own.
    X, y
        As for `fit`, for all networks; or a list of matrices and a list of targets, one for each
        network. Arrays for all are checked once.
    epochs, batch_size, early_stopping
        As for `fit`; or a list with a value for each network.
    optimizers : str or sequence
        A name for all, or a name or an object for each network. An optimizer has the state of one
        network, so no object may be there twice.
    rows : sequence of array_like, optional
        Numbers of the rows of X (or booleans) to train each network on: folds, bootstrap samples,
        subsets. A number may be there several times. X is not copied.
    validation
        As for `fit`; or a list with a pair, a triple, a fraction, row numbers of X (an integer
        array) or None for each network. A fraction is one of the network's rows.
    sample_weight : array_like, optional
        (n_samples,) for all, or a vector for each network: (n_networks, n_samples), or a list. They
        are weights of all rows of X, also with `rows`.
    shuffle, missing_targets
        As for `fit`; or a list with a flag for each network.
    metrics
        As for `fit`; or a list with a dict, a `Metrics` or None for each network.
    dropout
        As for `fit`; or a list with a `Dropout` for each network.
    callbacks
        As for `fit`, for all networks; or a list with a list for each. They are called by one
        thread at a time, which may be any. A `TimeBudget` is that of the whole call. A `Checkpoint`
        is one network's.
    progress : None, True or an object like tqdm
        One bar for the epochs of all networks.
    n_threads : int or None
        Threads among which the networks are distributed. None: chosen from the work.

    Returns
    -------
    list of History
        One for each network. The cost, or a weight, of a network that diverges is no longer finite:
        it keeps its last finite parameters, its `ended_by` is "divergence", a RuntimeWarning names
        it, and the others go on.

    Raises
    ------
    ValueError, TypeError
        As `fit` does, with the network's place in the list; for an empty list, the same network,
        optimizer, generator or checkpoint twice, and lists of another length. No network is changed
        then.
    Interrupted
        After Ctrl-C, as `fit`; its `history` is the list of histories.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbackprop as fb
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 4))
    >>> networks = [fb.Network([4, 8, 1], rng=seed) for seed in range(5)]
    >>> folds = [np.flatnonzero(np.arange(60) % 5 != k) for k in range(5)]
    >>> histories = fb.fit_many(networks, X, X.sum(axis=1), rows=folds, epochs=3)
    >>> [len(history) for history in histories]
    [3, 3, 3, 3, 3]
    """
    settings = dict(locals())
    n_threads = inputs.thread_count(n_threads)
    common = {"progress": None, "n_threads": n_threads}
    chosen = many.distinct(networks, Network, "networks")
    each, stop = each_network(len(chosen), X, y, settings), Stop()
    total = sum(inputs.positive_integer(one["epochs"], "epochs") for one in each)
    shown = bars(progress, total)
    trainings = prepared(chosen, each, common, stop, [_Ticks(bar) for bar in shown])
    try:
        with begun(shown), contextlib.ExitStack() as at_work, deferred() as stop.interrupt:
            for training in trainings:
                at_work.enter_context(training.network.in_training(training.optimizer))
            take_turns(trainings, n_threads, stop)
    except KeyboardInterrupt:
        stop.interrupted = True
        for training in trainings:
            training.goes_on()  # it asks `stop`: its history says why it ended
    return _histories(trainings, stop.interrupted)


def prepared(
    networks: Sequence[Network],
    each: Sequence[dict[str, Any]],
    common: dict[str, Any],
    stop: Stop,
    more: Sequence[Any] = (),
) -> list[Trainer]:
    """A training for each network, with `more` callbacks. All is checked, no network is changed.

    Raises TypeError, ValueError or OSError.
    """
    trainings, data = [], _Data()
    for k, (network, one) in enumerate(zip(networks, each, strict=True)):
        listeners = OneAtATime([*one["callbacks"], *more, stop], stop.lock)
        own = common | one | {"callbacks": listeners, "samples_of": data.samples_of}
        with inputs.naming(f"networks[{k}]"):
            trainings.append(prepare(network, **own))
    _check_generators(trainings)
    return trainings


def _histories(trainings: list[Trainer], interrupted: bool) -> list[History]:
    """What the trainings leave. Raises Interrupted."""
    answers = [
        t.callbacks.tell("on_interrupt", t.network, t.history) for t in trainings if interrupted
    ]
    return told([training.history for training in trainings], interrupted, any(answers))


def told(histories: list[History], interrupted: bool, returns: bool) -> list[History]:
    """The histories, with a warning of those that diverged; after Ctrl-C only if it `returns`.

    Raises Interrupted.
    """
    diverged = [k for k, history in enumerate(histories) if history.ended_by == "divergence"]
    if diverged:
        names = ", ".join(f"networks[{k}]" for k in diverged)
        warn(
            f"training diverged: the cost, or a weight, is not finite. Last finite parameters are "
            f"kept in {names}. Try a smaller learning rate, or scale the inputs and targets"
        )
    if interrupted:
        done = min(map(len, histories))
        message = f"training interrupted: every network has finished {done} epochs at least"
        if not returns:
            raise Interrupted(message, histories)
        warn(message)
    return histories


def each_network(n: int, X: Any, y: Any, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The arguments of each network's `fit`, out of those of `fit_many`.

    Raises TypeError or ValueError.
    """
    optimizers = settings["optimizers"]
    if isinstance(optimizers, Optimizer) and n > 1:
        raise ValueError(
            f"optimizers must be a name, or one for each of the {n} networks: an optimizer has the "
            f"state of one network. Pass [copy.copy(optimizer) for _ in networks]"
        )
    if isinstance(optimizers, str | Optimizer):
        optimizers = [optimizers] * n
    optimizers = many.as_many(optimizers, n, "optimizers")
    many.refuse_twice(optimizers, "optimizers", ": pass each network its own")
    X_of, y_of = many.data_of_each(X, y, n)
    columns = {
        "X": X_of,
        "y": y_of,
        "optimizer": optimizers,
        "rows": many.rows_of_each(settings["rows"], n),
        "sample_weight": many.weights_of_each(settings["sample_weight"], n),
        "callbacks": _callbacks(settings["callbacks"], n),
    }
    for name, is_one in OF_ONE.items():
        columns[name] = many.for_each(settings[name], n, name, is_one)
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


# Arguments that may be a list with a value for each network; and, where a list may also be a value
# for all, how to know such a value.
OF_ONE: dict[str, Callable[[Any], bool] | None] = {
    "epochs": None,
    "batch_size": None,
    "early_stopping": None,
    "dropout": lambda value: isinstance(value, Dropout),
    "validation": lambda value: (
        value is None
        or isinstance(value, tuple | float)
        or (isinstance(value, np.ndarray) and value.ndim == 1)  # not (X, y), but row numbers
    ),
    "shuffle": None,
    "metrics": lambda value: value is None or isinstance(value, Mapping | Metrics),
    "missing_targets": None,
}


def _callbacks(callbacks: Any, n: int) -> list[list[Any]]:
    """The callbacks of each network; a time budget is one clock for all that have it."""
    of_each = many.for_each(
        callbacks, n, "callbacks", lambda value: isinstance(value, list | tuple)
    )
    clocks: dict[int, Any] = {}
    result, paths = [], []
    for one in of_each:
        objects = Callbacks(one).objects
        for i, callback in enumerate(objects):
            if isinstance(callback, TimeBudget):
                objects[i] = clocks.setdefault(id(callback), callback.for_training(None))
            elif isinstance(callback, Checkpoint):
                paths.append(str(callback.path))
        result.append(objects)
    if len(set(paths)) < len(paths):
        raise ValueError(
            "a Checkpoint is one network's: pass callbacks=[[Checkpoint(path)] for path in ...], "
            "with a path for each network"
        )
    return result


def _check_generators(trainings: list[Trainer]) -> None:
    generators = [training.rng for training in trainings]
    many.refuse_twice(
        generators,
        "the generators of networks",
        ": the order in which they draw would depend on the threads. Make each network with its "
        "own, Network(..., rng=seed), or pass shuffle=False",
    )


class _Ticks:
    """A bar of all networks, for one of them."""

    epochs_ahead, looks_at_network = ANY_NUMBER, False

    def __init__(self, bar: Any) -> None:
        self.on_epoch_end = bar.on_epoch_end


class _Data:
    """Checked samples: arrays that several networks have are checked and converted once."""

    def __init__(self) -> None:
        self._samples: dict[Any, Samples] = {}

    def samples_of(self, machine: Any, X: Any, y: Any, sample_weight: Any = None) -> Samples:
        """As `training.plan.samples_of`."""
        key = id(X), id(y), machine.sizes[0], machine.sizes[-1], machine.dtype, machine.cost
        if key not in self._samples:
            self._samples[key] = samples_of(machine, X, y)
        samples = self._samples[key]
        if sample_weight is None:
            return samples
        weighted = (*key, id(sample_weight))
        if weighted not in self._samples:
            self._samples[weighted] = inputs.weighted(samples, sample_weight)
        return self._samples[weighted]
