"""Candidates of a search, on one fold each: their trainings taken out of scikit-learn's functions.

scikit-learn evaluates a candidate by `_fit_and_score(estimator, X, y, train=..., ...)`. A `Task` is
such a call. `begin` prepares the training, and the call itself follows when the network is trained:
the estimator's `fit` then has nothing left to do. A call that is not known, or whose preparation
fails, is made as it is; so an error is the one that scikit-learn raises.
"""

from __future__ import annotations

import copy
import functools
import inspect
import itertools
import warnings
from collections.abc import Callable, Sequence
from numbers import Number
from time import perf_counter
from typing import Any

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection._validation import _score
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import _check_method_params, _num_samples

from fastbackprop.sklearn import members, parameters
from fastbackprop.sklearn.base import MLP
from fastbackprop.sklearn.data import Data
from fastbackprop.sklearn.fitting import Fit, train_together
from fastbackprop.sklearn.on_client import fit_many_of
from fastbackprop.sklearn.order import in_state
from fastbackprop.sklearn.pool import Pool
from fastbackprop.training import History

KNOWN = ("_fit_and_score", "_fit_and_predict")
EXTRAS = "return_train_score", "return_parameters", "return_estimator"
OF_SIMPLE = {
    *("estimator", "X", "y", "scorer", "train", "test", "verbose", "parameters", "fit_params"),
    *("score_params", "return_n_test_samples", "return_times", "split_progress", *EXTRAS),
    *("candidate_progress", "error_score", "caller", "callback_ctx"),
}
VECTORS = 8  # of the length of theta, that a network and its training have at most


def last_step(estimator: Any) -> MLP | None:
    """The estimator of ours that this one trains last, and once; None: there is none."""
    last = estimator
    if type(estimator) is Pipeline:
        try:
            last = estimator.steps[-1][1]
        except (TypeError, LookupError):  # scikit-learn refuses these steps
            return None
    ours = isinstance(last, MLP) and type(last).fit is MLP.fit
    listened_to = any(getattr(e, "_skl_callbacks", None) for e in (estimator, last))
    return last if ours and not listened_to else None


class Samples:
    """The arguments that the last step's `fit` gets on one fold, behind fitted steps.

    Estimators whose parameters say the same about the samples check them once.
    """

    def __init__(self, X: Any, y: Any, sample_weight: Any = None, **validation: Any) -> None:
        if y is None or any(value is not None for value in validation.values()):
            raise ValueError("these are trained on as scikit-learn does")
        self.arguments = X, y, sample_weight
        self.steps: list[Any] = []
        self.of_test: Callable[[], tuple[Any, Any]]
        self.rows, self.n = np.zeros(0, np.int64), 0
        self._checked: dict[Any, tuple[Data, dict[str, Any]]] = {}

    def of(self, estimator: MLP, pool: Pool) -> Data:
        """Checked for this estimator, which gets the attributes that belong to them."""
        class_weight = repr(getattr(estimator, "class_weight", None))
        key = type(estimator), estimator.missing_targets, estimator.cost is None, class_weight
        if key not in self._checked:
            before = set(vars(estimator))
            data = estimator._checked(*self.arguments)
            learned = {name: vars(estimator)[name] for name in vars(estimator).keys() - before}
            if self.n:
                data = pool.place(data, self.rows, self.n)
            self._checked[key] = data, learned
        else:
            parameters.check(estimator)
        data, learned = self._checked[key]
        estimator.__dict__.update(learned)
        return data


class Folds:
    """Samples of all folds that tasks ask for.

    Attributes
    ----------
    pool : Pool
    size : int
        Bytes of X, of all folds.
    """

    def __init__(self) -> None:
        self.pool, self.size = Pool(), 0
        self._samples: dict[Any, Samples] = {}
        self._alive: list[Any] = []  # keys are their addresses

    def samples(self, arguments: dict[str, Any], estimator: Any, last: MLP) -> Samples:
        """Those of a task."""
        of_fold = tuple(arguments[name] for name in ("X", "y", "train", "test", "fit_params"))
        key = (*map(id, of_fold), _before_last(estimator, last))
        if key not in self._samples:
            self._alive.append(of_fold)
            samples = self._samples[key] = _samples(of_fold, estimator, last)
            self.size += getattr(samples.arguments[0], "nbytes", 0)
        return self._samples[key]


def _before_last(estimator: Any, last: MLP) -> Any:
    """Equal for pipelines that differ in the last step alone."""
    if estimator is last:
        return None
    settings = {name: value for name, value in vars(estimator).items() if name != "steps"}
    try:
        return joblib.hash((settings, estimator.steps[:-1]))
    except Exception:  # no pickle can hold them: nothing is equal to them
        return object()


def _samples(of_fold: tuple[Any, ...], estimator: Any, last: MLP) -> Samples:
    """What `fit` of the last step gets on the rows of a fold."""
    X, y, train, test, fit_params = of_fold
    X_train, y_train = _safe_split(estimator, X, y, train)
    options = _check_method_params(X, params=fit_params or {}, indices=train)
    if estimator is last:
        samples = Samples(X_train, y_train, **options)
    else:
        caught: list[Samples] = []
        last.fit = lambda *args, **kwargs: caught.append(Samples(*args, **kwargs))
        try:
            estimator.fit(X_train, y_train, **options)
        finally:
            del last.fit
        samples = caught[0]
        samples.steps = estimator.steps[:-1]
    samples.of_test = functools.cache(lambda: _safe_split(estimator, X, y, test, train))
    rows = np.asarray(train)
    if (
        rows.dtype.kind in "iu"
        and rows.min() >= 0
        and _num_samples(samples.arguments[0]) == len(rows)
    ):
        samples.rows, samples.n = rows.astype(np.int64), _num_samples(X)
    return samples


