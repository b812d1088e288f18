"""Compile everything once and keep it on disk, so that later processes need not."""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import numba
import numpy as np
from numba.core import event

import fastbackprop as fb
from fastbackprop.commands import UsageError, progress
from fastbackprop.engines import ENGINES
from fastbackprop.jit.cache import cache_directory
from fastbackprop.optimizers import OPTIMIZERS

COMPILED, LOADED, NOTHING = "compiled", "loaded from the cache", "needed nothing more"
DTYPES = ("float32", "float64")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add, only = partial(parser.add_argument, action="append"), "only this one; may be repeated"
    add("--dtype", choices=DTYPES, help=only)
    add("--engine", choices=ENGINES, help=only)


def items(dtype: str, engine: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """Every call of a user, on a network of a few neurons: its code serves all architectures."""
    network = fb.Network(
        [2, 3, 2], output="softmax", cost="cross_entropy", dtype=dtype, engine=engine, rng=0
    )
    X, y = np.eye(2, dtype=dtype), np.arange(2)
    yield "predict", lambda: [network.predict(rows) for rows in (X, X[:1], X.tolist())]
    yield "evaluate", lambda: network.evaluate(X, y)
    yield "gradient", lambda: network.gradient(X, y)
    yield "activations", lambda: network.activations(X)
    yield "trace", lambda: network.trace(X, y)
    yield "analysis", lambda: analyse(network, X, y)

    def fit(optimizer: str) -> None:
        network.fit(X, y, epochs=1, optimizer=optimizer)

    for optimizer in OPTIMIZERS:
        if optimizer == "lbfgs":  # compiles nothing of its own, and needs SciPy
            continue
        yield f"fit with {optimizer}", partial(fit, optimizer)


def analyse(network: fb.Network, X: np.ndarray, y: np.ndarray) -> None:
    network.sample_gradients(X, y)
    network.sample_gradient_norms(X, y)
    network.jacobian(X)
    network.hessian_vector_product(X, y, network.get_parameters())


def what_it_did(call: Callable[[], object]) -> str:
    """Call, and report what Numba did: it takes its lock to load machine code as well."""
    compile_events = event.install_recorder("numba:compile")
    lock_events = event.install_recorder("numba:compiler_lock")
    with compile_events as compilations, lock_events as locks:
        call()
    if compilations.buffer:
        return COMPILED
    return LOADED if locks.buffer else NOTHING


def run(arguments: argparse.Namespace) -> int:
    if numba.config.DISABLE_JIT:
        print("NUMBA_DISABLE_JIT is set: nothing is compiled")
        return 0
    if cache_directory() is None:
        raise UsageError("there is no writable folder for the cache: set NUMBA_CACHE_DIR to one")
    start, outcomes = time.perf_counter(), Counter[str]()
    calls = [
        (f"{dtype}  {engine:6} {name:14}", call)
        for dtype in arguments.dtype or DTYPES
        for engine in arguments.engine or ENGINES
        for name, call in items(dtype, engine)
    ]
    for i, (name, call) in enumerate(calls):
        progress(i, len(calls), name)
        before = time.perf_counter()
        did = what_it_did(call)
        seconds = time.perf_counter() - before
        outcomes[did] += 1
        if did != NOTHING:
            progress(1, 1)
            print(f"{name} {did} in {seconds:.2f} s", flush=True)
    progress(1, 1)
    counts = ", ".join(f"{n} {did}" for did, n in outcomes.items())
    print(f"{outcomes.total()} calls in {time.perf_counter() - start:.1f} s: {counts}")
    print(f"Cache: {cache_directory()}")
    return 0
