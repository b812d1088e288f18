"""What looks after a training: early stopping, metrics, time budget, logging, pandas."""

import logging
import sys

import numpy as np
import pytest

import fastbackprop as fb

rng = np.random.default_rng(3)
X, Y = rng.standard_normal((30, 3)), rng.standard_normal((30, 2))
LABELS = rng.integers(0, 2, 30)
S = rng.uniform(0.5, 2, 30)


def network(**options):
    return fb.Network([3, 4, 2], rng=0, engine="numpy", dtype="float64", **options)


def classifier():
    return network(output="softmax", cost="cross_entropy")


# --- early stopping ------------------------------------------------------------------------------


@pytest.mark.parametrize("monitor", [None, "cost", "validation_score"])
@pytest.mark.parametrize("restore_best", [True, False])
def test_early_stopping(monitor, restore_best):
    """Stops `patience` epochs after the best, whose parameters it restores."""
    values, parameters = iter([5, np.nan, 6, 7, 6, np.nan, 7, 6.9, 0, 0, 0]), []
    options = {"metrics": {"score": lambda y, a: next(values)}}
    stopping = fb.EarlyStopping(
        3, 0.5, restore_best, monitor, maximize=monitor == "validation_score"
    )
    if monitor != "validation_score":
        options = {}
        stopping = fb.EarlyStopping(3, 0.0, restore_best, monitor)
    net = network()
    history = net.fit(
        X,
        Y,
        epochs=500,
        optimizer=fb.SGD(0.1, momentum=0.5),
        batch_size=5,
        validation=0.3,
        early_stopping=stopping,
        callbacks=lambda net, epoch, logs: parameters.append(net.get_parameters()),
        **options,
    )
    column = history[monitor or "validation_cost"]
    best = 3 if monitor == "validation_score" else int(np.argmin(column))
    assert history.ended_by == "early_stopping"
    assert len(history) == best + 1 + 3 < 500
    assert (net.get_parameters() == parameters[best if restore_best else -1]).all()


def test_without_validation_the_training_cost_is_watched():
    history = network().fit(X, Y, epochs=50, optimizer=fb.SGD(0.0), early_stopping=2, shuffle=False)
    assert len(history) == 3 and history.ended_by == "early_stopping"
    assert (
        len(
            network().fit(
                X, Y, epochs=12, optimizer=fb.SGD(0.0), early_stopping=True, shuffle=False
            )
        )
        == 11
    )


def test_a_metric_that_is_never_a_number_ends_the_training():
    net = network()
    stopping = fb.EarlyStopping(2, monitor="bad", maximize=True)
    history = net.fit(X, Y, metrics={"bad": lambda y, a: np.nan}, early_stopping=stopping)
    assert len(history) == 2 and np.isnan(history["bad"]).all()
    same = network()
    same.fit(X, Y, epochs=2)
    assert (net.get_parameters() == same.get_parameters()).all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"early_stopping": 0}, ValueError, "positive integer"),
        ({"early_stopping": "yes"}, TypeError, "positive integer"),
        ({"early_stopping": fb.EarlyStopping(monitor="validation_cost")}, ValueError, "monitor"),
        ({"early_stopping": fb.EarlyStopping(min_improvement=-1)}, ValueError, "at least 0"),
        (
            {"early_stopping": fb.EarlyStopping(monitor="f"), "metrics": {"f": max}},
            ValueError,
            "maximize=True",
        ),
        ({"metrics": "acuracy"}, ValueError, "did you mean 'accuracy'"),
        ({"metrics": [max, max]}, ValueError, "name metrics by a dict"),
        ({"metrics": 3}, TypeError, "names or functions"),
        ({"metrics": {"f": lambda y, a: "?"}}, TypeError, "must return a number"),
    ],
)
def test_what_makes_no_sense_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        network().fit(X, Y, epochs=1, **options)
    with pytest.raises(ValueError, match="not for integer labels"):
        classifier().fit(X, LABELS, metrics="r2")


@pytest.mark.parametrize(
    ("seconds", "error", "message"),
    [
        (0, ValueError, "positive number of seconds"),
        (np.nan, ValueError, "positive number of seconds"),
        ("1 h", TypeError, "number of seconds"),
        (None, TypeError, "must be a number"),
    ],
)
def test_a_time_budget_is_a_number_of_seconds(seconds, error, message):
    with pytest.raises(error, match=message):
        fb.TimeBudget(seconds)


