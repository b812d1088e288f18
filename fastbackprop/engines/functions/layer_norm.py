"""Layer normalisation of samples side by side on the vector lanes: see `columns`.

The equations are in `fastbackprop.functions.layer_norms`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastbackprop.engines.functions.columns import MOST_LANES
from fastbackprop.jit.kernels import EXACT, inlined, kernel
from fastbackprop.jit.tile import (
    VECTOR_BYTES,
    folded,
    load,
    minus,
    plus,
    scaled,
    scratch,
    store,
    times,
    vector_lanes,
    view,
    zeros,
)

CHAINS = 8  # terms of the moments that are added at once: a sum waits for the one before
SOME = 8 * VECTOR_BYTES  # elements that are normalised at once: a multiple of every strip's lanes


@kernel(fastmath=EXACT)
def moments(z, lanes, epsilon, m, r):
    """m_i = mean_k z_ki - z_0i and r_i = 1 / sqrt(var_k z_ki + epsilon); m, r (lanes,)."""
    part = z.dtype.type(1) / z.dtype.type(z.shape[0] // lanes)
    end = z.shape[0] // (CHAINS * lanes) * (CHAINS * lanes)
    for i in range(0, lanes, vector_lanes(z)):
        z_0, origins = load(z, i, 0, 1, 1), load(z, i, 0, CHAINS, 1)
        sums = zeros(z, CHAINS, 1)
        for at in range(i, end, CHAINS * lanes):
            sums = plus(minus(load(z, at, lanes, CHAINS, 1), origins), sums)
        total = folded(sums)
        for at in range(end + i, z.shape[0], lanes):
            total = plus(minus(load(z, at, 0, 1, 1), z_0), total)
        mean = scaled(total, part)
        store(mean, m, i, 0)
        means, sums = load(m, i, 0, CHAINS, 1), zeros(z, CHAINS, 1)
        for at in range(i, end, CHAINS * lanes):
            d = minus(minus(load(z, at, lanes, CHAINS, 1), origins), means)
            sums = plus(times(d, d), sums)
        squares = folded(sums)
        for at in range(end + i, z.shape[0], lanes):
            d = minus(minus(load(z, at, 0, 1, 1), z_0), mean)
            squares = plus(times(d, d), squares)
        store(scaled(squares, part), r, i, 0)
    for i in range(lanes):
        r[i] = z.dtype.type(1) / np.sqrt(r[i] + epsilon)


@kernel(fastmath=EXACT)
def _moments_of_one(z, epsilon, m, r):
    """`moments` of one column, each sum in the same order; m and r (1,).

    Vectors hold the terms that are added at once.
    """
    part, n, z_0 = z.dtype.type(1) / z.dtype.type(z.shape[0]), z.shape[0], z[0]
    end, sums = n // CHAINS * CHAINS, scratch(z, CHAINS)
    sums[:] = 0
    for first in range(0, end, CHAINS):
        for k in range(CHAINS):
            sums[k] += z[first + k] - z_0
    total = _folded(sums)
    for k in range(end, n):
        total += z[k] - z_0
    mean = total * part
    m[0] = mean
    sums[:] = 0
    for first in range(0, end, CHAINS):
        for k in range(CHAINS):
            d = (z[first + k] - z_0) - mean
            sums[k] += d * d
    squares = _folded(sums)
    for k in range(end, n):
        d = (z[k] - z_0) - mean
        squares += d * d
    r[0] = squares * part
    _reciprocal_roots(r[:1], epsilon)


@inlined
def _folded(x):
    """The sum of CHAINS numbers, in the pairs of `jit.tile.folded`."""
    for half in (1, 2, 4):
        for k in range(0, CHAINS, 2 * half):
            x[k] += x[k + half]
    return x[0]


@kernel(fastmath=EXACT)
def _reciprocal_roots(r, epsilon):
    """A kernel by itself: a product that is added to may become one instruction with the sum."""
    for i in range(r.shape[0]):
        r[i] = r.dtype.type(1) / np.sqrt(r[i] + epsilon)


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


@kernel(fastmath=EXACT)
def _normalise_one(z, m, r, x):
    for k in range(z.shape[0]):
        x[k] = ((z[k] - z[0]) - m) * r


@functools.cache
def activate(sigma: Callable, epsilon: float) -> Any:
    """a_ki = sigma(x_ki), with m and r in delta's first two rows."""

    @kernel(fastmath=EXACT)
    def layer_norm_of_columns(z, a, delta, p, lanes):
        if lanes == 1:
            m, r = scratch(z, 1), scratch(z, 1)
            _moments_of_one(z, z.dtype.type(epsilon), m, r)
            _normalise_one(z, m[0], r[0], a)
        else:
            m, r = delta[:lanes], delta[lanes : 2 * lanes]
            moments(z, lanes, z.dtype.type(epsilon), m, r)
            normalise(z, lanes, m, r, 0, z.shape[0], a)
        for k in range(z.shape[0]):
            a[k] = sigma(a[k], p)

    return layer_norm_of_columns


