"""The end of a minibatch, the same for all engines: from the gradient to new parameters.

A rule is a formula for one element: theta, states <- rule(theta, g, states), with coefficients c of
the step. Its loop is a kernel of its own, which the engines call by its address: none of them knows
which rules there are.

Where the optimizer asks for more, the gradient is first completed in memory and the step is

    g <- g min(1, clip_norm / ||g||)                  of the whole gradient
    g <- min(max(g, -clip_value), clip_value)
    g <- g + l2 W + l1 sign W
    theta, states <- rule(theta, g, states)
    W^l_.k <- W^l_.k min(1, max_norm / ||W^l_.k||)    a column: the weights into neuron k
    mean <- mean + a (theta - mean)

The vector is cut into pieces that do not depend on the number of threads: nor does any sum.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

N_COEFFICIENTS = 8
AVERAGING = N_COEFFICIENTS - 1  # the place of a in c: it is not the rule's
LONGEST_PIECE = 2048  # elements

START, STOP, LAYER, WEIGHTS = range(4)  # of a piece, a row of `Update.pieces`: integers


# What an optimizer asks for beside its rule, float64: places in `Update.more`. Infinite or zero is
# off. From SCRATCH on are sums of squares, of each piece, or of the columns of all layers.
CLIP_NORM, CLIP_VALUE, L2, L1, BIASES, MAX_NORM, SCRATCH = range(7)
NOTHING = (np.inf, np.inf, 0.0, 0.0, 0.0, np.inf)


class Update(NamedTuple):
    """What a step needs beside the parameters, as kernels see it."""

    rule: Any  # the address of its loop; without loops the formula, and how many states it has
    plain: bool  # the rule is theta - c_0 g: no need for g in memory
    completion: int  # the address of what takes the step where there is more than the rule, or 0
    first: int  # steps that had been taken before the first of c
    c: np.ndarray  # coefficients of some steps, (n_steps or 1, L or 1, N_COEFFICIENTS)
    t: np.ndarray  # steps taken, (1,) int64
    states: np.ndarray  # (n_states, length)
    mean: np.ndarray  # running mean of theta, (length,); (0,) where there is none
    g: np.ndarray  # gradient of the minibatch, (length,)
    more: np.ndarray  # float64, by CLIP_NORM ... SCRATCH
    pieces: np.ndarray  # all of the vector, (n, 4); (0, 4) without a completion


# --- the same as array expressions ---------------------------------------------------------------


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
    """What `step` does."""
    if update.completion:
        complete_gradient(layers, theta, update)
    row = update.c[min(int(update.t[0]) - update.first, len(update.c) - 1)]
    if len(row) == 1:
        _step_range(theta, update, row[0], 0, theta.size)
    else:
        for start, stop, l, _ in ranges(layers):
            _step_range(theta, update, row[l - 1], start, stop)
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
    """Clipped, with the penalties, in place."""
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
    """No column of a W^l is longer than the limit."""
    if limit < np.inf:
        for start, stop, l, is_weights in ranges(layers):
            if is_weights:
                W = theta[start:stop].reshape(-1, layers[l]["stride"])
                norms = np.sqrt(np.square(W, dtype=np.float64).sum(axis=0))
                W *= (limit / np.maximum(norms, limit)).astype(theta.dtype)


def average_loop_free(theta: np.ndarray, mean: np.ndarray, a: np.floating) -> None:
    """The mean comes nearer by the part a of the way."""
    if a > 0:
        mean += a * (theta - mean)
