"""JAX: every task is one compiled call, on arrays of its own; its arguments are not checked."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from fastbackprop.commands import require
from fastbackprop.commands.work import (
    ADAM_RATE,
    BETA_1,
    BETA_2,
    EPSILON,
    NOT_INSTALLED,
    SGD_RATE,
    System,
    Work,
    flat,
    repeated,
)


def _jax(work: Work) -> ModuleType:
    jax = require("jax", NOT_INSTALLED)
    jax.config.update("jax_enable_x64", work.dtype == "float64")
    return jax


def _network(jax: ModuleType, work: Work) -> Callable[[Any, Any], Any]:
    """(layers, X) -> z^L."""
    sigma = {
        "relu": jax.nn.relu,
        "tanh": jax.numpy.tanh,
        "gelu": lambda z: jax.nn.gelu(z, approximate=False),
    }[work.activation]

    def outputs(layers: Any, a: Any) -> Any:
        for W, b in layers[:-1]:
            a = sigma(a @ W + b)
        W, b = layers[-1]
        return a @ W + b

    return outputs


def train(work: Work) -> System:
    """The whole epoch in one call: `lax.scan` over the minibatches."""
    jax = _jax(work)
    epoch = jax.jit(_epoch(jax, work))
    first, batches = _start_and_batches(work)
    return _system(jax, epoch, first, batches, lambda layers: flat(layers))


def together(work: Work) -> System:
    """`vmap` over the networks: each minibatch is one call for all of them."""
    jax = _jax(work)
    epoch = jax.jit(_epoch(jax, work, many=True))
    each = [work.layers_of(k) for k in range(work.networks)]
    layers = jax.tree.map(lambda *arrays: np.stack(arrays), *each)
    moments = [jax.tree.map(np.zeros_like, layers)] * 2
    first = (layers, *moments) if work.optimizer == "adam" else (layers,)

    def result(layers: Any) -> np.ndarray:
        parts = [np.reshape(part, (work.networks, -1)) for layer in layers for part in layer]
        return np.concatenate(parts, axis=1).ravel()

    return _system(jax, epoch, first, _start_and_batches(work)[1], result)


def _system(jax: ModuleType, epoch: Any, first: Any, batches: Any, result: Any) -> System:
    start, batches = jax.device_put((first, batches))
    end = start

    def run() -> None:
        nonlocal end
        end = jax.block_until_ready(epoch(start, batches))

    return System(run, lambda: result(end[0]))


def loop(work: Work) -> System:
    """A call for each minibatch, which is passed as NumPy's; the last state is waited for."""
    jax = _jax(work)
    step = jax.jit(lambda state, batch: _step(jax, work)(state, batch)[0])
    start, batches = _start_and_batches(work)
    start = end = jax.device_put(start)

    def run() -> None:
        nonlocal end
        state = start
        for batch in zip(*batches, strict=True):
            state = step(state, batch)
        end = jax.block_until_ready(state)

    return System(run, lambda: flat(end[0]))


def residual(work: Work) -> System:
    """The cost and its gradient in one call; `jax.hessian` is faster here than `jvp` of `jvp`."""
    jax = _jax(work)
    network = _network(jax, work)

    def cost(layers: Any, X: Any, f: Any) -> Any:
        def laplacian(x: Any) -> Any:
            return jax.numpy.trace(jax.hessian(lambda x: network(layers, x))(x), axis1=1, axis2=2)

        return 0.5 * jax.numpy.mean((jax.vmap(laplacian)(X) - f) ** 2)

    gradient = jax.jit(jax.grad(cost))
    arguments = jax.device_put((work.layers, work.data[0], work.f))
    return repeated(work, lambda: jax.block_until_ready(gradient(*arguments)), flat)


def _start_and_batches(work: Work) -> tuple[Any, list[np.ndarray]]:
    """The state before the first step, and the arguments of all steps, side by side."""
    X, labels = work.data
    one_hot = np.eye(work.sizes[-1], dtype=work.dtype)[labels]
    batches = [values.reshape(work.steps, work.batch_size, -1) for values in (X, one_hot)]
    t = np.arange(1, work.steps + 1)
    rates = ADAM_RATE / (1 - BETA_1**t), np.sqrt(1 - BETA_2**t)  # of each step of Adam
    batches += [rate.astype(work.dtype) for rate in rates]
    moments = [[(np.zeros_like(W), np.zeros_like(b)) for W, b in work.layers]] * 2
    return (work.layers, *moments) if work.optimizer == "adam" else (work.layers,), batches


