"""fit_many: many networks over a cluster, in groups, each group as `fastbackprop.fit_many` does."""

import contextlib
import inspect
import pickle
import queue
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cloudpickle
import distributed
from dask.delayed import Delayed

from fastbackprop import inputs, many
from fastbackprop.dask import tasks
from fastbackprop.dask.client import check_workers, connected
from fastbackprop.dask.work import LOST, POLL, Work
from fastbackprop.inputs.many import distinct
from fastbackprop.jit.interrupts import deferred
from fastbackprop.many.fit import each_network, prepared, told
from fastbackprop.many.turns import Stop
from fastbackprop.names import names_keywords, refuse_unknown
from fastbackprop.network import Network
from fastbackprop.optimizers import Optimizer
from fastbackprop.training import Dropout, EarlyStopping, History, Metrics
from fastbackprop.training.callbacks import Callbacks
from fastbackprop.training.dropout import as_dropout
from fastbackprop.training.progress import bars, begun

Function = Callable[..., Any]

GROUPS = 3  # for each thread of the cluster, so that none waits long for the last
LANES, MOST = 8, 64  # networks of a group: a multiple of the one, the other at most
SHARED = ("X", "y", "rows", "sample_weight", "validation")  # sent once, however many have them


@names_keywords("fit_many")
def fit_many(
    networks: Iterable[Network],
    X: Any,
    y: Any,
    *,
    client: distributed.Client | None = None,
    epochs: int | Sequence[int] = 100,
    batch_size: int | str | Sequence[int | None] | None = "auto",
    optimizers: str | Sequence[str | Optimizer] = "adam",
    rows: Any = None,
    validation: Any = None,
    sample_weight: Any = None,
    shuffle: bool = True,
    dropout: float | Sequence[float] | Dropout | Sequence[Dropout] = 0.0,
    callbacks: Any = (),
    early_stopping: bool | int | EarlyStopping | Sequence[Any] | None = None,
    metrics: str
    | Function
    | Iterable[str | Function]
    | Mapping[str, Function]
    | Metrics
    | None = None,
    progress: Any = None,
    n_threads: int | None = None,
    missing_targets: bool = False,
) -> list[History]:
    """`fastbackprop.fit_many`, with the networks spread over a Dask cluster.

    Every network ends with the bits that its own `fit` would have given it, however many workers
    there are, and whether or not some are lost. A worker trains a group of networks at a time.

    Parameters
    ----------
    networks, epochs, batch_size, optimizers, rows, validation, sample_weight, shuffle, dropout, \
    early_stopping, metrics, missing_targets
        As for `fastbackprop.fit_many`.
    X, y
        As there; every worker gets them once, by way of the scheduler. For large ones pass futures
        or delayed objects, such as `dask.delayed(np.load)(path)`: they go to the workers alone, and
        are then checked there.
    client : distributed.Client or None
        None: the current one.
    callbacks
        As there, but they are called on the workers, which have copies. The state of those with
        `get_state` and `set_state` comes back. A `TimeBudget` is that of each group.
    progress : None, True or an object like tqdm
        A bar for the networks.
    n_threads : int or None
        Threads for each group. None: one, as Dask runs a task in each thread of a worker.

    Returns
    -------
    list of History

    Raises
    ------
    ValueError, TypeError, Interrupted
        As `fastbackprop.fit_many`. After Ctrl-C, networks whose group was not finished are as they
        were, and their histories are empty.
    RuntimeError
        For workers that lack fastbackprop or would compute other bits, before anything starts.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbackprop as fb
    >>> import fastbackprop.dask
    >>> from dask.distributed import Client
    >>> if __name__ == "__main__":
    ...     X = np.random.default_rng(0).normal(size=(60, 4))
    ...     networks = [fb.Network([4, 8, 1], rng=seed) for seed in range(20)]
    ...     with Client(n_workers=2, threads_per_worker=1) as client:
    ...         histories = fb.dask.fit_many(networks, X, X.sum(axis=1), epochs=3)
    """
    settings = {name: value for name, value in locals().items() if name in SETTINGS}
    chosen = distinct(networks, Network, "networks")
    shown_bars = bars(progress, len(chosen), "network")
    running, interrupted = None, False
    try:
        with (
            as_completed(chosen, X, y, client=client, **settings) as running,
            begun(shown_bars),
        ):
            for _, history in running:
                for bar in shown_bars:
                    bar.on_epoch_end(None, 0, history[-1] if len(history) else {})
    except KeyboardInterrupt:
        interrupted = True
    done = {} if running is None else running.histories
    histories = [done.get(k, History()) for k in range(len(chosen))]
    for k in range(len(chosen)):
        if k not in done:
            histories[k].ended_by = "interrupt"
    return told(histories, interrupted, False)


