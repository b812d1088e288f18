"""Schedules of the learning rate: an optimizer's `learning_rate` that changes from step to step.

`fb.Adam(learning_rate=fb.Cosine(1e-3, epochs=50))`. A schedule has a learning rate and maps a step
to a factor of it. Steps count from 0 and are those of the optimizer's state: a second `fit` with
the same optimizer continues the schedule. With S steps per epoch, e = step / S is the
epoch, a real number. At whole epochs the factors are those of `torch.optim.lr_scheduler`'s
schedulers, where it has them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastbackprop.numbers import as_float, is_number, number, shown, text


class Schedule:
    """A function from steps to factors of its learning rate, and its state where it has one.

    A schedule of your own is a subclass with `factors`. A function of the step that returns the
    learning rate needs no class.
    """

    learning_rate: float  # 1 where it is missing

    def factors(self, step: np.ndarray, steps_per_epoch: int) -> np.ndarray:
        """Factors of these steps, (n,) each: all steps of the epoch that comes."""
        raise NotImplementedError

    def epoch_ended(self, cost: float) -> None:
        """Take note of an epoch's cost, of the validation samples where there are any."""

    def reset(self) -> None:
        """Forget what `epoch_ended` has changed."""

    def get_state(self) -> dict[str, Any]:
        """All that `epoch_ended` changes, as JSON can hold it."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take what `get_state` returned. Raises ValueError for anything else."""
        if state:
            raise ValueError(f"{type(self).__name__} has no state; got {state!r}")


@dataclass(repr=False)
class Function(Schedule):
    """Any function of the step, an int, that returns the learning rate."""

    function: Callable[[int], float]
    learning_rate: float = field(default=1.0, init=False, repr=False)

    def __repr__(self) -> str:
        return getattr(self.function, "__name__", None) or repr(self.function)

    def factors(self, step: np.ndarray, steps_per_epoch: int) -> np.ndarray:
        try:
            return np.array([float(self.function(i)) for i in step.tolist()])
        except OverflowError:  # an integer too large for a float
            return np.full(len(step), np.inf)


@dataclass
class Step(Schedule):
    """factor^floor(e / epochs): a step down every so many epochs."""

    learning_rate: float
    epochs: float
    factor: float = 0.1

    def __post_init__(self) -> None:
        number(self.learning_rate, "learning_rate", 0)
        _number(self.epochs, "epochs", ends="()")
        _number(self.factor, "factor")

    def factors(self, step: np.ndarray, steps_per_epoch: int) -> np.ndarray:
        drops: np.ndarray = np.floor_divide(step, self.epochs * steps_per_epoch)
        return self.factor**drops


@dataclass
class Exponential(Schedule):
    """factor^e: smoothly by this factor every epoch."""

    learning_rate: float
    factor: float

    def __post_init__(self) -> None:
        number(self.learning_rate, "learning_rate", 0)
        _number(self.factor, "factor", ends="()")

    def factors(self, step: np.ndarray, steps_per_epoch: int) -> np.ndarray:
        return self.factor ** (step / steps_per_epoch)


@dataclass
class Polynomial(Schedule):
    """end + (1 - end) (1 - e / epochs)^power, then end."""

    learning_rate: float
    epochs: float
    power: float = 1.0
    end: float = 0.0

    def __post_init__(self) -> None:
        number(self.learning_rate, "learning_rate", 0)
        _number(self.epochs, "epochs", ends="()")
        _number(self.power, "power", ends="()")
        _number(self.end, "end")

    def factors(self, step: np.ndarray, steps_per_epoch: int) -> np.ndarray:
        left = 1 - np.minimum(step / steps_per_epoch / self.epochs, 1.0)
        return self.end + (1 - self.end) * left**self.power


@dataclass
class Cosine(Schedule):
    """end + (1 - end) (1 + cos(pi e / epochs)) / 2, then end. Loshchilov and Hutter (2017).

    PyTorch's CosineAnnealingLR rises again after epochs; this does not.
    """

    learning_rate: float
    epochs: float
    end: float = 0.0

    def __post_init__(self) -> None:
        number(self.learning_rate, "learning_rate", 0)
        _number(self.epochs, "epochs", ends="()")
        _number(self.end, "end")

    def factors(self, step: np.ndarray, steps_per_epoch: int) -> np.ndarray:
        part = np.minimum(step / steps_per_epoch / self.epochs, 1.0)
        return _cosine(1.0, self.end, part)


