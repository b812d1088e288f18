"""The only place that knows compiler options and the disk cache.

Three decorators mark what is compiled:

- `kernel`: explicit loops over arrays. Machine code of its own, made once for each signature, kept
  on disk, and called by its name from other kernels, as C's functions from other files are. What
  follows is not made anew when a kernel above it is. With `entry=True` Python can call it too; with
  `linked=True` it is optimised together with each kernel that calls it: short ones, and the
  innermost of a product;
- `inlined`: a part of a kernel with a name, put in place before compilation. It may return a view;
- `formula`: an expression in NumPy's words that means the same for scalars inside a kernel and for
  whole arrays in Python, so the loops and the loop-free engine share one text.

Nothing is compiled at import: a kernel compiles, or is read from the disk, when first called.
"""

import contextlib
import copy
import functools
import gc
import hashlib
import os
import pickle
import platform
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import cgutils, types
from numba.core.caching import _Cache
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.imputils import user_function
from numba.core.registry import CPUDispatcher
from numba.core.serialize import dumps
from numba.extending import intrinsic, register_jitable
from numba.misc.appdirs import AppDirs

# `reassoc` lets a sum be split over vector lanes. Never `nnan` or `ninf`: with them a test for NaN
# means nothing. Nor `arcp`: the reciprocal of a tiny sum of weights overflows, the quotient not.
FASTMATH = frozenset({"contract", "reassoc", "nsz"})

# For what is rounded in a formula and must not be rearranged.
EXACT = frozenset({"contract", "nsz"})

# Without the runtime (`_nrt`) nothing counts references, and nothing can be allocated: a step of a
# small network takes a quarter of the time, and an allocation in a kernel is an error.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False}


def kernel(
    function: Callable | None = None,
    *,
    entry: bool = False,
    linked: bool = False,
    fastmath: frozenset = FASTMATH,
) -> Any:
    """Compile explicit loops to machine code; see the top of this file."""
    if function is None:
        return functools.partial(kernel, entry=entry, linked=linked, fastmath=fastmath)
    if numba.config.DISABLE_JIT:  # plain Python, with the arithmetic of compiled code: no warnings
        return np.errstate(all="ignore")(function)
    return (Kernel if entry else Inner)(function, entry, linked, fastmath)


def inlined(function: Callable) -> Any:
    """Put the function's body where it is called."""
    if numba.config.DISABLE_JIT:
        return function
    return numba.njit(inline="always", **OPTIONS)(function)


# LLVM by itself leaves the longer ones as calls, and a loop around a call scalar: gelu's took 14 ns
# an element where it takes 2. Not inlined by Numba, which then looks for dead code, and takes an
# array that it does not know for an argument's (a field of a tuple out of a tuple) for nobody's.
formula = register_jitable(forceinline=True)


# --- kernels -------------------------------------------------------------------------------------


class _Library(JITCodeLibrary):
    """The code of a kernel, optimised once, as a whole.

    Numba's passes before that, over each function and for counted references, find nothing here
    that the last one does not.
    """

    def _optimize_functions(self, module: Any) -> None: ...

    def _optimize_final_module(self) -> None:
        passes = self._codegen._module_pass_manager()
        manager, *builder = passes if isinstance(passes, tuple) else (passes,)
        manager.run(self._final_module, *builder)


class _LinkedLibrary(_Library):
    """The code of a linked kernel: it is optimised and compiled in the kernels that call it."""

    def _optimize_final_module(self) -> None: ...

    def _finalize_final_module(self) -> None:
        self._finalized = True


class _Compiler(Compiler):
    library = _Library

    def compile_extra(self, func: Any) -> Any:
        self.state.library = self.library(self.state.targetctx.codegen(), func.__qualname__)
        self.state.library.enable_object_caching()
        return super().compile_extra(func)


class _LinkedCompiler(_Compiler):
    library = _LinkedLibrary

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.state.flags.no_compile = True


