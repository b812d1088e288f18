"""missing_targets: NaN in y drops that output's term."""

import autodiff
import numpy as np
import pytest
from problems import deviation, every_engine, problem

import fastbackprop as fb
from fastbackprop.engines import ENGINES
from fastbackprop.functions.costs import COSTS

# One of each kind of targets: each is compiled anew.
NAMES = {"squared_error", "cross_entropy", "hinge", "gamma"}
SEPARATE = [COSTS[name][0] for name in sorted(NAMES)]
MISSING = {"missing_targets": True}


def with_holes(Y, seed=3):
    """Each row keeps a target."""
    rng = np.random.default_rng(seed)
    holes = rng.random(Y.shape) < 0.4
    holes[:, 0] &= ~holes.all(axis=1)
    return np.where(holes, np.nan, Y), holes


def flat(gradient):
    parts = zip(gradient.weights, gradient.biases, strict=True)
    return np.concatenate([part.ravel() for pair in parts for part in pair])


@every_engine
@pytest.mark.parametrize("cost", SEPARATE, ids=lambda cost: f"{cost} {cost.output}")
def test_the_gradient_is_that_of_the_known_terms(cost, engine):
    """The sum over outputs of gradients by one target each, of networks with that output alone."""
    options = {"hidden": "tanh", "cost": cost.name, "engine": engine, "dtype": "float64"}
    p = problem([3, 4, 3], 7, output=cost.output or "tanh", **options)
    Y, holes = with_holes(p.Y)
    total, value = np.zeros(p.net.n_parameters), 0.0
    for k in range(3):
        one = problem([3, 4, 1], 7, output=cost.output or "tanh", **options).net
        W, b = p.net.weights, p.net.biases
        one.weights[0], one.biases[0] = W[0], b[0]
        one.weights[1], one.biases[1] = W[1][:, k : k + 1], b[1][k : k + 1]
        s = p.s * ~holes[:, k]
        cost_sum, _, g = one.gradient_sums(p.X, p.Y[:, k], s)
        value += cost_sum
        layout = fb.Network([3, 4, 3], engine="numpy", dtype="float64").machine.layout
        wide = np.zeros(p.net.n_parameters)
        layout.weights(wide)[0][...] = g[:12].reshape(3, 4)
        layout.biases(wide)[0][...] = g[12:16]
        layout.weights(wide)[1][:, k] = g[16:20]
        layout.biases(wide)[1][k] = g[20]
        total += wide
    gradient = p.net.gradient(p.X, Y, p.s, **MISSING)
    assert deviation(gradient.cost, value / p.s.sum()) < 1e-12
    assert deviation(flat(gradient), total / p.s.sum()) < 1e-12
    assert deviation(p.net.evaluate(p.X, Y, p.s, **MISSING), gradient.cost) < 1e-14


@every_engine
def test_the_gradient_is_that_of_jax_with_a_mask(engine):
    p = problem([3, 5, 4], 6, hidden="gelu", engine=engine, dtype="float64")
    Y, holes = with_holes(p.Y)
    error = np.where(holes, 0.0, p.net.predict(p.X) - p.Y)
    weights, biases, hidden, output, _ = p.network
    ref = autodiff.jax_backward(weights, biases, hidden, output, p.X, error / 6)[0]
    assert deviation(flat(p.net.gradient(p.X, Y, **MISSING)), ref) < 1e-12


@every_engine
def test_whole_samples_missing_are_left_out(engine):
    """Training with them ends where training without them does, to rounding."""
    make = {"hidden": "tanh", "engine": engine, "dtype": "float64"}
    p, q = (problem([3, 6, 2], 40, **make) for _ in range(2))
    known = np.arange(40) % 4 != 1
    Y = np.where(known[:, None], p.Y, np.nan)
    settings = {"epochs": 5, "batch_size": 8, "shuffle": False, "optimizer": "adam"}
    with_them = p.net.fit(p.X, Y, **settings, **MISSING)
    without = q.net.fit(q.X[known], q.Y[known], **settings | {"batch_size": 6})
    np.testing.assert_allclose(with_them.cost, without.cost, rtol=1e-10)
    assert deviation(p.net.get_parameters(), q.net.get_parameters()) < 1e-9
    assert p.net.evaluate(p.X, Y, **MISSING) == pytest.approx(p.net.evaluate(p.X[known], Y[known]))


def test_nothing_missing_changes_no_bit():
    results = []
    for options in ({}, MISSING):
        p = problem([3, 6, 2], 40, hidden="tanh")
        history = p.net.fit(p.X, p.Y, epochs=2, validation=(p.X, p.Y), **options)
        results.append((p.net.get_parameters().tobytes(), history.cost, history.validation_cost))
    assert results[0] == results[1]


