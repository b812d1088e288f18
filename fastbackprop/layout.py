"""Where each W^l and b^l lies in the one parameter vector, and what kernels are told of a network.

Parameters, gradient and every optimiser state are vectors of one layout, W^1, b^1, W^2, b^2, ...
An engine may ask for rows padded to a multiple of its vector lanes: padding stays zero, and
nothing outside this file and the engine sees it.
"""

import functools
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

HUGE_PAGE, MANY_BYTES = 1 << 21, 1 << 22  # bytes
CACHE_LINE = 64  # bytes

N_P = 2  # parameters that an activation can have


@functools.cache
def layer_type(dtype: np.dtype) -> np.dtype:
    """What kernels are told of a layer: one compilation serves every architecture."""
    return np.dtype(
        [
            ("width", np.int64),  # n_l
            ("stride", np.int64),  # length of a row of W^l, padding included
            ("start", np.int64),  # where it begins in a row of all neurons, the inputs last
            ("weight_start", np.int64),  # where W^l begins in the parameter vector
            ("bias_start", np.int64),  # where b^l begins in it
            ("activate", np.int64),  # address of sigma_l
            ("pull_back", np.int64),  # address of the product with sigma_l'
            ("p_0", dtype),  # parameters of sigma_l
            ("p_1", dtype),
            ("drop", np.uint32),  # dropout of a^l: the part of 2^32 that is dropped
            ("scale", dtype),  # and the factor of the rest
            ("noise", dtype),  # standard deviation of what is added to a^0
            ("drop_out", np.int64),  # addresses of the kernels for both, where there is any
            ("add_noise", np.int64),
        ],
        align=True,
    )


def aligned_zeros(n: int, dtype: np.dtype) -> np.ndarray:
    """Zeros, (n,), that start on a cache line: no vector then lies across two of them.

    Large ones fill huge pages, for which NumPy asks the system: their addresses are found faster.
    """
    itemsize = np.dtype(dtype).itemsize
    unit = CACHE_LINE if n * itemsize < MANY_BYTES else HUGE_PAGE
    array = np.zeros((-(-n * itemsize // unit) + 1) * unit // itemsize, dtype)
    skip = -array.ctypes.data % unit // itemsize
    return array[skip : skip + n]


def read_only(array: np.ndarray) -> np.ndarray:
    """A read-only view. Kernels are compiled for read-only inputs alone, whatever a user passes."""
    view = array.view()
    view.flags.writeable = False
    return view


class Views(list[np.ndarray]):
    """A list of array views; assigning to an item writes the values through the view."""

    def __setitem__(self, index: Any, value: Any) -> None:
        self[index][...] = value


class Layout:
    """The place of every weight and bias of a network of these sizes.

    `strides` are the lengths of rows in memory, one for each layer; without, there is no padding.
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
        """The places, of `layer_type`, (L+1,); layer 0 is the input and has no weights."""
        layers = np.zeros(len(self.sizes), layer_type(np.dtype(dtype)))
        layers["width"], layers["stride"] = self.sizes, self.strides
        layers["start"] = np.roll(np.cumsum([0, *self.strides[1:]]), 1)
        layers["weight_start"][1:], layers["bias_start"][1:] = self.weight_start, self.bias_start
        return layers

    def weights(self, vector: np.ndarray) -> Views:
        """W^1 ... W^L as views into a vector, (n_{l-1}, n_l) each."""
        views = Views()
        for start, (m, n), (rows, columns) in zip(
            self.weight_start, pairwise(self.sizes), pairwise(self.strides), strict=True
        ):
            views.append(vector[start : start + rows * columns].reshape(rows, columns)[:m, :n])
        return views

    def biases(self, vector: np.ndarray) -> Views:
        """b^1 ... b^L as views into a vector, (n_l,) each."""
        starts_and_sizes = zip(self.bias_start, self.sizes[1:], strict=True)
        return Views(vector[start : start + n] for start, n in starts_and_sizes)

    def flatten(self, vector: np.ndarray) -> np.ndarray:
        """W^1, b^1, W^2, ... without padding, C order: a copy, (n_parameters,)."""
        pairs = zip(self.weights(vector), self.biases(vector), strict=True)
        return np.concatenate([part.ravel() for pair in pairs for part in pair])

    def unflatten(self, flat: np.ndarray, vector: np.ndarray) -> None:
        """Write (n_parameters,) values into the vector: the inverse of `flatten`."""
        position = 0
        for W, b in zip(self.weights(vector), self.biases(vector), strict=True):
            for part in (W, b):
                part[...] = flat[position : position + part.size].reshape(part.shape)
                position += part.size
