"""Searches and cross-validations of ours beside scikit-learn's around the same estimators."""

import pickle
import re
import signal
import threading
import warnings
from typing import ClassVar

import numpy as np
import pytest

import fastbackprop as fb

model_selection = pytest.importorskip("sklearn.model_selection")

from scipy import sparse  # noqa: E402
from sklearn import config_context  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.decomposition import PCA  # noqa: E402
from sklearn.experimental import enable_halving_search_cv  # noqa: E402, F401
from sklearn.metrics import f1_score, get_scorer  # noqa: E402
from sklearn.naive_bayes import GaussianNB  # noqa: E402
from sklearn.pipeline import Pipeline, make_pipeline  # noqa: E402
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler  # noqa: E402

from fastbackprop import sklearn as ours  # noqa: E402
from fastbackprop.many import lanes  # noqa: E402
from fastbackprop.sklearn import fitting, tasks  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning"),
    pytest.mark.filterwarnings("ignore:One or more of the:UserWarning"),
]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
NUMBERS = np.sin(X).sum(axis=1)
CLASSES = np.where(X[:, 2] > 0.7, "far", np.where(X[:, 0] + X[:, 1] > 0, "right", "left"))
LABELS = (X[:, :3] > 0).astype(int)
RARE = np.where(np.arange(60) < 2, "rare", CLASSES)  # in some folds only
WEIGHTS = RNG.integers(0, 4, len(X)) + 0.5
GROUPS = np.arange(60) % 7


def classifier(**options):
    options = {"max_iter": 3, "hidden_layer_sizes": 6, "random_state": 0} | options
    return ours.MLPClassifier(batch_size=16, **options)


def regressor(**options):
    options = {"max_iter": 3, "hidden_layer_sizes": 6, "random_state": 0} | options
    return ours.MLPRegressor(batch_size=16, **options)


def parameters(estimator):
    last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    return last.network_.get_parameters()


def assert_same_tables(table, expected):
    assert table.keys() == expected.keys()
    for name, column in table.items():
        if "time" in name:
            assert np.all(np.asarray(column) >= 0)
        elif np.asarray(column).dtype.kind in "fi":
            np.testing.assert_array_equal(column, expected[name], err_msg=name)
        else:
            assert _text(column) == _text(expected[name]), name


def _text(value):
    return re.sub(" at 0x[0-9a-fA-F]+", "", str(value))


def assert_same(name, *args, fit=(), fit_options=None, **options):
    """A search of ours, and scikit-learn's; returns ours."""
    searches = []
    for module in (model_selection, ours):
        search = getattr(module, name)(*clone(args, safe=False), **options)
        searches.append(search.fit(*fit, **(fit_options or {})))
    expected, search = searches
    assert_same_tables(search.cv_results_, expected.cv_results_)
    for attribute in ("best_index_", "best_score_", "multimetric_", "n_splits_", "n_features_in_"):
        assert hasattr(search, attribute) == hasattr(expected, attribute), attribute
        if hasattr(search, attribute):
            assert getattr(search, attribute) == getattr(expected, attribute), attribute
    if search.refit:
        assert _text(search.best_params_) == _text(expected.best_params_)
        winner, best = search.best_estimator_, expected.best_estimator_
        np.testing.assert_array_equal(parameters(winner), parameters(best))
        np.testing.assert_array_equal(search.predict(fit[0]), expected.predict(fit[0]))
    return search


@pytest.fixture
def trained(monkeypatch):
    """How many networks were trained together in each call."""
    calls = []

    def counted(fits, *options):
        calls.append(len(fits))
        return fitting.train_together(fits, *options)

    monkeypatch.setattr(tasks, "train_together", counted)
    return calls


# --- searches ------------------------------------------------------------------------------------

SCALED = make_pipeline(StandardScaler(), PCA(), classifier())


def both(estimator, X, y):
    return {"f1": f1_score(y, estimator.predict(X), average="macro"), "n": len(y)}


