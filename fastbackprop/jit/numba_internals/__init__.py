"""Everything of Numba that its documentation does not promise, and what follows without it.

numba.njit compiles a function together with all that it calls: it copies the code of the callees
and optimises all of it again. With a dozen levels most of a compilation is repetition. `Kernel` is
a dispatcher whose calls are calls of symbols, as between the object files of a C program; a
symbol's name depends on nothing but the kernel and the signature, so machine code from the disk
finds what it calls, whoever compiled that.

Where Numba lacks a name below, or is newer than the tests and fails in `_try_out`, or where
FASTBACKPROP_PLAIN_NUMBA is set, `is_linked` is False and kernels are plain `numba.njit` functions:
the same results, twice as long to compile or more, and nothing is kept on disk.
"""

import contextlib
import copy
import functools
import gc
import hashlib
import os
import re
import sys
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import llvmlite
import numba
from numba import types

from fastbackprop.jit import interrupts
from fastbackprop.jit.processor import LEVELS, Level, level

_missing: list[str] = []


def _found(module: str, name: str) -> Any:
    """What has this name in the module; an empty class, and a note, if nothing has."""
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError):
        _missing.append(f"{module}.{name}")
        return type(name, (), {})


# For kernels that are compiled by themselves and call each other by symbols. Without any of these:
# plain numba.njit.
CPUDispatcher = _found("numba.core.registry", "CPUDispatcher")  # the base class of `Kernel`
Compiler = _found("numba.core.compiler", "Compiler")  # a pipeline, to which we give our library
JITCodeLibrary = _found("numba.core.codegen", "JITCodeLibrary")  # that optimises only once
user_function = _found("numba.core.imputils", "user_function")  # the code of a call
global_compiler_lock = _found("numba.core.compiler_lock", "global_compiler_lock")  # for `_open`

# For machine code on the disk. Without any of these: plain numba.njit.
Cache = _found("numba.core.caching", "_Cache")  # what a dispatcher asks for machine code
compile_result = _found("numba.core.compiler", "compile_result")  # makes a version of its parts
dumps = _found("numba.core.serialize", "dumps")  # pickles them
dynfunc = _found("numba", "_dynfunc")  # where a function's environment is in Python's object

_needed_to_link, _missing = _missing, []

# For references, register tiles and networks as a user's compiled functions. Without any of these:
# `engines.load` refuses "tiles"; "loops" and "numpy" work.
cgutils = _found("numba.core", "cgutils")  # short-hands for LLVM's instructions
AttributeTemplate = _found("numba.core.typing.templates", "AttributeTemplate")  # of a reference
as_dtype = _found("numba.np.numpy_support", "as_dtype")  # NumPy's dtype of a type
make_array = _found("numba.np.arrayobj", "make_array")  # an array's fields in a kernel
populate_array = _found("numba.np.arrayobj", "populate_array")

_needed_for_tiles, _missing = _missing, []

# For a user's own functions. Without it: `numba.njit` functions called by them are taken as they
# are, and the words of math and NumPy in those stay calls of the C library.
Dispatcher = _found("numba.core.dispatcher", "Dispatcher")


# --- whether kernels are linked ------------------------------------------------------------------

NEWEST_TESTED = [0, 68]  # the minor version of Numba that pyproject.toml allows at most

_why_not: str | None = None
_tried = [int(part) for part in re.findall(r"\d+", numba.__version__)[:2]] <= NEWEST_TESTED
_kernels: Any = weakref.WeakSet()  # all of them
if os.environ.get("FASTBACKPROP_PLAIN_NUMBA", "0") not in ("", "0"):
    _why_not = "FASTBACKPROP_PLAIN_NUMBA is set"
elif _needed_to_link:
    _why_not = f"there is no {', '.join(_needed_to_link)}"


def is_linked() -> bool:
    """Whether kernels are compiled by themselves; if not, they are plain `numba.njit` functions."""
    return _why_not is None


