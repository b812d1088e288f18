"""The epochs of many trainings, taken in turns by some threads.

A thread takes a training out of the queue, runs one of its epochs, and puts it back at the end. So
no thread waits for another, and all trainings come equally far. A training is in one thread at a
time; nothing that it changes belongs to another.
"""

import importlib
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastbackprop.jit.availability import available_processors
from fastbackprop.training.callbacks import Callbacks, EndOfTraining
from fastbackprop.training.trainer import DivergenceError, Trainer

MIN_WORK = 20_000_000  # multiply-adds of (0) that a thread must have to do, to be worth starting


class Stop:
    """Whether all trainings should end: a callback of each of them.

    Attributes
    ----------
    interrupt : function
        Raises KeyboardInterrupt if Ctrl-C was pressed.
    error : BaseException or None
        The first error in any thread.
    lock : threading.RLock
        Held while callbacks are called.
    """

    def __init__(self) -> None:
        self.interrupt: Any = lambda: None
        self.error: BaseException | None = None
        self.lock = threading.RLock()

    def stop_reason(self) -> str | None:
        """Why they should."""
        try:
            self.interrupt()
        except KeyboardInterrupt:
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

    def tell(self, event: str, *arguments: Any) -> bool:
        """As of `Callbacks`."""
        with self._lock:
            return super().tell(event, *arguments)


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
    queue = Queue(begun)
    members = _started(workers - 1, queue, stop)
    _work(queue, stop)
    for member in members:
        member.join()
    if stop.error is not None:
        raise stop.error


def _lanes() -> Any:
    """`many.lanes`, which compiles: the engine "numpy" works without Numba."""
    return importlib.import_module("fastbackprop.many.lanes")


def _kind(training: Trainer) -> Any:
    return _lanes().kind(training) if training.machine.engine_name == "tiles" else None


class Queue:
    """Trainings that wait for a turn, first in, first out; those of one kind share turns."""

    def __init__(self, trainings: Sequence[Trainer]) -> None:
        self._waiting = deque((training, _kind(training)) for training in trainings)
        self._lock = threading.Lock()
        self._idle: dict[Any, list[Any]] = {}

    def take(self) -> tuple[list[Trainer], Any]:
        """Trainings of the first one's kind, as many as have a turn together; [] if none wait."""
        with self._lock:
            if not self._waiting:
                return [], None
            first, kind = self._waiting.popleft()
            taken, others = [first], []
            most = 1 if kind is None else _lanes().share(kind)
            while self._waiting and len(taken) < most:
                training, its_kind = self._waiting.popleft()
                if its_kind == kind:
                    taken.append(training)
                else:
                    others.append((training, its_kind))
            self._waiting.extendleft(reversed(others))
            return taken, kind

    def put(self, trainings: Sequence[Trainer], kind: Any) -> None:
        """Behind all that wait."""
        with self._lock:
            self._waiting.extend((training, kind) for training in trainings)

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
        trainings, kind = queue.take()
        if not trainings:
            return
        try:
            queue.put(_turn(trainings, kind, queue), kind)
        except BaseException as error:
            stop.because_of(error)


def _turn(trainings: list[Trainer], kind: Any, queue: Queue) -> list[Trainer]:
    """An epoch of each; returns those that go on."""
    live = []
    for training in trainings:
        if training.goes_on():
            live.append(training)
        else:
            _end(training, training.history.ended_by)
    if kind is None or not live or _lanes().few(live):
        return [training for training in live if _alone(training)]
    try:
        with queue.group(kind, live[0]) as group:
            diverged = group.epoch(live)
    except EndOfTraining as end:
        for training in live:
            _end(training, end.reason)
        return []
    except BaseException:
        for training in live:
            training.close()
        raise
    for training in diverged:
        _end(training, "divergence")
    return [training for training in live if training not in diverged]


def _alone(training: Trainer) -> bool:
    """An epoch; False where it ended the training."""
    try:
        training.one_epoch(_nothing)
        return True
    except EndOfTraining as end:
        _end(training, end.reason)
    except DivergenceError:
        _end(training, "divergence")
    except BaseException:
        training.close()
        raise
    return False


def _end(training: Trainer, reason: str) -> None:
    """As `fit` ends; after an error, or a divergence, nothing is restored."""
    training.history.ended_by = reason
    training.close()
    if reason not in ("divergence", "error"):
        training.finish()


def _nothing() -> None:
    """Where Ctrl-C may act: `Stop` looks at it for all trainings."""
