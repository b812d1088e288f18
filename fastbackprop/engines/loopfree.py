"""The same equations without a loop over samples or neurons: NumPy matrix expressions.

The comparison: what the loops of `fastbackprop.engines.loops` replace. Capital letters stack the
samples of a batch as rows: Z^l, A^l, Delta^l are (n_samples, n_l).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastbackprop.engines import noise as _noise
from fastbackprop.engines.bound import Bound, Gradients, Minibatches
from fastbackprop.engines.noise import Noise, factors_of_inputs, masks, noisy
from fastbackprop.engines.update import Update, step_loop_free
from fastbackprop.functions.activations import Activation
from fastbackprop.functions.arrays import on_arrays
from fastbackprop.functions.costs import Cost
from fastbackprop.layout import Layout
from fastbackprop.samples import COST, MINIBATCH_COST, N_SUMS, WEIGHT, Samples

Arrays = list[Any]  # a sparse A^0 is SciPy's, the others are NumPy's
Masks = Mapping[int, np.ndarray]  # l: (n_samples, n_l)
NO_MASKS: Masks = {}

# --- the equations -------------------------------------------------------------------------------


def weighted_input(A: np.ndarray, W: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(0)  Z^l = A^{l-1} W^l + b^l"""
    return A @ W + b


def output_error(
    sigma: Activation, cost: Cost, Z: np.ndarray, A: np.ndarray, Y: np.ndarray
) -> np.ndarray:
    """(1)  Delta^L = grad C (.) sigma_L'(Z^L)"""
    G = cost.gradient(Z, A, Y)
    return G if cost.fused else sigma.pull_back(G, Z, A)


def hidden_error(
    sigma: Activation, W_next: np.ndarray, Delta_next: np.ndarray, Z: np.ndarray, A: np.ndarray
) -> np.ndarray:
    """(2)  Delta^l = (Delta^{l+1} (W^{l+1})^T) (.) sigma_l'(Z^l)"""
    return sigma.pull_back(Delta_next @ W_next.T, Z, A)


def weight_gradient(A: np.ndarray, Delta: np.ndarray) -> np.ndarray:
    """(3)  dC/dW^l = (A^{l-1})^T Delta^l"""
    return A.T @ Delta


def bias_gradient(Delta: np.ndarray) -> np.ndarray:
    """(4)  dC/db^l = sum over the samples of Delta^l"""
    return Delta.sum(axis=0)


# --- a batch -------------------------------------------------------------------------------------


def forward(
    W: Sequence[Any],
    b: Sequence[Any],
    sigma: Sequence[Activation],
    X: np.ndarray,
    dropout: Masks = NO_MASKS,
) -> tuple[Arrays, Arrays]:
    """Z^1 ... Z^L and A^0 ... A^L; of dropout, the mask of each A^l that has one."""
    Z: Arrays = []
    A = [X * dropout[0] if 0 in dropout else X]
    for l, (W_l, b_l, sigma_l) in enumerate(zip(W, b, sigma, strict=True), 1):
        Z.append(weighted_input(A[-1], W_l, b_l))
        A_l = sigma_l.sigma(Z[-1])
        A.append(A_l * dropout[l] if l in dropout else A_l)
    return Z, A


def backward(
    W: Sequence[Any],
    sigma: Sequence[Activation],
    cost: Cost,
    Z: Arrays,
    A: Arrays,
    Y: np.ndarray,
    factor: np.ndarray,
    dropout: Masks = NO_MASKS,
) -> Arrays:
    """Delta^1 ... Delta^L; factor, (n_samples, 1) or scalar, is each sample's part in the mean."""
    Delta = [output_error(sigma[-1], cost, Z[-1], A[-1], Y) * factor]
    for l in range(len(W) - 1, 0, -1):
        sigma_l, Z_l = sigma[l - 1], Z[l - 1]
        A_l = sigma_l.sigma(Z_l) if l in dropout else A[l]  # as it was
        Delta_l = hidden_error(sigma_l, W[l], Delta[0], Z_l, A_l)
        Delta.insert(0, Delta_l * dropout[l] if l in dropout else Delta_l)
    return Delta


# --- the engine contract -------------------------------------------------------------------------

quiet = np.errstate(all="ignore")  # as compiled code: training that diverges is seen by its cost


class Model(NamedTuple):
    """A network: the places of its layers, and its functions of arrays."""

    layers: np.ndarray  # of `layout.layer_type`
    sigma: list[Activation]
    cost: Cost


