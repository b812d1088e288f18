"""Memory of V networks: parameters and states in lanes, scratch, and where layers begin."""

from typing import NamedTuple

import numpy as np

from fastbackprop.engines.functions import Model
from fastbackprop.engines.lanes.product import ROWS, STRIP
from fastbackprop.engines.tiles.task import ROWS as ROW_TILE
from fastbackprop.engines.update import N_COEFFICIENTS
from fastbackprop.jit.kernels import inlined, kernel
from fastbackprop.jit.tile import VECTOR_BYTES, elements_at, vector_lanes, view
from fastbackprop.layout import aligned_zeros
from fastbackprop.samples import Samples

W, A, Z, D = range(4)  # columns of `places`
COST, WEIGHT, SQUARES = range(3)  # rows of `sums`; the last is sum_jk w_jk^2 after an epoch
N_FIGURES = 3


class Work(NamedTuple):
    """Scratch for a minibatch of V networks."""

    a: np.ndarray  # a^l, layer after layer: (strips, n_l, STRIP, V); n_0 in whole vectors
    z: np.ndarray  # of one strip, (n_l, STRIP, V)
    delta: np.ndarray  # (strips, n_l, STRIP, V)
    y: np.ndarray  # of one strip, (n_L, STRIP, V)
    C: np.ndarray  # (STRIP V,)
    factor: np.ndarray  # (STRIP V,): s_i / sum of s_i
    g: np.ndarray  # some rows of a gradient
    gradient: np.ndarray  # (size,), of the row tiles before; (0,) where a minibatch is one
    on: np.ndarray  # (V,): above 0 in the lanes that take a step
    c: np.ndarray  # coefficients of the step, (N_COEFFICIENTS V,)
    samples: np.ndarray  # (V,) float64: how many in each lane's minibatch; 0: it takes no step
    total: np.ndarray  # (V,) float64: sum of s_i of the minibatch
    part: np.ndarray  # (V,) float64: sum_i s_i C_i of V samples
    of_tile: np.ndarray  # (V,) float64: of a row tile
    cost: np.ndarray  # (V,) float64: of the minibatch
    rows: np.ndarray  # (STRIP V,) int64: which samples
    s: np.ndarray  # (STRIP V,) float64: s_i


class Lanes(NamedTuple):
    """V networks of one kind."""

    model: Model
    places: np.ndarray  # (L+1, 4): where layer l begins, by W ... D
    values: np.ndarray  # theta without padding, (n_parameters, V), and then each state
    size: int  # elements of theta
    work: Work


class Epochs(NamedTuple):
    """Epochs of V networks, each with its own samples, coefficients and number of steps."""

    samples: Samples
    order: np.ndarray  # (epochs V n,): which samples, n places for each epoch and lane
    weight: np.ndarray  # likewise, float64: s_i; (0,) if all are 1
    lengths: np.ndarray  # (V,) int64: samples of an epoch, n or fewer; of an empty lane 0
    n: int
    batch_size: int
    rule: int  # the address of `rules.compiled_rule`
    c: np.ndarray  # coefficients, (V rows N_COEFFICIENTS): rows for each lane, one or one a step
    c_rows: int
    c_first: np.ndarray  # (V,) int64: `taken` of each lane's first row
    penalty: np.ndarray  # (2 V,): l2 for weights, then for biases; (0,) without
    taken: np.ndarray  # (V,) int64: steps that each lane has taken
    alive: np.ndarray  # (V,): 0 where the cost or a parameter was not finite; no step follows


def make(model: Model, n_states: int, batch_size: int, dtype: np.dtype) -> Lanes:
    """Zeros for V networks of this kind."""
    V, widths = VECTOR_BYTES // dtype.itemsize, model.layers["width"].tolist()
    strips = -(-min(batch_size, ROW_TILE) // STRIP)
    places = np.zeros((len(widths), 4), np.int64)
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
        gradient=aligned_zeros(w if batch_size > ROW_TILE else 0, dtype),
        on=aligned_zeros(V, dtype),
        c=aligned_zeros(N_COEFFICIENTS * V, dtype),
        samples=np.zeros(V),
        total=np.zeros(V),
        part=np.zeros(V),
        of_tile=np.zeros(V),
        cost=np.zeros(V),
        rows=np.zeros(STRIP * V, np.int64),
        s=np.zeros(STRIP * V),
    )
    return Lanes(model, places, aligned_zeros((1 + n_states) * w, dtype), w, work)


@kernel(entry=True)
def pack(values, index, length, addresses):
    """Vectors of networks into lanes: element index[p] of each becomes p of its lane.

    values (vectors, n_parameters, V); addresses (vectors V,), 0 for none, are of theta and each
    state of every network, of this length.
    """
    V, n = vector_lanes(values), index.shape[0]
    for i in range(addresses.shape[0]):
        if addresses[i] != 0:
            start, vector = i // V * n * V + i % V, elements_at(addresses[i], values, length)
            for p in range(n):
                values[start + p * V] = vector[index[p]]


@kernel(entry=True)
def unpack(values, index, length, addresses):
    """The reverse of `pack`."""
    V, n = vector_lanes(values), index.shape[0]
    for i in range(addresses.shape[0]):
        if addresses[i] != 0:
            start, vector = i // V * n * V + i % V, elements_at(addresses[i], values, length)
            for p in range(n):
                vector[index[p]] = values[start + p * V]


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
