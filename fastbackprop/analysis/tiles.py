"""The same on register tiles: what belongs to R lies in strips as z, a and delta do.

R z, R a and R delta are in a second `Work`, v and the product in vectors of the network's layout,
so each sum of (0') to (3') is one of the products that (0), (2) and (3) are made of.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fastbackprop.analysis import functions as _functions
from fastbackprop.analysis.functions import Curvature, Moved, add_second, cost_second, push_forward
from fastbackprop.analysis.rows import norms, outer_products
from fastbackprop.engines.functions import Model, cost_gradient, multiply_by_derivative
from fastbackprop.engines.functions.columns import scale
from fastbackprop.engines.noise import SILENCE
from fastbackprop.engines.tiles import task as _task
from fastbackprop.engines.tiles.equations import bias_gradient, hidden_error, weight_gradient
from fastbackprop.engines.tiles.layers import (
    errors_below,
    factors,
    forward,
    forward_tile,
    output_errors,
    outputs,
    owned,
    put,
    put_on_lanes,
)
from fastbackprop.engines.tiles.product import (
    ROW_UNIT,
    UNROLL,
    Into,
    Matrix,
    Strips,
    product_across,
    strip,
    up,
)
from fastbackprop.engines.tiles.task import (
    ROWS,
    RowTile,
    Task,
    add,
    add_without_padding,
    biases,
    clear,
    flat,
    layer_of,
    length,
    neurons,
    pad,
    panels,
    scratch,
    task_of,
    weights,
)
from fastbackprop.engines.tiles.whole import alone
from fastbackprop.functions.activations import Activation
from fastbackprop.functions.costs import Cost
from fastbackprop.jit import team
from fastbackprop.jit.kernels import inlined, kernel
from fastbackprop.jit.reference import reference
from fastbackprop.jit.team import ALONE, begins, take
from fastbackprop.jit.tile import vector_lanes
from fastbackprop.layout import aligned_zeros
from fastbackprop.samples import without_targets

__all__ = ["curvature", "errors", "jacobian", "norms", "outer_products", "products", "workspace"]


class Work(NamedTuple):
    """Scratch for one row tile: of the network, of R, and what else the products need."""

    own: _task.Work
    R: _task.Work
    other: np.ndarray  # (ROWS * widest stride,): strips
    v: np.ndarray  # with the padding of theta
    product: np.ndarray


def workspace(model: Model, dtype: np.dtype, n_threads: int = 1, sparse: bool = False) -> Work:
    """For so many threads, but for products, which one thread computes."""
    n_threads, n = min(n_threads, team.available_processors()), length(model.layers)
    own, R = scratch(model, dtype, n_threads, slots=0), scratch(model, dtype)
    other = aligned_zeros(ROWS * int(model.layers["stride"].max()), dtype)
    v, product = (aligned_zeros(n, dtype) for _ in range(2))
    return Work(own, R, other, v, product)


def curvature(sigma: Sequence[Activation], cost: Cost, dtype: np.dtype) -> Curvature | None:
    """Loops over strips of samples."""
    return _functions.curvature(sigma, cost, dtype, columns=True)


@inlined
def down(model, theta, work, own):
    """(2) from delta^L down to delta^0, which is dC/da^0."""
    lanes = own.lanes
    for l in range(model.layers.shape[0] - 1, 0, -1):
        n_l, n = model.layers[l]["width"], model.layers[l - 1]["width"]
        Delta, U = neurons(model, work.delta, l, lanes), neurons(model, work.delta, l - 1, lanes)
        for s in range(own.first, own.last):
            clear(Delta, s, n_l, up(n_l, UNROLL))
        W, sigma = weights(model, theta, l), model.layers[l - 1]
        if l > 1:
            here, none = layer_of(model, work, l - 1, lanes), Matrix(work.zeros, 0, 0)
            hidden_error(sigma, model.layers[l], W, Delta, here, none, own)
        else:
            errors_below(W, Delta, U, n_l, n, work, own)


# --- errors --------------------------------------------------------------------------------------


@kernel(entry=True)
def _errors(team, bound, samples, a, delta, start, stop):
    if not begins(team):
        return
    task, k = reference(alone(reference(task_of(team, bound, samples)))), take(team, -1)
    while k * ROWS < stop - start:
        tile = RowTile(start + k * ROWS, min(ROWS, stop - start - k * ROWS))
        errors_of_tile(task, tile, a, delta, k * ROWS)
        k = take(team, k)


@kernel
def errors_of_tile(task, tile, a, delta, row):
    """Rows `row` ... of a and delta."""
    model, work, one = task.model, task.work, 1.0
    own = owned(task.team, tile.n, vector_lanes(task.theta))
    a_flat, delta_flat = a.reshape(a.size), delta.reshape(delta.size)
    forward_tile(task, tile, SILENCE, own)
    output_errors(task, tile, one, own)
    down(model, task.theta, work, own)
    for l in range(model.layers.shape[0]):
        column, width = model.layers[l]["start"], model.layers[l]["width"]
        if column + width <= a.shape[1]:
            A = neurons(model, work.a, l, own.lanes)
            put(A, width, a_flat, row * a.shape[1] + column, a.shape[1], tile.n, own)
        if column + width <= delta.shape[1]:
            D = neurons(model, work.delta, l, own.lanes)
            put(D, width, delta_flat, row * delta.shape[1] + column, delta.shape[1], tile.n, own)


def errors(bound, samples, a, delta, start, stop):
    """a^l and delta^l of each sample, as far as the arrays go."""
    _run(_errors, bound, samples, a, delta, start, stop)


def _run(call, bound, *arguments):
    """Call the kernel in a team whose threads take row tiles whole."""
    own = bound.work.own
    team.run(call, own.n_threads, bound._replace(work=own), *arguments)


# --- Jacobian ------------------------------------------------------------------------------------


@kernel
def one_hot(M, rows, k, own):
    """Ones in row k of the strips, zeros in the others."""
    for s in range(own.first, own.last):
        for r in range(rows):
            for i in range(M.lanes):
                M.array[strip(M, s) + r * M.lanes + i] = r == k


@kernel(entry=True)
def _jacobian(team, bound, samples, out, start, stop):
    if not begins(team):
        return
    task, k = reference(alone(reference(task_of(team, bound, samples)))), take(team, -1)
    while k * ROWS < stop - start:
        tile = RowTile(start + k * ROWS, min(ROWS, stop - start - k * ROWS))
        jacobian_of_tile(task, tile, out, k * ROWS)
        k = take(team, k)


@kernel
def jacobian_of_tile(task, tile, out, row):
    """Rows `row` ... of out."""
    model, theta, work = task.model, task.theta, task.work
    L, own = model.layers.shape[0] - 1, owned(task.team, tile.n, vector_lanes(task.theta))
    n_0, n_L, lanes = model.layers[0]["width"], model.layers[L]["width"], own.lanes
    out_flat = out.reshape(out.size)
    forward(task, tile, SILENCE, own)
    for k in range(n_L):
        one_hot(neurons(model, work.delta, L, lanes), n_L, k, own)
        for s in range(own.first, own.last):
            z, a, delta, _ = outputs(model, work, s, lanes)
            multiply_by_derivative(model.layers[L], z, a, delta, lanes)
        down(model, theta, work, own)
        place = (row * n_L + k) * n_0
        put(neurons(model, work.delta, 0, lanes), n_0, out_flat, place, n_L * n_0, tile.n, own)


def jacobian(bound, X, out, start, stop):
    """For each output k, (2) from dC/da^L = e_k down to layer 0."""
    _run(_jacobian, bound, without_targets(X, out.shape[1], X.dtype), out, start, stop)


# --- second derivatives --------------------------------------------------------------------------


@inlined
def r_forward(model, curvature, theta, v, work, own):
    """(0') through all layers."""
    lanes = own.lanes
    for l in range(1, model.layers.shape[0]):
        n_in, n_l = model.layers[l - 1]["width"], model.layers[l]["width"]
        rows = up(n_l, ROW_UNIT)
        A, RA = neurons(model, work.own.a, l - 1, lanes), neurons(model, work.R.a, l - 1, lanes)
        Z, RZ = neurons(model, work.own.z, l, lanes), neurons(model, work.R.z, l, lanes)
        A_l, RA_l = neurons(model, work.own.a, l, lanes), neurons(model, work.R.a, l, lanes)
        product_across(weights(model, v, l), biases(model, v, l), A, RZ, n_in, rows, own)
        if l > 1:
            none, other = Matrix(work.own.zeros, 0, 0), Strips(work.other, 0, RZ.height, lanes)
            product_across(weights(model, theta, l), none, RA, other, n_in, rows, own)
        for s in range(own.first, own.last):
            z, a, Rz, Ra = flat(Z, s, n_l), flat(A_l, s, n_l), flat(RZ, s, n_l), flat(RA_l, s, n_l)
            if l > 1:
                add(Rz, flat(other, s, n_l))
            push_forward(curvature.push_forward[l], model.layers[l], z, a, Rz, Ra, lanes)
            clear(RA_l, s, n_l, up(n_l, ROW_UNIT))


@inlined
def r_output_errors(task, curvature, tile, total, gauss_newton, R, own):
    """(1) and (1')."""
    model, lanes = task.model, own.lanes
    L, cost = model.layers.shape[0] - 1, model.cost
    layer = model.layers[L]
    for s in range(own.first, own.last):
        z, a, delta, y = outputs(model, task.work, s, lanes)
        Rz, Ra, Rdelta, _ = outputs(model, R, s, lanes)
        moved = Moved(Rz, Ra, Rdelta)
        cost_gradient(cost, z, a, y, delta, lanes)
        cost_second(curvature.cost, cost, z, a, y, moved, lanes)
        if not cost.fused:
            multiply_by_derivative(layer, z, a, Rdelta, lanes)
            if not gauss_newton:
                add_second(curvature.second[L], layer, z, a, delta, moved, lanes)
            multiply_by_derivative(layer, z, a, delta, lanes)
        factor = factors(task, tile, total, s, lanes)
        scale(delta, lanes, factor)
        scale(Rdelta, lanes, factor)


@inlined
def r_hidden_errors(model, curvature, theta, v, gauss_newton, work, own):
    """(2) and (2') down to layer 1."""
    lanes = own.lanes
    for l in range(model.layers.shape[0] - 1, 0, -1):
        put_on_lanes(model, l, work.R, own)
        if not gauss_newton:
            put_on_lanes(model, l, work.own, own)
        if l > 1:
            layer, delta, Rdelta = model.layers[l - 1], work.own.delta, work.R.delta
            n_l, n = model.layers[l]["width"], layer["width"]
            Delta, U = neurons(model, delta, l, lanes), neurons(model, delta, l - 1, lanes)
            RDelta, RU = neurons(model, Rdelta, l, lanes), neurons(model, Rdelta, l - 1, lanes)
            Z, RZ = neurons(model, work.own.z, l - 1, lanes), neurons(model, work.R.z, l - 1, lanes)
            A, RA = neurons(model, work.own.a, l - 1, lanes), neurons(model, work.R.a, l - 1, lanes)
            other = Strips(work.other, 0, U.height, lanes)
            W = weights(model, theta, l)
            errors_below(W, RDelta, RU, n_l, n, work.own, own)
            if not gauss_newton:
                errors_below(W, Delta, U, n_l, n, work.own, own)
                errors_below(weights(model, v, l), Delta, other, n_l, n, work.own, own)
            for s in range(own.first, own.last):
                z, a, u, Ru = flat(Z, s, n), flat(A, s, n), flat(U, s, n), flat(RU, s, n)
                if not gauss_newton:
                    add(Ru, flat(other, s, n))
                multiply_by_derivative(layer, z, a, Ru, lanes)
                if not gauss_newton:
                    moved = Moved(flat(RZ, s, n), flat(RA, s, n), Ru)
                    add_second(curvature.second[l - 1], layer, z, a, u, moved, lanes)
                    multiply_by_derivative(layer, z, a, u, lanes)


@inlined
def add_products(model, n, gauss_newton, product, fresh, work, own):
    """(3') and (4') for all layers, added to the product unless it is `fresh`."""
    one, lanes = product.dtype.type(1), own.lanes
    for l in range(1, model.layers.shape[0]):
        n_in, n_l = model.layers[l - 1]["width"], model.layers[l]["width"]
        G = weights(model, product, l)
        A, RA = neurons(model, work.own.a, l - 1, lanes), neurons(model, work.R.a, l - 1, lanes)
        RDelta_rows = panels(model, work.R.delta_rows, l)
        weight_gradient(A, RDelta_rows, Into(G, fresh, one), n, n_l, 0, up(n_in, ROW_UNIT))
        if l > 1 and not gauss_newton:
            Delta_rows = panels(model, work.own.delta_rows, l)
            weight_gradient(RA, Delta_rows, Into(G, False, one), n, n_l, 0, up(n_in, ROW_UNIT))
        start = model.layers[l]["bias_start"]
        bias_gradient(RDelta_rows, n, product[start : start + G.stride], fresh)


@kernel(entry=True)
def products(bound, curvature, samples, total, direction, start, stop):
    """(0) to (4) and (0') to (4'), a row tile after the other."""
    model, theta, work, gauss_newton = bound.model, bound.theta, bound.work, direction.gauss_newton
    V = vector_lanes(theta)
    task = reference(Task(ALONE, model, theta, samples, work.own.no_order, work.own))
    pad(model, direction.v, work.v)
    for first in range(start, stop, ROWS):
        tile = RowTile(first, min(ROWS, stop - first))
        own = owned(ALONE, tile.n, V)
        forward_tile(task, tile, SILENCE, own)
        r_forward(model, curvature, theta, work.v, work, own)
        r_output_errors(task, curvature, tile, total, gauss_newton, work.R, own)
        r_hidden_errors(model, curvature, theta, work.v, gauss_newton, work, own)
        add_products(model, tile.n, gauss_newton, work.product, first == start, work, own)
    add_without_padding(model, direction.product, work.product)