def model(layout: Layout, sigma: Sequence[Activation], cost: Cost, dtype: np.dtype) -> Model:
    """Nothing is compiled."""
    functions = [on_arrays(activation, dtype) for activation in sigma]
    return Model(layout.layers(dtype), functions, on_arrays(cost, dtype))


def stride(width: int, dtype: np.dtype) -> int:
    """No padding."""
    return width


def row_tile(model: Model) -> int:
    """Enough rows for BLAS, few enough to return to Python often and to need little memory."""
    widths = model.layers["width"]
    return max(64, min(1024, 2**28 // int(widths[1:] @ widths[:-1])))


def threads(
    model: Model, batch_size: int | None, n_samples: int, inputs_per_sample: float | None = None
) -> int:
    """One: what BLAS does is its own affair."""
    return 1


def rule(formula: Callable, n_states: int, dtype: np.dtype) -> tuple[Callable, int]:
    """`Update.rule`: the formula takes whole arrays."""
    return formula, n_states


def completion(dtype: np.dtype) -> int:
    """`Update.completion`: nothing to compile."""
    return 1


perturbed = _noise.perturbed


def workspace(model: Model, dtype: np.dtype, n_threads: int = 1, sparse: bool = False) -> None:
    """NumPy allocates as it goes; its BLAS has threads of its own."""


class Parts:
    """A network as the equations take it: views of W and b, and the functions."""

    def __init__(self, bound: Bound) -> None:
        model, theta = bound.model, bound.theta
        self.layout = Layout(tuple(model.layers["width"]))
        self.n_in = self.layout.sizes[0]
        self.W, self.b = self.layout.weights(theta), self.layout.biases(theta)
        self.sigma, self.cost = model.sigma, model.cost

    def forward_cost(
        self, X: np.ndarray, Y: np.ndarray, s, dropout: Masks = NO_MASKS
    ) -> tuple[Arrays, Arrays, float]:
        Z, A = forward(self.W, self.b, self.sigma, X, dropout)
        C = self.cost.terms(Z[-1], A[-1], Y).sum(axis=1)
        return Z, A, float((C * s).sum(dtype=np.float64))

    def forward_and_back(
        self,
        X: np.ndarray,
        Y: np.ndarray,
        s,
        total: float,
        gradient: np.ndarray,
        dropout: Masks = NO_MASKS,
    ) -> tuple[Arrays, Arrays, Arrays, float]:
        """Z, A, Delta, sum_i s_i C_i; and gradient += sum_i s_i / total dC_i/dtheta."""
        Z, A, cost = self.forward_cost(X, Y, s, dropout)
        factor = factors(s, total, X.dtype)
        Delta = backward(self.W, self.sigma, self.cost, Z, A, Y, factor, dropout)
        if gradient.size:
            G, g = self.layout.weights(gradient), self.layout.biases(gradient)
            for G_l, g_l, A_l, Delta_l in zip(G, g, A[:-1], Delta, strict=True):
                G_l += weight_gradient(A_l, Delta_l)
                g_l += bias_gradient(Delta_l)
        return Z, A, Delta, cost


def rows_of(samples: Samples, rows: slice | np.ndarray, n_in: int):
    """X, Y (one-hot where there are labels) and s (1.0 where all are one) of these rows."""
    X = _sparse_rows(samples, rows, n_in) if samples.is_sparse else samples.X[rows]
    if len(samples.labels):
        n = X.shape[0]
        Y = np.zeros((n, samples.Y.shape[1]), X.dtype)
        Y[np.arange(n), samples.labels[rows]] = 1
    else:
        Y = samples.Y[rows]
    return X, Y, samples.s[rows] if len(samples.s) else 1.0


def factors(s, total: float, dtype: np.dtype):
    """s_i / total, (n_samples, 1), or one number where all s_i are one."""
    return (s[:, None] / total).astype(dtype) if np.ndim(s) else dtype.type(1 / total)


def _sparse_rows(samples: Samples, rows: slice | np.ndarray, n_in: int):
    """These rows of a sparse X, in a csr_array."""
    from scipy.sparse import csr_array  # who has a sparse X has SciPy

    spans = samples.spans[rows]
    starts = np.concatenate([[0], np.cumsum(np.diff(spans))])
    p = np.arange(starts[-1]) + np.repeat(spans[:, 0] - starts[:-1], np.diff(starts))
    return csr_array((samples.values[p], samples.columns[p], starts), shape=(len(spans), n_in))


def row_tiles(model: Model, start: int, stop: int):
    tile = row_tile(model)
    return (slice(i, min(i + tile, stop)) for i in range(start, stop, tile))


@quiet
def predict(bound: Bound, samples: Samples, out, start: int, stop: int) -> None:
    parts = Parts(bound)
    for rows in row_tiles(bound.model, start, stop):
        X, _, _ = rows_of(samples, rows, parts.n_in)
        out[rows] = forward(parts.W, parts.b, parts.sigma, X)[1][-1]


@quiet
def cost_sum(bound: Bound, samples: Samples, sums, start: int, stop: int) -> None:
    parts = Parts(bound)
    for rows in row_tiles(bound.model, start, stop):
        X, Y, s = rows_of(samples, rows, parts.n_in)
        sums[COST] += parts.forward_cost(X, Y, s)[2]
        sums[WEIGHT] += np.sum(s) if np.ndim(s) else X.shape[0]


@quiet
def gradient_sums(
    bound: Bound, samples: Samples, total: float, into: Gradients, sums, start: int, stop: int
) -> None:
    parts = Parts(bound)
    for rows in row_tiles(bound.model, start, stop):
        X, Y, s = rows_of(samples, rows, parts.n_in)
        _, _, Delta, cost = parts.forward_and_back(X, Y, s, total, into.by_theta)
        sums[COST] += cost
        sums[WEIGHT] += np.sum(s) if np.ndim(s) else X.shape[0]
        if len(into.by_X):
            into.by_X[rows] = Delta[0] @ parts.W[0].T


@quiet
def train(
    bound: Bound, minibatches: Minibatches, update: Update, sums, start: int, stop: int
) -> int:
    layers, parts = bound.model.layers, Parts(bound)
    samples, order, batch_size, _ = minibatches
    place = start
    while place < stop:
        first = place // batch_size * batch_size
        last = min(first + batch_size, len(order))
        end = min(last, stop)
        sum_of_weights = samples.s[order[first:last]].sum() if len(samples.s) else last - first
        total = sum_of_weights if sum_of_weights > 0 else 1.0
        if place == first:
            update.g[:] = 0
            sums[MINIBATCH_COST] = 0
        for tile in row_tiles(bound.model, place, end):
            noise = Noise(minibatches.seed, int(update.t[0]), tile.start - first)
            X, Y, s, dropout = _perturbed_rows(layers, samples, order[tile], noise, parts.n_in)
            cost = parts.forward_and_back(X, Y, s, total, update.g, dropout)[-1]
            sums[MINIBATCH_COST] += cost
        if end == last:
            if not np.isfinite(sums[MINIBATCH_COST]):
                return first
            sums[COST] += sums[MINIBATCH_COST]
            sums[WEIGHT] += sum_of_weights
            if sum_of_weights > 0:
                step_loop_free(layers, bound.theta, update)
        place = end
    return stop


def _perturbed_rows(layers, samples: Samples, rows: np.ndarray, noise: Noise, n_in: int):
    """X, Y and s of these rows, X with dropout and noise; and the masks of the other layers."""
    X, Y, s = rows_of(samples, rows, n_in)
    if samples.is_sparse and layers[0]["drop"] > 0:
        lengths = np.diff(X.indptr)
        X.data *= factors_of_inputs(layers[0], noise, lengths, X.indices)
    elif not samples.is_sparse:
        X = noisy(layers[0], noise, X)
    return X, Y, s, masks(layers, noise, X.shape[0], inputs=not samples.is_sparse)


@quiet
def take_step(bound: Bound, update: Update) -> None:
    step_loop_free(bound.model.layers, bound.theta, update)


short = orders = None


def few(sizes: Sequence[int]) -> int:
    """There is no short way."""
    return 0


@quiet
def activations(model: Model, theta: np.ndarray, X: np.ndarray) -> Arrays:
    parts = Parts(Bound(model, theta, None))
    return [np.array(A_l) for A_l in forward(parts.W, parts.b, parts.sigma, X)[1]]


@quiet
def trace(
    model: Model, theta: np.ndarray, samples: Samples, total: float, gradient: np.ndarray
) -> tuple[np.ndarray, Arrays, Arrays, Arrays]:
    X, Y, s = rows_of(samples, slice(None), 0)
    parts, sums = Parts(Bound(model, theta, None)), np.zeros(N_SUMS)
    Z, A, Delta, sums[COST] = parts.forward_and_back(X, Y, s, total, gradient)
    sums[WEIGHT] = np.sum(s) if np.ndim(s) else len(X)
    return sums, Z, [np.array(A_l) for A_l in A], Delta  # the identity's A^l is Z^l, and A^0 is X
