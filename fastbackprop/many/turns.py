"""The epochs of many trainings, taken in turns by some threads.

A thread takes a training out of the queue, runs some of its epochs, and puts it back at the end. So
no thread waits for another, and all trainings come about equally far: the first turn is an epoch,
a later one those of some milliseconds. A training is in one thread at a time; nothing that it
changes belongs to another.
"""

import importlib
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastbackprop.jit.availability import available_processors
from fastbackprop.training.callbacks import ANY_NUMBER, Callbacks, EndOfTraining
from fastbackprop.training.orders import set_state, state
from fastbackprop.training.trainer import DivergenceError, Trainer

TURN_SECONDS = 0.02  # but an epoch at least
MIN_WORK = 20_000_000  # multiply-adds of (0) that a thread must have to do, to be worth starting


class Stop:
    """Whether all trainings should end: a callback of each of them.

    Attributes
    ----------
    interrupt : function
        Raises KeyboardInterrupt if Ctrl-C was pressed.
    error : BaseException or None
        The first error in any thread.
    interrupted : bool
        Whether Ctrl-C has ended them.
    lock : threading.RLock
        Held while callbacks are called.
    """

    epochs_ahead, looks_at_network = ANY_NUMBER, False

    def __init__(self) -> None:
        self.interrupt: Any = lambda: None
        self.error: BaseException | None = None
        self.interrupted = False
        self.lock = threading.RLock()

    def stop_reason(self) -> str | None:
        """Why they should."""
        try:
            self.interrupt()  # it raises once, and all have to end
        except KeyboardInterrupt:
            self.interrupted = True
        if self.interrupted:
            return "interrupt"
        return "error" if self.error is not None else None

    def on_pause(self) -> None:
        """Between two native calls of any of them."""
        reason = self.stop_reason()
        if reason:
            raise EndOfTraining(reason)

    def because_of(self, error: BaseException) -> None:
        """End them all; the first error counts."""
        self.error = self.error or error


class OneAtATime(Callbacks):
    """Callbacks of which one is called at a time, whichever thread calls."""

    def __init__(self, callbacks: Any, lock: Any) -> None:
        super().__init__(callbacks)
        self._lock = lock

    def listeners(self, event: str) -> list[Any]:
        """As of `Callbacks`."""
        return [self._locked(method) for method in super().listeners(event)]

    def _locked(self, method: Any) -> Any:
        def locked(*arguments: Any) -> Any:
            with self._lock:
                return method(*arguments)

        return locked