# The arguments of `fit_many` that `as_completed` has too, with their defaults.
SETTINGS = {
    name: parameter.default
    for name, parameter in inspect.signature(fit_many).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY and name not in ("client", "progress")
}


def as_completed(
    networks: Iterable[Network],
    X: Any,
    y: Any,
    *,
    client: distributed.Client | None = None,
    **settings: Any,
) -> "Completed":
    """(k, history) of each network of `fit_many` when it is ready; leaving the loop ends the rest.

    Arguments and errors are those of `fit_many`. networks[k] is trained when it is yielded; those
    that are not yielded before the loop is left, or `close()` is called, are as they were.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbackprop as fb
    >>> import fastbackprop.dask
    >>> from dask.distributed import Client
    >>> if __name__ == "__main__":
    ...     X = np.random.default_rng(0).normal(size=(60, 4))
    ...     networks = [fb.Network([4, 8, 1], rng=seed) for seed in range(20)]
    ...     with Client(n_workers=2, threads_per_worker=1) as client:
    ...         for k, history in fb.dask.as_completed(networks, X, X.sum(axis=1), epochs=3):
    ...             if history.cost[-1] < 1.0:
    ...                 break
    """
    refuse_unknown(settings, SETTINGS, "as_completed", "fit_many")
    settings = SETTINGS | settings
    chosen = distinct(networks, Network, "networks")
    for what, value in {"X": X, "y": y}.items():
        if not isinstance(value, REMOTE) and hasattr(value, "to_delayed"):
            raise TypeError(
                f"{what} is a Dask {type(value).__name__}, and each network is trained on one "
                f"worker: pass an array, a future or a delayed object. fastbackprop.dask.fit "
                f"trains one network on rows that are spread over the cluster"
            )
    each = each_network(len(chosen), X, y, settings)
    common = {"n_threads": inputs.thread_count(settings["n_threads"]) or 1}
    if not isinstance(X, REMOTE) and not isinstance(y, REMOTE):
        prepared(chosen, each, common | {"progress": None}, Stop())  # before anything starts
    client = connected(client)  # after all that can be refused without one
    for engine in {network.engine for network in chosen}:
        check_workers(client, engine)
    return Completed(Work(client), chosen, each, common)


REMOTE = (distributed.Future, Delayed)


class _Place(NamedTuple):
    """Stands for the value of this number among those that are sent once."""

    number: int


class _Group(NamedTuple):
    """What a worker trains together."""

    build: dict[str, dict[str, Any]]  # of the client, by engine
    networks: list[Network]
    each: list[dict[str, Any]]  # arguments of each one's `fit`
    common: dict[str, Any]


