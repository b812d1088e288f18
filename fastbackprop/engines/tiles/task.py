"""Where things are in the tiles engine: what a call is about, and its scratch memory."""

import functools
from typing import NamedTuple

import numpy as np

from fastbackprop.engines.functions import CostLoops, Model
from fastbackprop.engines.tiles.product import TALL, Matrix, Panels, Strips, strip
from fastbackprop.jit.kernels import inlined, kernel
from fastbackprop.jit.reference import ReferenceType, reference_type
from fastbackprop.jit.team import ALONE, Team
from fastbackprop.jit.tile import VECTOR_BYTES, view
from fastbackprop.layout import aligned_zeros, layer_type, read_only
from fastbackprop.samples import Samples, without_targets

ROWS = 128  # samples of a row tile
PANEL = 2048  # elements of the gradient that the update takes at once: they stay in the cache


class Work(NamedTuple):
    """Scratch for one row tile: a matrix for each layer, layer after layer.

    For one row tile of each thread where `shares` is their number.
    """

    z: np.ndarray  # (ROWS * sum of strides,), without that of layer 0 where X is sparse: strips
    a: np.ndarray
    delta: np.ndarray
    delta_rows: np.ndarray  # Delta': panels
    y: np.ndarray  # (ROWS * stride of layer L,): strips
    factor: np.ndarray  # (ROWS,): s_i / sum of s_i
    C: np.ndarray  # (ROWS,)
    costs: np.ndarray  # (vectors of ROWS,) float64: sum_i s_i C_i of each
    panels: np.ndarray  # (threads, elements): rows of the gradient, for each thread
    zeros: np.ndarray  # a row of them
    no_order: np.ndarray  # (0,) int64: samples as they stand
    keys: np.ndarray  # (ROWS,) uint32: of the noise
    rows: np.ndarray  # (ROWS,) int64: the samples of the row tile; behind its last, that again
    tile_costs: np.ndarray  # (slots,) float64, and the gradients of as many row tiles, one after
    gradients: np.ndarray  # the other, (slots * length,): see `whole`
    n_threads: int
    shares: int  # threads that have as much of z ... delta_rows, y ... costs, keys and rows each
    of_sparse: "OfSparse"


class OfSparse(NamedTuple):
    """Addresses of the kernels that only a sparse X needs; 0 in scratch for a dense one."""

    weighted_input: int = 0
    errors_as_rows: int = 0
    weight_gradient: int = 0


class Task(NamedTuple):
    """What a call is about; its parts have a reference to it."""

    team: Team
    model: Model
    theta: np.ndarray
    samples: Samples
    order: np.ndarray  # of the samples; (0,) leaves them as they stand
    work: Work


@inlined
def task_of(team, bound, samples):
    """A task of these samples as they stand."""
    return Task(team, bound.model, bound.theta, samples, bound.work.no_order, bound.work)


class RowTile(NamedTuple):
    """Samples order[start:start + n]."""

    start: int
    n: int


@inlined
def sample(task, tile, i):
    """Which sample is number i of the tile; behind the last it is that again."""
    place = tile.start + min(i, tile.n - 1)
    return task.order[place] if task.order.shape[0] > 0 else place


@inlined
def neurons(model, array, l, lanes):
    """z, a or delta of layer l."""
    layer = model.layers[l]
    return Strips(array, ROWS * layer["start"], layer["stride"], lanes)


class Neurons(NamedTuple):
    """Strips of one layer."""

    Z: Strips
    A: Strips
    Delta: Strips


@inlined
def layer_of(model, work, l, lanes):
    """z, a and delta of layer l."""
    return Neurons(
        neurons(model, work.z, l, lanes),
        neurons(model, work.a, l, lanes),
        neurons(model, work.delta, l, lanes),
    )


@inlined
def panels(model, array, l):
    """Delta' of layer l."""
    layer = model.layers[l]
    return Panels(array, ROWS * layer["start"], ROWS, layer["stride"])


@inlined
def weights(model, vector, l):
    """W^l, or its gradient, with padding."""
    return Matrix(vector, model.layers[l]["weight_start"], model.layers[l]["stride"])


@inlined
def biases(model, vector, l):
    """b^l."""
    return Matrix(vector, model.layers[l]["bias_start"], 1)