@dataclass
class OneCycle(Schedule):
    """Up from `start` to 1, down to `end`, half a cosine each. Smith and Topin (2018).

    `learning_rate` is the largest. Of the N = epochs S steps, counted from 0,
    step rise N - 1 has factor 1 and step N - 1, like all after it, `end`: PyTorch's OneCycleLR,
    which changes the momentum too; this does not.
    """

    learning_rate: float
    epochs: float
    rise: float = 0.3
    start: float = 1 / 25
    end: float = 1 / 250_000

    def __post_init__(self) -> None:
        number(self.learning_rate, "learning_rate", 0)
        _number(self.epochs, "epochs", ends="()")
        _number(self.rise, "rise", 1, ends="()")
        _number(self.start, "start", 1, ends="[]")
        _number(self.end, "end", 1, ends="[]")

    def factors(self, step: np.ndarray, steps_per_epoch: int) -> np.ndarray:
        n = self.epochs * steps_per_epoch
        top, last = max(self.rise * n - 1, 0.0), n - 1
        up = _cosine(self.start, 1.0, step / top) if top > 0 else 1.0
        down = _cosine(1.0, self.end, np.minimum((step - top) / max(last - top, 1e-9), 1.0))
        return np.where(step < top, up, down)


@dataclass
class Warmup(Schedule):
    """From `start` up to 1 in a straight line, in so many epochs; then a rate or another schedule.

    Where `then` is a function of the step, 1 is its first rate.

    start + (1 - start) step / (epochs S); the first step of `then`, which counts from there, comes
    after round(epochs S) steps, one at least. Goyal et al. (2017).
    """

    epochs: float
    then: Any
    start: float = 0.1

    def __post_init__(self) -> None:
        _number(self.epochs, "epochs", ends="()")
        _number(self.start, "start", 1, ends="[]")
        base_rate(self.then, "then")

    @property
    def learning_rate(self) -> float:  # type: ignore[override]
        """That of `then`."""
        return base_rate(self.then, "then")

    @property
    def _then(self) -> Schedule | None:
        return as_schedule(self.then, "then")

    def factors(self, step: np.ndarray, steps_per_epoch: int) -> np.ndarray:
        n = max(1, round(min(self.epochs * steps_per_epoch, 2**62)))
        result = self.start + (1 - self.start) * np.minimum(step / n, 1.0)
        if isinstance(self._then, Function):  # its factors are rates: up to the first of them
            result *= self._then.factors(np.zeros(1, np.int64), steps_per_epoch)
        after = step >= n
        if self._then is not None and after.any():
            result[after] = self._then.factors(step[after] - n, steps_per_epoch)
        return result

    def epoch_ended(self, cost: float) -> None:
        if self._then is not None:
            self._then.epoch_ended(cost)

    def reset(self) -> None:
        if self._then is not None:
            self._then.reset()

    def get_state(self) -> dict[str, Any]:
        return {} if self._then is None else self._then.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        if self._then is None:
            super().set_state(state)
        else:
            self._then.set_state(state)