SEARCHES = {
    "a grid": (
        classifier(),
        {
            "hidden_layer_sizes": [(), (6,), (3, 4)],
            "learning_rate_init": [1e-3, 0.1],
            "alpha": [0, 1],
        },
        (X, CLASSES),
        {},
    ),
    "solvers": (
        regressor(n_iter_no_change=1),
        [
            {"solver": ["sgd"], "learning_rate": ["invscaling", "adaptive"], "momentum": [0, 0.5]},
            {"solver": ["lbfgs", fb.RMSprop(0.01)]},
            {"shuffle": [False], "dropout": [0.2], "activation": ["tanh"], "loss": ["poisson"]},
        ],
        (X, NUMBERS + 5),
        {"scoring": ["r2", "neg_mean_squared_error"], "refit": "r2", "return_train_score": True},
    ),
    "early stopping": (
        classifier(early_stopping=True, max_iter=12, n_iter_no_change=2, validation_fraction=0.3),
        {"learning_rate_init": [1e-2, 1e-1], "random_state": [0, np.random.RandomState(3)]},
        (X, np.where(CLASSES == "left", "left", "right")),
        {"cv": model_selection.ShuffleSplit(3, random_state=0)},
    ),
    "a pipeline": (
        SCALED,
        {"pca__n_components": [2, 3], "mlpclassifier__alpha": [0, 10], "pca__whiten": [True]},
        (X, CLASSES),
        {"scoring": both, "refit": lambda results: results["mean_test_f1"].argmin()},
    ),
    "other steps": (
        SCALED,
        {
            "standardscaler": [MinMaxScaler(), "passthrough", FunctionTransformer(lambda X: X / 2)],
            "mlpclassifier": [classifier(hidden_layer_sizes=3), GaussianNB()],
        },
        (X, CLASSES),
        {"refit": False},
    ),
    "groups": (
        regressor(),
        {"hidden_layer_sizes": [2, 6]},
        (X.astype("float32"), np.column_stack([NUMBERS, -NUMBERS])),
        {"cv": model_selection.LeaveOneGroupOut()},
    ),
    "several labels": (classifier(), {"alpha": [0.0, 1.0]}, (X, LABELS), {"cv": 3}),
    "classes of some folds": (
        classifier(),
        {"class_weight": ["balanced", None, {"right": 3.0}], "cost": [None, "squared_error"]},
        (X, RARE),
        {"cv": model_selection.KFold(4)},
    ),
    "a bootstrap": (
        regressor(cost=fb.Quantile([0.2, 0.8])),
        {"hidden_layer_sizes": [2, 6]},
        (X.tolist(), NUMBERS.tolist()),
        {"cv": [(np.arange(40) % 17, np.arange(20)), (list(range(30)), -1 - np.arange(20))]},
    ),
    "failures": (
        classifier(),
        {"batch_size": [16, -1], "alpha": [0.0, "much"], "learning_rate_init": [1e-3, 1e300]},
        (X, CLASSES),
        {"error_score": -3.0, "return_train_score": True},
    ),
    "sparse": (
        classifier(),
        {"alpha": [0.0, 1.0]},
        (sparse.csr_matrix(np.where(X > 0, X, 0)), CLASSES),
        {},
    ),
}


@pytest.mark.filterwarnings("ignore:The least populated class:UserWarning")
@pytest.mark.parametrize("case", SEARCHES)
def test_grid_search(case):
    estimator, grid, samples, options = SEARCHES[case]
    fit_options = {"groups": GROUPS} if case == "groups" else {}
    options = {"cv": 2, "fit": samples, "fit_options": fit_options} | options
    assert_same("GridSearchCV", estimator, grid, **options)


def test_missing_targets():
    holes = np.column_stack([NUMBERS, -NUMBERS])
    holes[::7, 0] = np.nan
    grid = {"alpha": [0, 1]}
    options = {"cv": 2, "fit": (X, holes)}
    search = assert_same("GridSearchCV", regressor(missing_targets=True), grid, **options)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_all_networks_are_trained_in_one_call(trained):
    grid = {"hidden_layer_sizes": [3, 6], "alpha": [0.0, 1.0]}
    search = ours.GridSearchCV(classifier(), grid, cv=3, n_jobs=2).fit(X, CLASSES)
    assert trained == [12]
    assert sum(search.cv_results_["mean_fit_time"]) > 0
    ours.cross_val_score(SCALED, X, CLASSES, cv=3, n_jobs=1, pre_dispatch=2)
    assert trained == [12, 2, 1]


def test_a_refused_candidate_leaves_the_others_together(trained):
    grid = {"dropout": [0.0, 2.0, 0.1], "alpha": [0, 1]}
    search = assert_same("GridSearchCV", classifier(), grid, fit=(X, CLASSES), cv=2)
    assert np.isnan(search.cv_results_["mean_test_score"]).sum() == 2
    assert trained[:3] == [12, 6, 3] and 2 in trained  # halves, until they are without it