def take_turns(trainings: Sequence[Trainer], n_threads: int | None, stop: Stop) -> None:
    """Run all trainings to their end. Raises the first error, when all have ended."""
    n = n_threads or _threads(trainings)
    workers = min(n, len(trainings))
    for training in trainings:
        of_each = min(max(1, n // workers), training.threads())
        training.plan = training.plan._replace(n_threads=of_each)
    begun: list[Trainer] = []
    try:
        for training in trainings:
            begun.append(training)
            training.begin()
    except BaseException:
        for training in begun:
            training.close()
        raise
    queue = Queue(map(Member, begun))
    members = _started(workers - 1, queue, stop)
    _work(queue, stop)
    for member in members:
        member.join()
    if stop.error is not None:
        raise stop.error


def _lanes() -> Any:
    """`many.lanes`, which compiles: the engine "numpy" works without Numba."""
    return importlib.import_module("fastbackprop.many.lanes")


class Member:
    """A training among others.

    Attributes
    ----------
    training : Trainer
    kind
        Equal for trainings that may share turns; None for one that may not.
    is_new : bool
        Whether it has had no turn.
    """

    def __init__(self, training: Trainer) -> None:
        self.training, self.is_new = training, True
        tiles = training.machine.engine_name == "tiles"
        self.kind = _lanes().kind(training) if tiles else None
        self._addresses: list[int] = []
        self._generator: Any = None

    def addresses(self) -> list[int]:
        """Those of theta and of each state."""
        if not self._addresses:
            vectors = self.training.machine.theta, *self.training.stepper.states
            self._addresses = [vector.ctypes.data for vector in vectors]
        return self._addresses

    def remember_generator(self) -> None:
        """Once: a training of a kind draws an order in each epoch, and nothing else.

        To ask a generator for its state may take longer than an epoch.
        """
        if self._generator is None:
            self._generator = state(self.training.rng), len(self.training.history)

    def rewind_generator(self) -> None:
        """Take back the orders of epochs that are not over."""
        training, (start, epoch) = self.training, self._generator
        set_state(training.rng, start)
        for _ in range(epoch, len(training.history)):
            training.draw_order(training.plan.n_samples)


class Queue:
    """Trainings that wait for a turn, first in, first out; those of one kind share turns."""

    def __init__(self, members: Iterable[Member]) -> None:
        self._waiting = deque(members)
        self._lock = threading.Lock()
        self._idle: dict[Any, list[Any]] = {}

    def take(self) -> list[Member]:
        """Trainings of the first one's kind, as many as have a turn together; [] if none wait."""
        with self._lock:
            if not self._waiting:
                return []
            first = self._waiting.popleft()
            taken: list[Member] = [first]
            others: list[Member] = []
            most = 1 if first.kind is None else _lanes().share(first.kind)
            while self._waiting and len(taken) < most:
                member = self._waiting.popleft()
                (taken if member.kind == first.kind else others).append(member)
            self._waiting.extendleft(reversed(others))
            return taken

    def put(self, members: Iterable[Member]) -> None:
        """Behind all that wait."""
        with self._lock:
            self._waiting.extend(members)

    @contextmanager
    def group(self, kind: Any, training: Trainer) -> Iterator[Any]:
        """A `lanes.Group` for networks of a kind that nobody else uses at the same time."""
        idle = self._idle.setdefault(kind, [])
        try:
            group = idle.pop()
        except IndexError:
            group = _lanes().Group(kind, training)
        yield group
        idle.append(group)


def _threads(trainings: Sequence[Trainer]) -> int:
    """As many threads as the work is worth."""
    work: int = sum(
        t.plan.n_samples * t.plan.epochs * t.machine.layout.n_parameters for t in trainings
    )
    return max(1, min(available_processors(), work // MIN_WORK))


def _started(n: int, queue: Queue, stop: Stop) -> list[threading.Thread]:
    """n threads at work; fewer where no more can be started."""
    members = []
    for _ in range(n):
        member = threading.Thread(target=_work, args=(queue, stop), daemon=True)
        try:
            member.start()
        except RuntimeError:  # a limit of the system, or the interpreter shuts down
            break
        members.append(member)
    return members


def _work(queue: Queue, stop: Stop) -> None:
    """What a thread does until nothing is in the queue: the others have what is left."""
    while True:
        members = queue.take()
        if not members:
            return
        try:
            queue.put(_turn(members, queue))
        except BaseException as error:
            stop.because_of(error)


def _turn(members: list[Member], queue: Queue) -> list[Member]:
    """Some epochs of each; returns those that go on."""
    live, kind = [], members[0].kind
    for member in members:
        if member.training.goes_on():
            live.append(member)
        else:
            _end(member.training, member.training.history.ended_by)
    if kind is None or not live or _lanes().few(len(live), kind):
        return [member for member in live if _alone(member)]
    try:
        with queue.group(kind, live[0].training) as group:
            diverged = group.turn(live, TURN_SECONDS)
    except EndOfTraining as end:
        for member in live:
            _end(member.training, end.reason)
        return []
    except BaseException:
        for member in live:
            member.training.close()
        raise
    for member in live:
        member.is_new = False
    for member in diverged:
        _end(member.training, "divergence")
    return [member for member in live if member not in diverged]


def _alone(member: Member) -> bool:
    """Some epochs by itself; False where they ended the training."""
    training, end = member.training, time.perf_counter() + TURN_SECONDS
    try:
        training.one_epoch(_nothing)
        while not member.is_new and time.perf_counter() < end and training.goes_on():
            training.one_epoch(_nothing)
        member.is_new = False
        training.rest()
        return True
    except EndOfTraining as end_of_training:
        _end(training, end_of_training.reason)
    except DivergenceError:
        _end(training, "divergence")
    except BaseException:
        training.close()
        raise
    return False


def _end(training: Trainer, reason: str) -> None:
    """As `fit` ends; after an error, or a divergence, nothing is restored."""
    training.history.ended_by = reason
    training.rest()
    training.close()
    if reason not in ("divergence", "error"):
        training.finish()


def _nothing() -> None:
    """Where Ctrl-C may act: `Stop` looks at it for all trainings."""
