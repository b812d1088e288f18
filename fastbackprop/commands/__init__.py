"""The subcommands of `python -m fastbackprop`.

`demo`, `compare` and `warmup` have `add_arguments(parser)` and `run(arguments)`, which returns an
exit code. `compare` starts `race` as a process, which measures each `work` on all `systems`, beside
the machine's `peak`, and writes a `report`.
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


class UsageError(Exception):
    """A mistake that the user can correct; only its text is shown."""


def require(module: str, otherwise: Exception) -> ModuleType:
    """Import an optional package; raise `otherwise` if it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and module.split(".")[0] == error.name.split(".")[0]:
            raise otherwise from None
        raise


def new_figure(option: str, path: str | os.PathLike[str], otherwise: Exception, **size: Any) -> Any:
    """Return a figure; raise UsageError if it cannot be saved under this name.

    Raises `otherwise` if matplotlib is not installed.
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


def exit_code(run: Callable[[], int | None]) -> int:
    """Run a command and return its exit code; causes outside of the program have no traceback.

    2 for a UsageError and for a full disk. Otherwise 128 plus the signal, as in shells: 130 for
    Ctrl-C, 141 if nobody reads the output any more.
    """
    try:
        if isinstance(
            sys.stdout, io.TextIOWrapper
        ):  # a path may have characters that the terminal lacks
            sys.stdout.reconfigure(errors="backslashreplace")
        code = run()
        if sys.stdout:  # it may be closed
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
            # The interpreter flushes again at its end, which must not fail.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not broken:
            print(f"python -m fastbackprop: {error.strerror}", file=sys.stderr)
        return 141 if broken else 2


def progress(done: int, total: int, text: str = "") -> None:
    """Draw a progress bar on a terminal; the next call replaces it, and the end erases it."""
    if not (sys.stderr and sys.stderr.isatty()):
        return
    line = ""
    if done < total:
        filled = 24 * done // total
        line = f"[{'#' * filled}{'.' * (24 - filled)}] {done} of {total}  {text}"
    columns = shutil.get_terminal_size().columns - 1
    print(f"\r\033[K{line[:columns]}", end="", file=sys.stderr, flush=True)