class Kernel(CPUDispatcher):
    """A kernel's compiled versions, one for each signature.

    Numba copies the code of what a function calls into the function and optimises all of it again:
    with a dozen levels most of a compilation is repetition. Here a call is a call of a symbol, as
    between the object files of a C program, and the symbol's name depends on nothing but the kernel
    and the signature, so machine code from the disk finds what it calls, whoever compiled that.
    """

    def __init__(self, function: Callable, entry: bool, linked: bool, fastmath: frozenset) -> None:
        self.identity = identity(function)
        if self.identity is not None:
            # Numba tells closures of one name apart by a number, and numbers them anew in each
            # process: machine code from the disk would meet other code of the same name.
            function = _renamed(function, f"{function.__qualname__}.{_digest(self.identity)}")
        options = OPTIONS | {"nopython": True, "fastmath": set(fastmath), "no_cfunc_wrapper": True}
        options |= {"no_cpython_wrapper": not entry, "forceinline": linked}
        pipeline = _LinkedCompiler if linked and not entry else _Compiler
        super().__init__(function, targetoptions=options, pipeline_class=pipeline)
        self.linked = linked
        self.calls: dict[Any, list[Call]] = {}  # the symbols in each version's code
        if self.identity is not None:
            KERNELS[self.identity] = self
            if entry or not linked:
                self._cache = DiskCache(self)

    def symbol(self, argument_types: Any) -> str:
        """Of the version for these types."""
        digest = _digest((self.identity or id(self), argument_types))
        return f"fastbackprop.{self.__name__}.{digest}"

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """Of a call from another kernel: no version of its own for a literal 0 or False."""
        return super().get_call_template([types.unliteral(type_) for type_ in args], kws)

    def compile(self, sig: Any) -> Any:
        with global_compiler_lock, without_collection():
            _OPEN.append([])
            try:
                return super().compile(sig)
            finally:
                _OPEN.pop()

    def add_overload(self, cres: Any) -> None:
        """Numba calls this for a new version, compiled or loaded."""
        if cres.entry_point is None:  # linked: nothing that Python could call, but a name for it
            cres = cres._replace(entry_point=object())
            self.overloads[cres.signature.args] = cres
        else:
            super().add_overload(cres)
        argument_types, target = cres.signature.args, self.targetctx
        calls = self.calls.setdefault(argument_types, [])
        calls += [call for call in _OPEN[-1] if call not in calls]
        if self.linked:
            implementation = user_function(cres.fndesc, [cres.library])
        else:
            calls = [(self.identity, argument_types)]
            address = cres.library.get_pointer_to_function(cres.fndesc.llvm_func_name)
            llvmlite.binding.add_symbol(self.symbol(argument_types), address)
            fndesc = copy.copy(cres.fndesc)
            fndesc.mangled_name = self.symbol(argument_types)
            implementation = user_function(fndesc, [])
        if cres.entry_point in target._defns:
            target.remove_user_function(cres.entry_point)
        target._defns[cres.entry_point].append(
            functools.wraps(implementation)(_noting(calls, implementation)), argument_types
        )


class Inner(Kernel):
    """A kernel that Python cannot call: there is no code for that, and to try would be fatal."""

    def __call__(self, *arguments: Any) -> Any:
        raise TypeError(f"{self.__name__} is for other kernels: Python calls kernel(entry=True)")


Call = tuple[Any, Any]  # a kernel's identity, and the types of the arguments
KERNELS: dict[Any, Kernel] = {}
_OPEN: list[list[Call]] = []  # of the kernels that are being compiled, the innermost last


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Numba makes so much that Python's search for garbage takes a tenth of a compilation."""
    if not gc.isenabled():
        yield
        return
    try:
        gc.disable()
        yield
    finally:
        gc.enable()


