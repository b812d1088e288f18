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
        None takes the samples as they come. One with `of_orders` draws by that bit generator, and
        each of its permutations shuffles the one before, `last(n)`; `keep(order)` is told of it.
    lengths : sequence of int
        The samples of each.
    """

    def __init__(self, engine: Any, generators: Sequence[Any], lengths: Sequence[int]) -> None:
        self._kernel, self._generators = engine.orders, generators
        self.lengths = np.array(lengths, np.int64)
        self._goes_on = np.array([hasattr(g, "of_orders") for g in generators])
        self._sources: Any = None
        self._locks: list[Any] = []
        if self._kernel is not None:
            known = [(0, 0) if g is None else self._kernel.source(g) for g in generators]
            if None not in known:
                self._sources = np.array(known, np.int64).T.copy()
                # NumPy's own generator may be that of several networks, in several threads.
                locks = {id(lock): lock for lock in map(_lock, generators) if lock is not None}
                self._locks = [locks[key] for key in sorted(locks)]

    def draw(self, orders: np.ndarray) -> None:
        """Fill orders, (n_epochs, n_generators, n): each begins with that of its samples."""
        if self._sources is not None:
            flat = orders.reshape(-1, orders.shape[2])
            for g, n, rng in self._that_go_on():
                orders[0, g, :n] = rng.last(n)
            self._shuffle(flat, self._locks)
            for g, n, rng in self._that_go_on():
                rng.keep(orders[-1, g, :n].copy())
            return
        for of_epoch in orders:
            for order, rng, n in zip(of_epoch, self._generators, self.lengths, strict=True):
                order[:n] = np.arange(n) if rng is None else rng.permutation(n)

    def _shuffle(self, flat: np.ndarray, locks: Sequence[Any]) -> None:
        """With these locks held, taken in an order that all threads have."""
        if locks:
            with locks[0]:
                return self._shuffle(flat, locks[1:])
        self._kernel.shuffle(flat, self.lengths, *self._sources, self._goes_on)

    def _that_go_on(self) -> list[tuple[int, int, Any]]:
        """Their places, lengths and generators."""
        places = self._goes_on.nonzero()[0].tolist()
        return [(g, int(self.lengths[g]), self._generators[g]) for g in places]


def _lock(rng: Any) -> Any:
    """What NumPy holds while it draws from a generator."""
    return None if rng is None else getattr(rng, "of_orders", rng.bit_generator).lock


def state(rng: Any) -> Any:
    """All that the next permutations of a generator depend on; None of none."""
    if not hasattr(rng, "of_orders"):
        return rng and rng.bit_generator.state
    return rng.bit_generator.state, rng.of_orders.state, rng.last()


def set_state(rng: Any, value: Any) -> None:
    """Go back to what `state` has returned."""
    if not hasattr(rng, "of_orders"):
        if rng is not None:
            rng.bit_generator.state = value
        return
    rng.bit_generator.state, rng.of_orders.state, order = value
    rng.keep(order)
