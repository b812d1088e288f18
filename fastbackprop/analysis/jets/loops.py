"""The same as explicit loops, index by index: to be held beside the equations."""

from typing import NamedTuple

import numpy as np

from fastbackprop.analysis.jets.functions import derivatives, derivatives_of_layer
from fastbackprop.engines import loops
from fastbackprop.engines.functions import Model, activate
from fastbackprop.engines.loops import (
    Record,
    back,
    bias_gradient,
    biases,
    layer,
    weight_gradient,
    weighted_input,
    weights,
)
from fastbackprop.jit.kernels import inlined, kernel

__all__ = ["derivatives", "jet", "jet_backward", "most_channels", "row_tile", "workspace"]

CHANNELS = 9  # of a call: four directions of second order

# --- the equations -------------------------------------------------------------------------------


@kernel(linked=True)
def weighted_derivative(a, w, z):
    """(0'), (0'')  .z^l_k = sum_j .a^{l-1}_j w^l_jk, and the same with two dots

    a (n_{l-1},), w (n_{l-1}, n_l) -> z (n_l,).
    """
    for k in range(z.shape[0]):
        z[k] = 0
    for j in range(a.shape[0]):
        for k in range(z.shape[0]):
            z[k] += a[j] * w[j, k]


@kernel(linked=True)
def first_derivative(s_1, z_1, a_1):
    """(0')  .a_k = s'_k .z_k"""
    for k in range(z_1.shape[0]):
        a_1[k] = s_1[k] * z_1[k]


@kernel(linked=True)
def second_derivative(s_1, s_2, z_1, z_2, a_2):
    """(0'')  ..a_k = s''_k .z_k^2 + s'_k ..z_k"""
    for k in range(z_1.shape[0]):
        a_2[k] = s_2[k] * z_1[k] * z_1[k] + s_1[k] * z_2[k]


@kernel(linked=True)
def error_of_first(s_1, s_2, z_1, g_1, delta):
    """(1'), (1)  .g_k becomes .delta_k = .g_k s'_k; delta_k += .g_k s''_k .z_k"""
    for k in range(delta.shape[0]):
        delta[k] += g_1[k] * s_2[k] * z_1[k]
        g_1[k] *= s_1[k]


@kernel(linked=True)
def error_of_second(S, z_1, z_2, g_2, delta_1, delta):
    """(1''), (1'), (1)  of ..g_k, which becomes ..delta_k = ..g_k s'_k; S (3, n_l)

    .delta_k += 2 ..g_k s''_k .z_k and delta_k += ..g_k (s'''_k .z_k^2 + s''_k ..z_k).
    """
    for k in range(delta.shape[0]):
        delta[k] += g_2[k] * (S[2, k] * z_1[k] * z_1[k] + S[1, k] * z_2[k])
        delta_1[k] += (g_2[k] + g_2[k]) * S[1, k] * z_1[k]
        g_2[k] *= S[0, k]


# --- where things are ----------------------------------------------------------------------------


class Work(NamedTuple):
    """z, a and delta of one sample, a row for each channel, and derivatives of a layer."""

    own: Record
    S: np.ndarray  # (3 * widest layer,)


def workspace(model: Model, dtype: np.dtype, n_threads: int = 1, sparse: bool = False) -> Work:
    """For one sample."""
    S = np.zeros(3 * int(model.layers["width"].max()), dtype)
    return Work(loops.workspace(model, dtype, rows=CHANNELS), S)


def most_channels(dtype: np.dtype) -> int:
    """Rows of the workspace."""
    return CHANNELS


def row_tile(model: Model, dtype: np.dtype, channels: int) -> int:
    """One sample at a time."""
    return 1


# --- one sample ----------------------------------------------------------------------------------


