"""Ways out of this package and into it: one file for each format, one table of functions in each.

A table says how the format writes each activation, under the activation's name: to add one is one
line. What a format lacks is refused with a list of what it has.
"""

from importlib import import_module
from typing import Any

_WRITERS = {"write_c": "c_source", "write_numpy": "numpy_source"}

__all__ = ["write_c", "write_numpy"]


def __getattr__(name: str) -> Any:
    """The writers, on first use: they build on `Network`, which builds on `safetensors` here."""
    if name in _WRITERS:
        return getattr(import_module(f"{__name__}.{_WRITERS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
