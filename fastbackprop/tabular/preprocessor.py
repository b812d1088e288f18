"""Preprocessor: a fitted plan as a transformer of scikit-learn."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from fastbackprop.tabular.features import feature_matrix
from fastbackprop.tabular.frames import frame_of
from fastbackprop.tabular.plan import Plan


class Preprocessor(TransformerMixin, BaseEstimator):
    """The features that the networks of a fitted estimator get: its `preprocessor_`.

    It is made by the estimator, and fitted. `set_output(transform="pandas")` works.

    Parameters
    ----------
    plan : Plan
    kinds : dict
        The kind of each column of the training by name, in their order; None of those left out.
    """

    def __init__(self, plan: Plan, kinds: dict[str, str | None]) -> None:
        self.plan = plan
        self.kinds = kinds

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, X: Any, y: Any = None) -> Any:
        """Nothing: the estimator's `fit` has made the plan."""
        return self

    def features(self, X: Any) -> np.ndarray:
        """The features of a table whose columns are those of the training, in their order.

        Raises ValueError or TypeError for values of another kind.
        """
        frame = frame_of(X, self.kinds)
        return feature_matrix(frame.columns, self.plan.steps)

    def transform(self, X: Any) -> Any:
        """The features, (n_samples, n_features) float32, or as `set_output` says.

        Raises ValueError or TypeError for values of another kind, or another number of columns.
        """
        return self.features(X)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the features, (n_features,)."""
        return np.array(self.plan.names(), object)
