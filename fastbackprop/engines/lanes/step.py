"""A minibatch of V networks through the layers and back, and the step.

Samples go through the layers in strips. To activations and costs a strip, (n_l, STRIP, V), is one
of STRIP V columns, so these are the kernels of `tiles`.
"""

from typing import NamedTuple

import numpy as np

from fastbackprop.engines.functions import (
    activate,
    cost_gradient,
    cost_of_samples,
    multiply_by_derivative,
)
from fastbackprop.engines.functions.columns import scale
from fastbackprop.engines.lanes.memory import (
    COST,
    N_FIGURES,
    SQUARES,
    WEIGHT,
    Lanes,
    W,
    Z,
    layer_of,
    start_of_a,
    start_of_delta,
    up,
)
from fastbackprop.engines.lanes.product import (
    ROWS,
    STRIP,
    Sum,
    sums_from_bias,
    sums_from_zero,
    sums_over_samples,
)
from fastbackprop.engines.tiles.task import ROWS as ROW_TILE
from fastbackprop.engines.update import N_COEFFICIENTS
from fastbackprop.jit.call import call
from fastbackprop.jit.kernels import EXACT, ROUNDED, inlined, kernel
from fastbackprop.jit.reference import reference
from fastbackprop.jit.tile import folded, gather_block, load, plus, store, vector_lanes, view, zeros
from fastbackprop.jit.vectors import add_products


@kernel
def gather(X, rows, lanes, s, i):
    """a^0 of sample i of strip s: a row of X for each lane."""
    V, n_0 = vector_lanes(lanes.values), lanes.model.layers[0]["width"]
    start = start_of_a(lanes, 0, s)
    for j in range(0, n_0, V):
        at = start + (j * STRIP + i) * V
        gather_block(X, j, n_0, rows, min(V, n_0 - j), lanes.work.a, at, STRIP * V)


@kernel
def targets(samples, rows, y, i):
    """y of sample i of a strip, one-hot where there are labels."""
    V, one = vector_lanes(y), y.dtype.type(1)
    for lane in range(V):
        row, at = rows[lane], i * V + lane
        if samples.labels.shape[0] > 0:
            y[samples.labels[row] * STRIP * V + at] = one
        else:
            for k in range(samples.Y.shape[1]):
                y[k * STRIP * V + at] = samples.Y[row, k]


@kernel
def forward(lanes, s):
    """(0) and a^l = sigma_l(z^l) through all layers, for strip s."""
    V, work, model = vector_lanes(lanes.values), lanes.work, lanes.model
    row = STRIP * V
    for l in range(1, model.layers.shape[0]):
        n_in, n, w = model.layers[l - 1]["width"], model.layers[l]["width"], lanes.places[l, W]
        q = Sum(lanes.values, work.a, work.z, V, n * V, V, row, row, n_in, 1, 0, 0)
        a, z, bias = start_of_a(lanes, l - 1, s), lanes.places[l, Z], w + n_in * n * V
        sums_from_bias(q, w, a, z, bias, n, STRIP)
        here = layer_of(lanes, l, s)
        activate(model.layers[l], here.z, here.a, here.delta, row)


@kernel
def backward(lanes, s):
    """(1) times the samples' factors, and (2), in strip s."""
    V, work, model = vector_lanes(lanes.values), lanes.work, lanes.model
    L, row = model.layers.shape[0] - 1, STRIP * V
    for l in range(L, 0, -1):
        here, n = layer_of(lanes, l, s), model.layers[l]["width"]
        if l == L:
            cost_gradient(model.cost, here.z, here.a, work.y, here.delta, row)
        else:
            m, w, delta = model.layers[l + 1]["width"], lanes.places[l + 1, W], work.delta
            q = Sum(lanes.values, delta, delta, m * V, V, V, row, row, m, 1, 0, 0)
            next, out = start_of_delta(lanes, l + 1, s), start_of_delta(lanes, l, s)
            sums_from_zero(q, w, next, out, 0, n, STRIP)
        if l < L or not model.cost.fused:
            multiply_by_derivative(model.layers[l], here.z, here.a, here.delta, row)
        if l == L:
            scale(here.delta, row, work.factor)


