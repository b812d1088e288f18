"""What looks at all outputs of a sample, for samples side by side on the vector lanes.

Sums, maxima and factors of columns, softmax and what belongs to it. An array here holds rows of
`lanes` samples, a row for each output k from its beginning on; a vector of samples goes down its
columns in registers. What needs one element at a time is in `activations` and `costs`.
"""

from typing import NamedTuple

import numpy as np

from fastbackprop.activations import SOFTMAX, activate, multiply_by_derivative
from fastbackprop.costs import FUSED, SOFTMAX_CROSS_ENTROPY, cost_gradient, cost_terms
from fastbackprop.engines._compile import EXACT, kernel
from fastbackprop.engines._math import exp, log
from fastbackprop.engines._tile import larger, load, minus, over, plus, store, times, zeros


@kernel(linked=True, fastmath=EXACT)
def sums(M, n, lanes, V, out):
    """out_i = sum_k M_ki; out (lanes,)."""
    for i in range(0, lanes, V):
        total = load(M, i, 0, 1, 1)
        for k in range(1, n):
            total = plus(load(M, k * lanes + i, 0, 1, 1), total)
        store(total, out, i, 0)


@kernel(fastmath=EXACT)
def scale(M, n, lanes, V, factor):
    """M_ki *= factor_i; factor (lanes,)."""
    for i in range(0, lanes, V):
        f = load(factor, i, 0, 1, 1)
        for k in range(n):
            store(times(load(M, k * lanes + i, 0, 1, 1), f), M, k * lanes + i, 0)


@kernel(fastmath=EXACT)
def _exp(x):
    for i in range(x.shape[0]):
        x[i] = exp(x[i])


@kernel(fastmath=EXACT)
def _log(x):
    for i in range(x.shape[0]):
        x[i] = log(x[i])


class Outputs(NamedTuple):
    """Layer L of a strip of samples: arrays of n rows of `lanes`, and of one row."""

    z: np.ndarray
    a: np.ndarray
    delta: np.ndarray
    y: np.ndarray
    C: np.ndarray  # (lanes,)
    m: np.ndarray  # (lanes,): softmax's maximum of z
    total: np.ndarray  # (lanes,): its sum, or scratch
    n: int
    lanes: int
    V: int


@kernel(fastmath=EXACT)
def softmax(o):
    """a_ki = e^(z_ki - m_i) / total_i; also m_i = max_k z_ki and total_i."""
    z, a, n, lanes = o.z, o.a, o.n, o.lanes
    for i in range(0, lanes, o.V):
        m = load(z, i, 0, 1, 1)
        for k in range(1, n):
            m = larger(load(z, k * lanes + i, 0, 1, 1), m)
        store(m, o.m, i, 0)
        for k in range(n):
            store(minus(load(z, k * lanes + i, 0, 1, 1), m), a, k * lanes + i, 0)
    _exp(a)
    sums(a, n, lanes, o.V, o.total)
    for i in range(0, lanes, o.V):
        total = load(o.total, i, 0, 1, 1)
        part = over(over(total, total), total)  # one division, not n
        for k in range(n):
            store(times(load(a, k * lanes + i, 0, 1, 1), part), a, k * lanes + i, 0)


@kernel(fastmath=EXACT)
def softmax_cross_entropy(o):
    """C_i = sum_k y_ki ((m_i - z_ki) + log total_i), after `softmax`."""
    _log(o.total)
    for i in range(0, o.lanes, o.V):
        m, log_total = load(o.m, i, 0, 1, 1), load(o.total, i, 0, 1, 1)
        cost = zeros(o.C, 1, 1)
        for k in range(o.n):
            at = k * o.lanes + i
            term = plus(minus(m, load(o.z, at, 0, 1, 1)), log_total)
            cost = plus(times(load(o.y, at, 0, 1, 1), term), cost)
        store(cost, o.C, i, 0)


@kernel(fastmath=EXACT)
def softmax_cross_entropy_delta(o):
    """delta_ji = a_ji sum_k y_ki - y_ji."""
    sums(o.y, o.n, o.lanes, o.V, o.total)
    for i in range(0, o.lanes, o.V):
        total = load(o.total, i, 0, 1, 1)
        for j in range(o.n):
            at = j * o.lanes + i
            value = minus(times(load(o.a, at, 0, 1, 1), total), load(o.y, at, 0, 1, 1))
            store(value, o.delta, at, 0)


@kernel(fastmath=EXACT)
def softmax_pull_back(o):
    """delta_ji = a_ji (delta_ji - sum_k delta_ki a_ki)."""
    for i in range(0, o.lanes, o.V):
        inner = zeros(o.a, 1, 1)
        for k in range(o.n):
            at = k * o.lanes + i
            inner = plus(times(load(o.a, at, 0, 1, 1), load(o.delta, at, 0, 1, 1)), inner)
        for j in range(o.n):
            at = j * o.lanes + i
            value = times(load(o.a, at, 0, 1, 1), minus(load(o.delta, at, 0, 1, 1), inner))
            store(value, o.delta, at, 0)


# --- the output layer ----------------------------------------------------------------------------


@kernel
def activate_output(sigma, o):
    """a = sigma_L(z)."""
    if sigma == SOFTMAX:
        softmax(o)
    else:
        activate(sigma, o.z, o.a)


@kernel
def cost_of_samples(cost, o):
    """C_i of each sample, after `activate_output`; delta is scratch."""
    if cost == SOFTMAX_CROSS_ENTROPY:
        softmax_cross_entropy(o)
    else:
        cost_terms(cost, o.z, o.a, o.y, o.delta)
        sums(o.delta, o.n, o.lanes, o.V, o.C)


@kernel
def output_error(sigma, cost, o):
    """(1)  delta^L_ji = dC/da^L_ji sigma_L'(z^L_ji)"""
    if cost == SOFTMAX_CROSS_ENTROPY:
        softmax_cross_entropy_delta(o)
    else:
        cost_gradient(cost, o.z, o.a, o.y, o.delta)
        if cost < FUSED and sigma == SOFTMAX:
            softmax_pull_back(o)
        elif cost < FUSED:
            multiply_by_derivative(sigma, o.z, o.a, o.delta)
