"""The same analysis in every system: `steps` calls from Python, each of one batch of rows.

JAX makes each from the cost of one sample, or of the batch, by its own transformations.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from fastbackprop.commands.peers import jax_for, jax_network, make_network
from fastbackprop.commands.predictors import Predictor
from fastbackprop.commands.work import Work, flat


class Engine(Predictor):
    """The network's method of this name, with one of this package's engines."""

    def __init__(self, work: Work, engine: str):
        network, (X, labels) = make_network(work, engine), work.data
        method = getattr(network, work.task)
        arguments = {
            "jacobian": (X,),
            "hessian_vector_product": (X, labels, work.direction),
            "gauss_newton_vector_product": (X, labels, work.direction),
        }.get(work.task, (X, labels))
        self._call: Callable[[], Any] = lambda: method(*arguments)
        self._steps = work.steps

    def run(self) -> None:
        for _ in range(self._steps):
            self._outputs = self._call()


class Jax(Predictor):
    """JAX: one compiled call, of parameters that are its own arrays, layer by layer."""

    def __init__(self, work: Work):
        jax = jax_for(work)
        X, labels = work.data
        Y = np.eye(work.sizes[-1], dtype=work.dtype)[labels]
        ends = np.cumsum([part.size for layer in work.layers for part in layer])
        parts = iter(np.split(work.direction, ends[:-1]))
        v = [(next(parts).reshape(W.shape), next(parts)) for W, _ in work.layers]
        self._analyse = jax.jit(self._function(jax, work))
        self._arguments = jax.device_put((work.layers, X, Y, v))
        self._jax, self._task, self._steps = jax, work.task, work.steps

    @staticmethod
    def _function(jax: ModuleType, work: Work) -> Any:
        network = jax_network(jax, work)

        def cost(layers: Any, X: Any, Y: Any) -> Any:
            """Of a sample, or the mean of a batch."""
            return cost_of_outputs(network(layers, X), Y)

        def cost_of_outputs(Z: Any, Y: Any) -> Any:
            return -(jax.nn.log_softmax(Z) * Y).sum(axis=-1).mean()

        def sample_gradients(layers: Any, X: Any, Y: Any, v: Any) -> Any:
            return jax.vmap(jax.grad(cost), (None, 0, 0))(layers, X, Y)

        def sample_gradient_norms(layers: Any, X: Any, Y: Any, v: Any) -> Any:
            parts = jax.tree.leaves(sample_gradients(layers, X, Y, v))
            return jax.numpy.sqrt(sum((part**2).reshape(len(X), -1).sum(axis=1) for part in parts))

        def input_gradient(layers: Any, X: Any, Y: Any, v: Any) -> Any:
            return jax.vmap(jax.grad(cost, 1), (None, 0, 0))(layers, X, Y)

        def jacobian(layers: Any, X: Any, Y: Any, v: Any) -> Any:
            return jax.vmap(jax.jacrev(lambda x: jax.nn.softmax(network(layers, x))))(X)

        def hessian_vector_product(layers: Any, X: Any, Y: Any, v: Any) -> Any:
            return jax.jvp(lambda layers: jax.grad(cost)(layers, X, Y), (layers,), (v,))[1]

        def gauss_newton_vector_product(layers: Any, X: Any, Y: Any, v: Any) -> Any:
            outputs = lambda layers: network(layers, X)  # noqa: E731
            Z, RZ = jax.jvp(outputs, (layers,), (v,))
            curved = jax.jvp(lambda Z: jax.grad(cost_of_outputs)(Z, Y), (Z,), (RZ,))[1]
            return jax.vjp(outputs, layers)[1](curved)[0]

        return locals()[work.task]

    def run(self) -> None:
        for _ in range(self._steps):
            self._outputs = self._jax.block_until_ready(self._analyse(*self._arguments))

    def result(self) -> np.ndarray:
        if self._task == "sample_gradients":
            rows = [np.reshape(p, (len(p), -1)) for layer in self._outputs for p in layer]
            return np.concatenate(rows, axis=1)
        return flat(self._outputs) if isinstance(self._outputs, list) else np.array(self._outputs)
