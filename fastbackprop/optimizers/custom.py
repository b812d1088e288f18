"""An optimizer of the user's own."""

from collections.abc import Callable
from dataclasses import dataclass

from fastbackprop.numbers import whole
from fastbackprop.optimizers.base import Optimizer
from fastbackprop.optimizers.rules import MOST, STAY, Rule
from fastbackprop.optimizers.schedules import LearningRate, base_rate


@dataclass(repr=False)
class Custom(Optimizer):
    """An optimizer of your own: a Python function, called for each step.

    The gradient is clipped and penalised before, max_norm and averaging come after. Not for
    `layer_rates` and `bias_rate`. Each step returns to Python, copies the vectors and goes through
    them once for each of NumPy's operations: best for large minibatches.

    Parameters
    ----------
    function : callable
        function(theta, g, states, step, rate) changes theta, and if it likes g and the states, in
        place and returns None. theta and g are flat, (n_parameters,), in the order of
        `get_parameters`, and states (n_states, n_parameters), zeros before the first step, all of
        the network's dtype; step, an int, counts from 1; rate is the learning rate of the step,
        as a schedule has it. They are copies: where it raises, nothing has changed.
    n_states : int
        Vectors to be kept from step to step. A function that keeps nothing elsewhere can be
        checkpointed, as any optimizer.
    learning_rate : float

    Examples
    --------
    >>> import numpy as np
    >>> import fastbackprop as fb
    >>> def signs(theta, g, states, step, rate):
    ...     theta -= rate * np.sign(g)
    >>> optimizer = fb.Custom(signs, learning_rate=1e-3)
    """

    name = "custom"
    function: Callable[..., None]
    n_states: int = 0
    learning_rate: LearningRate = 1e-2

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        if not callable(self.function):
            raise TypeError(
                f"function must be a function (theta, g, states, step, rate); got {self.function!r}"
            )
        n = self.n_states
        whole(n, "n_states", 0, MOST, must="be a whole number of vectors")
        for name, default in (("layer_rates", None), ("bias_rate", 1.0)):
            if getattr(self, name) != default:
                raise ValueError(f"{name} is not for Custom: its function gets one flat vector")
        learning_rate = base_rate(self.learning_rate)
        return STAY._replace(n_states=int(n)), (learning_rate,)

    def _function(self) -> Callable[..., None]:
        return self.function