@inlined
def places_of(epochs, e, lane):
    """Where the order of a lane begins in epoch e."""
    return (e * epochs.lengths.shape[0] + lane) * epochs.n


@kernel(fastmath=EXACT)
def begin_minibatch(epochs, e, start, work):
    """The lanes' samples and their sum_i s_i, one after the other; the most samples of a lane."""
    most, V = 0, epochs.lengths.shape[0]
    for lane in range(V):
        count = max(0, min(epochs.batch_size, epochs.lengths[lane] - start))
        most = max(most, count)
        total = float(count)
        if epochs.weight.shape[0] > 0:
            s, total = view(epochs.weight, places_of(epochs, e, lane) + start, count), 0.0
            for i in range(count):
                total += s[i]
        work.samples[lane], work.total[lane] = count, total
        work.cost[lane] = work.of_tile[lane] = work.part[lane] = 0
    return most


@kernel
def begin_strip(epochs, e, start, i, work):
    """Samples i ... i + STRIP of each lane's minibatch; behind the last, that again."""
    for lane in range(epochs.lengths.shape[0]):
        first = places_of(epochs, e, lane) + start
        last, V = max(0, int(work.samples[lane]) - 1), epochs.lengths.shape[0]
        for j in range(STRIP):
            place = first + min(i + j, last)
            work.rows[j * V + lane] = epochs.order[place]
            work.s[j * V + lane] = epochs.weight[place] if epochs.weight.shape[0] > 0 else 1.0


@kernel(fastmath=EXACT)
def factors(i, weighted, work):
    """s_i / total of a strip; zero behind a lane's last sample. i is its first sample's number."""
    V, T = work.samples.shape[0], work.factor.dtype.type
    for lane in range(V):
        whole, n = work.total[lane] if work.total[lane] > 0 else 1.0, work.samples[lane]
        of_one = T(1.0 / whole)  # a division for each sample takes long
        for j in range(STRIP):
            f = T(work.s[j * V + lane] / whole) if weighted else of_one
            work.factor[j * V + lane] = f if i + j < n else T(0)


@inlined
def add_parts(whole, part):
    """Add what each lane has in a part of a sum, and begin the next part."""
    for lane in range(part.shape[0]):
        whole[lane] += part[lane]
        part[lane] = 0


@kernel(fastmath=ROUNDED)
def add_costs(i, work):
    """Add s_i C_i of a strip to each lane's cost, in the order of `tiles`: V samples at a time."""
    V, part = work.samples.shape[0], work.part
    for j in range(STRIP):
        if (i + j) % V == 0:
            add_parts(work.of_tile, part)
        C, s = view(work.C, j * V, V), view(work.s, j * V, V)
        for lane in range(V):
            part[lane] += s[lane] * C[lane] if i + j < work.samples[lane] else 0.0


@kernel(fastmath=ROUNDED)
def end_row_tile(work):
    """Add the costs of a row tile to those of the minibatch."""
    add_parts(work.of_tile, work.part)
    add_parts(work.cost, work.of_tile)


@kernel(fastmath=EXACT)
def end_costs(epochs, sums, work):
    """Add the minibatch's cost to the sums; which lanes take a step, and their coefficients."""
    V, cost, total, taken = work.samples.shape[0], work.cost, work.total, epochs.taken
    for lane in range(V):
        if work.samples[lane] > 0 and not abs(cost[lane]) < np.inf:
            epochs.alive[lane] = 0
        takes = epochs.alive[lane] > 0 and work.samples[lane] > 0
        if takes:
            sums[COST * V + lane] += cost[lane]
            sums[WEIGHT * V + lane] += total[lane]
        takes = takes and total[lane] > 0
        row = min(taken[lane] - epochs.c_first[lane], epochs.c_rows - 1)
        start = (lane * epochs.c_rows + row) * N_COEFFICIENTS
        for i in range(N_COEFFICIENTS):
            work.c[i * V + lane] = epochs.c[start + i]
        work.on[lane] = 1 if takes else 0
        taken[lane] += 1 if takes else 0


