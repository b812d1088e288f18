"""Machine: a network bound to its engine. Everything above the engines talks to it.

It holds the description of the network, its parameters in the engine's layout, the model that the
engine makes of it, and a pool of scratch memory. Arguments are checked before they get here.
"""

import copy
import functools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fastbackprop import engines
from fastbackprop.engines.bound import Bound, Gradients, by_parameters
from fastbackprop.engines.update import Update
from fastbackprop.functions.activations import Activation
from fastbackprop.functions.costs import Cost
from fastbackprop.inputs.few import FewSamples
from fastbackprop.inputs.on_disk import at_hand, rows_at_once
from fastbackprop.layout import Layout, aligned_zeros
from fastbackprop.samples import COST, N_SUMS, WEIGHT, Samples

SLICE_SECONDS = 0.03
FORWARD, THERE_AND_BACK = 1, 3  # products of the size of (0) for a layer
ONE_THREAD = (None, 1)  # values of `n_threads` that the short ways have
Pause = Callable[[], None]  # called between two native calls; it may raise


def rows_of_a_slice(work: int) -> int:
    """The first guess: half a nanosecond for each parameter, and 0.1 us, for a row."""
    return max(1, int(SLICE_SECONDS / (0.5e-9 * work + 1e-7)))


def slices(
    n: int, batch_size: int, tile: int, work: int, most: int = sys.maxsize
) -> Iterator[tuple[int, int]]:
    """Cut 0 ... n into pieces of about SLICE_SECONDS each, of at most about `most` rows.

    They end with a minibatch, or, where a minibatch takes longer, at a multiple of the row tile
    inside it. `work` is the number of parameters.
    """
    rows = rows_of_a_slice(work)
    start = 0
    while start < n:
        rows = min(rows, most)
        end_of_batch = (start // batch_size + 1) * batch_size
        if rows >= batch_size:
            stop = end_of_batch + (rows // batch_size - 1) * batch_size
        else:
            stop = min(start + max(tile, rows // tile * tile), end_of_batch)
        stop = min(stop, n)
        began = time.perf_counter()
        yield start, stop
        elapsed = max(time.perf_counter() - began, 1e-9)
        rows = max(1, int((stop - start) * min(SLICE_SECONDS / elapsed, 4)))
        start = stop


class _Loan:
    """Scratch memory, bound to a network until the block ends.

    The generator of `contextlib.contextmanager` would be a tenth of a prediction of 32 rows.
    """

    __slots__ = ("_bound", "_idle")

    def __init__(self, idle: list[Any], bound: Bound) -> None:
        self._idle, self._bound = idle, bound

    def __enter__(self) -> Bound:
        return self._bound

    def __exit__(self, *exception: object) -> None:
        self._idle.append(self._bound.work)


class Machine:
    """A network bound to its engine.

    Attributes
    ----------
    sizes, sigma, cost, dtype, engine_name
        The description: neurons per layer, sigma_1 ... sigma_L, the cost, the dtype, a name.
    engine : module
        See `fastbackprop.engines` for its functions.
    layout : Layout
        Places of the weights and biases in `theta`, with the engine's padding.
    theta : ndarray
        The parameters. `weights` and `biases` are views of it.
    """

    def __init__(
        self,
        sizes: tuple[int, ...],
        sigma: Sequence[Activation],
        cost: Cost,
        dtype: np.dtype,
        engine_name: str,
    ) -> None:
        self.sizes, self.sigma, self.cost = sizes, sigma, cost
        self.dtype, self.engine_name = dtype, engine_name
        self.engine = engines.load(engine_name)
        self.layout = Layout(sizes, [self.engine.stride(n, dtype) for n in sizes])
        self.theta = self.vector()
        self.weights, self.biases = self.layout.weights(self.theta), self.layout.biases(self.theta)
        # Scratch of earlier calls, by the module that made it, threads, and whether X is sparse.
        self._idle: dict[Any, list[Any]] = {}
        self._idle_rows: list[np.ndarray] = []
        self._idle_ready: list[Any] = []  # of `few_cost` and its kin
        self._others: dict[Cost, Machine] = {}
        flat = Layout(sizes)
        ends, shapes = (*flat.weight_start[1:], flat.length), pairwise(sizes)
        self._parts = list(zip(flat.weight_start, flat.bias_start, ends, shapes, strict=True))
        self.no_parameters, self.no_rows = np.empty(0, dtype), np.empty((0, sizes[0]), dtype)
        self._one_row, self._few = (1, sizes[0]), self.engine.few(sizes)

    @functools.cached_property
    def model(self) -> Any:
        """The network as its engine takes it: on first use, when functions may be compiled."""
        return self.engine.model(self.layout, self.sigma, self.cost, self.dtype)

    @functools.cached_property
    def few_samples(self) -> FewSamples:
        """Tells samples for the engine's short ways from others."""
        most = self._few // THERE_AND_BACK if self.engine.short is not None else 0
        return FewSamples(self.sizes[0], self.sizes[-1], self.dtype, self.cost, most)

    def with_cost(self, cost: Cost) -> "Machine":
        """The same network, parameters included, with another cost."""
        try:
            return self._others[cost]
        except KeyError:
            other = copy.copy(self)
            for cached in ("model", "few_samples"):
                other.__dict__.pop(cached, None)
            other.cost, other._idle_ready, other._others = cost, [], {}
            return self._others.setdefault(cost, other)

    @property
    def likeness(self) -> str:
        """Equal for two networks whose vectors have the same meaning."""
        return f"{self.sizes}, {self.dtype.char}, {self.engine_name}"

    def parts(self, flat: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Every W^l and every b^l of a vector without padding, (n_parameters,): views."""
        return (
            [flat[W:b].reshape(shape) for W, b, _, shape in self._parts],
            [flat[b:end] for _, b, end, _ in self._parts],
        )

    def vector(self) -> np.ndarray:
        """Zeros of the layout, for a gradient or parameters."""
        return aligned_zeros(self.layout.length, self.dtype)

    def bound(
        self,
        n_threads: int = 1,
        sparse: bool = False,
        *,
        model: Any = None,
        theta: np.ndarray | None = None,
        module: Any = None,
    ) -> "_Loan":
        """`with` yields the network with scratch memory that no other call uses at the same time.

        The memory is that of an earlier call where there is one: clearing it would take longer than
        a row takes through a small network. `module`, the engine unless given, makes it. `model`
        and `theta` take the place of the network's own.
        """
        module, model = module or self.engine, self.model if model is None else model
        idle = self._idle.setdefault((module, n_threads, sparse), [])
        try:
            work = idle.pop()  # one step for the interpreter: no other thread gets the same
        except IndexError:
            work = module.workspace(model, self.dtype, n_threads, sparse)
        return _Loan(idle, Bound(model, self.theta if theta is None else theta, work))

    def threads(
        self, samples: Samples, batch_size: int | None = None, passes: int = FORWARD
    ) -> int:
        """How many threads a call on these samples is worth; steps take `batch_size` samples."""
        n: int = self.engine.threads(
            self.model, batch_size, passes * len(samples.X), samples.inputs_per_sample
        )
        return n

    def pieces(
        self, samples: Samples, most: int = sys.maxsize
    ) -> Iterator[tuple[Samples, int, int, int]]:
        """All samples, some tens of milliseconds at a time; see `inputs.on_disk.at_hand`."""
        n, tile = len(samples.X), self.engine.row_tile(self.model)
        most = min(most, rows_at_once(samples))
        return at_hand(samples, slices(n, n, tile, self.theta.size, most))

    def predict(
        self,
        samples: Samples,
        out: np.ndarray,
        n_threads: int | None = None,
        pause: Pause | None = None,
    ) -> None:
        """Fill out, (n_samples, n_L), with a^L."""
        n_threads = n_threads or self.threads(samples)
        with self.bound(n_threads, samples.is_sparse) as bound:
            for block, start, stop, offset in self.pieces(samples):
                self.engine.predict(bound, block, out[offset : offset + stop], start, stop)
                if pause is not None:
                    pause()

    def predict_few(self, X: Any, out: Any, n_threads: int | None) -> np.ndarray | None:
        """a^L of few rows that need no conversion, or None where the long way must do it.

        Control and simulation ask for a row, or some, a million times. The checks of `inputs` take
        several times as long as the answer; these leave nothing out, and the long way has the
        messages.
        """
        dtype, theta = self.dtype, self.theta
        if type(X) is not np.ndarray or X.dtype != dtype or not self._few:
            return None
        one = X.shape == self._one_row
        if not one:
            if n_threads not in ONE_THREAD or X.ndim != 2 or X.shape[1] != self.sizes[0]:
                return None
            if not 0 < len(X) <= self._few:
                return None
        if not X.flags.carray:
            return None
        shape = (len(X), self.sizes[-1])
        if out is None:
            out = np.empty(shape, dtype)
        elif (
            type(out) is not np.ndarray
            or out.dtype != dtype
            or out.shape != shape
            or not out.flags.carray
            or (out.base is not None and np.may_share_memory(out, theta))
            or (not one and np.may_share_memory(out, X))
        ):
            return None
        if one:
            try:
                neurons = self._idle_rows.pop()
            except IndexError:
                neurons = np.zeros((3, max(self.layout.strides)), dtype)
            done = self.engine.predict_row(self.model.layers, theta, X, out, neurons)
            self._idle_rows.append(neurons)
        else:
            with self.bound() as bound:
                done = self.engine.predict_rows(self.model.layers, theta, X, out, bound.work)
        return out if done else None

    def ready(self, model: Any = None, update: Update | None = None) -> Any:
        """All but the samples of calls in the short way, with an update also of steps."""
        model = self.model if model is None else model
        bound = Bound(model, self.theta, self.engine.workspace(model, self.dtype))
        return self.engine.short.ready(bound, self.cost, update)

    def forget_scratch(self) -> None:
        """Free what earlier calls have left for later ones."""
        for idle in (self._idle, self._idle_rows, self._idle_ready):
            idle.clear()

    def few_cost(
        self, X: Any, y: Any, sample_weight: Any, n_threads: int | None = None
    ) -> float | None:
        """The mean cost of few samples that need no conversion, or None: see `predict_few`."""
        arrays = self.few_samples(X, y, sample_weight) if n_threads in ONE_THREAD else None
        if arrays is None:
            return None
        ready, short = self._lent(), self.engine.short
        try:
            return short.cost_of_few(ready.memory) if short.take(ready.memory, *arrays) else None
        finally:
            self._idle_ready.append(ready)

    def few_gradient(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        total: float | None,
        flat: np.ndarray,
        below: np.ndarray,
        n_threads: int | None = None,
    ) -> float | None:
        """The mean cost, and the gradient of sum_i s_i / total C_i: see `short.gradient_of_few`.

        The total is that of the weights where it is None. None, and nothing done, as `few_cost`.
        """
        arrays = self.few_samples(X, y, sample_weight) if n_threads in ONE_THREAD else None
        if arrays is None:
            return None
        ready, short = self._lent(), self.engine.short
        try:
            if not short.take(ready.memory, *arrays):
                return None
            if total is None:
                s = arrays[-1]
                total = float(s.sum()) if len(s) else float(len(X))
            mean: float = short.gradient_of_few(ready.memory, total, flat, below)
            return mean
        finally:
            self._idle_ready.append(ready)

    def _lent(self) -> Any:
        """Memory of a call in the short way, of an earlier one where there is one."""
        try:
            return self._idle_ready.pop()
        except IndexError:
            return self.ready()

    def cost_sums(
        self, samples: Samples, n_threads: int | None = None, pause: Pause | None = None
    ) -> tuple[float, float]:
        """sum_i s_i C_i and sum_i s_i."""
        sums, n_threads = np.zeros(N_SUMS), n_threads or self.threads(samples)
        with self.bound(n_threads, samples.is_sparse) as bound:
            for block, start, stop, _ in self.pieces(samples):
                self.engine.cost_sum(bound, block, sums, start, stop)
                if pause is not None:
                    pause()
        return float(sums[COST]), float(sums[WEIGHT])

    def gradient_sums(
        self,
        samples: Samples,
        total: float,
        n_threads: int | None = None,
        by_X: np.ndarray | None = None,
        by_theta: np.ndarray | None = None,
    ) -> tuple[float, float, np.ndarray]:
        """sum_i s_i C_i, sum_i s_i, and the gradient of the first over `total`, of the layout.

        The gradient by the inputs, (n_samples, n_0), is left in by_X; that by the parameters is
        left out where by_theta is (0,).
        """
        sums, gradient = np.zeros(N_SUMS), self.vector() if by_theta is None else by_theta
        n_threads = n_threads or self.threads(samples, passes=THERE_AND_BACK)
        into = by_parameters(gradient)
        with self.bound(n_threads, samples.is_sparse) as bound:
            for block, start, stop, offset in self.pieces(samples):
                if by_X is not None:
                    into = Gradients(gradient, by_X[offset : offset + len(block.X)])
                self.engine.gradient_sums(bound, block, total, into, sums, start, stop)
        return float(sums[COST]), float(sums[WEIGHT]), gradient
