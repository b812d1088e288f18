"""Jets of all samples, for `Network`'s methods. Arguments are checked.

Directions that have no room beside each other in a row tile follow one after the other: all that is
computed here is a sum over directions, or apart for each.
"""

from collections.abc import Callable, Iterator
from types import ModuleType

import numpy as np

from fastbackprop.analysis.jets import Jets, load
from fastbackprop.engines.bound import Bound, Gradients
from fastbackprop.layout import read_only
from fastbackprop.machine import FORWARD, THERE_AND_BACK, Machine, slices


def jet(
    machine: Machine, X: np.ndarray, rays: np.ndarray, order: int, n_threads: int | None
) -> np.ndarray:
    """a^L, its first and its second derivatives, (1 + order D, n_samples, n_L)."""
    D = rays.shape[1]
    out = np.empty((1 + order * D, len(X), machine.sizes[-1]), machine.dtype)
    for jets, channels in _at_once(machine, X, rays, order):
        if channels is None:
            _Calls(machine, jets).jet(out, n_threads)
        else:
            part = np.empty((len(channels), *out.shape[1:]), machine.dtype)
            _Calls(machine, jets).jet(part, n_threads)
            out[channels] = part
    return out


def gradient(
    machine: Machine,
    X: np.ndarray,
    rays: np.ndarray,
    G: np.ndarray,
    n_threads: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    """From G = dC/d(what `jet` gives): dC/dtheta, of the machine's layout, and dC/dX."""
    order = (len(G) - 1) // rays.shape[1]
    gradients: list[tuple[np.ndarray, np.ndarray]] = []
    for jets, channels in _at_once(machine, X, rays, order):
        part = G if channels is None else G[channels]
        if gradients:  # what C depends on through the values is in the first part
            part[0] = 0
        gradients.append(_Calls(machine, jets).jet_backward(part, n_threads))
    by_theta, by_X = gradients[0]
    for other in gradients[1:]:
        by_theta += other[0]
        by_X += other[1]
    return by_theta, by_X


def laplacian(machine: Machine, X: np.ndarray, n_threads: int | None) -> np.ndarray:
    """sum_j d2a^L/dx_j^2, (n_samples, n_L)."""
    n_0 = machine.sizes[0]
    channels = jet(machine, X, read_only(np.eye(n_0, dtype=machine.dtype)[None]), 2, n_threads)
    total: np.ndarray = channels[1 + n_0 :].sum(axis=0)
    return total


def input_hessian(machine: Machine, X: np.ndarray, n_threads: int | None) -> np.ndarray:
    """d2a^L/dx_i dx_j, (n_samples, n_L, n_0, n_0): half of what e_i + e_j has over e_i and e_j."""
    n_0, unit = machine.sizes[0], np.eye(machine.sizes[0], dtype=machine.dtype)
    i, j = np.triu_indices(n_0, 1)
    rays = np.concatenate([unit, unit[i] + unit[j]])
    second = jet(machine, X, read_only(rays[None]), 2, n_threads)[1 + len(rays) :]
    own, mixed = second[:n_0], second[n_0:]
    hessian = np.empty((n_0, n_0, *second.shape[1:]), machine.dtype)
    hessian[np.arange(n_0), np.arange(n_0)] = own
    hessian[i, j] = hessian[j, i] = (mixed - own[i] - own[j]) / 2
    return np.ascontiguousarray(hessian.transpose(2, 3, 0, 1))


def _at_once(
    machine: Machine, X: np.ndarray, rays: np.ndarray, order: int
) -> Iterator[tuple[Jets, np.ndarray | None]]:
    """As many directions as one call takes, and which channels of all these are; None: all."""
    module = load(machine.engine_name)
    derivatives = module.derivatives(machine.sigma, machine.dtype)
    D, most = rays.shape[1], (module.most_channels(machine.dtype) - 1) // order
    if D <= most:
        yield Jets(derivatives, X, rays, order), None
        return
    for first in range(0, D, most):
        d = np.arange(first, min(first + most, D))
        channels = np.concatenate([[0], 1 + d, 1 + D + d] if order == 2 else [[0], 1 + d])
        part = read_only(np.ascontiguousarray(rays[:, d]))
        yield Jets(derivatives, X, part, order), channels


class _Calls:
    """Calls of an engine, for all samples of some jets."""

    def __init__(self, machine: Machine, jets: Jets) -> None:
        self.machine, self.jets = machine, jets
        self.module: ModuleType = load(machine.engine_name)
        self.n, self.channels = len(jets.X), 1 + jets.order * jets.rays.shape[1]
        self.tile = self.module.row_tile(machine.model, machine.dtype, self.channels)

    def jet(self, out: np.ndarray, n_threads: int | None) -> None:
        def call(bound: Bound, start: int, stop: int) -> None:
            self.module.jet(bound, self.jets, out, start, stop)

        self._in_parts(call, n_threads, FORWARD)

    def jet_backward(self, G: np.ndarray, n_threads: int | None) -> tuple[np.ndarray, np.ndarray]:
        machine, G = self.machine, read_only(G)
        into = Gradients(machine.vector(), np.empty(self.jets.X.shape, machine.dtype))

        def call(bound: Bound, start: int, stop: int) -> None:
            self.module.jet_backward(bound, self.jets, G, into, start, stop)

        self._in_parts(call, n_threads, THERE_AND_BACK)
        return into.by_theta, into.by_X

    def _in_parts(
        self, call: Callable[[Bound, int, int], None], n_threads: int | None, passes: int
    ) -> None:
        """Call with all samples, some tens of milliseconds at a time."""
        machine, n = self.machine, self.n
        if n_threads is None:
            rows = passes * n * self.channels
            n_threads = machine.engine.threads(machine.model, None, rows)
        with machine.bound(n_threads, module=self.module) as bound:
            for start, stop in slices(n, n, self.tile, machine.theta.size * self.channels):
                call(bound, start, stop)
