"""The same as explicit loops, index by index: to be held beside the equations."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fastbackprop.analysis import functions as _functions
from fastbackprop.analysis.functions import Curvature, Moved, add_second, cost_second, push_forward
from fastbackprop.analysis.rows import norms, outer_products
from fastbackprop.engines import loops
from fastbackprop.engines.bound import Bound
from fastbackprop.engines.functions import Model, cost_gradient, multiply_by_derivative
from fastbackprop.engines.loops import (
    Record,
    back,
    backward,
    bias_gradient,
    biases,
    forward,
    forward_cost,
    layer,
    row_of,
    weight_gradient,
    weights,
)
from fastbackprop.engines.minibatch import target, weight
from fastbackprop.engines.noise import SILENCE
from fastbackprop.functions.activations import Activation
from fastbackprop.functions.costs import Cost
from fastbackprop.jit.kernels import inlined, kernel
from fastbackprop.samples import without_targets

__all__ = ["curvature", "errors", "jacobian", "norms", "outer_products", "products", "workspace"]

# --- the equations -------------------------------------------------------------------------------


@kernel(linked=True)
def r_weighted_input(a, Ra, w, v, c, Rz):
    """(0')  R z^l_k = sum_j (a^{l-1}_j v^l_jk + R a^{l-1}_j w^l_jk) + c^l_k

    a, Ra (n_{l-1},), w, v (n_{l-1}, n_l), c (n_l,) -> Rz (n_l,).
    """
    for k in range(Rz.shape[0]):
        Rz[k] = c[k]
    for j in range(a.shape[0]):
        for k in range(Rz.shape[0]):
            Rz[k] += a[j] * v[j, k] + Ra[j] * w[j, k]


# --- where things are ----------------------------------------------------------------------------


class Work(NamedTuple):
    """One row of z, a and delta, of the network and of R."""

    own: Record
    R: Record


def workspace(model: Model, dtype: np.dtype, n_threads: int = 1, sparse: bool = False) -> Work:
    """For one sample."""
    return Work(loops.workspace(model, dtype), loops.workspace(model, dtype))


def curvature(sigma: Sequence[Activation], cost: Cost, dtype: np.dtype) -> Curvature | None:
    """Loops over the neurons of a sample."""
    return _functions.curvature(sigma, cost, dtype, columns=False)


@inlined
def keep(model, row, out):
    """The layers that lie in out, from a row of all."""
    for l in range(model.layers.shape[0]):
        start, width = model.layers[l]["start"], model.layers[l]["width"]
        if start + width <= out.shape[0]:
            for k in range(start, start + width):
                out[k] = row[k]


# --- the contract --------------------------------------------------------------------------------


@kernel(entry=True)
def _errors(bound, samples, a, delta, start, stop):
    model, one, row = bound.model, bound.theta.dtype.type(1), row_of(bound.work, 0)
    for i in range(start, stop):
        forward_cost(bound, samples, i, SILENCE)
        backward(bound, row, one, SILENCE)
        delta_0 = layer(model, row.delta, 0)
        delta_0[:] = 0
        back(weights(model, bound.theta, 1), layer(model, row.delta, 1), delta_0)
        keep(model, row.a, a[i - start])
        keep(model, row.delta, delta[i - start])


def errors(bound, samples, a, delta, start, stop):
    """a^l and delta^l of each sample, as far as the arrays go."""
    _errors(bound._replace(work=bound.work.own), samples, a, delta, start, stop)


@kernel(entry=True)
def _jacobian(bound, samples, out, start, stop):
    model, row = bound.model, row_of(bound.work, 0)
    delta, L = row.delta, model.layers.shape[0] - 1
    for i in range(start, stop):
        forward(bound, samples, i, row, SILENCE)
        for k in range(out.shape[1]):
            delta[:] = 0
            layer(model, delta, L)[k] = 1
            for l in range(L, 0, -1):
                z_l, a_l = layer(model, row.z, l), layer(model, row.a, l)
                delta_l = layer(model, delta, l)
                multiply_by_derivative(model.layers[l], z_l, a_l, delta_l, 1)
                back(weights(model, bound.theta, l), delta_l, layer(model, delta, l - 1))
            delta_0 = layer(model, delta, 0)
            for j in range(delta_0.shape[0]):
                out[i - start, k, j] = delta_0[j]


def jacobian(bound, X, out, start, stop):
    """For each output k, (2) from dC/da^L = e_k down to layer 0."""
    samples = without_targets(X, out.shape[1], X.dtype)
    _jacobian(bound._replace(work=bound.work.own), samples, out, start, stop)


@inlined
def r_forward(bound, curvature, v):
    """(0') through all layers."""
    model, theta, work = bound.model, bound.theta, bound.work
    layer(model, work.R.a[0], 0)[:] = 0
    for l in range(1, model.layers.shape[0]):
        Rz, Ra = layer(model, work.R.z[0], l), layer(model, work.R.a[0], l)
        r_weighted_input(
            layer(model, work.own.a[0], l - 1),
            layer(model, work.R.a[0], l - 1),
            weights(model, theta, l),
            weights(model, v, l),
            biases(model, v, l),
            Rz,
        )
        z, a = layer(model, work.own.z[0], l), layer(model, work.own.a[0], l)
        push_forward(curvature.push_forward[l], model.layers[l], z, a, Rz, Ra, 1)


@inlined
def r_backward(bound, curvature, direction, factor):
    """(1) to (4) and (1') to (4') from the last layer down; in delta^l stands u^l at first."""
    model, theta, own, R = bound.model, bound.theta, bound.work.own, bound.work.R
    v, gauss_newton, L = direction.v, direction.gauss_newton, model.layers.shape[0] - 1
    for l in range(L, 0, -1):
        z, a = layer(model, own.z[0], l), layer(model, own.a[0], l)
        u = layer(model, own.delta[0], l)
        Rz, Ra, Ru = layer(model, R.z[0], l), layer(model, R.a[0], l), layer(model, R.delta[0], l)
        if l == L:
            cost_gradient(model.cost, z, a, own.y, u, 1)
            cost_second(curvature.cost, model.cost, z, a, own.y, Moved(Rz, Ra, Ru), 1)
            for k in range(u.shape[0]):
                u[k] *= factor
                Ru[k] *= factor
        else:
            u[:], Ru[:] = 0, 0
            back(weights(model, theta, l + 1), layer(model, own.delta[0], l + 1), u)
            back(weights(model, theta, l + 1), layer(model, R.delta[0], l + 1), Ru)
            if not gauss_newton:
                back(weights(model, v, l + 1), layer(model, own.delta[0], l + 1), Ru)
        if l < L or not model.cost.fused:
            multiply_by_derivative(model.layers[l], z, a, Ru, 1)
            if not gauss_newton:
                add_second(curvature.second[l], model.layers[l], z, a, u, Moved(Rz, Ra, Ru), 1)
            multiply_by_derivative(model.layers[l], z, a, u, 1)
        G = weights(model, direction.product, l)
        weight_gradient(layer(model, own.a[0], l - 1), Ru, G)
        if not gauss_newton:
            weight_gradient(layer(model, R.a[0], l - 1), u, G)
        bias_gradient(Ru, biases(model, direction.product, l))


@kernel(entry=True)
def products(bound, curvature, samples, total, direction, start, stop):
    """(0) to (4) and (0') to (4'), a sample after the other."""
    network = Bound(bound.model, bound.theta, bound.work.own)
    for i in range(start, stop):
        forward(network, samples, i, row_of(network.work, 0), SILENCE)
        target(samples, i, network.work.y)
        factor = bound.theta.dtype.type(weight(samples, i) / total)
        r_forward(bound, curvature, direction.v)
        r_backward(bound, curvature, direction, factor)
