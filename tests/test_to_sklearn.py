"""Estimators of scikit-learn, there and back, against its predictions."""

import warnings

import numpy as np
import pytest
from problems import TOLERANCE, deviation, every_dtype, problem

import fastbackprop as fb

neural_network = pytest.importorskip("sklearn.neural_network")
MLPClassifier, MLPRegressor = neural_network.MLPClassifier, neural_network.MLPRegressor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
CLASSES = np.where(X[:, 0] > 0, "up", "down")
TARGETS = {
    "two classes": CLASSES,
    "three classes": np.where(X[:, 1] > 0.5, "far", CLASSES),
    "labels": (X > 0).astype(int),
    "one number": X.sum(axis=1),
    "numbers": X @ RNG.normal(size=(3, 2)),
}


def fitted(target, activation="tanh", dtype="float64", hidden=(5, 4)):
    y = TARGETS[target]
    kind = MLPRegressor if y.dtype.kind == "f" else MLPClassifier
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged
        estimator = kind(
            hidden_layer_sizes=hidden, activation=activation, max_iter=5, random_state=0
        )
        return estimator.fit(X.astype(dtype), y)


def predictions(estimator, X):
    """(n_samples, n_L), as a network has them."""
    if isinstance(estimator, MLPRegressor):
        return estimator.predict(X).reshape(len(X), -1)
    a = estimator.predict_proba(X)
    return a[:, 1:] if estimator.n_outputs_ == 1 else a


@every_dtype
@pytest.mark.parametrize("target", TARGETS)
def test_there_and_back(target, dtype):
    theirs = fitted(target, dtype=dtype)
    net = fb.Network.from_sklearn(theirs, engine="numpy")
    data = X.astype(dtype)
    assert net.dtype == dtype
    assert net.cost == ("squared_error" if "number" in target else "cross_entropy")
    assert deviation(net.predict(data), predictions(theirs, data)) < TOLERANCE[dtype]
    back = net.to_sklearn(theirs.classes_ if "classes" in target else None)
    assert type(back) is type(theirs)
    assert np.array_equal(back.predict(data), theirs.predict(data))
    assert {*vars(theirs)} - {*vars(back)} <= {"_optimizer"}
    back.partial_fit(data, TARGETS[target])  # goes on from there
    assert 0 < np.abs(back.coefs_[0] - theirs.coefs_[0]).max() <= 1.001e-3


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_hidden(activation):
    theirs = fitted("numbers", activation)
    net = fb.Network.from_sklearn(theirs, engine="numpy")
    assert deviation(net.predict(X), theirs.predict(X)) < 1e-13
    assert net.to_sklearn().activation == activation


def test_no_hidden_layer():
    theirs = fitted("numbers", hidden=())
    net = fb.Network.from_sklearn(theirs, engine="numpy")
    assert net.n_layers == 1
    assert np.array_equal(net.to_sklearn().predict(X), theirs.predict(X))


def test_two_outputs_of_softmax_are_one_of_theirs():
    options = {"output": "softmax", "cost": "cross_entropy", "dtype": "float64"}
    net = problem([3, 4, 2], 1, hidden="tanh", engine="numpy", **options).net
    theirs = net.to_sklearn(["no", "yes"])
    assert theirs.classes_.tolist() == ["no", "yes"]
    assert deviation(theirs.predict_proba(X), net.predict(X)) < 1e-13


@pytest.mark.parametrize(
    ("options", "classes", "message"),
    [
        ({"hidden": "gelu"}, None, "hidden layers has nothing for the activation 'gelu'"),
        ({"hidden": ["relu", "tanh"]}, None, r"one activation .* \['relu', 'tanh'\]"),
        ({"output": "relu"}, None, "output has nothing for the activation 'relu'"),
        ({"output": "softmax"}, ["b", "a"], "2 labels in ascending order"),
        ({"output": "softmax"}, [1, 2, 3], "2 labels"),
        ({"output": "sigmoid"}, [0, 1], "labels at once"),
        ({}, [0, 1], "classes is for classifiers"),
    ],
)
def test_refused(options, classes, message):
    net = fb.Network([3, 4, 4, 2], engine="numpy", **options)
    with pytest.raises(ValueError, match=message):
        net.to_sklearn(classes)


def test_not_fitted():
    with pytest.raises(TypeError, match="this MLPRegressor has no coefs_"):
        fb.Network.from_sklearn(MLPRegressor())