@dataclass
class Plateau(Schedule):
    """Times `factor` where the cost has not improved for more than `patience` epochs.

    An improvement is a cost below (1 - min_improvement) of the best. For `cooldown` epochs after a
    reduction none is counted; `min_factor` is the smallest that it comes to. The cost is that of
    the validation samples, or, without any, of the training samples. As PyTorch's
    ReduceLROnPlateau.

    The object keeps its state: with it a second `fit` goes on. `reset()` forgets it.
    """

    learning_rate: float
    factor: float = 0.1
    patience: int = 10
    min_improvement: float = 1e-4
    cooldown: int = 0
    min_factor: float = 0.0
    _state: dict[str, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        number(self.learning_rate, "learning_rate", 0)
        _number(self.factor, "factor", 1, ends="()")
        for name in ("patience", "cooldown"):
            epochs = getattr(self, name)
            if _number(epochs, name) % 1:
                raise ValueError(f"{name} must be a number of whole epochs; got {epochs!r}")
        _number(self.min_improvement, "min_improvement", 1)
        _number(self.min_factor, "min_factor", 1, ends="[]")
        self.reset()

    def reset(self) -> None:
        """Forget all costs: the factor is 1 again."""
        self._state = {"scale": 1.0, "best": None, "waited": 0, "resting": 0}

    def factors(self, step: np.ndarray, steps_per_epoch: int) -> np.ndarray:
        return np.full(len(step), self._state["scale"])

    def epoch_ended(self, cost: float) -> None:
        state = self._state
        best = state["best"]
        if best is None or cost < best - self.min_improvement * abs(best):
            state["best"], state["waited"] = cost, 0
        else:
            state["waited"] += 1
        if state["resting"] > 0:
            state["resting"] -= 1
            state["waited"] = 0
        if state["waited"] > self.patience:
            state["scale"] = max(state["scale"] * self.factor, self.min_factor)
            state["resting"], state["waited"] = self.cooldown, 0

    def get_state(self) -> dict[str, Any]:
        return dict(self._state)

    def set_state(self, state: dict[str, Any]) -> None:
        try:
            for name, value in state.items():
                if name != "best" or value is not None:
                    as_float(value, name)
        except (TypeError, ValueError) as error:
            raise ValueError(f"this is not the state of a Plateau: {error}") from None
        if state.keys() != self._state.keys():
            raise ValueError(f"this is not the state of a Plateau: {text(state)}")
        self._state = dict(state)


SCHEDULES = {
    kind.__name__: kind
    for kind in (Step, Exponential, Polynomial, Cosine, OneCycle, Warmup, Plateau)
}


LearningRate = float | Schedule | Callable[[int], float]


def as_schedule(value: Any, what: str = "learning_rate") -> Schedule | None:
    """A schedule from an object or a function of the step; None from a number. Raises TypeError."""
    if type(value) is float:  # the usual kind, asked for in every call of `fit`
        return None
    if isinstance(value, type):
        raise TypeError(f"{what} must be an object: pass {value.__name__}(...), not the class")
    if value is None or isinstance(value, Schedule) or is_number(value):
        return value if isinstance(value, Schedule) else None
    if not callable(value):
        raise TypeError(
            f"{what} must be a number, a function of the step, or one of {', '.join(SCHEDULES)}; "
            f"got {shown(value)}"
        )
    return Function(value)


def base_rate(value: Any, what: str = "learning_rate") -> float:
    """The learning rate itself: of a number or a schedule; 1 of a function, which returns rates.

    Raises ValueError for a number that is none, TypeError for anything else.
    """
    schedule = as_schedule(value, what)
    rate = value if schedule is None else getattr(schedule, "learning_rate", 1.0)
    return number(rate, what, 0)


def checked_factors(schedule: Schedule, step: np.ndarray, steps_per_epoch: int) -> np.ndarray:
    """The factors of these steps, refused with ValueError where they are no factors."""
    factors = np.asarray(schedule.factors(step, steps_per_epoch), np.float64)
    if factors.shape != step.shape:
        raise ValueError(f"schedule must give {step.shape} factors; got shape {factors.shape}")
    wrong = ~(np.isfinite(factors) & (factors >= 0))
    if wrong.any():
        i = int(np.argmax(wrong))
        raise ValueError(
            f"schedule gave the factor {factors[i]} for step {step[i]}: factors of the learning "
            f"rate must be finite and not negative"
        )
    return factors


def _cosine(start: float, end: float, part: np.ndarray) -> np.ndarray:
    """From start (part 0) to end (part 1) along half a cosine."""
    return end + (start - end) * (1 + np.cos(np.pi * part)) / 2


def _number(value: Any, what: str, high: float = math.inf, *, ends: str = "[)") -> float:
    """From 0 to `high`. Raises ValueError, also for a value that is no number."""
    try:
        return number(value, what, 0, high, ends=ends)
    except TypeError as error:
        raise ValueError(str(error)) from None