@kernel(fastmath=ROUNDED)
def sum_squares(lanes, squares):
    """The sum of w^2 over all weights of each lane, one after the other in float64."""
    V, theta, model = vector_lanes(lanes.values), lanes.values, lanes.model
    squares[:] = 0
    for l in range(1, model.layers.shape[0]):
        start = lanes.places[l, W]
        n = model.layers[l - 1]["width"] * model.layers[l]["width"]
        for p in range(start, start + n * V, V):
            for lane in range(V):
                w = theta[p + lane]
                squares[lane] += w * w


@kernel(fastmath=EXACT)
def end_epoch(lanes, alive):
    """Which lanes have parameters that are all finite."""
    V, theta = vector_lanes(lanes.values), lanes.values
    test, zero = view(lanes.work.on, 0, V), theta.dtype.type(0)
    test[:] = 0
    for p in range(0, lanes.size, V):
        for lane in range(V):
            test[lane] += theta[p + lane] * zero  # NaN or infinity times 0 is NaN
    for lane in range(V):
        if test[lane] != 0:
            alive[lane] = 0


@kernel(fastmath=EXACT)
def bias_gradient(delta, start, n, strips, g):
    """(4), in the order of `tiles`: four sums, added in pairs."""
    V = vector_lanes(delta)
    for k in range(n):
        acc = zeros(delta, 4, 1)
        for s in range(strips):
            for i in range(0, STRIP, 4):
                at = start + ((s * n + k) * STRIP + i) * V
                acc = plus(load(delta, at, V, 4, 1), acc)
        store(folded(acc), g, k * V, 0)


@kernel
def penalize(epochs, lanes, kind, start, n):
    """g + l2 W of n elements: of weights (kind 0) or biases (1)."""
    V, g = vector_lanes(lanes.values), lanes.work.g
    for p in range(0, n, V):
        acc = load(g, p, 0, 1, 1)
        acc = add_products(acc, epochs.penalty, kind * V, 0, lanes.values, start + p, 0)
        store(acc, g, p, 0)


@kernel
def step_elements(epochs, lanes, kind, start, n, tile):
    """The rule for n elements whose gradient in a row tile is in work.g, if the minibatch ends.

    The gradients of row tiles are added one after the other, as in `tiles`.
    """
    V, work, g = vector_lanes(lanes.values), lanes.work, lanes.work.g
    if not tile.begins:
        for p in range(0, n, V):
            store(plus(load(work.gradient, start + p, 0, 1, 1), load(g, p, 0, 1, 1)), g, p, 0)
    if tile.ends:
        if epochs.penalty.shape[0] > 0:
            penalize(epochs, lanes, kind, start, n)
        call(epochs.rule, (lanes.values, lanes.size, start, n, g, work.c, work.on))
    else:
        for p in range(0, n, V):
            store(load(g, p, 0, 1, 1), work.gradient, start + p, 0)


class Tile(NamedTuple):
    """A row tile of a minibatch."""

    strips: int
    begins: bool  # the minibatch
    ends: bool


@kernel
def gradient_and_step(epochs, lanes, tile):
    """(3), (4) and the rule, some rows of W at a time.

    The gradient of a minibatch that is one row tile is never in memory.
    """
    V, work, model, strips = vector_lanes(lanes.values), lanes.work, lanes.model, tile.strips
    row = STRIP * V
    for l in range(1, model.layers.shape[0]):
        n_in, n, w = model.layers[l - 1]["width"], model.layers[l]["width"], lanes.places[l, W]
        a, delta = start_of_a(lanes, l - 1, 0), start_of_delta(lanes, l, 0)
        a_jump, d_jump = start_of_a(lanes, l - 1, 1) - a, n * row
        q = Sum(work.a, work.delta, work.g, row, V, row, V, n * V, STRIP, strips, a_jump, d_jump)
        for j in range(0, n_in, ROWS):
            rows, start = min(ROWS, n_in - j), w + j * n * V
            sums_over_samples(q, a + j * row, delta, 0, 0, rows, n)
            step_elements(epochs, lanes, 0, start, rows * n * V, tile)
        bias_gradient(work.delta, delta, n, strips, work.g)
        step_elements(epochs, lanes, 1, w + n_in * n * V, n * V, tile)


