"""scikit-learn: MLPClassifier and MLPRegressor, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastbackprop.formats.dense import Dense, Writable, dense, entry
from fastbackprop.names import missing

HIDDEN = {"identity": "identity", "sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}
OUTPUT = {"identity": "identity", "sigmoid": "logistic", "softmax": "softmax", "exp": "exp"}
OURS = {theirs: ours for table in (HIDDEN, OUTPUT) for ours, theirs in table.items()}


def from_sklearn(estimator: Any, options: Mapping[str, Any]) -> Dense:
    """`Network.from_sklearn`, which has the description."""
    if not hasattr(estimator, "coefs_") or not hasattr(estimator, "out_activation_"):
        raise TypeError(
            f"from_sklearn takes a fitted MLPClassifier or MLPRegressor; "
            f"this {type(estimator).__name__} has no coefs_"
        )
    layers = list(zip(estimator.coefs_, estimator.intercepts_, strict=True))
    machine = getattr(getattr(estimator, "network_", None), "machine", None)
    if machine is not None:  # of fastbackprop.sklearn
        return dense(layers, machine.sigma, {"cost": machine.cost, **options}, "the estimator")
    hidden, output = OURS[estimator.activation], OURS[estimator.out_activation_]
    names = [hidden] * (len(layers) - 1) + [output]
    name = "cross_entropy" if output in ("sigmoid", "softmax") else "squared_error"
    return dense(layers, names, {"cost": name, **options}, "the estimator")


def to_sklearn(network: Writable, classes: Any) -> Any:
    """`Network.to_sklearn`, which has the description."""
    sizes, sigma = network.sizes, network.machine.sigma
    output = entry(OUTPUT, sigma[-1], "scikit-learn's output")
    if sigma[-1].name == "softmax" and sizes[-1] == 1:
        raise ValueError("a softmax of one output is always 1: scikit-learn has no such classifier")
    hidden = {entry(HIDDEN, s, "scikit-learn's hidden layers") for s in sigma[:-1]}
    if len(hidden) > 1:
        raise ValueError(
            f"scikit-learn has one activation for all hidden layers; "
            f"the network has {sorted(hidden)}"
        )
    try:
        from sklearn.neural_network import MLPClassifier, MLPRegressor
    except ModuleNotFoundError as error:
        raise missing("this needs scikit-learn", "sklearn") from error
    options: dict[str, Any] = {
        "hidden_layer_sizes": sizes[1:-1],
        "activation": hidden.pop() if hidden else "relu",
        "alpha": 0.0,  # a network has no weight decay
    }
    layers = [(W.copy(), b.copy()) for W, b in zip(network.weights, network.biases, strict=True)]
    # One step on made-up data gives an estimator every attribute that it has; then ours go in.
    X = np.zeros((2, sizes[0]), network.dtype)
    if output in ("logistic", "softmax"):
        multilabel = output == "logistic" and sizes[-1] > 1
        classes = _classes(classes, max(sizes[-1], 2), multilabel, output)
        if output == "softmax" and sizes[-1] == 2:  # theirs has one logistic output for two classes
            W, b = layers[-1]
            layers[-1] = W[:, 1:] - W[:, :1], b[1:] - b[:1]
        y = np.eye(2, sizes[-1], dtype=int) if multilabel else classes[[0, -1]]
        estimator = MLPClassifier(**options).partial_fit(X, y, classes=classes)
    else:
        if classes is not None:
            raise ValueError(f"classes is for classifiers; the network's output is {output}")
        if output == "exp":
            options["loss"] = "poisson"
        y = np.ones((2, sizes[-1])) if sizes[-1] > 1 else np.ones(2)
        estimator = MLPRegressor(**options).partial_fit(X, y)
    estimator.coefs_, estimator.intercepts_ = map(list, zip(*layers, strict=True))
    estimator.n_iter_ = estimator.t_ = 0
    estimator.loss_curve_, estimator.loss_, estimator.best_loss_ = [], np.inf, np.inf
    vars(estimator).pop("_optimizer", None)  # it holds the made-up step's moments
    return estimator


def _classes(classes: Any, n: int, multilabel: bool, output: str) -> np.ndarray:
    """The labels, (n,), checked."""
    if classes is None:
        return np.arange(n)
    if multilabel:
        raise ValueError(
            f"classes is for one label a sample; {n} outputs of sigmoid are {n} labels at once, "
            f"which scikit-learn numbers"
        )
    labels = np.asarray(classes)
    if labels.shape != (n,) or not np.array_equal(np.unique(labels), labels):
        raise ValueError(
            f"classes must be the {n} labels in ascending order, as scikit-learn keeps them; "
            f"got {classes!r}"
        )
    return labels
