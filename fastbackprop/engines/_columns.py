"""What looks at all outputs of a sample, for samples side by side on the vector lanes.

Sums, maxima and factors of columns, softmax and what belongs to it, layer normalisation. An array
here holds rows of `lanes` samples, a row for each neuron k from its beginning on; a vector of
samples goes down its columns in registers. What needs one element at a time is in
`fastbackprop.formulas`.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from fastbackprop.engines._compile import EXACT, kernel
from fastbackprop.engines._math import exp, log
from fastbackprop.engines._tile import (
    VECTOR_BYTES,
    larger,
    load,
    minus,
    over,
    plus,
    scaled,
    scratch,
    store,
    times,
    vector_lanes,
    zeros,
)
from fastbackprop.formulas.layer_norms import activate_row
from fastbackprop.formulas.softmaxes import (
    log_softmax_row,
    softmax_cross_entropy_delta_row,
    softmax_cross_entropy_row,
    softmax_pull_back_row,
    softmax_row,
)


@kernel(fastmath=EXACT)
def sums(M, lanes, out):
    """out_i = sum_k M_ki; out (lanes,)."""
    for i in range(0, lanes, vector_lanes(M)):
        total = load(M, i, 0, 1, 1)
        for at in range(lanes + i, M.shape[0], lanes):
            total = plus(load(M, at, 0, 1, 1), total)
        store(total, out, i, 0)


@kernel(fastmath=EXACT)
def scale(M, lanes, factor):
    """M_ki *= factor_i; factor (lanes,)."""
    for i in range(0, lanes, vector_lanes(M)):
        f = load(factor, i, 0, 1, 1)
        for at in range(i, M.shape[0], lanes):
            store(times(load(M, at, 0, 1, 1), f), M, at, 0)


@kernel(fastmath=EXACT)
def _exp(x):
    for i in range(x.shape[0]):
        x[i] = exp(x[i])


@kernel(fastmath=EXACT)
def _log(x):
    for i in range(x.shape[0]):
        x[i] = log(x[i])


# --- softmax -------------------------------------------------------------------------------------


@kernel(fastmath=EXACT)
def softmax(z, a, delta, p, lanes):
    """a_ki = e^(z_ki - m_i) / t_i; m_i = max_k z_ki and t_i are left in delta's first two rows."""
    if lanes == 1:  # a row by itself, whose cost nobody asks for
        softmax_row(z, a, p)
        return
    V, m_row, t_row = vector_lanes(z), delta[:lanes], delta[lanes : 2 * lanes]
    for i in range(0, lanes, V):
        m = load(z, i, 0, 1, 1)
        for at in range(lanes + i, z.shape[0], lanes):
            m = larger(load(z, at, 0, 1, 1), m)
        store(m, m_row, i, 0)
        for at in range(i, z.shape[0], lanes):
            store(minus(load(z, at, 0, 1, 1), m), a, at, 0)
    _exp(a)
    sums(a, lanes, t_row)
    for i in range(0, lanes, V):
        t = load(t_row, i, 0, 1, 1)
        part = over(over(t, t), t)  # one division, not n
        for at in range(i, z.shape[0], lanes):
            store(times(load(a, at, 0, 1, 1), part), a, at, 0)


@kernel(fastmath=EXACT)
def softmax_pull_back(z, a, delta, p, lanes):
    """delta_ji = a_ji (delta_ji - sum_k delta_ki a_ki)."""
    for i in range(0, lanes, vector_lanes(z)):
        inner = zeros(a, 1, 1)
        for at in range(i, z.shape[0], lanes):
            inner = plus(times(load(a, at, 0, 1, 1), load(delta, at, 0, 1, 1)), inner)
        for at in range(i, z.shape[0], lanes):
            value = times(load(a, at, 0, 1, 1), minus(load(delta, at, 0, 1, 1), inner))
            store(value, delta, at, 0)


@kernel(fastmath=EXACT)
def log_softmax(z, a, delta, p, lanes):
    """a_ki = (z_ki - m_i) - log t_i, and what `softmax` leaves."""
    if lanes == 1:
        log_softmax_row(z, a, p)
        return
    softmax(z, a, delta, p, lanes)
    V, log_t_row = vector_lanes(z), a[:lanes]  # of all rows of a the first is written last
    for i in range(lanes):
        log_t_row[i] = delta[lanes + i]
    _log(log_t_row)
    for i in range(0, lanes, V):
        m, log_t = load(delta, i, 0, 1, 1), load(log_t_row, i, 0, 1, 1)
        for at in range(i, z.shape[0], lanes):
            store(minus(minus(load(z, at, 0, 1, 1), m), log_t), a, at, 0)


