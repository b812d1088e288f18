"""Our estimators: scikit-learn's own checks, whole trainings beside theirs, and what is new."""

import copy
import importlib
import inspect
import pickle
import runpy
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from problems import deviation

import fastbackprop as fb

theirs = pytest.importorskip("sklearn.neural_network")

from sklearn import config_context  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.calibration import CalibratedClassifierCV  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # noqa: E402
from sklearn.metrics import accuracy_score, r2_score  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate  # noqa: E402
from sklearn.pipeline import Pipeline, make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import estimator_checks_generator  # noqa: E402
from sklearn.utils.validation import has_fit_parameter  # noqa: E402

from fastbackprop import sklearn as ours  # noqa: E402
from fastbackprop.sklearn.order import Order  # noqa: E402
from fastbackprop.training.orders import Orders  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 4))
SIDES = np.where(X[:, 0] + X[:, 1] > 0, "right", "left")
TARGETS = {
    "two classes": SIDES,
    "three classes": np.where(X[:, 2] > 0.5, "far", SIDES),
    "labels": (X[:, :3] > 0).astype(int),
    "one number": np.sin(X).sum(axis=1),
    "numbers": np.sin(X @ RNG.normal(size=(4, 2))),
}
CLASSES, NUMBERS = TARGETS["three classes"], TARGETS["one number"]
WEIGHTS = RNG.integers(0, 4, len(X)).astype(float)


def classifier(**options):
    options = {"max_iter": 5, "hidden_layer_sizes": 6, "random_state": 0} | options
    return ours.MLPClassifier(engine="numpy", **options)


def regressor(**options):
    options = {"max_iter": 5, "hidden_layer_sizes": 6, "random_state": 0} | options
    return ours.MLPRegressor(engine="numpy", **options)


def parameters(estimator):
    """All of them, in one vector."""
    arrays = [*estimator.coefs_, *estimator.intercepts_]
    return np.concatenate([array.ravel() for array in arrays])


@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        pytest.param(estimator, check, id=f"{type(estimator).__name__}-{number}")
        for kind in (ours.MLPClassifier, ours.MLPRegressor)
        for number, (estimator, check) in enumerate(
            estimator_checks_generator(kind(engine="numpy"))
        )
    ],
)
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


# --- beside theirs -------------------------------------------------------------------------------

beside_theirs = pytest.mark.skipif(
    not has_fit_parameter(theirs.MLPClassifier(), "sample_weight"),
    reason="before 1.7 theirs has no weights, no loss, and fails at early stopping with strings",
)


@beside_theirs
@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_same_interface(kind):
    """Their parameters, in their order, with their defaults; their methods and attributes."""
    our, their = getattr(ours, kind), getattr(theirs, kind)
    assert their().get_params().items() <= our().get_params().items()

    def positional(estimator):
        parameters = inspect.signature(estimator).parameters.values()
        return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]

    assert positional(our) == positional(their)
    y = TARGETS["two classes" if kind == "MLPClassifier" else "one number"]
    fitted = [e.fit(X, y) for e in (their(max_iter=2), our(max_iter=2, engine="numpy"))]
    names = [{name for name in dir(e) if not name.startswith("_")} for e in fitted]
    assert names[0] <= names[1]


SAME = {
    "all at once": {"batch_size": 120},
    "minibatches": {"batch_size": 50},
    "in order": {"batch_size": 40, "shuffle": False},
    "auto": {},
    "plain": {"momentum": 0.0},
    "momentum": {"nesterovs_momentum": False},
    "tanh": {"activation": "tanh", "hidden_layer_sizes": (5, 4)},
    "logistic": {"activation": "logistic"},
    "no hidden layer": {"hidden_layer_sizes": ()},
    "invscaling": {"learning_rate": "invscaling", "momentum": 0.0, "power_t": 0.2},
    "adaptive": {"learning_rate": "adaptive", "momentum": 0.0, "tol": 0.02, "n_iter_no_change": 2},
    "until it converges": {"tol": 0.01, "n_iter_no_change": 3},
    "early stopping": {"early_stopping": True, "validation_fraction": 1 / 3, "batch_size": 20},
}


