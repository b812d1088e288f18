"""The same equations on register tiles, strips of samples at a time, by a team of threads.

`equations` has them, and says how samples and neurons lie in memory. `layers` takes samples through
the layers and back, `step` changes the parameters. Python calls the kernels of `calls` and
`predictions`. This file is the contract of `fastbackprop.engines`.
"""

import functools
import operator
from collections.abc import Sequence

import numpy as np

from fastbackprop.engines import functions as _functions
from fastbackprop.engines import orders as orders
from fastbackprop.engines.bound import Bound, by_parameters
from fastbackprop.engines.dropout import perturbed_for_kernels
from fastbackprop.engines.functions import Model
from fastbackprop.engines.rules import compiled_rule, update_type
from fastbackprop.engines.tiles import calls, predictions
from fastbackprop.engines.tiles import short as short
from fastbackprop.engines.tiles.layers import strips_of
from fastbackprop.engines.tiles.product import ROW_UNIT
from fastbackprop.engines.tiles.sparse import of_sparse
from fastbackprop.engines.tiles.step import complete_step
from fastbackprop.engines.tiles.task import ROWS, Work, length, scratch, task_type
from fastbackprop.engines.tiles.whole import most_threads, slots
from fastbackprop.functions.activations import Activation
from fastbackprop.functions.costs import Cost
from fastbackprop.jit import team
from fastbackprop.jit.call import address
from fastbackprop.jit.reference import ReferenceType
from fastbackprop.jit.tile import VECTOR_BYTES
from fastbackprop.layout import Layout, read_only
from fastbackprop.samples import N_SUMS, Samples, without_targets

# Multiply-adds of (0) that a thread must have to do in a step and in each row tile that it shares,
# to be worth the barriers, and in a call, to be worth starting.
MIN_STEP, MIN_TILE, MIN_CALL = 190_000, 80_000, 8_000_000


def model(layout: Layout, sigma: Sequence[Activation], cost: Cost, dtype: np.dtype) -> Model:
    """The functions are loops over strips of samples."""
    return _functions.model(layout, sigma, cost, dtype, columns=True)