def _epoch(jax: ModuleType, work: Work, many: bool = False) -> Callable[[Any, Any], Any]:
    """(state, minibatches) -> state; `many` of networks side by side."""
    step = _step(jax, work)
    if many:
        step = jax.vmap(step, in_axes=(0, None), out_axes=(0, None))
    return lambda state, batches: jax.lax.scan(step, state, batches)[0]


def _step(jax: ModuleType, work: Work) -> Callable[[Any, Any], tuple[Any, None]]:
    """(state, minibatch) -> state, as `lax.scan` takes it."""
    network, each = _network(jax, work), jax.tree.map

    def cost(layers: Any, X: Any, targets: Any) -> Any:
        return -(jax.nn.log_softmax(network(layers, X)) * targets).sum(axis=1).mean()

    def sgd_step(state: Any, batch: Any) -> tuple[Any, None]:
        (layers,) = state
        gradient = jax.grad(cost)(layers, *batch[:2])
        return (each(lambda p, g: p - SGD_RATE * g, layers, gradient),), None

    def adam_step(state: Any, batch: Any) -> tuple[Any, None]:
        layers, m, v = state
        X, targets, rate, root = batch
        gradient = jax.grad(cost)(layers, X, targets)
        m = each(lambda m, g: m + (1 - BETA_1) * (g - m), m, gradient)
        v = each(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, v, gradient)

        def moved(p: Any, m: Any, v: Any) -> Any:
            return p - rate * (m / (jax.numpy.sqrt(v) / root + EPSILON))

        return (each(moved, layers, m, v), m, v), None

    return sgd_step if work.optimizer == "sgd" else adam_step


def predict(work: Work) -> System:
    """The network and its softmax."""
    jax = _jax(work)
    network = _network(jax, work)
    outputs = jax.jit(lambda layers, X: jax.nn.softmax(network(layers, X)))
    layers, X = jax.device_put((work.layers, work.data[0]))
    return repeated(work, lambda: outputs(layers, X).block_until_ready())


def analyse(work: Work) -> System:
    """What JAX's transformations make of the cost of one sample, or of the batch."""
    jax = _jax(work)
    X, labels = work.data
    Y = np.eye(work.sizes[-1], dtype=work.dtype)[labels]
    ends = np.cumsum([part.size for layer in work.layers for part in layer])
    parts = iter(np.split(work.direction, ends[:-1]))
    v = [(next(parts).reshape(W.shape), next(parts)) for W, _ in work.layers]
    analysis = jax.jit(_analyses(jax, work)[work.task])
    arguments = jax.device_put((work.layers, X, Y, v))

    def result(outputs: Any) -> np.ndarray:
        if work.task == "sample_gradients":
            rows = [np.reshape(p, (len(p), -1)) for layer in outputs for p in layer]
            return np.concatenate(rows, axis=1)
        return flat(outputs) if isinstance(outputs, list) else np.array(outputs)

    return repeated(work, lambda: jax.block_until_ready(analysis(*arguments)), result)


def _analyses(jax: ModuleType, work: Work) -> dict[str, Callable[..., Any]]:
    """Task -> function of layers, X, Y and the vector v."""
    network = _network(jax, work)

    def cost_of_outputs(Z: Any, Y: Any) -> Any:
        return -(jax.nn.log_softmax(Z) * Y).sum(axis=-1).mean()

    def cost(layers: Any, X: Any, Y: Any) -> Any:
        """Of a sample, or the mean of a batch."""
        return cost_of_outputs(network(layers, X), Y)

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

    return {
        function.__name__: function
        for function in (
            sample_gradients,
            sample_gradient_norms,
            input_gradient,
            jacobian,
            hessian_vector_product,
            gauss_newton_vector_product,
        )
    }