def pair(target, **options):
    """Theirs and ours."""
    kind = "MLPRegressor" if "number" in target else "MLPClassifier"
    options = {"random_state": 1, "max_iter": 30, "hidden_layer_sizes": 6, "alpha": 0.0} | options
    return getattr(theirs, kind)(**options), getattr(ours, kind)(**options, engine="numpy")


def numbered(y):
    """Words as numbers: with early stopping, scikit-learn 1.7 and 1.8 ask whether words are NaN."""
    return np.unique(y, return_inverse=True)[1] if y.dtype.kind == "U" else y


def assert_same(their, our, target):
    assert (our.n_iter_, our.t_) == (their.n_iter_, their.t_)
    assert deviation(parameters(our), parameters(their)) < 1e-12
    assert np.array_equal(our.predict(X), their.predict(X)) or "number" in target
    assert our.out_activation_ == their.out_activation_
    n_numbers = 2 if target == "numbers" else 1
    assert deviation(our.loss_curve_, n_numbers * np.array(their.loss_curve_)) < 1e-12
    if their.early_stopping:
        assert our.best_loss_ is their.best_loss_ is None
    else:
        assert our.best_loss_ == pytest.approx(n_numbers * their.best_loss_, rel=1e-12)
    if their.early_stopping:
        assert deviation(our.validation_scores_, their.validation_scores_) < 1e-12
        best = their.best_validation_score_
        assert our.best_validation_score_ == pytest.approx(best, rel=1e-12)
    else:
        assert our.validation_scores_ is our.best_validation_score_ is None


@beside_theirs
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("options", SAME.values(), ids=SAME)
def test_whole_trainings(options, target):
    """The same initial weights, split, order, steps, schedule and end."""
    their, our = pair(target, solver="sgd", learning_rate_init=0.1, **options)
    if target == "numbers":
        our.set_params(tol=2 * their.tol)  # they divide the cost by the number of outputs
    y = numbered(TARGETS[target]) if their.early_stopping else TARGETS[target]
    assert_same(their.fit(X, y), our.fit(X, y), target)


@beside_theirs
@pytest.mark.parametrize("s", [None, WEIGHTS], ids=["", "weighted"])
def test_alpha(s):
    """Divided by the weights of a minibatch, here all of them."""
    their, our = pair("one number", solver="sgd", alpha=20.0, learning_rate_init=0.1)
    their.fit(X, NUMBERS, s)
    our.fit(X, NUMBERS, s)
    assert deviation(parameters(our), parameters(their)) < 1e-12


@beside_theirs
@pytest.mark.parametrize("s", [None, WEIGHTS], ids=["", "weighted"])
@pytest.mark.parametrize("target", ["two classes", "three classes", "labels", "one number"])
def test_lbfgs(target, s):
    their, our = pair(target, solver="lbfgs", alpha=1.0, max_iter=10)
    y = TARGETS[target]
    their.fit(X, y, s)
    our.fit(X, y, s)
    assert our.n_iter_ == 10
    assert deviation(parameters(our), parameters(their)) < 1e-9
    assert our.loss_ == pytest.approx(their.loss_, rel=1e-9)


@beside_theirs
@pytest.mark.parametrize(("max_fun", "suffices"), [(4, False), (15000, True)])
def test_max_fun(max_fun, suffices):
    their, our = pair("one number", solver="lbfgs", max_fun=max_fun, max_iter=500, tol=0.1)
    for estimator in (their, our):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            estimator.fit(X, NUMBERS)
        assert [w.category for w in caught] == [ConvergenceWarning] * (not suffices)
    assert our.n_iter_ == their.n_iter_
    assert deviation(parameters(our), parameters(their)) < 1e-9


