"""Functions that couple the neurons of a sample, for samples side by side on the vector lanes.

Sums, maxima and factors of columns, softmax with its costs, and other costs. An array here is a
strip: for each neuron k, from its beginning on, `lanes` samples; a column is one sample's
neurons, and a vector of samples goes down its columns in registers. Formulas of one element are in
`fastbackprop.functions`; kernels of one sample in `engines.functions.rows`.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from fastbackprop.engines.functions.rows import (
    PART,
    cosine_gradient_row,
    cosine_row,
    gaussian_nll_gradient_row,
    gaussian_nll_row,
    log_softmax_cross_entropy_delta_row,
    log_softmax_row,
    quantile_gradient_row,
    quantile_row,
    softmax_cross_entropy_delta_row,
    softmax_cross_entropy_row,
    softmax_focal_delta_row,
    softmax_focal_row,
    softmax_kl_row,
    softmax_pull_back_row,
    softmax_row,
)
from fastbackprop.functions.cross_entropies import focal_slope, focal_term, kl_term
from fastbackprop.functions.distances import of_level
from fastbackprop.functions.likelihoods import of_moments
from fastbackprop.jit.kernels import EXACT, inlined, kernel
from fastbackprop.jit.tile import (
    VECTOR_BYTES,
    folded,
    larger,
    load,
    minus,
    over,
    plus,
    scaled,
    scratch,
    spread,
    store,
    times,
    vector_lanes,
    zeros,
)
from fastbackprop.jit.words import exp, log, where

FEW = 256  # terms that `sums` adds one after the other; of more, every CHAINS-th is
CHAINS = 8
MOST_LANES = 2 * VECTOR_BYTES  # of a strip: eight samples of as many networks as a vector holds


@kernel(fastmath=EXACT)
def sums(M, lanes, out):
    """out_i = sum_k M_ki; out (lanes,). Of many k in parts: errors grow with the terms of one."""
    n, unit = M.shape[0], CHAINS * lanes
    end = n // unit * unit if n > FEW * lanes else 0
    for i in range(0, lanes, vector_lanes(M)):
        total, at = zeros(M, 1, 1), i
        while at < end:
            part, stop = zeros(M, CHAINS, 1), min(at + PART * lanes, end)
            while at < stop:
                part = plus(load(M, at, lanes, CHAINS, 1), part)
                at += unit
            total = plus(folded(part), total)
        while at < n:
            total = plus(load(M, at, 0, 1, 1), total)
            at += lanes
        store(total, out, i, 0)


@inlined
def _column_sum(M, i, lanes):
    """sum_k M_ki of a vector of columns from i on, one after the other in each PART."""
    total = zeros(M, 1, 1)
    for first in range(i, M.shape[0], PART * lanes):
        part = zeros(M, 1, 1)
        for at in range(first, min(first + PART * lanes, M.shape[0]), lanes):
            part = plus(load(M, at, 0, 1, 1), part)
        total = plus(part, total)
    return total


@kernel(fastmath=EXACT)
def _sum_of_one(x, part):
    """The sum of a column by itself, in the order of `sums`; part (CHAINS,) is scratch."""
    n, k, total = x.shape[0], 0, x.dtype.type(0)
    end = n // CHAINS * CHAINS if n > FEW else 0
    while k < end:
        part[:] = 0
        stop = min(k + PART, end)
        while k < stop:
            for r in range(CHAINS):
                part[r] += x[k + r]
            k += CHAINS
        for half in (1, 2, 4):
            for r in range(0, CHAINS, 2 * half):
                part[r] += part[r + half]
        total += part[0]
    while k < n:
        total += x[k]
        k += 1
    return total


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
def _softmax_of_one(z, a):
    """`softmax` of one column, in the same order; returns m and t."""
    m = z[0]
    for k in range(z.shape[0]):
        m = max(m, z[k])
    for k in range(z.shape[0]):
        a[k] = z[k] - m
    _exp(a)
    t = _sum_of_one(a, scratch(a, CHAINS))
    part = t / t / t
    for k in range(a.shape[0]):
        a[k] *= part
    return m, t


@kernel(fastmath=EXACT)
def softmax(z, a, delta, p, lanes):
    """a_ki = e^(z_ki - m_i) / t_i; m_i = max_k z_ki and t_i are left in delta's first two rows."""
    if lanes == 1:
        _softmax_of_one(z, a)
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
        for first in range(i, z.shape[0], PART * lanes):
            part = zeros(a, 1, 1)
            for at in range(first, min(first + PART * lanes, z.shape[0]), lanes):
                part = plus(times(load(a, at, 0, 1, 1), load(delta, at, 0, 1, 1)), part)
            inner = plus(part, inner)
        for at in range(i, z.shape[0], lanes):
            value = times(load(a, at, 0, 1, 1), minus(load(delta, at, 0, 1, 1), inner))
            store(value, delta, at, 0)


