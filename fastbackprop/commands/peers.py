"""The same training in every system: this package's engines, PyTorch, scikit-learn and JAX.

Each is made for a `Work`; see `System` for what it must be able to do.
"""

from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from types import ModuleType
from typing import Protocol

import numpy as np

import fastbackprop as fb
from fastbackprop.commands import finished, require
from fastbackprop.engines import ENGINES

LEARNING_RATE = 0.01


class Unavailable(Exception):
    """A system that cannot do this work, and why, in a few words."""


NOT_INSTALLED = Unavailable("not installed")


@dataclass(frozen=True)
class Work:
    """`steps` minibatches of SGD on random data: relu hidden layers, softmax, cross-entropy."""

    sizes: tuple[int, ...]
    batch_size: int
    dtype: str
    steps: int
    threads: int = 1

    @property
    def name(self) -> str:
        return f"{'-'.join(map(str, self.sizes))}, batch {self.batch_size}"

    @property
    def flops(self) -> int:
        """Operations of one step: (0) and (3) in every layer, (2) in all but the first."""
        products = [2 * m * n for m, n in pairwise(self.sizes)]
        return self.batch_size * (2 * sum(products) + sum(products[1:]))

    @cached_property
    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """X, shape (n_samples, n_0), and integer labels, shape (n_samples,)."""
        rng, n_samples = np.random.default_rng(0), self.steps * self.batch_size
        X = rng.standard_normal((n_samples, self.sizes[0])).astype(self.dtype)
        return X, rng.integers(0, self.sizes[-1], n_samples)

    @cached_property
    def layers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The weights and the biases to start from, layer by layer."""
        rng = np.random.default_rng(1)
        weights = [rng.standard_normal((m, n)) * np.sqrt(2 / m) for m, n in pairwise(self.sizes)]
        return [(W.astype(self.dtype), np.zeros(W.shape[1], self.dtype)) for W in weights]


class System(Protocol):
    """What `compare` times."""

    def __init__(self, work: Work): ...

    def reset(self) -> None:
        """Go back to the weights of the start; not timed."""

    def run(self) -> None:
        """Do all steps once: what is timed."""

    def parameters(self) -> np.ndarray:
        """Where the run ended, in the order of `Network.get_parameters`."""


def flat(layers) -> np.ndarray:
    """One vector W^1, b^1, W^2, ... of weights and biases, layer by layer."""
    return np.concatenate([np.ravel(values) for layer in layers for values in layer])


class Engine:
    """`Network.fit` as a user calls it, with one of this package's engines."""

    def __init__(self, work: Work, engine: str):
        self._data, self._start = work.data, flat(work.layers)
        self._network = fb.Network(
            work.sizes, output="softmax", cost="cross_entropy", dtype=work.dtype, engine=engine
        )
        self._batch_size, self._optimizer = work.batch_size, fb.SGD(learning_rate=LEARNING_RATE)

    def reset(self) -> None:
        self._network.set_parameters(self._start)

    def run(self) -> None:
        X, labels = self._data
        history = self._network.fit(
            X,
            labels,
            epochs=1,
            batch_size=self._batch_size,
            optimizer=self._optimizer,
            shuffle=False,
        )
        finished(history)

    def parameters(self) -> np.ndarray:
        return self._network.get_parameters()


class Torch:
    """PyTorch, eager: its layers, loss and optimiser, as its tutorials write the loop."""

    def __init__(self, work: Work):
        torch = require("torch", NOT_INSTALLED)
        torch.set_num_threads(work.threads)
        self._torch, self._batch_size, self._layers = torch, work.batch_size, work.layers
        self._X, self._labels = map(torch.from_numpy, work.data)
        dtype = getattr(torch, work.dtype)
        self._linear = [torch.nn.Linear(*W.shape, dtype=dtype) for W, _ in work.layers]
        modules = [module for linear in self._linear for module in (linear, torch.nn.ReLU())]
        self._network = torch.nn.Sequential(*modules[:-1])
        self._cost = torch.nn.CrossEntropyLoss()
        self._optimizer = torch.optim.SGD(self._network.parameters(), lr=LEARNING_RATE)

    def reset(self) -> None:
        with self._torch.no_grad():
            for linear, (W, b) in zip(self._linear, self._layers, strict=True):
                linear.weight.copy_(self._torch.from_numpy(W.T))
                linear.bias.copy_(self._torch.from_numpy(b))

    def run(self) -> None:
        X, labels, size = self._X, self._labels, self._batch_size
        for start in range(0, len(X), size):
            self._optimizer.zero_grad()
            outputs = self._network(X[start : start + size])
            self._cost(outputs, labels[start : start + size]).backward()
            self._optimizer.step()

    def parameters(self) -> np.ndarray:
        return flat((i.weight.detach().numpy().T, i.bias.detach().numpy()) for i in self._linear)


