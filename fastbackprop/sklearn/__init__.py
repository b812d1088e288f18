"""scikit-learn's MLPClassifier and MLPRegressor, trained by fastbackprop (the extra `sklearn`).

`from fastbackprop.sklearn import MLPClassifier` in place of `from sklearn.neural_network import
MLPClassifier`: the parameters, methods and fitted attributes are theirs, and with a `random_state`
so are the initial weights, the split of early stopping and the order of the samples. Where results
differ on purpose, and what is new, is in docs/scikit-learn.md.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastbackprop import engines, inputs
from fastbackprop.formats.sklearn import OURS, OUTPUT
from fastbackprop.functions.costs import COSTS
from fastbackprop.network import Network
from fastbackprop.optimizers import LBFGS, SGD, Adam, Optimizer
from fastbackprop.optimizers.schedules import Schedule, as_schedule
from fastbackprop.training import History

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, is_classifier
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import accuracy_score, r2_score
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import LabelBinarizer
    from sklearn.utils import (
        check_array,
        check_random_state,
        check_scalar,
        column_or_1d,
        compute_sample_weight,
    )
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.multiclass import type_of_target, unique_labels
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        'this needs scikit-learn 1.6 or later: pip install "fastbackprop[sklearn]"'
    ) from error

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks  # since 1.9
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing: this scikit-learn has no callbacks."""

    def with_callbacks(method: Any) -> Any:
        """Nothing either."""
        return method


SPARSE = "csr"  # what `accept_sparse` of scikit-learn's checks is given
SOLVERS = ("lbfgs", "sgd", "adam")
LEARNING_RATES = ("constant", "invscaling", "adaptive")

# Numbers that only this module checks: type, least, largest, which of the two may be reached.
RANGES: dict[str, tuple[type, float | None, float | None, str]] = {
    "alpha": (Real, 0, None, "left"),
    "learning_rate_init": (Real, 0, None, "neither"),
    "power_t": (Real, 0, None, "left"),
    "max_iter": (Integral, 1, None, "left"),
    "tol": (Real, 0, None, "left"),
    "n_iter_no_change": (Real, 1, None, "left"),
    "validation_fraction": (Real, 0, 1, "left"),
    "max_fun": (Integral, 1, None, "left"),
    "momentum": (Real, 0, 1, "both"),
    "beta_1": (Real, 0, 1, "left"),
    "beta_2": (Real, 0, 1, "left"),
    "epsilon": (Real, 0, None, "neither"),
}
NOT_CONVERGED = {  # why a training ended, as its History says
    "epochs": "{max_iter} epochs (max_iter) did not suffice",
    "max_evaluations": "{max_fun} calls of the function (max_fun) did not suffice",
    "line_search": "lbfgs finds no lower cost along its last direction; scaling X might help",
}
FLAGS = ("shuffle", "warm_start", "nesterovs_momentum", "early_stopping")


