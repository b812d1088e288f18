"""Callbacks: objects that are told of a training while it runs, and that may end it."""

import functools
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fastbackprop import inputs
from fastbackprop.names import closest

PACKAGE = f"{Path(__file__).parents[1]}{os.sep}"
ANY_NUMBER = sys.maxsize  # of epochs


class EndOfTraining(Exception):
    """The training ends now, between two steps; the reason is a word for `History.ended_by`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TimeBudget:
    """A callback that ends the training between two steps when its seconds are spent.

    Compilation does not count. A network with early stopping gets its best parameters.

    Parameters
    ----------
    seconds : float
        Of each call of `fit`.
    """

    def __init__(self, seconds: float) -> None:
        checked = inputs.seconds(seconds, "seconds of TimeBudget")
        if checked is None:
            raise TypeError("seconds of TimeBudget must be a number; got None")
        self.seconds = checked

    def __repr__(self) -> str:
        return f"TimeBudget({self.seconds!r})"

    def for_training(self, training: Any) -> "_Clock":
        """The clock of one training."""
        return _Clock(self.seconds)


class _Clock:
    """It begins with the first epoch."""

    epochs_ahead, looks_at_network = ANY_NUMBER, False

    def __init__(self, seconds: float) -> None:
        self._seconds, self._deadline = seconds, float("inf")

    def on_epoch_begin(self, network: Any, epoch: int) -> None:
        if self._deadline == float("inf"):
            self._deadline = time.monotonic() + self._seconds

    def on_pause(self) -> None:
        if time.monotonic() > self._deadline:
            raise EndOfTraining("time_budget")

    def stop_reason(self) -> str | None:
        return "time_budget" if time.monotonic() > self._deadline else None


class Callbacks:
    """All callbacks of a training as one.

    A callback is a function (network, epoch, logs), called after every epoch, or an object with any
    of these methods:

    on_train_begin(network)
    on_epoch_begin(network, epoch)
    on_batch_end(network, batch, logs)
        After every step. `batch` counts from 1 in each epoch; `logs` has the mean cost of the
        minibatch before the step. With it each step is a call from Python.
    on_epoch_end(network, epoch, logs)
        A true result ends the training. `epoch` counts from 1; `logs` are the epoch's figures.
    on_train_end(network, history)
    on_interrupt(network, history)
        After Ctrl-C and `on_train_end`: with a true result `fit` returns the history, else it
        raises `Interrupted`.
    get_state(), set_state(state)
        A dict of JSON values and arrays that `Checkpoint` keeps, so that a training that is run
        again continues with it.
    for_training(training)
        Called before anything is changed; it may raise. The object that it returns listens to this
        training in place of the callback. `training` has `network`, `plan` and `history`.
    on_pause()
        Called between two native calls of some tens of milliseconds; it may raise.
    stop_reason()
        Asked before every epoch: why the training should end now, a word for `History.ended_by`,
        or None.

    Those of the package may say with `epochs_ahead` how many epochs may be over before they are
    told of the first, because none of these but the last can end the training; and with
    `looks_at_network = False` that the network may be elsewhere then. They also have some of
    on_resume(), before all else; on_epoch_finished(logs) and on_save(), before and after
    on_epoch_end, while Ctrl-C waits; on_part(), after each batch of an iterable; on_close(), also
    after an error; and on_restore(), where there was none.
    """

    EVENTS = (
        *("on_train_begin", "on_epoch_begin", "on_batch_end", "on_epoch_end", "on_train_end"),
        "on_interrupt",
    )
    OF_THE_PACKAGE = (
        *("on_pause", "on_resume", "on_epoch_finished", "on_save", "on_part", "on_close"),
        "on_restore",
    )
    METHODS = (*EVENTS, "for_training", "on_pause", "stop_reason")

    def __init__(self, callbacks: Any) -> None:
        if callable(callbacks) or not isinstance(callbacks, Iterable):
            callbacks = [callbacks]
        self.objects: list[Any] = list(callbacks)
        self._having: dict[str, list[Any]] = {}  # answers to `having`, and to `listening`
        self._listening: dict[str, list[Callable[..., Any]]] = {}
        for callback in self.objects:
            if isinstance(callback, type):
                raise TypeError(
                    f"a callback must be an object; got the class {callback.__name__}: write "
                    f"{callback.__name__}(...)"
                )
            if not callable(callback) and not any(hasattr(callback, m) for m in self.METHODS):
                raise TypeError(
                    f"a callback must be a function (network, epoch, logs) or have a method out of "
                    f"{', '.join(self.EVENTS)}; got {callback!r}"
                )
            if message := _unknown_event(callback.__class__):
                raise TypeError(message)

    def add(self, callback: Any) -> None:
        """One more, after the others."""
        self.objects.append(callback)
        self._forget()

    def for_training(self, training: Any) -> None:
        """Before anything is changed: callbacks that listen by another object make it."""
        places = [
            i for i, c in enumerate(self.objects) if callable(getattr(c, "for_training", None))
        ]
        for i in sorted(places, key=lambda i: getattr(self.objects[i], "starts_last", False)):
            self.objects[i] = self.objects[i].for_training(training)
        self._forget()

    def _forget(self) -> None:
        self._having.clear()
        self._listening.clear()

    def having(self, method: str) -> list[Any]:
        """Those that have this method."""
        found = self._having.get(method)
        if found is None:
            found = [c for c in self.objects if callable(getattr(c, method, None))]
            self._having[method] = found
        return found

    def stateful(self) -> list[Any]:
        """Those whose state a checkpoint keeps."""
        return [callback for callback in self.having("get_state") if hasattr(callback, "set_state")]

    def tell(self, event: str, *arguments: Any) -> bool:
        """Call every callback that listens to the event; True if one of them returned true."""
        stop = False
        for method in self.listening(event):
            stop |= bool(method(*arguments))
        return stop

    def listening(self, event: str) -> list[Callable[..., Any]]:
        """What is called in this event."""
        found = self._listening.get(event)
        if found is None:
            found = self._listening[event] = self.listeners(event)
        return found

    def listeners(self, event: str) -> list[Callable[..., Any]]:
        """The methods of callbacks for this event."""
        plain = event == "on_epoch_end"  # a function is one of these
        methods = [getattr(c, event, c if plain and callable(c) else None) for c in self.objects]
        return [method for method in methods if callable(method)]

    @property
    def epochs_ahead(self) -> int:
        """How many epochs may be over before all are told of the first."""
        return min((getattr(callback, "epochs_ahead", 1) for callback in self.objects), default=1)

    @property
    def look_at_network(self) -> bool:
        """Whether the network must be up to date when an epoch is told of."""
        return any(getattr(callback, "looks_at_network", True) for callback in self.objects)

    def stop_reason(self) -> str | None:
        """The first reason to end the training."""
        for callback in self.having("stop_reason"):
            reason: str | None = callback.stop_reason()
            if reason:
                return reason
        return None


@functools.lru_cache(maxsize=256)
def _unknown_event(kind: Any) -> str | None:
    """The message about a method `on_...` that nothing would call, if this class has one."""
    known = {*Callbacks.EVENTS, *Callbacks.OF_THE_PACKAGE}
    for name in dir(kind):
        if name.startswith("on_") and name not in known and callable(getattr(kind, name)):
            close = closest(name, Callbacks.EVENTS, n=1)
            return (
                f"{kind.__name__} has the method {name}, which no training calls"
                + f": did you mean {close[0]}?" * bool(close)
                + f" Known are {', '.join(Callbacks.EVENTS)}"
            )
    return None


def warn(message: str) -> None:
    """A RuntimeWarning of the line that called the package."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, RuntimeWarning, stacklevel=level)
