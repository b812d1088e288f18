"""Many networks over worker processes, lazy searches, scikit-learn's searches on Dask's backend."""

import os
import pickle
import runpy
import signal
import sys
import threading
import time
from pathlib import Path

import clusters
import numpy as np
import pytest

import fastbackprop as fb

fd = pytest.importorskip("fastbackprop.dask")
import cloudpickle  # noqa: E402
import dask  # noqa: E402
import dask.array as da  # noqa: E402
import distributed  # noqa: E402

pytestmark = pytest.mark.compiled
cloudpickle.register_pickle_by_value(sys.modules[__name__])
rng = np.random.default_rng(0)
N = 60
X = rng.normal(size=(N, 3))
Y = np.column_stack([np.sin(X.sum(axis=1)), X[:, 0]])


@pytest.fixture(scope="module")
def client():
    with clusters.running(2) as client:
        yield client


def networks(n=12):
    """Two kinds, with generators of their own."""
    return [
        fb.Network([3, 8 if k % 3 else 5, 2], hidden="tanh", rng=k, dtype="float32")
        for k in range(n)
    ]


def same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.get_parameters(), b.get_parameters())
        assert a.rng.bit_generator.state == b.rng.bit_generator.state


class Costs:
    """A callback with a state."""

    def __init__(self):
        self.seen = []

    def on_epoch_end(self, network, epoch, logs):
        self.seen.append(logs["cost"])

    def get_state(self):
        return {"seen": self.seen}

    def set_state(self, state):
        self.seen = state["seen"]


def options():
    n = 12
    folds = [np.flatnonzero(np.arange(N) % 4 != k % 4) for k in range(n)]
    return {
        "rows": folds,
        "validation": [(X[:7], Y[:7]) if k % 2 else None for k in range(n)],
        "sample_weight": np.linspace(0.5, 2, N),
        "optimizers": [fb.Adam(1e-2 / (k + 1)) if k % 3 else fb.SGD(1e-2) for k in range(n)],
        "epochs": [2 + k % 2 for k in range(n)],
        "dropout": [fb.Dropout(0.1 if k % 4 == 0 else 0.0) for k in range(n)],
        "callbacks": [[Costs()] for _ in range(n)],
        "batch_size": 16,
        "metrics": "r2",
    }


def test_the_bits_are_those_of_one_machine(client):
    """And go on to be: generators, optimizers and callbacks have come back."""
    ours, theirs, of_ours, of_theirs = networks(), networks(), options(), options()
    for _ in range(2):
        histories = fd.fit_many(ours, X, Y, **of_ours)
        expected = fb.fit_many(theirs, X, Y, **of_theirs)
        same(ours, theirs)
        for a, b in zip(histories, expected, strict=True):
            assert a["cost"] == b["cost"] and a["validation_r2"] == b["validation_r2"]
    for a, b in zip(of_ours["callbacks"], of_theirs["callbacks"], strict=True):
        assert a[0].seen == b[0].seen
    for a, b in zip(ours, theirs, strict=True):
        a.partial_fit(X, Y)
        b.partial_fit(X, Y)
    same(ours, theirs)


def test_data_that_only_workers_have_and_matrices_of_each(client):
    ours, theirs = networks(), networks()
    fb.fit_many(theirs, X, Y, epochs=2)
    fd.fit_many(ours, dask.delayed(np.array)(X), client.submit(np.array, Y), epochs=2)
    same(ours, theirs)
    each = [X + k for k in range(12)], [Y[:, ::-1] * k for k in range(12)]
    fb.fit_many(theirs, *each, epochs=1)
    fd.fit_many(ours, *each, epochs=1, client=client)
    same(ours, theirs)


def test_leaving_the_loop_ends_the_search(client):
    members = networks()
    before = [net.get_parameters() for net in members]
    seen = []
    for k, history in fd.as_completed(members, X, Y, epochs=2):
        seen.append(k)
        assert len(history) == 2
        if len(seen) == 3:
            break
    changed = [
        not np.array_equal(net.get_parameters(), old)
        for net, old in zip(members, before, strict=True)
    ]
    assert all(changed[k] for k in seen) and sum(changed) < 12
    assert sorted(k for k, _ in fd.as_completed(networks(), X, Y, epochs=1)) == list(range(12))


