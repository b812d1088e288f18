"""Ways out of this package and into it: one file for each format.

Formats stand below `Network`: writers ask a network for its public attributes, readers return a
`dense.Dense`, of which `Network` makes itself. C and NumPy files are written from the text of the
activations' formulas; PyTorch and scikit-learn know activations by name, in a table in each file.
"""

from importlib import import_module
from typing import Any

_WRITERS = {"write_c": "c_source", "write_numpy": "numpy_source"}

__all__ = ["write_c", "write_numpy"]


def __getattr__(name: str) -> Any:
    """The writers, on first use: `import fastbackprop` does not need them."""
    if name in _WRITERS:
        return getattr(import_module(f"{__name__}.{_WRITERS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
