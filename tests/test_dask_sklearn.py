"""The estimators on Dask against those of one process."""

import pickle
import sys

import clusters
import numpy as np
import pytest

fd = pytest.importorskip("fastbackprop.dask")
pytest.importorskip("sklearn")
import cloudpickle  # noqa: E402
import dask.array as da  # noqa: E402
import dask.dataframe as dd  # noqa: E402
import pandas as pd  # noqa: E402
from dask import delayed  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # noqa: E402

from fastbackprop.sklearn import MLPClassifier, MLPRegressor  # noqa: E402

pytestmark = [
    pytest.mark.compiled,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
cloudpickle.register_pickle_by_value(sys.modules[__name__])
rng = np.random.default_rng(0)
X = rng.normal(size=(90, 3))
SUM = X.sum(axis=1)
WORDS = np.array(["low", "high", "middle"])[np.digitize(SUM, [-1, 1])]
S = rng.uniform(0.5, 2, 90)


@pytest.fixture(scope="module")
def client():
    with clusters.running(2) as client:
        yield client


def spread(*arrays):
    return [da.from_array(a, chunks=(40, *a.shape[1:])) for a in arrays]


def test_one_partition_begins_as_the_local_estimator(client):
    """The same initial parameters, encoding and penalty: full batches have the same steps."""
    options = {"hidden_layer_sizes": (8,), "max_iter": 4, "random_state": 0, "batch_size": 90}
    options |= {"alpha": 0.1, "shuffle": False}
    for theirs, ours, y in [
        (MLPClassifier(class_weight="balanced", **options), fd.DaskMLPClassifier, WORDS),
        (MLPRegressor(**options), fd.DaskMLPRegressor, np.column_stack([SUM, SUM**2])),
        (MLPClassifier(**options), fd.DaskMLPClassifier, (X > 0).astype(int)),
    ]:
        theirs.fit(X, y, S)
        mine = ours(**theirs.get_params(), sync="step").fit(*spread(X, y), *spread(S))
        np.testing.assert_allclose(mine.loss_curve_, theirs.loss_curve_, rtol=1e-9)
        for a, b in zip(mine.coefs_, theirs.coefs_, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-10)
        assert mine.score(*spread(X, y, S)) == pytest.approx(theirs.score(X, y, S), rel=1e-6)
        assert mine.n_features_in_ == 3 and mine.n_iter_ == 4


def test_it_learns_and_predicts_lazily(client):
    model = fd.DaskMLPClassifier(hidden_layer_sizes=(8,), max_iter=60, learning_rate_init=0.03)
    model.set_params(batch_size=10, random_state=0, client=client).fit(*spread(X, WORDS))
    lazy, probabilities = model.predict(spread(X)[0]), model.predict_proba(spread(X)[0])
    assert isinstance(lazy, da.Array) and probabilities.chunks[0] == (40, 40, 10)
    local = model.to_local()
    assert type(local) is MLPClassifier and local.score(X, WORDS) > 0.9
    np.testing.assert_array_equal(lazy.compute(), local.predict(X))
    np.testing.assert_array_equal(model.predict(X), local.predict(X))
    np.testing.assert_array_equal(probabilities.compute(), local.predict_proba(X))
    assert model.score(*spread(X, WORDS)) == pytest.approx(local.score(X, WORDS), rel=1e-12)
    local.partial_fit(X, WORDS)
    assert not np.array_equal(local.coefs_[0], model.coefs_[0])


def test_frames_with_names_and_classes_that_not_all_partitions_have(client):
    frame = pd.DataFrame(X, columns=list("abc")).assign(y=np.sort(WORDS))
    frames = dd.from_pandas(frame, npartitions=4, sort=False)
    model = fd.DaskMLPClassifier(hidden_layer_sizes=(4,), max_iter=2, class_weight="balanced")
    model.fit(frames[list("abc")], frames["y"])
    assert list(model.feature_names_in_) == list("abc") and list(model.classes_) == sorted(
        set(WORDS)
    )
    assert len(model.predict(frames[list("abc")]).compute()) == 90
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frames[list("cba")]).compute()


def test_pickles_and_clones_keep_no_client(client):
    model = fd.DaskMLPRegressor(client=client, hidden_layer_sizes=(4,), max_iter=2, sync=3)
    assert clone(model).client is client and clone(model).sync == 3
    model.fit(*spread(X, SUM))
    again = pickle.loads(pickle.dumps(model))
    assert again.client is None and again.sync == 3
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    before = again.coefs_[0].copy()
    again.set_params(warm_start=True).fit(*spread(X, SUM))
    assert not np.array_equal(before, again.coefs_[0])


def test_validation_early_stopping_and_lbfgs(client):
    model = fd.DaskMLPRegressor(hidden_layer_sizes=(4,), max_iter=3, early_stopping=True)
    with pytest.raises(ValueError, match="pass X_val and y_val"):
        model.fit(*spread(X, SUM))
    model.fit(*spread(X, SUM), X_val=X[:20], y_val=SUM[:20])
    assert len(model.validation_scores_) == 3
    model = fd.DaskMLPRegressor(hidden_layer_sizes=(4,), max_iter=20, solver="lbfgs")
    assert model.fit(*spread(X, SUM)).score(*spread(X, SUM)) > 0.9
    with pytest.warns(ConvergenceWarning):
        fd.DaskMLPRegressor(hidden_layer_sizes=(4,), max_iter=1).fit(*spread(X, SUM))


def test_refused(client):
    model = fd.DaskMLPRegressor(hidden_layer_sizes=(4,))
    with pytest.raises(TypeError, match=r"Network.fit, or dask.array.from_array"):
        model.fit(X, SUM)
    with pytest.raises(TypeError, match="to_local"):
        model.partial_fit(*spread(X, SUM))
    parts = [delayed((X[:, : 3 - i], SUM)) for i in range(2)]
    with pytest.raises(ValueError, match="all partitions must have the same columns"):
        model.fit(parts)
    wrong = X.copy()
    wrong[50, 1] = np.nan
    with pytest.raises(ValueError, match="partition 1: Input X contains NaN"):
        model.fit(*spread(wrong, SUM))
    assert not hasattr(model, "network_")
