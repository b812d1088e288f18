"""The epochs of many trainings, taken in turns by some threads.

A thread takes a training out of the queue, runs one of its epochs, and puts it back at the end. So
no thread waits for another, and all trainings come equally far. A training is in one thread at a
time; nothing that it changes belongs to another.
"""

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from fastbackprop.jit.team import available_processors
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
    queue = deque(begun)
    members = _started(workers - 1, queue, stop)
    _work(queue, stop)
    for member in members:
        member.join()
    if stop.error is not None:
        raise stop.error


def _threads(trainings: Sequence[Trainer]) -> int:
    """As many threads as the work is worth."""
    work: int = sum(
        t.plan.n_samples * t.plan.epochs * t.machine.layout.n_parameters for t in trainings
    )
    return max(1, min(available_processors(), work // MIN_WORK))


def _started(n: int, queue: deque[Trainer], stop: Stop) -> list[threading.Thread]:
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


def _work(queue: deque[Trainer], stop: Stop) -> None:
    """What a thread does until nothing is in the queue: the others have what is left."""
    while True:
        try:
            training = queue.popleft()
        except IndexError:
            return
        try:
            if _turn(training):
                queue.append(training)
        except BaseException as error:
            stop.because_of(error)


def _turn(training: Trainer) -> bool:
    """An epoch; False where the training has ended."""
    history = training.history
    try:
        if training.goes_on():
            training.one_epoch()
            return True
    except EndOfTraining as end:
        history.ended_by = end.reason
    except DivergenceError:
        history.ended_by = "divergence"
        training.close()
        return False
    except BaseException:
        training.close()
        raise
    training.close()
    if history.ended_by != "error":
        training.finish()
    return False
