"""A minibatch of V networks through the layers and back, and the step.

Samples go through the layers in strips. To activations and costs a strip, (n_l, STRIP, V), is one
of STRIP V columns, so these are the kernels of `tiles`.
"""

from typing import NamedTuple

import numpy as np

from fastbackprop.engines.functions import (
    Model,
    activate,
    cost_gradient,
    cost_of_samples,
    multiply_by_derivative,
)
from fastbackprop.engines.functions.columns import scale
from fastbackprop.engines.lanes.product import (
    ROWS,
    STRIP,
    Sum,
    sums_from_bias,
    sums_from_zero,
    sums_over_samples,
)
from fastbackprop.jit.call import call
from fastbackprop.jit.kernels import EXACT, ROUNDED, inlined, kernel
from fastbackprop.jit.reference import reference
from fastbackprop.jit.tile import (
    VECTOR_BYTES,
    folded,
    gather_block,
    load,
    plus,
    store,
    vector_lanes,
    view,
    zeros,
)
from fastbackprop.layout import aligned_zeros
from fastbackprop.samples import Samples

W, A, Z, D = range(4)  # columns of `places`
COST, WEIGHT, ALIVE = range(3)  # rows of `sums`


class Work(NamedTuple):
    """Scratch for a minibatch of V networks."""

    a: np.ndarray  # a^l, layer after layer: (strips, n_l, STRIP, V); n_0 in whole vectors
    z: np.ndarray  # of one strip, (n_l, STRIP, V)
    delta: np.ndarray  # (strips, n_l, STRIP, V)
    y: np.ndarray  # of one strip, (n_L, STRIP, V)
    C: np.ndarray  # (STRIP V,)
    factor: np.ndarray  # (STRIP V,): s_i / sum of s_i
    g: np.ndarray  # some rows of a gradient
    on: np.ndarray  # (V,): above 0 in the lanes that take a step
    total: np.ndarray  # (V,) float64: sum of s_i of the minibatch
    part: np.ndarray  # (V,) float64: sum_i s_i C_i of V samples
    cost: np.ndarray  # (V,) float64: of the minibatch
    rows: np.ndarray  # (V,) int64


class Lanes(NamedTuple):
    """V networks of one kind."""

    model: Model
    places: np.ndarray  # (L+1, 4): where layer l begins, by W ... D
    values: np.ndarray  # theta without padding, (n_parameters, V), and then each state
    size: int  # elements of theta
    work: Work


class Steps(NamedTuple):
    """Minibatches of V networks. A minibatch has whole strips of places."""

    samples: Samples
    order: np.ndarray  # (places V,): which sample; behind a lane's last, any
    weight: np.ndarray  # (places V,) float64: s_i; (0,) if all are 1
    counts: np.ndarray  # (steps V,) float64: samples of the lane's minibatch; 0: it takes no step
    starts: np.ndarray  # (steps + 1,): the first place of each
    rule: int  # the address of `rules.compiled_rule`
    c: np.ndarray  # coefficients, (steps N_COEFFICIENTS V,)


