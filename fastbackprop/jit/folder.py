"""Files in folders that nobody else can write to: machine code that is read is executed."""

import contextlib
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Windows has no descriptors of folders, and its folders of a user are closed to others by default.
DESCRIPTORS = os.open in os.supports_dir_fd
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_BYTES = getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)  # nor wait for a pipe's writer
HOUR = 3600.0
LOCKS = "locks"  # a file without content


class Locks:
    """Numbers that the system gives to one process at a time, for as long as that lives.

    They are the bytes of a file. A process that closes the file loses all of them, so one object
    serves a folder, to the end of the process.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def acquire(self, number: int) -> bool:
        """Whether another process does not have it."""
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except (BlockingIOError, PermissionError):
            return False
        except OSError:  # a file system without locks: everybody has it
            return True
        return True

    def release(self, number: int) -> None:
        """Let another process have it."""
        with contextlib.suppress(OSError):
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, number)


class Folder:
    """An open folder. Its files appear whole or not at all."""

    def __init__(self, path: str, descriptor: int | None) -> None:
        self._path, self._descriptor = path, descriptor

    def _name(self, name: str) -> str:
        return name if self._descriptor is not None else os.path.join(self._path, name)

    def _open(self, name: str, flags: int) -> int:
        flags |= _NO_LINK | _BYTES
        return os.open(self._name(name), flags, 0o644, dir_fd=self._descriptor)

    def _remove(self, name: str) -> None:
        os.unlink(self._name(name), dir_fd=self._descriptor)

    def read(self, name: str) -> bytes | None:
        """The content of a file, or None if there is none.

        Raises OSError if it cannot be read, or if it is not a file of this user or of root.
        """
        try:
            descriptor = self._open(name, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise PermissionError(f"{name} is not a file")
            _refuse_others(status, name)
            with open(descriptor, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(descriptor)

    def write(self, name: str, content: bytes) -> None:
        """Make or replace a file."""
        aside = f".{name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
        try:
            with open(self._open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
                file.write(content)
            here = self._descriptor
            os.replace(self._name(aside), self._name(name), src_dir_fd=here, dst_dir_fd=here)
        except BaseException:
            with contextlib.suppress(OSError):
                self._remove(aside)
            raise

    def locks(self) -> Locks | None:
        """The folder's; None where the system has none or nothing can be written."""
        try:
            return Locks(self._open(LOCKS, os.O_RDWR | os.O_CREAT)) if fcntl else None
        except OSError:
            return None

    def clean(self) -> None:
        """Remove what processes left here that were killed while they wrote."""
        for name in os.listdir(self._path):
            if name.endswith(".tmp"):
                with contextlib.suppress(OSError):
                    status = os.stat(self._name(name), dir_fd=self._descriptor)
                    if time.time() - status.st_mtime > HOUR:
                        self._remove(name)


@contextlib.contextmanager
def opened(path: Path, n_own: int, *, make: bool = False) -> Iterator[Folder]:
    """Open a folder that nobody but this user and root can write to, nor move away.

    Every folder from the root of the file system on is opened in the one before and checked: what
    was checked is what is used. The last `n_own` may not be links, nor may others write there
    under the protection of a sticky bit. With `make`, missing folders are made.

    Raises OSError if there is no such folder.
    """
    if not path.is_absolute():
        raise PermissionError(f"{path} is relative: it depends on the working directory")
    if not DESCRIPTORS:
        if make:
            path.mkdir(parents=True, exist_ok=True)
        yield Folder(os.fspath(path.resolve(strict=True)), None)
        return
    own = path.parts[-n_own:]
    base = Path(os.path.realpath(path.parents[n_own - 1]))
    names = (*base.parts[1:], *own)
    descriptor, here = os.open(base.anchor, _FOLDER), Path(base.anchor)
    try:
        for depth, name in enumerate(names, 1):
            inner, here = _inner(descriptor, name, make), here / name
            os.close(descriptor)
            descriptor = inner
            _refuse_others(os.fstat(descriptor), here, sticky=depth <= len(base.parts) - 1)
        yield Folder(os.fspath(here), descriptor)
    finally:
        os.close(descriptor)


def readable_by_all(path: Path) -> bool:
    """Whether every user may open the files of this folder."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents))


def _inner(outer: int, name: str, make: bool) -> int:
    try:
        return os.open(name, _FOLDER | _NO_LINK, dir_fd=outer)
    except FileNotFoundError:
        if not make:
            raise
    with contextlib.suppress(FileExistsError):  # another process was faster
        os.mkdir(name, 0o755, dir_fd=outer)  # others may read: they trust what root has compiled
    return os.open(name, _FOLDER | _NO_LINK, dir_fd=outer)


def _refuse_others(status: os.stat_result, path: object, sticky: bool = False) -> None:
    """Raise PermissionError if others own it or can write to it.

    In a `sticky` folder others can write, but not move or remove what is not theirs.
    """
    if not DESCRIPTORS:
        return
    if status.st_uid not in (os.geteuid(), 0):
        raise PermissionError(f"{path} belongs to another user")
    others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if others and not (sticky and status.st_mode & stat.S_ISVTX):
        raise PermissionError(f"others can write to {path}")
