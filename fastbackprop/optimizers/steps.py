"""Stepper: an optimizer at work on a network, and the coefficients of its steps."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from fastbackprop.engines.update import (
    AVERAGING,
    BIASES,
    L2,
    MAX_NORM,
    N_COEFFICIENTS,
    NOTHING,
    Update,
    average_loop_free,
    limit_columns_loop_free,
    pieces,
)
from fastbackprop.layout import Layout, aligned_zeros
from fastbackprop.optimizers.rules import Rule
from fastbackprop.optimizers.schedules import Schedule, checked_factors

BLOCK = 64  # coefficients are computed for so many steps at once, or a multiple
LONGEST_KEPT = 2048  # steps whose coefficients are kept for other optimizers
NO_PIECES = np.zeros((0, 4), np.int64)


class Settings(NamedTuple):
    """The hyperparameters of an optimizer, checked."""

    rule: Rule
    h: tuple[float, ...]  # of the rule; h[0] is the learning rate
    h_of_biases: tuple[float, ...]  # the same learning rate
    rates: tuple[float, ...] | None  # factors of it for W^1, b^1, ...; None: nothing differs
    averaging: Any
    more: tuple[float, ...]  # by `engines.update.CLIP_NORM` ... MAX_NORM
    function: Callable[..., Any] | None  # of the user's, which takes the step


class Stepper:
    """An optimizer at work on a network: what its steps change, and what they need.

    Attributes
    ----------
    changing : list of ndarray
        Everything that a step changes.
    schedule : Schedule or None
        Of the learning rate. `begin_epoch` asks it for the factors of the epoch's steps.
    """

    def __init__(
        self, machine: Any, settings: Settings, t: np.ndarray, states: Any, mean: np.ndarray
    ) -> None:
        self.settings, self.states, self.mean = settings, states, mean
        self.schedule: Schedule | None = None
        self.changing = [array for array in (machine.theta, t, states, mean) if array.size]
        dtype = machine.dtype
        self._theta = machine.theta
        self._t = t
        self._begin, self._end = 0, -1  # the steps that _rows is of
        self._rows = np.zeros((0, 1, N_COEFFICIENTS))
        self._c = self._rows.astype(dtype)
        self._epoch = 0  # steps before this epoch
        self._factors: np.ndarray | None = None  # of the schedule, for the steps of this epoch
        rule, by_hand = settings.rule, settings.function is not None
        completes = settings.more != NOTHING or settings.averaging is not None or by_hand
        engine, self._layout = machine.engine, machine.layout
        self._rule = engine.rule(rule.rule, 0 if by_hand else rule.n_states, dtype)
        self._completion = engine.completion(dtype) if completes else 0

    @functools.cached_property
    def _layers(self) -> np.ndarray:
        layers: np.ndarray = self._layout.layers(self._theta.dtype)
        return layers

    @functools.cached_property
    def _update(self) -> Update:
        """The arguments of a step, made on first use: networks on lanes need no gradient here."""
        by_hand, cut, scratch = self.settings.function is not None, NO_PIECES, 0
        more: tuple[float, ...] = NOTHING
        if self._completion:
            cut, more = pieces(self._layers), self.settings.more
            scratch = max(len(cut), int(self._layers["stride"].sum()))
        update = Update(
            rule=self._rule,
            plain=self.settings.rule.plain,
            completion=self._completion,
            first=0,
            c=self._c,
            t=self._t,
            states=self.states,
            mean=self.mean[:0] if by_hand else self.mean,
            g=aligned_zeros(self._theta.size, self._theta.dtype),
            more=np.array([*more, *(0.0,) * scratch]),
            pieces=cut,
        )
        if by_hand:  # the engine makes the gradient ready and leaves the rest to `finish`
            update.more[MAX_NORM] = np.inf
            vectors = [self._theta, update.g, *self.states]
            self._flat = np.zeros((len(vectors), self._layout.n_parameters), self._theta.dtype)
            self._pairs = [
                _pairs(self._layout, flat, vector)
                for flat, vector in zip(self._flat, vectors, strict=True)
            ]
        return update

    def forget_scratch(self) -> None:
        """Free the gradient, which the next step makes anew."""
        self.__dict__.pop("_update", None)

    @property
    def steps(self) -> int:
        """Steps taken since the state was new; may be set."""
        return int(self._t[0])

    @steps.setter
    def steps(self, n: int) -> None:
        self._t[0] = n

    @property
    def only_penalty(self) -> tuple[float, float] | None:
        """l2 of weights and of biases, where a step is at most l2 W and the rule, else None.

        The rule has the same coefficients for all elements.
        """
        settings, more = self.settings, list(self.settings.more)
        l2, biases = more[L2], more[BIASES]
        more[L2] = more[BIASES] = 0.0
        of_some = settings.rates is not None or settings.averaging is not None
        if of_some or settings.function is not None or tuple(more) != NOTHING:
            return None
        return l2, l2 if biases else 0.0

    @property
    def rate(self) -> float:
        """The learning rate of the last step; of the first to come, where the epoch took none."""
        if self._factors is None:
            return self.settings.h[0]
        return self.settings.h[0] * float(self._factors[max(self.steps - self._epoch - 1, 0)])

    def begin(self, schedule: Schedule | None) -> None:
        """A training begins, with this schedule."""
        self.schedule, self._factors = schedule, None

    def begin_epoch(self, n: int) -> None:
        """Ask the schedule for the factors of the n steps that come."""
        self._epoch, self._factors = self.steps, None
        if self.schedule is not None:
            self._factors = checked_factors(self.schedule, self._epoch + np.arange(n), n)

    def turns(self, start: int, stop: int, size: int) -> Iterator[tuple[int, int, Update]]:
        """(start, stop, update) of each call of an engine for these places of minibatches.

        It is one call, or one for each minibatch where a user's function takes the steps: it has
        its turn when the caller comes back for the next.
        """
        if self.settings.function is None:
            yield start, stop, self.next(-(-stop // size) - start // size)
            return
        while start < stop:
            end, before = min((start // size + 1) * size, stop), self.steps
            yield start, end, self.next(1)
            if self.steps > before:
                self._finish(self.settings.function)
            start = end

    def coefficients(self, n: int) -> np.ndarray:
        """c of the next n steps for layer 1, (n, N_COEFFICIENTS), or one row for all of them."""
        first, c = self._coefficients(self.steps, n)
        return c[:, 0] if len(c) == 1 else c[self.steps - first :, 0][:n]

    def next(self, n: int) -> Update:
        """The arguments of a call of at most n steps."""
        first, c = self._coefficients(self.steps, n)
        if c is not self._update.c or first != self._update.first:
            self._update = self._update._replace(first=first, c=c)
        return self._update

    def _coefficients(self, first: int, n: int) -> tuple[int, np.ndarray]:
        """c for n steps after the first, as `Update.c`, and where it begins.

        Whole blocks of steps, wherever a call begins: so no bit depends on how an epoch is cut.
        """
        if not self._begin <= first <= first + n <= self._end:
            self._compute(first // BLOCK * BLOCK, -(-(first + n + 1) // BLOCK) * BLOCK)
        if self._factors is None:
            return self._begin, self._c
        factors = self._factors[first - self._epoch :][:n]
        rows, n = self._rows, len(factors)
        if len(rows) > 1:
            rows = rows[first - self._begin : first - self._begin + n]
        c = np.repeat(rows, n, axis=0) if len(rows) == 1 else rows.copy()
        c[:, :, 0] *= factors[:, None]
        with np.errstate(over="ignore"):
            return first, c.astype(self._c.dtype)

    def _compute(self, begin: int, end: int) -> None:
        rule, h, h_of_biases, rates, averaging, *_ = self.settings
        tiny = float(np.finfo(self._c.dtype).tiny)
        columns = _kept_columns if end - begin <= LONGEST_KEPT else _columns
        rows = columns(rule, h[1:], averaging, begin, end, tiny).copy()
        rows[:, :, 0] *= h[0]
        if rates is not None:
            rows = np.repeat(rows, len(rates), axis=1)
            if h_of_biases != h:
                rows[:, 1::2] = columns(rule, h_of_biases[1:], averaging, begin, end, tiny)
                rows[:, 1::2, 0] *= h[0]
            rows[:, :, 0] *= rates
        with np.errstate(over="ignore"):  # training that diverges is seen by its cost
            self._rows, self._c = rows, rows.astype(self._c.dtype)
        constant = len(self._rows) == 1
        self._begin, self._end = (0, np.iinfo(np.int64).max) if constant else (begin, end)

    def _finish(self, function: Callable[..., Any]) -> None:
        """Take the step that the engine left out: the user's function changes copies of vectors.

        The copies have no padding, so the padding stays zero. They take the vectors' place when the
        function has returned.
        """
        theta, g, *states = self._pairs
        for flat, padded in (*theta, *g, *(pair for state in states for pair in state)):
            flat[...] = padded
        vectors = self._flat
        try:
            result = function(vectors[0], vectors[1], vectors[2:], self.steps, self.rate)
            if result is not None:
                raise TypeError(
                    f"the function of a Custom optimizer must change theta in place and return "
                    f"None; it returned {type(result).__name__}"
                )
        except BaseException:
            self._t[0] -= 1
            raise
        for flat, padded in (*theta, *(pair for state in states for pair in state)):
            padded[...] = flat
        limit_columns_loop_free(self._layers, self._theta, self.settings.more[-1])
        if self.mean.size:
            step = self.steps - 1
            first, c = self._coefficients(step, 1)
            average_loop_free(
                self._theta, self.mean, c[min(step - first, len(c) - 1), 0, AVERAGING]
            )


def _columns(
    rule: Rule, h: tuple[float, ...], averaging: Any, begin: int, end: int, tiny: float
) -> np.ndarray:
    """The coefficients of steps begin + 1 ... end at a learning rate of 1, float64.

    h has the other hyperparameters. One row where they do not depend on the step.
    """
    t = np.arange(begin + 1, end + 1, dtype=np.float64)
    columns = rule.coefficients((1.0, *h), t, tiny)
    changing = averaging is not None or any(np.ndim(column) for column in columns)
    rows = np.zeros((len(t) if changing else 1, 1, N_COEFFICIENTS))
    for i, column in enumerate(columns):
        rows[:, 0, i] = column
    if averaging is not None:
        rows[:, 0, AVERAGING] = averaging.weights(t)
    return rows


# Many optimizers differ in the learning rate at most, and take the same steps.
_kept_columns = functools.lru_cache(maxsize=64)(_columns)


def _pairs(
    layout: Layout, flat: np.ndarray, vector: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Every W^l and b^l as views of a vector without padding, and of one with it."""
    plain = Layout(layout.sizes)
    weights = zip(plain.weights(flat), layout.weights(vector), strict=True)
    return [*weights, *zip(plain.biases(flat), layout.biases(vector), strict=True)]
