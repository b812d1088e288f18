"""Optimisers: rules on flat vectors (parameters theta, gradient g, states) and their compiled loop.

A rule is one formula for one element of every vector, with coefficients c that a second formula
makes from the hyperparameters h and the step t (counted from 1) once a step, in float64. Rules,
defaults and order of operations are PyTorch's. To add one: its two formulas, its line in `RULES`,
its branch in `coefficients` and in `step`, its class.
"""

import copy
import numbers
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np

from fastbackprop.engines._compile import formula, inlined, kernel
from fastbackprop.layout import aligned_zeros

N_COEFFICIENTS = 8
PLAIN_SGD, MOMENTUM, NESTEROV, ADAM = range(4)


@formula
def sgd(theta, g, c):
    return (theta - c[0] * g,)


@formula
def momentum(theta, g, v, c):
    v = c[1] * v + g
    return theta - c[0] * v, v


@formula
def nesterov(theta, g, v, c):
    v = c[1] * v + g
    return theta - c[0] * (g + c[1] * v), v


@formula
def sgd_coefficients(h, t):
    learning_rate, mu = h[0], h[1]
    return learning_rate, mu


@formula
def adam(theta, g, m, v, c):
    m = m + c[1] * (g - m)
    v = c[2] * v + c[3] * g * g
    return theta - c[0] * (m / (np.sqrt(v) / c[4] + c[5])), m, v


@formula
def adam_coefficients(h, t):
    learning_rate, beta_1, beta_2, epsilon = h[0], h[1], h[2], h[3]
    bias_1, bias_2 = 1 - beta_1**t, 1 - beta_2**t
    return learning_rate / bias_1, 1 - beta_1, beta_2, 1 - beta_2, np.sqrt(bias_2), epsilon


class Rule(NamedTuple):
    """A rule's two formulas, for the loop-free engine, and how many states it keeps."""

    element: Callable[..., tuple]
    coefficients: Callable[..., tuple]
    n_states: int


RULES = {
    PLAIN_SGD: Rule(sgd, sgd_coefficients, 0),
    MOMENTUM: Rule(momentum, sgd_coefficients, 1),
    NESTEROV: Rule(nesterov, sgd_coefficients, 1),
    ADAM: Rule(adam, adam_coefficients, 2),
}


class Update(NamedTuple):
    """What a step needs beside the parameters, as kernels see it: all but `rule` changes.

    The learning rate h[0] is set anew in each step: that of step t is rates[(t - 1) % len(rates)],
    so a constant has one entry, and a schedule as many as an epoch has steps.
    """

    rule: int
    h: np.ndarray  # hyperparameters, float64
    rates: np.ndarray  # learning rates, float64
    t: np.ndarray  # steps taken, (1,) int64
    c: np.ndarray  # this step's coefficients, network dtype
    states: np.ndarray  # (n_states, length), network dtype
    g: np.ndarray  # gradient of the minibatch, (length,)


# --- compiled ----------------------------------------------------------------------------------


@inlined
def coefficients(update):
    """Count the step and set c."""
    update.t[0] += 1
    h, t, c = update.h, update.t[0], update.c
    h[0] = update.rates[(t - 1) % update.rates.shape[0]]
    if update.rule == ADAM:
        c[0], c[1], c[2], c[3], c[4], c[5] = adam_coefficients(h, t)
    else:
        c[0], c[1] = sgd_coefficients(h, t)


@inlined
def step(theta, update):
    """One step: theta, states <- rule(theta, g, states), element by element."""
    coefficients(update)
    step_slice(theta, update.g, update, 0, theta.shape[0])


@kernel
def step_slice(theta, g, update, start, stop):
    """The same for elements start ... stop, whose gradient is g, once `coefficients` are set."""
    k = update.c
    theta = theta[start:stop]
    # Copied into registers: in memory the compiler must assume that writing theta changes them.
    c = (k[0], k[1], k[2], k[3], k[4], k[5], k[6], k[7])
    if update.rule == PLAIN_SGD:
        for p in range(theta.shape[0]):
            theta[p] = sgd(theta[p], g[p], c)[0]
    elif update.rule == MOMENTUM:
        v = update.states[0][start:stop]
        for p in range(theta.shape[0]):
            theta[p], v[p] = momentum(theta[p], g[p], v[p], c)
    elif update.rule == NESTEROV:
        v = update.states[0][start:stop]
        for p in range(theta.shape[0]):
            theta[p], v[p] = nesterov(theta[p], g[p], v[p], c)
    elif update.rule == ADAM:
        m, v = update.states[0][start:stop], update.states[1][start:stop]
        for p in range(theta.shape[0]):
            theta[p], m[p], v[p] = adam(theta[p], g[p], m[p], v[p], c)


def step_loop_free(theta: np.ndarray, update: Update) -> None:
    """The same step as array expressions."""
    rule = RULES[update.rule]
    update.t[0] += 1
    update.h[0] = update.rates[(update.t[0] - 1) % len(update.rates)]
    c = rule.coefficients(update.h, update.t[0])
    update.c[: len(c)] = c
    results = rule.element(theta, update.g, *update.states, update.c)
    for vector, result in zip((theta, *update.states), results, strict=True):
        vector[...] = result


