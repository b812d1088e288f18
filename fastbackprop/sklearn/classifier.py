"""MLPClassifier: classes and labels as targets of a network, and its outputs as probabilities."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target, unique_labels

from fastbackprop.sklearn.base import MLP, accuracy
from fastbackprop.sklearn.parameters import takes_minibatches


@dataclass(kw_only=True, eq=False, repr=False)
class MLPClassifier(ClassifierMixin, MLP):
    """scikit-learn's MLPClassifier, trained by fastbackprop.

    Two classes have one sigmoid output, more classes a softmax. Several labels per sample, a column
    of 0 and 1 each, have a sigmoid each. float32 X is trained in float32, any other in float64.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Neurons of the hidden layers.
    activation : str, Activation or sequence of them
        Activation of the hidden layers, one for all or one each, by scikit-learn's names or ours.
    solver : {"adam", "sgd", "lbfgs"} or Optimizer
        An object of ours has its own hyperparameters; `alpha`, `learning_rate_init`, `momentum`,
        `nesterovs_momentum`, `beta_1`, `beta_2` and `epsilon` are ignored then.
    alpha : float
        L2 regularisation: alpha / 2 ||W||^2 is added to the summed cost of the average minibatch,
        and so, divided by its number of samples or their weights, to its mean cost.
    batch_size : int, None or "auto"
        Samples per step; "auto" is 200, None all.
    learning_rate : {"constant", "invscaling", "adaptive"}, Schedule or function of the step
        The names apply to `solver="sgd"` alone, as in scikit-learn; a schedule to every solver.
        A schedule has its own rate, so `learning_rate_init` is not used then.
    learning_rate_init, power_t, max_iter, shuffle, random_state, tol, verbose, warm_start, \
    momentum, nesterovs_momentum, validation_fraction, beta_1, beta_2, epsilon, \
    n_iter_no_change, max_fun
        As in scikit-learn.
    early_stopping : bool
        End by the score of validation samples, and keep the parameters of the best epoch. The
        validation samples are `validation_fraction` of all, or those passed to `fit`.
    class_weight : dict, "balanced" or None
        Weights of the classes, times those of the samples, in training and in validation.
    cost : str, Cost or None
        As `Network` takes it; None is cross_entropy.
    dropout : float or sequence of float
        As `Network.fit` takes it.
    callbacks : function, object or iterable of them
        As `Network.fit` takes them. (scikit-learn's own, from 1.9, go to `set_callbacks`.)
    missing_targets : bool
        Whether y may hold NaN, as `Network.evaluate` describes it: of a regressor, or of several
        labels per sample. The score is then the mean over the outputs, of the targets known.
    n_threads : int or None
        As `Network.fit` takes it: None chooses by the amount of work. Pass 1 if several processes
        share the machine.
    engine : str
        As `Network` takes it.
    n_networks : int
        More than 1 makes an ensemble: networks with different initial weights, orders of the
        samples and splits of early stopping, which are trained together. Predictions are those of
        the mean of their outputs (Lakshminarayanan et al., 2017).

    Attributes
    ----------
    network_ : Network
    history_ : History
        Epochs of the last call: cost, validation_cost, validation_score and seconds.
    classes_, coefs_, intercepts_, loss_, loss_curve_, best_loss_, validation_scores_, \
    best_validation_score_, n_iter_, t_, n_layers_, n_outputs_, out_activation_, n_features_in_, \
    feature_names_in_
        As in scikit-learn. `coefs_` and `intercepts_` are views of the network's parameters.
    estimators_ : list of MLPClassifier
        With `n_networks` above 1: one for each network, with all of these attributes. The ensemble
        itself has none that belong to one network; `n_iter_` is the largest, `loss_` the mean.
    ensemble_ : fastbackprop.Ensemble
        Likewise: their networks, copied when `fit` ends.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastbackprop.sklearn import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> MLPClassifier(max_iter=1000, random_state=0).fit(X, y).score(X, y) > 0.95
    True
    """

    loss: ClassVar[str] = "log_loss"
    hidden_layer_sizes: Any = field(default=(100,), kw_only=False)
    activation: Any = field(default="relu", kw_only=False)
    class_weight: Any = None

    @available_if(takes_minibatches)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Any:
        """One more pass over these samples, with the state of the optimizer kept.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array_like, (n_classes,)
            All classes, also of later calls. Needed in the first call.
        """
        if not self.__sklearn_is_fitted__():
            if classes is None:
                raise ValueError("classes must be passed to the first call of partial_fit")
        elif classes is not None and not np.array_equal(unique_labels(classes), self.classes_):
            raise ValueError(
                f"classes={classes!r} is not what it was in the first call of partial_fit, "
                f"{self.classes_}"
            )
        return self._fit(X, y, sample_weight, classes=classes, one_pass=True)

    def _targets(self, y: Any, first: bool, classes: Any) -> np.ndarray:
        if self.missing_targets and np.isnan(y).any():
            Y = self._targets(np.nan_to_num(y), first, classes)
            if Y.shape != y.shape or y.ndim == 1:
                raise ValueError(
                    "missing_targets=True is for several labels per sample, a column of 0, 1 or "
                    "NaN each: leave out samples without a class"
                )
            return np.where(np.isnan(y), np.nan, Y)
        if first:
            multilabel = type_of_target(y).startswith("multilabel")
            seen = y if classes is None or multilabel else classes
            self._label_binarizer = LabelBinarizer().fit(seen)
            self.classes_ = self._label_binarizer.classes_
        if self._label_binarizer.y_type_.startswith("multilabel") or y.ndim > 1:
            return self._label_binarizer.transform(y)  # or a ValueError
        n_classes = len(self.classes_)
        labels = np.minimum(np.searchsorted(self.classes_, y), n_classes - 1)
        unknown = y[self.classes_[labels] != y]
        if len(unknown):
            raise ValueError(
                f"y has classes that are not in classes_, {self.classes_}: {np.unique(unknown)}"
            )
        # Network takes labels for its own cross-entropy, and two classes as the numbers 0 and 1.
        return labels if self.cost is None or n_classes < 3 else np.eye(n_classes)[labels]

    def _output_and_cost(self) -> tuple[Any, Any]:
        multiclass = self._label_binarizer.y_type_ == "multiclass"
        cost = "cross_entropy" if self.cost is None else self.cost
        return "softmax" if multiclass else "sigmoid", cost

    def _n_outputs(self, Y: np.ndarray) -> int:
        return 1 if self._label_binarizer.y_type_ == "binary" else len(self.classes_)

    def _predictions(self, a: np.ndarray) -> np.ndarray:
        kind = self._label_binarizer.y_type_
        if kind == "multiclass":
            return self.classes_[a.argmax(axis=1)]
        if kind == "binary":
            return self.classes_[np.minimum(a[:, 0] > 0.5, len(self.classes_) - 1)]
        return self._label_binarizer.inverse_transform(a if a.shape[1] > 1 else a.ravel())

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy; with `missing_targets` the mean over the outputs, of the targets known."""
        if self.missing_targets:
            return self._score(X, y, self._outputs(X), sample_weight)
        return accuracy(y, self.predict(X), sample_weight)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of `classes_`, (n_samples, n_classes).

        With several labels per sample, the probability of each label.
        """
        a = self._outputs(X)
        if a.shape[1] == 1:
            a = np.hstack([1 - a, a])[:, : len(self.classes_)]
        return a

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithms of `predict_proba`; -inf for a probability of 0."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
