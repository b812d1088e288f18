"""The derivation as explicit loops: equations (0) to (4), index by index, no tricks.

Letters are those of the derivation: layer l has n_l neurons, w^l_jk goes from neuron j of layer
l-1 to neuron k of layer l. The five equations below are for one sample and one layer; a sample, a
minibatch and an epoch are built from them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fastbackprop.engines import functions as _functions
from fastbackprop.engines.bound import Bound, by_parameters
from fastbackprop.engines.dropout import (
    drop_out,
    input_after_dropout,
    key_of_input,
    perturb_input,
    perturbed_for_kernels,
)
from fastbackprop.engines.functions import (
    Model,
    activate,
    cost_gradient,
    cost_of_samples,
    multiply_by_derivative,
)
from fastbackprop.engines.minibatch import end_minibatch, is_sparse, minibatch, target, weight
from fastbackprop.engines.noise import SILENCE, Noise
from fastbackprop.engines.rules import compiled_completion, compiled_rule, step
from fastbackprop.functions.activations import Activation
from fastbackprop.functions.costs import Cost
from fastbackprop.jit.kernels import inlined, kernel
from fastbackprop.layout import Layout
from fastbackprop.samples import COST, MINIBATCH_COST, N_SUMS, WEIGHT, Samples, without_targets

# --- the equations -------------------------------------------------------------------------------


@kernel(entry=True, linked=True)
def weighted_input(a, w, b, z):
    """(0)  z^l_k = sum_j a^{l-1}_j w^l_jk + b^l_k

    a (n_{l-1},), w (n_{l-1}, n_l), b (n_l,) -> z (n_l,). The loop over j is the outer one, so the
    inner one walks along rows of w.
    """
    for k in range(z.shape[0]):
        z[k] = b[k]
    for j in range(a.shape[0]):
        for k in range(z.shape[0]):
            z[k] += a[j] * w[j, k]


@kernel(entry=True, linked=True)
def output_error(sigma, cost, z, a, y, delta):
    """(1)  delta^L_j = dC/da^L_j sigma_L'(z^L_j)

    The layer of sigma; z, a, y (n_L,) -> delta (n_L,). Softmax couples the outputs: the product is
    with its Jacobian. A cost fused with its activation gives dC/dz^L_j at once.
    """
    cost_gradient(cost, z, a, y, delta, 1)
    if not cost.fused:
        multiply_by_derivative(sigma, z, a, delta, 1)


@kernel(entry=True, linked=True)
def hidden_error(sigma, w_next, delta_next, z, a, delta):
    """(2)  delta^l_j = sigma_l'(z^l_j) sum_k delta^{l+1}_k w^{l+1}_jk

    The layer of sigma; w_next (n_l, n_{l+1}), delta_next (n_{l+1},), z, a (n_l,) -> delta (n_l,).
    """
    for j in range(delta.shape[0]):
        total = delta.dtype.type(0)
        for k in range(delta_next.shape[0]):
            total += delta_next[k] * w_next[j, k]
        delta[j] = total
    multiply_by_derivative(sigma, z, a, delta, 1)


@kernel(entry=True, linked=True)
def weight_gradient(a, delta, g):
    """(3)  dC/dw^l_kj = a^{l-1}_k delta^l_j

    a (n_{l-1},), delta (n_l,), added to g (n_{l-1}, n_l).
    """
    for k in range(a.shape[0]):
        for j in range(delta.shape[0]):
            g[k, j] += a[k] * delta[j]


@kernel(entry=True, linked=True)
def bias_gradient(delta, g):
    """(4)  dC/db^l_j = delta^l_j

    delta (n_l,), added to g (n_l,).
    """
    for j in range(delta.shape[0]):
        g[j] += delta[j]


@kernel(linked=True)
def back(w, delta, u):
    """u^{l-1}_j = sum_k delta^l_k w^l_jk, the sum in (2)

    w (n_{l-1}, n_l), delta (n_l,), added to u (n_{l-1},).
    """
    for j in range(u.shape[0]):
        for k in range(delta.shape[0]):
            u[j] += delta[k] * w[j, k]


@kernel(linked=True)
def sparse_weighted_input(layer, samples, i, key, w, b, z):
    """(0) for layer 1, over the j where x_j of sample i is not zero; `key` is of its dropout."""
    for k in range(z.shape[0]):
        z[k] = b[k]
    for p in range(samples.spans[i, 0], samples.spans[i, 1]):
        j = samples.columns[p]
        x_j = input_after_dropout(layer, key, j, samples.values[p])
        for k in range(z.shape[0]):
            z[k] += x_j * w[j, k]


@kernel(linked=True)
def sparse_weight_gradient(layer, samples, i, key, delta, g):
    """(3) for layer 1: the other rows of g get nothing."""
    for p in range(samples.spans[i, 0], samples.spans[i, 1]):
        k = samples.columns[p]
        x_k = input_after_dropout(layer, key, k, samples.values[p])
        for j in range(delta.shape[0]):
            g[k, j] += x_k * delta[j]


# --- where things are ----------------------------------------------------------------------------


class Record(NamedTuple):
    """z, a and delta of samples, layer after layer from layer 0, and one target.

    Sample i has row i modulo the number of rows: one row is scratch, one for each sample a trace.
    """

    z: np.ndarray  # (rows, sum of n_l)
    a: np.ndarray
    delta: np.ndarray
    y: np.ndarray  # (n_L,)
    C: np.ndarray  # (1,)
    keys: np.ndarray  # (1,) uint32


@inlined
def layer(model, row, l):
    """The part of a row of neurons that belongs to layer l, (n_l,)."""
    start = model.layers[l]["start"]
    return row[start : start + model.layers[l]["width"]]


@inlined
def weights(model, vector, l):
    """W^l, or its gradient, (n_{l-1}, n_l)."""
    m, n = model.layers[l - 1]["width"], model.layers[l]["width"]
    start = model.layers[l]["weight_start"]
    return vector[start : start + m * n].reshape(m, n)


@inlined
def biases(model, vector, l):
    """b^l, or its gradient, (n_l,)."""
    start = model.layers[l]["bias_start"]
    return vector[start : start + model.layers[l]["width"]]


# --- one sample ----------------------------------------------------------------------------------


class Row(NamedTuple):
    """z, a and delta of one sample, layer after layer."""

    z: np.ndarray
    a: np.ndarray
    delta: np.ndarray


@inlined
def row_of(record, i):
    """The row of the record that sample i has."""
    row = i % record.z.shape[0]
    return Row(record.z[row], record.a[row], record.delta[row])


@inlined
def forward(bound, samples, i, row, noise):
    """a^0 = x, then (0) and a^l = sigma_l(z^l) through all layers; in training, dropout of both.

    A sparse x stays where it is.
    """
    model, theta, keys = bound.model, bound.theta, bound.work.keys
    sparse, key = is_sparse(samples), key_of_input(noise, 0)
    if not sparse:
        a_0 = layer(model, row.a, 0)
        for j in range(a_0.shape[0]):
            a_0[j] = samples.X[i, j]
        perturb_input(model.layers[0], noise, keys, a_0)
    for l in range(1, model.layers.shape[0]):
        z_l, w, b = layer(model, row.z, l), weights(model, theta, l), biases(model, theta, l)
        if l == 1 and sparse:
            sparse_weighted_input(model.layers[0], samples, i, key, w, b, z_l)
        else:
            weighted_input(layer(model, row.a, l - 1), w, b, z_l)
        activate(model.layers[l], z_l, layer(model, row.a, l), layer(model, row.delta, l), 1)
        drop_out(model.layers[l], l, noise, keys, layer(model, row.a, l))


@inlined
def backward(bound, row, factor, noise):
    """(1), times the factor that turns C_i into its part of the mean, then (2) down to layer 1."""
    model, theta, keys, y = bound.model, bound.theta, bound.work.keys, bound.work.y
    L = model.layers.shape[0] - 1
    z_L, a_L, delta_L = layer(model, row.z, L), layer(model, row.a, L), layer(model, row.delta, L)
    output_error(model.layers[L], model.cost, z_L, a_L, y, delta_L)
    for j in range(delta_L.shape[0]):
        delta_L[j] *= factor
    for l in range(L - 1, 0, -1):
        sigma = model.layers[l]
        z_l, a_l = layer(model, row.z, l), layer(model, row.a, l)
        delta_l = layer(model, row.delta, l)
        if sigma["drop"] > 0:
            activate(sigma, z_l, a_l, delta_l, 1)  # as it was
        w_next, delta_next = weights(model, theta, l + 1), layer(model, row.delta, l + 1)
        hidden_error(sigma, w_next, delta_next, z_l, a_l, delta_l)
        drop_out(sigma, l, noise, keys, a_l)
        drop_out(sigma, l, noise, keys, delta_l)


@inlined
def add_gradient(model, samples, i, row, noise, gradient):
    """(3) and (4) for all layers."""
    for l in range(1, model.layers.shape[0]):
        delta_l, g = layer(model, row.delta, l), weights(model, gradient, l)
        if l == 1 and is_sparse(samples):
            key = key_of_input(noise, 0)
            sparse_weight_gradient(model.layers[0], samples, i, key, delta_l, g)
        else:
            weight_gradient(layer(model, row.a, l - 1), delta_l, g)
        bias_gradient(delta_l, biases(model, gradient, l))


@inlined
def forward_cost(bound, samples, i, noise):
    """Sample i through all layers; returns s_i C_i."""
    model, record, row = bound.model, bound.work, row_of(bound.work, i)
    L = model.layers.shape[0] - 1
    forward(bound, samples, i, row, noise)
    target(samples, i, record.y)
    z_L, a_L, delta_L = layer(model, row.z, L), layer(model, row.a, L), layer(model, row.delta, L)
    cost_of_samples(model.cost, z_L, a_L, record.y, delta_L, record.C, 1)
    return weight(samples, i) * record.C[0]


@inlined
def forward_and_back(bound, samples, i, total, gradient, noise):
    """Sample i through all layers and back, into the gradient; returns s_i C_i."""
    cost, row = forward_cost(bound, samples, i, noise), row_of(bound.work, i)
    factor = bound.theta.dtype.type(weight(samples, i) / total)
    backward(bound, row, factor, noise)
    if gradient.shape[0] > 0:
        add_gradient(bound.model, samples, i, row, noise, gradient)
    return cost


@inlined
def input_error(bound, i, below):
    """dC/da^0 of sample i: (2) once more, without sigma'."""
    model, row = bound.model, row_of(bound.work, i)
    delta_0 = layer(model, row.delta, 0)
    delta_0[:] = 0
    back(weights(model, bound.theta, 1), layer(model, row.delta, 1), delta_0)
    for j in range(below.shape[0]):
        below[j] = delta_0[j]


