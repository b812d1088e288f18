"""Quantities that explicit backpropagation gives beyond the gradient, for `Network`'s methods.

Arguments are checked. Samples go through an engine some rows at a time, so that all that lies
between the layers stays in the cache, and memory grows with the result alone.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastbackprop import analysis, engines
from fastbackprop.analysis import Direction
from fastbackprop.engines.bound import Bound
from fastbackprop.layout import Layout
from fastbackprop.machine import THERE_AND_BACK, Machine
from fastbackprop.samples import Samples, without_targets

BLOCK = 1 << 18  # elements of a or delta at once: some megabyte


def sample_gradients(machine: Machine, samples: Samples, out: np.ndarray) -> None:
    """Fill out (n_samples, n_parameters)."""
    module = analysis.load(machine.engine_name)
    for a, delta, rows in _errors(machine, samples):
        module.outer_products(machine.model, a, delta, out[rows])


def sample_gradient_norms(machine: Machine, samples: Samples) -> np.ndarray:
    """sqrt(sum_l ||delta^l||^2 (1 + ||a^{l-1}||^2)), (n_samples,)."""
    module, norms = analysis.load(machine.engine_name), np.empty(len(samples.X), machine.dtype)
    for a, delta, rows in _errors(machine, samples):
        module.norms(machine.model, a, delta, norms[rows])
    return norms


def error_sizes(machine: Machine, samples: Samples) -> np.ndarray:
    """Root mean square of delta^l over samples and neurons, for layers 1 ... L, (L,)."""
    widths = np.array(machine.sizes[1:])
    total = np.zeros(len(widths))
    for _, delta, _ in _errors(machine, samples, with_a=False):
        for l in range(len(widths)):
            total[l] += np.sum(np.square(_of_layer(machine, delta, l + 1)), dtype=np.float64)
    sizes: np.ndarray = np.sqrt(total / (len(samples.X) * widths))
    return sizes


def jacobian(machine: Machine, X: Any, n_threads: int | None) -> np.ndarray:
    """(n_samples, n_L, n_0)."""
    n_0, n_L = machine.sizes[0], machine.sizes[-1]
    module, out = analysis.load(machine.engine_name), np.empty((len(X), n_L, n_0), machine.dtype)
    samples = without_targets(X, n_L, machine.dtype)
    n_threads = n_threads or machine.threads(samples, passes=1 + n_L)
    with machine.bound(n_threads, module=module) as bound:
        for block, start, stop, offset in _pieces(machine, samples, n_threads):
            module.jacobian(bound, block.X, out[start + offset : stop + offset], start, stop)
    return out


def product(
    machine: Machine, samples: Samples, total: float, v: np.ndarray, gauss_newton: bool
) -> np.ndarray:
    """Of the Hessian, or the Gauss-Newton matrix, of sum_i s_i / total C_i with v."""
    direction = Direction(v, np.zeros(machine.layout.n_parameters, machine.dtype), gauss_newton)
    functions = machine.sigma, machine.cost, machine.dtype
    module = analysis.load(machine.engine_name)
    curvature = module.curvature(*functions)
    if curvature is None:  # a coupled function without a kernel for its second derivative
        module = analysis.load("numpy")
        curvature = module.curvature(*functions)
        model = engines.load("numpy").model(Layout(machine.sizes), *functions)
        bound = Bound(model, machine.layout.flatten(machine.theta), None)
        for block, start, stop, _ in machine.pieces(samples):
            module.products(bound, curvature, block, total, direction, start, stop)
        return direction.product
    with machine.bound(module=module) as bound:
        for block, start, stop, _ in machine.pieces(samples):
            module.products(bound, curvature, block, total, direction, start, stop)
    return direction.product


def _pieces(
    machine: Machine, samples: Samples, n_threads: int
) -> Iterator[tuple[Samples, int, int, int]]:
    """As `Machine.pieces`, but no more rows than a BLOCK of each thread holds."""
    most = n_threads * BLOCK // sum(machine.layout.strides)
    return machine.pieces(samples, max(n_threads * machine.engine.row_tile(machine.model), most))


def _errors(
    machine: Machine, samples: Samples, with_a: bool = True
) -> Iterator[tuple[np.ndarray, np.ndarray, slice]]:
    """a and delta of some samples, all layers side by side, and the rows that the samples are."""
    width, dtype = sum(machine.layout.strides), machine.dtype
    module = analysis.load(machine.engine_name)
    n_threads = machine.threads(samples, passes=THERE_AND_BACK)
    with machine.bound(n_threads, module=module) as bound:
        for block, start, stop, offset in _pieces(machine, samples, n_threads):
            n = stop - start
            a, delta = np.empty((n, width * with_a), dtype), np.empty((n, width), dtype)
            module.errors(bound, block, a, delta, start, stop)
            yield a, delta, slice(start + offset, stop + offset)


def _of_layer(machine: Machine, array: np.ndarray, l: int) -> np.ndarray:
    start = int(machine.model.layers["start"][l])
    return array[:, start : start + machine.sizes[l]]
