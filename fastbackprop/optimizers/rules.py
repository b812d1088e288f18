"""Update rules: how a step changes each element of the parameters and of the states."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastbackprop.jit.words import formula

MOST = np.iinfo(np.int32).max  # of a count: SciPy takes no more


class Rule(NamedTuple):
    """How a step changes each element.

    rule(theta, g, *states, c) -> (theta, *states); coefficients(h, t, tiny) -> c[0], c[1], ...,
    each a number or an array like t, the numbers of the steps, counted from 1. h are the
    hyperparameters; h[0] is the learning rate: c[0] is multiplied by it afterwards, and nothing
    else depends on it. tiny is the
    smallest epsilon: without it the quotient 0 / 0 of an element without a gradient, of padding for
    example, would be NaN.
    """

    rule: Callable[..., tuple[Any, ...]]
    coefficients: Callable[..., tuple[Any, ...]]
    n_states: int
    plain: bool = False  # the rule is theta - c[0] g


@formula
def stay(theta, g, c):
    return (theta,)


def stay_coefficients(h: tuple[float, ...], t: np.ndarray, tiny: float) -> tuple[Any, ...]:
    return (1.0,)


STAY = Rule(stay, stay_coefficients, 0)  # the parameters are changed elsewhere


def power(beta: float, t: np.ndarray) -> np.ndarray:
    """beta^t, bounded below: 1 - beta^t stays 1, and powers that underflow are slow."""
    return beta ** np.minimum(t, -100 / np.log2(beta)) if beta > 0 else 0.0 * t
