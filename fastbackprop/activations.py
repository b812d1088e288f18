"""Activations sigma and their derivatives sigma', and their compiled dispatch.

One block each: sigma(z) and sigma'(z, a), where a = sigma(z) is at hand and often the shorter way
to write it. To add one: a block, its line in `ACTIVATIONS`, its branch in each of the two chains at
the end. Values and conventions (the derivative of relu at 0 is 0) are PyTorch's.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbackprop.engines._compile import EXACT, formula, kernel
from fastbackprop.engines._math import erf, exp, expm1, log1p, plus, scalar, sigmoid, tanh, where

(IDENTITY, SIGMOID, TANH, RELU, LEAKY_RELU, ELU, SOFTPLUS, GELU, SILU, SOFTMAX) = range(10)


@formula
def identity(z):
    return z


@formula
def identity_derivative(z, a):
    return scalar(z)(1)


@formula
def sigmoid_derivative(z, a):
    T = scalar(z)
    return a * (T(1) - a)


@formula
def tanh_derivative(z, a):
    T = scalar(z)
    return T(1) - a * a


@formula
def relu(z):
    T = scalar(z)
    return np.maximum(z, T(0))


@formula
def relu_derivative(z, a):
    T = scalar(z)
    return where(z > T(0), T(1), T(0))


@formula
def leaky_relu(z):
    T = scalar(z)
    return where(z > T(0), z, T(0.01) * z)


@formula
def leaky_relu_derivative(z, a):
    T = scalar(z)
    return where(z > T(0), T(1), T(0.01))


@formula
def elu(z):
    T = scalar(z)
    return where(z > T(0), z, expm1(np.minimum(z, T(0))))


@formula
def elu_derivative(z, a):
    T = scalar(z)
    return where(z > T(0), T(1), exp(np.minimum(z, T(0))))  # a + 1 would lose the small ones


@formula
def softplus(z):
    T = scalar(z)
    return np.maximum(z, T(0)) + log1p(exp(-abs(z)))


@formula
def softplus_derivative(z, a):
    return sigmoid(z)


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
def silu(z):
    return z * sigmoid(z)


@formula
def silu_derivative(z, a):
    T = scalar(z)
    s = sigmoid(z)
    return s * (T(1) + z * (T(1) - s))


# softmax couples a row: a_k = e^(z_k - m) / sum_i e^(z_i - m), m = max_i z_i;
# da_k/dz_j = a_k (1[k=j] - a_j)


def softmax(Z: np.ndarray) -> np.ndarray:
    E = np.exp(Z - Z.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)


def softmax_pull_back(G: np.ndarray, Z: np.ndarray, A: np.ndarray) -> np.ndarray:
    return A * (G - (G * A).sum(axis=1, keepdims=True))


@kernel(fastmath=EXACT)
def softmax_row(z, a):
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
def softmax_pull_back_row(a, delta):
    inner = a.dtype.type(0)
    for k in range(a.shape[0]):
        inner += delta[k] * a[k]
    for j in range(a.shape[0]):
        delta[j] = a[j] * (delta[j] - inner)


# --- what a user may name ------------------------------------------------------------------------


@dataclass(frozen=True)
class Activation:
    """An activation: its name, its code in kernels, sigma and sigma' on arrays, its formula.

    `initializer` is what `init="auto"` picks for the weights that lead into such a layer.
    `coupled`: a^l_j depends on the whole row z^l, and `derivative` is the product with the
    Jacobian, (dC/dA, Z, A) -> dC/dZ.
    """

    name: str
    code: int
    sigma: Callable[..., Any]
    derivative: Callable[..., Any]
    formula: str
    initializer: str = "he_normal"
    coupled: bool = False

    def pull_back(self, G: np.ndarray, Z: np.ndarray, A: np.ndarray) -> np.ndarray:
        """dC/dZ from G = dC/dA: G (.) sigma'(Z), or through the Jacobian; (n_samples, n_l) each."""
        return self.derivative(G, Z, A) if self.coupled else G * self.derivative(Z, A)