# --- the engine contract: batches and epochs -----------------------------------------------------


def model(layout: Layout, sigma: Sequence[Activation], cost: Cost, dtype: np.dtype) -> Model:
    """The functions are loops over the neurons of one sample."""
    return _functions.model(layout, sigma, cost, dtype, columns=False)


def stride(width: int, dtype: np.dtype) -> int:
    """No padding: rows are as long as layers are wide."""
    return width


rule, completion = compiled_rule, compiled_completion
perturbed = perturbed_for_kernels


def row_tile(model: Model) -> int:
    """One sample at a time, as the derivation has it."""
    return 1


def threads(
    model: Model, batch_size: int | None, n_samples: int, inputs_per_sample: float | None = None
) -> int:
    """One: the text, not the tool."""
    return 1


def workspace(
    model: Model, dtype: np.dtype, n_threads: int = 1, sparse: bool = False, rows: int = 1
) -> Record:
    """A record of so many rows, without a^0 where X is sparse. One thread, whatever was asked."""
    widths = model.layers["width"]
    z, a, delta = np.zeros((3, rows, widths[sparse:].sum()), dtype)
    y, C, keys = np.zeros(widths[-1], dtype), np.zeros(1, dtype), np.zeros(1, np.uint32)
    return Record(z, a, delta, y, C, keys)