def make(model: Model, n_states: int, batch_size: int, dtype: np.dtype) -> Lanes:
    """Zeros for V networks of this kind."""
    V, widths = VECTOR_BYTES // dtype.itemsize, model.layers["width"].tolist()
    strips, places = -(-batch_size // STRIP), np.zeros((len(widths), 4), np.int64)
    w = a = z = d = 0
    for l, n in enumerate(widths):
        places[l] = w, a, z, d
        a += strips * (-(-n // V) * V if l == 0 else n) * STRIP * V
        if l:
            w += (widths[l - 1] + 1) * n * V
            z += n * STRIP * V
            d += strips * n * STRIP * V
    work = Work(
        a=aligned_zeros(a + V * STRIP * V, dtype),  # X comes in blocks of V columns
        z=aligned_zeros(z, dtype),
        delta=aligned_zeros(d, dtype),
        y=aligned_zeros(widths[-1] * STRIP * V, dtype),
        C=aligned_zeros(STRIP * V, dtype),
        factor=aligned_zeros(STRIP * V, dtype),
        g=aligned_zeros(ROWS * max(widths[1:]) * V, dtype),
        on=aligned_zeros(V, dtype),
        total=np.zeros(V),
        part=np.zeros(V),
        cost=np.zeros(V),
        rows=np.zeros(V, np.int64),
    )
    return Lanes(model, places, aligned_zeros((1 + n_states) * w, dtype), w, work)


@inlined
def up(n, unit):
    """n rounded up to a multiple of the unit."""
    return (n + unit - 1) // unit * unit


class Layer(NamedTuple):
    """z, a, delta of one layer in a strip, as activations and costs take them."""

    z: np.ndarray
    a: np.ndarray
    delta: np.ndarray


@inlined
def start_of_a(lanes, l, s):
    """Where a^l of strip s begins."""
    V, n = vector_lanes(lanes.values), lanes.model.layers[l]["width"]
    height = up(n, V) if l == 0 else n
    return lanes.places[l, A] + s * height * STRIP * V


@inlined
def start_of_delta(lanes, l, s):
    """Where delta^l of strip s begins."""
    V, n = vector_lanes(lanes.values), lanes.model.layers[l]["width"]
    return lanes.places[l, D] + s * n * STRIP * V


@inlined
def layer_of(lanes, l, s):
    """Layer l in strip s."""
    V, work = vector_lanes(lanes.values), lanes.work
    size = lanes.model.layers[l]["width"] * STRIP * V
    return Layer(
        view(work.z, lanes.places[l, Z], size),
        view(work.a, start_of_a(lanes, l, s), size),
        view(work.delta, start_of_delta(lanes, l, s), size),
    )


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


@kernel(fastmath=EXACT)
def totals(steps, first, last, count, total):
    """sum_i s_i of each lane's minibatch, one after the other."""
    V = count.shape[0]
    for lane in range(V):
        total[lane] = count[lane]
    if steps.weight.shape[0] > 0:
        total[:] = 0
        for i in range(last - first):
            s = view(steps.weight, (first + i) * V, V)
            for lane in range(V):
                total[lane] += s[lane] if i < count[lane] else 0.0


@kernel(fastmath=EXACT)
def factors(steps, place, i, count, total, factor):
    """s_i / total of a strip; zero behind a lane's last sample. i is its first sample's number."""
    V, T = count.shape[0], factor.dtype.type
    for j in range(STRIP):
        f = view(factor, j * V, V)
        if steps.weight.shape[0] > 0:
            s = view(steps.weight, (place + j) * V, V)
            for lane in range(V):
                whole = total[lane] if total[lane] > 0 else 1.0
                f[lane] = T(s[lane] / whole) if i + j < count[lane] else T(0)
        else:
            for lane in range(V):
                f[lane] = T(1.0 / total[lane]) if i + j < count[lane] else T(0)


@kernel(fastmath=ROUNDED)
def add_costs(steps, place, i, count, work):
    """Add s_i C_i of a strip to each lane's cost, in the order of `tiles`: V samples at a time."""
    V, part, cost = count.shape[0], work.part, work.cost
    for j in range(STRIP):
        if (i + j) % V == 0:
            for lane in range(V):
                cost[lane] += part[lane]
                part[lane] = 0
        C = view(work.C, j * V, V)
        if steps.weight.shape[0] > 0:
            s = view(steps.weight, (place + j) * V, V)
            for lane in range(V):
                part[lane] += s[lane] * C[lane] if i + j < count[lane] else 0.0
        else:
            for lane in range(V):
                part[lane] += C[lane] if i + j < count[lane] else 0.0


@kernel(fastmath=EXACT)
def end_costs(count, sums, work):
    """Add the minibatch's cost to the sums, and say which lanes take a step."""
    V, cost, total = count.shape[0], work.cost, work.total
    for lane in range(V):
        cost[lane] += work.part[lane]
        if count[lane] > 0 and not abs(cost[lane]) < np.inf:
            sums[ALIVE * V + lane] = 0
        takes = sums[ALIVE * V + lane] > 0 and count[lane] > 0
        if takes:
            sums[COST * V + lane] += cost[lane]
            sums[WEIGHT * V + lane] += total[lane]
        work.on[lane] = 1 if takes and total[lane] > 0 else 0


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
def gradient_and_step(lanes, rule, c, strips):
    """(3), (4) and the rule, some rows of W at a time: the gradient is never in memory."""
    V, work, model = vector_lanes(lanes.values), lanes.work, lanes.model
    row = STRIP * V
    for l in range(1, model.layers.shape[0]):
        n_in, n, w = model.layers[l - 1]["width"], model.layers[l]["width"], lanes.places[l, W]
        a, delta = start_of_a(lanes, l - 1, 0), start_of_delta(lanes, l, 0)
        a_jump, d_jump = start_of_a(lanes, l - 1, 1) - a, n * row
        q = Sum(work.a, work.delta, work.g, row, V, row, V, n * V, STRIP, strips, a_jump, d_jump)
        for j in range(0, n_in, ROWS):
            rows = min(ROWS, n_in - j)
            sums_over_samples(q, a + j * row, delta, 0, 0, rows, n)
            call(rule, (lanes.values, lanes.size, w + j * n * V, rows * n * V, work.g, c, work.on))
        bias_gradient(work.delta, delta, n, strips, work.g)
        call(rule, (lanes.values, lanes.size, w + n_in * n * V, n * V, work.g, c, work.on))


@kernel(entry=True)
def train(networks, minibatches, sums, first, last):
    """Steps first ... last of V networks. sums (3 V,), float64: see COST ... ALIVE."""
    lanes, steps = reference(networks), reference(minibatches)
    V, work = vector_lanes(lanes.values), lanes.work
    for t in range(first, last):
        start, stop, count = steps.starts[t], steps.starts[t + 1], view(steps.counts, t * V, V)
        totals(steps, start, stop, count, work.total)
        work.cost[:] = 0
        work.part[:] = 0
        for s in range((stop - start) // STRIP):
            place = start + s * STRIP
            work.y[:] = 0
            for i in range(STRIP):
                rows = view(steps.order, (place + i) * V, V)
                gather(steps.samples.X, rows, lanes, s, i)
                targets(steps.samples, rows, work.y, i)
            forward(lanes, s)
            here = layer_of(lanes, lanes.model.layers.shape[0] - 1, s)
            cost = lanes.model.cost
            cost_of_samples(cost, here.z, here.a, work.y, here.delta, work.C, STRIP * V)
            add_costs(steps, place, s * STRIP, count, work)
            factors(steps, place, s * STRIP, count, work.total, work.factor)
            backward(lanes, s)
        end_costs(count, sums, work)
        c = view(steps.c, t * 8 * V, 8 * V)
        gradient_and_step(lanes, steps.rule, c, (stop - start) // STRIP)


@kernel(entry=True)
def predict(networks, values, X, first_row, out, n):
    """out[k, i] = a^L of network k, for row first_row[k] + i of X, i < n.

    values (groups, size) has the parameters of V networks in each row; first_row (groups V,);
    out (n_networks, n, n_L).
    """
    V, rows, L = vector_lanes(values), networks.work.rows, networks.model.layers.shape[0] - 1
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
