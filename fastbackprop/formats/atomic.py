"""A file that is there as a whole or not at all."""

import contextlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write(path: str | os.PathLike[str], parts: Iterable[Any]) -> None:
    """Write the parts (bytes-like) one after the other, and only then give the file its name.

    They go to a temporary file in the same folder, onto the disk, and then take the place of what
    was there: whoever reads, and whoever looks after a crash, finds the old file or the new one.
    Raises OSError, and then the old file is as it was. A device or a pipe is written to as it is.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as file:
            file.writelines(parts)
        return
    target = Path(os.path.realpath(path))  # through a link: the link stays
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if os.name == "posix":  # the name, too, onto the disk; other systems cannot open a folder
        with contextlib.suppress(OSError):
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