def test_bad_arguments_are_refused_before_anything_starts(client):
    members = networks()
    before = [net.get_parameters() for net in members]
    for arguments, kind, message in [
        ({"X": X[:, :2]}, ValueError, r"networks\[0\]: X must have shape"),
        (
            {"rows": [np.arange(N + (k == 7)) for k in range(12)]},
            ValueError,
            r"networks\[7\]: rows",
        ),
        ({"X": da.from_array(X)}, TypeError, r"fastbackprop.dask.fit trains"),
        ({"optimizers": fb.Adam()}, ValueError, "one for each of the 12 networks"),
    ]:
        with pytest.raises(kind, match=message):
            fd.fit_many(members, **{"X": X, "y": Y} | arguments)
    with pytest.raises(TypeError, match="Adam"):
        fd.as_completed(members, X, Y, learning_rate=3)
    with pytest.raises(ValueError, match=r"networks\[\d+\]: X must have shape"):
        fd.fit_many(members, dask.delayed(X[:, :2]), Y)
    for net, old in zip(members, before, strict=True):
        np.testing.assert_array_equal(net.get_parameters(), old)


def test_a_network_that_diverges_is_named(client):
    members = networks()
    optimizers = [fb.SGD(1e30 if k == 4 else 1e-2) for k in range(12)]
    with pytest.warns(RuntimeWarning, match=r"kept in networks\[4\]\."):
        histories = fd.fit_many(members, X, Y, optimizers=optimizers, epochs=3)
    assert [k for k, h in enumerate(histories) if h.ended_by == "divergence"] == [4]


class DiesOnce:
    """A callback that kills its process, a worker, in the third epoch."""

    def __init__(self, path):
        self.path = path

    def on_epoch_end(self, network, epoch, logs):
        if epoch == 3 and not self.path.exists():
            self.path.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Slow:
    """A callback that takes its time, and leaves a file in a long training."""

    def __init__(self, path):
        self.path = path

    def on_epoch_end(self, network, epoch, logs):
        time.sleep(0.02)
        if epoch > 1:
            self.path.touch()


@pytest.mark.filterwarnings("ignore:the cluster has no workers:RuntimeWarning")  # for a moment
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_killed_workers_change_no_bit(client, tmp_path):
    ours, theirs = networks(), networks()
    fb.fit_many(theirs, X, Y, epochs=6)
    with pytest.warns(RuntimeWarning, match="was lost"):
        fd.fit_many(ours, X, Y, epochs=6, callbacks=[DiesOnce(tmp_path / "dead")])
    same(ours, theirs)
    client.wait_for_workers(2, timeout=60)


def test_ctrl_c_keeps_what_is_finished(client, tmp_path):
    """When long trainings are on their way: no task goes on."""
    members = networks()
    before = [net.get_parameters() for net in members]

    def interrupt():
        for _ in range(1200):
            if (tmp_path / "long").exists():
                break
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    slow = Slow(tmp_path / "long")
    with pytest.raises(fb.Interrupted) as caught:
        fd.fit_many(members, X, Y, epochs=[1] * 4 + [10**6] * 8, callbacks=[slow])
    thread.join()
    histories = caught.value.history
    for net, old, history in zip(members, before, histories, strict=True):
        assert history.ended_by == ("epochs" if len(history) else "interrupt")
        assert np.array_equal(net.get_parameters(), old) == (len(history) == 0)
    clusters.tasks_end(client)


def test_searches_of_scikit_learn_on_the_dask_backend(client):
    joblib = pytest.importorskip("joblib")
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import GridSearchCV

    from fastbackprop.sklearn import MLPRegressor

    def search():
        estimator = MLPRegressor(
            hidden_layer_sizes=(8,), max_iter=3, random_state=0, tol=0, n_iter_no_change=100
        )
        return GridSearchCV(estimator, {"learning_rate_init": [1e-3, 1e-2]}, cv=2)

    with pytest.warns(ConvergenceWarning):  # of the convergence
        alone = search().fit(X, Y)
    with joblib.parallel_backend("dask"), pytest.warns(ConvergenceWarning):
        spread = search().fit(X, Y)
    np.testing.assert_array_equal(
        alone.cv_results_["mean_test_score"], spread.cv_results_["mean_test_score"]
    )
    np.testing.assert_array_equal(alone.predict(X), spread.predict(X))


