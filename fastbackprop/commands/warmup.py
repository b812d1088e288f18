"""Compile everything once and keep it on disk, so that later processes need not."""

import argparse
import contextlib
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

from fastbackprop.commands import UsageError, progress
from fastbackprop.engines import ENGINES
from fastbackprop.jit.availability import import_error, jit_disabled

COMPILED, LOADED, NOTHING = "compiled", "loaded", "needed nothing more"
DTYPES = ("float32", "float64")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add, only = partial(parser.add_argument, action="append"), "only this one; may be repeated"
    add("--dtype", choices=DTYPES, help=only)
    add("--engine", choices=ENGINES, help=only)
    parser.add_argument(
        "--all", action="store_true", help="also every activation, cost and option, and sparse X"
    )
    parser.add_argument(
        "--compile-only",
        action="store_true",
        help="run nothing: NUMBA_CPU_NAME and NUMBA_CPU_FEATURES may name another processor",
    )


def calls(arguments: argparse.Namespace) -> Iterator[tuple[str, Callable[[], object]]]:
    from fastbackprop.commands import everything

    for dtype in arguments.dtype or DTYPES:
        for engine in arguments.engine or ENGINES:
            for kind in (everything.usual, everything.remaining)[: 1 + arguments.all]:
                for name, call in kind(dtype, engine):
                    yield f"{dtype}  {engine:6} {name:14}", call


def what_it_did(call: Callable[[], object], nothing_runs: bool) -> str:
    """Call, and report what Numba did: it takes its lock to load machine code as well."""
    from numba.core import event

    compile_events = event.install_recorder("numba:compile")
    lock_events = event.install_recorder("numba:compiler_lock")
    zero_costs = contextlib.suppress(ArithmeticError) if nothing_runs else contextlib.nullcontext()
    with compile_events as compilations, lock_events as locks, zero_costs:
        call()
    if compilations.buffer:
        return COMPILED
    return LOADED if locks.buffer else NOTHING


def print_places() -> None:
    """Where machine code is, and why not elsewhere."""
    from fastbackprop.jit.cache import cache_directory, refused_roots, shipped
    from fastbackprop.jit.folder import readable_by_all

    found = shipped()
    level = f"for {found.level.cpu}" if found.level else f"not used: {found.why_not}"
    print(f"Machine code in the package: {level}")
    print(f"Cache: {cache_directory()}")
    for reason in refused_roots():
        print(f"Not used: {reason}")
    folder = cache_directory()
    if folder is not None and hasattr(os, "geteuid") and os.geteuid() == 0:
        if readable_by_all(folder):
            print(f"Other users load it with NUMBA_CACHE_DIR={folder.parents[1]}")
        else:
            print("Other users cannot: set NUMBA_CACHE_DIR to a folder that they can read")


def run(arguments: argparse.Namespace) -> int:
    if jit_disabled():
        print("NUMBA_DISABLE_JIT is set: nothing is compiled")
        return 0
    if import_error() is not None:
        raise UsageError(f"Numba cannot be imported: {import_error()}")
    from fastbackprop.jit.cache import cache_directory

    if cache_directory() is None:
        raise UsageError("there is no folder for the cache: set NUMBA_CACHE_DIR to one of your own")
    if arguments.compile_only:
        from fastbackprop.jit.numba_internals import compile_only

        compile_only()
        warnings.simplefilter("ignore")  # of costs that nothing has computed
    start, outcomes, to_do = time.perf_counter(), Counter[str](), list(calls(arguments))
    for i, (name, call) in enumerate(to_do):
        progress(i, len(to_do), name)
        before = time.perf_counter()
        did = what_it_did(call, arguments.compile_only)
        seconds = time.perf_counter() - before
        outcomes[did] += 1
        if did != NOTHING:
            progress(1, 1)
            print(f"{name} {did} in {seconds:.2f} s", flush=True)
    progress(1, 1)
    counts = ", ".join(f"{n} {did}" for did, n in outcomes.items())
    print(f"{outcomes.total()} calls in {time.perf_counter() - start:.1f} s: {counts}")
    print_places()
    return 0
