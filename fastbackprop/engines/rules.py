"""The end of a minibatch in compiled engines; `update` describes it and has the NumPy version.

A rule's loop is a kernel of its own. Engines call it by its address, so one compilation of an
engine serves all rules.
"""

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types

from fastbackprop.engines.update import (
    AVERAGING,
    BIASES,
    CLIP_NORM,
    CLIP_VALUE,
    L1,
    L2,
    LAYER,
    MAX_NORM,
    N_COEFFICIENTS,
    SCRATCH,
    START,
    STOP,
    WEIGHTS,
    Update,
)
from fastbackprop.jit.call import address, call
from fastbackprop.jit.kernels import EXACT, ROUNDED, inlined, kernel
from fastbackprop.layout import layer_type

# --- rules ---------------------------------------------------------------------------------------
# One loop for each number of states. c is copied into registers: in memory the compiler must assume
# that writing theta changes it. Each operation rounds: `engines.lanes` has the same rules for many
# networks, and the same results.


@inlined
def _registers(c):
    return c[0], c[1], c[2], c[3], c[4], c[5], c[6]


def _loop_0(rule):
    @kernel(fastmath=EXACT)
    def step(theta, g, states, c, start, stop):
        k = _registers(c)
        for p in range(theta.shape[0]):
            theta[p] = rule(theta[p], g[p], k)[0]

    return step


def _loop_1(rule):
    @kernel(fastmath=ROUNDED)
    def step(theta, g, states, c, start, stop):
        k, u = _registers(c), states[0][start:stop]
        for p in range(theta.shape[0]):
            theta[p], u[p] = rule(theta[p], g[p], u[p], k)

    return step


def _loop_2(rule):
    @kernel(fastmath=ROUNDED)
    def step(theta, g, states, c, start, stop):
        k, u, v = _registers(c), states[0][start:stop], states[1][start:stop]
        for p in range(theta.shape[0]):
            theta[p], u[p], v[p] = rule(theta[p], g[p], u[p], v[p], k)

    return step


def _loop_3(rule):
    @kernel(fastmath=ROUNDED)
    def step(theta, g, states, c, start, stop):
        k, u, v = _registers(c), states[0][start:stop], states[1][start:stop]
        w = states[2][start:stop]
        for p in range(theta.shape[0]):
            theta[p], u[p], v[p], w[p] = rule(theta[p], g[p], u[p], v[p], w[p], k)

    return step


@functools.cache
def loop(rule: Callable, n_states: int) -> Any:
    """The kernel of a rule, for elements start ... stop, in place.

    Their theta and g are (n,); states (n_states, length), c (N_COEFFICIENTS,).
    """
    return (_loop_0, _loop_1, _loop_2, _loop_3)[n_states](rule)


@functools.cache
def compiled_rule(rule: Callable, n_states: int, dtype: np.dtype) -> int:
    """`Update.rule` for kernels, compiled or read from the disk."""
    T = numba.from_dtype(np.dtype(dtype))
    vector, matrix = types.Array(T, 1, "C"), types.Array(T, 2, "C")
    loop_types = (vector, vector, matrix, vector, types.intp, types.intp)
    return address(loop(rule, n_states), *loop_types)


def update_type(dtype: np.dtype) -> Any:
    """Numba's type of an `Update`."""
    c, vector = np.zeros((1, 1, N_COEFFICIENTS), dtype), np.zeros(1, dtype)
    t, more, cut = np.zeros(1, np.int64), np.zeros(1), np.zeros((1, 4), np.int64)
    states = np.zeros((1, 1), dtype)
    return numba.typeof(Update(0, False, 0, 0, c, t, states, vector, vector, more, cut))


@functools.cache
def compiled_completion(dtype: np.dtype) -> int:
    """`Update.completion` for a kernel of one thread, compiled or read from the disk."""
    layers = types.Array(numba.from_dtype(layer_type(dtype)), 1, "C")
    theta = types.Array(numba.from_dtype(dtype), 1, "C")
    return address(complete_step, layers, theta, update_type(dtype))


# --- what kernels call ---------------------------------------------------------------------------


@inlined
def coefficients(update, l, W):
    """c of this step for W^l, or where W is 0 for b^l, (N_COEFFICIENTS,)."""
    steps, parts = update.c.shape[0], update.c.shape[1]
    return update.c[min(update.t[0] - update.first, steps - 1), min(2 * l - W, parts) - 1]


@inlined
def step_slice(theta, g, update, l, W, start, stop):
    """The rule for elements start ... stop, all of W^l or of b^l, with their gradient g."""
    c = coefficients(update, l, W)
    call(update.rule, (theta[start:stop], g, update.states, c, start, stop))


@inlined
def step(layers, theta, update):
    """A whole step of one thread."""
    if update.completion != 0:
        call(update.completion, (layers, theta, update))
    else:
        step_elements(layers, theta, update, 0, theta.shape[0])
    update.t[0] += 1


@inlined
def step_elements(layers, theta, update, first, last):
    """The rule for elements first ... last, whose gradient is in update.g."""
    if update.c.shape[1] == 1:
        step_slice(theta, update.g[first:last], update, 1, 1, first, last)
    else:
        for l in range(1, layers.shape[0]):
            middle, end = layers[l]["bias_start"], layers[l]["bias_start"] + layers[l]["stride"]
            start, stop = max(first, layers[l]["weight_start"]), min(last, middle)
            if start < stop:
                step_slice(theta, update.g[start:stop], update, l, 1, start, stop)
            start, stop = max(first, middle), min(last, end)
            if start < stop:
                step_slice(theta, update.g[start:stop], update, l, 0, start, stop)


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
    """||g||^2 of each of these pieces, if the norm is limited."""
    if update.more[CLIP_NORM] < np.inf:
        for piece in range(first, last):
            total, pieces = 0.0, update.pieces
            g = update.g[pieces[piece, START] : pieces[piece, STOP]]
            for p in range(g.shape[0]):
                total += float(g[p]) * float(g[p])
            update.more[SCRATCH + piece] = total


@kernel
def complete(theta, update, first, last):
    """Complete these pieces of the gradient and apply the rule; all squares are known."""
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
        l, W = update.pieces[piece, LAYER], update.pieces[piece, WEIGHTS]
        step_slice(theta, g, update, l, W, start, stop)


@kernel(fastmath=EXACT)
def limit_columns(layers, theta, update, part, parts):
    """Limit the norm of the columns of every W^l that this part owns."""
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
    """Update these pieces of the mean."""
    if update.mean.shape[0] > 0:
        a = coefficients(update, 1, 1)[AVERAGING]
        if a > 0:
            for piece in range(first, last):
                start, stop = update.pieces[piece, START], update.pieces[piece, STOP]
                mean, now = update.mean[start:stop], theta[start:stop]
                for p in range(mean.shape[0]):
                    mean[p] += a * (now[p] - mean[p])
