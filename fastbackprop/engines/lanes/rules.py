"""The optimizers' rules for V networks: formulas of one element, applied to vectors.

Each lane has coefficients of its own, and takes a step or not.
"""

import functools
from collections.abc import Callable

import numba
import numpy as np
from numba import types

from fastbackprop.jit.call import address
from fastbackprop.jit.kernels import EXACT, ROUNDED, inlined, kernel
from fastbackprop.jit.tile import load, store, vector_lanes
from fastbackprop.jit.vectors import chosen


@inlined
def _registers(c, V):
    return (
        load(c, 0, 0, 1, 1),
        load(c, V, 0, 1, 1),
        load(c, 2 * V, 0, 1, 1),
        load(c, 3 * V, 0, 1, 1),
        load(c, 4 * V, 0, 1, 1),
        load(c, 5 * V, 0, 1, 1),
        load(c, 6 * V, 0, 1, 1),
    )


# values are theta and the states, `size` elements each; g is the gradient of the n elements from
# `start` on. A step is taken in the lanes that are `on`.


def _loop_0(rule):
    @kernel(fastmath=EXACT)
    def step(values, size, start, n, g, c, on):
        V = vector_lanes(values)
        k, on = _registers(c, V), load(on, 0, 0, 1, 1)
        for p in range(0, n, V):
            theta = load(values, start + p, 0, 1, 1)
            new = rule(theta, load(g, p, 0, 1, 1), k)
            store(chosen(on, new[0], theta), values, start + p, 0)

    return step


def _loop_1(rule):
    @kernel(fastmath=ROUNDED)
    def step(values, size, start, n, g, c, on):
        V = vector_lanes(values)
        k, on = _registers(c, V), load(on, 0, 0, 1, 1)
        for p in range(start, start + n, V):
            theta, u = load(values, p, 0, 1, 1), load(values, size + p, 0, 1, 1)
            new = rule(theta, load(g, p - start, 0, 1, 1), u, k)
            store(chosen(on, new[0], theta), values, p, 0)
            store(chosen(on, new[1], u), values, size + p, 0)

    return step


def _loop_2(rule):
    @kernel(fastmath=ROUNDED)
    def step(values, size, start, n, g, c, on):
        V = vector_lanes(values)
        k, on = _registers(c, V), load(on, 0, 0, 1, 1)
        for p in range(start, start + n, V):
            theta, u = load(values, p, 0, 1, 1), load(values, size + p, 0, 1, 1)
            v = load(values, 2 * size + p, 0, 1, 1)
            new = rule(theta, load(g, p - start, 0, 1, 1), u, v, k)
            store(chosen(on, new[0], theta), values, p, 0)
            store(chosen(on, new[1], u), values, size + p, 0)
            store(chosen(on, new[2], v), values, 2 * size + p, 0)

    return step


@functools.cache
def compiled_rule(formula: Callable, n_states: int, dtype: np.dtype) -> int:
    """The address of the loop of a rule with at most two states, compiled if need be."""
    vector = types.Array(numba.from_dtype(dtype), 1, "C")
    step = (_loop_0, _loop_1, _loop_2)[n_states](formula)
    return address(step, vector, types.intp, types.intp, types.intp, vector, vector, vector)
