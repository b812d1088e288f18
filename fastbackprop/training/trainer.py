"""Trainer: epochs of minibatches, run as native calls of some tens of milliseconds.

Between two native calls Python is back in charge: it sees Ctrl-C, and the time, there. Everything a
step changes (parameters, optimiser state) is changed inside a native call that ends on a row tile,
and steps are taken whole. So wherever training stops, the network stands between two steps.
"""

import contextlib
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastbackprop import inputs
from fastbackprop.engines.bound import Minibatches
from fastbackprop.inputs.on_disk import in_memory, minibatches_at_hand, rows_at_once
from fastbackprop.jit.interrupts import deferred
from fastbackprop.layout import read_only
from fastbackprop.machine import THERE_AND_BACK, Pause, rows_of_a_slice, slices
from fastbackprop.optimizers import Optimizer
from fastbackprop.optimizers.steps import Stepper
from fastbackprop.samples import COST, N_SUMS, WEIGHT, Samples, without_targets
from fastbackprop.training.callbacks import Callbacks, EndOfTraining
from fastbackprop.training.history import History
from fastbackprop.training.orders import Orders
from fastbackprop.training.plan import Plan, for_targets
from fastbackprop.training.short_steps import ShortPasses

log = logging.getLogger("fastbackprop")


class DivergenceError(FloatingPointError):
    """The cost stopped being finite. The network holds its last finite parameters.

    `history` has the epochs before.
    """

    def __init__(self, message: str, history: History) -> None:
        super().__init__(message)
        self.history = history

    def __reduce__(self) -> tuple[type, tuple[str, History]]:
        return type(self), (str(self), self.history)


def diverged(where: str, history: History) -> DivergenceError:
    """The error of a training that diverged there."""
    return DivergenceError(
        f"training diverged in {where}: the cost, or a weight, is not finite. The network holds "
        f"its last finite parameters. Try a smaller learning rate, or scale the inputs and targets",
        history,
    )


_COMPILED: set[tuple[Any, ...]] = set()  # the kinds of training that have machine code