def test_memory_bounds_how_many(trained, monkeypatch):
    monkeypatch.setattr(ours.together, "MOST_BYTES", 1)
    assert_same("GridSearchCV", classifier(), {"alpha": [0.0, 1.0]}, fit=(X, CLASSES), cv=2)
    assert trained == [1] * 4


class Recorded(StandardScaler):
    fitted: ClassVar[list] = []

    def fit(self, X, y=None, sample_weight=None):
        self.fitted.append(len(X))
        return super().fit(X, y, sample_weight)


def test_steps_before_the_last_are_fitted_once_per_fold_and_settings():
    model, fitted = make_pipeline(Recorded(), classifier()), Recorded.fitted
    grid = {"recorded__with_mean": [True, False], "mlpclassifier__alpha": [0, 0.1, 1]}
    ours.GridSearchCV(model, grid, cv=4, refit=False).fit(X, CLASSES)
    assert fitted == [45] * 8


def test_networks_of_several_folds_share_X():
    pool = tasks.Pool()
    data = tasks.Data(X, CLASSES, CLASSES, WEIGHTS)
    rows = [np.arange(40), np.arange(20, 60), np.arange(30)]
    first, second, other = (
        pool.place(tasks.Data(A[some], *(a[some] for a in data[1:4])), some, 60)
        for A, some in zip((X, X, X + 1), rows, strict=True)
    )
    assert first.X is second.X is not other.X and first.y is second.y is other.y
    for part, some in ((first, rows[0]), (second, rows[1])):
        for array, whole in zip(part.alone()[:4], data[:4], strict=True):
            np.testing.assert_array_equal(array, whole[some])
    np.testing.assert_array_equal(other.alone().X, X[:30] + 1)


@pytest.mark.parametrize("scoring", [None, "neg_mean_squared_error"])
def test_weights(scoring):
    grid = {"alpha": [0.0, 1.0]}
    fit_options = {"sample_weight": WEIGHTS}
    fit = X, NUMBERS
    options = {"scoring": scoring, "fit": fit, "fit_options": fit_options, "cv": 2}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The scoring", UserWarning)
        search = assert_same("GridSearchCV", regressor(), grid, **options)
    plain = ours.GridSearchCV(regressor(), grid, scoring=scoring, cv=2).fit(*fit)
    assert not np.array_equal(
        search.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"]
    )


def test_metadata_routing():
    with config_context(enable_metadata_routing=True):
        steps = [
            ("scale", StandardScaler().set_fit_request(sample_weight=True)),
            ("mlp", regressor().set_fit_request(sample_weight=True)),
        ]
        assert_same(
            "GridSearchCV",
            Pipeline(steps),
            {"mlp__alpha": [0, 1], "scale__with_std": [True, False]},
            fit=(X, NUMBERS),
            fit_options={"sample_weight": WEIGHTS, "groups": GROUPS},
            cv=model_selection.GroupKFold(3),
            scoring=get_scorer("r2").set_score_request(sample_weight=True),
        )


def test_frames():
    pandas = pytest.importorskip("pandas")
    frame, y = pandas.DataFrame(X, columns=list("abcd")), pandas.Series(NUMBERS)
    model = make_pipeline(StandardScaler(), regressor()).set_output(transform="pandas")
    for estimator in (model, regressor()):
        options = {"cv": 3, "fit": (frame, y)}
        search = assert_same("GridSearchCV", estimator, {}, **options)
        assert search.feature_names_in_.tolist() == list("abcd")


def test_random_searches():
    distributions = {"alpha": RNG.random(50), "hidden_layer_sizes": [3, 6]}
    options = {"random_state": 0, "fit": (X, CLASSES), "cv": 3}
    assert_same("RandomizedSearchCV", classifier(), distributions, n_iter=5, **options)
    options["n_candidates"] = 6
    search = assert_same(
        "HalvingRandomSearchCV", classifier(), distributions, min_resources=20, **options
    )
    assert len(search.n_resources_) == 2
    resource = {"resource": "max_iter", "max_resources": 9}
    assert_same("HalvingRandomSearchCV", classifier(), distributions, **resource, **options)
    grid = {"alpha": [0, 1], "hidden_layer_sizes": [3, 6]}
    options = {"random_state": 0, "fit": (X, CLASSES), "cv": 2}
    assert_same("HalvingGridSearchCV", classifier(), grid, **options)


