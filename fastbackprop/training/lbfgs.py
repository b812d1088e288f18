"""SciPy's minimisers as the epochs of a training, an iteration each; LBFGS is one of them."""

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from fastbackprop import inputs
from fastbackprop.engines.bound import by_parameters
from fastbackprop.machine import Pause
from fastbackprop.names import missing
from fastbackprop.optimizers import LBFGS
from fastbackprop.samples import COST, N_SUMS, WEIGHT, Samples
from fastbackprop.training.dropout import Dropout, as_dropout
from fastbackprop.training.trainer import Trainer

NO_COST = 1e30  # in place of one that is not finite: the line search turns back

EVALUATE, ACCEPTED, ENDED = "evaluate", "accepted", "ended"
ENDS = ("converged", "max_evaluations", "line_search")  # of a training, by SciPy's status


def no_checkpoint_of(name: str) -> str:
    """Why there is none, for `Trainer.no_checkpoint`."""
    return (
        f"{name} has no checkpoint: SciPy keeps the memory of its iterations internally, so that a "
        f"training cannot be resumed. Leave the Checkpoint out, save the network in a callback, "
        f"and begin again from there"
    )


class Minimization(Trainer):
    """A training by one of SciPy's minimisers.

    The network's parameters change where SciPy accepts a point, and nowhere else: costs and
    gradients on the way are those of a trial point.
    """

    auto_batch_size = None
    takes_rows = has_short_passes = False
    _minimizer: "Minimizer | None" = None

    def minimizer(self, x: np.ndarray) -> "Minimizer":
        """SciPy's, from this point on."""
        raise NotImplementedError

    def evaluate(self, samples: Samples | None, x: np.ndarray, pause: Pause) -> "Evaluation":
        """The cost at a trial point; and SciPy's function and its gradient there."""
        raise NotImplementedError

    def begin(self) -> None:
        """Start SciPy. Ctrl-C and the time budget leave the last accepted point."""
        self._cost: float | None = None  # at the accepted point
        self._question: Any = None  # of SciPy, after an accepted point: it may also end there
        x = self.machine.layout.flatten(self.machine.theta).astype(np.float64)
        self._minimizer = self.minimizer(x)
        super().begin()

    def close(self) -> None:
        """End SciPy's thread."""
        super().close()
        if self._minimizer is not None:
            self._minimizer.close()

    def end_steps(self, began: float, pause: Pause) -> dict[str, float]:
        """As of `Trainer`; SciPy may say that this epoch is the last."""
        logs = super().end_steps(began, pause)
        assert self._minimizer is not None
        if self._minimizer.ended:
            self.history.ended_by = ENDS[min(self._minimizer.status, len(ENDS) - 1)]
        return logs

    def _part(self, samples: Samples | None, pause: Pause) -> bool:
        """One iteration; False where the cost is not finite before the first."""
        total, minimizer = _total(samples), self._minimizer
        assert minimizer is not None
        costs, latest = {}, np.inf
        event, x = self._question or minimizer.go_on(None)
        while event == EVALUATE:
            latest, answer = self.evaluate(samples, x, pause)
            costs[x.tobytes()] = latest
            if self._cost is None:
                self._cost = latest
                if not np.isfinite(latest):
                    return False
            event, x = minimizer.go_on(answer)
        assert self._cost is not None
        self.sums[COST], self.sums[WEIGHT] = self._cost * total, total
        if event == ACCEPTED:
            self.machine.layout.unflatten(x, self.machine.theta)
            self.stepper.steps += 1
            self._cost = costs.get(x.tobytes(), latest)
            self._question = minimizer.go_on(None)
        return True


def _total(samples: Samples | None) -> float:
    """The sum of weights; 1 where there are no samples."""
    if samples is None:
        return 1.0
    return float(samples.s.sum()) if len(samples.s) else float(len(samples.X))


Evaluation = tuple[float, tuple[float, np.ndarray]]