def stride(width: int, dtype: np.dtype) -> int:
    """Rows are padded to whole vectors and whole ROW_UNITs; never to a multiple of 2 KiB.

    At such strides the rows of a column would all fall into the same few sets of the cache.
    """
    itemsize = np.dtype(dtype).itemsize
    unit = max(VECTOR_BYTES // itemsize, ROW_UNIT)
    padded = -(-width // unit) * unit
    return padded + unit if padded * itemsize % 2048 == 0 else padded


rule, perturbed = compiled_rule, perturbed_for_kernels


@functools.cache
def completion(dtype: np.dtype) -> int:
    """`Update.completion`; compiled, or read from the disk, here."""
    return address(complete_step, task_type(dtype), ReferenceType(update_type(dtype)))


def row_tile(model: Model) -> int:
    """Samples that are in the cache together."""
    return ROWS


def threads(
    model: Model,
    batch_size: int | None,
    n_samples: int,
    inputs_per_sample: float | None = None,
) -> int:
    """So many threads as the call, and its steps if it takes any, give work to.

    With fewer vectors of samples in a minibatch than threads they share the gradient only: up to
    15 % slower. Threads that take row tiles whole have one each.
    """
    widths = model.layers["width"].tolist()
    if inputs_per_sample is not None:
        widths[0] = inputs_per_sample
    products = _products(widths)
    most = min(n_samples * products // MIN_CALL, team.available_processors())
    if batch_size is not None:
        of_tile = min(batch_size, ROWS) * products // MIN_TILE
        shared = min(of_tile, -(-batch_size * model.cost.p.itemsize // VECTOR_BYTES))
        apart = min(-(-batch_size // ROWS), most_threads(length(model.layers), products))
        most = min(most, batch_size * products // MIN_STEP, max(shared, apart))
    return max(1, int(most))


def few(sizes: Sequence[int]) -> int:
    """So many rows at most are no work for a second thread, nor long: 40,000 of a tiny network."""
    return max(1, int(2 * MIN_CALL // max(_products(sizes), 400)))


def _products(widths: Sequence[float]) -> float:
    """Multiply-adds of (0) for a sample."""
    return sum(map(operator.mul, widths, widths[1:]))


def workspace(model: Model, dtype: np.dtype, n_threads: int = 1, sparse: bool = False) -> Work:
    """Scratch that depends on the network; less for a sparse X, more where tiles are `whole`."""
    n_threads = min(n_threads, team.available_processors())
    if sparse:
        return scratch(model, dtype, n_threads, of_sparse(dtype))
    n, products = length(model.layers), _products(model.layers["width"].tolist())
    apart = 1 < n_threads <= most_threads(n, products)
    return scratch(model, dtype, n_threads, slots=slots(n, n_threads) if apart else None)


def predict(bound, samples, out, start, stop):
    """out[i] = a^L of sample i."""
    team.run(predictions.predict, bound.work.n_threads, bound, samples, out, start, stop)


def predict_rows(layers, theta, X, out, work):
    """The same in one thread, of so `few` rows that nothing has checked; False if not finite."""
    arrays = work.z, work.a, work.delta, work.rows
    return predictions.predict_rows(layers, theta, read_only(X), out, *arrays)


predict_row = predictions.predict_row


def cost_sum(bound, samples, sums, start, stop):
    """Add sum_i s_i C_i and sum_i s_i to sums."""
    team.run(calls.cost_sum, bound.work.n_threads, bound, samples, sums, start, stop)


def gradient_sums(bound, samples, total, into, sums, start, stop):
    """Add also sum_i s_i / total dC_i/dtheta to the gradient; set the rows of dC_i/da^0."""
    arguments = (bound, samples, total, into, sums, start, stop)
    team.run(calls.gradient_sums, bound.work.n_threads, *arguments)


def train(bound, minibatches, update, sums, start, stop):
    """Minibatch steps over order[start:stop]; a minibatch may be spread over several calls."""
    arguments = (bound, minibatches, update, sums, start, stop)
    return team.run(calls.train, bound.work.n_threads, *arguments)


def take_step(bound, update):
    """The step with the gradient in update.g."""
    dtype, n_out = bound.theta.dtype, bound.model.layers["width"][-1]
    nothing = without_targets(read_only(np.zeros((0, 0), dtype)), n_out, dtype)
    calls.take_step(bound, nothing, update)


def activations(model: Model, theta: np.ndarray, X: np.ndarray) -> list[np.ndarray]:
    """a^0 ... a^L, (n_samples, n_l) each."""
    work, arrays = workspace(model, theta.dtype), _by_layer(model, len(X), theta.dtype)
    out = np.empty((len(X), model.layers["width"][-1]), theta.dtype)
    samples = without_targets(X, out.shape[1], theta.dtype)
    for start in range(0, len(X), ROWS):
        stop = min(start + ROWS, len(X))
        predict(Bound(model, theta, work), samples, out, start, stop)
        _keep(model.layers, work.a, arrays, start, stop)
    return arrays


def trace(
    model: Model, theta: np.ndarray, samples: Samples, total: float, gradient: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """The sums of `gradient_sums`, and z, a, delta of every sample by layer."""
    n, work, sums = len(samples.X), workspace(model, theta.dtype), np.zeros(N_SUMS)
    z, a, delta = (_by_layer(model, n, theta.dtype) for _ in range(3))
    for start in range(0, n, ROWS):
        stop = min(start + ROWS, n)
        into = by_parameters(gradient)
        gradient_sums(Bound(model, theta, work), samples, total, into, sums, start, stop)
        _keep(model.layers, work.a, a, start, stop)
        _keep(model.layers[1:], work.z, z[1:], start, stop)
        _keep(model.layers[1:], work.delta, delta[1:], start, stop)
    return sums, z[1:], a, delta[1:]


def _by_layer(model: Model, n: int, dtype: np.dtype) -> list[np.ndarray]:
    return [np.empty((n, width), dtype) for width in model.layers["width"]]


def _keep(
    layers: np.ndarray, array: np.ndarray, kept: list[np.ndarray], start: int, stop: int
) -> None:
    """Copy a row tile, as one thread leaves it, out of the scratch memory."""
    lanes, strips = strips_of.py_func(stop - start, VECTOR_BYTES // array.itemsize, 1)
    for layer, of_layer in zip(layers, kept, strict=True):
        offset, height = ROWS * layer["start"], layer["stride"]
        rows = array[offset : offset + strips * height * lanes].reshape(strips, height, lanes)
        of_samples = rows.transpose(0, 2, 1).reshape(strips * lanes, height)
        of_layer[start:stop] = of_samples[: stop - start, : layer["width"]]
