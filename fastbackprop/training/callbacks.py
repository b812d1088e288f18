"""What is told of a training while it runs, and what may end it: history, callbacks, stopping."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np


class History:
    """What `fit` returns: a row for each finished epoch.

    Attributes
    ----------
    cost : list of float
        Mean cost of the training samples, each taken before the step of its minibatch.
    validation_cost : list of float
        Mean cost of the validation samples after the epoch; empty without validation.
    seconds : list of float
        Wall-clock seconds of the epoch, validation included, callbacks not.
    ended_by : {"epochs", "callback", "early_stopping", "time_budget", "interrupt", "converged", \
    "max_evaluations", "line_search"}
        What ended the training; the last three are LBFGS's. After "time_budget" and "interrupt"
        (Ctrl-C) the steps of the unfinished epoch are in the network, unless early stopping
        restored the best parameters.
    interrupted : bool
        True if Ctrl-C ended the training.

    Metrics, and the learning rate of each epoch's last step where there is a schedule, are further
    columns. `len(history)` is the number of epochs, `history[-1]` the last epoch as a dict,
    `history["cost"]` a column, `history.to_dict()` all columns.
    """

    def __init__(self) -> None:
        self._epochs: list[dict[str, float]] = []
        self.ended_by = "epochs"

    @property
    def interrupted(self) -> bool:
        return self.ended_by == "interrupt"

    def append(self, logs: dict[str, float]) -> None:
        self._epochs.append(logs)

    @property
    def cost(self) -> list[float]:
        return self._column("cost")

    @property
    def validation_cost(self) -> list[float]:
        return self._column("validation_cost")

    @property
    def seconds(self) -> list[float]:
        return self._column("seconds")

    def _column(self, name: str) -> list[float]:
        return [logs[name] for logs in self._epochs if name in logs]

    def to_dict(self) -> dict[str, list[float]]:
        """Columns by name; validation_cost is left out where there was no validation."""
        return {name: self._column(name) for name in (self._epochs[0] if self._epochs else ())}

    def to_pandas(self) -> Any:
        """A pandas DataFrame with a row for each epoch, counted from 1. Needs pandas."""
        try:
            import pandas
        except ImportError:
            raise ImportError(
                "to_pandas() needs pandas: pip install 'fastbackprop[pandas]'"
            ) from None
        index = pandas.RangeIndex(1, len(self) + 1, name="epoch")
        return pandas.DataFrame(self._epochs, index)

    def __len__(self) -> int:
        return len(self._epochs)

    def __getitem__(self, key: int | str) -> Any:
        return self._column(key) if isinstance(key, str) else dict(self._epochs[key])

    def __iter__(self) -> Iterator[dict[str, float]]:
        return map(dict, self._epochs)

    def __repr__(self) -> str:
        logs = self._epochs[-1].items() if self._epochs else ()
        last = "; last: " + ", ".join(f"{name} {value:.4g}" for name, value in logs) if logs else ""
        return f"<History of {len(self)} epochs{', interrupted' * self.interrupted}{last}>"


@dataclass(frozen=True)
class EarlyStopping:
    """End the training where a figure has not improved for `patience` epochs in a row.

    NaN is never an improvement. The best so far is of this call of `fit`, or of its checkpoint.

    Parameters
    ----------
    patience : int
        Epochs without improvement, 1 at least.
    min_improvement : float
        An improvement is better than the best so far by more than this amount.
    restore_best : bool
        Give the network the parameters of the best epoch when the training ends, whatever ends it
        but an exception. The optimizer keeps the state of the last step.
    monitor : str or None
        A column of the history. None: validation_cost, or, without validation, cost.
    maximize : bool or None
        Whether more is better. None: costs are minimised, "accuracy" and "r2" maximised; of your
        own metric only you know.
    """

    patience: int = 10
    min_improvement: float = 0.0
    restore_best: bool = True
    monitor: str | None = None
    maximize: bool | None = None


class Stopping:
    """The state of an early stopping, with monitor and direction decided, during one training."""

    def __init__(self, rule: EarlyStopping, monitor: str, maximize: bool) -> None:
        self.rule, self.monitor, self.maximize = rule, monitor, maximize
        self.best: float | None = None
        self.waited = 0
        self.parameters: np.ndarray | None = None

    def epoch_ended(self, logs: dict[str, float], theta: np.ndarray) -> None:
        """Hear of an epoch, and of the parameters after it."""
        value = logs[self.monitor]
        gain = 0.0
        if self.best is not None:
            gain = value - self.best if self.maximize else self.best - value
        improved = value == value if self.best is None else gain > self.rule.min_improvement
        self.waited = 0 if improved else self.waited + 1
        if improved:
            self.best = value
            if self.rule.restore_best:
                self.parameters = theta.copy()

    @property
    def exhausted(self) -> bool:
        return self.waited >= self.rule.patience

    def restore(self, theta: np.ndarray) -> None:
        """The best parameters, if any epoch was better than nothing."""
        if self.parameters is not None:
            theta[...] = self.parameters


class Callbacks:
    """All callbacks of a training as one.

    A callback is a function (network, epoch, logs), called after every epoch, or an object with any
    of on_train_begin, on_epoch_begin, on_epoch_end, on_train_end.
    """

    EVENTS = ("on_train_begin", "on_epoch_begin", "on_epoch_end", "on_train_end")

    def __init__(self, callbacks: Any, progress: Any, epochs: int) -> None:
        if callable(callbacks) or not isinstance(callbacks, Iterable):
            callbacks = [callbacks]
        self._objects: list[Any] = list(callbacks)
        for callback in self._objects:
            if not callable(callback) and not any(hasattr(callback, e) for e in self.EVENTS):
                raise TypeError(
                    f"a callback must be a function (network, epoch, logs) or have a method out of "
                    f"{', '.join(self.EVENTS)}; got {callback!r}"
                )
        self._progress = _Progress(progress, epochs)
        self._objects.append(self._progress)

    def tell(self, event: str, *arguments: Any) -> bool:
        """Call every callback that listens to the event; True if one of them returned true."""
        stop = False
        for callback in self._objects:
            method: Callable[..., Any] | None = getattr(callback, event, None)
            if method is None and event == "on_epoch_end" and callable(callback):
                method = callback
            if method is not None:
                stop |= bool(method(*arguments))
        return stop

    def close(self) -> None:
        """Training has ended, in whatever way: the progress bar is complete."""
        self._progress.close()


class _Progress:
    """A progress bar with a tick for each epoch: tqdm's, anything with its interface, or none."""

    INTERFACE = ("update", "set_postfix", "close")

    def __init__(self, progress: Any, epochs: int) -> None:
        if progress is True:
            try:
                from tqdm.auto import tqdm
            except ImportError:
                raise ImportError(
                    "progress=True needs tqdm: pip install 'fastbackprop[progress]'"
                ) from None
            progress = tqdm
        elif progress is False:
            progress = None
        is_bar = all(callable(getattr(progress, name, None)) for name in self.INTERFACE)
        if progress is not None and not is_bar and not callable(progress):
            raise TypeError(
                f"progress must be None, True, or like tqdm, with methods "
                f"{', '.join(self.INTERFACE)}; got {progress!r}"
            )
        self._make = progress if isinstance(progress, type) or not is_bar else lambda **_: progress
        self._epochs = epochs
        self._bar: Any = None

    def on_train_begin(self, network: Any) -> None:
        if self._make is not None:
            self._bar = self._make(total=self._epochs, unit="epoch")

    def on_epoch_end(self, network: Any, epoch: int, logs: dict[str, float]) -> None:
        if self._bar is not None:
            self._bar.set_postfix({name: x for name, x in logs.items() if name != "seconds"})
            self._bar.update(1)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


