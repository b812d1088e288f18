"""Callbacks of `Network.fit` that make a training scikit-learn's."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from fastbackprop.network import Network
from fastbackprop.sklearn.data import Data
from fastbackprop.sklearn.parameters import EpochFactor, is_lbfgs
from fastbackprop.training import History
from fastbackprop.training.callbacks import ANY_NUMBER

# What a training changes in a monitor, and in its estimator.
OF_MONITOR = ("best", "waited", "converged", "began", "penalty")
OF_ESTIMATOR = (
    *("n_iter_", "loss_", "t_", "loss_curve_", "best_loss_"),
    *("validation_scores_", "best_validation_score_"),
)


class Monitor:
    """Keeps scikit-learn's figures of a training in the estimator, and ends it by them.

    `waited` counts the epochs in a row that were not better than the best so far, of this call, by
    `tol`. `l2` is the penalty in the network's mean cost, `held_out` are the validation samples.
    """

    def __init__(
        self, estimator: Any, n_samples: int, batch_size: int, l2: float, held_out: Data | None
    ) -> None:
        self.estimator, self.n_samples, self.l2 = estimator, n_samples, l2
        self.held_out = held_out
        steps = -(-n_samples // batch_size)
        self.part = (steps - 1) / (2 * steps)
        self.has_tolerance = not is_lbfgs(estimator.solver)
        self.stops_early = estimator._stops_early()
        self.best, self.waited, self.converged = -np.inf, 0, False
        self.began = False  # and with it the estimator has changed for good
        self.parameters: np.ndarray | None = None
        if held_out is not None and estimator.validation_scores_ is None:
            estimator.validation_scores_ = []

    # For `many`: no more than these epochs may follow each other before one is told of, and where
    # the best parameters are kept the network must be up to date then.

    @property
    def epochs_ahead(self) -> int:
        """The last of so many may end the training, if none of them is better."""
        left = self.estimator.n_iter_no_change - self.waited
        return 1 if self.estimator.verbose else int(min(left, ANY_NUMBER - 1)) + 1

    @property
    def looks_at_network(self) -> bool:
        """Whether early stopping keeps the best parameters."""
        return self.stops_early

    def for_training(self, training: Any) -> Monitor:
        """It has the sum of all w^2."""
        self.training = training
        return self

    def _penalty(self) -> float:
        return self.l2 / 2 * self.training.sum_of_squares() if self.l2 else 0.0

    def score(self, _: Any, a: np.ndarray) -> float:
        """The metric of `Network.fit`: the estimator's score of the validation samples."""
        assert self.held_out is not None
        samples = self.held_out
        score: float = self.estimator._score(samples.X, samples.y, a, samples.s)
        return score

    def on_train_begin(self, network: Network) -> None:
        """Refuse validation samples that have no score; later errors leave the trained network."""
        if self.held_out is not None:
            self.score(None, np.zeros((len(self.held_out.Y), network.sizes[-1])))
        self.penalty = self._penalty()
        self.began = True

    def on_epoch_end(self, network: Network, epoch: int, logs: dict[str, float]) -> bool:
        """Keep the figures; true where the training is to end."""
        estimator = self.estimator
        # As the cost, the mean of the penalty before each step, taken to change evenly.
        before, self.penalty = self.penalty, self._penalty()
        loss = logs["cost"] + before + (self.penalty - before) * self.part
        estimator.n_iter_, estimator.loss_ = epoch, loss
        estimator.t_ += self.n_samples
        estimator.loss_curve_.append(loss)
        if estimator.verbose:
            print(f"Iteration {epoch}, loss = {loss:.8f}")
        scores = estimator.validation_scores_
        if "validation_score" in logs:
            scores.append(logs["validation_score"])
            best = estimator.best_validation_score_
            best = -np.inf if best is None else best
            estimator.best_validation_score_ = float(np.fmax(best, scores[-1]))
            self._say(f"Validation score: {scores[-1]:f}")
        best = estimator.best_loss_
        best = np.inf if best is None else best
        estimator.best_loss_ = None if self.stops_early else min(best, loss)
        self._compare(network, scores[-1] if self.stops_early else -loss)
        schedule = estimator._schedule
        if isinstance(schedule, EpochFactor) and schedule.name == "invscaling":
            schedule.factor = (estimator.t_ + 1) ** -estimator.power_t
        tired = self.waited > estimator.n_iter_no_change and self.has_tolerance
        return tired and self._ends()

    def _compare(self, network: Network, merit: float) -> None:
        """With the best epoch so far."""
        self.waited = 0 if merit - self.best >= self.estimator.tol else self.waited + 1
        if merit > self.best:
            self.best = merit
            if self.stops_early:
                self.parameters = network.get_parameters()

    def _ends(self) -> bool:
        """Whether the training ends; `adaptive` tries a smaller learning rate first."""
        estimator = self.estimator
        what = "Validation score" if self.stops_early else "Training loss"
        text = (
            f"{what} did not improve more than tol={estimator.tol:f} for "
            f"{estimator.n_iter_no_change} consecutive epochs."
        )
        schedule = estimator._schedule
        if isinstance(schedule, EpochFactor) and schedule.name == "adaptive":
            rate = estimator.learning_rate_init * schedule.factor
            if rate > 1e-6:
                schedule.factor /= 5
                self.waited = 0
                self._say(f"{text} Setting learning rate to {rate / 5:f}")
                return False
            text += " Learning rate too small."
        self._say(f"{text} Stopping.")
        self.converged = True
        return True

    def on_train_end(self, network: Network, history: History) -> None:
        """Restore the best parameters of early stopping."""
        if self.parameters is not None:
            network.set_parameters(self.parameters)

    def at_the_end(self, cost: float) -> None:
        """Take the cost after the last iteration of lbfgs: the history has that before it."""
        loss = self.estimator.loss_ = cost + self.penalty
        self.estimator.best_loss_ = min(self.estimator.best_loss_, loss)

    def get_state(self) -> dict[str, Any]:
        """What a training elsewhere has learned, for the monitor and the estimator here."""
        own = {name: vars(self)[name] for name in OF_MONITOR if name in vars(self)}
        figures = {n: x for n, x in vars(self.estimator).items() if n in OF_ESTIMATOR}
        schedule = self.estimator._schedule
        factor = schedule.factor if isinstance(schedule, EpochFactor) else None
        state = {"monitor": own, "estimator": figures, "factor": factor}
        return state | ({} if self.parameters is None else {"parameters": self.parameters})

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from there."""
        vars(self).update(state["monitor"], parameters=state.get("parameters"))
        vars(self.estimator).update(state["estimator"])
        if state["factor"] is not None:
            self.estimator._schedule.factor = state["factor"]

    def _say(self, text: str) -> None:
        if self.estimator.verbose:
            print(text)


class Tasks:
    """Tells scikit-learn's own callbacks (from 1.9) of a fit, and of its epochs."""

    def __init__(self, estimator: Any, data: Data, epochs: int) -> None:
        self.fit = estimator._init_callback_context(max_subtasks=epochs)
        self.epoch: Any = None

        def network_now() -> dict[str, Any]:
            return {"network_": copy.deepcopy(estimator.network_)}

        self.news = {
            "estimator": estimator,
            "X": data.X,
            "y": data.y,
            "metadata": {"sample_weight": data.s},
            "reconstruction_attributes": network_now,
        }

    def on_train_begin(self, network: Network) -> None:
        """Pass it on."""
        self.fit.call_on_fit_task_begin(**self.news)

    def on_epoch_begin(self, network: Network, epoch: int) -> None:
        """Pass it on."""
        self.epoch = self.fit.subcontext(task_name="iteration")
        self.epoch.call_on_fit_task_begin(**self.news)

    def on_epoch_end(self, network: Network, epoch: int, logs: dict[str, float]) -> bool:
        """Pass it on; true where the training is to end."""
        return self.epoch.call_on_fit_task_end(**self.news)

    def on_train_end(self, network: Network, history: History) -> None:
        """Pass it on."""
        self.fit.call_on_fit_task_end(**self.news)
