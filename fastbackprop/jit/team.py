"""Threads that share one native call.

Every thread of a team runs the same kernel, told its number t of T, and does its share of the work
between barriers. Calls from several Python threads have a team each; its threads wait for the next
call, a forked child starts its own, and no threading layer takes part. A barrier costs some 0.1 us,
a team some 50 us to come together.
"""

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbackprop.jit.kernels import kernel
from fastbackprop.jit.numba_internals import array_data, cgutils

# Words of a team's state, each on a cache line of its own.
ARRIVED, ROUND, GATE = 0, 16, 32
N_WORDS = 48
CLOSED, OPEN, CANCELLED = range(3)

SPINS = 2000  # some 20 us; after that the processor is offered to others between looks

_YIELD = "SwitchToThread" if sys.platform == "win32" else "sched_yield"


class Team(NamedTuple):
    """A thread's place in its team."""

    state: np.ndarray  # (N_WORDS,) int64, shared
    t: int  # which thread this is, 0 ... T - 1
    T: int


ALONE = Team(np.zeros(N_WORDS, np.int64), 0, 1)


def _word(context, builder, array_type, array, place):
    return builder.gep(array_data(context, builder, array_type, array), [place])


@intrinsic
def _add(typingctx, state, place, value):
    """state[place] += value, at once for all threads; returns what it was."""

    def generate(context, builder, signature, args):
        word = _word(context, builder, state, args[0], args[1])
        return builder.atomic_rmw("add", word, args[2], "acq_rel")

    return types.int64(state, types.intp, types.int64), generate


@intrinsic
def _read(typingctx, state, place):
    """state[place] as it is now; what was written before it is visible after."""

    def generate(context, builder, signature, args):
        word = _word(context, builder, state, args[0], args[1])
        return builder.load_atomic(word, "acquire", 8)

    return types.int64(state, types.intp), generate


@intrinsic
def _let_others_run(typingctx):
    def generate(context, builder, signature, args):
        function_type = ir.FunctionType(ir.IntType(32), [])
        function = cgutils.get_or_insert_function(builder.module, function_type, _YIELD)
        builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), generate


@kernel(linked=True)
def _wait_while(state, place, value):
    spins = 0
    while _read(state, place) == value:
        spins += 1
        if spins > SPINS:
            _let_others_run()


@kernel(linked=True)
def barrier(team):
    """Wait until every thread of the team is here; what each wrote before, all see after."""
    if team.T > 1:
        now = _read(team.state, ROUND)
        if _add(team.state, ARRIVED, 1) == team.T - 1:
            _add(team.state, ARRIVED, -team.T)
            _add(team.state, ROUND, 1)
        else:
            _wait_while(team.state, ROUND, now)


@kernel(linked=True)
def begins(team):
    """Wait for thread 0; False if it will not come."""
    if team.T == 1:
        return True
    if team.t == 0:
        _add(team.state, GATE, OPEN - CLOSED)
        return True
    _wait_while(team.state, GATE, CLOSED)
    return _read(team.state, GATE) == OPEN


@kernel(linked=True)
def share(n, unit, team):
    """(first, last) of the n things that this thread owns: whole units, as even as they go."""
    units = (n + unit - 1) // unit
    first, last = units * team.t // team.T * unit, units * (team.t + 1) // team.T * unit
    return min(first, n), min(last, n)


_LIBC = ctypes.PyDLL(None) if sys.platform == "linux" else None
_processor: Any = getattr(_LIBC, "sched_getcpu", None)  # the one this thread is on
_idle: list[ThreadPoolExecutor] = []  # each of one thread
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # a child has none of them


def _member() -> ThreadPoolExecutor:
    """A thread that belongs to no other team."""
    try:
        return _idle.pop()
    except IndexError:
        return ThreadPoolExecutor(1)


def _in_place(
    allowed: set[int], free: set[int], function: Callable, team: Team, *arguments: Any
) -> Any:
    """A member's part, on one of the processors that are still free, if there is one.

    Left to itself, Linux wakes a thread where its waker runs and may have both of them share that
    processor for a whole call, beside one where nothing runs, or only a thread that spins.
    """
    if not free:
        return function(team, *arguments)
    try:
        _take_one(free)
        return function(team, *arguments)
    finally:
        try:  # not a function of Python's: an interrupt may come into it
            os.sched_setaffinity(0, allowed)
        except OSError:
            pass


def _take_one(free: set[int]) -> None:
    """Let this thread run on one of these processors and on no other; on any if that fails."""
    with contextlib.suppress(OSError):
        if _processor() not in free:
            os.sched_setaffinity(0, free)
        here = _processor()
        free.discard(here)
        os.sched_setaffinity(0, {here})


def run(function: Callable, n_threads: int, *arguments: Any) -> Any:
    """Call the kernel in so many threads, this one among them; returns what thread 0 returned.

    Python can be interrupted here but not in the kernel: either every thread goes through the gate,
    or, where thread 0 does not come so far, none.
    """
    if n_threads == 1:
        return function(ALONE, *arguments)
    state = np.zeros(N_WORDS, np.int64)
    allowed = os.sched_getaffinity(0) if _processor else set()
    free, members, calls = set(allowed), [], []
    try:
        for t in range(1, n_threads):
            member = _member()
            part = (allowed, free, function, Team(state, t, n_threads), *arguments)
            calls.append(member.submit(_in_place, *part))
            members.append(member)
        return _in_place(allowed, free, function, Team(state, 0, n_threads), *arguments)
    except BaseException:
        if state[GATE] == CLOSED:
            state[GATE] = CANCELLED
        raise
    finally:
        for call in calls:
            call.exception()
        _idle.extend(members)


def available_processors() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
