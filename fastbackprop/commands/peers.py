"""The same training in every system: this package's engines, PyTorch, scikit-learn and JAX.

Each is made for a `Work`; see `System` for what it must be able to do.
"""

import os
import shutil
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

import fastbackprop as fb
from fastbackprop.commands import finished, require
from fastbackprop.commands.work import (
    ADAM_RATE,
    BETA_1,
    BETA_2,
    EPSILON,
    NOT_INSTALLED,
    SGD_RATE,
    Unavailable,
    Work,
    flat,
)

Layers = list[tuple[np.ndarray, np.ndarray]]
THREADED_ENGINES = ("tiles", "numpy")  # by our own team, and by its BLAS


def thread_options(work: Work, engine: str) -> dict[str, Any]:
    """What `Network.fit` and `Network.predict` are told of threads.

    One means one; of several, the engine chooses how many it wants.
    """
    return {"n_threads": 1 if work.threads == 1 else None}


def make_network(work: Work, engine: str) -> fb.Network:
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


class Engine:
    """`Network.fit` as a user calls it, with one of this package's engines."""

    def __init__(self, work: Work, engine: str):
        self._data, self._start = work.data, flat(work.layers)
        self._network = make_network(work, engine)
        self._batch_size, self._threads = work.batch_size, thread_options(work, engine)
        self._optimizer = {
            "sgd": fb.SGD(learning_rate=SGD_RATE),
            "adam": fb.Adam(learning_rate=ADAM_RATE, betas=(BETA_1, BETA_2), epsilon=EPSILON),
        }[work.optimizer]

    def reset(self) -> None:
        self._network.set_parameters(self._start)
        self._optimizer.reset()

    def run(self) -> None:
        X, labels = self._data
        history = self._network.fit(
            X,
            labels,
            epochs=1,
            batch_size=self._batch_size,
            optimizer=self._optimizer,
            shuffle=False,
            **self._threads,
        )
        finished(history)

    def result(self) -> np.ndarray:
        return self._network.get_parameters()


def torch_network(torch: ModuleType, work: Work) -> tuple[Any, list[Any]]:
    """The network as a Sequential, with the weights of the start, and its linear layers."""
    torch.set_num_threads(work.threads)
    sigma = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "gelu": torch.nn.GELU}[work.activation]
    dtype = getattr(torch, work.dtype)
    linear = [torch.nn.Linear(*W.shape, dtype=dtype) for W, _ in work.layers]
    set_torch_weights(torch, linear, work.layers)
    modules = [module for layer in linear for module in (layer, sigma())]
    return torch.nn.Sequential(*modules[:-1]), linear


def set_torch_weights(torch: ModuleType, linear: list[Any], layers: Layers) -> None:
    with torch.no_grad():
        for layer, (W, b) in zip(linear, layers, strict=True):
            layer.weight.copy_(torch.from_numpy(W.T))
            layer.bias.copy_(torch.from_numpy(b))


class Torch:
    """PyTorch, eager: its layers, loss and optimiser, as its tutorials write the loop."""

    fused = False

    def __init__(self, work: Work):
        torch = require("torch", NOT_INSTALLED)
        self._torch, self._batch_size, self._layers = torch, work.batch_size, work.layers
        self._X, self._labels = map(torch.from_numpy, work.data)
        self._network, self._linear = torch_network(torch, work)
        self._cross_entropy = torch.nn.CrossEntropyLoss()
        parameters = list(self._network.parameters())
        if work.optimizer == "sgd":
            self._optimizer = torch.optim.SGD(parameters, lr=SGD_RATE, fused=self.fused)
        else:
            self._optimizer = torch.optim.Adam(
                parameters, ADAM_RATE, betas=(BETA_1, BETA_2), eps=EPSILON, fused=self.fused
            )

    def _cost(self, X: Any, labels: Any) -> Any:
        return self._cross_entropy(self._network(X), labels)

    def reset(self) -> None:
        set_torch_weights(self._torch, self._linear, self._layers)
        self._optimizer.state.clear()

    def run(self) -> None:
        X, labels, size = self._X, self._labels, self._batch_size
        for start in range(0, len(X), size):
            self._optimizer.zero_grad()
            self._cost(X[start : start + size], labels[start : start + size]).backward()
            self._optimizer.step()

    def result(self) -> np.ndarray:
        return flat((i.weight.detach().numpy().T, i.bias.detach().numpy()) for i in self._linear)