def missing_for_tiles() -> str:
    """The names without which there are no register tiles; "" if all are there."""
    return ", ".join(_needed_for_tiles)


def _warn() -> None:
    warnings.warn(
        f"fastbackprop does not know the insides of Numba {numba.__version__} ({_why_not}): "
        f"kernels take longer to compile, and every process compiles them",
        RuntimeWarning,
        stacklevel=2,
    )


if _needed_to_link:
    _warn()


class _Changed(Exception):
    """A first compilation has shown that Numba's insides are not those that we know."""


def _fall_back(error: Exception) -> None:
    """From here on kernels are plain `numba.njit` functions, those that there are among them."""
    global _why_not
    _why_not = f"{type(error).__name__}: {error}"
    for kernel in list(_kernels):
        plain = numba.njit(kernel.py_func, **kernel.plain_options)
        kernel.__class__ = type(plain)
        kernel._compiler, kernel._cache = plain._compiler, plain._cache
    _warn()


def _try_out() -> None:
    """Compile kernels that call each other, before any other kernel: in a Numba of the future."""
    global _tried
    if _tried:
        return
    _tried = True
    try:
        doubled = Kernel(lambda x: x + x, None, False, True, {})
        next_one = Kernel(lambda x: x + 1, None, False, False, {})
        both = Kernel(lambda x: next_one(doubled(x)), None, True, False, {})
        if both(20) != 41:
            raise RuntimeError("linked code gives wrong results")
    except Exception as error:
        raise _Changed from error


# --- kernels -------------------------------------------------------------------------------------


def compiled_for(codegen: Any) -> Level | None:
    """The level that kernels are compiled for; None: for this very processor, which is of no level.

    For a level, not for the processor, so that a wheel's code and code from here are the same.
    """
    _, cpu, features = codegen.magic_tuple()
    told = (each for each in LEVELS if (each.cpu, each.features) == (cpu, features))
    return next(told, None) or level()


def _of_level(module: Any, level: Level) -> Any:
    """The module whose functions ask LLVM for this level."""
    text = re.sub(r"^(define .*) \{$", r"\1 #9999 {", str(module), flags=re.MULTILINE)
    named = f'"target-cpu"="{level.cpu}" "target-features"="{level.features}"'
    return llvmlite.binding.parse_assembly(f"{text}\nattributes #9999 = {{ {named} }}\n")


class Library(JITCodeLibrary):  # type: ignore[misc, valid-type]
    """The code of a kernel, optimised once, as a whole.

    Numba's passes before that, over each function and for counted references, find nothing here
    that the last one does not.
    """

    _final_module: Any

    def _optimize_functions(self, module: Any) -> None: ...

    def _optimize_final_module(self) -> None:
        pause()
        level = compiled_for(self._codegen)
        if level is not None:
            self._final_module = _of_level(self._final_module, level)
        passes = self._codegen._module_pass_manager()
        manager, *builder = passes if isinstance(passes, tuple) else (passes,)
        manager.run(self._final_module, *builder)

    def machine_code(self) -> tuple[str, bytes, list[str]]:
        """Its name, the code, and the names of what the code defines and Numba asks for."""
        module = self._final_module
        things = (*module.functions, *module.global_variables)
        names = [thing.name for thing in things if not thing.is_declaration]
        return self.name, self._get_compiled_object(), [n for n in names if n.startswith("_ZN")]

    @classmethod
    def of(cls, codegen: Any, name: str, code: bytes, names: list[str]) -> "Library":
        """The library with this machine code, in any process."""
        library = cls(codegen, name)
        library.enable_object_caching()
        library._set_compiled_object(code)
        library._finalize_final_module()  # an empty module: LLVM asks for its code and gets this
        codegen._engine._defined_symbols.update(names)
        return library


