"""The subcommands of `python -m fastbackprop`.

`demo`, `compare` and `warmup` have `add_arguments(parser)` and `run(arguments)`, which returns an
exit code; the other modules are what `compare` is made of.
"""

import contextlib
import errno
import importlib
import io
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from fastbackprop.training import History


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


def new_figure(option: str, path: str | os.PathLike[str], otherwise: Exception, **size: Any) -> Any:
    """A figure that can be saved under this name, or a UsageError that says why not.

    Raises `otherwise` where matplotlib is not installed.
    """
    figure = require("matplotlib.figure", otherwise).Figure(
        facecolor="white", layout="constrained", **size
    )
    formats = figure.canvas.get_supported_filetypes()
    if Path(path).suffix[1:].lower() not in formats:
        raise UsageError(
            f"{option} {path}: the name must end in one of {', '.join(sorted(formats))}"
        )
    return figure


def finished(history: History) -> None:
    """After a `fit`, for which Ctrl-C is the end of the training: it is the command's end too."""
    if history.interrupted:
        raise KeyboardInterrupt


def exit_code(run: Callable[[], int | None]) -> int:
    """Run a command; what a user, or the reader of a pipe, did is a code and not a traceback.

    2 for a UsageError and for a full disk; else as shells have it, 128 and the signal: 130 for
    Ctrl-C, 141 where nobody reads the output any more.
    """
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):  # of a path, what the terminal has no sign for
            sys.stdout.reconfigure(errors="backslashreplace")
        code = run()
        if sys.stdout:  # there may be none
            sys.stdout.flush()
        return code or 0
    except UsageError as error:
        progress(1, 1)
        print(f"python -m fastbackprop: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        progress(1, 1)
        return 130
    except OSError as error:
        broken = isinstance(error, BrokenPipeError)
        if not broken and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        if sys.stdout:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
            # What cannot leave the buffer must not fail at the interpreter's end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not broken:
            print(f"python -m fastbackprop: {error.strerror}", file=sys.stderr)
        return 141 if broken else 2


def progress(done: int, total: int, text: str = "") -> None:
    """A bar on a terminal, in a line that the next call replaces; where all is done, it is gone."""
    if not (sys.stderr and sys.stderr.isatty()):
        return
    line = ""
    if done < total:
        filled = 24 * done // total
        line = f"[{'#' * filled}{'.' * (24 - filled)}] {done} of {total}  {text}"
    columns = shutil.get_terminal_size().columns - 1
    print(f"\r\033[K{line[:columns]}", end="", file=sys.stderr, flush=True)
