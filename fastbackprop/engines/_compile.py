"""The only place that knows compiler options and the disk cache.

Four decorators mark what is compiled:

- `kernel`: explicit loops over arrays, called from other kernels;
- `kernel(cached=True)`: the same, called from Python: its machine code is kept on disk;
- `inlined`: a part of a kernel with a name, put in place before compilation. It may return a view;
- `formula`: an expression in NumPy's words that means the same for scalars inside a kernel and for
  whole arrays in Python, so the loops and the loop-free engine share one text.

Nothing is compiled at import: a kernel compiles, or is read from the disk, when first called.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import platform
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps
from numba.extending import register_jitable
from numba.misc.appdirs import AppDirs

# `reassoc` lets a sum be split over vector lanes. Never `nnan` or `ninf`: with them a test for NaN
# means nothing. Nor `arcp`: the reciprocal of a tiny sum of weights overflows, the quotient not.
FASTMATH = frozenset({"contract", "reassoc", "nsz"})

# Without the runtime (`_nrt`) nothing counts references, and nothing can be allocated: a step of a
# small network takes a quarter of the time, and an allocation in a kernel is an error.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False}


def kernel(
    function: Callable | None = None, *, cached: bool = False, fastmath: frozenset = FASTMATH
) -> Any:
    """Compile explicit loops to machine code; keep it on disk with `cached=True`."""
    if function is None:
        return functools.partial(kernel, cached=cached, fastmath=fastmath)
    if numba.config.DISABLE_JIT:  # plain Python, with the arithmetic of compiled code: no warnings
        return np.errstate(all="ignore")(function)
    dispatcher = numba.njit(fastmath=set(fastmath), **OPTIONS)(function)
    if cached:
        dispatcher._cache = DiskCache(function)
    return dispatcher


def inlined(function: Callable) -> Any:
    """Put the function's body where it is called.

    Every level of calls below a kernel is optimised anew with the level above it: without this the
    first fit compiles for 6.5 s, with it for 4.9 s.
    """
    return (
        function if numba.config.DISABLE_JIT else numba.njit(inline="always", **OPTIONS)(function)
    )


# LLVM by itself leaves the longer ones as calls, and a loop around a call scalar: gelu's took 14 ns
# an element where it takes 2.
formula = register_jitable(inline="always", forceinline=True)


# --- the disk cache ------------------------------------------------------------------------------


DIGEST_SIZE = hashlib.sha256().digest_size


@functools.cache
def fingerprint() -> str:
    """Hash of all that decides what a kernel compiles to: sources, versions and options.

    Numba's own cache looks at the file that defines a function and at nothing else: an edit in a
    helper's file, or another compiler option, would go unseen. The processor and the argument types
    are in the name of each entry. No kernel on disk comes from `commands`.
    """
    package = Path(__file__).parents[1]
    parts = [platform.python_version(), numba.__version__, llvmlite.__version__, np.__version__]
    parts += [
        f"{name}={getattr(numba.config, name)}"
        for name in ("BOUNDSCHECK", "OPT", "DEBUGINFO_DEFAULT")
    ]
    parts.append(f"vectors={os.environ.get('FASTBACKPROP_VECTOR_BYTES')}")
    digest = hashlib.sha256("\n".join(parts).encode())
    for path in sorted({*package.rglob("*.py")} - {*package.glob("commands/*")}):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:20]


def cache_roots() -> Iterator[Path]:
    """Folders to try: NUMBA_CACHE_DIR, the user's cache directory, a private temporary one."""
    if numba.config.CACHE_DIR:
        yield Path(numba.config.CACHE_DIR) / "fastbackprop"
    yield Path(AppDirs("fastbackprop", appauthor=False).user_cache_dir)
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
    """Machine code read from a folder is executed: nobody else may be able to write there."""
    if os.name != "posix":
        return True
    status = folder.lstat()
    mine = status.st_uid in (os.getuid(), 0)
    return mine and stat.S_ISDIR(status.st_mode) and not status.st_mode & stat.S_IWOTH


class DiskCache(_Cache):
    """One file for each function, processor and signature, in `cache_directory()`.

    A file appears whole or not at all (written aside, then renamed), begins with the hash of what
    follows, and there is no index to keep in step, so any number of processes may compile at once.
    Whatever goes wrong here costs a compilation and nothing else.
    """

    def __init__(self, function: Callable) -> None:
        self._name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"

    @property
    def cache_path(self) -> str:
        return str(cache_directory())

    def _path(self, signature: Any, codegen: Any) -> Path | None:
        folder = cache_directory()
        key = hashlib.sha256(repr((signature, codegen.magic_tuple())).encode()).hexdigest()[:20]
        return folder and folder / f"{self._name}-{key}.bin"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        target_context.refresh()
        path = self._path(sig, target_context.codegen())
        if path is None or not path.exists():
            return None
        try:
            content = path.read_bytes()
            digest, payload = content[:DIGEST_SIZE], content[DIGEST_SIZE:]
            if hashlib.sha256(payload).digest() != digest:
                return None
            return CompileResult._rebuild(target_context, *pickle.loads(payload))
        except Exception:  # unreadable, or not of this Numba after all: compile it again
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        path = self._path(sig, data.codegen)
        if path is None:
            return
        with contextlib.suppress(OSError):
            aside = tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False)
            try:
                payload = dumps(data._reduce())
                with aside:
                    aside.write(hashlib.sha256(payload).digest() + payload)
                os.replace(aside.name, path)
            except BaseException:
                os.unlink(aside.name)
                raise

    def enable(self) -> None: ...

    def disable(self) -> None: ...

    def flush(self) -> None: ...
