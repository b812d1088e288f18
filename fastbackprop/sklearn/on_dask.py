"""DaskMLPClassifier and DaskMLPRegressor: the estimators on rows spread over a cluster."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import cloudpickle
import dask
import dask.array
import numpy as np
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from fastbackprop import dask as cluster
from fastbackprop.dask import tasks
from fastbackprop.dask.client import connected
from fastbackprop.dask.partitions import blocks, is_spread, sources
from fastbackprop.sklearn import parameters
from fastbackprop.sklearn.base import MLP
from fastbackprop.sklearn.classifier import MLPClassifier
from fastbackprop.sklearn.data import Data, inputs_and_targets, weights
from fastbackprop.sklearn.on_client import OnClient
from fastbackprop.sklearn.regressor import MLPRegressor
from fastbackprop.training import History

ADDED = ("client", "sync")  # parameters that the local estimators do not have


class _Look(NamedTuple):
    """What the client has to know of a partition before the training."""

    n: int
    dtype: Any
    features: dict[str, Any]  # the attributes that scikit-learn's checks set
    n_targets: int  # 0 where y is (n_samples,)
    labels: np.ndarray  # of a classifier whose y is (n_samples,)
    counts: np.ndarray
    of_labels: np.ndarray  # the sum of the weights for each label; of all samples elsewhere


@dataclass
class Spread:
    """Samples in partitions, with the attributes of `Data`.

    X and Y are a few that are like them, s is the mean of their weights, (1,).
    """

    parts: list[Any]
    n: int
    X: np.ndarray
    Y: np.ndarray
    s: np.ndarray
    rows: None = None


@dataclass(kw_only=True, eq=False, repr=False)
class OnDask(OnClient, MLP):
    """What both have: `fit` on partitions, lazy predictions, `to_local`."""

    client: Any = None
    sync: Any = "epoch"

    local: ClassVar[type[MLP]]

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Any:
        """Train on partitions.

        Parameters
        ----------
        X, y, sample_weight
            As for `fastbackprop.dask.fit`; y holds labels, or numbers for a regressor.
        X_val, y_val, sample_weight_val : optional
            As for the local estimator: arrays of this process.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError, RuntimeError
            As `fastbackprop.dask.fit`; the estimator is as it was then.
        """
        if self.n_networks != 1:
            raise ValueError(
                f"on Dask an estimator has one network; got n_networks={self.n_networks!r}. "
                f"fastbackprop.dask.fit_many trains several"
            )
        if self._stops_early() and X_val is None:
            raise ValueError(
                "early_stopping=True needs validation samples: pass X_val and y_val, arrays of "
                "this process"
            )
        held_out = {"X_val": X_val, "y_val": y_val, "sample_weight_val": sample_weight_val}
        return super().fit(X, y, sample_weight, **held_out)

    def _checked(
        self, X: Any, y: Any, sample_weight: Any, classes: Any = None, one_pass: bool = False
    ) -> Any:
        """As of `MLP`, of partitions."""
        if one_pass:
            raise TypeError("partial_fit takes arrays: call to_local().partial_fit")
        parameters.check(self)
        client, parts = connected(self.client), sources(X, y, sample_weight)
        stub = cloudpickle.dumps(self._stub())
        looked = [dask.delayed(_look)(stub, i, *part) for i, part in enumerate(parts)]
        looks = [look for look in client.gather(client.compute(looked)) if look is not None]
        if not looks:
            raise ValueError("X has no rows in any of its partitions")
        X, Y = self._learn(looks, first=not self._goes_on(one_pass))
        shares = [look.of_labels for look in looks]
        if len(looks[0].labels):
            of_class = self._weights_of_classes(looks)
            shares = [
                look.of_labels * [of_class.get(label, 1.0) for label in look.labels.tolist()]
                for look in looks
            ]
        n = sum(look.n for look in looks)
        mean = float(sum(share.sum() for share in shares)) / n
        encoder = cloudpickle.dumps(self._stub())
        encoded = [dask.delayed(_encoded)(encoder, i, *part) for i, part in enumerate(parts)]
        return Spread(encoded, n, X, Y, np.array([mean]))

    def _learn(self, looks: list[_Look], first: bool) -> tuple[np.ndarray, np.ndarray]:
        """Features and classes; returns a few samples that are like those of the partitions."""
        for look in looks[1:]:
            same = look.features.keys() == looks[0].features.keys() and all(
                np.array_equal(value, looks[0].features[name])
                for name, value in look.features.items()
            )
            if not same or look.n_targets != looks[0].n_targets:
                raise ValueError(
                    f"all partitions must have the same columns; one has {look.features} and "
                    f"{look.n_targets or 1} targets, another {looks[0].features} and "
                    f"{looks[0].n_targets or 1}"
                )
        if first:
            self.__dict__.update(looks[0].features)
        n_targets = looks[0].n_targets
        if n_targets:
            y = np.tile([[0], [1]], n_targets)
        else:
            y = np.unique(np.concatenate([look.labels for look in looks]))
        if not is_classifier(self):
            y = np.zeros((2, n_targets)) if n_targets else np.zeros(2)
        Y = self._targets(y, first, None)
        X = np.zeros((len(y), looks[0].features["n_features_in_"]), looks[0].dtype)
        return X, Y

    def _weights_of_classes(self, looks: list[_Look]) -> dict[Any, float]:
        """`class_weight` as a dict: balanced over all partitions."""
        given = getattr(self, "class_weight", None)
        self._class_weight = given
        if given != "balanced":
            return dict(given or {})
        counts: dict[Any, int] = {}
        for look in looks:
            for label, count in zip(look.labels.tolist(), look.counts.tolist(), strict=True):
                counts[label] = counts.get(label, 0) + count
        n = sum(counts.values())
        self._class_weight = {label: n / (len(counts) * c) for label, c in counts.items()}
        return self._class_weight

    def _stub(self) -> Any:
        """What workers need to encode y: neither client nor network."""
        stub = self._plain(without=("network_", "_optimizer", "_schedule", "callbacks", "_before"))
        if hasattr(self, "_class_weight"):
            stub.class_weight = self._class_weight
        return stub

    def _plain(self, without: tuple[str, ...] = ()) -> MLP:
        """A local estimator with the same attributes."""
        plain = self.local.__new__(self.local)
        hidden = (*ADDED, "_class_weight", *without)
        plain.__dict__.update({n: value for n, value in vars(self).items() if n not in hidden})
        return plain

    def _samples_per_step(self, n: int) -> int:
        whole = self.sync == "step" and self.batch_size == "auto"
        return n if whole else super()._samples_per_step(n)

    def _call_fit(self, data: Any, **options: Any) -> History:
        sync = "step" if parameters.is_lbfgs(self.solver) else self.sync
        return cluster.fit(self.network_, data.parts, client=self.client, sync=sync, **options)

    def _cost(self, data: Any) -> float:
        if isinstance(data, Data):
            return super()._cost(data)
        lazy = cluster.evaluate(self.network_, data.parts, missing_targets=self.missing_targets)
        cost: float = connected(self.client).compute(lazy).result()
        return cost

    def to_local(self) -> Any:
        """The same estimator for arrays: `MLPClassifier` or `MLPRegressor`, fitted as this one."""
        return copy.deepcopy(self._plain())

    def predict(self, X: Any) -> Any:
        """As of the local estimator; of Dask's collections, lazily, block by block.

        Parameters
        ----------
        X : array_like, or Dask array or DataFrame, or partitions

        Returns
        -------
        ndarray, or dask.array.Array
        """
        return self._lazily("predict", X)

    def _lazily(self, method: str, X: Any) -> Any:
        """A method of the local estimator for each block."""
        check_is_fitted(self, "network_")
        local = self._plain()
        if not is_spread(X):
            return getattr(local, method)(X)
        nameless = self._plain(without=("feature_names_in_",))
        example = getattr(nameless, method)(np.zeros((2, self.network_.sizes[0])))
        blob = dask.delayed(tasks.same, pure=True)(cloudpickle.dumps(local))
        parts = blocks(X, "X")
        rows = X.chunks[0] if isinstance(X, dask.array.Array) else [np.nan] * len(parts)
        results = [
            dask.array.from_delayed(
                dask.delayed(_called, pure=True)(blob, method, i, part),
                (n, *example.shape[1:]),
                example.dtype,
            )
            for i, (part, n) in enumerate(zip(parts, rows, strict=True))
        ]
        return dask.array.concatenate(results, allow_unknown_chunksizes=True)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """As of the local estimator; of Dask's collections from sums over the partitions."""
        check_is_fitted(self, "network_")
        local = self._plain()
        if not is_spread(X):
            return float(local.score(X, y, sample_weight))
        blob, client = cloudpickle.dumps(local), connected(self.client)
        parts = enumerate(sources(X, y, sample_weight))
        sums = client.gather(client.compute([dask.delayed(_sums)(blob, i, *p) for i, p in parts]))
        return _score([part for part in sums if part is not None], is_classifier(self))


