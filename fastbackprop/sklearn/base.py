"""The part that MLPClassifier and MLPRegressor share."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.validation import check_is_fitted

from fastbackprop import engines
from fastbackprop.network import Network
from fastbackprop.numbers import is_plain
from fastbackprop.sklearn import members, parameters, stored
from fastbackprop.sklearn.data import (
    SPARSE,
    Data,
    inputs_alone,
    inputs_and_targets,
    issparse,
    weights,
)
from fastbackprop.sklearn.fitting import Fit
from fastbackprop.training import History

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks  # since 1.9
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing: this scikit-learn has no callbacks."""

    def with_callbacks(method: Any) -> Any:
        """Nothing either."""
        return method


OF_CLONES = "_metadata_request", "_skl_callbacks", "_sklearn_output_config"  # they get them too


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
    n_networks: int = 1

    if TYPE_CHECKING:  # fields of the two classes, which have them in their own order
        hidden_layer_sizes: Any
        activation: Any

    @classmethod
    @functools.cache
    def _get_param_names(cls) -> Any:
        """As of BaseEstimator, which inspects the signature in each call."""
        return super()._get_param_names()

    def __sklearn_clone__(self) -> MLP:
        """As of BaseEstimator, which copies numbers and text too: in a search that takes long."""
        parameters = self.get_params(deep=False)
        more = any(name in vars(self) for name in OF_CLONES)
        if more or not is_plain(tuple(parameters.values())):
            return super().__sklearn_clone__()
        return type(self)(**parameters)

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
        return {name: value for name, value in state.items() if name != "ensemble_"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if isinstance(state.get("network_"), dict):
            network = stored.restored(state["network_"], state.get("_optimizer"))
            state = {**state, "network_": network}
        super().__setstate__(state)
        if "estimators_" in state:
            self.ensemble_ = members.ensemble(self)

    def _fitted_network(self, name: str) -> Network:
        if "estimators_" in vars(self):
            raise AttributeError(
                f"with n_networks={self.n_networks} there is {name} of each of estimators_"
            )
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

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        validation: tuple[Any, Any, Any] = (None, None, None),
        classes: Any = None,
        one_pass: bool = False,
    ) -> Any:
        """Check, and train; a refusal leaves the estimator as it was."""
        before = [(e, vars(e).copy()) for e in (self, *vars(self).get("estimators_", ()))]
        fits: list[Fit] = []
        try:
            data = self._checked(X, y, sample_weight, classes, one_pass)
            fits = members.prepared(self, data, self._validation(*validation), one_pass)
            reason = members.train(self, fits)
        except BaseException:
            if not any(fit.monitor.began for fit in fits):
                for estimator, state in before:
                    estimator.__dict__ = state
            raise
        if reason:
            wrapped = hasattr(self, "_init_callback_context")
            warnings.warn(reason, ConvergenceWarning, stacklevel=4 if wrapped else 3)
        return self

    def _checked(
        self, X: Any, y: Any, sample_weight: Any, classes: Any = None, one_pass: bool = False
    ) -> Data:
        """Training samples; the first ones show how many features and which classes there are."""
        parameters.check(self)
        first = not self._goes_on(one_pass)
        if one_pass and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        X, y = inputs_and_targets(self, X, y, reset=first)
        Y = self._targets(y, first, classes)
        return Data(X, Y, y, weights(self, sample_weight, y))

    def _validation(self, X: Any, y: Any, sample_weight: Any) -> Data | None:
        """The user's own validation samples, of whose kind the training samples are."""
        if X is None:
            return None
        X, y = inputs_and_targets(self, X, y, reset=False)
        return Data(X, self._targets(y, False, None), y, weights(self, sample_weight, y))

    def _goes_on(self, one_pass: bool) -> bool:
        """Whether the next training is that of the network that is there."""
        return self.__sklearn_is_fitted__() and (self.warm_start or one_pass)

    def __sklearn_is_fitted__(self) -> bool:
        return "network_" in vars(self) or "estimators_" in vars(self)

    def _networks(self) -> list[Network]:
        """All of them."""
        return [member.network_ for member in vars(self).get("estimators_", [self])]

    def _samples_per_step(self, n: int) -> int:
        return parameters.samples_per_step(self, n)

    def _call_fit(self, data: Data, **options: Any) -> History:
        """`Network.fit` of these samples."""
        X, Y, _, s, _ = data
        return self.network_.fit(X, Y, sample_weight=s, n_threads=self.n_threads, **options)

    def _cost(self, data: Data) -> float:
        """The mean cost, and its mean over the networks."""
        (X, Y, _, s, _), options = data.alone(), {"missing_targets": self.missing_targets}
        return float(np.mean([net.evaluate(X, Y, s, **options) for net in self._networks()]))

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
        score = accuracy if is_classifier(self) else r2_score
        predictions = self._predictions(a)
        if self.missing_targets:
            return _mean_score(score, np.asarray(y, np.float64), predictions, s)
        return score(y, predictions, sample_weight=s)

    def _outputs(self, X: Any) -> np.ndarray:
        """a^L for every row of X, (n_samples, n_L)."""
        check_is_fitted(self)
        X = inputs_alone(self, X)
        if "ensemble_" not in vars(self):
            return self.network_.predict(X, n_threads=self.n_threads)
        if issparse(X):
            return np.mean([network.predict(X) for network in self._networks()], axis=0)
        return self.ensemble_.predict(X)

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


def accuracy(y: Any, predictions: np.ndarray, sample_weight: Any = None) -> float:
    """`accuracy_score`, whose checks take longer than the rest, without them where it is safe."""
    alike = type(y) is np.ndarray and y.ndim == 1 and y.shape == predictions.shape
    if alike and sample_weight is None and (y.dtype.kind + predictions.dtype.kind) in ("ii", "UU"):
        return float(np.mean(y == predictions))
    return float(accuracy_score(y, predictions, sample_weight=sample_weight))


def _mean_score(score: Any, y: np.ndarray, predictions: np.ndarray, s: Any) -> float:
    """The mean over the outputs of the score of the samples whose target is known."""
    n, scores = len(y), []
    for of_output, predicted in zip(y.reshape(n, -1).T, predictions.reshape(n, -1).T, strict=True):
        known = ~np.isnan(of_output)
        if known.any():
            weights = None if s is None else np.asarray(s)[known]
            scores.append(score(of_output[known], predicted[known], sample_weight=weights))
    return float(np.mean(scores)) if scores else np.nan
