"""Several machines, on Dask (the extra `dask`): more networks or more rows than one machine has.

    fit.py        `fit`: one network on rows that are spread over the cluster
    rounds.py     its trainings: a gradient step, or a mean of parameters, from all partitions
    many.py       `fit_many` and `as_completed`: many networks, each on one worker
    lazy.py       `predict` and `evaluate`, as Dask collections
    partitions.py rows in partitions, from Dask's collections, futures, or a function that loads
    work.py       the tasks of one call: started, waited for, repaired, ended
    client.py     the client, and whether its workers are as they must be
    tasks.py      what workers run; they keep nothing

A partition, not a worker, is the unit of every sum and of every random number, and sums are added
in the order of the partitions. So no bit of a result depends on how many workers there are, nor on
whether some were lost on the way. The estimators are those of `fastbackprop.sklearn.on_dask`.
"""

from importlib import import_module
from typing import Any

from fastbackprop.names import missing

try:
    import distributed  # noqa: F401
except ImportError as error:
    raise missing("this needs Dask and distributed", "dask") from error

from fastbackprop.dask.fit import fit
from fastbackprop.dask.lazy import evaluate, predict
from fastbackprop.dask.many import as_completed, fit_many
from fastbackprop.dask.partitions import partitions

ESTIMATORS = ["DaskMLPClassifier", "DaskMLPRegressor"]

__all__ = [
    "DaskMLPClassifier",
    "DaskMLPRegressor",
    "as_completed",
    "evaluate",
    "fit",
    "fit_many",
    "partitions",
    "predict",
]


def __getattr__(name: str) -> Any:
    """The estimators, which need scikit-learn: all else works without."""
    if name in ESTIMATORS:
        return getattr(import_module("fastbackprop.sklearn.on_dask"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
