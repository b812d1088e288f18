"""Ctrl-C during a training."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fastbackprop.machine import Pause


@contextmanager
def deferred_interrupt() -> Iterator[Pause]:
    """Ctrl-C waits for a call of what this yields, or for the end of the block.

    So it cannot land inside a step. Outside the main thread, where Python raises no
    KeyboardInterrupt, and where somebody else handles the signal, nothing is changed.
    """
    seen: list[int] = []

    def interrupt() -> None:
        if seen:
            raise KeyboardInterrupt

    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if not ours:
        yield interrupt
        return
    signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupt()
