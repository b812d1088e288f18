"""The place of each W^l and b^l in the parameter vector, and the records of layers for kernels.

Parameters, gradient and every optimiser state are vectors of one layout, W^1, b^1, W^2, b^2, ...
An engine may ask for rows padded to a multiple of its vector lanes. Padding stays zero, and only
this file and the engine see it.
"""

import functools
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, SupportsIndex

import numpy as np

HUGE_PAGE, MANY_BYTES = 1 << 21, 1 << 22  # bytes
CACHE_LINE = 64  # bytes

N_P = 2  # the largest number of parameters of an activation


@functools.cache
def layer_type(dtype: np.dtype) -> np.dtype:
    """The record of a layer for kernels: one compilation serves every architecture."""
    return np.dtype(
        [
            ("width", np.int64),  # n_l
            ("stride", np.int64),  # length of a row of W^l, padding included
            ("start", np.int64),  # its first place in a row of all neurons, the inputs last
            ("weight_start", np.int64),  # the first place of W^l in the parameter vector
            ("bias_start", np.int64),  # and of b^l
            ("activate", np.int64),  # address of sigma_l
            ("pull_back", np.int64),  # address of the product with sigma_l'
            ("p_0", dtype),  # parameters of sigma_l
            ("p_1", dtype),
            ("drop", np.uint32),  # dropout rate of a^l, times 2^32
            ("scale", dtype),  # factor of the values that are kept
            ("noise", dtype),  # standard deviation of the noise on a^0
            ("drop_out", np.int64),  # addresses of the kernels for dropout and noise, if any
            ("add_noise", np.int64),
        ],
        align=True,
    )


def aligned_zeros(n: int, dtype: np.dtype) -> np.ndarray:
    """Zeros, (n,), that start on a cache line, so that no vector crosses one.

    Large arrays fill huge pages, which NumPy asks the system for: addresses are translated faster.
    """
    itemsize = np.dtype(dtype).itemsize
    unit = CACHE_LINE if n * itemsize < MANY_BYTES else HUGE_PAGE
    array = np.zeros((-(-n * itemsize // unit) + 1) * unit // itemsize, dtype)
    skip = -array.ctypes.data % unit // itemsize
    return array[skip : skip + n]


def read_only(array: np.ndarray) -> np.ndarray:
    """A read-only view: kernels are compiled for read-only inputs, and for no others."""
    view = array.view()
    view.flags.writeable = False
    return view


class Views(tuple[np.ndarray, ...]):
    """Array views. Assigning to an item writes the values through the view; nothing else changes.

    A list could lose its views, or have them in another order, and no longer be the network's.
    """

    def __setitem__(self, index: SupportsIndex, value: Any) -> None:
        if isinstance(index, slice):
            raise TypeError("assign to one item at a time, or write through the views")
        self[index][...] = value


class Layout:
    """The place of every weight and bias of a network of these sizes.

    `strides` are the lengths of rows in memory, one for each layer; the sizes if not given.
    """

    def __init__(self, sizes: Sequence[int], strides: Sequence[int] | None = None) -> None:
        self.sizes = tuple(sizes)
        self.strides = self.sizes if strides is None else tuple(strides)
        weight_start, bias_start, end = [], [], 0
        for rows, columns in pairwise(self.strides):
            weight_start.append(end)
            bias_start.append(end + rows * columns)
            end += rows * columns + columns
        self.weight_start, self.bias_start = tuple(weight_start), tuple(bias_start)
        self.length = end
        self.n_parameters = sum(m * n + n for m, n in pairwise(self.sizes))

    def layers(self, dtype: np.dtype) -> np.ndarray:
        """The records of `layer_type`, (L+1,); layer 0 is the input and has no weights."""
        layers = np.zeros(len(self.sizes), layer_type(np.dtype(dtype)))
        layers["width"], layers["stride"] = self.sizes, self.strides
        layers["start"] = np.roll(np.cumsum([0, *self.strides[1:]]), 1)
        layers["weight_start"][1:], layers["bias_start"][1:] = self.weight_start, self.bias_start
        return layers

    def weights(self, vector: np.ndarray) -> Views:
        """W^1 ... W^L as views into a vector, (n_{l-1}, n_l) each."""
        places = zip(self.weight_start, pairwise(self.sizes), pairwise(self.strides), strict=True)
        return Views(
            vector[start : start + rows * columns].reshape(rows, columns)[:m, :n]
            for start, (m, n), (rows, columns) in places
        )

    def biases(self, vector: np.ndarray) -> Views:
        """b^1 ... b^L as views into a vector, (n_l,) each."""
        starts_and_sizes = zip(self.bias_start, self.sizes[1:], strict=True)
        return Views(vector[start : start + n] for start, n in starts_and_sizes)

    def flatten(self, vector: np.ndarray) -> np.ndarray:
        """A copy of W^1, b^1, W^2, ... without padding, C order, (n_parameters,)."""
        pairs = zip(self.weights(vector), self.biases(vector), strict=True)
        return np.concatenate([part.ravel() for pair in pairs for part in pair])

    def unflatten(self, flat: np.ndarray, vector: np.ndarray) -> None:
        """Write (n_parameters,) values into the vector: the inverse of `flatten`."""
        position = 0
        for W, b in zip(self.weights(vector), self.biases(vector), strict=True):
            for part in (W, b):
                part[...] = flat[position : position + part.size].reshape(part.shape)
                position += part.size
