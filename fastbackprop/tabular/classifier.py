"""TabularClassifier: classes of the rows of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from fastbackprop.tabular.base import Tabular
from fastbackprop.tabular.checks import refuse_missing_targets


@dataclass(kw_only=True, eq=False, repr=False)
class TabularClassifier(ClassifierMixin, Tabular):
    """Classes of the rows of a table, with calibrated probabilities.

    A frame goes in as it is: numbers, booleans, categories, texts, dates, missing values. Two
    groups of networks, one short and regularised and one long, are trained on folds, after RealMLP
    (Holzmueller et al., 2024); what they say of the rows they were not trained on decides the share
    of each group and the temperature of the probabilities (Guo et al., 2017).

    Parameters
    ----------
    quality : {"best", "fast"}
        "fast" trains one group in place of two, in a fraction of the time.
    time_budget : float or None
        Seconds for `fit`: fewer epochs where the recipe would take longer, more networks where
        there is time for them. The result then depends on the speed of the machine.
    n_folds : int
        Networks in a group, each trained without one fold.
    max_epochs : int or None
        Limit of the epochs of each network.
    random_state : int, RandomState or None
        With a number the result is always the same, whatever the number of threads.
    n_threads : int or None
        None chooses by the amount of work. Pass 1 if several processes share the machine.
    progress : None, True or an object like tqdm
        One bar for the epochs of all networks; with a client, for the networks.
    client : distributed.Client or None
        The workers of its cluster train the networks, with the same result; all else is done in
        this process. Clones share it, and no pickle holds it.
    class_weight : dict, "balanced" or None
        Weights of the classes, times those of the rows.

    Attributes
    ----------
    classes_ : ndarray, (n_classes,)
    columns_ : DataFrame
        By column: its kind, missing values, number of features, and what was done to it.
    oof_prediction_ : ndarray, (n_samples, n_classes)
        Probabilities of the training rows, by networks that were not trained on them.
    oof_loss_ : float
        The cross-entropy of `oof_prediction_`.
    network_ : tuple of Network
        All networks; `network_shares_` are their shares in a prediction.
    preprocessor_ : Preprocessor
        `preprocessor_.transform(X)` are the features that the networks get.
    folds_ : ndarray, (n_samples,)
        The fold of each training row.
    feature_importances_, n_features_in_, feature_names_in_
        As in scikit-learn.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from fastbackprop.tabular import TabularClassifier
    >>> X, y = load_wine(return_X_y=True, as_frame=True)
    >>> model = TabularClassifier(quality="fast", random_state=0).fit(X, y)
    >>> float((model.oof_prediction_.argmax(axis=1) == y).mean()) > 0.95
    True
    """

    class_weight: Any = None

    def _checked_y(self, y: Any) -> np.ndarray:
        y = column_or_1d(y, warn=True)
        refuse_missing_targets(y)
        check_classification_targets(y)
        self.classes_, counts = np.unique(y, return_counts=True)
        if len(counts) < 2:
            raise ValueError(
                f"y has one class, {self.classes_.tolist()[0]!r}: a classifier needs two at least"
            )
        return y

    def _targets(self, y: np.ndarray, s: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        labels = np.searchsorted(self.classes_, y)
        return labels, np.eye(len(self.classes_))[labels]

    def _predictions(self, outputs: np.ndarray) -> np.ndarray:
        return outputs

    def _plain_outputs(self) -> dict[str, Any]:
        return {"power": float(self._blend.power), "classes": self.classes_}

    def _unscaled_spread(self, spread: np.ndarray) -> np.ndarray:
        return spread

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of `classes_`, (n_samples, n_classes).

        Parameters
        ----------
        X : as for `fit`

        Raises
        ------
        ValueError, TypeError
            For other columns than those of `fit`, or values of another kind.
        """
        return self._outputs(X)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithms of `predict_proba`."""
        return np.log(np.maximum(self.predict_proba(X), np.finfo(float).tiny))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row, (n_samples,). Raises as `predict_proba` does."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]
