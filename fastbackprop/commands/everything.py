"""Calls that together need all machine code of an engine: `warmup` makes them, and so do wheels."""

import copy
import importlib.util
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import fastbackprop as fb
from fastbackprop import analysis
from fastbackprop.engines import lanes
from fastbackprop.functions.activations import ACTIVATIONS
from fastbackprop.functions.costs import COSTS, Cost
from fastbackprop.optimizers import OPTIMIZERS
from fastbackprop.training import Dropout

Call = tuple[str, Callable[[], object]]

# Options with which an optimizer has another rule, or a step another end.
VARIANTS: tuple[fb.Optimizer, ...] = (
    fb.SGD(0.01, momentum=0.9),
    fb.SGD(0.01, momentum=0.9, nesterov=True),
    fb.Adam(amsgrad=True),
    fb.AdamW(amsgrad=True),
    fb.RMSprop(momentum=0.9),
    fb.SGD(0.01, clip_norm=1.0),
    fb.Custom(lambda theta, g, states, step, rate: None),
)

ON_LANES: tuple[fb.Optimizer, ...] = (
    fb.SGD(0.01),
    *VARIANTS[:2],
    fb.Adam(),
    fb.AdamW(),
    fb.NAdam(),
    fb.RAdam(),
    fb.RMSprop(),
    fb.Adagrad(),
)


class _Data:
    """A network of a few neurons, and samples: its machine code serves all architectures."""

    def __init__(self, dtype: str, engine: str) -> None:
        self.common: dict[str, Any] = {"dtype": dtype, "engine": engine, "rng": 0}
        self.network = fb.Network([2, 3, 2], output="softmax", cost="cross_entropy", **self.common)
        self.X, self.y = np.eye(2, dtype=dtype), np.arange(2)

    def fit(self, optimizer: str | fb.Optimizer = "sgd", X: Any = None, **options: Any) -> None:
        X, optimizer = self.X if X is None else X, copy.copy(optimizer)
        self.network.fit(X, self.y, epochs=1, optimizer=optimizer, **options)


def usual(dtype: str, engine: str) -> Iterator[Call]:
    """Every method, and every optimizer with its default options."""
    data = _Data(dtype, engine)
    network, X, y = data.network, data.X, data.y
    yield "predict", lambda: [network.predict(rows) for rows in (X, X[:1], X.tolist())]
    yield "evaluate", lambda: [network.evaluate(rows, y) for rows in (X, X.tolist())]
    yield "gradient", lambda: [network.gradient(rows, y) for rows in (X, X.tolist())]
    yield "own loop", lambda: _step(network, X, y)
    yield "activations", lambda: network.activations(X)
    yield "trace", lambda: network.trace(X, y)
    yield "analysis", lambda: _analyse(network, X, y)
    yield "jets", partial(_differentiate, data)
    yield "fit step by step", partial(data.fit, callbacks=_Listener())
    for optimizer in OPTIMIZERS:
        if optimizer == "lbfgs":  # compiles nothing of its own, and needs SciPy
            continue
        yield f"fit with {optimizer}", partial(data.fit, optimizer)


class _Listener:
    """With it no pass is one native call."""

    def on_batch_end(self, network: fb.Network, batch: int, logs: dict[str, float]) -> None:
        """Nothing."""


def _step(network: fb.Network, X: np.ndarray, y: np.ndarray) -> None:
    trainer = network.trainer(fb.SGD(lambda step: 0.01))  # a schedule: coefficients are set too
    trainer.step(X, y)
    trainer.apply(network.backward(X, X).parameter_gradient)


def _analyse(network: fb.Network, X: np.ndarray, y: np.ndarray) -> None:
    network.sample_gradients(X, y)
    network.sample_gradient_norms(X, y)
    for rows in (X, X.tolist()):
        network.input_gradient(rows, y)
    network.jacobian(X)
    network.hessian_vector_product(X, y, network.get_parameters())


def _differentiate(data: _Data) -> None:
    X, rays = data.X, np.eye(2, dtype=data.X.dtype)
    network = fb.Network([2, 3, 2], hidden="tanh", **data.common)
    network.jet(X, rays, order=2)
    of_a, of_jets = np.zeros((2, 2)), np.zeros((2, 2, 2))
    network.jet_backward(X, rays, of_a, of_jets)
    network.jet_backward(X, rays, of_a, of_jets, of_jets)
    machine, optimizer = network.machine, fb.SGD()
    with machine.bound() as bound:  # the step of a training on slopes
        machine.engine.take_step(bound, optimizer.stepper(machine).next(1))


def _on_lanes(data: _Data, optimizer: fb.Optimizer) -> None:
    networks = [copy.copy(data.network) for _ in range(lanes.width(data.X.dtype))]
    optimizers = [copy.copy(optimizer) for _ in networks]
    fb.fit_many(networks, data.X, data.y, epochs=1, optimizers=optimizers, shuffle=False)
    fb.Ensemble(networks).predict(data.X)


def remaining(dtype: str, engine: str) -> Iterator[Call]:
    """Every function, and options that have machine code of their own; sparse X if SciPy is there.

    Functions are compiled and not called.
    """
    data = _Data(dtype, engine)
    for optimizer in VARIANTS:
        yield f"fit with another {optimizer.name}", partial(data.fit, optimizer)
    if engine == "tiles":
        for optimizer in ON_LANES:
            yield f"many networks with {optimizer.name}", partial(_on_lanes, data, optimizer)
    yield "fit with dropout", partial(data.fit, dropout=Dropout(0.5, inputs=0.5, noise=0.1))
    yield "erf of arrays", lambda: fb.math.erf(data.X)
    if importlib.util.find_spec("scipy"):
        from scipy.sparse import csr_array

        S = csr_array(data.X)
        for name in ("sgd", "adam"):
            yield f"sparse X with {name}", partial(data.fit, name, S)
        yield "predict sparse X", lambda: data.network.predict(S)
        yield "gradient of sparse X", lambda: data.network.gradient(S, data.y)
    for activation in ACTIVATIONS.values():
        yield activation.name, partial(_compile, data, output=activation)
        if not activation.coupled:
            normalised = fb.LayerNorm(activation)
            yield f"LayerNorm of {activation.name}", partial(_compile, data, output=normalised)
    for costs in COSTS.values():
        for cost in costs:
            name, output = f"{cost.name} {cost.output or ''}", cost.output or "identity"
            yield name, partial(_compile, data, output=output, cost=cost)


def _compile(data: _Data, output: Any, cost: Cost | str = "squared_error") -> None:
    machine = fb.Network([2, 2], output=output, cost=cost, **data.common).machine
    functions = machine.sigma, machine.cost, machine.dtype
    module = analysis.load(machine.engine_name)
    assert machine.model is not None
    if machine.cost.has_second:
        module.curvature(*functions)