class _LinkedLibrary(Library):
    """The code of a linked kernel: it is optimised and compiled in the kernels that call it."""

    def _optimize_final_module(self) -> None: ...

    def _finalize_final_module(self) -> None:
        self._finalized = True


# Numba's passes over its own representation that change no instruction of a kernel.
_IDLE_PASSES = {
    "WithLifting",
    "RewriteDynamicRaises",
    "FindLiterallyCalls",
    "LiteralUnroll",
    "LiteralPropagationSubPipelinePass",
    "InlineOverloads",
    "NopythonRewrites",
    "AnnotateTypes",
    "DumpParforDiagnostics",
}


class _Compiler(Compiler):  # type: ignore[misc, valid-type]
    library = Library

    def define_pipelines(self) -> Any:
        pipelines = super().define_pipelines()
        for pipeline in pipelines:
            pipeline.passes = [
                entry for entry in pipeline.passes if entry[0].__name__ not in _IDLE_PASSES
            ]
            pipeline.finalize()
        return pipelines

    def compile_extra(self, func: Any) -> Any:
        _try_out()
        self.state.library = self.library(self.state.targetctx.codegen(), func.__qualname__)
        self.state.library.enable_object_caching()
        return super().compile_extra(func)


class _LinkedCompiler(_Compiler):
    library = _LinkedLibrary

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.state.flags.no_compile = True


Call = tuple[Any, Any]  # a kernel's identity, and the types of the arguments
KERNELS: dict[Any, "Kernel"] = {}  # by identity
_open: list[list[Call]] = []  # calls in the kernels that are being compiled, the innermost last


class Kernel(CPUDispatcher):  # type: ignore[misc, valid-type]
    """A kernel's compiled versions, one for each signature.

    The identity tells it from all others, in any process; None if there is no such thing.
    """

    def __init__(
        self, function: Callable, identity: Any, entry: bool, linked: bool, options: dict[str, Any]
    ) -> None:
        self.plain_options = options | {"forceinline": linked}
        options = self.plain_options | {"nopython": True, "no_cfunc_wrapper": True}
        options |= {"no_cpython_wrapper": not entry}
        pipeline = _LinkedCompiler if linked and not entry else _Compiler
        super().__init__(function, targetoptions=options, pipeline_class=pipeline)
        self.identity, self.linked = identity, linked
        self.unlock: Callable[[], None] = lambda: None  # lets other processes compile this too
        self.calls: dict[Any, list[Call]] = {}  # the symbols in each version's code
        if identity is not None:
            KERNELS[identity] = self
        _kernels.add(self)

    def keep_in(self, cache: Any) -> None:
        """Look for machine code there before compiling, and leave it there."""
        self._cache, self.unlock = cache, cache.unlock

    def symbol(self, argument_types: Any) -> str:
        """Of the version for these types."""
        return f"fastbackprop.{self.__name__}.{digest((self.identity or id(self), argument_types))}"

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """Of a call from another kernel: no version of its own for a literal 0 or False."""
        return super().get_call_template([types.unliteral(type_) for type_ in args], kws)

    def compile(self, sig: Any) -> Any:
        with _compiling():
            _open.append([])
            try:
                return super().compile(sig)
            except _Changed as changed:
                if len(_open) > 1:
                    raise
                _fall_back(changed.__cause__)  # type: ignore[arg-type]
            finally:
                _open.pop()
                self.unlock()
        return self.compile(sig)

    def add_overload(self, cres: Any) -> None:
        """Numba calls this for a new version, compiled or loaded."""
        if cres.entry_point is None:  # linked: nothing that Python could call, but a name for it
            cres = cres._replace(entry_point=object())
            self.overloads[cres.signature.args] = cres
        else:
            super().add_overload(cres)
        argument_types, target = cres.signature.args, self.targetctx
        calls = self.calls.setdefault(argument_types, [])
        calls += [call for call in _open[-1] if call not in calls]
        if self.linked:
            implementation = user_function(cres.fndesc, [cres.library])
        else:
            calls = [(self.identity, argument_types)]
            address = code_address(self, argument_types)
            llvmlite.binding.add_symbol(self.symbol(argument_types), address)
            fndesc = copy.copy(cres.fndesc)
            fndesc.mangled_name = self.symbol(argument_types)
            implementation = user_function(fndesc, [])
        if cres.entry_point in target._defns:
            target.remove_user_function(cres.entry_point)
        target._defns[cres.entry_point].append(
            functools.wraps(implementation)(_noting(calls, implementation)), argument_types
        )


