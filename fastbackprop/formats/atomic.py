"""A file that is there as a whole or not at all."""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

try:
    import fcntl
except ImportError:  # not POSIX: an open file can be neither renamed nor removed there
    fcntl = None  # type: ignore[assignment]

LONGEST = 200  # bytes of a name that the temporary file's name contains: 255 is the usual limit


def write(path: str | os.PathLike[str], parts: Iterable[Any]) -> None:
    """Write the parts (bytes-like) one after the other, and only then give the file its name.

    They go to a temporary file in the same folder, onto the disk, and then take the place of what
    was there: whoever reads, and whoever looks after a crash, finds the old file or the new one.
    The new one has the permissions, and if possible the owner, of the old one. Temporary files of
    processes that were killed are removed. A device or a pipe is written to as it is.

    Raises OSError, and then the old file is as it was: PermissionError where that is read-only.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as device:
            device.writelines(parts)
        return
    target = Path(os.path.realpath(path))  # through a link: the link stays
    old = _old(target)
    _remove_abandoned(target)
    file = _temporary(target, private=old is not None)
    try:
        with file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
            if old is not None:
                _keep_permissions(file.name, old)
            if fcntl is None:
                file.close()
            Path(file.name).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(file.name)
        raise
    if os.name == "posix":  # the name, too, onto the disk; other systems cannot open a folder
        with contextlib.suppress(OSError):
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _old(target: Path) -> os.stat_result | None:
    """The file that is there. Raises PermissionError where it may not be changed."""
    try:
        old = os.stat(target)
    except FileNotFoundError:
        return None
    if not old.st_mode & 0o222 or not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "the file is read-only", str(target))
    return old


def _keep_permissions(temporary: str, old: os.stat_result) -> None:
    """Those of the old file; its group's only if the new file can be given to that group."""
    mode = stat.S_IMODE(old.st_mode)
    if hasattr(os, "chown"):
        for owner in (old.st_uid, -1):
            with contextlib.suppress(OSError):
                os.chown(temporary, owner, old.st_gid)
                break
        else:
            mode &= ~stat.S_IRWXG
    os.chmod(temporary, mode)


# --- temporary files -----------------------------------------------------------------------------

# A temporary file is locked while its process lives: one that can be locked is abandoned.


def _stem(target: Path) -> str:
    name = os.fsencode(target.name)
    return f".{target.name if len(name) <= LONGEST else hashlib.sha256(name).hexdigest()}."


def _temporary(target: Path, private: bool) -> BinaryIO:
    """A new file beside the target, locked."""
    mode = 0o600 if private else 0o666

    def opener(path: str, flags: int) -> int:
        return os.open(path, flags, mode)

    while True:
        path = target.with_name(f"{_stem(target)}{secrets.token_hex(4)}.tmp")
        file = open(path, "xb", opener=opener)
        if _lock(file.fileno()) != errno.EWOULDBLOCK and os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # another process has taken it for abandoned in between


def _lock(descriptor: int) -> int:
    """0 if the lock is ours, else the number of the error; some file systems have no locks."""
    if fcntl is None:
        return 0
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno or errno.ENOLCK
    return 0


def _remove_abandoned(target: Path) -> None:
    """Remove temporary files of this target whose process was killed."""
    ours = re.compile(re.escape(_stem(target)) + r"[0-9a-f]{8}\.tmp")
    with contextlib.suppress(OSError):
        for name in filter(ours.fullmatch, os.listdir(target.parent)):
            _remove_if_abandoned(target.with_name(name))


def _remove_if_abandoned(path: Path) -> None:
    if fcntl is None:
        with contextlib.suppress(OSError):
            path.unlink()
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode) and not _lock(descriptor):
                path.unlink()
        finally:
            os.close(descriptor)
