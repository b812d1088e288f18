"""Ctrl-C during a training."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupts:
    """Ctrl-C while the `with` block runs: it waits inside `with interrupts.deferred`.

    So it cannot land inside a step. Elsewhere in the block it is raised at once, as always. Outside
    the main thread, where Python raises no KeyboardInterrupt, and where somebody else handles the
    signal, nothing is changed.
    """

    def __init__(self) -> None:
        self.deferred = _Deferred(self)
        self.waits = self.seen = False
        self._before: Any = None

    def __enter__(self) -> "Interrupts":
        before: Any = signal.getsignal(signal.SIGINT)
        ours = before is signal.default_int_handler or isinstance(before, Interrupts)
        if ours and threading.current_thread() is threading.main_thread():
            self._before = before
            signal.signal(signal.SIGINT, self)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._before is not None:
            now: Any = signal.signal(signal.SIGINT, self._before)
            if now is not self and now is not None:  # a callback's
                signal.signal(signal.SIGINT, now)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The handler of the signal."""
        if not self.waits:
            raise KeyboardInterrupt
        self.seen = True

    def check(self) -> None:
        """Raise KeyboardInterrupt if one has waited since the last deferred block began."""
        if self.seen:
            raise KeyboardInterrupt


class _Deferred:
    """An interrupt waits for `check`, or for the end of the block."""

    def __init__(self, interrupts: Interrupts) -> None:
        self._interrupts = interrupts

    def __enter__(self) -> None:
        self._interrupts.seen, self._interrupts.waits = False, True

    def __exit__(self, kind: type | None, *exception: object) -> None:
        self._interrupts.waits = False
        if kind is None:
            self._interrupts.check()


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], None]]:
    """Ctrl-C waits for the end of the block, or for a call of what this yields."""
    with Interrupts() as interrupts, interrupts.deferred:
        yield interrupts.check