@functools.cache
def _times_derivative(derivative: Callable) -> Any:
    """v_ki *= sigma'(x_ki)."""

    @kernel(fastmath=EXACT)
    def times_derivative(z, a, v, p, lanes, m, r):
        x = scratch(z, SOME)
        for first in range(0, z.shape[0], SOME):
            last = min(first + SOME, z.shape[0])
            normalise(z, lanes, m, r, first, last, x)
            some_a, some_v = view(a, first, last - first), view(v, first, last - first)
            for k in range(some_v.shape[0]):
                some_v[k] *= derivative(x[k], some_a[k], p)

    return times_derivative


@functools.cache
def product_with_derivative(derivative: Callable, epsilon: float, transposed: bool) -> Any:
    """v_ki: from R z to R a, or `transposed`, the same backwards, from dC/da to dC/dz."""
    times_derivative = _times_derivative(derivative)

    @kernel(fastmath=EXACT)
    def product_of_columns(z, a, v, p, lanes):
        m, r = scratch(z, MOST_LANES), scratch(z, MOST_LANES)
        moments(z, lanes, z.dtype.type(epsilon), m, r)
        if not transposed:
            project(z, lanes, m, r, v)
        times_derivative(z, a, v, p, lanes, m, r)
        if transposed:
            project(z, lanes, m, r, v)

    return product_of_columns