MONITORED = [  # what the monitor of a training has to bring back
    {"solver": "sgd", "learning_rate": "adaptive", "early_stopping": True, "n_iter_no_change": 2},
    {"solver": "lbfgs"},
    {"n_networks": 2},
]


@pytest.mark.filterwarnings("ignore:.*has not converged")
@pytest.mark.parametrize("options", MONITORED)
def test_a_search_with_a_client_has_the_bits_of_one_without(client, options):
    estimators = pytest.importorskip("fastbackprop.sklearn")
    model = estimators.MLPRegressor(
        hidden_layer_sizes=(8,), max_iter=6, tol=0.1, random_state=0, **options
    )
    grid = {"alpha": [1e-4, 1e-2], "hidden_layer_sizes": [(8,), (5,)]}
    here, there = (
        estimators.GridSearchCV(model, grid, cv=2, client=c).fit(X, Y) for c in (None, client)
    )
    scores = [search.cv_results_["mean_test_score"] for search in (here, there)]
    np.testing.assert_array_equal(*scores)
    np.testing.assert_array_equal(here.predict(X), there.predict(X))
    pairs = (
        estimators.cross_validate(model, X, Y, cv=2, return_estimator=True, client=c)["estimator"]
        for c in (None, client)
    )
    for a, b in zip(*pairs, strict=True):
        for name in ("n_iter_", "loss_", "loss_curve_", "best_loss_", "validation_scores_", "t_"):
            assert getattr(a, name, None) == getattr(b, name, None), name
        np.testing.assert_array_equal(a.predict(X), b.predict(X))


def test_searches_and_tables_share_a_client_with_clones_and_pickle_none(client):
    estimators = pytest.importorskip("fastbackprop.sklearn")
    tabular = pytest.importorskip("fastbackprop.tabular")
    import sklearn
    from sklearn.base import clone
    from sklearn.linear_model import Ridge

    model = estimators.MLPRegressor(hidden_layer_sizes=(8,), max_iter=2, random_state=0)
    search = estimators.RandomizedSearchCV(model, {"alpha": [1, 2]}, n_iter=1, client=client)
    table = tabular.TabularRegressor(
        quality="fast", max_epochs=2, n_folds=2, random_state=0, client=client
    )
    for one in (search, table, fd.DaskMLPRegressor(client=client)):
        assert clone(one).client is client and one.get_params()["client"] is client
        assert pickle.loads(pickle.dumps(one)).client is None
    with sklearn.config_context(enable_metadata_routing=True):
        routed = fd.DaskMLPRegressor(client=client).set_fit_request(sample_weight=False)
        assert clone(routed).get_metadata_routing().fit.requests["sample_weight"] is False
    here = clone(table).set_params(client=None).fit(X, Y)
    np.testing.assert_array_equal(table.fit(X, Y).predict(X), here.predict(X))
    other = distributed.Client(client.scheduler.address, set_as_default=False)
    other.close()
    for one in (search, table):
        with pytest.raises(ValueError, match=r"client is closed: .*client = Client\(\)"):
            one.set_params(client=other).fit(X, Y)
        with pytest.raises(TypeError, match=r"client must be a dask\.distributed\.Client"):
            one.set_params(client="tcp://here:8786").fit(X, Y)
    with pytest.raises(ValueError, match="client= is for estimators of fastbackprop"):
        estimators.cross_val_score(Ridge(), X, Y, client=client)


def test_the_example(client):
    example = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "cluster" / "train.py"))
    example["load"].__globals__["ROWS"] = 200
    net, cost = example["main"](client, epochs=2)
    assert net.sizes == (6, 32, 1) and cost < 0.5
    scaling = Path(__file__).parents[1] / "examples" / "cluster" / "scaling.py"
    scaling = runpy.run_path(str(scaling))
    measured = [(n, p, 0.01 + 0.002 * n + 1e-9 * p) for n in (2, 8) for p in (100, 10**6)]
    constants = scaling["model"](measured)
    np.testing.assert_allclose(constants, (0.01, 0.002, 1e-9), rtol=1e-6)
    at = [scaling["efficiency"](n, 10**6, 1.0, constants) for n in (2, 32, 1024)]
    assert 1 > at[0] > at[1] > at[2] > 0