class ErrorFlow:
    """A callback that records how large the errors delta^l are, in every layer after every epoch.

    Vanishing and exploding gradients made visible: `fastbackprop.plot.error_flow` draws it.

    Parameters
    ----------
    X, y
        Samples as for `Network.evaluate`, those of the training or some of them. They are checked
        when the training begins.

    Attributes
    ----------
    sizes : list of ndarray, (L,)
        The root mean square of delta^l = dC_i/dz^l over the samples and the neurons of layer l:
        before the training, and after each epoch. A second training goes on where the first ended.

    Examples
    --------
    >>> import fastbackprop as fb
    >>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    >>> net = fb.Network([2, 4, 4, 1], hidden="sigmoid", rng=0)
    >>> flow = fb.ErrorFlow(X, y)
    >>> history = net.fit(X, y, epochs=3, callbacks=flow)
    >>> len(flow.sizes), flow.sizes[0].shape
    (4, (3,))
    """

    def __init__(self, X: Any, y: Any) -> None:
        self._data = X, y
        self.sizes: list[np.ndarray] = []

    def on_train_begin(self, network: Any) -> None:
        size = network.error_sizes(*self._data)
        if not self.sizes:
            self.sizes.append(size)

    def on_epoch_end(self, network: Any, epoch: int, logs: dict[str, float]) -> None:
        self.sizes.append(network.error_sizes(*self._data))