@beside_theirs
@pytest.mark.parametrize("target", ["two classes", "numbers"])
def test_adam(target):
    """But for the place of epsilon."""
    their, our = pair(target, batch_size=30, epsilon=1e-12)
    y = TARGETS[target]
    assert deviation(parameters(our.fit(X, y)), parameters(their.fit(X, y))) < 1e-6


@beside_theirs
def test_weights_of_validation_samples():
    options = {"solver": "sgd", "early_stopping": True, "validation_fraction": 0.5}
    their, our = pair("two classes", **options)
    s = WEIGHTS + 1
    their.fit(X, numbered(SIDES), s)
    our.fit(X, SIDES, s)
    assert deviation(our.validation_scores_, their.validation_scores_) < 1e-12


# --- weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_weight_of_two_is_the_sample_twice(method):
    often = WEIGHTS.astype(int)
    options = {"batch_size": None, "solver": "sgd", "learning_rate_init": 0.1, "alpha": 1.0}
    known = {"classes": np.unique(CLASSES)} if method == "partial_fit" else {}
    weighted, repeated = classifier(**options), classifier(**options)
    getattr(weighted, method)(X, CLASSES, WEIGHTS, **known)
    getattr(repeated, method)(X.repeat(often, axis=0), CLASSES.repeat(often), **known)
    assert deviation(parameters(weighted), parameters(repeated)) < 1e-12


def test_class_weight():
    of_classes = {"left": 1.0, "right": 0.5, "far": 3.0}
    s = np.array([of_classes[label] for label in CLASSES])
    expected = parameters(classifier().fit(X, CLASSES, s * (WEIGHTS + 1)))
    weighted = classifier(class_weight=of_classes).fit(X, CLASSES, WEIGHTS + 1)
    assert np.array_equal(parameters(weighted), expected)
    rare = np.where(X[:, 0] > 1.5, "rare", "common")
    plain, balanced = (
        classifier(class_weight=w, solver="sgd").fit(X, rare) for w in (None, "balanced")
    )
    assert (balanced.predict(X) == "rare").sum() > (plain.predict(X) == "rare").sum()


# --- going on ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"solver": "sgd", "learning_rate": "invscaling"}], ids=["adam", "sgd"]
)
def test_two_warm_fits_are_one_of_twice_the_epochs(options):
    once = classifier(max_iter=6, batch_size=50, **options).fit(X, CLASSES)
    twice = classifier(max_iter=3, batch_size=50, warm_start=True, **options).fit(X, CLASSES)
    twice = pickle.loads(pickle.dumps(twice))
    twice.fit(X, CLASSES)
    assert np.array_equal(parameters(once), parameters(twice))
    assert once.loss_curve_ == twice.loss_curve_
    assert (once.n_iter_, twice.n_iter_, twice.t_) == (6, 3, 6 * len(X))


def test_partial_fit_goes_on():
    """As warm fits of one epoch do; also a copy, and with another learning rate."""
    warm = classifier(max_iter=1, warm_start=True)
    part = classifier()
    for _ in range(3):
        warm.fit(X, CLASSES)
        part.partial_fit(X, CLASSES, classes=np.unique(CLASSES))
    assert np.array_equal(parameters(warm), parameters(part))
    twin = copy.deepcopy(part)
    twin.partial_fit(X, CLASSES)
    assert np.array_equal(parameters(twin), parameters(part.partial_fit(X, CLASSES)))
    before = parameters(part)
    part.set_params(learning_rate_init=1e-9).partial_fit(X, CLASSES)
    assert 0 < np.abs(parameters(part) - before).max() < 1e-8


def test_a_warm_fit_validates_with_the_same_samples():
    seen = []
    options = {
        "warm_start": True,
        "early_stopping": True,
        "max_iter": 1,
        "learning_rate_init": 1e-9,
    }
    estimator = classifier(**options, callbacks=lambda net, epoch, logs: seen.append(logs))
    for _ in range(2):
        estimator.fit(X, CLASSES)
    assert seen[0]["validation_cost"] == pytest.approx(seen[1]["validation_cost"], rel=1e-6)