class Task:
    """A call of a function of scikit-learn.

    Attributes
    ----------
    fits : list of Fit
        The trainings of its networks, if any wait.
    histories : list of History
        Of these, when they have ended.
    seconds : float
        Spent for it before the call.
    """

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self._call = function, args, kwargs
        self._estimator: Any = None
        self._last: Any = None
        self._before: list[tuple[Any, dict[str, Any]]] = []
        self._steps: list[Any] = []
        self._arguments: dict[str, Any] = {}
        self._samples: Any = None
        self.fits: list[Fit] = []
        self.histories: list[History] = []
        self.seconds = 0.0

    def begin(self, folds: Folds) -> int:
        """Prepare the training, if that can be; returns the bytes that it needs."""
        function, args, kwargs = self._call
        if getattr(function, "__name__", None) not in KNOWN:
            return 0
        began, arguments = perf_counter(), _arguments(function, args, kwargs)
        self._arguments = arguments
        estimator = arguments["estimator"]
        try:
            if given := arguments.get("parameters"):
                estimator.set_params(**clone(given, safe=False))
            last = last_step(estimator)
            if last is None:
                return 0
            self._before = [(e, vars(e).copy()) for e in (estimator, last)]
            samples = folds.samples(arguments, estimator, last)
            data, random_state = samples.of(last, folds.pool), _of_its_own(last.random_state)
            self.fits = members.prepared(last, data, random_state=random_state)
        except Exception:
            self.give_up()
            return 0
        self._estimator, self._last, self._steps = estimator, last, samples.steps
        self._samples = samples
        if arguments.get("return_estimator"):
            self._steps = copy.deepcopy(self._steps)
        estimator.fit = self._trained
        self.seconds += perf_counter() - began
        network = self.fits[0].estimator.network_
        return len(self.fits) * VECTORS * network.n_parameters * network.dtype.itemsize

    def give_up(self) -> None:
        """Leave all to the call."""
        self.fits = []
        for estimator, state in self._before:
            estimator.__dict__ = state

    def __call__(self) -> Any:
        """The result of the function."""
        function, args, kwargs = self._call
        result = self._scored() if self._is_simple() else function(*args, **kwargs)
        if isinstance(result, dict) and "fit_time" in result:
            result["fit_time"] += self.seconds
        return result

    def _is_simple(self) -> bool:
        """Whether `_scored` is all that `_fit_and_score` would do now."""
        asked, histories = self._arguments, self.histories
        return (
            getattr(self._call[0], "__name__", None) == "_fit_and_score"
            and bool(histories)
            and all(history.ended_by != "divergence" for history in histories)
            and asked.keys() <= OF_SIMPLE
            and not any(asked.get(name) for name in ("score_params", *EXTRAS))
            and asked["verbose"] < 2
            and isinstance(asked.get("error_score", np.nan), Number)
        )

    def _scored(self) -> dict[str, Any]:
        """What `_fit_and_score` returns for a fit that has succeeded.

        It copies the rows of a fold for every candidate, which takes longer than small networks.
        """
        asked, began = self._arguments, perf_counter()
        self._trained()
        X_test, y_test = self._samples.of_test()
        trained = perf_counter()
        score = _score(
            asked["estimator"],
            X_test,
            y_test,
            asked["scorer"],
            {},
            asked.get("error_score", np.nan),
        )
        result = {"fit_error": None, "test_scores": score}
        if asked.get("return_n_test_samples"):
            result["n_test_samples"] = _num_samples(X_test)
        if asked.get("return_times"):
            result["fit_time"] = trained - began
            result["score_time"] = perf_counter() - trained
        return result

    def _trained(self, *args: Any, **kwargs: Any) -> Any:
        """In place of the estimator's `fit`."""
        estimator, last = self._estimator, self._last
        del estimator.fit
        if estimator is not last:
            estimator.steps = [*self._steps, (estimator.steps[-1][0], last)]
        if reason := members.ended(last, self.fits, self.histories):
            warnings.warn(reason, ConvergenceWarning, stacklevel=2)
        return estimator


def train(tasks: Sequence[Task], n_threads: int | None, client: Any = None) -> None:
    """Train the networks of these tasks together, with a client on its cluster."""
    waiting = [task for task in tasks if task.fits]
    if not waiting:
        return
    fits, began = [fit for task in waiting for fit in task.fits], perf_counter()
    try:
        histories = iter(train_together(fits, n_threads, client))
    except Exception:
        fit_many_of(client)  # raises where the client was closed
        if any(fit.monitor.began for fit in fits) or len(waiting) == 1:
            for task in waiting:
                task.give_up()
        else:  # something of one task has been refused: the others go on without it
            half = len(waiting) // 2
            train(waiting[:half], n_threads, client)
            train(waiting[half:], n_threads, client)
        return
    for task in waiting:
        task.histories = list(itertools.islice(histories, len(task.fits)))
    spent = [sum(sum(h["seconds"]) for h in task.histories if len(h)) for task in waiting]
    share = (perf_counter() - began) / (sum(spent) or 1.0)
    for task, seconds in zip(waiting, spent, strict=True):
        task.seconds += share * seconds


def _arguments(function: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """By name. `_FuncWrapper` of scikit-learn has the signature of the function in it."""
    return _signature(getattr(function, "__wrapped__", function)).bind(*args, **kwargs).arguments


_signature = functools.lru_cache(maxsize=8)(inspect.signature)


def _of_its_own(random_state: Any) -> np.random.RandomState:
    """A generator that no other task draws from, in the state that it has for each of them."""
    if random_state is None:
        random_state = check_random_state(None).randint(2**31 - 1)
    if isinstance(random_state, np.random.RandomState):
        return in_state(random_state.get_state(legacy=False))
    return check_random_state(random_state)