def _noting(calls: list[Call], implementation: Callable) -> Callable:
    """The code that calls a kernel, with a note that it needs these symbols."""

    def lower(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _OPEN[-1].extend(call for call in calls if call not in _OPEN[-1])
        return implementation(context, builder, signature, arguments)

    return lower


def _renamed(function: Any, qualified_name: str) -> FunctionType:
    code, names, closure = function.__code__, function.__globals__, function.__closure__
    copy = FunctionType(code, names, function.__name__, function.__defaults__, closure)
    functools.update_wrapper(copy, function)
    copy.__qualname__ = qualified_name
    return copy


def _digest(key: Any) -> str:
    return hashlib.sha256(repr(key).encode()).hexdigest()[:20]


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


# --- functions by address ------------------------------------------------------------------------


def address(function: Any, *argument_types: Any) -> int:
    """The number by which `call` finds a kernel (without result) for arguments of these types.

    A network's activations and cost and an optimiser's rule reach kernels so: each is compiled by
    itself when first used, and what calls it once for all of them, a user's own included.
    """
    if numba.config.DISABLE_JIT:
        if function not in _PYTHON_FUNCTIONS:
            _PYTHON_FUNCTIONS.append(function)
        return _PYTHON_FUNCTIONS.index(function)
    function.compile(argument_types)
    compiled = function.overloads[argument_types]
    return int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))


_PYTHON_FUNCTIONS: list[Callable] = []


def in_python(function: Callable) -> Callable:
    """A decorator for an intrinsic: what it means where nothing is compiled."""
    return lambda intrinsic: function if numba.config.DISABLE_JIT else intrinsic


@in_python(lambda address, arguments: _PYTHON_FUNCTIONS[address](*arguments))
@intrinsic
def call(typing_context, address, arguments):
    """Call the kernel with this address."""
    argument_types = [types.unliteral(type_) for type_ in arguments.types]

    def generate(context, builder, signature, args):
        number, values = args
        values = [
            context.cast(builder, value, given, expected)
            for value, given, expected in zip(
                cgutils.unpack_tuple(builder, values), arguments.types, argument_types, strict=True
            )
        ]
        convention = context.call_conv
        function_type = convention.get_function_type(types.none, argument_types)
        function = builder.inttoptr(number, function_type.as_pointer())
        status, _ = convention.call_function(builder, function, types.none, argument_types, values)
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(types.int64, arguments), generate


# --- the disk cache ------------------------------------------------------------------------------


ROOMS = ("jit", "layout", "samples", "functions", "engines", "analysis", "optimizers")
DIGEST_SIZE = hashlib.sha256().digest_size


@functools.cache
def fingerprint() -> str:
    """Hash of all that decides what a kernel compiles to: sources, versions and options.

    Numba's own cache looks at the file that defines a function and at nothing else: an edit in a
    helper's file, or another compiler option, would go unseen. The processor and the argument types
    are in the name of each entry. Sources are those of the ROOMS that kernels come from.
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

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    @property
    def cache_path(self) -> str:
        return str(cache_directory())

    def _path(self, signature: Any, codegen: Any) -> Path | None:
        folder = cache_directory()
        digest = _digest((self._kernel.identity, signature, codegen.magic_tuple()))
        return folder and folder / f"{self._kernel.__name__}-{digest}.bin"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        # Numba's own cache first refreshes the context: that imports all it can compile, and SciPy.
        # Machine code needs none of it.
        path = self._path(sig, target_context.codegen())
        if path is None or not path.exists():
            return None
        try:
            content = path.read_bytes()
            digest, payload = content[:DIGEST_SIZE], content[DIGEST_SIZE:]
            if hashlib.sha256(payload).digest() != digest:
                return None
            calls, parts = pickle.loads(payload)
            for (
                kernel,
                argument_types,
            ) in calls:  # their symbols must be there before this code is linked
                KERNELS[kernel].compile(argument_types)
            self._kernel.calls[sig] = calls
            return CompileResult._rebuild(target_context, *parts)
        except Exception:  # unreadable, or not of this Numba after all: compile it again
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        path = self._path(sig, data.codegen)
        if path is None:
            return
        if any(kernel is None for kernel, _ in self._kernel.calls[sig]):
            return
        with contextlib.suppress(OSError):
            aside = tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False)
            try:
                payload = dumps((self._kernel.calls[sig], data._reduce()))
                with aside:
                    aside.write(hashlib.sha256(payload).digest() + payload)
                os.replace(aside.name, path)
            except BaseException:
                os.unlink(aside.name)
                raise

    def enable(self) -> None: ...

    def disable(self) -> None: ...

    def flush(self) -> None: ...
