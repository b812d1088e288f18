"""Training: epochs of minibatches, run as native calls of some tens of milliseconds.

Between two native calls Python is back in charge: it sees Ctrl-C, and the time, there. Everything a
step changes (parameters, optimiser state) is changed inside a native call that ends on a row tile,
and steps are taken whole, so wherever training stops the network stands between two steps.
"""

import logging
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from fastbackprop.inputs.on_disk import at_hand, minibatches_at_hand, rows_at_once
from fastbackprop.layout import read_only
from fastbackprop.optimizers.schedules import Schedule, checked_factors
from fastbackprop.optimizers.steps import Stepper
from fastbackprop.samples import COST, N_SUMS, WEIGHT, Samples, without_targets
from fastbackprop.training.callbacks import Callbacks, History, Stopping
from fastbackprop.training.checkpoint import Checkpoint
from fastbackprop.training.metrics import Metric

SLICE_SECONDS = 0.03
Pause = Callable[[], None]  # what is called between two slices; it may raise

log = logging.getLogger("fastbackprop")


class TimeIsUp(Exception):
    """The time budget is spent."""


class DivergenceError(FloatingPointError):
    """The cost stopped being finite. The network holds its last finite parameters.

    `history` has the epochs before.
    """

    def __init__(self, message: str, history: History) -> None:
        super().__init__(message)
        self.history = history

    def __reduce__(self) -> tuple[type, tuple[str, History]]:
        return type(self), (str(self), self.history)