@kernel(fastmath=EXACT)
def log_softmax(z, a, delta, p, lanes):
    """a_ki = (z_ki - m_i) - log t_i; delta is left as by `softmax`."""
    if lanes == 1:
        m, a[0] = _softmax_of_one(z, a)
        _log(a[:1])
        log_t = a[0]
        for k in range(z.shape[0]):
            a[k] = (z[k] - m) - log_t
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


@inlined
def _smoothing(p, n):
    """(1 - p) and p / n, by which y_k becomes (1 - p) y_k + p / n."""
    one = p.dtype.type(1)
    return one - p[0], scaled(spread(p, 0, 1, 1), one / p.dtype.type(n))


@kernel(fastmath=EXACT)
def softmax_cross_entropy(z, a, y, delta, C, p, lanes):
    """C_i = sum_k y_ki ((m_i - z_ki) + log t_i), after `softmax`; y smoothed by p."""
    m_row, t_row = delta[:lanes], delta[lanes : 2 * lanes]
    kept, even = _smoothing(p, z.shape[0] // lanes)
    _log(t_row)
    for i in range(0, lanes, vector_lanes(z)):
        m, log_t = load(m_row, i, 0, 1, 1), load(t_row, i, 0, 1, 1)
        cost = zeros(C, 1, 1)
        for first in range(i, z.shape[0], PART * lanes):
            part = zeros(C, 1, 1)
            for at in range(first, min(first + PART * lanes, z.shape[0]), lanes):
                term = plus(minus(m, load(z, at, 0, 1, 1)), log_t)
                part = plus(times(plus(scaled(load(y, at, 0, 1, 1), kept), even), term), part)
            cost = plus(part, cost)
        store(cost, C, i, 0)


@kernel(fastmath=EXACT)
def softmax_cross_entropy_delta(z, a, y, delta, p, lanes):
    """delta_ji = a_ji sum_k y_ki - y_ji; y smoothed by p. delta may be a."""
    kept, even = _smoothing(p, z.shape[0] // lanes)
    for i in range(0, lanes, vector_lanes(z)):
        total = plus(scaled(_column_sum(y, i, lanes), kept), spread(p, 0, 1, 1))
        for at in range(i, z.shape[0], lanes):
            target = plus(scaled(load(y, at, 0, 1, 1), kept), even)
            store(minus(times(load(a, at, 0, 1, 1), total), target), delta, at, 0)


@kernel(fastmath=EXACT)
def log_softmax_cross_entropy_delta(z, a, y, delta, p, lanes):
    """The same of e^a."""
    for k in range(z.shape[0]):
        delta[k] = exp(a[k])
    softmax_cross_entropy_delta(z, delta, y, delta, p, lanes)


@functools.cache
def of_minus_log(term: Callable) -> Any:
    """C_i = sum_k of a term of -log a_ki, after `softmax` or `log_softmax`."""

    @kernel(fastmath=EXACT)
    def value_of_minus_log(z, a, y, delta, C, p, lanes):
        _log(delta[lanes : 2 * lanes])
        for i in range(0, lanes, vector_lanes(z)):
            m, log_t = load(delta, i, 0, 1, 1), load(delta, lanes + i, 0, 1, 1)
            for at in range(i, z.shape[0], lanes):
                store(plus(minus(m, load(z, at, 0, 1, 1)), log_t), delta, at, 0)
        for k in range(z.shape[0]):
            delta[k] = term(delta[k], y[k], p)
        sums(delta, lanes, C)

    return value_of_minus_log


@kernel(fastmath=EXACT)
def softmax_focal_delta(z, a, y, delta, p, lanes):
    """delta_ji = h_ji - a_ji sum_k h_ki."""
    for k in range(z.shape[0]):
        delta[k] = focal_slope(a[k], y[k], p)
    for i in range(0, lanes, vector_lanes(z)):
        total = _column_sum(delta, i, lanes)
        for at in range(i, z.shape[0], lanes):
            share = times(load(a, at, 0, 1, 1), total)
            store(minus(load(delta, at, 0, 1, 1), share), delta, at, 0)


# --- several outputs for each target -------------------------------------------------------------

# They lie one group after the other, in a strip as in a sample.


@functools.cache
def of_groups(gradient_row: Any) -> Any:
    @kernel(fastmath=EXACT)
    def gradient_of_groups(z, a, y, delta, p, lanes):
        gradient_row(z, a, y, delta, p)

    return gradient_of_groups


@kernel(fastmath=EXACT)
def quantile(z, a, y, delta, C, p, lanes):
    """C_i, a level after the other."""
    n = a.shape[0] // p.shape[0]
    for q in range(p.shape[0]):
        for k in range(q * n, (q + 1) * n):
            delta[k] = of_level(p[q], a[k], y[k])
    sums(delta, lanes, C)


@kernel(fastmath=EXACT)
def gaussian_nll(z, a, y, delta, C, p, lanes):
    """C_i."""
    n = a.shape[0] // 2
    for k in range(n):
        delta[k] = of_moments(a[k], a[n + k], y[k])
    sums(delta[:n], lanes, C)


# --- cosine --------------------------------------------------------------------------------------


@kernel(fastmath=EXACT)
def _lengths(M, lanes, scale, part):
    """Of each column the largest |M_ki|, or 1, and 1 / the length in units of it, or 0."""
    none, one = zeros(M, 1, 1), M.dtype.type(1)
    for i in range(0, lanes, vector_lanes(M)):
        largest = zeros(M, 1, 1)
        for at in range(i, M.shape[0], lanes):
            x = load(M, at, 0, 1, 1)
            largest = larger(larger(x, minus(none, x)), largest)
        store(largest, scale, i, 0)
    for i in range(lanes):
        scale[i] = where(scale[i] > 0, scale[i], one)
    for i in range(0, lanes, vector_lanes(M)):
        unit, squares = load(scale, i, 0, 1, 1), zeros(M, 1, 1)
        for at in range(i, M.shape[0], lanes):
            x = over(load(M, at, 0, 1, 1), unit)
            squares = plus(times(x, x), squares)
        store(squares, part, i, 0)
    for i in range(lanes):
        part[i] = where(part[i] > 0, one / np.sqrt(part[i]), part[i])


@kernel(fastmath=EXACT)
def _cosines(a, y, lanes, a_scale, a_part, y_scale, y_part, c):
    """c (lanes,), and the factors that make unit vectors."""
    _lengths(a, lanes, a_scale, a_part)
    _lengths(y, lanes, y_scale, y_part)
    for i in range(0, lanes, vector_lanes(a)):
        of_a, of_y, inner = load(a_scale, i, 0, 1, 1), load(y_scale, i, 0, 1, 1), zeros(a, 1, 1)
        for at in range(i, a.shape[0], lanes):
            u, v = over(load(a, at, 0, 1, 1), of_a), over(load(y, at, 0, 1, 1), of_y)
            inner = plus(times(u, v), inner)
        parts = times(load(a_part, i, 0, 1, 1), load(y_part, i, 0, 1, 1))
        store(times(inner, parts), c, i, 0)


@kernel(fastmath=EXACT)
def cosine(z, a, y, delta, C, p, lanes):
    """C_i = 1 - c_i."""
    a_scale, a_part = scratch(a, MOST_LANES), scratch(a, MOST_LANES)
    y_scale, y_part = scratch(a, MOST_LANES), scratch(a, MOST_LANES)
    _cosines(a, y, lanes, a_scale, a_part, y_scale, y_part, C)
    for i in range(lanes):
        C[i] = a.dtype.type(1) - C[i]


@kernel(fastmath=EXACT)
def cosine_gradient(z, a, y, delta, p, lanes):
    """delta_ji = (c_i u_ji - v_ji) / |a_i|."""
    a_scale, a_part, c = (
        scratch(a, MOST_LANES),
        scratch(a, MOST_LANES),
        scratch(a, MOST_LANES),
    )
    y_scale, y_part = scratch(a, MOST_LANES), scratch(a, MOST_LANES)
    _cosines(a, y, lanes, a_scale, a_part, y_scale, y_part, c)
    for i in range(0, lanes, vector_lanes(a)):
        of_a, a_i, c_i = load(a_scale, i, 0, 1, 1), load(a_part, i, 0, 1, 1), load(c, i, 0, 1, 1)
        of_y, y_i = load(y_scale, i, 0, 1, 1), load(y_part, i, 0, 1, 1)
        for at in range(i, a.shape[0], lanes):
            u = times(over(load(a, at, 0, 1, 1), of_a), a_i)
            v = times(over(load(y, at, 0, 1, 1), of_y), y_i)
            store(over(times(minus(times(c_i, u), v), a_i), of_a), delta, at, 0)


OF_ROWS = {
    softmax_row: softmax,
    softmax_pull_back_row: softmax_pull_back,
    log_softmax_row: log_softmax,
    softmax_cross_entropy_row: softmax_cross_entropy,
    softmax_cross_entropy_delta_row: softmax_cross_entropy_delta,
    log_softmax_cross_entropy_delta_row: log_softmax_cross_entropy_delta,
    softmax_kl_row: of_minus_log(kl_term),
    softmax_focal_row: of_minus_log(focal_term),
    softmax_focal_delta_row: softmax_focal_delta,
    quantile_row: quantile,
    quantile_gradient_row: of_groups(quantile_gradient_row),
    gaussian_nll_row: gaussian_nll,
    gaussian_nll_gradient_row: of_groups(gaussian_nll_gradient_row),
    cosine_row: cosine,
    cosine_gradient_row: cosine_gradient,
}