ACTIVATIONS = {
    activation.name: activation
    for activation in (
        Activation("identity", IDENTITY, identity, identity_derivative, "z", "glorot_uniform"),
        Activation(
            "sigmoid", SIGMOID, sigmoid, sigmoid_derivative, "1 / (1 + e^-z)", "glorot_uniform"
        ),
        Activation("tanh", TANH, tanh, tanh_derivative, "tanh z", "glorot_uniform"),
        Activation("relu", RELU, relu, relu_derivative, "max(z, 0)"),
        Activation("leaky_relu", LEAKY_RELU, leaky_relu, leaky_relu_derivative, "max(z, 0.01 z)"),
        Activation("elu", ELU, elu, elu_derivative, "z for z > 0, else e^z - 1"),
        Activation("softplus", SOFTPLUS, softplus, softplus_derivative, "log(1 + e^z)"),
        Activation("gelu", GELU, gelu, gelu_derivative, "z (1 + erf(z / sqrt 2)) / 2"),
        Activation("silu", SILU, silu, silu_derivative, "z / (1 + e^-z)"),
        Activation(
            "softmax",
            SOFTMAX,
            softmax,
            softmax_pull_back,
            "e^z_k / sum_i e^z_i",
            "glorot_uniform",
            coupled=True,
        ),
    )
}
BY_CODE = {activation.code: activation for activation in ACTIVATIONS.values()}


# --- compiled dispatch ---------------------------------------------------------------------------
# One `if` chain, outside the loop, so one compilation serves every network. The chains are written
# out: composed from the registry they took 4.9 s to compile where these take 1.2 s, and the loops
# inside were no longer vectorised (Numba 0.68).


@kernel(fastmath=EXACT)
def activate(code, z, a):
    """a_k = sigma(z_k); z, a (n_l,)."""
    n = z.shape[0]
    if code == IDENTITY:
        for k in range(n):
            a[k] = identity(z[k])
    elif code == SIGMOID:
        for k in range(n):
            a[k] = sigmoid(z[k])
    elif code == TANH:
        for k in range(n):
            a[k] = tanh(z[k])
    elif code == RELU:
        for k in range(n):
            a[k] = relu(z[k])
    elif code == LEAKY_RELU:
        for k in range(n):
            a[k] = leaky_relu(z[k])
    elif code == ELU:
        for k in range(n):
            a[k] = elu(z[k])
    elif code == SOFTPLUS:
        for k in range(n):
            a[k] = softplus(z[k])
    elif code == GELU:
        for k in range(n):
            a[k] = gelu(z[k])
    elif code == SILU:
        for k in range(n):
            a[k] = silu(z[k])
    elif code == SOFTMAX:
        softmax_row(z, a)


@kernel(fastmath=EXACT)
def multiply_by_derivative(code, z, a, delta):
    """delta_j *= sigma'(z_j), or the product with softmax's Jacobian; z, a, delta (n_l,)."""
    n = z.shape[0]
    if code == IDENTITY:
        pass
    elif code == SIGMOID:
        for j in range(n):
            delta[j] *= sigmoid_derivative(z[j], a[j])
    elif code == TANH:
        for j in range(n):
            delta[j] *= tanh_derivative(z[j], a[j])
    elif code == RELU:
        for j in range(n):
            delta[j] *= relu_derivative(z[j], a[j])
    elif code == LEAKY_RELU:
        for j in range(n):
            delta[j] *= leaky_relu_derivative(z[j], a[j])
    elif code == ELU:
        for j in range(n):
            delta[j] *= elu_derivative(z[j], a[j])
    elif code == SOFTPLUS:
        for j in range(n):
            delta[j] *= softplus_derivative(z[j], a[j])
    elif code == GELU:
        for j in range(n):
            delta[j] *= gelu_derivative(z[j], a[j])
    elif code == SILU:
        for j in range(n):
            delta[j] *= silu_derivative(z[j], a[j])
    elif code == SOFTMAX:
        softmax_pull_back_row(a, delta)
