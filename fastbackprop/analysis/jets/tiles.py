"""The same on register tiles: the strips of a row tile are those of all channels.

A row tile has a few strips of samples, and as many for each channel: first all strips of the
values, then those of the first derivative along direction 0, and so on. So the products of a row
tile take all channels through a layer at once, and only the functions see channels as such.
"""

from typing import NamedTuple

import numpy as np

from fastbackprop.analysis.jets.functions import derivatives, derivatives_of_layer
from fastbackprop.engines.functions import Model, activate
from fastbackprop.engines.tiles import task as _task
from fastbackprop.engines.tiles.equations import bias_gradient, weight_gradient, weighted_input
from fastbackprop.engines.tiles.layers import errors_below, gather, put, put_on_lanes
from fastbackprop.engines.tiles.product import ROW_UNIT, Into, Matrix, Owned, Strips, strip, up
from fastbackprop.engines.tiles.task import (
    ROWS,
    RowTile,
    biases,
    clear,
    flat,
    length,
    neurons,
    panels,
    sample,
    scratch,
    task_of,
    weights,
)
from fastbackprop.engines.tiles.whole import (
    add_slots,
    alone,
    own_elements,
    rows_of_slots,
    slot,
    slots,
)
from fastbackprop.jit import team
from fastbackprop.jit.kernels import inlined, kernel
from fastbackprop.jit.reference import reference
from fastbackprop.jit.team import barrier, begins, take, take_anew
from fastbackprop.jit.tile import VECTOR_BYTES, load, plus, store, times, vector_lanes, view
from fastbackprop.layout import aligned_zeros
from fastbackprop.samples import without_targets

__all__ = ["derivatives", "jet", "jet_backward", "most_channels", "row_tile", "workspace"]


class Work(NamedTuple):
    """Scratch for one row tile of each thread, and derivatives of one strip of a layer."""

    own: _task.Work
    S: np.ndarray  # (threads * 3 * widest strip,)


def workspace(model: Model, dtype: np.dtype, n_threads: int = 1, sparse: bool = False) -> Work:
    """For so many threads."""
    n_threads = min(n_threads, team.available_processors())
    lanes = 2 * VECTOR_BYTES // np.dtype(dtype).itemsize
    of_strip = 3 * int(model.layers["stride"].max()) * lanes
    n_slots = slots(length(model.layers), n_threads) if n_threads > 1 else 0
    own = scratch(model, dtype, n_threads, slots=n_slots)
    return Work(own, aligned_zeros(n_threads * of_strip, dtype))


def most_channels(dtype: np.dtype) -> int:
    """Each has a strip of one vector, or of ROW_UNIT samples, which (4) takes at once."""
    return ROWS // max(VECTOR_BYTES // np.dtype(dtype).itemsize, ROW_UNIT)


class Channels(NamedTuple):
    """The strips of a row tile: `strips` of so many lanes for each of 1 + order D channels."""

    lanes: int
    strips: int
    D: int
    order: int


@inlined
def lanes_of_channels(n, V):
    """Lanes of a strip, of n channels: two vectors, for speed, where all have room."""
    return 2 * V if n * 2 * V <= ROWS else V


