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
            bits = np.random.PCG64(random_state.randint(2**31))
            random_state.set_state(before)
        super().__init__(bits)
        self._random_state, self._order = random_state, order

    def permutation(self, n: int) -> np.ndarray:  # type: ignore[override]
        """The next order of 0 ... n - 1."""
        order = self._order if len(self._order) == n else np.arange(n)
        self._order = order[self._random_state.permutation(n)]
        return self._order

    def __reduce__(self) -> Any:
        return type(self), (self._random_state, self.bit_generator, self._order)


def in_state(state: dict[str, Any]) -> np.random.RandomState:
    """A generator in a state that `get_state(legacy=False)` has returned."""
    random_state = np.random.RandomState(getattr(np.random, state["bit_generator"])())
    random_state.set_state(state)
    return random_state
