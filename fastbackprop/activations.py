"""Activations sigma and their derivatives sigma'.

One block each: sigma(z), sigma'(z, a) and sigma''(z, a), where a = sigma(z) is at hand and often
the shorter way to write them. One with parameters takes them as a last argument, a tuple p. To add
one: a block and its line in `ACTIVATIONS`. Values and conventions (the derivative of relu at 0 is
0) are PyTorch's.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbackprop.engines._compile import EXACT, formula, kernel
from fastbackprop.engines._math import erf, exp, expm1, log1p, plus, scalar, sigmoid, tanh, where


@formula
def identity(z):
    return z


@formula
def identity_derivative(z, a):
    return scalar(z)(1)


@formula
def zero(z, a):
    """sigma'' of what is made of straight lines."""
    return scalar(z)(0)


@formula
def sigmoid_derivative(z, a):
    T = scalar(z)
    return a * (T(1) - a)


@formula
def sigmoid_second(z, a):
    T = scalar(z)
    return a * (T(1) - a) * (T(1) - T(2) * a)


@formula
def tanh_derivative(z, a):
    T = scalar(z)
    return T(1) - a * a


@formula
def tanh_second(z, a):
    T = scalar(z)
    return T(-2) * a * (T(1) - a * a)


@formula
def relu(z):
    T = scalar(z)
    return np.maximum(z, T(0))


@formula
def relu_derivative(z, a):
    T = scalar(z)
    return where(z > T(0), T(1), T(0))


@formula
def leaky_relu(z, p):
    T = scalar(z)
    return where(z > T(0), z, p[0] * z)


@formula
def leaky_relu_derivative(z, a, p):
    T = scalar(z)
    return where(z > T(0), T(1), p[0])


@formula
def elu(z, p):
    T = scalar(z)
    return where(z > T(0), z, p[0] * expm1(np.minimum(z, T(0))))


@formula
def elu_derivative(z, a, p):
    T = scalar(z)
    return where(z > T(0), T(1), p[0] * exp(np.minimum(z, T(0))))  # a + p would lose the small ones


@formula
def elu_second(z, a, p):
    T = scalar(z)
    return where(z > T(0), T(0), p[0] * exp(np.minimum(z, T(0))))


@formula
def softplus(z):
    T = scalar(z)
    return np.maximum(z, T(0)) + log1p(exp(-abs(z)))


@formula
def softplus_derivative(z, a):
    return sigmoid(z)


@formula
def softplus_second(z, a):
    return sigmoid(z) * sigmoid(-z)


@formula
def gelu(z):
    T = scalar(z)
    return T(0.5) * z * (T(1) + erf(z * T(math.sqrt(0.5))))


@formula
def gelu_derivative(z, a):
    T = scalar(z)
    density = T(1 / math.sqrt(2 * math.pi)) * exp(T(-0.5) * z * z)
    return T(0.5) * (T(1) + erf(z * T(math.sqrt(0.5)))) + z * density


@formula
def gelu_second(z, a):
    T = scalar(z)
    density = T(1 / math.sqrt(2 * math.pi)) * exp(T(-0.5) * z * z)
    return T(2) * density - z * (z * density)


@formula
def silu(z):
    return z * sigmoid(z)


@formula
def silu_derivative(z, a):
    T = scalar(z)
    s = sigmoid(z)
    return s * (T(1) + z * (T(1) - s))


@formula
def silu_second(z, a):
    T = scalar(z)
    s, rest = sigmoid(z), sigmoid(-z)
    return s * rest * (T(2) + z * (rest - s))


# softmax couples a row: a_k = e^(z_k - m) / sum_i e^(z_i - m), m = max_i z_i;
# da_k/dz_j = a_k (1[k=j] - a_j)


def softmax(Z: np.ndarray) -> np.ndarray:
    E = np.exp(Z - Z.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)


def softmax_pull_back(G: np.ndarray, Z: np.ndarray, A: np.ndarray) -> np.ndarray:
    return A * (G - (G * A).sum(axis=1, keepdims=True))


@kernel(fastmath=EXACT)
def softmax_row(z, a, p):
    m = z[0]
    for k in range(z.shape[0]):
        m = max(m, z[k])
    total = a.dtype.type(0)
    for k in range(z.shape[0]):
        a[k] = exp(z[k] - m)
        total = plus(total, a[k])
    for k in range(z.shape[0]):
        a[k] /= total


@kernel
def softmax_pull_back_row(z, a, delta, p):
    inner = a.dtype.type(0)
    for k in range(a.shape[0]):
        inner += delta[k] * a[k]
    for j in range(a.shape[0]):
        delta[j] = a[j] * (delta[j] - inner)


# --- what a user may name ------------------------------------------------------------------------


@dataclass(frozen=True)
class Activation:
    """An activation sigma: what it is called, sigma and sigma', and its formula in words.

    Attributes
    ----------
    name : str
    sigma : callable
        z -> a: of scalars in kernels, of arrays in the loop-free engine.
    derivative : callable
        (z, a) -> sigma'(z), likewise.
    formula : str
    initializer : str
        What `init="auto"` picks for the weights that lead into such a layer.
    p : tuple of float
        Parameters, at most two; sigma and derivative take them as a last argument if they like.
    rows : pair of kernels, optional
        Where a^l_j depends on the whole row z^l: (z, a, p) and (z, a, delta, p), which turns dC/da
        in delta into dC/dz. `sigma` and `derivative` are then of arrays (n_samples, n_l), and
        `derivative` is (dC/dA, Z, A) -> dC/dZ.
    second : callable, optional
        (z, a) -> sigma''(z), as `derivative`; 0 where sigma is a straight line, and at its kinks.
    """

    name: str
    sigma: Callable[..., Any]
    derivative: Callable[..., Any]
    formula: str = ""
    initializer: str = "he_normal"
    p: tuple[float, ...] = ()
    rows: tuple[Any, Any] | None = None
    second: Callable[..., Any] | None = None

    @property
    def coupled(self) -> bool:
        return self.rows is not None

    def pull_back(self, G: np.ndarray, Z: np.ndarray, A: np.ndarray) -> np.ndarray:
        """dC/dZ from G = dC/dA: G (.) sigma'(Z), or through the Jacobian; (n_samples, n_l) each."""
        return self.derivative(G, Z, A) if self.coupled else G * self.derivative(Z, A)