def slices(
    n: int, batch_size: int, tile: int, work: int, most: int = sys.maxsize
) -> Iterator[tuple[int, int]]:
    """Cut 0 ... n into pieces of about SLICE_SECONDS each, of at most about `most` rows.

    They end with a minibatch, or, where a minibatch takes longer, at a multiple of the row tile
    inside it. `work` is the number of parameters: at first a row is thought to take half a
    nanosecond for each, and 0.1 us beside.
    """
    rows = max(1, int(SLICE_SECONDS / (0.5e-9 * work + 1e-7)))
    start = 0
    while start < n:
        rows = min(rows, most)
        end_of_batch = (start // batch_size + 1) * batch_size
        if rows >= batch_size:
            stop = end_of_batch + (rows // batch_size - 1) * batch_size
        else:
            stop = min(start + max(tile, rows // tile * tile), end_of_batch)
        stop = min(stop, n)
        began = time.perf_counter()
        yield start, stop
        elapsed = max(time.perf_counter() - began, 1e-9)
        rows = max(1, int((stop - start) * min(SLICE_SECONDS / elapsed, 4)))
        start = stop


class Control(NamedTuple):
    """What looks after a training, beside its callbacks."""

    schedule: Schedule | None = None
    metrics: Sequence[Metric] = ()
    training_metrics: bool = False
    stopping: Stopping | None = None
    time_budget: float | None = None
    checkpoint: Checkpoint | None = None
    shuffle: bool = True
    dropout: tuple[float, ...] = ()  # of a^0 ... a^{L-1}
    noise: float = 0.0  # on a^0: its standard deviation


_COMPILED: set[tuple[Any, ...]] = set()  # for what trainings there is machine code


class Trainer:
    """One call of `fit`: the epochs of a network on checked samples.

    An epoch goes through `parts`: all samples, or batches as they come. `batch_size` None takes
    each part as one minibatch.
    """

    auto_batch_size: int | None = 32  # of all samples

    @staticmethod
    def check(**arguments: Any) -> None:
        """Raise ValueError for arguments of `fit`, None where left out, that have no use here."""

    def __init__(
        self,
        engine: ModuleType,
        model: Any,
        theta: np.ndarray,
        parts: Iterable[Samples],
        validation: Samples | None,
        stepper: Stepper,
        batch_size: int | None,
        rng: np.random.Generator | None,
        n_threads: int | None,
        workspace: Callable[[int, bool], Any],
        control: Control,
    ) -> None:
        self.perturbed = engine.perturbed(model, control.dropout, control.noise)
        self.engine, self.model, self.theta = engine, model, theta
        self.parts, self.validation, self.stepper = parts, validation, stepper
        self.batch_size = batch_size
        self.rng = rng  # None where nothing is random
        self.n_threads = n_threads
        self._workspace = workspace  # scratch for so many threads, and whether X is sparse
        self._works: dict[tuple[int, bool], Any] = {}
        self.tile = engine.row_tile(model)
        self._kept: list[np.ndarray] = []  # what steps change, as it was before them
        self.sums = np.zeros(N_SUMS)
        self.control = control
        # The schedule's factors of an epoch's steps, and the steps taken before that epoch.
        self._factors: np.ndarray | None = None
        self._steps_before = 0
        self._seed = 0  # of this pass

    def run(self, network: Any, epochs: int, callbacks: Callbacks) -> History:
        """Train; stop early where something says so, on Ctrl-C, or with DivergenceError."""
        stopping, checkpoint = self.control.stopping, self.control.checkpoint
        history = History()
        if checkpoint is not None:
            checkpoint.begin(self, network, history)
        first = len(history) + 1
        log.info("training %r from epoch %d to %d", network, first, epochs)
        try:
            callbacks.tell("on_train_begin", network)
            if self._goes_on(history, epochs):
                self._compile()
            deadline = time.monotonic() + (self.control.time_budget or np.inf)
            while self._goes_on(history, epochs):
                epoch = len(history) + 1
                callbacks.tell("on_epoch_begin", network, epoch)
                with deferred_interrupt() as interrupt:
                    logs = self._epoch(epoch, history, _pause(interrupt, deadline))
                    history.append(logs)
                    self._epoch_ended(logs)
                log.info("epoch %d/%d: %s", epoch, epochs, _Figures(logs))
                if callbacks.tell("on_epoch_end", network, epoch, dict(logs)):
                    history.ended_by = "callback"
                if checkpoint is not None:
                    with deferred_interrupt():
                        checkpoint.update(self, network, history)
                if history.ended_by == "epochs" and time.monotonic() > deadline:
                    raise TimeIsUp
        except TimeIsUp:
            history.ended_by = "time_budget"
        except KeyboardInterrupt:
            history.ended_by = "interrupt"
            message = f"training interrupted after {len(history)} of {epochs} epochs"
            warnings.warn(message, RuntimeWarning, stacklevel=3)
        finally:
            callbacks.close()
        if stopping is not None:
            stopping.restore(self.theta)
        log.info("training ended by %s after %d epochs", history.ended_by, len(history))
        callbacks.tell("on_train_end", network, history)
        return history

    def _goes_on(self, history: History, epochs: int) -> bool:
        """Whether there is another epoch. Early stopping is asked here, also after a checkpoint."""
        stopping = self.control.stopping
        if history.ended_by == "epochs" and stopping is not None and stopping.exhausted:
            history.ended_by = "early_stopping"
        return history.ended_by == "epochs" and len(history) < epochs

    def _epoch_ended(self, logs: dict[str, float]) -> None:
        if self.control.schedule is not None:
            self.control.schedule.epoch_ended(logs.get("validation_cost", logs["cost"]))
        if self.control.stopping is not None:
            self.control.stopping.epoch_ended(logs, self.theta)

    def _epoch(self, epoch: int, history: History, pause: Pause) -> dict[str, float]:
        """One pass over all samples; returns what the history says of it."""
        began = time.perf_counter()
        self._set_factors()
        self.sums[:] = 0
        for i, samples in enumerate(self.parts):
            if i:
                pause()
            if not self._part(samples, pause):
                raise DivergenceError(
                    f"training diverged in epoch {epoch}: the cost, or a weight, is not finite. "
                    f"The network holds its last finite parameters. Try a smaller learning rate, "
                    f"or scale the inputs and targets",
                    history,
                )
        logs = {"cost": float(self.sums[COST] / self.sums[WEIGHT])}
        if self.control.schedule is not None:
            logs["learning_rate"] = self.stepper.learning_rate * self._last_factor()
        if self.control.training_metrics:
            (samples,) = self.parts  # `fit` refuses them for batches
            logs |= self._metrics(samples, "", pause)
        if self.validation is not None:
            logs["validation_cost"] = self._validation_cost(self.validation, pause)
            logs |= self._metrics(self.validation, "validation_", pause)
        return logs | {"seconds": time.perf_counter() - began}

    def _set_factors(self) -> None:
        """The schedule's factors of the learning rate in the epoch that comes."""
        if self.control.schedule is not None:
            self._steps_before, n = self.stepper.steps, self._steps()
            step = self._steps_before + np.arange(n)
            self._factors = checked_factors(self.control.schedule, step, n)

    def _last_factor(self) -> float:
        """That of the last step; of the first to come, where the epoch took none."""
        assert self._factors is not None
        return float(self._factors[max(self.stepper.steps - self._steps_before - 1, 0)])

    def _part(self, samples: Samples, pause: Pause) -> bool:
        """One pass over these samples; False, and the last finite state, where that diverges."""
        n = len(samples.X)
        rng, control = self.rng, self.control
        order = rng.permutation(n) if rng is not None and control.shuffle else np.arange(n)
        if rng is not None and self.perturbed is not self.model:
            self._seed = int(rng.integers(2**32))
        self._keep()
        most = rows_at_once(samples)
        for start, stop in slices(n, self._batch_size(n), self.tile, self.theta.size, most):
            reached = self._train(samples, order, start, stop)
            if reached < stop or (stop == n and not self._finite()):
                if not self._finite():
                    self._take_back(samples, order)
                return False
            if stop < n:
                pause()
        return True

    def _steps(self) -> int:
        """Steps of an epoch; `fit` refuses a schedule for batches, whose number nobody knows."""
        (samples,) = self.parts
        n = len(samples.X)
        return -(-n // self._batch_size(n))

    def _batch_size(self, n: int) -> int:
        return n if self.batch_size is None else min(self.batch_size, n)

    def _compile(self) -> None:
        """Train on nothing, once in a process: no epoch's seconds hold the compilation.

        Nobody knows batches yet: a sparse X, for which no scratch is too large.
        """
        sparse = self.parts[0].is_sparse if isinstance(self.parts, list) else True
        key = type(self), self.engine, self.theta.dtype, sparse
        if key not in _COMPILED:
            self._call_with(self._no_samples(sparse))
            _COMPILED.add(key)

    def _call_with(self, nothing: Samples) -> None:
        self._train(nothing, np.arange(1), 0, 0)

    def _no_samples(self, sparse: bool) -> Samples:
        (n_in, n_out), dtype = self.model.layers["width"][[0, -1]], self.theta.dtype
        X = read_only(np.zeros((1, 0 if sparse else n_in), dtype))
        nothing, spans = without_targets(X, n_out, dtype), read_only(np.zeros((1, 2), np.int64))
        return nothing._replace(spans=spans) if sparse else nothing

    def _train(self, samples: Samples, order: np.ndarray, start: int, stop: int) -> int:
        size = self._batch_size(len(samples.X))
        work = self._work(samples)
        block, order, start, stop, offset = minibatches_at_hand(samples, order, size, start, stop)
        factors = self._factors
        if factors is not None:
            factors = factors[self.stepper.steps - self._steps_before :]
        before = (self.perturbed, self.theta, block, order, size)
        after = (self._seed, self.sums, work)
        train = self.engine.train
        return offset + self.stepper.train(train, before, after, start, stop, size, factors)

    def _work(self, samples: Samples) -> Any:
        """Scratch for steps on these samples."""
        n_threads, n = self.n_threads, len(samples.X)
        if n_threads is None:
            size, inputs = self._batch_size(n), samples.inputs_per_sample
            n_threads = self.engine.threads(self.model, size, n, inputs)
        key = n_threads, samples.is_sparse
        if key not in self._works:
            self._works[key] = self._workspace(*key)
        return self._works[key]

    def _finite(self) -> bool:
        return bool(np.isfinite(self.theta).all())

    def _keep(self) -> None:
        """A copy of all that a step changes, in the same memory each time."""
        if not self._kept:
            self._kept = [np.empty_like(array) for array in self.stepper.changing]
        for copy, array in zip(self._kept, self.stepper.changing, strict=True):
            copy[...] = array

    def _restore(self) -> None:
        for array, copy in zip(self.stepper.changing, self._kept, strict=True):
            array[...] = copy

    def _take_back(self, samples: Samples, order: np.ndarray) -> None:
        """Undo the step that ruined the parameters.

        From the start of this pass its steps are taken again, one by one: rare, so no step has to
        keep a copy for it.
        """
        self._restore()
        n, size = len(order), self._batch_size(len(order))
        some = max(self.tile, rows_at_once(samples) // self.tile * self.tile)
        for first in range(0, n, size):
            last = min(first + size, n)
            self._keep()
            for start in range(first, last, some):
                self._train(samples, order, start, min(start + some, last))
            if not self._finite():
                return self._restore()

    def _validation_cost(self, samples: Samples, pause: Pause) -> float:
        sums = np.zeros(N_SUMS)
        n = len(samples.X)
        pieces = slices(n, n, self.tile, self.theta.size, rows_at_once(samples))
        work = self._work(samples)
        for block, start, stop, _ in at_hand(samples, pieces):
            self.engine.cost_sum(self.model, self.theta, block, sums, work, start, stop)
            pause()
        return float(sums[COST] / sums[WEIGHT])

    def _metrics(self, samples: Samples, prefix: str, pause: Pause) -> dict[str, float]:
        if not self.control.metrics:
            return {}
        n, n_out = len(samples.X), samples.Y.shape[1]
        a = np.empty((n, n_out), self.theta.dtype)
        y = samples.labels if len(samples.labels) else np.empty((n, n_out), self.theta.dtype)
        pieces = slices(n, n, self.tile, self.theta.size, rows_at_once(samples))
        work = self._work(samples)
        for block, start, stop, offset in at_hand(samples, pieces):
            self.engine.predict(self.model, self.theta, block, a[offset:], work, start, stop)
            if not len(samples.labels):
                y[offset + start : offset + stop] = block.Y[start:stop]
            pause()
        return {prefix + m.name: m.value(y, a, samples.s) for m in self.control.metrics}


class _Figures:
    """The figures of an epoch as text, made where somebody logs it."""

    def __init__(self, logs: dict[str, float]) -> None:
        self.logs = logs

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:.6g}" for name, value in self.logs.items())


def _pause(interrupt: Pause, deadline: float) -> Pause:
    def pause() -> None:
        interrupt()
        if time.monotonic() > deadline:
            raise TimeIsUp

    return pause


@contextmanager
def deferred_interrupt() -> Iterator[Pause]:
    """Ctrl-C waits for a call of what this yields, or for the end of the block.

    So it cannot land inside a step. Outside the main thread, where Python raises no
    KeyboardInterrupt, and where somebody else handles the signal, nothing is changed.
    """
    seen: list[int] = []

    def interrupt() -> None:
        if seen:
            raise KeyboardInterrupt

    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if not ours:
        yield interrupt
        return
    signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupt()
