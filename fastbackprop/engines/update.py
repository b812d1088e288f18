"""The end of a minibatch, the same for all engines: from the gradient to new parameters.

A rule is a formula for one element: theta, states <- rule(theta, g, states), with coefficients c of
the step. If the optimiser has clipping, penalties, a norm limit or an average, the gradient is
first completed in memory and the step is

    g <- g min(1, clip_norm / ||g||)                  of the whole gradient
    g <- min(max(g, -clip_value), clip_value)
    g <- g + l2 W + l1 sign W
    theta, states <- rule(theta, g, states)
    W^l_.k <- W^l_.k min(1, max_norm / ||W^l_.k||)    a column: the weights into neuron k
    mean <- mean + a (theta - mean)

The coefficients are the same for all elements, or there are those of W^1, b^1, W^2, b^2, ...

The vector is cut into pieces that do not depend on the number of threads, so neither do the sums.

Here are the vectors of a step and its NumPy version; `rules` has the kernels.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

N_COEFFICIENTS = 8
AVERAGING = N_COEFFICIENTS - 1  # the place of a in c; the others are the rule's
LONGEST_PIECE = 2048  # elements

START, STOP, LAYER, WEIGHTS = range(4)  # columns of `Update.pieces`, integers

# Places in `Update.more`, float64; infinity or zero turns each off. The sums of squares, of each
# piece or of the columns of all layers, begin at SCRATCH.
CLIP_NORM, CLIP_VALUE, L2, L1, BIASES, MAX_NORM, SCRATCH = range(7)
NOTHING = (np.inf, np.inf, 0.0, 0.0, 0.0, np.inf)


class Update(NamedTuple):
    """The arguments of a step, as kernels see them; the parameters come beside it."""

    rule: Any  # the address of the rule's loop; for NumPy the formula and its number of states
    plain: bool  # the rule is theta - c_0 g, and g need not be in memory
    completion: int  # the address of the kernel that takes the whole step, or 0: the rule is all
    first: int  # steps taken before the first row of c
    c: np.ndarray  # coefficients of some steps, (n_steps or 1, 2 L or 1, N_COEFFICIENTS)
    t: np.ndarray  # steps taken, (1,) int64
    states: np.ndarray  # (n_states, length)
    mean: np.ndarray  # running mean of theta, (length,), or (0,)
    g: np.ndarray  # gradient of the minibatch, (length,)
    more: np.ndarray  # float64, by CLIP_NORM ... SCRATCH
    pieces: np.ndarray  # all of the vector, (n, 4), or (0, 4) without a completion


def no_update(length: int, dtype: np.dtype) -> Update:
    """For calls that take no step and need a gradient."""
    g, states, mean = np.zeros(length, dtype), np.zeros((0, length), dtype), np.zeros(0, dtype)
    c, t, more = np.zeros((1, 1, N_COEFFICIENTS), dtype), np.zeros(1, np.int64), np.array(NOTHING)
    return Update(0, False, 0, 0, c, t, states, mean, g, more, np.zeros((0, 4), np.int64))


def ranges(layers: np.ndarray) -> Iterator[tuple[int, int, int, bool]]:
    """Where each W^l and b^l is: start, stop, l, and whether it is W."""
    for l, layer in enumerate(layers[1:], 1):
        start, bias_start, stride = (
            int(layer[n]) for n in ("weight_start", "bias_start", "stride")
        )
        yield start, bias_start, l, True
        yield bias_start, bias_start + stride, l, False


def pieces(layers: np.ndarray) -> np.ndarray:
    """All of the vector, (n, 4), by START ... WEIGHTS."""
    cut = [
        (i, min(i + LONGEST_PIECE, stop), l, W)
        for start, stop, l, W in ranges(layers)
        for i in range(start, stop, LONGEST_PIECE)
    ]
    return np.array(cut, np.int64)


def step_loop_free(layers: np.ndarray, theta: np.ndarray, update: Update) -> None:
    """A whole step."""
    if update.completion:
        complete_gradient(layers, theta, update)
    row = update.c[min(int(update.t[0]) - update.first, len(update.c) - 1)]
    if len(row) == 1:
        _step_range(theta, update, row[0], 0, theta.size)
    else:
        for c, (start, stop, _, _) in zip(row, ranges(layers), strict=True):
            _step_range(theta, update, c, start, stop)
    limit_columns_loop_free(layers, theta, update.more[MAX_NORM])
    if update.mean.size:
        average_loop_free(theta, update.mean, row[0, AVERAGING])
    update.t[0] += 1


def _step_range(theta: np.ndarray, update: Update, c: np.ndarray, start: int, stop: int) -> None:
    part = slice(start, stop)
    rule, n_states = update.rule
    states = update.states[:n_states, part]
    results = rule(theta[part], update.g[part], *states, c)
    for vector, result in zip((theta[part], *states), results, strict=True):
        vector[...] = result


def complete_gradient(layers: np.ndarray, theta: np.ndarray, update: Update) -> None:
    """Clip the gradient and add the penalties, in place."""
    g, more = update.g, update.more
    if more[CLIP_NORM] < np.inf:
        norm = np.sqrt(np.square(g, dtype=np.float64).sum())
        g *= theta.dtype.type(min(1.0, more[CLIP_NORM] / (norm + 1e-6)))
    if more[CLIP_VALUE] < np.inf:
        np.clip(g, -more[CLIP_VALUE], more[CLIP_VALUE], out=g)
    for start, stop, _, W in ranges(layers):
        if (W or more[BIASES]) and (more[L2] or more[L1]):
            w = theta[start:stop]
            g[start:stop] += theta.dtype.type(more[L2]) * w + theta.dtype.type(more[L1]) * np.sign(
                w
            )


def limit_columns_loop_free(layers: np.ndarray, theta: np.ndarray, limit: float) -> None:
    """Scale columns of W^l that are longer than the limit."""
    if limit < np.inf:
        for start, stop, l, is_weights in ranges(layers):
            if is_weights:
                W = theta[start:stop].reshape(-1, layers[l]["stride"])
                norms = np.sqrt(np.square(W, dtype=np.float64).sum(axis=0))
                W *= (limit / np.maximum(norms, limit)).astype(theta.dtype)


def average_loop_free(theta: np.ndarray, mean: np.ndarray, a: np.floating) -> None:
    """mean <- mean + a (theta - mean)"""
    if a > 0:
        mean += a * (theta - mean)