@kernel(fastmath=EXACT)
def softmax_cross_entropy(z, a, y, delta, C, p, lanes):
    """C_i = sum_k y_ki ((m_i - z_ki) + log t_i), after `softmax`; y smoothed by p."""
    m_row, t_row = delta[:lanes], delta[lanes : 2 * lanes]
    _log(t_row)
    for i in range(0, lanes, vector_lanes(z)):
        m, log_t = load(m_row, i, 0, 1, 1), load(t_row, i, 0, 1, 1)
        cost = zeros(C, 1, 1)
        for at in range(i, z.shape[0], lanes):
            term = plus(minus(m, load(z, at, 0, 1, 1)), log_t)
            cost = plus(times(load(y, at, 0, 1, 1), term), cost)
        store(cost, C, i, 0)
    if p[0] > 0:
        part = p[0] / z.dtype.type(z.shape[0] // lanes)
        for i in range(lanes):
            C[i] *= z.dtype.type(1) - p[0]
            for at in range(i, z.shape[0], lanes):
                C[i] += part * ((m_row[i] - z[at]) + t_row[i])


@kernel(fastmath=EXACT)
def softmax_cross_entropy_delta(z, a, y, delta, p, lanes):
    """delta_ji = a_ji sum_k y_ki - y_ji; y smoothed by p."""
    for i in range(0, lanes, vector_lanes(z)):
        total = load(y, i, 0, 1, 1)
        for at in range(lanes + i, z.shape[0], lanes):
            total = plus(load(y, at, 0, 1, 1), total)
        for at in range(i, z.shape[0], lanes):
            value = minus(times(load(a, at, 0, 1, 1), total), load(y, at, 0, 1, 1))
            store(value, delta, at, 0)
    if p[0] > 0:
        even = z.dtype.type(1) / z.dtype.type(z.shape[0] // lanes)
        for k in range(z.shape[0]):
            delta[k] = (z.dtype.type(1) - p[0]) * delta[k] + p[0] * (a[k] - even)


# --- layer normalisation -------------------------------------------------------------------------

SOME = 8 * VECTOR_BYTES  # elements that are normalised at once: a multiple of every strip's lanes


@kernel(fastmath=EXACT)
def moments(z, lanes, epsilon, m, r):
    """m_i = mean_k z_ki - z_0i and r_i = 1 / sqrt(var_k z_ki + epsilon); m, r (lanes,)."""
    part = z.dtype.type(1) / z.dtype.type(z.shape[0] // lanes)
    for i in range(0, lanes, vector_lanes(z)):
        z_0, total, squares = load(z, i, 0, 1, 1), zeros(z, 1, 1), zeros(z, 1, 1)
        for at in range(i, z.shape[0], lanes):
            total = plus(minus(load(z, at, 0, 1, 1), z_0), total)
        mean = scaled(total, part)
        for at in range(i, z.shape[0], lanes):
            d = minus(minus(load(z, at, 0, 1, 1), z_0), mean)
            squares = plus(times(d, d), squares)
        store(mean, m, i, 0)
        store(scaled(squares, part), r, i, 0)
    for i in range(lanes):
        r[i] = z.dtype.type(1) / np.sqrt(r[i] + epsilon)


@kernel(fastmath=EXACT)
def normalise(z, lanes, m, r, first, last, x):
    """x_ki = ((z_ki - z_0i) - m_i) r_i, for the elements first ... last of z."""
    for i in range(0, lanes, vector_lanes(z)):
        z_0, mean, scale = load(z, i, 0, 1, 1), load(m, i, 0, 1, 1), load(r, i, 0, 1, 1)
        for at in range(i, last - first, lanes):
            d = minus(minus(load(z, first + at, 0, 1, 1), z_0), mean)
            store(times(d, scale), x, at, 0)


@kernel(fastmath=EXACT)
def project(z, lanes, m, r, delta):
    """delta_ji = r_i (delta_ji - mean_k delta_ki - x_ji mean_k (delta_ki x_ki))."""
    part = z.dtype.type(1) / z.dtype.type(z.shape[0] // lanes)
    for i in range(0, lanes, vector_lanes(z)):
        z_0, m_i, scale = load(z, i, 0, 1, 1), load(m, i, 0, 1, 1), load(r, i, 0, 1, 1)
        mean, inner = zeros(z, 1, 1), zeros(z, 1, 1)
        for at in range(i, z.shape[0], lanes):
            d, x = load(delta, at, 0, 1, 1), minus(minus(load(z, at, 0, 1, 1), z_0), m_i)
            mean = plus(d, mean)
            inner = plus(times(d, times(x, scale)), inner)
        mean, inner = scaled(mean, part), scaled(inner, part)
        for at in range(i, z.shape[0], lanes):
            d, x = load(delta, at, 0, 1, 1), minus(minus(load(z, at, 0, 1, 1), z_0), m_i)
            value = minus(minus(d, mean), times(times(x, scale), inner))
            store(times(scale, value), delta, at, 0)


@functools.cache
def layer_norm(sigma: Callable, epsilon: float) -> Any:
    """a_ki = sigma(x_ki), with m and r in delta's first two rows."""
    row = activate_row(sigma, epsilon)

    @kernel(fastmath=EXACT)
    def layer_norm_of_columns(z, a, delta, p, lanes):
        if lanes == 1:
            row(z, a, p)
            return
        m, r = delta[:lanes], delta[lanes : 2 * lanes]
        moments(z, lanes, z.dtype.type(epsilon), m, r)
        normalise(z, lanes, m, r, 0, z.shape[0], a)
        for k in range(z.shape[0]):
            a[k] = sigma(a[k], p)

    return layer_norm_of_columns


@functools.cache
def layer_norm_pull_back(derivative: Callable, epsilon: float) -> Any:
    """delta_ji: from dC/da to dC/dz."""

    @kernel(fastmath=EXACT)
    def layer_norm_pull_back_of_columns(z, a, delta, p, lanes):
        m, r, x = scratch(z, VECTOR_BYTES), scratch(z, VECTOR_BYTES), scratch(z, SOME)
        moments(z, lanes, z.dtype.type(epsilon), m, r)
        for first in range(0, z.shape[0], SOME):
            last = min(first + SOME, z.shape[0])
            normalise(z, lanes, m, r, first, last, x)
            for k in range(last - first):
                delta[first + k] *= derivative(x[k], a[first + k], p)
        project(z, lanes, m, r, delta)

    return layer_norm_pull_back_of_columns


OF_ROWS = {
    softmax_row: softmax,
    softmax_pull_back_row: softmax_pull_back,
    log_softmax_row: log_softmax,
    softmax_cross_entropy_row: softmax_cross_entropy,
    softmax_cross_entropy_delta_row: softmax_cross_entropy_delta,
}