class LBFGSTrainer(Minimization):
    """One call of `fit` with LBFGS."""

    no_checkpoint = no_checkpoint_of("LBFGS")
    optimizer: LBFGS

    @staticmethod
    def check(settings: dict[str, Any], batches: bool) -> None:
        """Also raises ImportError without SciPy."""
        scipy_minimize()
        size, dropout = settings["batch_size"], as_dropout(settings["dropout"])
        inputs.refuse_for_lbfgs(
            batches=batches or None,
            batch_size=None if isinstance(size, str) else size,
            dropout=None if dropout == Dropout() else dropout,
        )

    def minimizer(self, x: np.ndarray) -> "Minimizer":
        """Also makes the memory that each evaluation uses."""
        machine, layout, rule = self.machine, self.machine.layout, self.optimizer
        self._trial, self._gradient, penalized = (machine.vector() for _ in range(3))
        biases = layout.biases(penalized) if rule.penalize_biases else []
        for view in [*layout.weights(penalized), *biases]:
            view[...] = 1
        self._penalized = float(rule.l2) * layout.flatten(penalized)
        options: dict[str, Any] = {
            "maxcor": int(rule.history),
            "gtol": float(rule.tolerance),
            "ftol": float(rule.cost_tolerance),
            "maxls": int(rule.max_line_search),
        }
        if rule.max_evaluations is not None:
            options["maxfun"] = int(rule.max_evaluations)
        return Minimizer(x, "L-BFGS-B", options)

    def evaluate(self, samples: Samples | None, x: np.ndarray, pause: Pause) -> Evaluation:
        """The mean cost; and what is minimised, with the penalty."""
        cost, g = self.mean_gradient(samples, x, pause)
        pause()
        if not np.isfinite(cost) or not np.isfinite(g).all():
            return np.inf, (NO_COST, np.zeros_like(g))
        penalty = self._penalized * x
        return cost, (cost + float(penalty @ x) / 2, g + penalty)

    def mean_gradient(
        self, samples: Samples | None, x: np.ndarray, pause: Pause
    ) -> tuple[float, np.ndarray]:
        """The mean cost at a trial point, and its gradient, float64 without padding."""
        assert samples is not None
        machine, layout, sums = self.machine, self.machine.layout, np.zeros(N_SUMS)
        total = _total(samples)
        layout.unflatten(x, self._trial)
        self._gradient[:] = 0
        into = by_parameters(self._gradient)
        with self._bound(samples) as bound:
            for i, (block, start, stop, _) in enumerate(machine.pieces(samples)):
                if i:
                    pause()
                machine.engine.gradient_sums(bound, block, total, into, sums, start, stop)
        return float(sums[COST] / total), layout.flatten(self._gradient).astype(np.float64)

    def _bound(self, samples: Samples) -> Any:
        """The network at the trial point."""
        n_threads = self._threads(samples)
        return self.machine.bound(n_threads, samples.is_sparse, theta=self._trial)

    def _call_with(self, nothing: Samples) -> None:
        with self._bound(nothing) as bound:
            sums, into = np.zeros(N_SUMS), by_parameters(self._gradient)
            self.machine.engine.gradient_sums(bound, nothing, 1.0, into, sums, 0, 0)


def scipy_minimize() -> Any:
    """`scipy.optimize.minimize`. Raises ImportError without SciPy."""
    try:
        from scipy.optimize import minimize
    except ImportError:
        raise missing("LBFGS and minimize need SciPy", "scipy") from None
    return minimize


class Minimizer:
    """`scipy.optimize.minimize` turned inside out.

    It calls back, and a training is a loop that calls. So it has a thread of its own, in which it
    does nothing but wait while the training is at work.
    """

    def __init__(self, x: np.ndarray, method: str, options: dict[str, Any]) -> None:
        self.ended, self.status = False, 0
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        arguments = scipy_minimize(), x, method, options
        self._thread = threading.Thread(target=self._minimize, args=arguments)
        self._thread.daemon = True

    def go_on(self, answer: Any) -> tuple[str, Any]:
        """The answer to the event before, and the next: EVALUATE or ACCEPTED and a point, or ENDED.

        EVALUATE is answered by the cost and its gradient; to the first call there is no answer.
        """
        if self.ended:
            return ENDED, None
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._answers.put(answer)
        event, x = self._events.get()
        self.ended = event == ENDED
        if isinstance(x, Exception):
            raise x
        return event, x

    def close(self) -> None:
        """End the thread, wherever it waits."""
        self._answers.put(_Closed())
        if self._thread.ident is not None:
            self._thread.join()

    def _ask(self, event: str, x: np.ndarray) -> Any:
        self._events.put((event, x.copy()))
        answer = self._answers.get()
        if isinstance(answer, _Closed):
            raise answer
        return answer

    def _minimize(
        self, minimize: Callable[..., Any], x: np.ndarray, method: str, options: dict[str, Any]
    ) -> None:
        unlimited = np.iinfo(np.int32).max
        limits = {"maxiter": unlimited} | ({"maxfun": unlimited} if method == "L-BFGS-B" else {})
        error = None
        with contextlib.suppress(_Closed):
            try:
                result = minimize(
                    lambda x: self._ask(EVALUATE, x),
                    x,
                    jac=True,
                    method=method,
                    callback=lambda x: self._ask(ACCEPTED, x),
                    options=limits | options,
                )
                self.status = int(result.status)
            except Exception as caught:
                error = caught
            self._events.put((ENDED, error))


class _Closed(BaseException):
    """The training needs no more points."""
