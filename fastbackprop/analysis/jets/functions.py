"""Three derivatives of an activation in one kernel, called by address as in `engines.functions`.

derivatives(z, a, S, p, lanes)      S holds sigma'(z_k), behind these sigma''(z_k) and
                                    sigma'''(z_k): as many of the three as it has room for
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
from numba import types

from fastbackprop.engines.functions import near_or_far
from fastbackprop.functions.activations import Activation
from fastbackprop.functions.elementwise import zero
from fastbackprop.jit.call import address, call
from fastbackprop.jit.kernels import EXACT, inlined, kernel
from fastbackprop.layout import N_P


def derivatives(sigma: Sequence[Activation], dtype: np.dtype) -> np.ndarray:
    """The addresses for layers 0 ... L; layer 0 has none."""
    return np.array([0, *(_of_layer(activation, dtype) for activation in sigma)], np.int64)


@functools.cache
def _of_layer(activation: Activation, dtype: np.dtype) -> int:
    number = numba.from_dtype(dtype)
    T, p = types.Array(number, 1, "C"), types.UniTuple(number, N_P)
    # Nobody asks for a derivative that there is not: `inputs` refuses that.
    formulas = [f or zero for f in (activation.derivative, activation.second, activation.third)]
    return address(near_or_far(formulas, 2, _derivatives, dtype), T, T, T, p, types.intp)


@functools.cache
def _derivatives(first: Callable, second: Callable, third: Callable) -> Any:
    # A loop for each: LLVM gives up on one that writes three arrays, which might overlap.
    @kernel(fastmath=EXACT)
    def derivatives(z, a, S, p, lanes):
        n = z.shape[0]
        first_of, second_of, third_of = S[:n], S[n : 2 * n], S[2 * n : 3 * n]
        for k in range(first_of.shape[0]):
            first_of[k] = first(z[k], a[k], p)
        for k in range(second_of.shape[0]):
            second_of[k] = second(z[k], a[k], p)
        for k in range(third_of.shape[0]):
            third_of[k] = third(z[k], a[k], p)

    return derivatives


@inlined
def derivatives_of_layer(address, layer, z, a, S, lanes):
    """As many derivatives of sigma at z as S has room for."""
    call(address, (z, a, S, (layer["p_0"], layer["p_1"]), lanes))
