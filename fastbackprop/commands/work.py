"""What `compare` measures: a `Work`, done by a `System`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

ACTIVATIONS = ("relu", "tanh", "gelu")
OPTIMIZERS = {"sgd": "SGD", "adam": "Adam"}
ANALYSES = (
    "sample_gradients",
    "sample_gradient_norms",
    "input_gradient",
    "jacobian",
    "hessian_vector_product",
    "gauss_newton_vector_product",
)

TRAINING = ("train", "loop", "many")  # in one call, a call for each step, many networks

SGD_RATE = 0.01
ADAM_RATE, BETA_1, BETA_2, EPSILON = 1e-3, 0.9, 0.999, 1e-8


class Unavailable(Exception):
    """A system cannot do this work; the text says why in a few words."""


NOT_INSTALLED = Unavailable("not installed")


@dataclass(frozen=True)
class Work:
    """`steps` minibatches of training, or `steps` calls with one batch, on random data.

    The output is a softmax. Training minimises cross-entropy, without momentum or shuffling. The
    task "residual" has an output as it is: the cost is half the mean squared Laplacian, less `f`.
    """

    sizes: tuple[int, ...]
    batch_size: int
    dtype: str
    steps: int
    threads: int = 1
    activation: str = "relu"
    optimizer: str = "sgd"
    task: str = "train"
    networks: int = 1  # of the task "many": each takes these steps, on the same minibatches

    @property
    def trains(self) -> bool:
        return self.task in TRAINING

    @property
    def all_steps(self) -> int:
        """Those of all networks."""
        return self.steps * self.networks

    @property
    def name(self) -> str:
        sizes, n = "-".join(map(str, self.sizes)), f"{self.batch_size:,}"
        if self.task == "many":
            return f"{self.networks} networks {sizes}, batch {n}"
        if self.trains:
            return f"{sizes}, batch {n}" + ", own loop" * (self.task == "loop")
        return f"{self.task} {sizes}, {n} row" + "s" * (self.batch_size > 1)

    @property
    def functions(self) -> str:
        optimizer = f", {OPTIMIZERS[self.optimizer]}" if self.trains else ""
        return self.activation + optimizer

    @property
    def flops(self) -> int:
        """Operations of one step: (0) and (3) in every layer, (2) in all but the first.

        A prediction is (0) alone. For an analysis, the sums that no method can avoid are counted.
        """
        products = [2 * m * n for m, n in pairwise(self.sizes)]
        first, all_layers = products[0], sum(products)
        later, n_parameters = all_layers - first, sum(m * n + n for m, n in pairwise(self.sizes))
        of_step = 2 * all_layers + later
        return (
            self.batch_size
            * {
                **dict.fromkeys(TRAINING, of_step),
                "residual": (1 + 2 * self.sizes[0]) * of_step,  # two derivatives by each input
                "predict": all_layers,
                "sample_gradients": all_layers + later + n_parameters,
                "sample_gradient_norms": all_layers + later,
                "input_gradient": 2 * all_layers,
                "jacobian": (1 + self.sizes[-1]) * all_layers,
                # (0) twice, and R a W; (2) twice, and delta V; (3) twice, but for R a^0 = 0.
                "hessian_vector_product": 3 * all_layers + 5 * later,
                "gauss_newton_vector_product": 3 * all_layers + 2 * later,
            }[self.task]
        )

    @cached_property
    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """X, shape (n_samples, n_0), and integer labels, shape (n_samples,)."""
        rng = np.random.default_rng(0)
        n_samples = self.batch_size * (self.steps if self.trains else 1)
        X = rng.standard_normal((n_samples, self.sizes[0])).astype(self.dtype)
        return X, rng.integers(0, self.sizes[-1], n_samples)

    @cached_property
    def layers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The initial weights and biases, layer by layer."""
        return self.layers_of(0)

    def layers_of(self, k: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Those of network k."""
        rng = np.random.default_rng(1 + k)
        weights = [rng.standard_normal((m, n)) * np.sqrt(2 / m) for m, n in pairwise(self.sizes)]
        return [(W.astype(self.dtype), np.zeros(W.shape[1], self.dtype)) for W in weights]

    @cached_property
    def starts(self) -> np.ndarray:
        """The initial parameters of all networks, (networks, n_parameters)."""
        return np.array([flat(self.layers_of(k)) for k in range(self.networks)])

    @cached_property
    def f(self) -> np.ndarray:
        """The Laplacian that the outputs are to have, (n_samples, n_L)."""
        return np.repeat(np.sin(self.data[0].sum(axis=1, keepdims=True)), self.sizes[-1], axis=1)

    @cached_property
    def direction(self) -> np.ndarray:
        """A vector as long as the parameters, for products with a matrix."""
        return np.random.default_rng(2).standard_normal(flat(self.layers).size).astype(self.dtype)


@dataclass
class System:
    """A library, ready for one `Work`."""

    run: Callable[[], object]  # all steps once: this is timed
    result: Callable[[], np.ndarray]  # the trained parameters, as one vector, or the outputs
    reset: Callable[[], None] = lambda: None  # back to the initial weights; not timed
    tolerance: float = 0.0  # larger than usual where the formula is known to differ slightly
    share: float = 1.0  # of the work that it does; the result is as much of the beginning


def repeated(
    work: Work, call: Callable[[], Any], convert: Callable[[Any], np.ndarray] = np.array
) -> System:
    """The system that makes `work.steps` equal calls; its result is the converted last output."""
    outputs = None

    def run() -> None:
        nonlocal outputs
        for _ in range(work.steps):
            outputs = call()

    return System(run, lambda: convert(outputs))


def flat(layers: Any) -> np.ndarray:
    """One vector W^1, b^1, W^2, ... of weights and biases, layer by layer."""
    return np.concatenate([np.ravel(values) for layer in layers for values in layer])
