"""Ctrl-C waits while something is in progress that must not be left half done.

Python raises KeyboardInterrupt between any two instructions. Where Numba is being imported, or
fills its registries, that leaves them half full, and every later compilation fails.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def deferred() -> Iterator[Callable[[], None]]:
    """Ctrl-C waits for a call of what this yields, or for the end of the block.

    Then whoever handled the signal before handles it: by default, KeyboardInterrupt is raised.
    Outside the main thread, where Python runs no handlers, nothing is changed.
    """
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield _nothing
        return
    seen: list[tuple[int, FrameType | None]] = []

    def act() -> None:
        if seen:
            number, frame = seen[0]
            seen.clear()
            handler(number, frame)

    signal.signal(signal.SIGINT, lambda number, frame: seen.append((number, frame)))
    try:
        yield act
    finally:
        signal.signal(signal.SIGINT, handler)
        act()


def _nothing() -> None: ...
