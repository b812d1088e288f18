"""The parameter `client` of estimators and searches: where their networks are trained."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

from sklearn.base import BaseEstimator

from fastbackprop import many


class OnClient(BaseEstimator):
    """An estimator with a parameter `client`, which clones share and no pickle holds."""

    client: Any

    def __getstate__(self) -> dict[str, Any]:
        """Without the client."""
        return {**super().__getstate__(), "client": None}

    def __sklearn_clone__(self) -> Any:
        other = BaseEstimator.__sklearn_clone__(copy.copy(self))
        other.client = self.client
        return other


def fit_many_of(client: Any) -> Callable[..., Any]:
    """`fastbackprop.fit_many`, on the cluster of a client unless it is None.

    Raises ImportError without Dask, TypeError or ValueError for a client that cannot be used.
    """
    if client is None:
        return many.fit_many
    from fastbackprop import dask
    from fastbackprop.dask.client import connected

    return functools.partial(dask.fit_many, client=connected(client))


def check(client: Any, engine: Any) -> None:
    """Raise for a client that cannot be used, or whose workers would compute other bits.

    Errors are those of `fit_many_of`, and RuntimeError with the workers' names.
    """
    if client is not None:
        fit_many_of(client)
        from fastbackprop.dask.client import check_workers

        check_workers(client, engine)
