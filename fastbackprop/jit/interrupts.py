"""Ctrl-C and forks wait while something is in progress that must not be left half done.

Python raises KeyboardInterrupt between any two instructions. Where Numba is being imported, or
fills its registries, that leaves them half full, and every later compilation fails.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


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


def hold_before_forks(lock: Any) -> None:
    """Let a fork wait for the lock.

    A child has no thread that would release it, and all data as it was in the middle of something.
    """
    held: list[bool] = []

    def before() -> None:
        lock.acquire()
        held.append(True)

    def after() -> None:
        if held:  # not if Ctrl-C ended the wait
            held.pop()
            lock.release()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before, after_in_parent=after, after_in_child=after)
