"""The subcommands of `python -m fastbackprop`.

`demo`, `compare` and `warmup` have `add_arguments(parser)` and `run(arguments)`, which returns an
exit code; the other modules are what `compare` is made of.
"""

import importlib
from types import ModuleType

from fastbackprop.callbacks import History


class UsageError(Exception):
    """Something the user can mend; its text is all they need to see."""


def require(module: str, otherwise: Exception) -> ModuleType:
    """Import an optional package, or raise `otherwise` where it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and module.split(".")[0] == error.name.split(".")[0]:
            raise otherwise from None
        raise


def finished(history: History) -> None:
    """After a `fit`, for which Ctrl-C is the end of the training: it is the command's end too."""
    if history.interrupted:
        raise KeyboardInterrupt
