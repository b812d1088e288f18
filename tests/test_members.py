"""Estimators of several networks beside their members, each fitted alone."""

import copy
import pickle
import warnings

import numpy as np
import pytest

import fastbackprop as fb

pytest.importorskip("sklearn.neural_network")

from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import estimator_checks_generator

from fastbackprop import sklearn as ours

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
NUMBERS = np.sin(X).sum(axis=1)
CLASSES = np.where(X[:, 2] > 0.7, "far", np.where(X[:, 0] + X[:, 1] > 0, "right", "left"))
SIDES = np.where(CLASSES == "left", "left", "right")
LABELS = (X[:, :3] > 0).astype(int)
WEIGHTS = RNG.integers(0, 4, len(X)) + 0.5
OPTIONS = {"n_networks": 3, "max_iter": 4, "hidden_layer_sizes": 6, "random_state": 0}


def classifier(**options):
    return ours.MLPClassifier(batch_size=16, **OPTIONS | options)


def regressor(**options):
    return ours.MLPRegressor(batch_size=16, **OPTIONS | options)


def parameters(estimator):
    return np.array([member.network_.get_parameters() for member in estimator.estimators_])


# Those that fit, predict, copy or look at parameters; all pass, but each costs many trainings.
CHECKS = (
    *("check_dict_unchanged", "check_dont_overwrite_attributes", "check_estimators_pickle"),
    *("check_estimators_overwrite_params", "check_estimators_unfitted", "check_fit_idempotent"),
    *("check_n_features_in", "check_n_features_in_after_fitting", "check_do_not_raise_errors"),
    *("check_estimators_partial_fit_n_features", "check_methods_sample_order_invariance"),
    *("check_readonly_memmap_input", "check_sample_weights_not_overwritten", "check_get_params"),
    *("check_fit2d_1sample", "check_estimators_nan_inf", "check_non_transformer_estimators_n_iter"),
)


@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        pytest.param(estimator, check, id=f"{type(estimator).__name__}-{check.func.__name__}")
        for kind in (ours.MLPClassifier, ours.MLPRegressor)
        for estimator, check in estimator_checks_generator(
            kind(engine="numpy", n_networks=2, max_iter=20)
        )
        if check.func.__name__ in CHECKS
    ],
)
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


FITS = {
    "classes": (classifier(), CLASSES),
    "two classes": (classifier(class_weight="balanced", early_stopping=True, max_iter=20), SIDES),
    "labels": (classifier(n_iter_no_change=1, tol=0.5, max_iter=20), LABELS),
    "numbers": (regressor(solver="lbfgs"), np.column_stack([NUMBERS, -NUMBERS])),
    "dropout": (regressor(dropout=0.2, solver="sgd", learning_rate="adaptive"), NUMBERS),
}


@pytest.mark.parametrize("case", FITS)
def test_each_member_has_the_bits_of_its_own_fit(case):
    estimator, y = FITS[case]
    estimator = clone(estimator).fit(X, y, WEIGHTS)
    assert len(estimator.estimators_) == 3
    seeds = [member.random_state for member in estimator.estimators_]
    assert len(set(seeds)) == 3
    outputs = []
    for seed, member in zip(seeds, estimator.estimators_, strict=True):
        alone = clone(estimator).set_params(n_networks=1, random_state=seed).fit(X, y, WEIGHTS)
        expected = alone.network_.get_parameters()
        np.testing.assert_array_equal(member.network_.get_parameters(), expected)
        for name in ("loss_curve_", "n_iter_", "t_", "best_validation_score_", "loss_"):
            assert getattr(member, name) == getattr(alone, name)
        np.testing.assert_array_equal(member.predict(X), alone.predict(X))
        outputs.append(alone.network_.predict(X))
    mean = np.mean(outputs, axis=0)
    if estimator.__class__ is ours.MLPRegressor:
        np.testing.assert_allclose(estimator.predict(X), np.squeeze(mean), rtol=1e-13)
        assert estimator.score(X, y) == r2_score(y, estimator.predict(X))
    else:
        p = np.hstack([1 - mean, mean]) if mean.shape[1] == 1 else mean
        np.testing.assert_allclose(estimator.predict_proba(X), p, rtol=1e-13)
        classes = estimator.classes_[p.argmax(axis=1)] if y.ndim == 1 else (p > 0.5).astype(int)
        np.testing.assert_array_equal(estimator.predict(X), classes)
        assert estimator.score(X, y, WEIGHTS) == accuracy_score(y, classes, sample_weight=WEIGHTS)
    assert estimator.n_iter_ == max(member.n_iter_ for member in estimator.estimators_)
    again = clone(estimator).fit(X, y, WEIGHTS)
    np.testing.assert_array_equal(parameters(again), parameters(estimator))
    twin = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(twin.predict(X), estimator.predict(X))


def test_sparse_X():
    dense = np.where(X > 0, X, 0)
    estimator = classifier().fit(sparse.csr_matrix(dense), CLASSES)
    expected = estimator.ensemble_.predict(dense)
    np.testing.assert_allclose(
        estimator.predict_proba(sparse.csr_matrix(dense)), expected, rtol=1e-12
    )