def test_a_second_fit_begins_anew():
    estimator = classifier().fit(X, CLASSES)
    first = parameters(estimator)
    assert np.array_equal(parameters(estimator.fit(X, CLASSES)), first)
    assert len(estimator.loss_curve_) == 5


# --- what is new ---------------------------------------------------------------------------------


def test_your_own_validation_samples():
    train, held_out = slice(0, 80), slice(80, 120)
    s = WEIGHTS[held_out] + 1
    options = {"X_val": X[held_out], "y_val": SIDES[held_out], "sample_weight_val": s}
    estimator = classifier(max_iter=8).fit(X[train], SIDES[train], **options)
    assert len(estimator.validation_scores_) == 8
    score = accuracy_score(SIDES[held_out], estimator.predict(X[held_out]), sample_weight=s)
    assert estimator.validation_scores_[-1] == score
    stopped = classifier(max_iter=300, early_stopping=True, n_iter_no_change=3)
    stopped.fit(X[train], SIDES[train], **options)
    assert stopped.n_iter_ < 300
    score = stopped.score(X[held_out], SIDES[held_out], s)
    assert score == stopped.best_validation_score_ == max(stopped.validation_scores_)
    assert stopped.t_ == 80 * stopped.n_iter_  # all training samples are trained on


def test_float32_is_kept():
    estimator = regressor().fit(X.astype("float32"), NUMBERS)
    assert estimator.network_.dtype == estimator.predict(X).dtype == "float32"
    assert regressor().fit(X, NUMBERS).network_.dtype == "float64"


def test_any_activation_optimizer_schedule_cost():
    solver = fb.SGD(learning_rate=0.1, momentum=0.5)
    schedule = fb.Exponential(0.1, 0.5)
    estimator = classifier(
        hidden_layer_sizes=(5, 4, 3),
        activation=["gelu", "logistic", "relu"],
        solver=solver,
        learning_rate=schedule,
        cost="squared_error",
        batch_size=30,
    ).fit(X, CLASSES)
    network = estimator.network_
    assert network.hidden == ("gelu", "sigmoid", "relu")
    assert (network.output, network.cost) == ("softmax", "squared_error")
    assert solver.steps == 0  # a copy of it trains
    assert estimator.history_["learning_rate"] == pytest.approx(
        [0.1 * 0.5 ** (epoch - 0.25) for epoch in range(1, 6)]
    )


def test_quantiles():
    """A column each; `predict` is the median; early stopping goes by minus the cost."""
    levels = (0.1, 0.5, 0.9)
    train, held_out = slice(0, 80), slice(80, 120)
    estimator = regressor(cost=fb.Quantile(levels), max_iter=300, learning_rate_init=0.01)
    estimator.fit(X[train], NUMBERS[train], X_val=X[held_out], y_val=NUMBERS[held_out])
    quantiles = estimator.predict_quantiles(X[train])
    below = quantiles > NUMBERS[train][:, None]
    assert below.shape == (80, 3)
    assert below.mean(axis=0) == pytest.approx(levels, abs=0.1)
    np.testing.assert_array_equal(estimator.predict(X[train]), quantiles[:, 1])
    cost = estimator.network_.evaluate(X[held_out], NUMBERS[held_out])
    assert estimator.validation_scores_[-1] == -cost
    expected = r2_score(NUMBERS[held_out], estimator.predict(X[held_out]))
    assert estimator.score(X[held_out], NUMBERS[held_out]) == expected
    assert not hasattr(regressor(), "predict_quantiles")


def test_quantiles_of_several_targets():
    Y = np.column_stack([NUMBERS, -NUMBERS])
    estimator = regressor(cost=fb.Quantile([0.2, 0.8]), max_iter=3).fit(X, Y)
    all_outputs, quantiles = estimator.predict(X), estimator.predict_quantiles(X)
    assert all_outputs.shape == (120, 4) and quantiles.shape == (120, 2, 2)
    np.testing.assert_array_equal(quantiles[:, :, 1], all_outputs[:, 2:])
    assert estimator.score(X, Y) == -estimator.network_.evaluate(X, Y)


