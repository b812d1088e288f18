"""Fitted estimators as plain state: numbers, text and arrays, which pickle and skops hold."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from fastbackprop.formats import saved
from fastbackprop.network import Network
from fastbackprop.optimizers import OPTIMIZERS
from fastbackprop.optimizers.schedules import SCHEDULES
from fastbackprop.sklearn.order import Order

# What skops finds in the file of a fitted estimator: `skops.io.load(file, trusted=TRUSTED)`.
TRUSTED = [
    "fastbackprop.sklearn.classifier.MLPClassifier",
    "fastbackprop.sklearn.regressor.MLPRegressor",
    "fastbackprop.sklearn.parameters.EpochFactor",
    "fastbackprop.training.history.History",
    "fastbackprop.layout.Layout",
    *(f"{kind.__module__}.{kind.__name__}" for kind in OPTIMIZERS.values()),
    *(f"{kind.__module__}.{kind.__name__}" for kind in SCHEDULES.values()),
]


def plain(network: Network) -> Any:
    """A network of an estimator as plain state; with functions of a user's own, itself."""
    machine, order = network.machine, network.rng
    if not all(function.is_registered for function in (*machine.sigma, machine.cost)):
        return network
    assert isinstance(order, Order)
    random_state, bits, rows = order.__reduce__()[1]
    return {
        "architecture": json.dumps(saved.architecture(network)),
        "parameters": network.get_parameters(),
        "random_state": random_state,
        "bits": json.dumps(bits.state),
        "order": np.asarray(rows, np.int64),
    }


def restored(state: dict[str, Any], optimizer: Any) -> Network:
    """The network of a plain state."""
    bits = np.random.PCG64()
    bits.state = json.loads(state["bits"])
    order = Order(state["random_state"], bits, state["order"])
    arguments = saved.arguments(json.loads(state["architecture"]))
    network = Network(**arguments, init="zeros", rng=order)
    network.set_parameters(state["parameters"])
    network.continue_with(optimizer)
    return network
