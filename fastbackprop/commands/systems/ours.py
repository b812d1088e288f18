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


def _network(work: Work, engine: str) -> fb.Network:
    network = fb.Network(
        work.sizes,
        hidden=work.activation,
        output="softmax",
        cost="cross_entropy",
        dtype=work.dtype,
        engine=engine,
    )
    network.set_parameters(flat(work.layers))
    return network


def _thread_options(work: Work) -> dict[str, Any]:
    """One thread means one; of several, the engine chooses how many it uses."""
    return {"n_threads": 1 if work.threads == 1 else None}


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


def _optimizer(work: Work) -> fb.Optimizer:
    if work.optimizer == "sgd":
        return fb.SGD(learning_rate=SGD_RATE)
    return fb.Adam(learning_rate=ADAM_RATE, betas=(BETA_1, BETA_2), epsilon=EPSILON)


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
