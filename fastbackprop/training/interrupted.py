"""What `fit` does when Ctrl-C has ended a training."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from fastbackprop.training.callbacks import warn
from fastbackprop.training.history import History

Function = TypeVar("Function", bound=Callable[..., Any])


class Interrupted(KeyboardInterrupt):
    """Ctrl-C ended a training. The network stands between two steps and is ready for use.

    A loop over `partial_fit`, a search and a script end too, as they do by any KeyboardInterrupt.
    `history` has the epochs that were finished; it is a list of histories after `fit_many`. With
    the callback `ReturnOnInterrupt()` it is returned instead.
    """

    def __init__(self, message: str, history: Any) -> None:
        super().__init__(message)
        self.history = history

    def __reduce__(self) -> tuple[type, tuple[str, Any]]:
        return type(self), (str(self), self.history)


class ReturnOnInterrupt:
    """A callback with which `fit` returns its history after Ctrl-C, with a RuntimeWarning.

    For a script or a notebook cell that goes on with the network as it is then.
    """

    def __repr__(self) -> str:
        return "ReturnOnInterrupt()"

    def on_interrupt(self, network: Any, history: History) -> bool:
        """True: `fit` returns."""
        return True


def raises_interrupted(function: Function) -> Function:
    """A decorator: Ctrl-C before the first epoch, such as while compiling, is Interrupted too."""

    @functools.wraps(function)
    def raising(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except Interrupted:
            raise
        except KeyboardInterrupt:
            raise Interrupted("training interrupted before the first epoch", History()) from None

    return cast(Function, raising)


def finished(training: Any) -> History:
    """The history of a training that has run. Raises Interrupted where Ctrl-C has ended it."""
    history: History = training.history
    if history.interrupted:
        done, epochs = len(history), training.plan.epochs
        message = f"training interrupted after {done} of {epochs} epochs"
        if not training.callbacks.tell("on_interrupt", training.network, history):
            raise Interrupted(message, history)
        warn(message)
    return history
