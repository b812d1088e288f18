"""Dropout and noise on the inputs in compiled engines: the kernels, for strips of samples.

A strip is an array with a row of `lanes` samples for each unit. `noise` has the random numbers.
"""

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from numba import types

from fastbackprop.engines.noise import NO_LAYER, SILENCE, key, mixed, normal, perturbed
from fastbackprop.jit.call import address, call
from fastbackprop.jit.kernels import EXACT, inlined, kernel
from fastbackprop.jit.words import scalar, where


@inlined
def _set_keys(noise, l, keys):
    for i in range(keys.shape[0]):
        keys[i] = key(noise.seed, noise.step, l, np.uint32(noise.row + i))


@kernel(fastmath=EXACT)
def _drop_out(layer, l, noise, keys, v):
    """v_ki <- 0, or v_ki divided by the probability of being kept; keys is scratch."""
    zero, lanes = v.dtype.type(0), keys.shape[0]
    drop, scale = layer["drop"], layer["scale"]
    _set_keys(noise, l, keys)
    for k in range(v.shape[0] // lanes):
        of_unit, row = mixed(np.uint32(k)), v[k * lanes : (k + 1) * lanes]
        for i in range(lanes):
            row[i] *= where(mixed(np.uint32(keys[i] ^ of_unit)) < drop, zero, scale)


@kernel(fastmath=EXACT)
def _add_noise(layer, noise, keys, v):
    """v_ki plus a normal number of the layer's deviation; keys is scratch."""
    lanes, deviation = keys.shape[0], layer["noise"]
    _set_keys(noise, NO_LAYER, keys)
    for k in range(v.shape[0] // lanes):
        of_unit, row = mixed(np.uint32(k)), v[k * lanes : (k + 1) * lanes]
        for i in range(lanes):
            row[i] += deviation * normal(row[i], mixed(np.uint32(keys[i] ^ of_unit)))


@inlined
def key_of_input(noise, i):
    """The key of the inputs of sample i."""
    return key(noise.seed, noise.step, 0, np.uint32(noise.row + i))


@inlined
def input_after_dropout(layer, key, j, x):
    """x_j of a sample with this key, after dropout."""
    if layer["drop"] > 0:
        dropped = mixed(np.uint32(key ^ mixed(np.uint32(j)))) < layer["drop"]
        x *= where(dropped, scalar(x)(0), layer["scale"])
    return x


@inlined
def perturb_input(layer, noise, keys, v):
    """Add noise and dropout, if there are any, to a^0."""
    if layer["noise"] > 0:
        call(layer["add_noise"], (layer, noise, keys, v))
    drop_out(layer, 0, noise, keys, v)


@inlined
def drop_out(layer, l, noise, keys, v):
    """Apply dropout, if there is any, to v; keys is scratch."""
    if layer["drop"] > 0:
        call(layer["drop_out"], (layer, l, noise, keys, v))


def perturbed_for_kernels(model: Any, dropout: Sequence[float], noise: float) -> Any:
    """`perturbed` with the addresses of the kernels.

    For a model without dropout and noise nothing is compiled.
    """
    model_with = perturbed(model, dropout, noise)
    if model_with is not model:
        layers = model_with.layers
        layer, where_from = numba.from_dtype(layers.dtype), numba.typeof(SILENCE)
        keys, v = (
            types.Array(numba.from_dtype(np.dtype(dtype)), 1, "C")
            for dtype in (np.uint32, layers["scale"].dtype)
        )
        if any(dropout):
            layers["drop_out"] = address(_drop_out, layer, types.intp, where_from, keys, v)
        if noise:
            layers["add_noise"] = address(_add_noise, layer, where_from, keys, v)
    return model_with