def test_errors_are_raised():
    for bad, error in (
        ({"alpha": "much"}, TypeError),
        ({"learning_rate_init": 1e300}, fb.DivergenceError),
    ):
        grid = {name: [value] for name, value in bad.items()}
        with pytest.raises(error):
            ours.GridSearchCV(classifier(), grid, error_score="raise").fit(X, CLASSES)
    with pytest.raises(ValueError, match="Invalid parameter 'size'"):
        ours.GridSearchCV(classifier(), {"size": [3]}).fit(X, CLASSES)
    with pytest.raises(ValueError, match="All the 5 fits failed"):
        ours.GridSearchCV(classifier(), {"alpha": [-1]}).fit(X, CLASSES)
    for steps in ([], None, [3]):
        with pytest.raises((ValueError, TypeError, AttributeError)):
            ours.cross_val_score(Pipeline(steps), X, CLASSES, error_score="raise")
    with pytest.raises(ValueError, match="n_jobs == 0"):
        ours.GridSearchCV(classifier(), {}, n_jobs=0).fit(X, CLASSES)
    with pytest.raises(ValueError, match="NaN"):
        ours.cross_val_score(classifier(), np.where(X > 1, np.nan, X), CLASSES, error_score="raise")


def test_an_error_of_a_callback_is_of_one_candidate():
    def fails(network, epoch, logs):
        if network.sizes[1] == 3:
            raise OSError("no space left")

    grid = {"hidden_layer_sizes": [3, 6]}
    search = assert_same("GridSearchCV", classifier(callbacks=fails), grid, fit=(X, CLASSES), cv=2)
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [True, False]


def test_several_epochs_are_one_native_call_until_one_may_end_a_training(monkeypatch):
    taken, begin = [], lanes._Run.__init__

    def noted(run, *arguments):
        taken.append(arguments[-1])
        begin(run, *arguments)

    monkeypatch.setattr(lanes, "few", lambda n, kind: False)
    monkeypatch.setattr(lanes._Run, "__init__", noted)
    estimator = classifier(max_iter=40, n_iter_no_change=2, tol=0.02, alpha=0.1)
    grid = {"learning_rate_init": [1e-3, 0.01, 0.05, 0.1]}
    search = assert_same("GridSearchCV", estimator, grid, fit=(X, CLASSES), cv=2)
    assert max(taken) == 3
    assert search.best_estimator_.n_iter_ < 40


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_with_a_penalty_are_those_of_a_fit_alone(dtype, monkeypatch):
    monkeypatch.setattr(lanes, "few", lambda n, kind: False)
    options = {"cv": 4, "return_estimator": True}
    arguments = classifier(alpha=3.0, max_iter=12), X.astype(dtype), CLASSES
    together = ours.cross_validate(*arguments, **options)["estimator"]
    expected = model_selection.cross_validate(*arguments, **options)["estimator"]
    for estimator, alone in zip(together, expected, strict=True):
        assert estimator.loss_curve_ == alone.loss_curve_


def test_convergence_warnings():
    for y, estimator in ((NUMBERS, regressor()), (NUMBERS, make_pipeline(PCA(), regressor()))):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ours.cross_val_score(estimator, X, y, cv=3)
        assert len(caught) == 3 and "3 epochs" in str(caught[0].message)


@pytest.mark.skipif(not hasattr(signal, "raise_signal"), reason="needs signals")
def test_ctrl_c():
    def press(network, epoch, logs):
        if epoch == 2:
            signal.raise_signal(signal.SIGINT)

    search = ours.GridSearchCV(classifier(callbacks=press, max_iter=10**6), {"alpha": [0, 1]})
    with pytest.raises(fb.Interrupted) as caught:
        search.fit(X, CLASSES)
    assert not hasattr(search, "cv_results_")
    # Other threads go on until the main one, where Python handles signals, has a turn.
    assert 1 <= max(map(len, caught.value.history)) < 10**5
    assert {history.ended_by for history in caught.value.history} == {"interrupt"}

    def while_scoring(estimator, X, y):
        raise KeyboardInterrupt

    with pytest.raises(fb.Interrupted, match="the search was interrupted"):
        ours.cross_val_score(classifier(), X, CLASSES, scoring=while_scoring)


# --- cross-validation ----------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [classifier(), SCALED], ids=["alone", "pipeline"])
def test_cross_validate(estimator):
    options = {"cv": 3, "return_train_score": True, "return_estimator": True}
    options |= {"scoring": ["accuracy", "neg_log_loss"], "return_indices": True}
    table = ours.cross_validate(clone(estimator), X, CLASSES, **options)
    expected = model_selection.cross_validate(clone(estimator), X, CLASSES, **options)
    pairs = list(zip(table.pop("estimator"), expected.pop("estimator"), strict=True))
    indices = table.pop("indices"), expected.pop("indices")
    assert_same_tables(table, expected)
    assert str(indices[0]) == str(indices[1])
    for one, other in pairs:
        np.testing.assert_array_equal(parameters(one), parameters(other))
        np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))
        twin = pickle.loads(pickle.dumps(one))
        np.testing.assert_array_equal(twin.predict(X), one.predict(X))
    pairs[0][0].fit(X[:30] + 1, CLASSES[:30])  # and no other is changed
    np.testing.assert_array_equal(pairs[1][0].predict_proba(X), pairs[1][1].predict_proba(X))