@dataclass(kw_only=True, eq=False, repr=False)
class _MLP(CallbackSupportMixin, BaseEstimator):
    """What the two have in common. The fields are their parameters; MLPClassifier says of each."""

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
    n_threads: int | None = None
    engine: str = engines.ENGINES[0]

    if TYPE_CHECKING:  # fields of the two classes, which have them in their own order
        hidden_layer_sizes: Any
        activation: Any

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

    def _fitted_network(self, name: str) -> Network:
        try:
            return vars(self)["network_"]
        except KeyError:
            raise AttributeError(f"{name} is there after fit") from None

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
            For parameters, shapes or values that make no sense.
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
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    def _fit(self, *arguments: Any, **options: Any) -> Any:
        """Check, and train; what is refused leaves the estimator as it was."""
        self._before: dict[str, Any] | None = vars(self).copy()
        try:
            return self._check_and_train(*arguments, **options)
        except Exception:
            if self._before is not None:  # as the training has not begun
                self.__dict__ = self._before
            raise

    def _check_and_train(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: tuple[Any, Any, Any] = (None, None, None),
        classes: Any = None,
        one_pass: bool = False,
    ) -> Any:
        for name, (kind, low, high, ends) in RANGES.items():
            value = getattr(self, name)
            check_scalar(value, name, kind, min_val=low, max_val=high, include_boundaries=ends)
        for name in FLAGS:
            inputs.flag(getattr(self, name), name)
        check_scalar(self.verbose, "verbose", (Integral, np.bool_), min_val=0)
        first = not hasattr(self, "network_") or not (self.warm_start or one_pass)
        if one_pass and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        X, y = self._checked(X, y, reset=first)
        Y = self._targets(y, first, classes)
        s = self._sample_weight(sample_weight, y)
        architecture = self._architecture(X, Y)
        random_state = check_random_state(self.random_state)
        if first:
            self._begin(architecture, X.dtype, random_state)
            self._before_split = copy.deepcopy(random_state)
        else:
            for name, value in architecture.items():
                if value != self._built[name]:
                    raise ValueError(
                        f"the network to go on with has {name} {self._built[name]}; parameters, X "
                        f"and y ask for {value}. For a new one fit with warm_start=False"
                    )
        X_val, y_val, s_val = validation
        if X_val is not None:
            X_val, y_val = self._checked(X_val, y_val, reset=False)
            s_val = self._sample_weight(s_val, y_val)
        elif self._stops_early():
            if not first:  # the same split again
                random_state = copy.deepcopy(self._before_split)
            X, X_val, Y, _, y, y_val, s, s_val = self._split(X, Y, y, s, random_state)
        if X_val is None:
            return self._train(X, Y, y, s, one_pass)

        def score(_: np.ndarray, a: np.ndarray) -> float:
            return self._score(X_val, y_val, a, s_val)

        held_out = X_val, self._targets(y_val, False, None), s_val
        return self._train(X, Y, y, s, one_pass, held_out, {"score": score})

    def _train(
        self,
        X: Any,
        Y: Any,
        y: Any,
        s: Any,
        one_pass: bool,
        held_out: tuple[Any, Any, Any] | None = None,
        metrics: Any = None,
    ) -> Any:
        """Train on what is checked: X, the targets Y that y stands for, and weights s or None."""
        n, lbfgs = len(Y), _is_lbfgs(self.solver)
        epochs = 1 if one_pass else self.max_iter
        batch_size = n if lbfgs else self._batch_size(n)
        # Theirs is alpha / 2 ||W||^2 for the whole minibatch, whose cost is then divided by its
        # total weight; ours is added to the mean cost. The average minibatch stands for each.
        penalty = self.alpha / (batch_size * (1.0 if s is None else float(np.mean(s)) or 1.0))
        monitor = _Monitor(self, n, batch_size, penalty, held_out is not None)
        listeners = [monitor, *_as_list(self.callbacks)]
        if not one_pass and hasattr(self, "_init_callback_context"):
            listeners.append(_Tasks(self, X, y, s, epochs))
        history = self.network_.fit(
            X,
            Y,
            epochs=epochs,
            batch_size=None if lbfgs else batch_size,
            optimizer=self._optimizer_now(penalty),
            validation=held_out,
            sample_weight=s,
            shuffle=self.shuffle,
            callbacks=listeners,
            n_threads=self.n_threads,
            schedule=self._schedule_now(),
            metrics=metrics,
            dropout=self.dropout,
        )
        self.history_: History = history
        if lbfgs:
            monitor.at_the_end(self.network_.evaluate(X, Y, s))
        if not one_pass and not monitor.converged and history.ended_by in NOT_CONVERGED:
            reason = NOT_CONVERGED[history.ended_by].format(**self.get_params(deep=False))
            wrapped = hasattr(self, "_init_callback_context")
            warnings.warn(
                f"{reason}: the training has not converged yet",
                ConvergenceWarning,
                stacklevel=6 if wrapped else 5,
            )
        return self

    # --- what goes into a training ----------------------------------------------------------------

    def _checked(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        """X in float32 or float64, and y."""
        X, y = validate_data(
            self,
            X,
            y,
            reset=reset,
            accept_sparse=SPARSE,
            multi_output=True,
            y_numeric=not is_classifier(self),
            dtype=(np.float64, np.float32),
        )
        return X, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def _sample_weight(self, sample_weight: Any, y: Any) -> np.ndarray | None:
        """Weights of the samples times those of their classes, (n_samples,); None: one each."""
        s = None
        if sample_weight is not None:
            if isinstance(sample_weight, Real):  # one for all
                sample_weight = np.full(y.shape[0], sample_weight)
            options = {"ensure_2d": False, "dtype": np.float64, "input_name": "sample_weight"}
            s = check_array(sample_weight, **options)
            if s.min() < 0:
                raise ValueError(f"sample_weight must not be negative; its smallest is {s.min()}")
            if s.shape != (y.shape[0],):
                raise ValueError(
                    f"sample_weight must have shape (n_samples,) = ({y.shape[0]},); got {s.shape}"
                )
        class_weight = getattr(self, "class_weight", None)
        if class_weight is not None:
            of_classes = compute_sample_weight(class_weight, y)
            s = of_classes if s is None else s * of_classes
        return s

    def _split(self, X: Any, Y: Any, y: Any, s: Any, random_state: Any) -> list[Any]:
        """Training and validation samples of each, in pairs."""
        arrays = [X, Y, y] if s is None else [X, Y, y, s]
        binary = is_classifier(self) and self._n_outputs(Y) == 1
        parts = train_test_split(
            *arrays,
            test_size=self.validation_fraction,
            random_state=random_state,
            stratify=y if binary else None,
        )
        if parts[1].shape[0] < 2:
            raise ValueError(
                f"The validation set is too small: validation_fraction={self.validation_fraction} "
                f"of {len(Y)} samples is one"
            )
        return parts if s is not None else [*parts, None, None]

    def _batch_size(self, n: int) -> int:
        auto = isinstance(self.batch_size, str) and self.batch_size == "auto"
        return min(inputs.batch_size(200 if auto else self.batch_size, None) or n, n)

    def _architecture(self, X: Any, Y: Any) -> dict[str, Any]:
        """What `Network` is to be made of."""
        output, cost = self._output_and_cost()
        n_hidden = np.atleast_1d(self.hidden_layer_sizes).tolist()
        return {
            "sizes": (X.shape[1], *n_hidden, self._n_outputs(Y)),
            "hidden": _ours(self.activation),
            "output": output,
            "cost": cost,
            "engine": self.engine,
        }

    def _begin(self, architecture: dict[str, Any], dtype: Any, random_state: Any) -> None:
        """A new network, whose initial parameters scikit-learn would draw too, and no history."""
        network = Network(**architecture, init="zeros", dtype=dtype, rng=_Order(random_state))
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

    def _schedule_now(self) -> Schedule | None:
        """Your own, or what the names mean to `sgd`; where it is still the same, it goes on."""
        schedule = None
        if not isinstance(self.learning_rate, str):
            schedule = as_schedule(copy.deepcopy(self.learning_rate), "learning_rate")
        else:
            name = inputs.choice(self.learning_rate, LEARNING_RATES, "learning_rate")
            if name != "constant" and self.solver == "sgd":
                schedule = _EpochFactor(name)
        if self._schedule != schedule:
            self._schedule = schedule
        return self._schedule

    def _optimizer_now(self, l2: float) -> Optimizer:
        """The optimizer with its state so far, and the hyperparameters of now."""
        optimizer = self._new_optimizer(l2)
        if type(self._optimizer) is not type(optimizer):
            self._optimizer = optimizer
        for parameter in fields(optimizer):
            if parameter.init:
                setattr(self._optimizer, parameter.name, getattr(optimizer, parameter.name))
        return self._optimizer

    def _new_optimizer(self, l2: float) -> Optimizer:
        if isinstance(self.solver, Optimizer):
            return copy.deepcopy(self.solver)
        common: dict[str, Any] = {"l2": l2}
        solver = inputs.choice(self.solver, SOLVERS, "solver")
        if solver == "lbfgs":
            return LBFGS(tolerance=self.tol, max_evaluations=self.max_fun, **common)
        common["learning_rate"] = self.learning_rate_init
        if solver == "adam":
            return Adam(betas=(self.beta_1, self.beta_2), epsilon=self.epsilon, **common)
        nesterov = self.nesterovs_momentum and self.momentum > 0
        return SGD(momentum=self.momentum, nesterov=nesterov, **common)

    # --- of the two classes -----------------------------------------------------------------------

    def _output_and_cost(self) -> tuple[Any, Any]:
        """What `Network` takes."""
        raise NotImplementedError

    def _n_outputs(self, Y: np.ndarray) -> int:
        raise NotImplementedError

    def _targets(self, y: Any, first: bool, classes: Any) -> np.ndarray:
        """What `Network.fit` takes as y, for the classes known, which the first y shows."""
        raise NotImplementedError

    def _predictions(self, a: np.ndarray) -> np.ndarray:
        """What `predict` returns, from a^L."""
        raise NotImplementedError

    def _score(self, X: Any, y: Any, a: np.ndarray, s: Any) -> float:
        """The score of the predictions that a^L of X stands for, weighted."""
        if not np.isfinite(a).all():
            return np.nan
        score = accuracy_score if is_classifier(self) else r2_score
        return score(y, self._predictions(a), sample_weight=s)

    def _stops_early(self) -> bool:
        return self.early_stopping and not _is_lbfgs(self.solver)

    # --- what comes out ---------------------------------------------------------------------------

    def _outputs(self, X: Any) -> np.ndarray:
        """a^L for every row of X, (n_samples, n_L)."""
        check_is_fitted(self, "network_")
        X = validate_data(
            self, X, reset=False, accept_sparse=SPARSE, dtype=(np.float64, np.float32)
        )
        return self.network_.predict(X, n_threads=self.n_threads)

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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = bool(SPARSE)
        return tags


def _is_lbfgs(solver: Any) -> bool:
    return getattr(solver, "name", solver) == "lbfgs"


def _takes_minibatches(estimator: Any) -> bool:
    if _is_lbfgs(estimator.solver):
        raise AttributeError("partial_fit takes steps on minibatches, which solver='lbfgs' cannot")
    return True


@dataclass(kw_only=True, eq=False, repr=False)
class MLPClassifier(ClassifierMixin, _MLP):
    """scikit-learn's MLPClassifier, trained by fastbackprop.

    One label of two (an output of sigmoid) or of more (softmax), or several labels at once, a
    column of 0 and 1 each (sigmoid). X in float32 is trained in float32, all else in float64.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Neurons of the hidden layers.
    activation : str, Activation or sequence of them
        Of the hidden layers, one for all or one each, by scikit-learn's names or ours.
    solver : {"adam", "sgd", "lbfgs"} or Optimizer
        An object of ours brings its own hyperparameters: `alpha`, `learning_rate_init`, `momentum`,
        `nesterovs_momentum`, `beta_1`, `beta_2` and `epsilon` do not count then.
    alpha : float
        L2 regularisation: alpha / 2 ||W||^2 is added to the cost of the average minibatch, so alpha
        over its samples, or their weights, to its mean cost.
    batch_size : int, None or "auto"
        Samples per step; "auto" is 200, None all.
    learning_rate : {"constant", "invscaling", "adaptive"}, Schedule or function of the step
        The names are for `solver="sgd"` alone, as in scikit-learn; a schedule is for every solver.
    learning_rate_init, power_t, max_iter, shuffle, random_state, tol, verbose, warm_start, \
    momentum, nesterovs_momentum, validation_fraction, beta_1, beta_2, epsilon, \
    n_iter_no_change, max_fun
        As in scikit-learn.
    early_stopping : bool
        Go by the score of validation samples, and keep the parameters of the best epoch. They are
        `validation_fraction` of the samples, or those passed to `fit`.
    class_weight : dict, "balanced" or None
        Weights of the classes, times those of the samples, in training and in validation.
    cost : str, Cost or None
        As `Network` takes it; None is cross_entropy.
    dropout : float or sequence of float
        As `Network.fit` takes it.
    callbacks : function, object or iterable of them
        As `Network.fit` takes them. (scikit-learn's own, from 1.9, go to `set_callbacks`.)
    n_threads : int or None
        As `Network.fit` takes it: None is as many as the work is worth. Pass 1 where several
        processes share the machine.
    engine : str
        As `Network` takes it.

    Attributes
    ----------
    network_ : Network
    history_ : History
        Of the last call: cost, validation_cost, validation_score and seconds of its epochs.
    classes_, coefs_, intercepts_, loss_, loss_curve_, best_loss_, validation_scores_, \
    best_validation_score_, n_iter_, t_, n_layers_, n_outputs_, out_activation_, n_features_in_, \
    feature_names_in_
        As in scikit-learn. `coefs_` and `intercepts_` are views of the network's parameters.

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

    @available_if(_takes_minibatches)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Any:
        """One more pass over these samples, with the state of the optimizer kept.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array_like, (n_classes,)
            All labels that will come, in the first call.
        """
        if not hasattr(self, "network_"):
            if classes is None:
                raise ValueError("classes must be passed to the first call of partial_fit")
        elif classes is not None and not np.array_equal(unique_labels(classes), self.classes_):
            raise ValueError(
                f"classes={classes!r} is not what it was in the first call of partial_fit, "
                f"{self.classes_}"
            )
        return self._fit(X, y, sample_weight, classes=classes, one_pass=True)

    def _targets(self, y: Any, first: bool, classes: Any) -> np.ndarray:
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
        # Network takes labels for its own cross-entropy, and of two classes as numbers.
        return labels if self.cost is None or n_classes < 3 else np.eye(n_classes)[labels]

    def _output_and_cost(self) -> tuple[Any, Any]:
        multiclass = self._label_binarizer.y_type_ == "multiclass"
        cost = "cross_entropy" if self.cost is None else self.cost
        return "softmax" if multiclass else "sigmoid", cost

    def _n_outputs(self, Y: np.ndarray) -> int:
        return 1 if self._label_binarizer.y_type_ == "binary" else len(self.classes_)

    def _predictions(self, a: np.ndarray) -> np.ndarray:
        return self._label_binarizer.inverse_transform(a if a.shape[1] > 1 else a.ravel())

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of `classes_`, (n_samples, n_classes).

        Of several labels at once, the probability of each.
        """
        a = self._outputs(X)
        if a.shape[1] == 1:
            a = np.hstack([1 - a, a])[:, : len(self.classes_)]
        return a

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithms of `predict_proba`; of a probability of 0, -inf."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


@dataclass(kw_only=True, eq=False, repr=False)
class MLPRegressor(RegressorMixin, _MLP):
    """scikit-learn's MLPRegressor, trained by fastbackprop.

    The other parameters and the attributes are those of MLPClassifier, but for the classes.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}
        Half the squared error, or, after an output of exp, half the deviance.
    cost : str, Cost or None
        In place of `loss`: any that `Network` takes, after an output of identity or of the
        activation that it belongs to.

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

    @available_if(_takes_minibatches)
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
        loss = inputs.choice(self.loss, ("squared_error", "poisson"), "loss")
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
        """R2; where there are several outputs for each target, as of quantiles, minus the cost."""
        return self._score(X, y, self._outputs(X), sample_weight)

    def _score(self, X: Any, y: Any, a: np.ndarray, s: Any) -> float:
        if a.size > np.size(y):
            return -self.network_.evaluate(X, y, s)
        return super()._score(X, y, a, s)

    def _predictions(self, a: np.ndarray) -> np.ndarray:
        return a if a.shape[1] > 1 else a.ravel()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class _Monitor:
    """A callback of ours: keeps scikit-learn's figures of a training, and ends it by them.

    `waited` counts the epochs in a row that were not better than the best so far, of this call, by
    `tol`.
    """

    def __init__(
        self, estimator: Any, n_samples: int, batch_size: int, l2: float, scored: bool
    ) -> None:
        self.estimator, self.n_samples, self.l2 = estimator, n_samples, l2
        self.steps = -(-n_samples // batch_size)
        self.stops_early = estimator._stops_early()
        self.best, self.waited, self.converged = -np.inf, 0, False
        self.parameters: np.ndarray | None = None
        if scored and estimator.validation_scores_ is None:
            estimator.validation_scores_ = []

    def _penalty(self, network: Network) -> float:
        return self.l2 / 2 * float(sum(np.einsum("jk,jk->", W, W) for W in network.weights))

    def on_train_begin(self, network: Network) -> None:
        self.penalty = self._penalty(network)
        self.estimator._before = None

    def on_epoch_end(self, network: Network, epoch: int, logs: dict[str, float]) -> bool:
        estimator = self.estimator
        # As the cost, the mean of what it was before each step, taken to change evenly.
        before, self.penalty = self.penalty, self._penalty(network)
        part = (self.steps - 1) / (2 * self.steps)
        loss = logs["cost"] + before + (self.penalty - before) * part
        estimator.n_iter_, estimator.loss_ = epoch, loss
        estimator.t_ += self.n_samples
        estimator.loss_curve_.append(loss)
        self._say(f"Iteration {epoch}, loss = {loss:.8f}")
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
        merit = scores[-1] if self.stops_early else -loss
        self.waited = 0 if merit - self.best >= estimator.tol else self.waited + 1
        if merit > self.best:
            self.best = merit
            if self.stops_early:
                self.parameters = network.get_parameters()
        schedule = estimator._schedule
        if isinstance(schedule, _EpochFactor) and schedule.name == "invscaling":
            schedule.factor = (estimator.t_ + 1) ** -estimator.power_t
        tired = self.waited > estimator.n_iter_no_change and not _is_lbfgs(estimator.solver)
        return tired and self._ends()

    def _ends(self) -> bool:
        """Whether there is nothing left to try. `adaptive` tries a smaller learning rate."""
        estimator = self.estimator
        what = "Validation score" if self.stops_early else "Training loss"
        text = (
            f"{what} did not improve more than tol={estimator.tol:f} for "
            f"{estimator.n_iter_no_change} consecutive epochs."
        )
        schedule = estimator._schedule
        if isinstance(schedule, _EpochFactor) and schedule.name == "adaptive":
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
        if self.parameters is not None:
            network.set_parameters(self.parameters)

    def at_the_end(self, cost: float) -> None:
        """The cost after the last iteration of lbfgs: in the history is that before it."""
        loss = self.estimator.loss_ = cost + self.penalty
        self.estimator.best_loss_ = min(self.estimator.best_loss_, loss)

    def _say(self, text: str) -> None:
        if self.estimator.verbose:
            print(text)


class _Tasks:
    """A callback of ours: tells scikit-learn's callbacks of a fit, and of its epochs."""

    def __init__(self, estimator: _MLP, X: Any, y: Any, s: Any, epochs: int) -> None:
        self.fit = estimator._init_callback_context(max_subtasks=epochs)
        self.epoch: Any = None

        def network_now() -> dict[str, Any]:
            return {"network_": copy.deepcopy(estimator.network_)}

        self.news = {
            "estimator": estimator,
            "X": X,
            "y": y,
            "metadata": {"sample_weight": s},
            "reconstruction_attributes": network_now,
        }

    def on_train_begin(self, network: Network) -> None:
        self.fit.call_on_fit_task_begin(**self.news)

    def on_epoch_begin(self, network: Network, epoch: int) -> None:
        self.epoch = self.fit.subcontext(task_name="iteration")
        self.epoch.call_on_fit_task_begin(**self.news)

    def on_epoch_end(self, network: Network, epoch: int, logs: dict[str, float]) -> bool:
        return self.epoch.call_on_fit_task_end(**self.news)

    def on_train_end(self, network: Network, history: History) -> None:
        self.fit.call_on_fit_task_end(**self.news)


@dataclass
class _EpochFactor(Schedule):
    """A factor of the learning rate that `_Monitor` sets between epochs."""

    name: str
    factor: float = field(default=1.0, init=False, compare=False)

    def factors(self, step: np.ndarray, steps_per_epoch: int) -> np.ndarray:
        return np.full(len(step), self.factor)


class _Order(np.random.Generator):
    """Orders of the samples as scikit-learn draws them: each shuffles the one before."""

    def __init__(
        self, random_state: np.random.RandomState, bits: Any = None, order: Any = ()
    ) -> None:
        if bits is None:  # for all but orders; the draws of `random_state` itself are theirs
            bits = np.random.PCG64(copy.deepcopy(random_state).randint(2**31))
        super().__init__(bits)
        self._random_state, self._order = random_state, order

    def permutation(self, n: int) -> np.ndarray:  # type: ignore[override]
        order = self._order if len(self._order) == n else np.arange(n)
        self._order = order[self._random_state.permutation(n)]
        return self._order

    def __reduce__(self) -> Any:
        return type(self), (self._random_state, self.bit_generator, self._order)


def _ours(activation: Any) -> Any:
    """Activations by our names, one or one for each hidden layer."""
    if isinstance(activation, str):
        return OURS.get(activation, activation)
    return [_ours(a) for a in activation] if isinstance(activation, Iterable) else activation


def _as_list(callbacks: Any) -> list[Any]:
    single = callable(callbacks) or not isinstance(callbacks, Iterable)
    return [callbacks] if single else list(callbacks)
