"""Threads that share one native call.

Every thread of a team runs the same kernel. It gets its number t of T, and does its share of the
work between barriers. Concurrent calls from several Python threads have a team each. Threads are
kept for later calls, and a forked child starts its own. A barrier takes about 0.1 us, and a team
about 50 us to assemble.

Results do not depend on the number of threads. So a call takes fewer threads than it was given
where the process has fewer processors, or where no thread can be started.
"""

import os
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbackprop.jit.availability import available_processors as available_processors
from fastbackprop.jit.kernels import kernel
from fastbackprop.jit.numba_internals import cgutils
from fastbackprop.jit.numba_internals.arrays import array_data

# Words of the state of a team, each on its own cache line.
ARRIVED, ROUND, GATE, TAKEN = 0, 16, 32, 48
N_WORDS = 64
CLOSED, OPEN, CANCELLED = range(3)

SPINS = 2000  # about 1 us; after that a waiting thread yields its processor between reads

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
    """Atomic state[place] += value; returns the value before."""

    def generate(context, builder, signature, args):
        word = _word(context, builder, state, args[0], args[1])
        return builder.atomic_rmw("add", word, args[2], "acq_rel")

    return types.int64(state, types.intp, types.int64), generate


@intrinsic
def _read(typingctx, state, place):
    """Atomic read of state[place], with acquire semantics."""

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
    """Wait for all threads of the team; afterwards each sees what the others wrote before."""
    if team.T > 1:
        now = _read(team.state, ROUND)
        if _add(team.state, ARRIVED, 1) == team.T - 1:
            _add(team.state, ARRIVED, -team.T)
            _add(team.state, ROUND, 1)
        else:
            _wait_while(team.state, ROUND, now)


@kernel(linked=True)
def begins(team):
    """Wait for thread 0 at the gate; False if the call is cancelled."""
    if team.T == 1:
        return True
    if team.t == 0:
        _add(team.state, GATE, OPEN - CLOSED)
        return True
    _wait_while(team.state, GATE, CLOSED)
    return _read(team.state, GATE) == OPEN


@kernel(linked=True)
def share(n, unit, team):
    """(first, last) of the n items that this thread owns: whole units, evenly distributed."""
    units = (n + unit - 1) // unit
    first, last = units * team.t // team.T * unit, units * (team.t + 1) // team.T * unit
    return min(first, n), min(last, n)


@kernel(linked=True)
def take(team, last):
    """Number of the next item for this thread, whose last was `last`, at first -1.

    Every item goes to one thread, the first that asks: a thread that is held up takes fewer.
    """
    return last + 1 if team.T == 1 else _add(team.state, TAKEN, 1)


@kernel(linked=True)
def take_anew(team):
    """All items were taken, and the next to be taken is item 0; one thread, between barriers."""
    if team.T > 1:
        _add(team.state, TAKEN, -_read(team.state, TAKEN))


class _Thread:
    """A thread that serves one call after the other; it ends when this object is deleted."""

    def __init__(self) -> None:
        self.calls: SimpleQueue = SimpleQueue()
        # A daemon: at exit nobody waits for it, and it still serves `atexit` handlers.
        threading.Thread(target=_serve, args=(self.calls,), daemon=True).start()

    def __del__(self) -> None:
        self.calls.put(None)


def _serve(calls: SimpleQueue) -> None:
    while call := calls.get():
        function, team, arguments, done = call
        try:
            function(team, *arguments)
        except BaseException:  # thread 0 raises the same, and does not open the gate
            pass
        call = function = team = arguments = None  # keep no arrays while waiting
        done.put(None)
        done = None


_idle: list[_Thread] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # threads do not survive a fork


def _members(n: int) -> list[_Thread]:
    """n threads that belong to no other team; fewer where no more can be started."""
    members: list[_Thread] = []
    if sys.is_finalizing():  # daemon threads have ended
        return members
    while len(members) < n:
        try:
            members.append(_idle.pop())
        except IndexError:
            try:
                members.append(_Thread())
            except RuntimeError:  # a limit of the system, or the interpreter shuts down
                break
    return members


def run(function: Callable, n_threads: int, *arguments: Any) -> Any:
    """Call the kernel in up to n_threads threads, this one among them; returns thread 0's result.

    Python can be interrupted here but not in the kernel. Either all threads pass the gate, or,
    where thread 0 does not reach it, none.
    """
    if n_threads == 1:
        return function(ALONE, *arguments)
    members = _members(min(n_threads, available_processors()) - 1)
    if not members:
        return function(ALONE, *arguments)
    state, T = np.zeros(N_WORDS, np.int64), len(members) + 1
    done: SimpleQueue = SimpleQueue()
    try:
        for t, member in enumerate(members, 1):
            member.calls.put((function, Team(state, t, T), arguments, done))
        result = function(Team(state, 0, T), *arguments)
    except BaseException:  # the members end: after an interrupt it is unknown which were called
        if state[GATE] == CLOSED:
            state[GATE] = CANCELLED
        raise
    for _ in members:
        done.get()
    _idle.extend(members)
    return result
