"""Machine code on the disk: which folder, which file, and what it depends on.

There are two places. A wheel may bring machine code along for the levels of `jit.processor`, in the
package; what is not there is compiled, and kept in a folder of the user's. Files are the same, so
code from both places mixes.
"""

import contextlib
import functools
import hashlib
import json
import logging
import os
import pickle
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import llvmlite
import numba

from fastbackprop.jit.folder import Locks, opened
from fastbackprop.jit.numba_internals import (
    KERNELS,
    Cache,
    Kernel,
    compiled_for,
    digest,
    dumps,
    pause,
)
from fastbackprop.jit.numba_internals.files import interpreter, kept, rebuilt
from fastbackprop.jit.processor import VECTOR_BYTES, Level, level

log = logging.getLogger("fastbackprop")

PACKAGE = Path(__file__).parents[1]
SHIPPED = PACKAGE / "machine_code"  # in a wheel: a folder of files, beside these two:
CONTENTS = "contents.json"  # what the files depend on, and the levels that they are for
DICTIONARY = "dictionary"  # what they are compressed with

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


# --- what machine code depends on ----------------------------------------------------------------


@functools.cache
def ingredients() -> dict[str, Any]:
    """All that decides what a kernel compiles to, but for the processor and the argument types.

    Those are in the name of each file. Numba's own cache looks at the file that defines a function
    and at nothing else: an edit in a helper's file, or another compiler option, would go unseen.
    The sources are those of the ROOMS. Machine code reads Python's objects and NumPy's arrays by
    functions of Numba, so it depends on no version of the two.
    """
    options = ("BOUNDSCHECK", "OPT", "DEBUGINFO_DEFAULT")
    sources = hashlib.sha256()
    files = [
        path
        for room in ROOMS
        for path in (*PACKAGE.glob(f"{room}.py"), *PACKAGE.glob(f"{room}/**/*.py"))
    ]
    for path in sorted(files):
        # Git and editors may change the ends of lines, which means nothing to Python.
        text = path.read_bytes().replace(b"\r\n", b"\n")
        sources.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + text)
    return {
        "sources": sources.hexdigest(),
        "Numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
        "system": sys.platform,
        "interpreter": interpreter(),
        "options": {name: str(getattr(numba.config, name)) for name in options},
    }


@functools.cache
def fingerprint() -> str:
    """Hash of the ingredients."""
    return digest(sorted(ingredients().items()))


def target(codegen: Any) -> tuple[str, ...]:
    """The processors that code is compiled for: those of a level, or this one alone."""
    level = compiled_for(codegen)
    return (level.cpu, level.features) if level else codegen.magic_tuple()


# --- machine code in the package -----------------------------------------------------------------


class Shipped:
    """What the package brings along for this process.

    Attributes
    ----------
    level : Level or None
        The level whose files are used.
    why_not : str
        Why there is none; "" if there is.
    """

    def __init__(self) -> None:
        self.level: Level | None = None
        self.why_not = self._why_not()
        if self.why_not:
            log.info("no machine code from the package: %s", self.why_not)
        else:
            self.level = level()

    def _why_not(self) -> str:
        try:
            contents = json.loads((SHIPPED / CONTENTS).read_text("utf-8"))
            made_with, levels = contents["ingredients"], contents["levels"]
            changed = [name for name, here in ingredients().items() if made_with.get(name) != here]
        except FileNotFoundError:
            return "this build has none"
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            return f"{SHIPPED / CONTENTS} cannot be read ({error})"
        if changed:
            return f"it was made with another {' and another '.join(changed)}"
        here = level()
        if here is None:
            return "it is for no processor like this one, or Numba is told of another one"
        if here.cpu not in levels:
            return f"it is for {', '.join(levels)}, and this processor is {here.cpu}"
        return ""


@functools.cache
def shipped() -> Shipped:
    """What the package brings along."""
    return Shipped()