_GLOROT = "glorot_uniform"
_ALL = (
    Activation("identity", identity, identity_derivative, "z", _GLOROT, second=zero),
    Activation(
        "sigmoid", sigmoid, sigmoid_derivative, "1 / (1 + e^-z)", _GLOROT, second=sigmoid_second
    ),
    Activation("tanh", tanh, tanh_derivative, "tanh z", _GLOROT, second=tanh_second),
    Activation("relu", relu, relu_derivative, "max(z, 0)", second=zero),
    Activation(
        "leaky_relu", leaky_relu, leaky_relu_derivative, "max(z, p z)", p=(0.01,), second=zero
    ),
    Activation(
        "elu", elu, elu_derivative, "z for z > 0, else p (e^z - 1)", p=(1.0,), second=elu_second
    ),
    Activation("softplus", softplus, softplus_derivative, "log(1 + e^z)", second=softplus_second),
    Activation("gelu", gelu, gelu_derivative, "z (1 + erf(z / sqrt 2)) / 2", second=gelu_second),
    Activation("silu", silu, silu_derivative, "z / (1 + e^-z)", second=silu_second),
    Activation(
        "softmax",
        softmax,
        softmax_pull_back,
        "e^z_k / sum_i e^z_i",
        _GLOROT,
        rows=(softmax_row, softmax_pull_back_row),
    ),
)
ACTIVATIONS = {activation.name: activation for activation in _ALL}
