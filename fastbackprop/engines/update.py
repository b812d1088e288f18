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

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.core import types

from fastbackprop.jit.compiler import EXACT, address, call, inlined, kernel
from fastbackprop.layout import layer_type

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


# --- rules ---------------------------------------------------------------------------------------
# One loop for each number of states. c is copied into registers: in memory the compiler must assume
# that writing theta changes it.


@inlined
def _registers(c):
    return c[0], c[1], c[2], c[3], c[4], c[5], c[6]


def _loop_0(rule):
    @kernel
    def step(theta, g, states, c, start, stop):
        k = _registers(c)
        for p in range(theta.shape[0]):
            theta[p] = rule(theta[p], g[p], k)[0]

    return step


def _loop_1(rule):
    @kernel
    def step(theta, g, states, c, start, stop):
        k, u = _registers(c), states[0][start:stop]
        for p in range(theta.shape[0]):
            theta[p], u[p] = rule(theta[p], g[p], u[p], k)

    return step


def _loop_2(rule):
    @kernel
    def step(theta, g, states, c, start, stop):
        k, u, v = _registers(c), states[0][start:stop], states[1][start:stop]
        for p in range(theta.shape[0]):
            theta[p], u[p], v[p] = rule(theta[p], g[p], u[p], v[p], k)

    return step


def _loop_3(rule):
    @kernel
    def step(theta, g, states, c, start, stop):
        k, u, v = _registers(c), states[0][start:stop], states[1][start:stop]
        w = states[2][start:stop]
        for p in range(theta.shape[0]):
            theta[p], u[p], v[p], w[p] = rule(theta[p], g[p], u[p], v[p], w[p], k)

    return step


@functools.cache
def loop(rule: Callable, n_states: int) -> Any:
    """The kernel of a rule: elements start ... stop, whose theta and gradient are (n,), in place.

    states (n_states, length), c (N_COEFFICIENTS,).
    """
    return (_loop_0, _loop_1, _loop_2, _loop_3)[n_states](rule)


@functools.cache
def compiled_rule(rule: Callable, n_states: int, dtype: np.dtype) -> int:
    """`Update.rule` for kernels; compiled, or read from the disk, here."""
    T = numba.from_dtype(np.dtype(dtype))
    vector, matrix = types.Array(T, 1, "C"), types.Array(T, 2, "C")
    loop_types = (vector, vector, matrix, vector, types.intp, types.intp)
    return address(loop(rule, n_states), *loop_types)


def update_type(dtype: np.dtype) -> Any:
    """Numba's, of an `Update`."""
    c, vector = np.zeros((1, 1, N_COEFFICIENTS), dtype), np.zeros(1, dtype)
    t, more, cut = np.zeros(1, np.int64), np.zeros(1), np.zeros((1, 4), np.int64)
    states = np.zeros((1, 1), dtype)
    return numba.typeof(Update(0, False, 0, 0, c, t, states, vector, vector, more, cut))


@functools.cache
def compiled_completion(dtype: np.dtype) -> int:
    """`Update.completion` for a kernel of one thread; compiled, or read from the disk, here."""
    layers = types.Array(numba.from_dtype(layer_type(dtype)), 1, "C")
    theta = types.Array(numba.from_dtype(dtype), 1, "C")
    return address(complete_step, layers, theta, update_type(dtype))


# --- what kernels call ---------------------------------------------------------------------------


@inlined
def coefficients(update, l):
    """c of this step and layer, (N_COEFFICIENTS,)."""
    steps, layers = update.c.shape[0], update.c.shape[1]
    return update.c[min(update.t[0] - update.first, steps - 1), min(l, layers) - 1]


@inlined
def step_slice(theta, g, update, l, start, stop):
    """The rule for elements start ... stop, all of layer l, with their gradient g."""
    c = coefficients(update, l)
    call(update.rule, (theta[start:stop], g, update.states, c, start, stop))