class ScikitLearn:
    """scikit-learn's MLPClassifier: `partial_fit` is one epoch from the present weights."""

    def __init__(self, work: Work):
        if work.sizes[-1] == 2:
            raise Unavailable("has one output, not two, for two classes")
        neural_network = require("sklearn.neural_network", NOT_INSTALLED)
        self._data, self._layers = work.data, work.layers
        self._classifier = neural_network.MLPClassifier(
            work.sizes[1:-1],
            solver="sgd",
            alpha=0,
            momentum=0,
            nesterovs_momentum=False,
            learning_rate_init=LEARNING_RATE,
            batch_size=work.batch_size,
            shuffle=False,
        )
        first = [values[: work.batch_size] for values in work.data]
        self._classifier.partial_fit(*first, classes=np.arange(work.sizes[-1]))

    def _present(self):
        return zip(self._classifier.coefs_, self._classifier.intercepts_, strict=True)

    def reset(self) -> None:
        for present, start in zip(self._present(), self._layers, strict=True):
            for values, initial in zip(present, start, strict=True):
                values[...] = initial

    def run(self) -> None:
        self._classifier.partial_fit(*self._data)

    def parameters(self) -> np.ndarray:
        return flat(self._present())


class Jax:
    """JAX: the whole epoch one compiled call, `lax.scan` over the minibatches."""

    def __init__(self, work: Work):
        jax = require("jax", NOT_INSTALLED)
        jax.config.update("jax_enable_x64", work.dtype == "float64")
        self._jax, self._epoch = jax, jax.jit(self._make_epoch(jax))
        X, labels = work.data
        one_hot = np.eye(work.sizes[-1], dtype=work.dtype)[labels]
        batches = [values.reshape(work.steps, work.batch_size, -1) for values in (X, one_hot)]
        self._start, self._batches = jax.device_put((work.layers, batches))
        self._end = self._start

    @staticmethod
    def _make_epoch(jax: ModuleType):
        def cost(layers, batch):
            a, targets = batch
            for W, b in layers[:-1]:
                a = jax.nn.relu(a @ W + b)
            W, b = layers[-1]
            return -(jax.nn.log_softmax(a @ W + b) * targets).sum(axis=1).mean()

        def step(layers, batch):
            gradient = jax.grad(cost)(layers, batch)
            update = jax.tree.map(lambda p, g: p - LEARNING_RATE * g, layers, gradient)
            return update, None

        return lambda layers, batches: jax.lax.scan(step, layers, batches)[0]

    def reset(self) -> None:
        self._end = self._start

    def run(self) -> None:
        self._end = self._jax.block_until_ready(self._epoch(self._start, self._batches))

    def parameters(self) -> np.ndarray:
        return flat(self._end)


@dataclass(frozen=True)
class Peer:
    """A package that `compare` measures when it is installed, under the name people know it by."""

    label: str
    package: str
    system: type[System]


PEERS = (
    Peer("PyTorch (eager)", "torch", Torch),
    Peer("scikit-learn (MLPClassifier)", "scikit-learn", ScikitLearn),
    Peer("JAX (jit, scan over the epoch)", "jax", Jax),
)


def systems():
    """What `compare` puts side by side: label -> a function that makes the system for a `Work`."""
    engines = {f"fastbackprop {name}": partial(Engine, engine=name) for name in ENGINES}
    return engines | {peer.label: peer.system for peer in PEERS}