@kernel(entry=True)
def predict(bound, samples, out, start, stop):
    """out[i] = a^L of sample i."""
    L = bound.model.layers.shape[0] - 1
    for i in range(start, stop):
        row = row_of(bound.work, i)
        forward(bound, samples, i, row, SILENCE)
        a_L = layer(bound.model, row.a, L)
        for k in range(a_L.shape[0]):
            out[i, k] = a_L[k]


@kernel(entry=True)
def cost_sum(bound, samples, sums, start, stop):
    """Add sum_i s_i C_i and sum_i s_i to sums."""
    for i in range(start, stop):
        sums[COST] += forward_cost(bound, samples, i, SILENCE)
        sums[WEIGHT] += weight(samples, i)


@kernel(entry=True)
def gradient_sums(bound, samples, total, into, sums, start, stop):
    """Add also sum_i s_i / total dC_i/dtheta to the gradient; set the rows of dC_i/da^0."""
    for i in range(start, stop):
        sums[COST] += forward_and_back(bound, samples, i, total, into.by_theta, SILENCE)
        sums[WEIGHT] += weight(samples, i)
        if into.by_X.shape[0] > 0:
            input_error(bound, i, into.by_X[i])


@kernel(entry=True)
def train(bound, minibatches, update, sums, start, stop):
    """Minibatch steps over order[start:stop]; a minibatch may be spread over several calls."""
    samples, order = minibatches.samples, minibatches.order
    place = start
    while place < stop:
        first, last, sum_of_weights = minibatch(samples, order, minibatches.batch_size, place)
        end, total = min(last, stop), sum_of_weights if sum_of_weights > 0 else 1.0
        if place == first:
            update.g[:] = 0
            sums[MINIBATCH_COST] = 0
        for p in range(place, end):
            noise = Noise(minibatches.seed, update.t[0], p - first)
            cost = forward_and_back(bound, samples, order[p], total, update.g, noise)
            sums[MINIBATCH_COST] += cost
        complete = end == last
        if complete and not end_minibatch(bound, update, sums, sum_of_weights):
            return first
        place = end
    return stop