@kernel(fastmath=EXACT)
def _inner(z, Rz, lanes, m, r, out):
    """out_i = r_i mean_k (x_ki R z_ki)."""
    part = z.dtype.type(1) / z.dtype.type(z.shape[0] // lanes)
    for i in range(0, lanes, vector_lanes(z)):
        z_0, m_i, r_i = load(z, i, 0, 1, 1), load(m, i, 0, 1, 1), load(r, i, 0, 1, 1)
        total = zeros(z, 1, 1)
        for at in range(i, z.shape[0], lanes):
            d = minus(minus(load(z, at, 0, 1, 1), z_0), m_i)
            total = plus(times(load(Rz, at, 0, 1, 1), times(d, r_i)), total)
        store(times(scaled(total, part), r_i), out, i, 0)


class Some(NamedTuple):
    """x, g and q of the elements first ... last, at the beginning of these arrays."""

    x: np.ndarray
    g: np.ndarray
    q: np.ndarray
    first: int
    last: int


class OfLanes(NamedTuple):
    """One number for each lane: r and w (lanes,); four in sums, (4 lanes,)."""

    r: np.ndarray
    w: np.ndarray
    sums: np.ndarray


@kernel(fastmath=EXACT)
def _add_h(some, of_lanes, lanes, Rx, Rdelta):
    """R delta_ji += r_i h_ji, h = q R x - w g; and adds to sums of h, h x, g x and g R x."""
    x, g, q, first, last = some.x, some.g, some.q, some.first, some.last
    sums = of_lanes.sums
    for i in range(0, lanes, vector_lanes(x)):
        r_i, w_i = load(of_lanes.r, i, 0, 1, 1), load(of_lanes.w, i, 0, 1, 1)
        h_sum, hx_sum = load(sums, i, 0, 1, 1), load(sums, lanes + i, 0, 1, 1)
        gx_sum, gRx_sum = load(sums, 2 * lanes + i, 0, 1, 1), load(sums, 3 * lanes + i, 0, 1, 1)
        for at in range(i, last - first, lanes):
            x_k, g_k, Rx_k = (
                load(x, at, 0, 1, 1),
                load(g, at, 0, 1, 1),
                load(Rx, first + at, 0, 1, 1),
            )
            h = minus(times(load(q, at, 0, 1, 1), Rx_k), times(w_i, g_k))
            h_sum, hx_sum = plus(h, h_sum), plus(times(h, x_k), hx_sum)
            gx_sum, gRx_sum = plus(times(g_k, x_k), gx_sum), plus(times(g_k, Rx_k), gRx_sum)
            value = plus(times(r_i, h), load(Rdelta, first + at, 0, 1, 1))
            store(value, Rdelta, first + at, 0)
        store(h_sum, sums, i, 0)
        store(hx_sum, sums, lanes + i, 0)
        store(gx_sum, sums, 2 * lanes + i, 0)
        store(gRx_sum, sums, 3 * lanes + i, 0)


@kernel(fastmath=EXACT)
def _subtract_means(z, Rx, lanes, m, r, sums, Rdelta):
    """R delta_ji -= r_i (mean h + R x_ji mean (g x) + x_ji mean (h x + g R x))."""
    part = z.dtype.type(1) / z.dtype.type(z.shape[0] // lanes)
    for i in range(0, lanes, vector_lanes(z)):
        z_0, m_i, r_i = load(z, i, 0, 1, 1), load(m, i, 0, 1, 1), load(r, i, 0, 1, 1)
        mean = scaled(load(sums, i, 0, 1, 1), part)
        of_x = plus(load(sums, lanes + i, 0, 1, 1), load(sums, 3 * lanes + i, 0, 1, 1))
        of_x, of_Rx = scaled(of_x, part), scaled(load(sums, 2 * lanes + i, 0, 1, 1), part)
        for at in range(i, z.shape[0], lanes):
            x = times(minus(minus(load(z, at, 0, 1, 1), z_0), m_i), r_i)
            value = plus(times(x, of_x), plus(times(load(Rx, at, 0, 1, 1), of_Rx), mean))
            store(minus(load(Rdelta, at, 0, 1, 1), times(r_i, value)), Rdelta, at, 0)


@functools.cache
def second(derivative: Callable, second_derivative: Callable, epsilon: float) -> Any:
    """R delta_ji += the movement of the product with da/dz; R z becomes R x."""

    @kernel(fastmath=EXACT)
    def layer_norm_second_of_columns(z, a, u, Rz, Ra, Rdelta, p, lanes):
        m, r, w = scratch(z, MOST_LANES), scratch(z, MOST_LANES), scratch(z, MOST_LANES)
        x, g, q, sums = scratch(z, SOME), scratch(z, SOME), scratch(z, SOME), scratch(z, SOME)
        moments(z, lanes, z.dtype.type(epsilon), m, r)
        _inner(z, Rz, lanes, m, r, w)
        project(z, lanes, m, r, Rz)
        for i in range(4 * lanes):
            sums[i] = 0
        for first in range(0, z.shape[0], SOME):
            last = min(first + SOME, z.shape[0])
            normalise(z, lanes, m, r, first, last, x)
            some_a, some_u = view(a, first, last - first), view(u, first, last - first)
            for k in range(some_u.shape[0]):
                g[k] = some_u[k] * derivative(x[k], some_a[k], p)
                q[k] = some_u[k] * second_derivative(x[k], some_a[k], p)
            _add_h(Some(x, g, q, first, last), OfLanes(r, w, sums), lanes, Rz, Rdelta)
        _subtract_means(z, Rz, lanes, m, r, sums, Rdelta)

    return layer_norm_second_of_columns
