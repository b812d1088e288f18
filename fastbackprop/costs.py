"""Costs C and their gradients, and their compiled dispatch.

A cost is of one sample, a sum over the outputs k; a batch's cost is the (weighted) mean over the
samples. One block each: C and grad C = dC/da^L. Where an output activation and a cost belong
together (softmax or sigmoid with cross-entropy) the pair is one cost that reads z^L and gives
dC/dz^L at once: no overflow, no 0 * inf at saturation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbackprop.activations import Activation
from fastbackprop.engines._compile import EXACT, formula, kernel
from fastbackprop.engines._math import exp, log, log1p, plus, scalar

SQUARED_ERROR = 0
FUSED = 64  # codes from here on give dC/dz^L, the others dC/da^L
SIGMOID_CROSS_ENTROPY = FUSED
SOFTMAX_CROSS_ENTROPY = FUSED + 1


@formula
def squared_error(z, a, y):
    T = scalar(a)
    return T(0.5) * (a - y) * (a - y)


@formula
def difference(z, a, y):
    """dC/da of squared_error, and dC/dz of sigmoid with cross-entropy."""
    return a - y


@formula
def sigmoid_cross_entropy(z, a, y):
    T = scalar(z)  # -y log a - (1 - y) log(1 - a), with a = 1 / (1 + e^-z) put in
    return np.maximum(z, T(0)) - z * y + log1p(exp(-abs(z)))


# softmax with cross-entropy: -log a_k = (m - z_k) + log sum_i e^(z_i - m), m = max_i z_i;
# dC/dz_j = a_j sum_k y_k - y_j


def softmax_cross_entropy(Z: np.ndarray, A: np.ndarray, Y: np.ndarray) -> np.ndarray:
    m = Z.max(axis=1, keepdims=True)
    return Y * ((m - Z) + np.log(np.exp(Z - m).sum(axis=1, keepdims=True)))


def softmax_cross_entropy_delta(Z: np.ndarray, A: np.ndarray, Y: np.ndarray) -> np.ndarray:
    return A * Y.sum(axis=1, keepdims=True) - Y


@kernel(fastmath=EXACT)
def softmax_cross_entropy_row(z, y):
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
def softmax_cross_entropy_delta_row(a, y, delta):
    total = y.dtype.type(0)
    for k in range(y.shape[0]):
        total += y[k]
    for j in range(y.shape[0]):
        delta[j] = a[j] * total - y[j]


# --- what a user may name ------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """A cost, alone or with the output activation it belongs to.

    terms : (Z, A, Y) -> (n_samples, n_L), whose sum over k is the samples' costs.
    gradient : (Z, A, Y) -> (n_samples, n_L), dC/da^L, or dC/dz^L where `fused`.
    output : name of the output activation of a fused pair; None goes with every output.
    targets : "real", "unit" (each in [0, 1]) or "distribution" (also, each row sums to one; or
        integer labels).
    """

    name: str
    code: int
    terms: Callable[..., Any]
    gradient: Callable[..., Any]
    formula: str
    output: str | None = None
    targets: str = "real"

    @property
    def fused(self) -> bool:
        return self.code >= FUSED


_ALL = (
    Cost("squared_error", SQUARED_ERROR, squared_error, difference, "1/2 sum_k (a_k - y_k)^2"),
    Cost(
        "cross_entropy",
        SIGMOID_CROSS_ENTROPY,
        sigmoid_cross_entropy,
        difference,
        "-sum_k [y_k log a_k + (1 - y_k) log(1 - a_k)]",
        output="sigmoid",
        targets="unit",
    ),
    Cost(
        "cross_entropy",
        SOFTMAX_CROSS_ENTROPY,
        softmax_cross_entropy,
        softmax_cross_entropy_delta,
        "-sum_k y_k log a_k",
        output="softmax",
        targets="distribution",
    ),
)
COSTS = {cost.name: tuple(c for c in _ALL if c.name == cost.name) for cost in _ALL}
BY_CODE = {cost.code: cost for cost in _ALL}


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


# --- compiled dispatch ---------------------------------------------------------------------------


# No `reassoc`: gathering the large terms that cancel (m, z_k) would lose a small cost altogether.


@kernel(fastmath=EXACT)
def cost_of_sample(code, z, a, y):
    """C of one sample; z, a, y (n_L,)."""
    C = a.dtype.type(0)
    if code == SQUARED_ERROR:
        for k in range(a.shape[0]):
            C = plus(C, squared_error(z[k], a[k], y[k]))
    elif code == SIGMOID_CROSS_ENTROPY:
        for k in range(a.shape[0]):
            C = plus(C, sigmoid_cross_entropy(z[k], a[k], y[k]))
    elif code == SOFTMAX_CROSS_ENTROPY:
        C = softmax_cross_entropy_row(z, y)
    return C


@kernel
def cost_gradient(code, z, a, y, delta):
    """delta_j = dC/da_j, or dC/dz_j where the cost is fused; z, a, y, delta (n_L,)."""
    if code == SQUARED_ERROR or code == SIGMOID_CROSS_ENTROPY:
        for j in range(a.shape[0]):
            delta[j] = difference(z[j], a[j], y[j])
    elif code == SOFTMAX_CROSS_ENTROPY:
        softmax_cross_entropy_delta_row(a, y, delta)


# Of several samples at once, where a cost looks at one output at a time.


@kernel(fastmath=EXACT)
def cost_terms(code, z, a, y, terms):
    """What the sum over k in C adds up; all (n,)."""
    if code == SQUARED_ERROR:
        for k in range(z.shape[0]):
            terms[k] = squared_error(z[k], a[k], y[k])
    elif code == SIGMOID_CROSS_ENTROPY:
        for k in range(z.shape[0]):
            terms[k] = sigmoid_cross_entropy(z[k], a[k], y[k])
