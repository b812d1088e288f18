"""Derivatives of the outputs along directions of the inputs, and the gradient of costs of them.

x moves along a direction v, x + t v. A dot is d/dt at t = 0, two dots are the second derivative.
For one direction, with s', s'', s''' the derivatives of sigma_l at z^l_k:

    (0)    z^l_k = sum_j a^{l-1}_j w^l_jk + b^l_k      a^0 = x       a^l = sigma_l(z^l)
    (0')   .z^l_k = sum_j .a^{l-1}_j w^l_jk            .a^0 = v      .a^l = s' .z^l
    (0'')  ..z^l_k = sum_j ..a^{l-1}_j w^l_jk          ..a^0 = 0     ..a^l = s'' .z^l^2 + s' ..z^l

A cost C depends on a^L, .a^L and ..a^L of every direction; g, .g and ..g are its derivatives by
these of a layer, delta, .delta and ..delta by z, .z and ..z:

    (1'')  ..delta_k = ..g_k s'
    (1')   .delta_k = .g_k s' + 2 ..g_k s'' .z_k
    (1)    delta_k = g_k s' + sum_v (.g_k s'' .z_k + ..g_k (s''' .z_k^2 + s'' ..z_k))
    (2)    g^{l-1}_j = sum_k delta^l_k w^l_jk, and the same with one dot and with two
    (3)    dC/dw^l_kj = a_k delta_j + sum_v (.a_k .delta_j + ..a_k ..delta_j)
    (4)    dC/db^l_j = delta_j

So a sample with D directions is one row of numbers of 1 + D channels, or 1 + 2 D with the second
derivatives, and (0), (2) and (3) are the sums of backpropagation over all channels. Channel 0 is
the value, channel 1 + d the first derivative along direction d, and 1 + D + d the second.

For each engine a module with the functions below. Arrays are checked before they get here:
jets.X is (n_samples, n_0), jets.rays, (1, D, n_0) or (n_samples, D, n_0), are the directions.

    workspace(model, dtype, n_threads, sparse)
                                    scratch memory for the calls below, `bound.work`
    most_channels(dtype)            the largest 1 + order D of a call
    row_tile(model, dtype, channels)
                                    samples that are taken through the layers together
    derivatives(sigma, dtype)       `Jets.derivatives`, compiled if need be
    jet(bound, jets, out, start, stop)
                                    out[c, i] = channel c of a^L, (channels, n_samples, n_L)
    jet_backward(bound, jets, G, into, start, stop)
                                    from G = dC/d(channels of a^L), (channels, n_samples, n_L), the
                                    gradients by the parameters, added, and by the inputs: `into`
                                    is `engines.bound.Gradients`
"""

from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from fastbackprop.engines import MODULES


class Jets(NamedTuple):
    """Samples, and directions to follow from each of them."""

    derivatives: Any  # of the functions, as the engine's `derivatives` makes them
    X: np.ndarray
    rays: np.ndarray
    order: int  # 1 or 2


def load(name: str) -> ModuleType:
    """The jets of the engine of this name."""
    return import_module(f"{__name__}.{MODULES[name]}")