def pack(files: Iterable[Path], folder: Path, levels: Iterable[Level]) -> None:
    """Make a folder SHIPPED of files of the cache that are for these levels.

    The files have many names and types in common. Compressed with some of them as zlib's dictionary
    they take two thirds of the space.
    """
    by_name = {path.name: path.read_bytes() for path in sorted(files)}
    typical = [content for content in by_name.values() if 4000 < len(content) < 12000]
    dictionary = b"".join(typical[:: max(1, len(typical) // 4)])[:32768]
    described = {"ingredients": ingredients(), "levels": [level.cpu for level in levels]}
    (folder / CONTENTS).write_text(json.dumps(described, indent=1), "utf-8")
    (folder / DICTIONARY).write_bytes(dictionary)
    for name, content in by_name.items():
        packer = zlib.compressobj(9, zdict=dictionary)
        (folder / name).write_bytes(packer.compress(content) + packer.flush())


def unpacked(path: Path) -> bytes | None:
    """A file of SHIPPED as it was; it is as trusted as the modules beside it."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    return zlib.decompressobj(zdict=_dictionary(path.parent)).decompress(content)


@functools.cache
def _dictionary(folder: Path) -> bytes:
    return (folder / DICTIONARY).read_bytes()


# --- the user's folder ---------------------------------------------------------------------------


def user_cache_directory() -> Path:
    """The user's folder for caches, as each system has it; relative if no home is known."""
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA") or os.path.expanduser(r"~\AppData\Local")
        return Path(local) / "fastbackprop" / "Cache"
    if sys.platform == "darwin":
        return Path(os.path.expanduser("~/Library/Caches")) / "fastbackprop"
    # The standard of XDG_CACHE_HOME says that a relative one is to be ignored.
    given = os.environ.get("XDG_CACHE_HOME", "")
    base = given if os.path.isabs(given) else os.path.expanduser("~/.cache")
    return Path(base) / "fastbackprop"


def cache_roots() -> Iterator[Path]:
    """Folders to try: NUMBA_CACHE_DIR, the user's cache directory, a private temporary one."""
    if numba.config.CACHE_DIR:
        yield Path(numba.config.CACHE_DIR) / "fastbackprop"
    yield user_cache_directory()
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    with contextlib.suppress(OSError):  # there may be none
        yield Path(tempfile.gettempdir()) / f"fastbackprop-{user}"


def refused_roots() -> list[str]:
    """Why the folders before the one in use cannot be used."""
    return _found_directory()[1]


def cache_directory() -> Path | None:
    """The folder that holds this version's machine code, or None where no folder can be used."""
    return _found_directory()[0]


@functools.cache
def _found_directory() -> tuple[Path | None, list[str]]:
    refused: list[str] = []
    for root in cache_roots():
        folder = root / fingerprint()
        try:
            with opened(folder, N_OWN, make=True):
                if os.access(folder, os.W_OK) or any(folder.iterdir()):
                    return folder, refused
            refused.append(f"{folder} is empty and read-only")
        except OSError as error:
            refused.append(str(error))
            log.info("a folder cannot hold machine code: %s", error)
    return None, refused


PATIENCE = 120.0  # seconds for another process that compiles: it may have been stopped
N_OWN = 2  # the root and the folder of the fingerprint are ours: no links


@functools.cache
def _clean(folder: Path) -> None:
    """Once in a process that writes there."""
    with opened(folder, N_OWN) as here:
        here.clean()


@functools.cache
def _locks(folder: Path) -> Locks | None:
    try:
        with opened(folder, N_OWN) as here:
            return here.locks()
    except OSError:
        return None


# --- files ---------------------------------------------------------------------------------------


class DiskCache(Cache):
    """One file for each function, processor and signature.

    A file appears whole or not at all, begins with the hash of the rest, and there is no index to
    keep in step, so any number of processes may compile at once. One waits for another that
    compiles the same. Whatever goes wrong here costs a compilation and a line in the log, and
    nothing else.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._held: list[tuple[Locks, int]] = []

    @property
    def cache_path(self) -> str:
        return str(cache_directory())

    def _name(self, signature: Any, target: tuple[str, ...]) -> str:
        key = digest((self._kernel.identity, signature, target, VECTOR_BYTES))
        return f"{self._kernel.__name__}-{key}.bin"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        # Numba's own cache first refreshes the context: that imports all it can compile, and SciPy.
        # Machine code needs none of it.
        level = shipped().level
        if level is not None:
            path = SHIPPED / self._name(sig, (level.cpu, level.features))
            loaded = self._loaded(path, sig, target_context, unpacked)
            if loaded is not None:
                return loaded
        folder = cache_directory()
        if folder is None:
            return None
        path = folder / self._name(sig, target(target_context.codegen()))
        loaded = self._loaded(path, sig, target_context, _read_private)
        if loaded is None and self._lock(folder, path.stem):
            loaded = self._loaded(path, sig, target_context, _read_private)
        return loaded

    def _lock(self, folder: Path, name: str) -> bool:
        """Wait while another process compiles this; whether one did."""
        locks, number = _locks(folder), int(name.rpartition("-")[2][:15], 16)
        if locks is None:
            return False
        waited, patience = False, time.monotonic() + PATIENCE
        while not locks.acquire(number):
            if time.monotonic() > patience:
                log.info("another process compiles %s for %g seconds", self._kernel, PATIENCE)
                return False
            pause()
            time.sleep(0.02)
            waited = True
        self._held.append((locks, number))
        return waited

    def unlock(self) -> None:
        """Other processes may compile what this one has compiled, or failed to."""
        while self._held:
            locks, number = self._held.pop()
            locks.release(number)

    def _loaded(self, path: Path, sig: Any, target_context: Any, read: Callable) -> Any:
        try:
            content = read(path)
            if content is None:
                return None
            expected, payload = content[:DIGEST_SIZE], content[DIGEST_SIZE:]
            if hashlib.sha256(payload).digest() != expected:
                raise ValueError("it is damaged")
            calls, parts = pickle.loads(payload)
            for kernel, argument_types in calls:  # before this code is linked with their symbols
                KERNELS[kernel].compile(argument_types)
            compiled = rebuilt(target_context, parts)
            self._kernel.calls[sig] = calls
            return compiled
        except Exception as error:  # unreadable, or not of this Numba after all: compile it again
            log.info("%s is compiled again: %s cannot be used (%s)", self._kernel, path, error)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        folder, calls = cache_directory(), self._kernel.calls[sig]
        if folder is None or any(kernel is None for kernel, _ in calls):
            return
        try:
            payload = dumps((calls, kept(data, self._kernel.linked)))
            _clean(folder)
            with opened(folder, N_OWN) as here:
                name = self._name(sig, target(data.codegen))
                here.write(name, hashlib.sha256(payload).digest() + payload)
        except Exception as error:
            log.info("the machine code of %s is not kept: %s", self._kernel, error)

    def enable(self) -> None: ...

    def disable(self) -> None: ...

    def flush(self) -> None: ...


def _read_private(path: Path) -> bytes | None:
    with opened(path.parent, N_OWN) as folder:
        return folder.read(path.name)