# --- metrics -------------------------------------------------------------------------------------


@pytest.mark.parametrize("s", [None, S])
def test_metrics_are_those_of_scikit_learn(s):
    sklearn = pytest.importorskip("sklearn.metrics")
    net, labelled = network(), classifier()
    options = {"epochs": 1}
    history = net.fit(
        X, Y, metrics=fb.Metrics(["r2"], training=True), validation=(X, Y, s), **options
    )
    expected = sklearn.r2_score(Y, net.predict(X), sample_weight=s)
    assert history["validation_r2"] == pytest.approx([expected], rel=1e-12)
    one_hot, metrics = np.eye(2)[LABELS], fb.Metrics("accuracy", training=True)
    for y in (LABELS, one_hot):
        history = labelled.fit(X, y, metrics=metrics, validation=(X, y, s), **options)
        right = labelled.predict(X).argmax(axis=1)
        expected = sklearn.accuracy_score(LABELS, right, sample_weight=s)
        assert history["validation_accuracy"] == pytest.approx([expected], rel=1e-12)
        assert history["accuracy"] == [(right == LABELS).mean()]
    single = fb.Network([3, 1], output="sigmoid", cost="cross_entropy", rng=0, engine="numpy")
    history = single.fit(X, LABELS, epochs=1, metrics="accuracy")
    assert history["accuracy"] == [((single.predict(X)[:, 0] > 0.5) == LABELS).mean()]


def test_functions_see_targets_and_predictions():
    seen = []

    def largest_error(y, a):
        seen.append((y, a))
        return np.abs(y - a).max()

    net = network()
    history = net.fit(X, Y, epochs=1, metrics=largest_error, validation=(X[:7], Y[:7]))
    assert list(history[0]) == ["cost", "validation_cost", "validation_largest_error", "seconds"]
    assert (seen[0][0] == Y[:7]).all() and (seen[0][1] == net.predict(X[:7])).all()
    assert history[0]["validation_largest_error"] == np.abs(Y[:7] - net.predict(X[:7])).max()


# --- time, logs, tables --------------------------------------------------------------------------


def test_time_budget_ends_between_steps():
    many = np.tile(X, (20_000, 1))
    net, optimizer = network(), fb.SGD(0.01)
    history = net.fit(
        many,
        np.tile(Y, (20_000, 1)),
        optimizer=optimizer,
        batch_size=10,
        callbacks=fb.TimeBudget(0.2),
        shuffle=False,
    )
    assert history.ended_by == "time_budget" and len(history) == 0 and not history.interrupted
    same = network()
    n = optimizer.steps * 10
    same.fit(
        many[:n],
        np.tile(Y, (20_000, 1))[:n],
        epochs=1,
        optimizer=fb.SGD(0.01),
        batch_size=10,
        shuffle=False,
    )
    assert n and (net.get_parameters() == same.get_parameters()).all()


def test_time_budget_returns_the_best_where_asked():
    best = {}
    net = network()

    def worse(net, epoch, logs):
        if not best:
            best["parameters"] = net.get_parameters()
        net.weights[0][...] = 100

    stopping = fb.EarlyStopping(10**9)
    history = net.fit(
        X,
        Y,
        epochs=10**9,
        early_stopping=stopping,
        callbacks=[worse, fb.TimeBudget(0.3)],
        optimizer=fb.SGD(0.0),
    )
    assert history.ended_by == "time_budget" and len(history) > 1
    assert (net.get_parameters() == best["parameters"]).all()


def test_logging(caplog):
    with caplog.at_level(logging.INFO, "fastbackprop"):
        network().fit(X, Y, epochs=2)
    assert [record.name for record in caplog.records] == ["fastbackprop"] * 4
    assert "epoch 2/2: cost " in caplog.text and "ended by epochs" in caplog.text


def test_history_to_pandas(monkeypatch):
    pandas = pytest.importorskip("pandas")
    history = network().fit(X, Y, epochs=2, validation=0.2)
    frame = history.to_pandas()
    assert isinstance(frame, pandas.DataFrame) and frame.index.tolist() == [1, 2]
    assert frame.to_dict("list") == history.to_dict() and frame.index.name == "epoch"
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"fastbackprop\[pandas\]"):
        history.to_pandas()