@pytest.mark.parametrize("n_targets", [1, 2])
def test_gaussian_distributions(n_targets):
    y = NUMBERS if n_targets == 1 else np.column_stack([NUMBERS, 2 * NUMBERS])
    estimator = regressor(cost="gaussian_nll", max_iter=200, learning_rate_init=0.01).fit(X, y)
    mean, deviation = estimator.predict(X, return_std=True)
    assert mean.shape == deviation.shape == y.shape
    np.testing.assert_array_equal(estimator.predict(X), mean)
    nll = (np.log(deviation) + ((mean - y) / deviation) ** 2 / 2).reshape(len(y), -1).sum(axis=1)
    assert nll.mean() == pytest.approx(estimator.network_.evaluate(X, y), rel=1e-6)
    assert estimator.score(X, y) == r2_score(y, mean)
    scores = cross_val_score(estimator, X, y, cv=2, scoring="neg_mean_absolute_error")
    assert scores.shape == (2,) and np.isfinite(scores).all()
    with pytest.raises(ValueError, match="return_std=True needs cost='gaussian_nll'"):
        regressor(max_iter=1).fit(X, y).predict(X, return_std=True)


@beside_theirs
def test_poisson():
    their, our = pair("one number", loss="poisson", solver="sgd", learning_rate_init=0.01)
    y = np.exp(NUMBERS)
    their.fit(X, y)
    our.fit(X, y)
    assert deviation(parameters(our), parameters(their)) < 1e-12
    assert our.out_activation_ == "exp"


def test_callbacks():
    calls = []
    estimator = classifier(callbacks=lambda net, epoch, logs: calls.append(net) or epoch == 3)
    estimator.fit(X, CLASSES)
    assert estimator.n_iter_ == len(calls) == 3
    assert calls[0] is estimator.network_
    assert estimator.history_.ended_by == "callback"


def test_callbacks_of_scikit_learn():
    callback = pytest.importorskip("sklearn.callback")
    log = []

    class Recorder:
        def setup(self, estimator, context):
            log.append("setup")

        def on_fit_task_begin(self, estimator, context):
            log.append(f"begin {context.task_name} {context.task_id}")

        def on_fit_task_end(self, estimator, context, *, X, fitted_estimator):
            assert fitted_estimator.network_ is not estimator.network_
            assert np.array_equal(fitted_estimator.predict(X), estimator.predict(X))
            log.append(f"end {context.task_name} {context.task_id}")
            return context.task_id == 1

        def teardown(self, estimator, context):
            log.append("teardown")

    assert isinstance(Recorder(), callback.FitCallback)
    estimator = classifier().set_callbacks(Recorder()).fit(X, CLASSES)
    assert estimator.n_iter_ == 2
    epochs = [f"{what} iteration {epoch}" for epoch in (0, 1) for what in ("begin", "end")]
    assert log == ["setup", "begin fit 0", *epochs, "end fit 0", "teardown"]


def test_parameters_are_views():
    estimator = regressor().fit(X, NUMBERS)
    estimator.coefs_[1][:] = 0
    estimator.intercepts_[1] = [2.0]
    assert estimator.predict(X) == pytest.approx(2.0)
    estimator.intercepts_ = [b + 1 for b in estimator.intercepts_]
    assert estimator.predict(X) == pytest.approx(3.0)


def test_from_sklearn():
    estimator = classifier(hidden_layer_sizes=(4, 3), activation=["gelu", "tanh"]).fit(X, SIDES)
    net = fb.Network.from_sklearn(estimator, engine="numpy")
    assert net is not estimator.network_
    assert np.array_equal(net.predict(X), estimator.predict_proba(X)[:, 1:])