@inlined
def row_of_parameters(model, vector, l, j):
    """Row j of W^l, or b^l behind the last, without padding: a view, (n_l,)."""
    layer = model.layers[l]
    is_bias = j == model.layers[l - 1]["width"]
    start = layer["bias_start"] if is_bias else layer["weight_start"] + j * layer["stride"]
    return vector[start : start + layer["width"]]


@kernel(linked=True)
def copy(source, target):
    """Target = source, of the same length."""
    for p in range(source.shape[0]):
        target[p] = source[p]


@kernel(linked=True)
def _copy_back(target, source):
    copy(source, target)


@kernel(linked=True)
def add(x, y):
    """X += y."""
    for p in range(x.shape[0]):
        x[p] += y[p]


def _with_every_row(function):
    """A kernel of a vector without padding, (n_parameters,), and one with the padding of kernels.

    It calls the function with each row of W^l and each b^l: of the first, and of the second.
    """

    @kernel
    def with_every_row(model, flat, vector):
        place = 0
        for l in range(1, model.layers.shape[0]):
            for j in range(model.layers[l - 1]["width"] + 1):
                row = row_of_parameters(model, vector, l, j)
                function(view(flat, place, row.shape[0]), row)
                place += row.shape[0]

    return with_every_row


pad, without_padding, add_without_padding = map(_with_every_row, (copy, _copy_back, add))


@inlined
def flat(M, s, rows):
    """The first rows of strip s, all lanes: a view."""
    return view(M.array, strip(M, s), rows * M.lanes)


@kernel(linked=True)
def clear(M, s, first, last):
    """Zero these rows of strip s."""
    start = strip(M, s)
    M.array[start + first * M.lanes : start + last * M.lanes] = 0


@inlined
def lanes_of(array, s, lanes):
    """The part of an array of samples that belongs to strip s: a view."""
    return view(array, s * lanes, lanes)


def length(layers: np.ndarray) -> int:
    """Elements of a parameter vector."""
    return int(layers[-1]["bias_start"] + layers[-1]["stride"])


def scratch(
    model: Model,
    dtype: np.dtype,
    n_threads: int = 1,
    of_sparse: OfSparse | None = None,
    slots: int | None = None,
) -> Work:
    """For so many threads, and for a sparse X with its kernels.

    With a number of slots, which may be 0, for threads that take row tiles `whole`.
    """
    strides = model.layers["stride"][of_sparse is not None :]
    per_sample, widest = int(strides.sum()), int(strides.max())
    shares = 1 if slots is None else n_threads
    # One piece of memory: from 4 MB on NumPy asks for huge pages.
    z, a, delta, delta_rows = aligned_zeros(4 * shares * ROWS * per_sample, dtype).reshape(4, -1)
    return Work(
        z,
        a,
        delta,
        delta_rows,
        y=aligned_zeros(shares * ROWS * int(strides[-1]), dtype),
        factor=aligned_zeros(shares * ROWS, dtype),
        C=aligned_zeros(shares * ROWS, dtype),
        costs=np.zeros(shares * ROWS),
        panels=np.zeros((n_threads, max(PANEL, TALL[0] * widest)), dtype),
        zeros=aligned_zeros(max(widest, 2 * VECTOR_BYTES), dtype),
        no_order=np.zeros(0, np.int64),
        keys=np.zeros(shares * ROWS, np.uint32),
        rows=np.zeros(shares * ROWS, np.int64),
        tile_costs=np.zeros(slots or 0),
        gradients=aligned_zeros((slots or 0) * length(model.layers), dtype),
        n_threads=n_threads,
        shares=shares,
        of_sparse=of_sparse or OfSparse(),
    )


@functools.cache
def task_type(dtype: np.dtype) -> ReferenceType:
    """Numba's, of a reference to a `Task`."""
    a_model = Model(np.zeros(2, layer_type(dtype)), CostLoops(0, 0, False, np.zeros(1, dtype)))
    samples = without_targets(read_only(np.zeros((1, 1), dtype)), 1, dtype)
    work = scratch(a_model, dtype)
    return reference_type(Task(ALONE, a_model, work.z, samples, work.no_order, work))