def test_going_on():
    """Two warm fits, and passes of partial_fit, of a copy too."""
    once = classifier(max_iter=6).fit(X, CLASSES)
    twice = classifier(max_iter=3, warm_start=True).fit(X, CLASSES)
    twice = pickle.loads(pickle.dumps(twice)).fit(X, CLASSES)
    np.testing.assert_array_equal(parameters(once), parameters(twice))
    part = classifier().partial_fit(X, CLASSES, classes=np.unique(CLASSES))
    part = copy.deepcopy(part).partial_fit(X, CLASSES)
    warm = classifier(max_iter=2).fit(X, CLASSES)
    np.testing.assert_array_equal(parameters(warm), parameters(part))
    np.testing.assert_array_equal(warm.predict_proba(X), part.predict_proba(X))
    before = parameters(part)
    part.set_params(learning_rate_init=1e-9).partial_fit(X, CLASSES)
    assert 0 < np.abs(parameters(part) - before).max() < 1e-8
    with pytest.raises(ValueError, match="has 3 networks; n_networks asks for 1"):
        part.set_params(n_networks=1).partial_fit(X, CLASSES)
    other = part.fit(X, CLASSES)
    assert not hasattr(other, "estimators_") and other.network_.sizes == (4, 6, 3)
    several = other.set_params(n_networks=2).fit(X, CLASSES)
    assert not hasattr(several, "network_") and len(several.estimators_) == 2


def test_distributions():
    estimator = regressor(cost="gaussian_nll", max_iter=30).fit(X, NUMBERS)
    mean, deviation = estimator.predict(X, return_std=True)
    pairs = [member.predict(X, return_std=True) for member in estimator.estimators_]
    means, deviations = np.array(pairs).transpose(1, 0, 2)
    np.testing.assert_allclose(mean, means.mean(axis=0), rtol=1e-12)
    second = (deviations**2 + means**2).mean(axis=0)  # of the mixture
    np.testing.assert_allclose(deviation, np.sqrt(second - mean**2), rtol=1e-8)
    quantiles = regressor(cost=fb.Quantile([0.2, 0.8])).fit(X, NUMBERS)
    each = [member.predict_quantiles(X) for member in quantiles.estimators_]
    np.testing.assert_allclose(quantiles.predict_quantiles(X), np.mean(each, axis=0), rtol=1e-12)
    costs = [member.score(X, NUMBERS) for member in quantiles.estimators_]
    assert quantiles.score(X, NUMBERS) == pytest.approx(np.mean(costs), rel=1e-12)


def test_your_own_validation_samples():
    options = {"X_val": X[:20], "y_val": SIDES[:20], "sample_weight_val": WEIGHTS[:20]}
    estimator = classifier(early_stopping=True, max_iter=20).fit(X[20:], SIDES[20:], **options)
    for member in estimator.estimators_:
        score = member.score(X[:20], SIDES[:20], WEIGHTS[:20])
        assert score == member.best_validation_score_ == max(member.validation_scores_)


def test_in_a_search():
    grid = {"n_networks": [1, 2], "alpha": [0, 1]}
    expected = GridSearchCV(classifier(), grid, cv=3).fit(X, CLASSES)
    search = ours.GridSearchCV(classifier(), grid, cv=3).fit(X, CLASSES)
    for name in ("split0_test_score", "split2_test_score", "rank_test_score"):
        np.testing.assert_array_equal(search.cv_results_[name], expected.cv_results_[name])
    assert search.best_params_ == expected.best_params_


def test_refusals_change_nothing():
    estimator = classifier().fit(X, CLASSES)
    before = parameters(estimator)
    states = [{k: str(v) for k, v in vars(e).items()} for e in estimator.estimators_]
    for options in ({"n_networks": 0}, {"n_networks": 2.5}, {"solver": "none"}, {"dropout": 2.0}):
        with pytest.raises((ValueError, TypeError)):
            copy.copy(estimator).set_params(**options).fit(X, CLASSES)
    with pytest.raises(ValueError, match="features"):
        estimator.partial_fit(X[:, :2], CLASSES)
    np.testing.assert_array_equal(parameters(estimator), before)
    assert states == [{k: str(v) for k, v in vars(e).items()} for e in estimator.estimators_]
    with pytest.raises(AttributeError, match="coefs_ of each of estimators_"):
        _ = estimator.coefs_


def test_divergence_and_ctrl_c():
    with pytest.raises(fb.DivergenceError, match=r"epoch 1 of estimators_\[0\]"):
        regressor(solver="sgd", learning_rate_init=1e300).fit(X, NUMBERS)

    def press(network, epoch, logs):
        raise KeyboardInterrupt

    estimator = classifier(max_iter=100, callbacks=press)
    with pytest.raises(fb.Interrupted) as caught:
        estimator.fit(X, CLASSES)
    assert len(caught.value.history) == 3
    assert estimator.predict(X).shape == (60,)


def test_one_warning():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        classifier().fit(X, CLASSES)
    assert [w.category for w in caught] == [ConvergenceWarning]
    assert caught[0].filename == __file__


def test_files():
    skops = pytest.importorskip("skops.io")
    estimator = classifier().fit(X, CLASSES)
    twin = skops.loads(skops.dumps(estimator), trusted=ours.TRUSTED)
    np.testing.assert_array_equal(twin.predict_proba(X), estimator.predict_proba(X))


@pytest.mark.parametrize("y", [CLASSES, SIDES, LABELS, NUMBERS], ids=["3", "2", "labels", "y"])
def test_onnx(y):
    skl2onnx, runtime = pytest.importorskip("skl2onnx"), pytest.importorskip("onnxruntime")
    import fastbackprop.skl2onnx

    fastbackprop.skl2onnx.register()
    estimator = (regressor() if y is NUMBERS else classifier()).fit(X, y)
    options = {} if y is NUMBERS else {"options": {"zipmap": False}}
    model = skl2onnx.to_onnx(estimator, X[:1], **options)
    session = runtime.InferenceSession(model.SerializeToString())
    results = session.run(None, {session.get_inputs()[0].name: X})
    if y is NUMBERS:
        np.testing.assert_allclose(results[0][:, 0], estimator.predict(X), rtol=1e-9)
    else:
        np.testing.assert_array_equal(results[0], estimator.predict(X))
        np.testing.assert_allclose(results[1], estimator.predict_proba(X), rtol=1e-9)