def test_curves_and_predictions():
    for estimator in (classifier(), SCALED):
        samples = X, CLASSES
        for name, args, options in (
            ("cross_val_score", samples, {"scoring": "f1_macro", "cv": 3}),
            ("cross_val_predict", samples, {"method": "predict_proba", "cv": 3}),
            ("learning_curve", samples, {"cv": 3, "train_sizes": [0.5, 1.0]}),
            ("learning_curve", samples, {"cv": 3, "shuffle": True, "random_state": 0}),
        ):
            results = getattr(ours, name)(estimator, *args, **options)
            expected = getattr(model_selection, name)(estimator, *args, **options)
            for result, one in zip(results, expected, strict=True):
                np.testing.assert_array_equal(result, one)
    options = {"cv": 3, "train_sizes": [20, 40], "exploit_incremental_learning": True}
    results = ours.learning_curve(classifier(), X, CLASSES, **options)
    expected = model_selection.learning_curve(classifier(), X, CLASSES, **options)
    for result, one in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, one)
    options = {"param_name": "alpha", "param_range": [0, 1], "cv": 3}
    results = ours.validation_curve(regressor(), X, NUMBERS, **options)
    expected = model_selection.validation_curve(regressor(), X, NUMBERS, **options)
    np.testing.assert_array_equal(results, expected)


def test_a_search_in_a_cross_validation_and_in_two_threads():
    search = ours.GridSearchCV(classifier(), {"alpha": [0, 10]}, cv=2)
    theirs = model_selection.GridSearchCV(classifier(), {"alpha": [0, 10]}, cv=2)
    expected = model_selection.cross_val_score(theirs, X, CLASSES, cv=3)
    np.testing.assert_array_equal(ours.cross_val_score(search, X, CLASSES, cv=3), expected)
    scores = {}

    def score(k):
        scores[k] = ours.cross_val_score(classifier(), X, CLASSES, cv=3, scoring="accuracy")

    threads = [threading.Thread(target=score, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(scores[0], scores[1])


# --- the scikit-learn way ------------------------------------------------------------------------


def test_other_estimators(trained):
    grid = {"var_smoothing": [1e-9, 1.0]}
    search = ours.GridSearchCV(GaussianNB(), grid, n_jobs=1).fit(X, CLASSES)
    expected = model_selection.GridSearchCV(GaussianNB(), grid).fit(X, CLASSES)
    assert_same_tables(search.cv_results_, expected.cv_results_)

    class Own(ours.MLPClassifier):
        def fit(self, X, y):
            return super().fit(X[:20], y[:20])

    assert ours.cross_val_score(Own(max_iter=1), X, CLASSES, cv=2).shape == (2,)
    assert trained == []


def test_callbacks_of_scikit_learn(trained):
    pytest.importorskip("sklearn.callback")
    log = []

    class Recorder:
        def setup(self, estimator, context):
            log.append("setup")

        def on_fit_task_begin(self, estimator, context):
            log.append(context.task_name)

        def on_fit_task_end(self, estimator, context):
            return False

        def teardown(self, estimator, context):
            log.append("teardown")

    search = ours.GridSearchCV(classifier(), {"alpha": [0, 1]}, cv=2)
    search.set_callbacks(Recorder()).fit(X, CLASSES)
    assert log[0] == "setup" and log[-1] == "teardown"
    assert log.count("candidate-split-evaluation") == 4
    assert trained == []


def test_searches_are_estimators_of_scikit_learn(capsys):
    search = ours.RandomizedSearchCV(classifier(), {"alpha": [0, 1]}, n_iter=1, verbose=3, cv=2)
    twin = clone(search).fit(X, CLASSES)
    assert isinstance(twin, model_selection.RandomizedSearchCV)
    assert capsys.readouterr().out.count("END") == 2
    assert str(search).startswith("RandomizedSearchCV(")
    again = pickle.loads(pickle.dumps(twin))
    np.testing.assert_array_equal(again.predict_proba(X), twin.predict_proba(X))