class TorchCompiled(Torch):
    """The same loop: network and cost through `torch.compile`, the optimiser's step fused."""

    fused = True

    def __init__(self, work: Work):
        super().__init__(work)
        compilers = (os.environ.get("CXX", "g++"), "clang++", "cl")
        if not any(map(shutil.which, compilers)):
            raise Unavailable("needs a C++ compiler")
        self._torch.compiler.reset()  # else the code of the shapes before counts against a limit
        self._compiled = self._torch.compile(super()._cost)

    def _cost(self, X: Any, labels: Any) -> Any:
        return self._compiled(X, labels)


class ScikitLearn:
    """scikit-learn's MLPClassifier: `partial_fit` is one epoch from the present weights."""

    def __init__(self, work: Work):
        self._data, self._layers = work.data, work.layers
        self._classifier = sklearn_classifier(work)
        # Its Adam adds epsilon to another quantity, sqrt(v) without the correction of the bias. In
        # the first steps that is a larger share of the gradient: 2e-2 over 18 steps has been seen,
        # in either dtype, and 5e-7 with an epsilon of 1e-12.
        self.tolerance = 5e-2 if work.optimizer == "adam" else 0.0

    def reset(self) -> None:
        set_sklearn_weights(self._classifier, self._layers)
        vars(self._classifier).pop("_optimizer", None)  # it holds Adam's moments

    def run(self) -> None:
        self._classifier.partial_fit(*self._data)

    def result(self) -> np.ndarray:
        return flat(zip(self._classifier.coefs_, self._classifier.intercepts_, strict=True))


def sklearn_classifier(work: Work) -> Any:
    """An MLPClassifier that knows its classes and has the weights of the start."""
    if work.activation == "gelu":
        raise Unavailable("has no gelu")
    if work.sizes[-1] == 2:
        raise Unavailable("has one output, not two, for two classes")
    classifier = require("sklearn.neural_network", NOT_INSTALLED).MLPClassifier(
        work.sizes[1:-1],
        activation=work.activation,
        solver=work.optimizer,
        alpha=0,
        momentum=0,
        nesterovs_momentum=False,
        learning_rate_init=SGD_RATE if work.optimizer == "sgd" else ADAM_RATE,
        beta_1=BETA_1,
        beta_2=BETA_2,
        epsilon=EPSILON,
        batch_size=work.batch_size,
        shuffle=False,
    )
    first = [values[: work.batch_size] for values in work.data]
    classifier.partial_fit(*first, classes=np.arange(work.sizes[-1]))
    set_sklearn_weights(classifier, work.layers)
    return classifier


def set_sklearn_weights(classifier: Any, layers: Layers) -> None:
    present = zip(classifier.coefs_, classifier.intercepts_, strict=True)
    for arrays, starts in zip(present, layers, strict=True):
        for values, start in zip(arrays, starts, strict=True):
            values[...] = start


def jax_for(work: Work) -> ModuleType:
    jax = require("jax", NOT_INSTALLED)
    jax.config.update("jax_enable_x64", work.dtype == "float64")
    return jax


def jax_network(jax: ModuleType, work: Work) -> Callable[[Any, Any], Any]:
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


class Jax:
    """JAX: the whole epoch one compiled call, `lax.scan` over the minibatches."""

    def __init__(self, work: Work):
        jax = jax_for(work)
        self._jax, self._epoch = jax, jax.jit(self._make_epoch(jax, work))
        X, labels = work.data
        one_hot = np.eye(work.sizes[-1], dtype=work.dtype)[labels]
        batches = [values.reshape(work.steps, work.batch_size, -1) for values in (X, one_hot)]
        t = np.arange(1, work.steps + 1)  # the two numbers of an Adam step that depend on it
        rates = ADAM_RATE / (1 - BETA_1**t), np.sqrt(1 - BETA_2**t)
        batches += [rate.astype(work.dtype) for rate in rates]
        moments = [[(np.zeros_like(W), np.zeros_like(b)) for W, b in work.layers]] * 2
        start = (work.layers, *moments) if work.optimizer == "adam" else (work.layers,)
        self._start, self._batches = jax.device_put((start, batches))
        self._end = self._start

    @staticmethod
    def _make_epoch(jax: ModuleType, work: Work) -> Callable[[Any, Any], Any]:
        network, each = jax_network(jax, work), jax.tree.map

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

        step = sgd_step if work.optimizer == "sgd" else adam_step
        return lambda state, batches: jax.lax.scan(step, state, batches)[0]

    def reset(self) -> None:
        self._end = self._start

    def run(self) -> None:
        self._end = self._jax.block_until_ready(self._epoch(self._start, self._batches))

    def result(self) -> np.ndarray:
        return flat(self._end[0])