# --- what a user passes --------------------------------------------------------------------------


@dataclass(kw_only=True)
class Optimizer:
    """A rule with its hyperparameters, and the state it keeps between calls of `fit`.

    The state belongs to the network it was first used with. `reset()` forgets it.
    """

    name: ClassVar[str]
    _t: np.ndarray = field(init=False, repr=False, compare=False)
    _states: np.ndarray | None = field(init=False, repr=False, compare=False)
    _made_for: str | None = field(init=False, repr=False, compare=False)
    _owner: Callable[[], Any] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._settings()
        self.reset()

    @property
    def steps(self) -> int:
        """Steps taken since the state was new."""
        return int(self._t[0])

    def reset(self) -> None:
        """Forget every state: the next step is the first."""
        self._t = np.zeros(1, np.int64)
        self._states = self._made_for = None
        self._owner = None  # a weak reference; None also after unpickling: whoever comes first

    def check_free_for(self, network: Any) -> None:
        """Raise ValueError if the state belongs to another network."""
        fits = self._states is None or self._made_for == _likeness(network)
        if not fits or (self._owner is not None and self._owner() is not network):
            raise ValueError(
                f"this {type(self).__name__} holds the state of another network: "
                f"pass each network its own optimizer, or call reset() first"
            )

    def update_for(self, network: Any, theta: np.ndarray) -> Update:
        """The state as kernels take it, made on first use, with the hyperparameters of now."""
        rule, h = self._settings()
        shape = (RULES[rule].n_states, theta.size)
        if self._states is None or self._states.shape != shape:
            self._states = np.zeros(shape, theta.dtype)
        self._owner, self._made_for = weakref.ref(network), _likeness(network)
        hyperparameters = np.array(h, dtype=np.float64)
        c = np.zeros(N_COEFFICIENTS, theta.dtype)
        rates, g = hyperparameters[:1].copy(), aligned_zeros(theta.size, theta.dtype)
        return Update(rule, hyperparameters, rates, self._t, c, self._states, g)

    def _settings(self) -> tuple[int, tuple[float, ...]]:
        """Code of the rule and its hyperparameters, checked. Raises ValueError."""
        raise NotImplementedError

    def __copy__(self) -> "Optimizer":
        return copy.deepcopy(self)  # a copy that shared the states would disturb its original

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_owner"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _owner=None)


def _likeness(network: Any) -> str:
    """What two networks must have in common for the state of one to fit the other."""
    return f"{network.sizes}, {network.dtype}, {network.engine}"


def _check(name: str, value: float, low: float, high: float) -> float:
    """A hyperparameter in [low, high), as a float."""
    real = isinstance(value, numbers.Real | np.floating) and not isinstance(value, bool)
    if not real or not low <= value < high:
        raise ValueError(f"{name} must be a number in [{low:g}, {high:g}); got {value!r}")
    return float(value)


@dataclass
class SGD(Optimizer):
    """Stochastic gradient descent: theta <- theta - learning_rate * g.

    With momentum mu: v <- mu v + g; theta <- theta - learning_rate * v, or, with `nesterov`,
    theta - learning_rate * (g + mu v). Sutskever et al. (2013), in PyTorch's form.
    """

    name = "sgd"
    learning_rate: float = 1e-2
    momentum: float = 0.0
    nesterov: bool = False

    def _settings(self) -> tuple[int, tuple[float, ...]]:
        learning_rate = _check("learning_rate", self.learning_rate, 0, np.inf)
        mu = _check("momentum", self.momentum, 0, 1)
        if self.nesterov and mu == 0:
            raise ValueError("nesterov=True needs a momentum above 0; got momentum=0")
        rule = PLAIN_SGD if mu == 0 else NESTEROV if self.nesterov else MOMENTUM
        return rule, (learning_rate, mu)


@dataclass
class Adam(Optimizer):
    """Steps scaled by the running mean and variance of the gradient. Kingma and Ba (2015).

    m <- beta_1 m + (1 - beta_1) g; v <- beta_2 v + (1 - beta_2) g^2;
    theta <- theta - learning_rate * m' / (sqrt(v') + epsilon), where m' and v' are m and v
    divided by 1 - beta_1^t and 1 - beta_2^t.
    """

    name = "adam"
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def _settings(self) -> tuple[int, tuple[float, ...]]:
        learning_rate = _check("learning_rate", self.learning_rate, 0, np.inf)
        try:
            beta_1, beta_2 = self.betas
        except (TypeError, ValueError):
            raise ValueError(f"betas must be two numbers in [0, 1); got {self.betas!r}") from None
        beta_1, beta_2 = _check("betas[0]", beta_1, 0, 1), _check("betas[1]", beta_2, 0, 1)
        return ADAM, (learning_rate, beta_1, beta_2, _check("epsilon", self.epsilon, 0, np.inf))


OPTIMIZERS: dict[str, type[Optimizer]] = {optimizer.name: optimizer for optimizer in (SGD, Adam)}