@contextlib.contextmanager
def _compiling() -> Iterator[None]:
    """Hold Numba's lock. Ctrl-C acts between two kernels, or within one at a call of `pause`."""
    if _open and global_compiler_lock.is_locked():  # by this thread
        pause()
        yield
        return
    with interrupts.deferred() as act, global_compiler_lock, _without_collection():
        _outermost[:] = [(act, time.monotonic())]
        yield


_outermost: list[tuple[Callable[[], None], float]] = []  # lets Ctrl-C act; when it began
_told: list[bool] = []


def pause() -> None:
    """Let a Ctrl-C that waits act. Say on a terminal, once, that a compilation takes its time."""
    act, began = _outermost[0]
    act()
    if not _told and time.monotonic() - began > 1:
        _told.append(True)
        if sys.stderr and sys.stderr.isatty():
            print("fastbackprop: compiling, which takes some seconds", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Numba makes many objects and little garbage: searching for it takes 8 % of a first fit."""
    if not gc.isenabled():
        yield
        return
    try:
        gc.disable()
        yield
    finally:
        gc.enable()


class Inner(Kernel):
    """A kernel that Python cannot call: there is no code for that, and to try would be fatal."""

    def __call__(self, *arguments: Any) -> Any:
        raise TypeError(f"{self.__name__} is for other kernels: Python calls kernel(entry=True)")


def compile_only() -> None:
    """From here on a call of a kernel compiles it and runs nothing, to compile for others.

    The result is the last argument of `train`, where its steps stop, and True of the others.
    """

    def compiled(kernel: Kernel, *arguments: Any) -> Any:
        kernel.compile(tuple(kernel.typeof_pyval(argument) for argument in arguments))
        return arguments[-1] if isinstance(arguments[-1], int) else True

    Kernel.__call__ = compiled


if is_linked() and not _tried:
    try:
        Kernel(_try_out, None, False, False, {})  # whether one can be made: nothing is compiled
    except Exception as error:
        _why_not = f"{type(error).__name__}: {error}"
        _warn()


if is_linked():
    interrupts.hold_before_forks(global_compiler_lock)


def _noting(calls: list[Call], implementation: Callable) -> Callable:
    """The code that calls a kernel, with a note that it needs these symbols."""

    def lower(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if _open:  # not in a user's own compiled code, which we do not keep
            _open[-1].extend(call for call in calls if call not in _open[-1])
        return implementation(context, builder, signature, arguments)

    return lower


def digest(key: Any) -> str:
    """A short hash of the key's text."""
    return hashlib.sha256(repr(key).encode()).hexdigest()[:20]


# --- addresses -----------------------------------------------------------------------------------


def code_address(kernel: Any, argument_types: Any) -> int:
    """Where the machine code of a version of a kernel is."""
    compiled = kernel.overloads[argument_types]
    return int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))


def call_code(
    context: Any, builder: Any, address: Any, argument_types: Any, arguments: Any
) -> None:
    """Write the call of a kernel without result whose `code_address` is only known at run time."""
    convention = context.call_conv
    function_type = convention.get_function_type(types.none, argument_types)
    function = builder.inttoptr(address, function_type.as_pointer())
    status, _ = convention.call_function(builder, function, types.none, argument_types, arguments)
    with builder.if_then(status.is_error, likely=False):
        convention.return_status_propagate(builder, status)
