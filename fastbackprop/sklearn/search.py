"""scikit-learn's searches and cross-validations, which train their networks together."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

from sklearn import model_selection
from sklearn.experimental import enable_halving_search_cv  # noqa: F401

from fastbackprop.sklearn.on_client import OnClient
from fastbackprop.sklearn.together import together

Function = TypeVar("Function", bound=Callable[..., Any])

NOTE = """
    Notes of fastbackprop
    ---------------------
    The networks of all candidates and folds are trained together, if the estimator is one of
    `fastbackprop.sklearn`, or a pipeline that ends with one. `n_jobs` is the number of threads
    then; None chooses it from the work. With `client`, a distributed.Client, the workers of its
    cluster train the networks, a group at a time, and `n_jobs` is the number of threads for each
    group. The results are those of scikit-learn's own, times apart. Ctrl-C raises
    `fastbackprop.Interrupted`. Of any other estimator, and with callbacks of scikit-learn, nothing
    differs, and `client` is refused.
"""


def _with_note(original: Any) -> str:
    """The docstring of a class or function, and what differs."""
    return f"{inspect.cleandoc(original.__doc__ or '')}\n{inspect.cleandoc(NOTE)}\n"


def _with_client(function: Function) -> inspect.Signature:
    """The signature with one more keyword, `client`."""
    signature = inspect.signature(function)
    more = inspect.Parameter("client", inspect.Parameter.KEYWORD_ONLY, default=None)
    return signature.replace(parameters=[*signature.parameters.values(), more])


def _takes_client(search: type) -> type:
    """A decorator: a subclass of a search gets the parameters of that, and `client`."""
    original = cast(Any, search).__init__

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, client: Any = None, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.client = client

    vars(__init__)["__signature__"] = _with_client(original)
    search.__init__ = __init__  # type: ignore[misc]
    return search


class _Search(OnClient):
    """What the searches share."""

    estimator: Any

    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Search, as the class of scikit-learn does, and fit the best candidate.

        Parameters and errors are those of scikit-learn's.
        """
        with together(self.estimator, self, self.client):
            return super().fit(X, y, **params)


@_takes_client
class GridSearchCV(_Search, model_selection.GridSearchCV):
    """scikit-learn's class; the networks of all candidates and folds are trained together."""

    __doc__ = _with_note(model_selection.GridSearchCV)


@_takes_client
class RandomizedSearchCV(_Search, model_selection.RandomizedSearchCV):
    """scikit-learn's class; the networks of all candidates and folds are trained together."""

    __doc__ = _with_note(model_selection.RandomizedSearchCV)


@_takes_client
class HalvingGridSearchCV(_Search, model_selection.HalvingGridSearchCV):
    """scikit-learn's class; the networks of all candidates and folds are trained together."""

    __doc__ = _with_note(model_selection.HalvingGridSearchCV)


@_takes_client
class HalvingRandomSearchCV(_Search, model_selection.HalvingRandomSearchCV):
    """scikit-learn's class; the networks of all candidates and folds are trained together."""

    __doc__ = _with_note(model_selection.HalvingRandomSearchCV)


def _together(function: Function) -> Function:
    @functools.wraps(function)
    def trained_together(estimator: Any, *args: Any, client: Any = None, **kwargs: Any) -> Any:
        with together(estimator, client=client):
            return function(estimator, *args, **kwargs)

    vars(trained_together)["__signature__"] = _with_client(function)
    trained_together.__doc__ = _with_note(function)
    return cast(Function, trained_together)


cross_validate = _together(model_selection.cross_validate)
cross_val_score = _together(model_selection.cross_val_score)
cross_val_predict = _together(model_selection.cross_val_predict)
learning_curve = _together(model_selection.learning_curve)
validation_curve = _together(model_selection.validation_curve)