def row_tile(model: Model, dtype: np.dtype, channels: int) -> int:
    """Strips of as many samples as there is room for, in as many channels."""
    lanes = lanes_of_channels.py_func(channels, VECTOR_BYTES // np.dtype(dtype).itemsize)
    return ROWS // (lanes * channels) * lanes


@inlined
def owned(channels, first, last):
    """The strips of channels first ... last."""
    S = channels.strips
    return Owned(channels.lanes, first * S, last * S)


@inlined
def of_channel(M, channels, c):
    """The strips of one channel."""
    distance = channels.strips * M.height * M.lanes
    return Strips(M.array, M.offset + c * distance, M.height, M.lanes)


# --- the functions -------------------------------------------------------------------------------


@kernel
def push_forward(channels, S, Z, A, s, n):
    """(0'), (0'')  .a = s' .z and ..a = s'' .z^2 + s' ..z, n elements of strip s of all channels.

    S has s' and s'' of the strip, n elements each.
    """
    V, D, order = vector_lanes(S), channels.D, channels.order
    for d in range(D):
        first = strip(of_channel(Z, channels, 1 + d), s)
        second = strip(of_channel(Z, channels, 1 + D + d), s)
        for k in range(0, n, V):
            s_1, z_1 = load(S, k, 0, 1, 1), load(Z.array, first + k, 0, 1, 1)
            store(times(s_1, z_1), A.array, first + k, 0)
            if order == 2:
                s_2, z_2 = load(S, n + k, 0, 1, 1), load(Z.array, second + k, 0, 1, 1)
                a_2 = plus(times(s_2, times(z_1, z_1)), times(s_1, z_2))
                store(a_2, A.array, second + k, 0)


@kernel
def pull_back(channels, S, Z, G, s, n):
    """(1), (1'), (1'') of strip s: from g to delta in all channels; S has s', s'' and s'''."""
    V, D, order = vector_lanes(S), channels.D, channels.order
    value = strip(G, s)
    for k in range(0, n, V):
        store(times(load(G.array, value + k, 0, 1, 1), load(S, k, 0, 1, 1)), G.array, value + k, 0)
    for d in range(D):
        first = strip(of_channel(Z, channels, 1 + d), s)
        second = strip(of_channel(Z, channels, 1 + D + d), s)
        for k in range(0, n, V):
            s_1, s_2 = load(S, k, 0, 1, 1), load(S, n + k, 0, 1, 1)
            z_1, g_1 = load(Z.array, first + k, 0, 1, 1), load(G.array, first + k, 0, 1, 1)
            s_2_z_1 = times(s_2, z_1)
            delta = plus(times(g_1, s_2_z_1), load(G.array, value + k, 0, 1, 1))
            delta_1 = times(g_1, s_1)
            if order == 2:
                z_2, g_2 = load(Z.array, second + k, 0, 1, 1), load(G.array, second + k, 0, 1, 1)
                s_3 = load(S, 2 * n + k, 0, 1, 1)
                inner = plus(times(s_3, times(z_1, z_1)), times(s_2, z_2))
                delta = plus(times(g_2, inner), delta)
                delta_1 = plus(times(plus(g_2, g_2), s_2_z_1), delta_1)
                store(times(g_2, s_1), G.array, second + k, 0)
            store(delta_1, G.array, first + k, 0)
            store(delta, G.array, value + k, 0)


# --- a row tile ----------------------------------------------------------------------------------


@inlined
def ray(jets, row):
    """The directions of a sample."""
    return row if jets.rays.shape[0] > 1 else 0


@kernel
def inputs(task, jets, tile, channels):
    """a^0 = x, .a^0 = v and ..a^0 = 0; lanes behind the last sample repeat it."""
    model, work, rays, lanes = task.model, task.work, jets.rays, channels.lanes
    n_0, A = model.layers[0]["width"], neurons(model, work.a, 0, lanes)
    for i in range(channels.strips * lanes):
        work.rows[i] = sample(task, tile, i)
    gather(task, tile, owned(channels, 0, 1))
    for c in range(1, 1 + channels.order * channels.D):
        A_c = of_channel(A, channels, c)
        for s in range(channels.strips):
            clear(A_c, s, 0, up(n_0, ROW_UNIT))
            if c <= channels.D:
                a = flat(A_c, s, n_0)
                for i in range(lanes):
                    row = ray(jets, work.rows[s * lanes + i])
                    for j in range(n_0):
                        a[j * lanes + i] = rays[row, c - 1, j]


@kernel
def forward(task, jets, S, tile, channels):
    """(0), (0') and (0'') through all layers."""
    model, theta, work, lanes = task.model, task.theta, task.work, channels.lanes
    n_channels, n_strips = 1 + channels.order * channels.D, channels.strips
    none = Matrix(work.zeros, 0, 0)
    inputs(task, jets, tile, channels)
    for l in range(1, model.layers.shape[0]):
        n_in, n_l = model.layers[l - 1]["width"], model.layers[l]["width"]
        A, Z = neurons(model, work.a, l - 1, lanes), neurons(model, work.z, l, lanes)
        W, A_l = weights(model, theta, l), neurons(model, work.a, l, lanes)
        weighted_input(W, biases(model, theta, l), A, Z, n_in, n_l, owned(channels, 0, 1))
        weighted_input(W, none, A, Z, n_in, n_l, owned(channels, 1, n_channels))
        Delta, n = neurons(model, work.delta, l, lanes), n_l * lanes
        S_l = view(S, 0, channels.order * n)
        for s in range(n_strips):
            z, a = flat(Z, s, n_l), flat(A_l, s, n_l)
            activate(model.layers[l], z, a, flat(Delta, s, n_l), lanes)
            derivatives_of_layer(jets.derivatives[l], model.layers[l], z, a, S_l, lanes)
            push_forward(channels, S, Z, A_l, s, n)
        for s in range(n_channels * n_strips):
            clear(A_l, s, n_l, up(n_l, ROW_UNIT))


@kernel
def output_gradient(task, G, tile, channels):
    """G of the outputs into the strips of layer L; 0 behind the last sample."""
    model, lanes = task.model, channels.lanes
    L = model.layers.shape[0] - 1
    Delta, n_L = neurons(model, task.work.delta, L, lanes), model.layers[L]["width"]
    for c in range(G.shape[0]):
        G_c, of_c = G[c], of_channel(Delta, channels, c)
        for s in range(channels.strips):
            g = flat(of_c, s, n_L)
            g[:] = 0
            for i in range(min(lanes, tile.n - s * lanes)):
                for k in range(n_L):
                    g[k * lanes + i] = G_c[tile.start + s * lanes + i, k]


@kernel
def backward(task, jets, S, channels, gradient, fresh):
    """(1) and (2) down to dC/dx, and (3) and (4), added to the gradient unless it is `fresh`."""
    model, theta, work, lanes = task.model, task.theta, task.work, channels.lanes
    n_channels, samples = 1 + channels.order * channels.D, channels.strips * lanes
    everything, one = owned(channels, 0, n_channels), gradient.dtype.type(1)
    for l in range(model.layers.shape[0] - 1, 0, -1):
        n_in, n_l = model.layers[l - 1]["width"], model.layers[l]["width"]
        Z, A_l = neurons(model, work.z, l, lanes), neurons(model, work.a, l, lanes)
        Delta, n = neurons(model, work.delta, l, lanes), n_l * lanes
        S_l = view(S, 0, (channels.order + 1) * n)
        for s in range(channels.strips):
            z, a = flat(Z, s, n_l), flat(A_l, s, n_l)
            derivatives_of_layer(jets.derivatives[l], model.layers[l], z, a, S_l, lanes)
            pull_back(channels, S, Z, Delta, s, n)
        put_on_lanes(model, l, work, everything)
        Delta_rows, G = panels(model, work.delta_rows, l), weights(model, gradient, l)
        A = neurons(model, work.a, l - 1, lanes)
        into, rows = Into(G, fresh, one), up(n_in, ROW_UNIT)
        weight_gradient(A, Delta_rows, into, n_channels * samples, n_l, 0, rows)
        g = view(gradient, model.layers[l]["bias_start"], G.stride)
        bias_gradient(Delta_rows, samples, g, fresh)
        below = everything if l > 1 else owned(channels, 0, 1)
        U = neurons(model, work.delta, l - 1, lanes)
        errors_below(weights(model, theta, l), Delta, U, n_l, n_in, work, below)


@inlined
def channels_of(jets, V):
    """The strips of a whole row tile."""
    D, order = jets.rays.shape[1], jets.order
    lanes = lanes_of_channels(1 + order * D, V)
    return Channels(lanes, ROWS // (lanes * (1 + order * D)), D, order)


@inlined
def of_samples(full, n):
    """The strips of n samples."""
    return Channels(full.lanes, (n + full.lanes - 1) // full.lanes, full.D, full.order)


@inlined
def share_of_S(S, task, team):
    """The part of S that belongs to this thread."""
    n = S.shape[0] // task.work.n_threads
    return view(S, team.t * n, n)


@kernel(entry=True)
def _jet(team, bound, all_S, samples, jets, out, start, stop):
    if not begins(team):
        return
    own = reference(alone(reference(task_of(team, bound, samples))))
    full, to_follow = channels_of(jets, vector_lanes(own.theta)), reference(jets)
    S, k, rows = share_of_S(all_S, own, team), take(team, -1), full.strips * full.lanes
    while k * rows < stop - start:
        first = start + k * rows
        tile = RowTile(first, min(rows, stop - first))
        channels = of_samples(full, tile.n)
        forward(own, to_follow, S, tile, channels)
        put_outputs(own, tile, channels, out)
        k = take(team, k)


@kernel
def put_outputs(task, tile, channels, out):
    """Rows of a^L in all channels."""
    L, n, n_L = task.model.layers.shape[0] - 1, out.shape[1], out.shape[2]
    A, out_flat = neurons(task.model, task.work.a, L, channels.lanes), out.reshape(out.size)
    for c in range(out.shape[0]):
        place = (c * n + tile.start) * n_L
        M, strips = of_channel(A, channels, c), owned(channels, 0, 1)
        put(M, n_L, out_flat, place, n_L, tile.n, strips)


def jet(bound, jets, out, start, stop):
    """a^L with its derivatives; threads take row tiles whole."""
    samples = without_targets(jets.X, out.shape[2], out.dtype)
    _run(_jet, bound, samples, jets, out, start, stop)


def _run(call, bound, *arguments):
    own, S = bound.work
    team.run(call, own.n_threads, bound._replace(work=own), S, *arguments)


@kernel(entry=True)
def _jet_backward(team, bound, all_S, samples, jets, G, into, start, stop):
    if not begins(team):
        return
    task = reference(task_of(team, bound, samples))
    own = reference(alone(task))
    full, to_follow = channels_of(jets, vector_lanes(own.theta)), reference(jets)
    S, n_0, one_thread = share_of_S(all_S, own, team), into.by_X.shape[1], team.T == 1
    by_X, tile_rows = into.by_X.reshape(into.by_X.size), full.strips * full.lanes
    first_element, last_element = own_elements(task)
    rows = stop - start if one_thread else rows_of_slots(own.work, tile_rows)
    for first in range(start, stop, rows):
        n, k = min(rows, stop - first), take(team, -1)
        while k * tile_rows < n:
            tile = RowTile(first + k * tile_rows, min(tile_rows, n - k * tile_rows))
            channels = of_samples(full, tile.n)
            forward(own, to_follow, S, tile, channels)
            output_gradient(own, G, tile, channels)
            gradient = into.by_theta if one_thread else slot(own, k)
            backward(own, to_follow, S, channels, gradient, not one_thread)
            U, strips = neurons(own.model, own.work.delta, 0, channels.lanes), owned(channels, 0, 1)
            put(U, n_0, by_X, tile.start * n_0, n_0, tile.n, strips)
            k = take(team, k)
        if not one_thread:
            barrier(team)
            n_slots = (n + tile_rows - 1) // tile_rows
            add_slots(task, n_slots, into.by_theta, False, first_element, last_element)
            if team.t == 0:
                take_anew(team)
            barrier(team)


def jet_backward(bound, jets, G, into, start, stop):
    """(0) to (4); threads take row tiles whole."""
    samples = without_targets(jets.X, G.shape[2], G.dtype)
    _run(_jet_backward, bound, samples, jets, G, into, start, stop)
