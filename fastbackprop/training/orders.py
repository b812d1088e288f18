"""Orders of the samples, epoch after epoch, drawn from the generators of networks."""

from collections.abc import Sequence
from typing import Any

import numpy as np


class Orders:
    """Orders of the samples of some networks.

    Parameters
    ----------
    engine : module
        Of `fastbackprop.engines`. Its kernel draws what `Generator.permutation` would draw.
    generators : sequence of numpy.random.Generator or None
        None takes the samples as they come.
    lengths : sequence of int
        The samples of each.
    """

    def __init__(self, engine: Any, generators: Sequence[Any], lengths: Sequence[int]) -> None:
        self._kernel, self._generators = engine.orders, generators
        self._lengths = np.array(lengths, np.int64)
        self._sources: Any = None
        if self._kernel is not None:
            known = [(0, 0) if g is None else self._kernel.source(g) for g in generators]
            if None not in known:
                self._sources = np.array(known, np.int64).T.copy()

    def draw(self, orders: np.ndarray) -> None:
        """Fill orders, (n_epochs, n_generators, n): each begins with that of its samples."""
        if self._sources is not None:
            flat = orders.reshape(-1, orders.shape[2])
            self._kernel.shuffle(flat, self._lengths, *self._sources)
            return
        for of_epoch in orders:
            for order, rng, n in zip(of_epoch, self._generators, self._lengths, strict=True):
                order[:n] = np.arange(n) if rng is None else rng.permutation(n)
