"""Layer normalisation before an activation: Ba, Kiros and Hinton (2016), without gain and shift.

With means over the n neurons k of a layer, for each sample,

    m = mean z,   v = mean (z - m)^2,   r = 1 / sqrt(v + epsilon),   x_k = (z_k - m) r,
    a_k = sigma(x_k),   dx_k/dz_j = r (1[k=j] - 1/n - x_k x_j / n), symmetric.

That matrix takes a vector g to r (g - mean g - x mean(g x)), here r `projected`. When z moves along
R z, x moves along R x = r projected(R z), and r along R r = -r^2 mean(x R z).

All is taken relative to z_0, which m and v do not see: equal z give x = 0 whatever their size.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from fastbackprop.jit.kernels import EXACT, inlined, kernel
from fastbackprop.jit.words import plus

# --- of arrays (n_samples, n_l) ------------------------------------------------------------------


def _mean(Z: np.ndarray) -> np.ndarray:
    return Z.mean(axis=1, keepdims=True)


def _normalised(Z: np.ndarray, epsilon: Any) -> tuple[np.ndarray, np.ndarray]:
    """X, and r, (n_samples, 1)."""
    D = Z - Z[:, :1]
    D = D - _mean(D)
    r = 1 / np.sqrt(_mean(D * D) + epsilon)
    return D * r, r


def _projected(G: np.ndarray, X: np.ndarray) -> np.ndarray:
    return (G - _mean(G)) - X * _mean(G * X)


def of_arrays(of: Any, epsilon: Any) -> dict[str, Any]:
    """The functions of an `Activation` that couples rows, from those of one that does not."""

    def sigma(Z):
        X, _ = _normalised(Z, epsilon)
        return of.sigma(X)

    def derivative(G, Z, A):
        X, r = _normalised(Z, epsilon)
        return r * _projected(G * of.derivative(X, A), X)

    def push_forward(RZ, Z, A):
        X, r = _normalised(Z, epsilon)
        return of.derivative(X, A) * (r * _projected(RZ, X))

    def second(U, RZ, RA, Z, A):
        X, r = _normalised(Z, epsilon)
        RX, G = r * _projected(RZ, X), U * of.derivative(X, A)
        H = U * of.second(X, A) * RX - r * _mean(X * RZ) * G
        return r * (_projected(H, X) - RX * _mean(G * X) - X * _mean(G * RX))

    return {
        "sigma": sigma,
        "derivative": derivative,
        "push_forward": push_forward,
        "second": None if of.second is None else second,
    }


# --- of a row ------------------------------------------------------------------------------------


@inlined
def moments(z, epsilon):
    """m - z_0 and r."""
    T, n = z.dtype.type, z.shape[0]
    total, squares = T(0), T(0)
    for k in range(n):
        total = plus(total, z[k] - z[0])
    m = total / T(n)
    for k in range(n):
        d = (z[k] - z[0]) - m
        squares = plus(squares, d * d)
    return m, T(1) / np.sqrt(squares / T(n) + T(epsilon))


@inlined
def projection(v, z, m, r):
    """mean v and mean (v x), of the normalised x."""
    T, n = z.dtype.type, z.shape[0]
    mean, inner = T(0), T(0)
    for k in range(n):
        mean = plus(mean, v[k])
        inner = plus(inner, v[k] * (((z[k] - z[0]) - m) * r))
    return mean / T(n), inner / T(n)


@functools.cache
def activate_row(sigma: Callable[..., Any], epsilon: float) -> Any:
    """Of sigma(z, p): a kernel (z, a, p), where a may be z."""

    @kernel(fastmath=EXACT)
    def layer_norm_row(z, a, p):
        m, r = moments(z, epsilon)
        z_0 = z[0]
        for k in range(z.shape[0]):
            a[k] = sigma(((z[k] - z_0) - m) * r, p)

    return layer_norm_row


@functools.cache
def pull_back_row(derivative: Callable[..., Any], epsilon: float) -> Any:
    """Of sigma'(z, a, p): a kernel (z, a, delta, p)."""

    @kernel(fastmath=EXACT)
    def layer_norm_pull_back_row(z, a, delta, p):
        n = z.shape[0]
        m, r = moments(z, epsilon)
        for k in range(n):
            delta[k] *= derivative(((z[k] - z[0]) - m) * r, a[k], p)
        mean, inner = projection(delta, z, m, r)
        for j in range(n):
            x = ((z[j] - z[0]) - m) * r
            delta[j] = r * ((delta[j] - mean) - x * inner)

    return layer_norm_pull_back_row


@functools.cache
def push_forward_row(derivative: Callable[..., Any], epsilon: float) -> Any:
    """A kernel (z, a, Ra, p), which turns R z in Ra into R a."""

    @kernel(fastmath=EXACT)
    def layer_norm_push_forward_row(z, a, Ra, p):
        m, r = moments(z, epsilon)
        mean, inner = projection(Ra, z, m, r)
        for k in range(z.shape[0]):
            x = ((z[k] - z[0]) - m) * r
            Ra[k] = derivative(x, a[k], p) * (r * ((Ra[k] - mean) - x * inner))

    return layer_norm_push_forward_row


@functools.cache
def second_row(derivative: Callable[..., Any], second: Callable[..., Any], epsilon: float) -> Any:
    """A kernel (z, a, u, Rz, Ra, Rdelta, p), which adds what `second` of arrays is to Rdelta."""

    @kernel(fastmath=EXACT)
    def layer_norm_second_row(z, a, u, Rz, Ra, Rdelta, p):
        T, n = z.dtype.type, z.shape[0]
        m, r = moments(z, epsilon)
        Rz_mean, Rz_inner = projection(Rz, z, m, r)
        mean, of_x, of_Rx = T(0), T(0), T(0)
        for k in range(n):
            x = ((z[k] - z[0]) - m) * r
            Rx = r * ((Rz[k] - Rz_mean) - x * Rz_inner)
            g = u[k] * derivative(x, a[k], p)
            h = u[k] * second(x, a[k], p) * Rx - r * Rz_inner * g
            Rdelta[k] += r * h
            mean += h
            of_x += h * x + g * Rx
            of_Rx += g * x
        for j in range(n):
            x = ((z[j] - z[0]) - m) * r
            Rx = r * ((Rz[j] - Rz_mean) - x * Rz_inner)
            Rdelta[j] -= r * (mean + x * of_x + Rx * of_Rx) / T(n)

    return layer_norm_second_row
