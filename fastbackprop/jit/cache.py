"""Machine code on the disk: which folder, which file, and what it depends on."""

import contextlib
import functools
import hashlib
import os
import pickle
import platform
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import llvmlite
import numba
import numpy as np

from fastbackprop.jit.numba_internals import (
    KERNELS,
    Cache,
    Kernel,
    digest,
    dumps,
    processor,
    rebuilt,
    serialised,
)

# Where kernels, and all that is compiled into them, come from.
ROOMS = ("jit", "layout", "samples", "functions", "engines", "analysis", "optimizers")
DIGEST_SIZE = hashlib.sha256().digest_size


def identity(function: Callable) -> Any:
    """What tells a kernel from all others of this version of the package, in any process.

    Its name and what its closure holds; None if that is more than numbers and our own functions.
    """
    module = function.__module__
    if not any(f"{module}.".startswith(f"fastbackprop.{room}.") for room in ROOMS):
        return None
    parts: list[Any] = [module, function.__qualname__]
    for cell in function.__closure__ or ():
        value = cell.cell_contents
        if isinstance(value, Kernel):
            value = value.identity
        elif isinstance(value, FunctionType):
            value = identity(value)
        if not isinstance(value, int | float | tuple):
            return None
        parts.append(value)
    return tuple(parts)


@functools.cache
def fingerprint() -> str:
    """Hash of all that decides what a kernel compiles to: sources, versions and options.

    Numba's own cache looks at the file that defines a function and at nothing else: an edit in a
    helper's file, or another compiler option, would go unseen. The processor and the argument types
    are in the name of each file. The sources are those of the ROOMS.
    """
    package = Path(__file__).parents[1]
    parts = [platform.python_version(), numba.__version__, llvmlite.__version__, np.__version__]
    parts += [
        f"{name}={getattr(numba.config, name)}"
        for name in ("BOUNDSCHECK", "OPT", "DEBUGINFO_DEFAULT")
    ]
    parts.append(f"vectors={os.environ.get('FASTBACKPROP_VECTOR_BYTES')}")
    digest = hashlib.sha256("\n".join(parts).encode())
    sources = [
        path
        for room in ROOMS
        for path in (*package.glob(f"{room}.py"), *package.glob(f"{room}/**/*.py"))
    ]
    for path in sorted(sources):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:20]


def user_cache_directory() -> Path:
    """The user's folder for caches, as each system has it."""
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA") or os.path.expanduser(r"~\AppData\Local")
        return Path(local) / "fastbackprop" / "Cache"
    if sys.platform == "darwin":
        return Path(os.path.expanduser("~/Library/Caches")) / "fastbackprop"
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "fastbackprop"


def cache_roots() -> Iterator[Path]:
    """Folders to try: NUMBA_CACHE_DIR, the user's cache directory, a private temporary one."""
    if numba.config.CACHE_DIR:
        yield Path(numba.config.CACHE_DIR) / "fastbackprop"
    yield user_cache_directory()
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    with contextlib.suppress(OSError):  # there may be none
        yield Path(tempfile.gettempdir()) / f"fastbackprop-{user}"


@functools.cache
def cache_directory() -> Path | None:
    """The folder that holds this version's machine code, or None where no folder can be used."""
    for root in cache_roots():
        with contextlib.suppress(OSError):
            folder = root / fingerprint()
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            private = _is_private(root) and _is_private(folder)
            if private and (os.access(folder, os.W_OK) or any(folder.iterdir())):
                return folder
    return None


def _is_private(folder: Path) -> bool:
    """Whether nobody else may write there: machine code read from a folder is executed."""
    if os.name != "posix":
        return True
    status = folder.lstat()
    mine = status.st_uid in (os.getuid(), 0)
    return mine and stat.S_ISDIR(status.st_mode) and not status.st_mode & stat.S_IWOTH


class DiskCache(Cache):
    """One file for each function, processor and signature, in `cache_directory()`.

    A file appears whole or not at all (written aside, then renamed), begins with the hash of the
    rest, and there is no index to keep in step, so any number of processes may compile at once.
    Whatever goes wrong here costs a compilation and nothing else.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    @property
    def cache_path(self) -> str:
        return str(cache_directory())

    def _path(self, signature: Any, codegen: Any) -> Path | None:
        folder = cache_directory()
        name = digest((self._kernel.identity, signature, processor(codegen)))
        return folder and folder / f"{self._kernel.__name__}-{name}.bin"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        # Numba's own cache first refreshes the context: that imports all it can compile, and SciPy.
        # Machine code needs none of it.
        path = self._path(sig, target_context.codegen())
        if path is None or not path.exists():
            return None
        try:
            content = path.read_bytes()
            expected, payload = content[:DIGEST_SIZE], content[DIGEST_SIZE:]
            if hashlib.sha256(payload).digest() != expected:
                return None
            calls, parts = pickle.loads(payload)
            for kernel, argument_types in calls:  # before this code is linked with their symbols
                KERNELS[kernel].compile(argument_types)
            self._kernel.calls[sig] = calls
            return rebuilt(target_context, parts)
        except Exception:  # unreadable, or not of this Numba after all: compile it again
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        path, calls = self._path(sig, data.codegen), self._kernel.calls[sig]
        if path is None or any(kernel is None for kernel, _ in calls):
            return
        with contextlib.suppress(Exception):
            payload = dumps((calls, serialised(data)))
            aside = tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False)
            try:
                with aside:
                    aside.write(hashlib.sha256(payload).digest() + payload)
                os.replace(aside.name, path)
            except BaseException:
                os.unlink(aside.name)
                raise

    def enable(self) -> None: ...

    def disable(self) -> None: ...

    def flush(self) -> None: ...