@kernel
def take_strip(epochs, lanes, e, start, s, i):
    """Strip s through the layers and back: samples i ... i + STRIP of the minibatch."""
    V, work = vector_lanes(lanes.values), lanes.work
    begin_strip(epochs, e, start, i, work)
    work.y[:] = 0
    for j in range(STRIP):
        rows = view(work.rows, j * V, V)
        gather(epochs.samples.X, rows, lanes, s, j)
        targets(epochs.samples, rows, work.y, j)
    forward(lanes, s)
    here = layer_of(lanes, lanes.model.layers.shape[0] - 1, s)
    cost_of_samples(lanes.model.cost, here.z, here.a, work.y, here.delta, work.C, STRIP * V)
    add_costs(i, work)
    factors(i, epochs.weight.shape[0] > 0, work)
    backward(lanes, s)


@kernel
def minibatch(epochs, lanes, e, start, sums):
    """The step of each lane from this place of its order on."""
    n = begin_minibatch(epochs, e, start, lanes.work)
    for first in range(0, n, ROW_TILE):
        strips = up(min(ROW_TILE, n - first), STRIP) // STRIP
        tile = reference(Tile(strips, first == 0, first + ROW_TILE >= n))
        for s in range(strips):
            take_strip(epochs, lanes, e, start, s, first + s * STRIP)
        end_row_tile(lanes.work)
        if tile.ends:
            end_costs(epochs, sums, lanes.work)
        gradient_and_step(epochs, lanes, tile)


@kernel(entry=True)
def train(networks, these, sums, start, stop):
    """Places start ... stop of every epoch, whole minibatches; sums (epochs N_FIGURES V,) float64.

    With a stop behind the last place of an epoch its end is reached, where the parameters are
    looked at.
    """
    lanes, epochs = reference(networks), reference(these)
    V = vector_lanes(lanes.values)
    for e in range(sums.shape[0] // (N_FIGURES * V)):
        of_epoch = view(sums, e * N_FIGURES * V, N_FIGURES * V)
        for place in range(start, min(stop, epochs.n), epochs.batch_size):
            minibatch(epochs, lanes, e, place, of_epoch)
        if stop >= epochs.n:
            end_epoch(lanes, epochs.alive)
            sum_squares(lanes, view(of_epoch, SQUARES * V, V))


@kernel(entry=True)
def predict(networks, values, X, first_row, out, n):
    """out[k, i] = a^L of network k, for row first_row[k] + i of X, i < n.

    values (groups, size) has the parameters of V networks in each row; first_row (groups V,);
    out (n_networks, n, n_L).
    """
    V, L = vector_lanes(values), networks.model.layers.shape[0] - 1
    rows = view(networks.work.rows, 0, V)
    for g in range(values.shape[0]):
        theta, size, work = values[g], networks.size, networks.work
        lanes = reference(Lanes(networks.model, networks.places, theta, size, work))
        members = min(V, out.shape[0] - g * V)
        for first in range(0, n, STRIP):
            for i in range(STRIP):
                for lane in range(V):
                    rows[lane] = first_row[g * V + lane] + min(first + i, n - 1)
                gather(X, rows, lanes, 0, i)
            forward(lanes, 0)
            a = layer_of(lanes, L, 0).a
            for lane in range(members):
                for i in range(min(STRIP, n - first)):
                    for k in range(out.shape[2]):
                        out[g * V + lane, first + i, k] = a[(k * STRIP + i) * V + lane]
