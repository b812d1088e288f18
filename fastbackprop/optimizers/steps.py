"""An optimizer's steps during a training: their coefficients, and who takes them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastbackprop.engines.update import (
    AVERAGING,
    MAX_NORM,
    N_COEFFICIENTS,
    Update,
    average_loop_free,
    limit_columns_loop_free,
)
from fastbackprop.layout import Layout

BLOCK = 64  # coefficients are computed for so many steps at once, or a multiple


class Rule(NamedTuple):
    """How a step changes each element.

    rule(theta, g, *states, c) -> (theta, *states); coefficients(h, t, tiny) -> c[0], c[1], ...,
    each a number or an array like t. tiny is the smallest epsilon: 0 / 0 would be no step for what
    has no gradient, padding among it, but NaN.
    """

    rule: Callable[..., tuple[Any, ...]]
    coefficients: Callable[..., tuple[Any, ...]]
    n_states: int


class Updates:
    """What `train` is given, call after call: the coefficients of the steps that come.

    Whole blocks of steps, wherever a call begins: so no bit depends on how an epoch is cut.
    """

    def __init__(
        self,
        rule: Rule,
        h: tuple[float, ...],
        factors: Sequence[float] | None,
        averaging: Any,
        dtype: np.dtype,
    ) -> None:
        self.key = rule, h, factors, averaging, dtype
        self.learning_rate = h[0]
        self._begin, self._end = 0, -1  # the steps that _rows is of
        self._rows = np.zeros((0, 1, N_COEFFICIENTS))
        self._c = self._rows.astype(dtype)

    def coefficients(
        self, first: int, n: int, factors: np.ndarray | None
    ) -> tuple[int, np.ndarray]:
        """c for n steps after the first, (steps or 1, L or 1, N_COEFFICIENTS), and where it begins.

        `factors` (n,) are those of the schedule.
        """
        if not self._begin <= first <= first + n <= self._end:
            self._compute(first // BLOCK * BLOCK, -(-(first + n + 1) // BLOCK) * BLOCK)
        if factors is None:
            return self._begin, self._c
        rows = self._rows
        if len(rows) > 1:
            rows = rows[first - self._begin : first - self._begin + n]
        c = np.repeat(rows, n, axis=0) if len(rows) == 1 else rows.copy()
        c[:, :, 0] *= factors[:, None]
        with np.errstate(over="ignore"):
            return first, c.astype(self._c.dtype)

    def _compute(self, begin: int, end: int) -> None:
        rule, h, factors, averaging, dtype = self.key
        t = np.arange(begin + 1, end + 1, dtype=np.float64)
        columns = list(rule.coefficients(h, t, float(np.finfo(dtype).tiny)))
        columns[0] = columns[0] * h[0]
        changing = averaging is not None or any(np.ndim(column) for column in columns)
        rows = np.zeros((len(t) if changing else 1, 1, N_COEFFICIENTS))
        for i, column in enumerate(columns):
            rows[:, 0, i] = column
        if averaging is not None:
            rows[:, 0, AVERAGING] = averaging.weights(t)
        if factors is not None:
            rows = np.repeat(rows, len(factors), axis=1)
            rows[:, :, 0] *= factors
        self._rows = rows
        with np.errstate(over="ignore"):  # training that diverges is seen by its cost
            self._c = rows.astype(dtype)
        self._begin, self._end = (begin, end) if changing else (0, np.iinfo(np.int64).max)


class Stepper:
    """An optimizer at work on a network: what its steps change, and what they need."""

    def __init__(
        self,
        network: Any,
        theta: np.ndarray,
        updates: Updates,
        update: Update,
        function: Callable[..., None] | None,
    ) -> None:
        self.update, self.learning_rate = update, updates.learning_rate
        kept = (theta, update.t, update.states, update.mean)
        self.changing = [array for array in kept if array.size]  # all that a step changes
        self.states, self.mean = update.states, update.mean
        self._updates, self._function = updates, function
        self._theta, self._layers = theta, network._model.layers
        self._max_norm = float(update.more[MAX_NORM])
        if function is not None:  # the engine makes the gradient ready and leaves the rest
            update.more[MAX_NORM] = np.inf
            self.update = update._replace(mean=update.mean[:0])
            vectors = [theta, update.g, *update.states]
            self._flat = np.zeros((len(vectors), network.n_parameters), theta.dtype)
            self._parts = [
                _pairs(network._layout, flat, vector)
                for flat, vector in zip(self._flat, vectors, strict=True)
            ]

    @property
    def steps(self) -> int:
        """Steps taken."""
        return int(self.update.t[0])

    def next(self, n: int, factors: np.ndarray | None = None) -> Update:
        """For a call of at most n steps, with these factors of the learning rate, (n,)."""
        first, c = self._updates.coefficients(int(self.update.t[0]), n, factors)
        if c is not self.update.c:
            self.update = self.update._replace(first=first, c=c)
        return self.update

    def train(
        self,
        train: Callable[..., int],
        before: tuple[Any, ...],
        after: tuple[Any, ...],
        start: int,
        stop: int,
        size: int,
        factors: np.ndarray | None,
    ) -> int:
        """train(*before, update, *after, start, stop), an engine's, for minibatches of this size.

        `factors`, of the learning rate, are of the steps from now on. Where a user's function takes
        the steps it has its turn after each minibatch. Returns how far it came, as `train` does.
        """
        if self._function is None:
            n = -(-stop // size) - start // size
            if factors is not None:
                factors = factors[:n]
            return train(*before, self.next(n, factors), *after, start, stop)
        while start < stop:
            end, steps = min((start // size + 1) * size, stop), self.steps
            update = self.next(1, None if factors is None else factors[:1])
            reached = train(*before, update, *after, start, end)
            if self.steps > steps:
                self._by_hand(1.0 if factors is None else float(factors[0]))
                factors = None if factors is None else factors[1:]
            if reached < end:
                return reached
            start = end
        return stop

    def _by_hand(self, factor: float) -> None:
        """The step that the engine has left out, of copies: they take their place when it is done.

        They have no padding, so that it stays zero whatever the function does.
        """
        assert self._function is not None
        theta, g, *states = self._parts
        for flat, padded in (*theta, *g, *(pair for state in states for pair in state)):
            flat[...] = padded
        vectors, rate = self._flat, self.learning_rate * factor
        try:
            result = self._function(vectors[0], vectors[1], vectors[2:], self.steps, rate)
            if result is not None:
                raise TypeError(
                    f"the function of a Custom optimizer must change theta in place and return "
                    f"None; it returned {type(result).__name__}"
                )
        except BaseException:
            self.update.t[0] -= 1
            raise
        for flat, padded in (*theta, *(pair for state in states for pair in state)):
            padded[...] = flat
        limit_columns_loop_free(self._layers, self._theta, self._max_norm)
        if self.mean.size:
            c = self._updates.coefficients(self.steps - 1, 1, None)
            average_loop_free(self._theta, self.mean, c[1][self.steps - 1 - c[0], 0, AVERAGING])


def _pairs(
    layout: Layout, flat: np.ndarray, vector: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Every W^l and b^l as views of a vector without padding, and of one with it."""
    plain = Layout(layout.sizes)
    weights = zip(plain.weights(flat), layout.weights(vector), strict=True)
    return [*weights, *zip(plain.biases(flat), layout.biases(vector), strict=True)]