class Trainer:
    """One call of `fit`: the epochs of a network on checked samples.

    Attributes
    ----------
    network, machine, plan, optimizer, callbacks, history
    stepper : Stepper
        The optimizer at work, from the start of `run` on.
    rng : numpy.random.Generator or None
        The network's; None where nothing is random.
    """

    auto_batch_size: int | None = 32  # of all samples
    takes_rows = True  # whether a pass can be over some of the samples
    has_short_passes = True  # whether a pass that is one native call may take the short way
    no_checkpoint: str | None = None  # why there can be none
    stepper: Stepper

    @staticmethod
    def check(settings: dict[str, Any], batches: bool) -> None:
        """Raise ValueError for arguments of `fit` that have no use here."""

    def __init__(
        self, network: Any, plan: Plan, optimizer: Optimizer, callbacks: Callbacks
    ) -> None:
        self.network, self.plan = network, plan
        self.machine = for_targets(network.machine, plan.missing_targets)
        self.optimizer, self.callbacks, self.history = optimizer, callbacks, History()
        self.rng = network.rng if plan.is_random else None
        self.perturbed = self._perturbed(1.0)
        self.tile = self.machine.engine.row_tile(self.machine.model)
        self.sums, self.batch = np.zeros(N_SUMS), 0
        self.parts_taken = 0  # of this epoch
        self._kept: list[np.ndarray] = []  # everything that steps change, as it was before them
        self._short: ShortPasses | None = None
        self._orders: tuple[int, Orders] | None = None  # of so many samples
        self._seed = 0  # of this pass
        self._chosen_threads: tuple[Any, int] = (None, 1)
        self._squares: float | None = None  # where those of an epoch that is over are known

    def run(self) -> History:
        """Train; stop early where something says so, on Ctrl-C, or with DivergenceError."""
        history = self.history
        try:
            self.begin()
            if self.callbacks.objects:  # Ctrl-C acts at once in the midst of them
                while self.goes_on():
                    self.one_epoch()
            else:  # a handler for each epoch would take a tenth of a small one
                with deferred() as interrupt:
                    while self.goes_on():
                        self.one_epoch(interrupt)
                        interrupt()
        except EndOfTraining as end:
            history.ended_by = end.reason
        except KeyboardInterrupt:
            history.ended_by = "interrupt"
        finally:
            self.close()
        self.finish()
        return history

    # `run` is these, in this order: `many` takes the epochs of several trainings in turns.

    def begin(self) -> None:
        """Before the first epoch."""
        for callback in self.callbacks.having("on_resume"):
            callback.on_resume()
        log.info(
            "training %r from epoch %d to %d",
            self.network,
            len(self.history) + 1,
            self.plan.epochs,
        )
        self.callbacks.tell("on_train_begin", self.network)
        if self.goes_on():
            self._compile()

    def goes_on(self) -> bool:
        """Whether there is another epoch. Callbacks are asked here, also after a checkpoint."""
        if self.history.ended_by == "epochs":
            self.history.ended_by = self.callbacks.stop_reason() or "epochs"
        return self.history.ended_by == "epochs" and len(self.history) < self.plan.epochs

    def one_epoch(self, interrupt: Pause | None = None) -> None:
        """The next epoch. Raises EndOfTraining, KeyboardInterrupt or DivergenceError.

        `interrupt` is called where Ctrl-C may act, by a caller that lets it wait elsewhere.
        """
        self.rest_of_epoch(self.begin_epoch(), interrupt)

    def rest_of_epoch(self, began: float, interrupt: Pause | None = None) -> None:
        """What follows `begin_epoch`. Raises as `one_epoch`."""
        with deferred() if interrupt is None else contextlib.nullcontext(interrupt) as may_act:
            pause = self.pause(may_act)
            self._passes(pause)
            logs = self.end_steps(began, pause)
        self.end_epoch(logs)

    def close(self) -> None:
        """The training has ended, perhaps with an error."""
        for callback in self.callbacks.having("on_close"):
            callback.on_close()

    def finish(self) -> None:
        """The training has ended without an error."""
        history = self.history
        for callback in self.callbacks.having("on_restore"):
            callback.on_restore()
        log.info("training ended by %s after %d epochs", history.ended_by, len(history))
        self.callbacks.tell("on_train_end", self.network, history)

    # An epoch is these: `many` takes the steps of several networks together.

    @property
    def _has_figures(self) -> bool:
        """Whether the network predicts after each epoch."""
        plan = self.plan
        return plan.validation is not None or (plan.of_training and bool(plan.metrics))

    @property
    def epochs_ahead(self) -> int:
        """So many epochs may follow each other without anything that depends on those before."""
        if self._has_figures or self.stepper.schedule is not None:
            return 1
        return self.callbacks.epochs_ahead

    @property
    def is_looked_at(self) -> bool:
        """Whether the network must be up to date after each epoch."""
        return self._has_figures or self.callbacks.look_at_network

    def sum_of_squares(self) -> float:
        """The sum of w^2 over all weights after the last epoch, one after the other in float64."""
        if self._squares is None:
            with np.errstate(over="ignore"):
                squares = [np.square(W).ravel() for W in self.machine.weights]
                return float(np.cumsum(np.concatenate(squares), dtype=np.float64)[-1])
        return self._squares

    def epochs_over(self, figures: Iterable[Sequence[float]], seconds: float, pause: Pause) -> None:
        """Epochs whose steps were taken elsewhere: sum_i s_i C_i, sum_i s_i, sum w^2 of each."""
        for cost, weight, self._squares in figures:
            self.end_epoch(self._steps_over(cost / weight, time.perf_counter() - seconds, pause))
        self._squares = None

    def begin_epoch(self) -> float:
        """Before the steps of an epoch; returns the time."""
        self.callbacks.tell("on_epoch_begin", self.network, len(self.history) + 1)
        began, plan = time.perf_counter(), self.plan
        if plan.factor is not None:
            self.perturbed, self._short = self._perturbed(plan.factor(len(self.history) + 1)), None
        n_steps = plan.n_steps if plan.samples is None else self._steps(plan.samples)
        self.stepper.begin_epoch(n_steps or 0)
        if not self.parts_taken:
            self.sums[:], self.batch = 0, 0
        return began

    def _perturbed(self, factor: float) -> Any:
        """The model with dropout, its rates times this factor, and noise."""
        rates = [factor * rate for rate in self.plan.rates]
        return self.machine.engine.perturbed(self.machine.model, rates, self.plan.noise)

    def end_steps(self, began: float, pause: Pause) -> dict[str, float]:
        """After the steps: the epoch's figures, in the history too."""
        return self._steps_over(float(self.sums[COST] / self.sums[WEIGHT]), began, pause)

    def _steps_over(self, cost: float, began: float, pause: Pause) -> dict[str, float]:
        plan, stepper, self.parts_taken = self.plan, self.stepper, 0
        logs = {"cost": cost}
        if stepper.schedule is not None:
            logs["learning_rate"] = stepper.rate
        if plan.of_training and plan.metrics:
            logs |= self._metrics(self._training_samples(), "", pause)
        logs |= self.validate(pause)
        logs["seconds"] = time.perf_counter() - began
        self.history.append(logs)
        if stepper.schedule is not None:
            stepper.schedule.epoch_ended(logs.get("validation_cost", logs["cost"]))
        for callback in self.callbacks.having("on_epoch_finished"):
            callback.on_epoch_finished(logs)
        return logs

    def validate(self, pause: Pause) -> dict[str, float]:
        """The figures of the validation samples, if there are any."""
        samples = self.plan.validation
        if samples is None:
            return {}
        cost, weight = self.machine.cost_sums(samples, self._threads(samples), pause)
        return {"validation_cost": cost / weight} | self._metrics([samples], "validation_", pause)

    def end_epoch(self, logs: dict[str, float]) -> None:
        """Callbacks have their turn."""
        network, epoch = self.network, len(self.history)
        if log.isEnabledFor(logging.INFO):
            log.info("epoch %d/%d: %s", epoch, self.plan.epochs, _Figures(logs))
        if self.callbacks.listening("on_epoch_end"):
            if self.callbacks.tell("on_epoch_end", network, epoch, dict(logs)):
                self.history.ended_by = "callback"
        if savers := self.callbacks.having("on_save"):
            with deferred():
                for callback in savers:
                    callback.on_save()

    def pause(self, interrupt: Pause) -> Pause:
        """For between two native calls: Ctrl-C, and callbacks, have their turn."""
        turns = [interrupt, *(callback.on_pause for callback in self.callbacks.having("on_pause"))]

        def pause() -> None:
            for turn in turns:
                turn()

        return pause

    def _passes(self, pause: Pause) -> None:
        """One pass over all samples. Raises DivergenceError."""
        for i, samples in enumerate(self.plan.parts, 1):
            if i <= self.parts_taken:  # before the checkpoint that the training goes on from
                continue
            if i > 1:
                pause()
            if self.plan.samples is None and self.plan.n_steps is None and self.stepper.schedule:
                self.stepper.begin_epoch(self._steps(samples))  # all that the schedule asks for
            if not self._part(samples, pause):
                raise diverged(f"epoch {len(self.history) + 1}", self.history)
            self.parts_taken = i
            for callback in self.callbacks.having("on_part"):
                callback.on_part()

    def _part(self, samples: Samples, pause: Pause) -> bool:
        """One pass over these samples; False, and the last finite state, where that diverges."""
        return self.one_pass(samples, self.order(samples), pause)

    def order(self, samples: Samples) -> np.ndarray:
        """The order of the samples in the next pass."""
        plan, rng = self.plan, self.rng
        n = self._n(samples)
        order = self.draw_order(n)
        if rng is not None and self.perturbed is not self.machine.model:
            self._seed = int(rng.integers(2**32))
        return order if plan.rows is None else plan.rows[order]

    def draw_order(self, n: int) -> np.ndarray:
        """A permutation of 0 ... n - 1, or these in order."""
        if self._orders is None or self._orders[0] != n:
            rng = self.rng if self.plan.shuffle else None
            self._orders = n, Orders(self.machine.engine, [rng], [n])
        order = np.empty((1, 1, n), np.int64)
        self._orders[1].draw(order)
        drawn: np.ndarray = order[0, 0]
        return drawn

    def one_pass(self, samples: Samples, order: np.ndarray, pause: Pause) -> bool:
        """`_part` in this order."""
        if (self._short or self._goes_short(samples)) and self._takes_short(samples, order):
            return True
        self._keep()
        n, most, work = len(order), rows_at_once(samples), self.machine.theta.size
        size, listeners = self._batch_size(n), self.callbacks.having("on_batch_end")
        if listeners:  # a slice for each minibatch, or several
            most, self._sums_before = min(most, size), self.sums.copy()
        for start, stop in slices(n, size, self.tile, work, most):
            reached = self._train(samples, order, start, stop)
            if listeners and reached == stop and (stop % size == 0 or stop == n):
                self.tell_of_batch(listeners)
            if reached < stop or (stop == n and not self._finite()):
                if not self._finite():
                    self._take_back(samples, order)
                return False
            if stop < n:
                pause()
        return True

    def _goes_short(self, samples: Samples) -> bool:
        """Whether a pass over these samples is one native call, in the short way."""
        engine, work = self.machine.engine, self.machine.theta.size
        return (
            self.has_short_passes
            and engine.short is not None
            and samples is self.plan.samples
            and self._n(samples) <= rows_of_a_slice(work)
            and not samples.is_sparse
            and in_memory(samples)
            and self.stepper.settings.function is None
            and not self.callbacks.having("on_batch_end")
            and self._threads(samples) == 1
        )

    def _takes_short(self, samples: Samples, order: np.ndarray) -> bool:
        """A pass in the short way; False, and nothing has changed, where that diverges."""
        if self._short is None:
            self._short = ShortPasses(self.machine, self.perturbed, self.stepper, samples)
        size = self._batch_size(self._n(samples))
        return self._short.take(order, size, self._seed, self.sums)

    def rest(self) -> None:
        """There is a pause: free memory that the next epoch makes anew."""
        self._short, self._kept = None, []
        self.stepper.forget_scratch()
        self.machine.forget_scratch()

    def tell_of_batch(self, listeners: list[Any]) -> None:
        """After a step, with the mean cost of its minibatch."""
        sums, self._sums_before = self.sums - self._sums_before, self.sums.copy()
        logs = {"cost": float(sums[COST] / sums[WEIGHT]) if sums[WEIGHT] else float("nan")}
        self.batch += 1
        for listener in listeners:
            listener.on_batch_end(self.network, self.batch, logs)

    def _n(self, samples: Samples) -> int:
        """How many of the samples a pass is over."""
        return len(samples.X) if self.plan.rows is None else len(self.plan.rows)

    def _steps(self, samples: Samples) -> int:
        """Steps of an epoch."""
        n = self._n(samples)
        return -(-n // self._batch_size(n))

    def _batch_size(self, n: int) -> int:
        return n if self.plan.batch_size is None else min(self.plan.batch_size, n)

    def _compile(self) -> None:
        """Train on nothing, once in a process: no epoch's seconds hold the compilation.

        The kind of batches is not known yet: a sparse X is assumed, for which no scratch is too
        large.
        """
        samples = self.plan.samples
        sparse = True if samples is None else samples.is_sparse
        short = samples is not None and self._goes_short(samples)
        key = type(self), self.machine.engine, self.machine.dtype, sparse, short
        if key in _COMPILED:
            return
        Orders(self.machine.engine, [self.network.rng], [1])
        if short and samples is not None:
            self._takes_short(samples, np.arange(0))
        else:
            self._call_with(self._no_samples(sparse))
        _COMPILED.add(key)

    def _call_with(self, nothing: Samples) -> None:
        self._train(nothing, np.arange(1), 0, 0)

    def _no_samples(self, sparse: bool) -> Samples:
        n_in, n_out, dtype = self.machine.sizes[0], self.machine.sizes[-1], self.machine.dtype
        X = read_only(np.zeros((1, 0 if sparse else n_in), dtype))
        nothing, spans = without_targets(X, n_out, dtype), read_only(np.zeros((1, 2), np.int64))
        return nothing._replace(spans=spans) if sparse else nothing

    def _train(self, samples: Samples, order: np.ndarray, start: int, stop: int) -> int:
        """The steps of these places of the order; returns how far they came."""
        size, engine = self._batch_size(len(order)), self.machine.engine
        n_threads, sparse = self._threads(samples), samples.is_sparse
        block, order, start, stop, offset = minibatches_at_hand(samples, order, size, start, stop)
        minibatches, reached = Minibatches(block, order, size, self._seed), stop
        with self.machine.bound(n_threads, sparse, model=self.perturbed) as bound:
            for first, last, update in self.stepper.turns(start, stop, size):
                reached = engine.train(bound, minibatches, update, self.sums, first, last)
                if reached < last:
                    break
        return offset + reached

    def threads(self) -> int:
        """How many threads a step is worth, or as many as `fit` was told."""
        return 1 if self.plan.samples is None else self._threads(self.plan.samples)

    def _threads(self, samples: Samples) -> int:
        if self.plan.n_threads is not None:
            return self.plan.n_threads
        chosen_for, n = self._chosen_threads
        if samples is not chosen_for:  # every call asks, mostly for the same
            size = self._batch_size(len(samples.X))
            n = self.machine.threads(samples, size, THERE_AND_BACK)
            self._chosen_threads = samples, n
        return n

    def _finite(self) -> bool:
        return bool(np.isfinite(self.machine.theta).all())

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

    def _training_samples(self) -> Iterable[Samples]:
        plan = self.plan
        if plan.samples is None or plan.rows is None:
            return plan.parts
        return [inputs.take(plan.samples, plan.rows)]

    def _metrics(self, parts: Iterable[Samples], prefix: str, pause: Pause) -> dict[str, float]:
        """Of all parts together."""
        if not self.plan.metrics:
            return {}
        n_out, dtype, found = self.machine.sizes[-1], self.machine.dtype, []
        for samples in parts:
            a = np.empty((len(samples.X), n_out), dtype)
            self.machine.predict(samples, a, self._threads(samples), pause)
            y = samples.labels if len(samples.labels) else np.array(samples.Y[:])
            if len(samples.labels):  # which is not known before, of batches
                for metric in self.plan.metrics:
                    metric.check_labels()
            found.append((y, a, samples.s))
        y, a, s = found[0] if len(found) == 1 else map(np.concatenate, zip(*found, strict=True))
        return {prefix + m.name: m.value(y, a, s) for m in self.plan.metrics}


class _Figures:
    """The figures of an epoch as text, made where somebody logs it."""

    def __init__(self, logs: dict[str, float]) -> None:
        self.logs = logs

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:.6g}" for name, value in self.logs.items())
