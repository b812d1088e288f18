"""TabularRegressor: numbers for the rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.validation import check_is_fitted

from fastbackprop.numbers import shown
from fastbackprop.tabular.base import Tabular
from fastbackprop.tabular.checks import refuse_missing_targets, share
from fastbackprop.tabular.groups import Problem
from fastbackprop.tabular.intervals import residuals_of


@dataclass(kw_only=True, eq=False, repr=False)
class TabularRegressor(RegressorMixin, Tabular):
    """Numbers for the rows of a table, with intervals and quantiles.

    Trained as TabularClassifier, which describes the parameters and the other attributes. Targets
    are standardised; predictions stay in the range of the training's targets.

    Attributes
    ----------
    oof_prediction_ : ndarray, (n_samples,) or (n_samples, n_targets)
        Predictions of the training rows, by networks that were not trained on them.
    oof_loss_ : float
        The squared error of `oof_prediction_`, in units of the targets' variance.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from fastbackprop.tabular import TabularRegressor
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> model = TabularRegressor(quality="fast", random_state=0).fit(X, y)
    >>> model.oof_loss_ < 0.6
    True
    """

    def _checked_y(self, y: Any) -> np.ndarray:
        options = {"ensure_2d": False, "dtype": None, "ensure_all_finite": False}
        y = check_array(y, **options, input_name="y", ensure_min_samples=0)
        if y.ndim not in (1, 2) or (y.ndim == 2 and y.shape[1] == 0):
            raise ValueError(
                f"y must have shape (n_samples,) or (n_samples, n_targets); got {y.shape}"
            )
        if y.dtype.kind == "c":
            raise ValueError("Complex data not supported: y must be real numbers")
        try:
            y = np.asarray(y, np.float64)
        except (TypeError, ValueError):
            raise ValueError(f"y of a regressor must be numbers; got {shown(y[0])}") from None
        refuse_missing_targets(y)
        return column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def _targets(self, y: np.ndarray, s: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        Y = y.reshape(len(y), -1)
        self._one = y.ndim == 1
        self._center = np.average(Y, axis=0, weights=s)
        width = np.sqrt(np.average((Y - self._center) ** 2, axis=0, weights=s))
        self._width = np.where(width > 0, width, 1.0)
        counted = Y if s is None else Y[s > 0]
        self._range = counted.min(axis=0), counted.max(axis=0)
        T = (Y - self._center) / self._width
        return T.astype(np.float32), T

    def _predictions(self, outputs: np.ndarray) -> np.ndarray:
        Y = np.clip(outputs * self._width + self._center, *self._range)
        return Y[..., 0] if self._one else Y

    def _plain_outputs(self) -> dict[str, Any]:
        scaling = [self._center, self._width, *self._range]
        return {"power": None, "scaling": scaling, "one": self._one}

    def _unscaled_spread(self, spread: np.ndarray) -> np.ndarray:
        Y = spread * self._width
        return Y[:, 0] if self._one else Y

    def _more(self, problem: Problem, fitted: dict[str, Any], seeds: Any) -> dict[str, Any]:
        held_out = fitted["oof_prediction_"].reshape(len(problem.F), -1)
        errors = problem.targets - (held_out - self._center) / self._width
        return {"_residuals": residuals_of(problem.F, errors, problem.folds, seeds, self.n_threads)}

    def predict(self, X: Any) -> np.ndarray:
        """The expected target of each row, (n_samples,) or (n_samples, n_targets).

        Parameters
        ----------
        X : as for `fit`

        Raises
        ------
        ValueError, TypeError
            For other columns than those of `fit`, or values of another kind.
        """
        return self._predictions(self._outputs(X))

    def predict_interval(self, X: Any, coverage: float = 0.9) -> np.ndarray:
        """An interval that contains the target of a new row with this probability.

        CV+ with residuals in units of their spread: Barber et al. (2021), "Predictive inference
        with the jackknife+"; Lei et al. (2018). For models that see nothing of the fold that they
        leave out, and rows that are exchangeable, the probability is at least 2 coverage - 1 -
        sqrt(2 / n) whatever the distribution, and in practice about `coverage`. Here the fold also
        chooses the best epoch and the shares, which are few numbers.

        Parameters
        ----------
        X : as for `fit`
        coverage : float
            In (0, 1).

        Returns
        -------
        ndarray, (n_samples, 2) or (n_samples, n_targets, 2)
            The ends; infinite where there are too few rows for the coverage.
        """
        coverage = share(coverage, "coverage")
        n = self._checked_residuals().n
        below = int(np.floor((1 - coverage) / 2 * (n + 1)))
        return self._ranked(X, [below, n + 1 - below])

    def predict_quantiles(self, X: Any, levels: Sequence[float] = (0.1, 0.5, 0.9)) -> np.ndarray:
        """Quantiles of the target of each row, from the residuals of held-out rows.

        Parameters
        ----------
        X : as for `fit`
        levels : sequence of float
            Each in (0, 1).

        Returns
        -------
        ndarray, (n_samples, n_levels) or (n_samples, n_targets, n_levels)
        """
        checked = [share(level, "levels") for level in np.atleast_1d(levels).tolist()]
        n = self._checked_residuals().n
        return self._ranked(X, [min(n, max(1, int(np.ceil(q * n)))) for q in checked])

    def _checked_residuals(self) -> Any:
        check_is_fitted(self, "network_")
        return self._residuals

    def _ranked(self, X: Any, ranks: list[int]) -> np.ndarray:
        F = self._features(X)
        of_folds = self._members.of_folds(F, self._blend, self.n_threads)
        Y = self._residuals.quantiles(F, of_folds, ranks) * self._width + self._center
        Y = np.moveaxis(Y, 0, -1)
        return Y[:, 0] if self._one else Y

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
