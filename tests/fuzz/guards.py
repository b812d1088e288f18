"""Configurations whose arrays end where memory begins that may not be touched.

A kernel that reads or writes behind an array is a crash here. FASTBACKPROP_VECTOR_BYTES chooses the
width of the vectors: 16, 32 or 64.
"""

import ctypes
import mmap
from typing import Any

import numpy as np


def at_the_end(n: int, dtype: Any) -> np.ndarray:
    """Zeros, (n,), that end where a page begins that may not be touched."""
    size = n * np.dtype(dtype).itemsize
    pages = -(-size // mmap.PAGESIZE) + 1
    memory = mmap.mmap(-1, pages * mmap.PAGESIZE)
    guard = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + (pages - 1) * mmap.PAGESIZE
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(guard), mmap.PAGESIZE, 0) == 0
    return np.frombuffer(memory, dtype, n, (pages - 1) * mmap.PAGESIZE - size)


def placed(array: np.ndarray) -> np.ndarray:
    """A copy that ends there."""
    moved = at_the_end(array.size, array.dtype).reshape(array.shape)
    moved[...] = array
    return moved


def install() -> None:
    """Parameters, gradients, states and scratch memory of tiles end there too."""
    from fastbackprop import machine
    from fastbackprop.engines.tiles import task
    from fastbackprop.optimizers import steps

    for module in (machine, steps, task):
        assert module.aligned_zeros
        module.aligned_zeros = at_the_end  # type: ignore[attr-defined]


def within(seed: int, first: int, last: int, tell: Any) -> None:
    """Configurations first ... last of the engine "tiles"."""
    from tests.fuzz import configurations

    install()
    for i in range(first, last):
        tell(begin=i)
        r = np.random.default_rng([seed, i])
        outcome, wrong = configurations.attempt(r, engine="tiles", placed=placed)
        tell(attempt=i, name="guarded configuration", outcome=outcome, wrong=wrong)