def test_verbose(capsys):
    classifier(verbose=True, max_iter=2).fit(X, SIDES, X_val=X, y_val=SIDES)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["Iteration", "Validation"] * 2


def test_of_two_processes_and_in_a_pipeline():
    model = make_pipeline(StandardScaler(), classifier())
    grid = {"mlpclassifier__learning_rate_init": [1e-3, 1e-1]}
    search = GridSearchCV(model, grid, cv=2, n_jobs=2).fit(X, SIDES)
    assert search.best_params_ == {"mlpclassifier__learning_rate_init": 1e-1}
    fits = cross_validate(model, X, CLASSES, cv=2, n_jobs=2, return_estimator=True)
    assert fits["estimator"][0].classes_.tolist() == ["far", "left", "right"]
    twin = pickle.loads(pickle.dumps(search))
    assert np.array_equal(twin.predict_proba(X), search.predict_proba(X))


def test_clone():
    estimator = classifier(solver=fb.Adam(learning_rate=0.5)).fit(X, SIDES)
    twin = clone(estimator)
    assert not hasattr(twin, "coefs_")
    assert twin.get_params() == estimator.get_params()


def test_calibration():
    model = CalibratedClassifierCV(classifier(), cv=2).fit(X, CLASSES, WEIGHTS + 1)
    assert model.predict_proba(X).sum(axis=1) == pytest.approx(1)


def test_frames():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    model = make_pipeline(StandardScaler(), regressor()).set_output(transform="pandas")
    model.fit(frame, pandas.Series(NUMBERS))
    assert model[-1].feature_names_in_.tolist() == ["a", "b", "c", "d"]
    with pytest.raises(ValueError, match="feature names"):
        model[-1].predict(frame[["b", "a", "c", "d"]])


def test_metadata_routing():
    """Weights and validation samples through a pipeline, which scales the latter."""
    with config_context(enable_metadata_routing=True):
        steps = [
            ("scale", StandardScaler().set_fit_request(sample_weight=False)),
            (
                "mlp",
                classifier(max_iter=3).set_fit_request(sample_weight=True, X_val=True, y_val=True),
            ),
        ]
        model = Pipeline(steps, transform_input=["X_val"])
        model.fit(X, SIDES, sample_weight=WEIGHTS, X_val=X, y_val=SIDES)
    scaled = StandardScaler().fit_transform(X)
    expected = classifier(max_iter=3).fit(scaled, SIDES, WEIGHTS, X_val=scaled, y_val=SIDES)
    assert np.array_equal(parameters(model[-1]), parameters(expected))
    assert model[-1].validation_scores_ == expected.validation_scores_


def test_the_example():
    """Scores are theirs, or as good."""
    example = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "against_sklearn.py"))
    results = example["cross_validated"]("wine", range(1), 3, engine="numpy")
    (scores, seconds), (reference, _) = results["fastbackprop"], results["scikit-learn"]
    assert scores.shape == (1, 3)
    assert (seconds > 0).all()
    assert scores.mean() >= reference.mean() - 0.01


@pytest.mark.parametrize("random_state", [3, np.random.RandomState(3)])
@pytest.mark.parametrize("engine", ["numpy", "tiles"])
def test_the_order_of_samples_is_theirs_with_every_engine(engine, random_state):
    options = {"max_iter": 3, "batch_size": 30, "hidden_layer_sizes": (3,), "alpha": 0}
    rows, sides = X[:90], SIDES[:90]
    expected = theirs.MLPClassifier(**options, random_state=3).fit(rows, sides)
    options |= {"random_state": copy.deepcopy(random_state), "engine": engine}
    estimator = ours.MLPClassifier(**options).fit(rows, sides)
    np.testing.assert_allclose(estimator.loss_curve_, expected.loss_curve_, rtol=1e-7)
    np.testing.assert_allclose(estimator.coefs_[0], expected.coefs_[0], rtol=1e-5, atol=1e-7)


