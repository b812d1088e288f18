"""The same without a loop over samples, neurons or directions: NumPy matrix expressions.

Capital letters stack channels and samples: Z^l and A^l are (channels, n_samples, n_l).
"""

from collections.abc import Sequence

import numpy as np

from fastbackprop.analysis.jets import Jets
from fastbackprop.engines.bound import Bound, Gradients
from fastbackprop.engines.loopfree import Arrays, Model, Parts, quiet
from fastbackprop.functions.activations import Activation
from fastbackprop.functions.arrays import on_arrays

# --- the equations -------------------------------------------------------------------------------


def parts_of(M: np.ndarray, D: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The value, the first derivatives and the second, of D directions."""
    return M[0], M[1 : 1 + D], M[1 + D :]


def weighted_input(A: np.ndarray, W: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(0), (0'), (0'')  Z^l = A^{l-1} W^l, with b^l for the value"""
    Z: np.ndarray = A @ W
    Z[0] += b
    return Z


def activation(sigma: Activation, Z: np.ndarray, D: int) -> np.ndarray:
    """(0), (0'), (0'')  a = sigma(z), .a = s' .z, ..a = s'' .z^2 + s' ..z"""
    A, (z, Z_1, Z_2) = np.empty_like(Z), parts_of(Z, D)
    a, A_1, A_2 = parts_of(A, D)
    a[:] = sigma.sigma(z)
    s_1 = sigma.derivative(z, a)
    A_1[:] = s_1 * Z_1
    if len(A_2):
        assert sigma.second is not None
        A_2[:] = sigma.second(z, a) * Z_1 * Z_1 + s_1 * Z_2
    return A


def error(sigma: Activation, G: np.ndarray, Z: np.ndarray, a: np.ndarray, D: int) -> np.ndarray:
    """(1), (1'), (1'')  Delta^l from G^l = dC/dA^l"""
    assert sigma.second is not None
    Delta, (z, Z_1, Z_2), (g, G_1, G_2) = np.empty_like(G), parts_of(Z, D), parts_of(G, D)
    delta, Delta_1, Delta_2 = parts_of(Delta, D)
    s_1, s_2 = sigma.derivative(z, a), sigma.second(z, a)
    delta[:] = g * s_1 + (G_1 * s_2 * Z_1).sum(axis=0)
    Delta_1[:] = G_1 * s_1
    if len(G_2):
        assert sigma.third is not None
        delta += (G_2 * (sigma.third(z, a) * Z_1 * Z_1 + s_2 * Z_2)).sum(axis=0)
        Delta_1 += 2 * G_2 * s_2 * Z_1
        Delta_2[:] = G_2 * s_1
    return Delta


# --- the contract --------------------------------------------------------------------------------


def workspace(model: Model, dtype: np.dtype, n_threads: int = 1, sparse: bool = False) -> None:
    """NumPy allocates as it goes."""


def most_channels(dtype: np.dtype) -> int:
    """Enough for BLAS."""
    return 65


def row_tile(model: Model, dtype: np.dtype, channels: int) -> int:
    """As many rows of numbers as a row tile without directions has."""
    return max(16, 1024 // channels)


def derivatives(sigma: Sequence[Activation], dtype: np.dtype) -> list[Activation]:
    """Functions of arrays. Nothing is compiled."""
    return [on_arrays(f, dtype) for f in sigma]


def forward(parts: Parts, jets: Jets, start: int, stop: int) -> tuple[Arrays, Arrays]:
    """(0), (0') and (0'') through all layers: Z^1 ... Z^L, A^0 ... A^L."""
    D, (n, n_0) = jets.rays.shape[1], (stop - start, parts.n_in)
    A_0 = np.zeros((1 + jets.order * D, n, n_0), jets.X.dtype)
    A_0[0] = jets.X[start:stop]
    rays = jets.rays if len(jets.rays) == 1 else jets.rays[start:stop]
    A_0[1 : 1 + D] = rays.swapaxes(0, 1)
    Z: Arrays = []
    A: Arrays = [A_0]
    for W, b, sigma in zip(parts.W, parts.b, jets.derivatives, strict=True):
        Z.append(weighted_input(A[-1], W, b))
        A.append(activation(sigma, Z[-1], D))
    return Z, A


@quiet
def jet(bound: Bound, jets: Jets, out: np.ndarray, start: int, stop: int) -> None:
    """A^L of some samples, a row tile after the other."""
    parts, tile = Parts(bound), row_tile(bound.model, out.dtype, len(out))
    for first in range(start, stop, tile):
        last = min(first + tile, stop)
        out[:, first:last] = forward(parts, jets, first, last)[1][-1]


@quiet
def jet_backward(
    bound: Bound, jets: Jets, G: np.ndarray, into: Gradients, start: int, stop: int
) -> None:
    """(0) to (4), a row tile after the other."""
    parts, tile = Parts(bound), row_tile(bound.model, G.dtype, len(G))
    for first in range(start, stop, tile):
        last = min(first + tile, stop)
        Z, A = forward(parts, jets, first, last)
        G_l = G[:, first:last]
        dW, db = parts.layout.weights(into.by_theta), parts.layout.biases(into.by_theta)
        for l in range(len(Z) - 1, -1, -1):
            Delta = error(jets.derivatives[l], G_l, Z[l], A[l + 1][0], jets.rays.shape[1])
            n_in, n_l = parts.W[l].shape
            dW[l] += A[l].reshape(-1, n_in).T @ Delta.reshape(-1, n_l)
            db[l] += Delta[0].sum(axis=0)
            G_l = Delta @ parts.W[l].T
        into.by_X[first:last] = G_l[0]
