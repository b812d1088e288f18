"""Random numbers without a generator's state: dropout's masks and noise on the inputs.

Each number is a hash of seed, step, layer, row of the minibatch and unit. So it needs no memory,
the backward pass finds it again, and it does not depend on the number of threads. The hash is the
32-bit mixer "lowbias32" (Ellis and Wellons, "Prospecting for hash functions", 2018), applied once
for each of the five.

Here are the formulas and their use on arrays (n_samples, n_l); `dropout` has the kernels.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastbackprop.jit.words import formula, log, near_sin, scalar

NO_LAYER = 0x7FFFFFFF  # in place of a layer's number in the keys of noise


class Noise(NamedTuple):
    """The parts of the hash that some rows of a minibatch share."""

    seed: int
    step: int
    row: int  # number of the first row in its minibatch


SILENCE = Noise(0, 0, 0)  # for models without dropout and noise


def perturbed(model: Any, dropout: Sequence[float], noise: float) -> Any:
    """The model with these dropout rates of a^0 ... a^{L-1} and this deviation of noise on a^0.

    The same model if all of them are zero.
    """
    if not any(dropout) and not noise:
        return model
    layers = model.layers.copy()
    layers["scale"] = 1
    for layer, rate in zip(layers, dropout, strict=False):
        layer["drop"], layer["scale"] = round(rate * 2**32), 1 / (1 - rate)
    layers[0]["noise"] = noise
    return model._replace(layers=layers)


@formula
def mixed(x):
    x = np.uint32((x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D))
    x = np.uint32((x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B))
    return np.uint32(x ^ (x >> np.uint32(16)))


@formula
def key(seed, step, l, row):
    """The key of a row in a layer."""
    of_step = mixed(np.uint32(mixed(np.uint32(seed)) + np.uint32(step)))
    return mixed(np.uint32(mixed(np.uint32(of_step + np.uint32(l))) + row))


@formula
def normal(z, h):
    """A standard normal number of z's type from a hash. Box and Muller (1958)."""
    T = scalar(z)
    u, v = (T(h) + T(0.5)) * T(2.0**-32), T(mixed(np.uint32(~h))) * T(2.0**-32)
    return np.sqrt(T(-2) * log(u)) * near_sin(T(2 * math.pi) * v)


def _keys(noise: Noise, l: int, n: int) -> np.ndarray:
    rows = np.uint32(noise.row) + np.arange(n, dtype=np.uint32)
    return key(*np.array([noise.seed, noise.step, l], np.int64).astype(np.uint32)[:, None], rows)


def _hashes(noise: Noise, l: int, shape: tuple[int, int]) -> np.ndarray:
    return mixed(_keys(noise, l, shape[0])[:, None] ^ mixed(np.arange(shape[1], dtype=np.uint32)))


def masks(layers: np.ndarray, noise: Noise, n: int, inputs: bool = True) -> dict[int, np.ndarray]:
    """The factors of n rows of a^l, for every l with dropout."""
    return {
        l: _factors(layer, _hashes(noise, l, (n, layer["width"])))
        for l, layer in enumerate(layers)
        if layer["drop"] > 0 and (l > 0 or inputs)
    }


def factors_of_inputs(
    layer: np.void, noise: Noise, lengths: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """The factors of the inputs in these columns, `lengths` of them in each row."""
    keys = np.repeat(_keys(noise, 0, len(lengths)), lengths)
    return _factors(layer, mixed(keys ^ mixed(columns.astype(np.uint32))))


def _factors(layer: np.void, hashes: np.ndarray) -> np.ndarray:
    return np.where(hashes < layer["drop"], 0 * layer["scale"], layer["scale"])


def noisy(layer: np.void, noise: Noise, X: np.ndarray) -> np.ndarray:
    """X with noise, if the layer has any."""
    if layer["noise"] > 0:
        return X + layer["noise"] * normal(X, _hashes(noise, NO_LAYER, X.shape))
    return X
