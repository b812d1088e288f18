"""The part that MLPClassifier and MLPRegressor share."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fastbackprop import engines
from fastbackprop.formats.sklearn import OUTPUT
from fastbackprop.network import Network
from fastbackprop.optimizers import Optimizer
from fastbackprop.optimizers.schedules import Schedule
from fastbackprop.sklearn import parameters, stored
from fastbackprop.sklearn.callbacks import Monitor, Tasks
from fastbackprop.sklearn.data import SPARSE, Data, inputs_alone, inputs_and_targets, split, weights
from fastbackprop.sklearn.order import Order
from fastbackprop.training import History, Interrupted

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks  # since 1.9
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing: this scikit-learn has no callbacks."""

    def with_callbacks(method: Any) -> Any:
        """Nothing either."""
        return method


NOT_CONVERGED = {  # by the end of a training, as its History has it
    "epochs": "{max_iter} epochs (max_iter) did not suffice",
    "max_evaluations": "{max_fun} calls of the function (max_fun) did not suffice",
    "line_search": "lbfgs finds no lower cost along its last direction; scaling X might help",
}


@dataclass(kw_only=True, eq=False, repr=False)
class MLP(CallbackSupportMixin, BaseEstimator):
    """Parameters, `fit` and `predict`. MLPClassifier describes the parameters."""

    solver: Any = "adam"
    alpha: float = 1e-4
    batch_size: Any = "auto"
    learning_rate: Any = "constant"
    learning_rate_init: float = 1e-3
    power_t: float = 0.5
    max_iter: int = 200
    shuffle: bool = True
    random_state: Any = None
    tol: float = 1e-4
    verbose: Any = False
    warm_start: bool = False
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    early_stopping: bool = False
    validation_fraction: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    n_iter_no_change: float = 10
    max_fun: int = 15000
    cost: Any = None
    dropout: Any = 0.0
    callbacks: Any = ()
    missing_targets: bool = False
    n_threads: int | None = None
    engine: str = engines.ENGINES[0]

    if TYPE_CHECKING:  # fields of the two classes, which have them in their own order
        hidden_layer_sizes: Any
        activation: Any

    # --- fitted attributes ------------------------------------------------------------------------

    @property
    def coefs_(self) -> Any:
        """W^1 ... W^L, (n_{l-1}, n_l) each: views, to write into or to assign to."""
        return self._fitted_network("coefs_").weights

    @coefs_.setter
    def coefs_(self, values: Any) -> None:
        for view, W in zip(self.coefs_, values, strict=True):
            view[...] = W

    @property
    def intercepts_(self) -> Any:
        """b^1 ... b^L, (n_l,) each: views, to write into or to assign to."""
        return self._fitted_network("intercepts_").biases

    @intercepts_.setter
    def intercepts_(self, values: Any) -> None:
        for view, b in zip(self.intercepts_, values, strict=True):
            view[...] = b

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if "network_" in state:
            state = {**state, "network_": stored.plain(state["network_"])}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if isinstance(state.get("network_"), dict):
            network = stored.restored(state["network_"], state.get("_optimizer"))
            state = {**state, "network_": network}
        super().__setstate__(state)

    def _fitted_network(self, name: str) -> Network:
        try:
            return vars(self)["network_"]
        except KeyError:
            raise AttributeError(f"{name} is there after fit") from None

    # --- training ---------------------------------------------------------------------------------

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Any:
        """Train on X and y; with `warm_start`, from where the last call ended.

        Parameters
        ----------
        X : array_like or sparse matrix of SciPy, (n_samples, n_features)
        y : array_like, (n_samples,) or (n_samples, n_outputs)
            Labels, or several of 0 and 1 each; numbers for a regressor.
        sample_weight : array_like, (n_samples,), optional
        X_val, y_val, sample_weight_val : optional
            Your own validation samples: after every epoch `validation_scores_` gets their score,
            and early stopping goes by it, without setting any training samples aside.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, shapes or values that make no sense; the estimator is as it was then.
        DivergenceError
            When the cost stops being finite; the last finite parameters are kept.

        Warns
        -----
        ConvergenceWarning
            When `max_iter` epochs did not suffice.
        """
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val go together; got one of them")
        if X_val is None and sample_weight_val is not None:
            raise ValueError("sample_weight_val belongs to X_val and y_val; got it alone")
        return self._fit(X, y, sample_weight, validation=(X_val, y_val, sample_weight_val))

    def _fit(self, *arguments: Any, one_pass: bool = False, **options: Any) -> Any:
        """Check, and train; a refusal leaves the estimator as it was."""
        self._before: dict[str, Any] | None = vars(self).copy()
        try:
            data, held_out = self._checked(one_pass, *arguments, **options)
            monitor = self._train(data, held_out, one_pass)
        except Exception:
            if self._before is not None:  # as the training has not begun
                self.__dict__ = self._before
            raise
        ended_by = self.history_.ended_by
        if not one_pass and not monitor.converged and ended_by in NOT_CONVERGED:
            reason = NOT_CONVERGED[ended_by].format(**self.get_params(deep=False))
            wrapped = hasattr(self, "_init_callback_context")
            warnings.warn(
                f"{reason}: the training has not converged yet",
                ConvergenceWarning,
                stacklevel=4 if wrapped else 3,
            )
        return self

    def _checked(
        self,
        one_pass: bool,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: tuple[Any, Any, Any] = (None, None, None),
        classes: Any = None,
    ) -> tuple[Data, Data | None]:
        """Training and validation samples, and a network for them."""
        parameters.check(self)
        first = not hasattr(self, "network_") or not (self.warm_start or one_pass)
        if one_pass and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        X, y = inputs_and_targets(self, X, y, reset=first)
        Y = self._targets(y, first, classes)
        data = Data(X, Y, y, weights(self, sample_weight, y))
        architecture = self._architecture(X, Y)
        random_state = check_random_state(self.random_state)
        if first:
            self._begin(architecture, X.dtype, random_state)
            self._before_split = copy.deepcopy(random_state)
        else:
            self._check_fits(architecture)
        X_val, y_val, s_val = validation
        if X_val is not None:
            X_val, y_val = inputs_and_targets(self, X_val, y_val, reset=False)
            s_val = weights(self, s_val, y_val)
            held_out = Data(X_val, self._targets(y_val, False, None), y_val, s_val)
        elif self._stops_early():
            if not first:  # the same split again
                random_state = copy.deepcopy(self._before_split)
            by_class = is_classifier(self) and self._n_outputs(Y) == 1
            return split(data, self.validation_fraction, random_state, by_class)
        else:
            return data, None
        return data, held_out

    def _architecture(self, X: Any, Y: Any) -> dict[str, Any]:
        """Arguments of `Network`."""
        output, cost = self._output_and_cost()
        n_hidden = np.atleast_1d(self.hidden_layer_sizes).tolist()
        return {
            "sizes": (X.shape[1], *n_hidden, self._n_outputs(Y)),
            "hidden": parameters.hidden(self.activation),
            "output": output,
            "cost": cost,
            "engine": self.engine,
        }

    def _check_fits(self, architecture: dict[str, Any]) -> None:
        for name, value in architecture.items():
            if value != self._built[name]:
                raise ValueError(
                    f"the network to go on with has {name} {self._built[name]}; parameters, X "
                    f"and y ask for {value}. For a new one fit with warm_start=False"
                )

    def _begin(self, architecture: dict[str, Any], dtype: Any, random_state: Any) -> None:
        """A new network, with scikit-learn's initial parameters, and no history."""
        network = Network(**architecture, init="zeros", dtype=dtype, rng=Order(random_state))
        self._built = architecture
        factor = 2 if architecture["hidden"] == "sigmoid" else 6
        for W, b in zip(network.weights, network.biases, strict=True):
            bound = np.sqrt(factor / sum(W.shape))
            W[...] = random_state.uniform(-bound, bound, W.shape)
            b[...] = random_state.uniform(-bound, bound, b.shape)
        self.network_ = network
        self.n_layers_, self.n_outputs_ = len(network.sizes), network.sizes[-1]
        self.out_activation_ = OUTPUT.get(network.output, network.output)
        self.t_ = 0
        self.loss_curve_: list[float] = []
        self.best_loss_ = None if self._stops_early() else np.inf
        self.validation_scores_: list[float] | None = None
        self.best_validation_score_: float | None = None
        self._optimizer: Optimizer | None = None
        self._schedule: Schedule | None = None

    def _train(self, data: Data, held_out: Data | None, one_pass: bool) -> Monitor:
        """Train on checked samples. Returns the callback that watched."""
        n = len(data.Y)
        epochs = 1 if one_pass else self.max_iter
        batch_size = self._samples_per_step(n)
        # Theirs is alpha / 2 ||W||^2 for the whole minibatch, whose cost is then divided by its
        # total weight; ours is added to the mean cost. The average minibatch stands for each.
        mean_weight = 1.0 if data.s is None else float(np.mean(data.s)) or 1.0
        penalty = self.alpha / (batch_size * mean_weight)
        monitor = Monitor(self, n, batch_size, penalty, held_out)
        listeners = [monitor, *_as_list(self.callbacks)]
        if not one_pass and hasattr(self, "_init_callback_context"):
            listeners.append(Tasks(self, data, epochs))
        self.history_: History
        try:
            self.history_ = self._fit_network(data, epochs, batch_size, monitor, listeners)
        except Interrupted as interrupted:
            self.history_ = interrupted.history
            raise
        if parameters.is_lbfgs(self.solver):
            monitor.at_the_end(self._cost(data.X, data.Y, data.s))
        return monitor

    def _samples_per_step(self, n: int) -> int:
        return parameters.samples_per_step(self, n)

    def _fit_network(
        self, data: Data, epochs: int, batch_size: int, monitor: Monitor, listeners: list[Any]
    ) -> History:
        """Call `Network.fit`."""
        held_out = monitor.held_out
        self._schedule = parameters.schedule(self, self._schedule)
        optimizer = parameters.optimizer(self, monitor.l2, self._schedule, self._optimizer)
        self._optimizer = optimizer
        return self._call_fit(
            data,
            epochs=epochs,
            batch_size=None if parameters.is_lbfgs(self.solver) else batch_size,
            optimizer=self._optimizer,
            validation=None if held_out is None else (held_out.X, held_out.Y, held_out.s),
            shuffle=self.shuffle,
            callbacks=listeners,
            metrics=None if held_out is None else {"score": monitor.score},
            dropout=self.dropout,
            missing_targets=self.missing_targets,
        )

    def _call_fit(self, data: Data, **options: Any) -> History:
        return self.network_.fit(
            data.X, data.Y, sample_weight=data.s, n_threads=self.n_threads, **options
        )

    def _cost(self, X: Any, Y: Any, s: Any) -> float:
        return self.network_.evaluate(X, Y, s, missing_targets=self.missing_targets)

    def _stops_early(self) -> bool:
        return self.early_stopping and not parameters.is_lbfgs(self.solver)

    # --- of the two classes -----------------------------------------------------------------------

    def _output_and_cost(self) -> tuple[Any, Any]:
        """Arguments of `Network`."""
        raise NotImplementedError

    def _n_outputs(self, Y: np.ndarray) -> int:
        raise NotImplementedError

    def _targets(self, y: Any, first: bool, classes: Any) -> np.ndarray:
        """The y of `Network.fit`; the first y shows which classes there are."""
        raise NotImplementedError

    def _predictions(self, a: np.ndarray) -> np.ndarray:
        """The result of `predict` for a^L."""
        raise NotImplementedError

    # --- predictions ------------------------------------------------------------------------------

    def _score(self, X: Any, y: Any, a: np.ndarray, s: Any) -> float:
        """The weighted score of the predictions for a^L of X."""
        if not np.isfinite(a).all():
            return np.nan
        score = accuracy_score if is_classifier(self) else r2_score
        predictions = self._predictions(a)
        if self.missing_targets:
            return _mean_score(score, np.asarray(y, np.float64), predictions, s)
        return score(y, predictions, sample_weight=s)

    def _outputs(self, X: Any) -> np.ndarray:
        """a^L for every row of X, (n_samples, n_L)."""
        check_is_fitted(self, "network_")
        return self.network_.predict(inputs_alone(self, X), n_threads=self.n_threads)

    def predict(self, X: Any) -> np.ndarray:
        """Labels, or numbers.

        Parameters
        ----------
        X : array_like or sparse matrix of SciPy, (n_samples, n_features)

        Returns
        -------
        ndarray, (n_samples,) or (n_samples, n_outputs)
        """
        return self._predictions(self._outputs(X))

    def _html_repr(self) -> str:
        """For notebooks: scikit-learn's diagram, and the network and its training after `fit`."""
        fitted = vars(self)
        parts = [fitted[name]._repr_html_() for name in ("network_", "history_") if name in fitted]
        return "".join([super()._html_repr(), *parts])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = bool(SPARSE)
        return tags


def _mean_score(score: Any, y: np.ndarray, predictions: np.ndarray, s: Any) -> float:
    """The mean over the outputs of the score of the samples whose target is known."""
    n, scores = len(y), []
    for of_output, predicted in zip(y.reshape(n, -1).T, predictions.reshape(n, -1).T, strict=True):
        known = ~np.isnan(of_output)
        if known.any():
            weights = None if s is None else np.asarray(s)[known]
            scores.append(score(of_output[known], predicted[known], sample_weight=weights))
    return float(np.mean(scores)) if scores else np.nan


def _as_list(callbacks: Any) -> list[Any]:
    single = callable(callbacks) or not isinstance(callbacks, Iterable)
    return [callbacks] if single else list(callbacks)
