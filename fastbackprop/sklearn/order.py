"""The order of the samples, drawn as scikit-learn does."""

from typing import Any

import numpy as np


class Order(np.random.Generator):
    """A generator whose permutations are scikit-learn's: each shuffles the one before."""

    def __init__(
        self, random_state: np.random.RandomState, bits: Any = None, order: Any = ()
    ) -> None:
        if bits is None:  # for other draws than orders: those of `random_state` itself are theirs
            before = random_state.get_state(legacy=False)
            bits = np.random.PCG64(first_draw(random_state))
            random_state.set_state(before)
        super().__init__(bits)
        self._random_state, self._order = random_state, order

    @property
    def of_orders(self) -> Any:
        """The bit generator of the orders, for compiled shuffles: see `training.orders`."""
        return self._random_state._bit_generator

    def last(self, n: int | None = None) -> np.ndarray:
        """The order that the next one shuffles, of n samples."""
        return self._order if n in (None, len(self._order)) else np.arange(n)

    def keep(self, order: np.ndarray) -> None:
        """The next order shuffles this one."""
        self._order = order

    def permutation(self, n: int) -> np.ndarray:  # type: ignore[override]
        """The next order of 0 ... n - 1."""
        self.keep(self.last(n)[self._random_state.permutation(n)])
        return self._order

    def __reduce__(self) -> Any:
        return type(self), (self._random_state, self.bit_generator, self._order)


def first_draw(random_state: np.random.RandomState) -> int:
    """The seed of other draws than orders."""
    return int(random_state.randint(2**31))


def in_state(state: dict[str, Any]) -> np.random.RandomState:
    """A generator in a state that `get_state(legacy=False)` has returned."""
    random_state = np.random.RandomState(getattr(np.random, state["bit_generator"])())
    random_state.set_state(state)
    return random_state