@inlined
def step(layers, theta, update):
    """A whole step of one thread."""
    if update.completion != 0:
        call(update.completion, (layers, theta, update))
    elif update.c.shape[1] == 1:
        step_slice(theta, update.g, update, 1, 0, theta.shape[0])
    else:
        for l in range(1, layers.shape[0]):
            start = layers[l]["weight_start"]
            stop = layers[l]["bias_start"] + layers[l]["stride"]
            step_slice(theta, update.g[start:stop], update, l, start, stop)
    update.t[0] += 1


@kernel
def complete_step(layers, theta, update):
    """All pieces, one after the other."""
    n = update.pieces.shape[0]
    squares(update, 0, n)
    complete(theta, update, 0, n)
    limit_columns(layers, theta, update, 0, 1)
    average(theta, update, 0, n)


@kernel
def squares(update, first, last):
    """||g||^2 of each of these pieces, where there is a limit for the whole."""
    if update.more[CLIP_NORM] < np.inf:
        for piece in range(first, last):
            total, pieces = 0.0, update.pieces
            g = update.g[pieces[piece, START] : pieces[piece, STOP]]
            for p in range(g.shape[0]):
                total += float(g[p]) * float(g[p])
            update.more[SCRATCH + piece] = total


@kernel
def complete(theta, update, first, last):
    """These pieces of the gradient, when all their squares are known, and the rule for them."""
    more, one = update.more, theta.dtype.type(1)
    factor, high = one, theta.dtype.type(more[CLIP_VALUE])
    l2, l1 = theta.dtype.type(more[L2]), theta.dtype.type(more[L1])
    if more[CLIP_NORM] < np.inf:
        total = 0.0
        for piece in range(update.pieces.shape[0]):
            total += more[SCRATCH + piece]
        # PyTorch's clip_grad_norm_ has this 1e-6 too.
        factor = theta.dtype.type(min(1.0, more[CLIP_NORM] / (np.sqrt(total) + 1e-6)))
    for piece in range(first, last):
        start, stop = update.pieces[piece, START], update.pieces[piece, STOP]
        g, w = update.g[start:stop], theta[start:stop]
        for p in range(g.shape[0]):
            x = g[p] * factor
            x = -high if x < -high else x
            g[p] = high if x > high else x
        if (update.pieces[piece, WEIGHTS] or more[BIASES] > 0) and (l2 != 0 or l1 != 0):
            for p in range(g.shape[0]):
                g[p] += l2 * w[p] + l1 * np.sign(w[p])
        step_slice(theta, g, update, update.pieces[piece, LAYER], start, stop)


@kernel(fastmath=EXACT)
def limit_columns(layers, theta, update, part, parts):
    """The columns of every W^l that this part owns, at most max_norm long."""
    limit = update.more[MAX_NORM]
    if limit < np.inf:
        for l in range(1, layers.shape[0]):
            stride, rows = layers[l]["stride"], layers[l - 1]["width"]
            first, last = stride * part // parts, stride * (part + 1) // parts
            length = update.more[SCRATCH + layers[l]["start"] :][first:last]
            length[:] = 0
            for j in range(rows):
                start = layers[l]["weight_start"] + j * stride
                w = theta[start + first : start + last]
                for k in range(w.shape[0]):
                    length[k] += float(w[k]) * float(w[k])
            for k in range(length.shape[0]):
                norm = np.sqrt(length[k])
                length[k] = limit / norm if norm > limit else 1.0
            for j in range(rows):
                start = layers[l]["weight_start"] + j * stride
                w = theta[start + first : start + last]
                for k in range(w.shape[0]):
                    w[k] *= theta.dtype.type(length[k])


@kernel
def average(theta, update, first, last):
    """These pieces of the mean."""
    if update.mean.shape[0] > 0:
        a = coefficients(update, 1)[AVERAGING]
        if a > 0:
            for piece in range(first, last):
                start, stop = update.pieces[piece, START], update.pieces[piece, STOP]
                mean, now = update.mean[start:stop], theta[start:stop]
                for p in range(mean.shape[0]):
                    mean[p] += a * (now[p] - mean[p])


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