@kernel(entry=True)
def take_step(bound, update):
    """The step with the gradient in update.g."""
    step(bound.model.layers, bound.theta, update)


short = orders = None


def few(sizes: Sequence[int]) -> int:
    """There is no short way."""
    return 0


def activations(model: Model, theta: np.ndarray, X: np.ndarray) -> list[np.ndarray]:
    """a^0 ... a^L, (n_samples, n_l) each."""
    record = workspace(model, theta.dtype, rows=len(X))
    out = np.empty((len(X), model.layers["width"][-1]), theta.dtype)
    samples = without_targets(X, out.shape[1], X.dtype)
    predict(Bound(model, theta, record), samples, out, 0, len(X))
    return _by_layer(model, record.a)


def trace(
    model: Model, theta: np.ndarray, samples: Samples, total: float, gradient: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """The sums of `gradient_sums`, and z, a, delta of every sample by layer."""
    n, sums = len(samples.X), np.zeros(N_SUMS)
    record = workspace(model, theta.dtype, rows=n)
    into = by_parameters(gradient)
    gradient_sums(Bound(model, theta, record), samples, total, into, sums, 0, n)
    z, a, delta = (_by_layer(model, rows) for rows in record[:3])
    return sums, z[1:], a, delta[1:]


def _by_layer(model: Model, rows: np.ndarray) -> list[np.ndarray]:
    starts_and_sizes = zip(model.layers["start"], model.layers["width"], strict=True)
    return [np.ascontiguousarray(rows[:, start : start + n]) for start, n in starts_and_sizes]