@dataclass(kw_only=True, eq=False, repr=False)
class DaskMLPClassifier(OnDask, MLPClassifier):
    """`fastbackprop.sklearn.MLPClassifier` on rows that are spread over a Dask cluster.

    `fit(X, y, sample_weight)` takes what `fastbackprop.dask.fit` takes; classes are found in all
    partitions. Of Dask's collections `predict` and `predict_proba` are lazy. `batch_size` is that
    of each partition with sync="epoch", of all together with "step", where "auto" is all rows.
    Early stopping needs `X_val` and `y_val`, arrays. X is read once before the training. Parameters
    beside those below are those of `MLPClassifier`; n_threads is not used.

    Parameters
    ----------
    client : distributed.Client or None
        None: the current one. It is not pickled.
    sync : {"epoch", "step"} or int
        As for `fastbackprop.dask.fit`; lbfgs always takes steps.

    Examples
    --------
    >>> import dask.array
    >>> from dask.distributed import Client
    >>> from fastbackprop.dask import DaskMLPClassifier
    >>> if __name__ == "__main__":
    ...     X = dask.array.random.random((1000, 4), chunks=(250, 4))
    ...     y = (X.sum(axis=1) > 2).astype(int)
    ...     with Client(n_workers=2, threads_per_worker=1) as client:
    ...         local = DaskMLPClassifier(max_iter=20, random_state=0).fit(X, y).to_local()
    """

    local = MLPClassifier

    def predict_proba(self, X: Any) -> Any:
        """Probabilities of `classes_`, (n_samples, n_classes); of Dask's collections, lazily."""
        return self._lazily("predict_proba", X)

    def predict_log_proba(self, X: Any) -> Any:
        """Logarithms of `predict_proba`."""
        return self._lazily("predict_log_proba", X)


