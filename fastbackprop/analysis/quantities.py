"""What explicit backpropagation gives beyond the gradient, for `Network`'s methods of that name.

Arguments are checked. Samples go through an engine some rows at a time, so that what lies between
the layers stays in the cache, and memory grows with the result alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbackprop import analysis, engines
from fastbackprop.inputs.on_disk import at_hand, rows_at_once
from fastbackprop.layout import Layout
from fastbackprop.samples import Samples, without_targets
from fastbackprop.training.trainer import slices

if TYPE_CHECKING:
    from fastbackprop.network import Network

BLOCK = 1 << 18  # elements of a or delta at once: some megabyte


def sample_gradients(net: Network, samples: Samples, out: np.ndarray) -> None:
    """Fill out (n_samples, n_parameters)."""
    for a, delta, rows in _errors(net, samples):
        net._analysis.outer_products(net._model, a, delta, out[rows])


def sample_gradient_norms(net: Network, samples: Samples) -> np.ndarray:
    """sqrt(sum_l ||delta^l||^2 (1 + ||a^{l-1}||^2)), (n_samples,)."""
    norms = np.empty(len(samples.X), net.dtype)
    for a, delta, rows in _errors(net, samples):
        net._analysis.norms(net._model, a, delta, norms[rows])
    return norms


def input_gradient(net: Network, samples: Samples) -> np.ndarray:
    """delta^0 of every sample, (n_samples, n_0)."""
    out = np.empty((len(samples.X), net.sizes[0]), net.dtype)
    for _, delta, rows in _errors(net, samples, with_a=False):
        out[rows] = _of_layer(net, delta, 0)
    return out


def error_sizes(net: Network, samples: Samples) -> np.ndarray:
    """Root mean square of delta^l over samples and neurons, for layers 1 ... L, (L,)."""
    total = np.zeros(net.n_layers)
    for _, delta, _ in _errors(net, samples, with_a=False):
        for l in range(net.n_layers):
            total[l] += np.sum(np.square(_of_layer(net, delta, l + 1)), dtype=np.float64)
    sizes: np.ndarray = np.sqrt(total / (len(samples.X) * np.array(net.sizes[1:])))
    return sizes


def jacobian(net: Network, X: Any) -> np.ndarray:
    """(n_samples, n_L, n_0)."""
    out = np.empty((len(X), net.sizes[-1], net.sizes[0]), net.dtype)
    samples = without_targets(X, net.sizes[-1], net.dtype)
    with net._workspace(module=net._analysis) as work:
        for block, start, stop, offset in _pieces(net, samples):
            rows = out[start + offset : stop + offset]
            net._analysis.jacobian(net._model, net._theta, block.X, rows, work, start, stop)
    return out


def product(
    net: Network, samples: Samples, total: float, v: np.ndarray, gauss_newton: bool
) -> np.ndarray:
    """Of the Hessian, or the Gauss-Newton matrix, of sum_i s_i / total C_i with v."""
    module, model, theta, curvature = net._analysis, net._model, net._theta, net._curvature
    if curvature is None:  # a function of a row for which there is no kernel
        module, layout, theta = analysis.load("numpy"), Layout(net.sizes), net.get_parameters()
        model = engines.load("numpy").model(layout, net._sigma, net._cost, net.dtype)
        curvature = module.curvature(net._sigma, net._cost, net.dtype)
    result = np.zeros(net.n_parameters, net.dtype)
    with net._workspace(module=module) as work:
        for block, start, stop, _ in net._at_hand(samples):
            module.products(
                model, curvature, theta, v, block, total, gauss_newton, result, work, start, stop
            )
    return result


def _pieces(net: Network, samples: Samples) -> Iterator[tuple[Samples, int, int, int]]:
    """As `Network._at_hand`, but no more rows than a BLOCK holds."""
    n, tile = len(samples.X), net._engine.row_tile(net._model)
    most = min(rows_at_once(samples), max(tile, BLOCK // sum(net._layout.strides)))
    return at_hand(samples, slices(n, n, tile, net.n_parameters, most))


def _errors(
    net: Network, samples: Samples, with_a: bool = True
) -> Iterator[tuple[np.ndarray, np.ndarray, slice]]:
    """a and delta of some samples, all layers side by side, and the rows that the samples are."""
    width = sum(net._layout.strides)
    with net._workspace(module=net._analysis) as work:
        for block, start, stop, offset in _pieces(net, samples):
            n = stop - start
            a, delta = np.empty((n, width * with_a), net.dtype), np.empty((n, width), net.dtype)
            net._analysis.errors(net._model, net._theta, block, a, delta, work, start, stop)
            yield a, delta, slice(start + offset, stop + offset)


def _of_layer(net: Network, array: np.ndarray, l: int) -> np.ndarray:
    start = int(net._model.layers["start"][l])
    return array[:, start : start + net.sizes[l]]
