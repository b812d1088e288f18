"""Costs C and their gradients.

A cost is of one sample, a sum over the outputs k; a batch's cost is the (weighted) mean over the
samples. One block each: C, grad C = dC/da^L and the second derivative. Where an output activation
and a cost belong together (softmax or sigmoid with cross-entropy) the pair is one cost that reads
z^L and gives dC/dz^L at once: no overflow, no 0 * inf at saturation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbackprop.activations import Activation
from fastbackprop.engines._compile import EXACT, formula, kernel
from fastbackprop.engines._math import exp, log, log1p, plus, scalar


@formula
def squared_error(z, a, y):
    T = scalar(a)
    return T(0.5) * (a - y) * (a - y)


@formula
def difference(z, a, y):
    """dC/da of squared_error, and dC/dz of sigmoid with cross-entropy."""
    return a - y


@formula
def one(z, a, y):
    """d2C/da2 of squared_error."""
    return scalar(a)(1)


@formula
def sigmoid_cross_entropy(z, a, y):
    T = scalar(z)  # -y log a - (1 - y) log(1 - a), with a = 1 / (1 + e^-z) put in
    return np.maximum(z, T(0)) - z * y + log1p(exp(-abs(z)))


@formula
def sigmoid_cross_entropy_second(z, a, y):
    T = scalar(z)
    return a * (T(1) - a)


# softmax with cross-entropy: -log a_k = (m - z_k) + log sum_i e^(z_i - m), m = max_i z_i;
# dC/dz_j = a_j sum_k y_k - y_j; (H v)_j = a_j (v_j - sum_k a_k v_k) sum_k y_k


def softmax_cross_entropy(Z: np.ndarray, A: np.ndarray, Y: np.ndarray) -> np.ndarray:
    m = Z.max(axis=1, keepdims=True)
    return Y * ((m - Z) + np.log(np.exp(Z - m).sum(axis=1, keepdims=True)))


def softmax_cross_entropy_delta(Z: np.ndarray, A: np.ndarray, Y: np.ndarray) -> np.ndarray:
    return A * Y.sum(axis=1, keepdims=True) - Y


def softmax_cross_entropy_second(
    V: np.ndarray, Z: np.ndarray, A: np.ndarray, Y: np.ndarray
) -> np.ndarray:
    return A * (V - (A * V).sum(axis=1, keepdims=True)) * Y.sum(axis=1, keepdims=True)


@kernel(fastmath=EXACT)
def softmax_cross_entropy_row(z, a, y, p):
    m = z[0]
    for k in range(z.shape[0]):
        m = max(m, z[k])
    total = z.dtype.type(0)
    for k in range(z.shape[0]):
        total = plus(total, exp(z[k] - m))
    log_total = log(total)
    C = z.dtype.type(0)
    for k in range(z.shape[0]):
        C = plus(C, y[k] * ((m - z[k]) + log_total))
    return C


@kernel
def softmax_cross_entropy_delta_row(z, a, y, delta, p):
    total = y.dtype.type(0)
    for k in range(y.shape[0]):
        total += y[k]
    for j in range(y.shape[0]):
        delta[j] = a[j] * total - y[j]


# --- what a user may name ------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """A cost, alone or with the output activation it belongs to.

    Attributes
    ----------
    name : str
    terms : callable
        (z, a, y) -> what the sum over k adds up: of scalars in kernels, of arrays in the loop-free
        engine.
    gradient : callable
        (z, a, y) -> dC/da_k, or dC/dz_k where the cost is `fused`, likewise.
    formula : str
    output : str, optional
        The output activation of a fused pair; None goes with every output.
    targets : {"real", "unit", "distribution"}
        What y may hold: any number; numbers in [0, 1]; rows of such that sum to one, or labels.
    p : tuple of float
        Parameters; terms and gradient take them as a last argument if they like.
    rows : pair of kernels, optional
        Where a term depends on the whole row: (z, a, y, p) -> C and (z, a, y, delta, p), which
        fills delta. `terms` and `gradient` are then of arrays (n_samples, n_L) alone.
    second : callable, optional
        (z, a, y) -> d2C/da_k^2, or d2C/dz_k^2 where the cost is `fused`, as `terms`. With `rows`:
        (V, Z, A, Y) -> H V, where H is the matrix of second derivatives of a sample's C, and V of
        shape (n_samples, n_L).
    """

    name: str
    terms: Callable[..., Any]
    gradient: Callable[..., Any]
    formula: str = ""
    output: str | None = None
    targets: str = "real"
    p: tuple[float, ...] = ()
    rows: tuple[Any, Any] | None = None
    second: Callable[..., Any] | None = None

    @property
    def fused(self) -> bool:
        return self.output is not None


_ALL = (
    Cost("squared_error", squared_error, difference, "1/2 sum_k (a_k - y_k)^2", second=one),
    Cost(
        "cross_entropy",
        sigmoid_cross_entropy,
        difference,
        "-sum_k [y_k log a_k + (1 - y_k) log(1 - a_k)]",
        output="sigmoid",
        targets="unit",
        second=sigmoid_cross_entropy_second,
    ),
    Cost(
        "cross_entropy",
        softmax_cross_entropy,
        softmax_cross_entropy_delta,
        "-sum_k y_k log a_k",
        output="softmax",
        targets="distribution",
        rows=(softmax_cross_entropy_row, softmax_cross_entropy_delta_row),
        second=softmax_cross_entropy_second,
    ),
)
COSTS = {cost.name: tuple(c for c in _ALL if c.name == cost.name) for cost in _ALL}


def pair(name: str, output: Activation) -> Cost:
    """The cost of this name that goes with this output. Raises ValueError, with the reason."""
    for cost in COSTS[name]:
        if cost.output in (None, output.name):
            return cost
    partners = " or ".join(repr(cost.output) for cost in COSTS[name])
    raise ValueError(
        f"cost={name!r} needs output={partners}, whose values are probabilities; "
        f"got output={output.name!r}. For other outputs use cost='squared_error'"
    )