def test_steps_and_validation_with_holes():
    """`step` has the bits of `fit`, also where whole samples are missing: the long way."""
    own, whole = (problem([3, 6, 2], 40, hidden="tanh").net for _ in range(2))
    p = problem([3, 6, 2], 40)
    Y = with_holes(p.Y)[0].astype("float32")
    trainer, theirs = own.trainer(fb.Adam(), **MISSING), fb.Adam()
    for step in range(6):
        y = Y.copy()
        y[:step] = np.nan
        settings = {"batch_size": None, "shuffle": False, "optimizer": theirs, **MISSING}
        history = whole.fit(p.X, y, epochs=1, validation=(p.X, y), **settings)
        assert trainer.step(p.X, y) == history.cost[0]
        assert history.validation_cost[0] == whole.evaluate(p.X, y, **MISSING)
    assert (own.get_parameters() == whole.get_parameters()).all()


def test_a_cost_of_ones_own():
    def terms(z, a, y):
        return (a - y) ** 4

    def gradient(z, a, y):
        return 4 * (a - y) ** 3

    for engine in ENGINES:
        net = fb.Network([2, 2], cost=fb.Cost("fourth", terms, gradient), rng=0, engine=engine)
        X, a = np.ones((1, 2)), net.predict(np.ones((1, 2)))[0]
        assert net.evaluate(X, [[1.0, np.nan]], **MISSING) == pytest.approx((a[0] - 1) ** 4)
        g = net.gradient(X, [[1.0, np.nan]], **MISSING).biases[0]
        np.testing.assert_allclose(g, [4 * (a[0] - 1) ** 3, 0], rtol=1e-5)


@every_engine
def test_what_is_refused(engine):
    net = fb.Network([2, 3], engine=engine, rng=0)
    X, Y = np.ones((2, 2)), np.array([[0, np.nan, 1], [1, 2, 3]])
    for message, y, s in [
        (r"y\[0, 0\] is inf", np.where(Y == 0, np.inf, Y), None),
        ("y holds no targets", np.full((2, 3), np.nan), None),
        ("with a target that is known", np.array([[np.nan] * 3, [1, 2, 3]]), [1, 0]),
    ]:
        with pytest.raises(ValueError, match=message):
            net.evaluate(X, y, s, **MISSING)
    with pytest.raises(ValueError, match="y must be finite"):
        net.evaluate(X, Y)
    with pytest.raises(TypeError, match="missing_targets must be True or False"):
        net.evaluate(X, Y, missing_targets=1)
    positive = fb.Network([2, 3], cost="gamma", engine=engine, rng=0)
    with pytest.raises(ValueError, match="must be positive; the smallest is 0"):
        positive.evaluate(X, Y, **MISSING)
    for output, cost in [("softmax", "cross_entropy"), ("identity", "cosine")]:
        coupled = fb.Network([2, 3], output=output, cost=cost, engine=engine, rng=0)
        for call in (coupled.evaluate, coupled.gradient, coupled.fit):
            with pytest.raises(ValueError, match="a sum with one term for each output"):
                call(X, Y, **MISSING)


def test_targets_on_disk_are_refused(tmp_path):
    np.save(tmp_path / "y.npy", np.ones((2, 3)))
    net = fb.Network([2, 3], engine="numpy")
    with pytest.raises(TypeError, match="y must be in memory"):
        net.evaluate(np.ones((2, 2)), np.load(tmp_path / "y.npy", mmap_mode="r"), **MISSING)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_the_regressor(early_stopping):
    estimators = pytest.importorskip("fastbackprop.sklearn")
    X = np.random.default_rng(0).normal(size=(60, 3))
    y = np.column_stack([X[:, 0], X[:, 1] - X[:, 2]])
    Y = with_holes(y)[0]
    settings = {"max_iter": 200, "learning_rate_init": 0.02, "random_state": 0, "tol": 0}
    settings |= {
        "hidden_layer_sizes": (8,),
        "early_stopping": early_stopping,
        "n_iter_no_change": 200,
    }
    with pytest.raises(ValueError, match="NaN"):
        estimators.MLPRegressor(**settings).fit(X, Y)
    model = estimators.MLPRegressor(**settings, **MISSING)
    with pytest.warns(Warning, match="did not suffice"):
        model.fit(X, Y)
    assert model.score(X, y) > 0.9 and model.score(X, Y) > 0.9


def test_the_classifier_of_several_labels():
    estimators = pytest.importorskip("fastbackprop.sklearn")
    X = np.random.default_rng(0).normal(size=(60, 3))
    y = (X[:, :2] > 0).astype(float)
    Y = with_holes(y)[0]
    model = estimators.MLPClassifier((8,), max_iter=100, learning_rate_init=0.05, **MISSING)
    with pytest.warns(Warning, match="did not suffice"):
        model.fit(X, Y)
    assert model.score(X, y) > 0.9 and model.score(X, Y) > 0.9
    assert model.predict(X).shape == (60, 2)
    with pytest.raises(ValueError, match="several labels per sample"):
        model.fit(X, np.where(X[:, 0] > 0, 1, np.nan))