def test_orders_are_drawn_while_nobody_else_draws_from_the_generator():
    """NumPy's global generator is that of every estimator with random_state=None."""
    bits = np.random.MT19937(0)
    order = Order(np.random.RandomState(bits))
    orders = Orders(fb.Network([1, 1]).machine.engine, [order], [5])
    drawn = np.zeros((1, 1, 5), np.int64)
    orders.draw(drawn)
    thread = threading.Thread(target=orders.draw, args=(drawn,))
    with bits.lock:
        thread.start()
        thread.join(0.05)
        assert thread.is_alive()
    thread.join()
    assert sorted(drawn[0, 0]) == [0, 1, 2, 3, 4]


def test_the_default_engine():
    model = make_pipeline(StandardScaler(), ours.MLPClassifier(random_state=0, max_iter=50))
    assert model.fit(X, SIDES).score(X, SIDES) > 0.9
    assert model[-1].network_.engine == fb.Network([1, 1]).engine


# --- refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "adamw"}, r"unknown solver 'adamw': .* fastbackprop.AdamW\(\)"),
        ({"solver": "rmsprop_momentum"}, r"fastbackprop.RMSprop\(\). Names are lbfgs, sgd, adam"),
        ({"solver": "adm"}, "unknown solver 'adm': did you mean 'adam'"),
        ({"activation": "swish"}, "unknown hidden activation 'swish'"),
        ({"activation": ["relu", "relu"]}, "one per hidden layer: 1"),
        ({"hidden_layer_sizes": (8, -1)}, r"hidden_layer_sizes\[1\] must be a positive"),
        ({"learning_rate": "cosine"}, "unknown learning_rate 'cosine'"),
        ({"alpha": -1.0}, "alpha == -1.0, must be >= 0"),
        ({"max_iter": 0}, "max_iter == 0, must be >= 1"),
        ({"momentum": 1.0, "solver": "sgd"}, r"momentum must be a number in \[0, 1\); got 1.0"),
        ({"beta_1": 1.0, "solver": "sgd"}, "beta_1 == 1.0, must be < 1"),
        ({"epsilon": 0}, "epsilon == 0, must be > 0"),
        ({"verbose": -1}, "verbose == -1, must be >= 0"),
        ({"cost": "poission"}, "unknown cost 'poission'"),
    ],
)
def test_parameters_refused(options, message):
    with pytest.raises(ValueError, match=message):
        classifier(**options).fit(X, SIDES)


def test_sizes_in_the_place_of_the_loss():
    """The first argument of scikit-learn's MLPRegressor is the loss."""
    with pytest.raises(TypeError, match=r"loss must be .* Pass hidden_layer_sizes=\(8,\)"):
        ours.MLPRegressor((8,), engine="numpy").fit(X, SIDES)


@pytest.mark.filterwarnings("ignore:.*has not converged")
def test_a_checkpoint_continues_an_estimator(tmp_path):
    """With its figures, its patience and its best parameters."""

    def trained(n, *callbacks):
        options = {"early_stopping": True, "n_iter_no_change": 4, "callbacks": callbacks}
        return classifier(max_iter=n, **options).fit(X, SIDES)

    checkpoint = fb.Checkpoint(tmp_path / "model")
    assert trained(3, checkpoint).n_iter_ == 3
    resumed, whole = trained(9, checkpoint), trained(9)
    for name in ("validation_scores_", "best_validation_score_", "n_iter_"):
        assert getattr(resumed, name) == getattr(whole, name), name
    np.testing.assert_allclose(resumed.loss_curve_, whole.loss_curve_, rtol=1e-12)
    np.testing.assert_array_equal(resumed.predict_proba(X), whole.predict_proba(X))