@dataclass(kw_only=True, eq=False, repr=False)
class DaskMLPRegressor(OnDask, MLPRegressor):  # type: ignore[misc] # no return_std
    """`fastbackprop.sklearn.MLPRegressor` on rows that are spread over a Dask cluster.

    As `DaskMLPClassifier`; the parameters but `client` and `sync` are those of `MLPRegressor`.
    """

    local = MLPRegressor

    def predict_quantiles(self, X: Any) -> Any:
        """All quantiles of `cost=Quantile(levels)`; of Dask's collections, lazily."""
        return self._lazily("predict_quantiles", X)


# --- on a worker ---------------------------------------------------------------------------------


def _look(blob: bytes, i: int, *data: Any) -> _Look | None:
    """Figures of a partition; None where it has no rows."""
    with tasks.naming_partition(i):
        estimator = pickle.loads(blob)
        X, y, s = tasks.triple(data, i)
        if np.shape(X)[:1] == (0,):
            return None
        X, y = inputs_and_targets(estimator, X, y, reset=True)
        estimator.class_weight = None
        s = weights(estimator, s, y)
        labels: Any = np.zeros(0)
        counts: Any = labels
        of_labels = np.array([len(y) if s is None else s.sum()], float)
        if is_classifier(estimator) and y.ndim == 1:
            labels, places, counts = np.unique(y, return_inverse=True, return_counts=True)
            of_labels = np.bincount(places, s, len(labels))
        names = ("n_features_in_", "feature_names_in_")
        features = {name: getattr(estimator, name) for name in names if hasattr(estimator, name)}
        n_targets = y.shape[1] if y.ndim == 2 else 0
        return _Look(X.shape[0], X.dtype, features, n_targets, labels, counts, of_labels)


def _encoded(blob: bytes, i: int, *data: Any) -> tuple[Any, Any, Any]:
    """A partition as `fastbackprop.dask.fit` takes it."""
    with tasks.naming_partition(i):
        estimator = pickle.loads(blob)
        X, y, s = tasks.triple(data, i)
        if np.shape(X)[:1] == (0,):
            return X, y, None
        X, y = inputs_and_targets(estimator, X, y, reset=False)
        return X, estimator._targets(y, False, None), weights(estimator, s, y)


def _called(blob: bytes, method: str, i: int, part: Any) -> np.ndarray:
    """A method of the estimator, of a block."""
    with tasks.naming_partition(i):
        X = tasks.rows_of(part, i)
        estimator = pickle.loads(blob)
        if not len(X):  # scikit-learn refuses these
            return getattr(estimator, method)(np.zeros((1, estimator.n_features_in_)))[:0]
        return getattr(estimator, method)(X)


class _Sums(NamedTuple):
    """Of a partition, weighted: weights, means of y, squares about them, squares of the errors."""

    weight: float
    mean: Any
    spread: Any
    missed: Any


def _sums(blob: bytes, i: int, *data: Any) -> _Sums | None:
    """What a score is made of; of a classifier the right answers take the place of y."""
    with tasks.naming_partition(i):
        estimator = pickle.loads(blob)
        X, y, s = tasks.triple(data, i)
        if np.shape(X)[:1] == (0,):
            return None
        y, predicted = np.asarray(y), estimator.predict(X)
        if is_classifier(estimator):
            right = y == predicted
            y = predicted = (right.all(axis=1) if right.ndim == 2 else right).astype(float)
        s = np.ones(len(y)) if s is None else np.asarray(s, float)
        y, predicted = y.reshape(len(y), -1), predicted.reshape(len(y), -1)
        mean = np.average(y, axis=0, weights=s)
        return _Sums(s.sum(), mean, s @ (y - mean) ** 2, s @ (y - predicted) ** 2)


def _score(parts: list[_Sums], of_classes: bool) -> float:
    """Accuracy, or the mean of R2 over the outputs; sums of squares as Chan et al. (1983)."""
    weight, mean, spread, missed = parts[0]
    for part in parts[1:]:
        total, step = weight + part.weight, part.mean - mean
        spread = spread + part.spread + step**2 * weight * part.weight / total
        missed, mean = missed + part.missed, mean + step * part.weight / total
        weight = total
    if of_classes:
        return float(mean[0])
    constant = (missed > 0).astype(float)  # where all targets are the same
    ratio = np.divide(missed, spread, out=constant, where=spread > 0)
    return float(1 - ratio.mean())
