"""This package, as a user calls it, with one of its engines."""

from functools import partial
from typing import Any

import numpy as np

import fastbackprop as fb
from fastbackprop.commands.work import (
    ADAM_RATE,
    BETA_1,
    BETA_2,
    EPSILON,
    SGD_RATE,
    System,
    Work,
    flat,
    repeated,
)
from fastbackprop.engines import ENGINES

THREADED = ("tiles", "numpy")  # engines that use several threads: our team, and the BLAS


def _network(work: Work, engine: str, **functions: Any) -> fb.Network:
    functions = functions or {"output": "softmax", "cost": "cross_entropy"}
    network = fb.Network(
        work.sizes, hidden=work.activation, dtype=work.dtype, engine=engine, **functions
    )
    network.set_parameters(flat(work.layers))
    return network


def _thread_options(work: Work) -> dict[str, Any]:
    """One thread means one; of several, the engine chooses how many it uses."""
    return {"n_threads": 1 if work.threads == 1 else None}


def _optimizer(work: Work) -> fb.Optimizer:
    if work.optimizer == "sgd":
        return fb.SGD(learning_rate=SGD_RATE)
    return fb.Adam(learning_rate=ADAM_RATE, betas=(BETA_1, BETA_2), epsilon=EPSILON)


def loop(work: Work) -> System:
    """`StepTrainer.step`, a call for each minibatch."""
    network, start, (X, labels) = _network(work, ENGINES[0]), flat(work.layers), work.data
    optimizer, size = _optimizer(work), work.batch_size
    trainer = network.trainer(optimizer, **_thread_options(work))

    def reset() -> None:
        network.set_parameters(start)
        optimizer.reset()

    def run() -> None:
        for first in range(0, len(X), size):
            trainer.step(X[first : first + size], labels[first : first + size])

    return System(run, network.get_parameters, reset)


def residual(work: Work) -> System:
    """`jet` along every input, and `jet_backward`."""
    network, X, f = _network(work, ENGINES[0], output="identity"), work.data[0], work.f
    rays, options = np.eye(work.sizes[0], dtype=work.dtype), _thread_options(work)

    def gradient() -> np.ndarray:
        a, da, d2a = network.jet(X, rays, **options)
        assert d2a is not None
        of_d2a = np.broadcast_to((d2a.sum(axis=0) - f) / a.size, d2a.shape)
        none = np.zeros_like(a), np.zeros_like(da)
        return network.jet_backward(X, rays, *none, of_d2a, **options)[0]

    return repeated(work, gradient)


def train(work: Work, engine: str) -> System:
    """`Network.fit`."""
    network, start, (X, labels) = _network(work, engine), flat(work.layers), work.data
    optimizer = _optimizer(work)
    fit = partial(network.fit, X, labels, epochs=1, batch_size=work.batch_size, shuffle=False)

    def reset() -> None:
        network.set_parameters(start)
        optimizer.reset()

    def run() -> None:
        fit(optimizer=optimizer, **_thread_options(work))

    return System(run, network.get_parameters, reset)


def together(work: Work, one_by_one: bool = False) -> System:
    """`fit_many`, or the `fit` of each network."""
    networks = [_network(work, ENGINES[0]) for _ in range(work.networks)]
    optimizers, (X, labels) = [_optimizer(work) for _ in networks], work.data
    options: dict[str, Any] = {"epochs": 1, "batch_size": work.batch_size, "shuffle": False}
    options |= _thread_options(work)

    def reset() -> None:
        for network, optimizer, start in zip(networks, optimizers, work.starts, strict=True):
            network.set_parameters(start)
            optimizer.reset()

    def run() -> None:
        if one_by_one:
            for network, optimizer in zip(networks, optimizers, strict=True):
                network.fit(X, labels, optimizer=optimizer, **options)
        else:
            fb.fit_many(networks, X, labels, optimizers=optimizers, **options)

    def result() -> np.ndarray:
        return np.concatenate([network.get_parameters() for network in networks])

    return System(run, result, reset)


one_by_one = partial(together, one_by_one=True)


def predict(work: Work, engine: str, reuse: bool = False) -> System:
    """`Network.predict`; with `reuse`, into the same `out`."""
    options = _thread_options(work)
    if reuse:
        options["out"] = np.empty((work.batch_size, work.sizes[-1]), work.dtype)
    return repeated(work, partial(_network(work, engine).predict, work.data[0], **options))


def analyse(work: Work, engine: str) -> System:
    """The network's method that has the name of the task."""
    X, labels = work.data
    arguments = {
        "jacobian": (X,),
        "hessian_vector_product": (X, labels, work.direction),
        "gauss_newton_vector_product": (X, labels, work.direction),
    }.get(work.task, (X, labels))
    return repeated(work, partial(getattr(_network(work, engine), work.task), *arguments))
