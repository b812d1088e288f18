"""Kernels of functions that couple the neurons of a sample: for one sample.

A row is one sample's neurons: z, a, y and delta are (n_l,), and may have a stride. The functions
and their equations are in `fastbackprop.functions`; `ROWS` finds the kernel of each.
`engines.functions.columns` and `engines.functions.layer_norm` have faster ones for many samples
side by side.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from fastbackprop.functions import cross_entropies, distances, likelihoods, softmaxes
from fastbackprop.functions.activations import Coupled
from fastbackprop.functions.costs import CoupledCost
from fastbackprop.functions.cross_entropies import focal_slope, focal_term, kl_term
from fastbackprop.functions.distances import of_level, of_level_gradient
from fastbackprop.functions.likelihoods import of_moments
from fastbackprop.jit.kernels import EXACT, inlined, kernel
from fastbackprop.jit.words import exp, log, plus

# --- softmax and log_softmax ---------------------------------------------------------------------

PART = 2048  # terms of a part of a sum: rounding errors grow with their number


@kernel(linked=True, fastmath=EXACT)
def sum_of(x):
    """sum_k x_k, of many k in parts."""
    total = x.dtype.type(0)
    for first in range(0, x.shape[0], PART):
        part = x.dtype.type(0)
        for k in range(first, min(first + PART, x.shape[0])):
            part = plus(part, x[k])
        total += part
    return total


@kernel(linked=True, fastmath=EXACT)
def inner_product(x, y):
    """sum_k x_k y_k, likewise."""
    total = x.dtype.type(0)
    for first in range(0, x.shape[0], PART):
        part = x.dtype.type(0)
        for k in range(first, min(first + PART, x.shape[0])):
            part = plus(part, x[k] * y[k])
        total += part
    return total


@kernel(fastmath=EXACT)
def softmax_row(z, a, p):
    m = z[0]
    for k in range(z.shape[0]):
        m = max(m, z[k])
    total = a.dtype.type(0)
    for first in range(0, z.shape[0], PART):
        z_part, a_part, part = z[first : first + PART], a[first : first + PART], a.dtype.type(0)
        for k in range(z_part.shape[0]):
            a_part[k] = exp(z_part[k] - m)
            part = plus(part, a_part[k])
        total += part
    for k in range(z.shape[0]):
        a[k] /= total


@kernel
def softmax_pull_back_row(z, a, delta, p):
    inner = inner_product(delta, a)
    for j in range(a.shape[0]):
        delta[j] = a[j] * (delta[j] - inner)


@kernel
def softmax_second_row(z, a, u, Rz, Ra, Rdelta, p):
    inner, R_inner = a.dtype.type(0), a.dtype.type(0)
    for k in range(a.shape[0]):
        inner += u[k] * a[k]
        R_inner += u[k] * Ra[k]
    for j in range(a.shape[0]):
        Rdelta[j] += Ra[j] * (u[j] - inner) - a[j] * R_inner


@kernel(fastmath=EXACT)
def log_sum(z):
    """m = max_i z_i, and log sum_i e^(z_i - m)."""
    m = z[0]
    for k in range(z.shape[0]):
        m = max(m, z[k])
    total = z.dtype.type(0)
    for first in range(0, z.shape[0], PART):
        z_part, part = z[first : first + PART], z.dtype.type(0)
        for k in range(z_part.shape[0]):
            part = plus(part, exp(z_part[k] - m))
        total += part
    return m, log(total)


@kernel(fastmath=EXACT)
def log_softmax_row(z, a, p):
    m, log_total = log_sum(z)
    for k in range(z.shape[0]):
        a[k] = (z[k] - m) - log_total


@kernel
def log_softmax_pull_back_row(z, a, delta, p):
    total = sum_of(delta)
    for j in range(a.shape[0]):
        delta[j] -= exp(a[j]) * total


# --- costs of probabilities ----------------------------------------------------------------------


@kernel(fastmath=EXACT)
def softmax_cross_entropy_row(z, a, y, p):
    T, n = z.dtype.type, z.shape[0]
    m, log_total = log_sum(z)
    C = T(0)
    for first in range(0, n, PART):
        part = T(0)
        for k in range(first, min(first + PART, n)):
            part = plus(part, y[k] * ((m - z[k]) + log_total))
        C += part
    if p[0] > 0:
        even = T(0)
        for first in range(0, n, PART):
            part = T(0)
            for k in range(first, min(first + PART, n)):
                part = plus(part, (m - z[k]) + log_total)
            even += part
        C = (T(1) - p[0]) * C + p[0] / T(n) * even
    return C


@kernel
def softmax_cross_entropy_delta_row(z, a, y, delta, p):
    T, n, total = y.dtype.type, y.shape[0], sum_of(y)
    for j in range(n):
        delta[j] = a[j] * total - y[j]
    if p[0] > 0:
        for j in range(n):
            delta[j] = (T(1) - p[0]) * delta[j] + p[0] * (a[j] - T(1) / T(n))


@kernel
def softmax_cross_entropy_second_row(z, a, y, Rz, Ra, Rdelta, p):
    T = y.dtype.type
    total = T(0)
    for k in range(y.shape[0]):
        total += y[k]
    total += p[0] * (T(1) - total)
    for j in range(y.shape[0]):
        Rdelta[j] = total * Ra[j]


@kernel(fastmath=EXACT)
def log_softmax_cross_entropy_delta_row(z, a, y, delta, p):
    T, n, total = y.dtype.type, y.shape[0], sum_of(y)
    for j in range(n):
        delta[j] = (T(1) - p[0]) * (exp(a[j]) * total - y[j])
        delta[j] += p[0] * (exp(a[j]) - T(1) / T(n))


@kernel(fastmath=EXACT)
def softmax_kl_row(z, a, y, p):
    m, log_total = log_sum(z)
    C, n = z.dtype.type(0), z.shape[0]
    for first in range(0, n, PART):
        part = z.dtype.type(0)
        for k in range(first, min(first + PART, n)):
            part = plus(part, kl_term((m - z[k]) + log_total, y[k], p))
        C += part
    return C


@kernel(fastmath=EXACT)
def softmax_focal_row(z, a, y, p):
    m, log_total = log_sum(z)
    C, n = z.dtype.type(0), z.shape[0]
    for first in range(0, n, PART):
        part = z.dtype.type(0)
        for k in range(first, min(first + PART, n)):
            part = plus(part, focal_term((m - z[k]) + log_total, y[k], p))
        C += part
    return C


@kernel(fastmath=EXACT)
def softmax_focal_delta_row(z, a, y, delta, p):
    for k in range(z.shape[0]):
        delta[k] = focal_slope(a[k], y[k], p)
    total = sum_of(delta)
    for j in range(z.shape[0]):
        delta[j] -= a[j] * total


# --- other costs ---------------------------------------------------------------------------------


@kernel(fastmath=EXACT)
def quantile_row(z, a, y, p):
    n, C = a.shape[0] // p.shape[0], a.dtype.type(0)
    for q in range(p.shape[0]):
        for k in range(q * n, (q + 1) * n):
            C = plus(C, of_level(p[q], a[k], y[k]))
    return C


@kernel(fastmath=EXACT)
def quantile_gradient_row(z, a, y, delta, p):
    n = a.shape[0] // p.shape[0]
    for q in range(p.shape[0]):
        for j in range(q * n, (q + 1) * n):
            delta[j] = of_level_gradient(p[q], a[j], y[j])


@kernel(fastmath=EXACT)
def gaussian_nll_row(z, a, y, p):
    n, C = a.shape[0] // 2, a.dtype.type(0)
    for k in range(n):
        C = plus(C, of_moments(a[k], a[n + k], y[k]))
    return C


@kernel(fastmath=EXACT)
def gaussian_nll_gradient_row(z, a, y, delta, p):
    n = a.shape[0] // 2
    for j in range(n):
        x = a[j] - y[j]
        delta[j] = x * exp(-a[n + j])
        delta[n + j] = a.dtype.type(0.5) * (a.dtype.type(1) - x * delta[j])


@kernel(fastmath=EXACT)
def _length(a):
    """s, the largest |a_k| or 1, and s / |a|, or 0."""
    T = a.dtype.type
    largest, total = T(0), T(0)
    for k in range(a.shape[0]):
        largest = max(largest, abs(a[k]))
    if not largest > 0:
        return T(1), T(0)
    for k in range(a.shape[0]):
        total += (a[k] / largest) * (a[k] / largest)
    return largest, T(1) / np.sqrt(total)


@kernel(fastmath=EXACT)
def _cosine_of(a, y):
    """c, and the factors that make u of a and v of y."""
    a_scale, a_part = _length(a)
    y_scale, y_part = _length(y)
    c = a.dtype.type(0)
    for k in range(a.shape[0]):
        c += (a[k] / a_scale * a_part) * (y[k] / y_scale * y_part)
    return c, a_scale, a_part, y_scale, y_part


@kernel(fastmath=EXACT)
def cosine_row(z, a, y, p):
    return a.dtype.type(1) - _cosine_of(a, y)[0]


@kernel(fastmath=EXACT)
def cosine_gradient_row(z, a, y, delta, p):
    c, a_scale, a_part, y_scale, y_part = _cosine_of(a, y)
    for j in range(a.shape[0]):
        u, v = a[j] / a_scale * a_part, y[j] / y_scale * y_part
        delta[j] = (c * u - v) * a_part / a_scale


# --- layer normalisation -------------------------------------------------------------------------


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
def second_row_of(
    derivative: Callable[..., Any], second: Callable[..., Any], epsilon: float
) -> Any:
    """A kernel (z, a, u, Rz, Ra, Rdelta, p), which adds `second` of arrays to Rdelta."""

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


# By the function of arrays that each belongs to.
ROWS: dict[Any, Any] = {
    softmaxes.softmax: softmax_row,
    softmaxes.softmax_pull_back: softmax_pull_back_row,
    softmaxes.softmax_second: softmax_second_row,
    softmaxes.log_softmax: log_softmax_row,
    softmaxes.log_softmax_pull_back: log_softmax_pull_back_row,
    cross_entropies.softmax_cross_entropy: softmax_cross_entropy_row,
    cross_entropies.softmax_cross_entropy_delta: softmax_cross_entropy_delta_row,
    cross_entropies.softmax_cross_entropy_second: softmax_cross_entropy_second_row,
    cross_entropies.log_softmax_cross_entropy_delta: log_softmax_cross_entropy_delta_row,
    cross_entropies.softmax_kl: softmax_kl_row,
    cross_entropies.softmax_focal: softmax_focal_row,
    cross_entropies.softmax_focal_delta: softmax_focal_delta_row,
    distances.quantile: quantile_row,
    distances.quantile_gradient: quantile_gradient_row,
    distances.cosine: cosine_row,
    distances.cosine_gradient: cosine_gradient_row,
    likelihoods.gaussian_nll: gaussian_nll_row,
    likelihoods.gaussian_nll_gradient: gaussian_nll_gradient_row,
}


def rows(function: Coupled | CoupledCost) -> tuple[Any, Any]:
    """The two kernels of a coupled function. Raises ValueError where there are none."""
    given: tuple[Any, Any] | None = function.rows
    if given is not None:
        return given
    first, second = (getattr(function, formula) for formula in list(function.FORMULAS)[:2])
    try:
        return ROWS[first], ROWS[second]
    except KeyError:
        raise ValueError(
            f"the engines of loops have no kernels for {function.name!r}: pass rows=, or "
            f"engine='numpy'"
        ) from None


def second_row(function: Coupled | CoupledCost) -> Any:
    """The kernel of the second derivative of a coupled function, or None."""
    return function.second_row or ROWS.get(function.second)