class Completed:
    """The iterator of `as_completed`.

    Attributes
    ----------
    histories : dict of History
        Of the networks that were yielded, by their numbers.
    """

    def __init__(
        self,
        work: Work,
        networks: list[Network],
        each: list[dict[str, Any]],
        common: dict[str, Any],
    ) -> None:
        self._work, self._networks, self._each, self._common = work, networks, each, common
        self._values: list[Any] = []  # futures of what is sent once
        self._sent = self._send()
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._waiting: dict[str, tuple[Any, list[int], int]] = {}
        for members in _groups(networks, sum(work.client.nthreads().values())):
            self._start(members, 0)
        self._ready: list[tuple[int, Any]] = []
        self.histories: dict[int, History] = {}

    def __iter__(self) -> Iterator[tuple[int, History]]:
        return self

    def __next__(self) -> tuple[int, History]:
        try:
            while not self._ready:
                if not self._waiting:
                    self._work.look_at_workers(at_once=True)
                    raise StopIteration
                self._take_next()
        except BaseException:
            self.close()
            raise
        with deferred():
            k, result = self._ready.pop(0)
            self._take(k, *result)
        return k, self.histories[k]

    def __enter__(self) -> "Completed":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # where the interpreter shuts down
            self.close()

    def close(self) -> None:
        """End what is not finished."""
        futures = [future for future, _, _ in self._waiting.values()]
        self._waiting.clear()
        if futures and self._work.client.status == "running":
            self._work.client.cancel(futures)

    def _send(self) -> list[dict[str, Any]]:
        """The arguments of each, with places where `_values` has them."""
        numbers: dict[int, int] = {}

        def place(value: Any) -> Any:
            if value is None or isinstance(value, float):
                return value
            if id(value) not in numbers:
                numbers[id(value)] = len(self._values)
                self._values.append(self._future(value))
            return _Place(numbers[id(value)])

        return [
            one | {name: place(one[name]) for name in SHARED if name in one} for one in self._each
        ]

    def _future(self, value: Any) -> Any:
        if isinstance(value, Delayed):
            return self._work.client.compute(value)
        if isinstance(value, distributed.Future):
            return value
        return self._work.start(pickle.loads, "data", cloudpickle.dumps(value))

    def _start(self, members: list[int], attempt: int) -> None:
        networks = [self._networks[k] for k in members]
        build = {network.engine: tasks.build(network.engine) for network in networks}
        group = _Group(build, networks, [self._sent[k] for k in members], self._common)
        future = self._work.start(trained, "group", cloudpickle.dumps(group), *self._values)
        self._waiting[future.key] = future, members, attempt
        future.add_done_callback(self._done.put)

    def _take_next(self) -> None:
        """Wait for a group."""
        try:
            future = self._done.get(timeout=POLL)
        except queue.Empty:
            self._work.on_pause()
            return
        if future.key not in self._waiting:
            return
        _, members, attempt = self._waiting.pop(future.key)
        try:
            results = future.result()
        except LOST as error:
            self._work.give_up(error, attempt)
            return self._start(members, attempt + 1)
        except (ValueError, TypeError) as error:
            raise type(error)(_renumbered(str(error), members)) from error
        self._work.look_at_workers()
        self._ready.extend(zip(members, results, strict=True))

    def _take(self, k: int, trained: Network, history: History, states: list[Any]) -> None:
        network, optimizer = self._networks[k], self._each[k]["optimizer"]
        network.take_over(trained, optimizer if isinstance(optimizer, Optimizer) else None)
        stateful = Callbacks(self._each[k]["callbacks"]).stateful()
        for callback, state in zip(stateful, states, strict=True):
            callback.set_state(state)
        self.histories[k] = history


def _groups(networks: list[Network], n_threads: int) -> list[list[int]]:
    """Numbers of the networks of each group: of one kind as far as possible."""
    n = len(networks)
    size = -(-n // (GROUPS * max(n_threads, 1)))
    if size > LANES:
        size = min(-(-size // LANES) * LANES, MOST)
    order = sorted(range(n), key=lambda k: networks[k].machine.likeness)
    return [order[i : i + size] for i in range(0, n, size)]


def _renumbered(message: str, members: list[int]) -> str:
    """The message with the network's place in the whole list."""
    for place, k in enumerate(members):
        if message.startswith(f"networks[{place}]"):
            return message.replace(f"networks[{place}]", f"networks[{k}]", 1)
    return message


# --- on a worker ---------------------------------------------------------------------------------


class _Wanted:
    """A callback that ends a training whose task was cancelled."""

    def __init__(self) -> None:
        self.on_pause = tasks.wanted()

    def stop_reason(self) -> str | None:
        """Why it ends, before an epoch: one of few samples has no pause."""
        try:
            self.on_pause()
        except tasks.NoLongerWanted:
            return "interrupt"
        return None


def trained(blob: bytes, *values: Any) -> list[tuple[Network, History, list[Any]]]:
    """Networks of a group, their histories, and the states of their callbacks."""
    group: _Group = pickle.loads(blob)
    for engine, facts in group.build.items():
        there = tasks.build(engine)
        if there != facts:
            tasks.compare(facts, there, distributed.get_worker().address)
    each = [
        {n: values[v.number] if isinstance(v, _Place) else v for n, v in one.items()}
        for one in group.each
    ]
    columns: dict[str, Any] = {name: [one[name] for one in each] for name in each[0]}
    listeners = [Callbacks(callbacks) for callbacks in columns.pop("callbacks")]
    columns["dropout"] = [as_dropout(value) for value in columns["dropout"]]
    columns["metrics"] = [m if isinstance(m, Metrics) else Metrics(m) for m in columns["metrics"]]
    columns["optimizers"] = columns.pop("optimizer")
    for name in ("rows", "sample_weight"):
        if all(value is None for value in columns[name]):
            columns[name] = None
    X, y = columns.pop("X"), columns.pop("y")
    one_X = all(value is X[0] for value in X) and all(value is y[0] for value in y)
    histories = many.fit_many(
        group.networks,
        X[0] if one_X else X,
        y[0] if one_X else y,
        callbacks=[[*some.objects, _Wanted()] for some in listeners],
        **columns,
        **group.common,
    )
    states = [[callback.get_state() for callback in some.stateful()] for some in listeners]
    return list(zip(group.networks, histories, states, strict=True))
