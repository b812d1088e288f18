"""MLPRegressor: numbers as targets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.metaestimators import available_if

from fastbackprop.functions.costs import COSTS
from fastbackprop.inputs.arguments import choice
from fastbackprop.sklearn.base import MLP
from fastbackprop.sklearn.parameters import takes_minibatches


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

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R2; minus the cost if there are several outputs per target, as for quantiles."""
        return self._score(X, y, self._outputs(X), sample_weight)

    def _score(self, X: Any, y: Any, a: np.ndarray, s: Any) -> float:
        if a.size > np.size(y):
            return -self._cost(X, y, s)
        return super()._score(X, y, a, s)

    def _predictions(self, a: np.ndarray) -> np.ndarray:
        return a if a.shape[1] > 1 else a.ravel()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
