"""Whether Numba can be imported and compiles, asked without importing it where that is possible."""

import functools
import os
import sys
from importlib import import_module
from typing import Any

from fastbackprop.jit.interrupts import deferred


def jit_disabled() -> bool:
    """Whether NUMBA_DISABLE_JIT is set, in the environment or in Numba's own file.

    As Numba reads it; where Numba has been imported, its own setting counts.
    """
    config: Any = sys.modules.get("numba.core.config")
    if config is None and os.path.isfile(".numba_config.yaml"):
        config = numba_or_none() and sys.modules["numba.core.config"]
    if config is not None:
        return bool(config.DISABLE_JIT)
    try:
        return bool(int(os.environ.get("NUMBA_DISABLE_JIT", 0)))
    except ValueError:  # Numba warns and ignores it
        return False


@functools.cache
def import_error() -> str | None:
    """Why Numba cannot be imported, or None if it can."""
    try:
        with deferred():
            import_module("numba")
    except ImportError as error:
        return str(error)
    return None


def numba_or_none() -> Any:
    """The package Numba, if it can be imported."""
    return None if import_error() else import_module("numba")


def compiles() -> bool:
    """Whether Numba is there and compiles."""
    return not jit_disabled() and import_error() is None


def available_processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
