"""MLPRegressor: numbers as targets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.metaestimators import available_if

from fastbackprop.functions.costs import COSTS
from fastbackprop.inputs.arguments import choice
from fastbackprop.numbers import shown
from fastbackprop.sklearn.base import MLP
from fastbackprop.sklearn.data import Data, inputs_alone
from fastbackprop.sklearn.parameters import takes_minibatches


def _has_quantiles(estimator: Any) -> bool:
    """True, or AttributeError: for `available_if`."""
    cost = estimator.cost
    if getattr(cost, "name", cost) != "quantile":
        raise AttributeError(f"predict_quantiles needs cost=Quantile(levels); got cost={cost!r}")
    return True


@dataclass(kw_only=True, eq=False, repr=False)
class MLPRegressor(RegressorMixin, MLP):
    """scikit-learn's MLPRegressor, trained by fastbackprop.

    The other parameters and attributes are MLPClassifier's, without those of classes.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}
        Half the squared error; or half the deviance, with an exp output.
    cost : str, Cost or None
        Replaces `loss`: any that `Network` takes. The output is the activation that the cost
        belongs to, or identity.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from fastbackprop.sklearn import MLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> MLPRegressor(max_iter=1000, learning_rate_init=0.01, random_state=0).fit(X, y).n_layers_
    3
    """

    loss: Any = field(default="squared_error", kw_only=False)
    hidden_layer_sizes: Any = field(default=(100,), kw_only=False)
    activation: Any = field(default="relu", kw_only=False)

    @available_if(takes_minibatches)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """One more pass over these samples, with the state of the optimizer kept.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        """
        return self._fit(X, y, sample_weight, one_pass=True)

    def _targets(self, y: Any, first: bool, classes: Any) -> np.ndarray:
        return y

    def _output_and_cost(self) -> tuple[Any, Any]:
        if isinstance(self.loss, Iterable) and not isinstance(self.loss, str):
            raise TypeError(
                f"loss must be a name, as the first argument of scikit-learn's MLPRegressor is; "
                f"got {shown(self.loss)}. Pass hidden_layer_sizes={self.loss!r}"
            )
        loss = choice(self.loss, ("squared_error", "poisson"), "loss")
        cost = loss if self.cost is None else self.cost
        outputs = [known.output for known in COSTS.get(getattr(cost, "name", cost), ())]
        if "exp" in outputs:  # else predictions would be logarithms
            return "exp", cost
        return next(filter(None, outputs), "identity"), cost

    def _n_outputs(self, Y: np.ndarray) -> int:
        n_targets = 1 if Y.ndim == 1 else Y.shape[1]
        _, cost = self._output_and_cost()
        if isinstance(cost, str) and cost in COSTS:
            cost = COSTS[cost][0]
        return n_targets * getattr(cost, "outputs_per_target", 1)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """The targets; of a cost of distributions, their means or medians.

        With `cost="gaussian_nll"` that is the mean, with `cost=Quantile([..., 0.5, ...])` the
        median. With quantiles of other levels, or several outputs for each target of a cost of your
        own, it is all outputs.

        Parameters
        ----------
        X : array_like or sparse matrix of SciPy, (n_samples, n_features)
        return_std : bool
            With `cost="gaussian_nll"`: return the standard deviations too; of an ensemble, those
            of the mixture of its distributions.

        Returns
        -------
        ndarray, (n_samples,) or (n_samples, n_targets), or a pair of them
        """
        a = self._outputs(X)
        mean = self._predictions(a)
        if not return_std:
            return mean
        cost = self._networks()[0].cost
        if cost != "gaussian_nll":
            raise ValueError(f"return_std=True needs cost='gaussian_nll'; got cost={cost!r}")
        half = a.shape[1] // 2
        if "estimators_" not in vars(self):
            return mean, np.exp(a[:, half:] / 2).reshape(mean.shape)
        X = inputs_alone(self, X)
        each = np.array([network.predict(X) for network in self._networks()])
        variance = np.exp(each[:, :, half:]).mean(axis=0) + each[:, :, :half].var(axis=0)
        return mean, np.sqrt(variance).reshape(mean.shape)

    @available_if(_has_quantiles)
    def predict_quantiles(self, X: Any) -> np.ndarray:
        """All quantiles of `cost=Quantile(levels)`.

        Parameters
        ----------
        X : array_like or sparse matrix of SciPy, (n_samples, n_features)

        Returns
        -------
        ndarray, (n_samples, n_levels) or (n_samples, n_targets, n_levels)
        """
        a = self._outputs(X)
        n_levels = len(self._networks()[0].machine.cost.p)
        levels = np.moveaxis(a.reshape(len(a), n_levels, -1), 1, 2)
        return levels[:, 0] if levels.shape[1] == 1 else levels

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R2 of `predict`; minus the cost where that has several outputs for each target.

        Early stopping goes by minus the cost wherever there are several outputs for each target.
        """
        a = self._outputs(X)
        if self._predictions(a).size > np.size(y):
            return self._score(X, y, a, sample_weight)
        return super()._score(X, y, a, sample_weight)

    def _score(self, X: Any, y: Any, a: np.ndarray, s: Any) -> float:
        if a.size > np.size(y):
            return -self._cost(Data(X, y, y, s))
        return super()._score(X, y, a, s)

    def _predictions(self, a: np.ndarray) -> np.ndarray:
        cost = self._networks()[0].machine.cost
        groups = a.reshape(len(a), cost.outputs_per_target, -1)
        if cost.name == "gaussian_nll":
            a = groups[:, 0]
        elif cost.name == "quantile" and 0.5 in cost.p:
            a = groups[:, cost.p.index(0.5)]
        return a if a.shape[1] > 1 else a.ravel()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
