"""The part that TabularClassifier and TabularRegressor share."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from fastbackprop import html, inputs
from fastbackprop.engines import ENGINES
from fastbackprop.sklearn import on_client
from fastbackprop.sklearn.data import weights
from fastbackprop.sklearn.on_client import OnClient
from fastbackprop.tabular import budget, export, folds, importance, onnx_graph, recipe
from fastbackprop.tabular.blend import Blend, best_blend
from fastbackprop.tabular.frames import Frame, frame_of
from fastbackprop.tabular.groups import Members, Problem, train
from fastbackprop.tabular.plan import Plan, Targets, make_plan
from fastbackprop.tabular.preprocessor import Preprocessor
from fastbackprop.training import Interrupted

MOST_SHOWN = 30  # columns, in a notebook


@dataclass(kw_only=True, eq=False, repr=False)
class Tabular(OnClient):
    """Parameters, `fit` and predictions. TabularClassifier describes the parameters."""

    quality: str = "best"
    time_budget: float | None = None
    n_folds: int = 5
    max_epochs: int | None = None
    random_state: Any = None
    n_threads: int | None = None
    progress: Any = None
    client: Any = None

    if TYPE_CHECKING:  # after fit
        _members: Members
        _blend: Blend
        _sample: Problem
        _importances: np.ndarray | None

    # --- training ---------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> Any:
        """Train on a table.

        Parameters
        ----------
        X : DataFrame of pandas or polars, array_like or sparse matrix of SciPy, \
        (n_samples, n_features)
            Numbers, booleans, categories, texts, dates and missing values.
        y : array_like, (n_samples,), of a regressor also (n_samples, n_targets)
        sample_weight : array_like, (n_samples,), optional
        groups : array_like, (n_samples,), optional
            Rows of one group, such as one patient's, are held out together.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, shapes or values that make no sense; the estimator is as it was then.
        MemoryError
            Where the features would not fit into the memory that is available.
        Interrupted
            After Ctrl-C while the networks are trained: the estimator is fitted, with the networks
            as they are then. Before that, and with a client, it is as it was.
        RuntimeError
            For workers of the client that would compute other bits.
        """
        began, before = time.monotonic(), vars(self).copy()
        try:
            fitted, interrupted = self._fitted(X, y, sample_weight, groups, began)
        except BaseException:
            self.__dict__ = before
            raise
        self.__dict__.update(fitted)
        if interrupted is not None:
            raise interrupted
        return self

    def _fitted(
        self, X: Any, y: Any, sample_weight: Any, groups: Any, began: float
    ) -> tuple[dict[str, Any], Interrupted | None]:
        """The fitted attributes, and the interrupt that ended the training."""
        options = self._checked_parameters()
        frame, y = self._checked_data(X, y)
        s = weights(self, sample_weight, y)
        if s is not None and not s.any():
            raise ValueError("sample_weight is zero for all rows")
        seeds = check_random_state(self.random_state).randint(2**31, size=2).tolist()
        rng = np.random.default_rng(seeds)
        targets, T = self._targets(y, s)
        of_rows = folds.folds_of(len(frame), self._labels(targets), groups, self.n_folds, rng)
        ones = np.ones(len(frame)) if s is None else s
        plan, F = make_plan(frame, Targets(T, ones, of_rows), rng)
        problem = Problem(F, targets, s, of_rows, T.shape[1])
        chosen = [
            group.for_rows(len(frame), self.max_epochs) for group in recipe.QUALITIES[self.quality]
        ]
        members, interrupted = _trained(problem, chosen, seeds, self.time_budget, began, options)
        held_out = members.held_out(problem, self.n_threads)
        blend = best_blend(held_out, targets, s)
        fitted = self._attributes(frame, plan, problem, members, blend, held_out)
        fitted |= self._more(problem, fitted, seeds if interrupted is None else [])
        return fitted, interrupted

    def _checked_parameters(self) -> dict[str, Any]:
        """Options of the training. Raises ValueError or TypeError."""
        inputs.choice(self.quality, recipe.QUALITIES, "quality")
        if inputs.positive_integer(self.n_folds, "n_folds") < 2:
            raise ValueError(f"n_folds must be 2 at least; got {self.n_folds!r}")
        if self.max_epochs is not None:
            inputs.positive_integer(self.max_epochs, "max_epochs")
        inputs.seconds(self.time_budget, "time_budget")
        on_client.check(self.client, ENGINES[0])
        n_threads = inputs.thread_count(self.n_threads)
        return {"n_threads": n_threads, "progress": self.progress, "client": self.client}

    def _checked_data(self, X: Any, y: Any) -> tuple[Frame, np.ndarray]:
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None"
            )
        frame = frame_of(X)
        if not (hasattr(X, "columns") or hasattr(X, "toarray")):
            X = np.asarray(X)
        validate_data(self, X, skip_check_array=True, reset=True)
        y = self._checked_y(y)
        check_consistent_length(frame, y)
        return frame, y

    def _attributes(
        self,
        frame: Frame,
        plan: Plan,
        problem: Problem,
        members: Members,
        blend: Blend,
        held_out: np.ndarray,
    ) -> dict[str, Any]:
        """Fitted attributes of both classes."""
        kinds = {name: plan.kinds.get(name) for name in frame.columns}
        shares = blend.shares[members.group] / np.bincount(members.group)[members.group]
        return {
            "preprocessor_": Preprocessor(plan, kinds),
            "columns_": plan.table(frame),
            "network_": tuple(members.networks),
            "network_shares_": shares,
            "oof_prediction_": self._predictions(blend(held_out)),
            "oof_loss_": blend.loss,
            "folds_": problem.folds,
            "_members": members,
            "_blend": blend,
            "_sample": importance.sample(problem),
            "_importances": None,
        }

    # --- predictions ------------------------------------------------------------------------------

    def _features(self, X: Any) -> np.ndarray:
        """What the networks get, (n, n_features)."""
        check_is_fitted(self, "network_")
        if not (hasattr(X, "columns") or hasattr(X, "toarray")):
            X = np.asarray(X)
            if X.ndim != 2:
                frame_of(X)
        validate_data(self, X, skip_check_array=True, reset=False)
        return self.preprocessor_.features(X)

    def _each(self, X: Any) -> np.ndarray:
        """What each network says, (n_networks, n, n_outputs)."""
        F = self._features(X)
        return np.stack([net.predict(F, n_threads=self.n_threads) for net in self.network_])

    def _mean(self, each: np.ndarray) -> np.ndarray:
        return np.tensordot(self.network_shares_, each, 1)

    def _outputs(self, X: Any) -> np.ndarray:
        """Standardised numbers, or probabilities, (n, n_outputs) float64."""
        mean = self._mean(self._each(X))
        return self._blend.calibrated(mean)

    def predict_spread(self, X: Any) -> np.ndarray:
        """How much the networks differ: the standard deviation of their predictions.

        It is large where rows are unlike those of the training. It does not contain the noise of
        the targets; `predict_interval` of a regressor does.

        Parameters
        ----------
        X : as for `fit`

        Returns
        -------
        ndarray, as `predict` of a regressor or `predict_proba` of a classifier
        """
        each = self._each(X)
        return self._unscaled_spread(np.sqrt(self._mean((each - self._mean(each)) ** 2)))

    @property
    def feature_importances_(self) -> np.ndarray:
        """How much the held-out loss grows when a column is permuted, (n_features,).

        The loss is cross-entropy, or the squared error in units of the targets' variance. It is
        computed when it is first asked for, on `importance.MOST_ROWS` rows at most. Breiman (2001).
        """
        check_is_fitted(self, "network_")
        if self._importances is None:
            self._importances = importance.importances(
                self._sample, self._members, self._blend, self.preprocessor_
            )
        return self._importances.copy()

    # --- export -----------------------------------------------------------------------------------

    def write_numpy(self, path: str | os.PathLike[str]) -> None:
        """Write the whole model as one Python file that needs NumPy alone.

        The file has `predict(columns)`, and of a classifier `predict_proba(columns)`, where
        `columns` maps each name to its values. Results differ from the estimator's by rounding.

        Raises
        ------
        OSError
            Where the file cannot be written; the old one is still there then.
        """
        export.write_numpy(self._plain_model(), self.network_, path)

    def write_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the whole model, preprocessing included, as one ONNX file.

        Each column that is used is an input, (n_samples, 1): float64 for numbers, where NaN is a
        missing value, and strings for categories, where "<missing>" is one. Outputs are
        "prediction", and of a classifier "probabilities". Results differ from the estimator's by
        rounding.

        Raises
        ------
        ImportError
            Without the onnx package (the extra `onnx`).
        ValueError
            Where a date is among the columns: pass its parts as numbers.
        OSError
            Where the file cannot be written; the old one is still there then.
        """
        onnx_graph.write_onnx(self._plain_model(), self.network_, path)

    def _plain_model(self) -> dict[str, Any]:
        """What `standalone.outputs` takes, without the networks."""
        check_is_fitted(self, "network_")
        return {
            "kinds": self.preprocessor_.kinds,
            "plan": self.preprocessor_.plan.steps,
            "shares": self.network_shares_,
            **self._plain_outputs(),
        }

    # --- of the two classes -----------------------------------------------------------------------

    def _checked_y(self, y: Any) -> np.ndarray:
        raise NotImplementedError

    def _targets(self, y: np.ndarray, s: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Targets of the networks, and those of target means, (n, n_outputs) float64."""
        raise NotImplementedError

    def _labels(self, targets: np.ndarray) -> np.ndarray | None:
        """Labels that each fold has its part of."""
        return None if targets.dtype.kind == "f" else targets

    def _predictions(self, outputs: np.ndarray) -> np.ndarray:
        """For outputs, (n, n_outputs), numbers or probabilities as the user gets them."""
        raise NotImplementedError

    def _unscaled_spread(self, spread: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _plain_outputs(self) -> dict[str, Any]:
        """What is done to the mean of the networks, for `standalone.outputs`."""
        raise NotImplementedError

    def _more(self, problem: Problem, fitted: dict[str, Any], seeds: Any) -> dict[str, Any]:
        """Further fitted attributes."""
        return {}

    def _html_repr(self) -> str:
        """For notebooks: scikit-learn's diagram, and after `fit` what was done to each column."""
        diagram = super()._html_repr()
        if "columns_" not in vars(self):
            return str(diagram)
        names = ["kind", "missing", "features", "treatment"]
        rows = [
            [escape(str(name)), *(escape(str(value)) for value in row)]
            for name, row in zip(self.columns_.index, self.columns_[names].values, strict=True)
        ]
        title = f"{len(self.network_)} networks; the loss of held-out rows is {self.oof_loss_:.4g}"
        return f"{diagram}{html.block(title, html.table(['column', *names], rows[:MOST_SHOWN]))}"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags


def _trained(
    problem: Problem,
    groups: list[recipe.Group],
    seeds: list[int],
    time_budget: float | None,
    began: float,
    options: dict[str, Any],
) -> tuple[Members, Interrupted | None]:
    """The networks after their training, or after Ctrl-C."""
    repeats = 1
    if time_budget is not None:
        left = time_budget - (time.monotonic() - began)
        groups, repeats, options = budget.within(left, problem, groups, seeds, options)
    return train(problem, groups, seeds, repeats=repeats, **options)