@inlined
def forward(bound, jets, i):
    """(0), (0') and (0'') through all layers."""
    model, theta, own = bound.model, bound.theta, bound.work.own
    D, order = jets.rays.shape[1], jets.order
    ray = i if jets.rays.shape[0] > 1 else 0
    x = layer(model, own.a[0], 0)
    for j in range(x.shape[0]):
        x[j] = jets.X[i, j]
    for d in range(D):
        v = layer(model, own.a[1 + d], 0)
        for j in range(v.shape[0]):
            v[j] = jets.rays[ray, d, j]
        if order == 2:
            v_2 = layer(model, own.a[1 + D + d], 0)
            v_2[:] = 0
    for l in range(1, model.layers.shape[0]):
        w, z, a = weights(model, theta, l), layer(model, own.z[0], l), layer(model, own.a[0], l)
        n = z.shape[0]
        weighted_input(layer(model, own.a[0], l - 1), w, biases(model, theta, l), z)
        activate(model.layers[l], z, a, layer(model, own.delta[0], l), 1)
        S = bound.work.S[: order * n]
        derivatives_of_layer(jets.derivatives[l], model.layers[l], z, a, S, 1)
        for d in range(D):
            z_1, a_1 = layer(model, own.z[1 + d], l), layer(model, own.a[1 + d], l)
            weighted_derivative(layer(model, own.a[1 + d], l - 1), w, z_1)
            first_derivative(S[:n], z_1, a_1)
            if order == 2:
                c = 1 + D + d
                z_2, a_2 = layer(model, own.z[c], l), layer(model, own.a[c], l)
                weighted_derivative(layer(model, own.a[c], l - 1), w, z_2)
                second_derivative(S[:n], S[n:], z_1, z_2, a_2)


@inlined
def errors(bound, jets, l):
    """(1), (1') and (1'') of layer l: in delta stands g at first."""
    model, own, D, order = bound.model, bound.work.own, jets.rays.shape[1], jets.order
    z, a, delta = (
        layer(model, own.z[0], l),
        layer(model, own.a[0], l),
        layer(model, own.delta[0], l),
    )
    n = z.shape[0]
    S = bound.work.S[: (order + 1) * n].reshape(order + 1, n)
    derivatives_of_layer(jets.derivatives[l], model.layers[l], z, a, S.reshape(S.size), 1)
    for k in range(n):
        delta[k] *= S[0, k]
    for d in range(D):
        z_1, delta_1 = layer(model, own.z[1 + d], l), layer(model, own.delta[1 + d], l)
        error_of_first(S[0], S[1], z_1, delta_1, delta)
        if order == 2:
            c = 1 + D + d
            z_2, g_2 = layer(model, own.z[c], l), layer(model, own.delta[c], l)
            error_of_second(S, z_1, z_2, g_2, delta_1, delta)


# --- the contract --------------------------------------------------------------------------------


@kernel(entry=True)
def jet(bound, jets, out, start, stop):
    """a^L with its derivatives, a sample after the other."""
    model, own, L = bound.model, bound.work.own, bound.model.layers.shape[0] - 1
    for i in range(start, stop):
        forward(bound, jets, i)
        for c in range(out.shape[0]):
            a = layer(model, own.a[c], L)
            for k in range(a.shape[0]):
                out[c, i, k] = a[k]


@kernel(entry=True)
def jet_backward(bound, jets, G, into, start, stop):
    """(0) to (4), a sample after the other."""
    model, theta, own = bound.model, bound.theta, bound.work.own
    L = model.layers.shape[0] - 1
    for i in range(start, stop):
        gradient = into.by_theta
        forward(bound, jets, i)
        for c in range(G.shape[0]):
            g = layer(model, own.delta[c], L)
            for k in range(g.shape[0]):
                g[k] = G[c, i, k]
        for l in range(L, 0, -1):
            errors(bound, jets, l)
            w, g = weights(model, theta, l), weights(model, gradient, l)
            for c in range(G.shape[0]):
                delta, below = layer(model, own.delta[c], l), layer(model, own.delta[c], l - 1)
                weight_gradient(layer(model, own.a[c], l - 1), delta, g)
                below[:] = 0
                back(w, delta, below)
            bias_gradient(layer(model, own.delta[0], l), biases(model, gradient, l))
        g_0 = layer(model, own.delta[0], 0)
        for j in range(g_0.shape[0]):
            into.by_X[i, j] = g_0[j]