def test_data_refused():
    estimator = classifier(warm_start=True).fit(X, CLASSES)
    before = parameters(estimator)
    with pytest.raises(ValueError, match=r"not in classes_, \['far' 'left' 'right'\]: \['near'\]"):
        estimator.fit(X, np.where(X[:, 0] > 0, "near", CLASSES))
    with pytest.raises(ValueError, match=r"\(n_samples,\) = \(120,\); got \(3,\)"):
        estimator.fit(X, CLASSES, [1, 2, 3])
    with pytest.raises(ValueError, match="must not be negative; its smallest is -1"):
        estimator.fit(X, CLASSES, -np.ones(120))
    with pytest.raises(TypeError, match="early_stopping must be True or False; got 'no'"):
        classifier(early_stopping="no").fit(X, CLASSES)
    small = regressor(early_stopping=True, validation_fraction=1e-3)
    with pytest.raises(ValueError, match="validation set is too small"):
        small.fit(X, NUMBERS)
    with pytest.raises(ValueError, match="X_val and y_val go together"):
        estimator.fit(X, CLASSES, X_val=X)
    with pytest.raises(ValueError, match="sample_weight_val belongs to X_val"):
        estimator.fit(X, CLASSES, sample_weight_val=WEIGHTS)
    estimator.set_params(hidden_layer_sizes=7)
    with pytest.raises(ValueError, match=r"has sizes \(4, 6, 3\); .* ask for \(4, 7, 3\)"):
        estimator.fit(X, CLASSES)
    estimator.set_params(hidden_layer_sizes=6, activation="logistic")
    with pytest.raises(ValueError, match=r"has hidden relu; .* ask for sigmoid"):
        estimator.fit(X, CLASSES)
    assert np.array_equal(parameters(estimator), before)


@pytest.mark.parametrize("options", [{"cost": "poission"}, {"dropout": 2}, {"alpha": -1}])
def test_a_refused_fit_changes_nothing(options):
    """Whichever part of the code refuses it, though y has other classes."""
    fitted, fresh = classifier().fit(X, CLASSES), classifier(**options)
    before = fitted.predict(X)
    fitted.set_params(**options)
    for estimator in (fitted, fresh):
        with pytest.raises(ValueError, match=r"unknown cost|dropout|alpha"):
            estimator.fit(X[:, :2], SIDES)
    assert fitted.n_features_in_ == 4 and np.array_equal(fitted.predict(X), before)
    assert vars(fresh) == vars(clone(fresh))


def test_validation_targets_without_a_score_leave_no_half_trained_estimator():
    numbers = (X[:, 0] > 0).astype(int)
    estimator = classifier()
    with pytest.raises(ValueError, match="mix of unknown and binary"):
        estimator.fit(X, numbers, X_val=X, y_val=numbers.astype(object))
    assert vars(estimator) == vars(clone(estimator))


@pytest.mark.parametrize("name", ["alpha", "learning_rate_init", "power_t", "epsilon"])
def test_an_integer_too_large_for_a_float_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} is too large for a float"):
        regressor(**{name: 10**400}).fit(X, NUMBERS)


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    monkeypatch.delitem(sys.modules, "fastbackprop.sklearn")
    with pytest.raises(ImportError, match=r'pip install "fastbackprop\[sklearn\]"'):
        importlib.import_module("fastbackprop.sklearn")


def test_partial_fit_refused():
    with pytest.raises(ValueError, match="classes must be passed to the first call"):
        classifier().partial_fit(X, CLASSES)
    with pytest.raises(ValueError, match="does not support early_stopping"):
        regressor(early_stopping=True).partial_fit(X, NUMBERS)
    estimator = classifier().partial_fit(X, SIDES, classes=["left", "right"])
    with pytest.raises(ValueError, match="not what it was in the first call"):
        estimator.partial_fit(X, SIDES, classes=["left", "up"])
    assert not hasattr(classifier(solver="lbfgs"), "partial_fit")


def test_divergence_leaves_the_last_finite_parameters():
    estimator = regressor(solver="sgd", learning_rate_init=1e6, max_iter=20)
    with np.errstate(all="ignore"), pytest.raises(fb.DivergenceError):
        estimator.fit(X, NUMBERS)
    assert np.isfinite(parameters(estimator)).all()
