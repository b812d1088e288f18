"""Optimisers: a rule for one element of every vector (parameters, gradient, states) each.

A rule is a formula in the coefficients c of a step, and these are a second formula, of the
hyperparameters h and the steps t (counted from 1), an array: NumPy computes those of many steps at
once, in float64, and kernels only look them up. c[0] is multiplied by the learning rate afterwards;
h[0] is that rate. Rules, defaults and order of operations are PyTorch's. To add one: its block
(rule, coefficients, class) and its place in `OPTIMIZERS`.
"""

import copy
import dataclasses
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from fastbackprop.engines.update import NOTHING, Update, pieces
from fastbackprop.jit.compiler import formula
from fastbackprop.layout import aligned_zeros
from fastbackprop.numbers import number, two, whole
from fastbackprop.optimizers.steps import Rule, Stepper, Updates

# --- averages of the parameters ------------------------------------------------------------------


@dataclass(frozen=True)
class EMA:
    """mean <- decay mean + (1 - decay) theta after each step; after the first it is theta.

    As PyTorch's `swa_utils.get_ema_multi_avg_fn`.
    """

    decay: float = 0.999

    def __post_init__(self) -> None:
        _check("decay", self.decay, 0, 1)

    start: ClassVar[int] = 1

    def weights(self, t: np.ndarray) -> np.ndarray:
        """The part of the way that the mean goes to theta after step t."""
        return np.where(t == 1, 1.0, 1 - self.decay)


@dataclass(frozen=True)
class SWA:
    """The mean of the parameters after steps start, start + every, ... Izmailov et al. (2018)."""

    start: int
    every: int = 1

    def __post_init__(self) -> None:
        for name in ("start", "every"):
            _check_whole(name, getattr(self, name), 1, "whole number of steps, 1 at least")

    def weights(self, t: np.ndarray) -> np.ndarray:
        """The part of the way that the mean goes to theta after step t."""
        n, rest = np.divmod(t - self.start, self.every)
        return np.where((n >= 0) & (rest == 0), 1 / np.maximum(n + 1, 1), 0.0)


# --- what a user passes --------------------------------------------------------------------------


@dataclass(kw_only=True)
class Optimizer:
    """A rule with its hyperparameters, and the state it keeps between calls of `fit`.

    The state belongs to the network it was first used with. `reset()` forgets it. All optimizers
    take these, by name:

    Parameters
    ----------
    l2, l1 : float
        l2/2 ||W||^2 and l1 ||W||_1 join the cost that is minimised, not the one that is told.
    penalize_biases : bool
        Whether they are of the biases too: with it l2 is PyTorch's `weight_decay`.
    max_norm : float or None
        After each step the weights into a neuron are scaled down to this norm, where it is larger.
    clip_norm, clip_value : float or None
        Limits of the norm of the whole gradient, and then of each element of it, before the
        penalties. As PyTorch's `clip_grad_norm_` and `clip_grad_value_`.
    layer_rates : sequence of float or None
        A factor of the learning rate for each layer.
    averaging : EMA, SWA or None
        A running mean of the parameters: see `averaged_parameters`.
    """

    name: ClassVar[str]
    l2: float = 0.0
    l1: float = 0.0
    penalize_biases: bool = False
    max_norm: float | None = None
    clip_norm: float | None = None
    clip_value: float | None = None
    layer_rates: Sequence[float] | None = None
    averaging: EMA | SWA | None = None
    _t: np.ndarray = field(init=False, repr=False, compare=False)
    _states: np.ndarray | None = field(init=False, repr=False, compare=False)
    _mean: np.ndarray | None = field(init=False, repr=False, compare=False)
    _layout: Any = field(init=False, repr=False, compare=False)
    _made_for: str | None = field(init=False, repr=False, compare=False)
    _owner: Callable[[], Any] | None = field(init=False, repr=False, compare=False)
    _updates: Updates | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.layer_rates, np.ndarray):
            self.layer_rates = self.layer_rates.tolist()
        self._settings()
        self._options()
        self.reset()

    def __repr__(self) -> str:
        """The optimizer's own hyperparameters, and of the common ones those that are set."""
        defaults = {f.name: f.default for f in dataclasses.fields(Optimizer) if f.init}
        names = [f.name for f in dataclasses.fields(self) if f.init and f.name not in defaults]
        names += [name for name in defaults if getattr(self, name) != defaults[name]]
        shown = [f"{name}={getattr(self, name)!r}" for name in names]
        return f"{type(self).__name__}({', '.join(shown)})"

    @property
    def steps(self) -> int:
        """Steps taken since the state was new."""
        return int(self._t[0])

    @property
    def averaged_parameters(self) -> np.ndarray:
        """The mean that `averaging` asks for, (n_parameters,), as `set_parameters` takes it.

        Raises ValueError where there is none, or none yet.
        """
        if self.averaging is None:
            raise ValueError("there is no mean of the parameters: pass averaging=EMA() or SWA(...)")
        if self._mean is None or self.steps < self.averaging.start:
            raise ValueError(
                f"there is no mean of the parameters yet: it starts with step "
                f"{self.averaging.start}, {self.steps} were taken"
            )
        mean: np.ndarray = self._layout.flatten(self._mean)
        return mean

    def reset(self) -> None:
        """Forget every state: the next step is the first."""
        self._t = np.zeros(1, np.int64)
        self._states = self._mean = self._layout = self._made_for = None
        self._owner = None  # a weak reference; None also after unpickling: whoever comes first
        self._updates = None

    def check_free_for(self, network: Any) -> None:
        """Raise ValueError if the state belongs to another network."""
        fits = self._states is None or self._made_for == _likeness(network)
        if not fits or (self._owner is not None and self._owner() is not network):
            raise ValueError(
                f"this {type(self).__name__} holds the state of another network: "
                f"pass each network its own optimizer, or call reset() first"
            )

    def stepper(self, network: Any, theta: np.ndarray) -> Stepper:
        """The state, made on first use, at work with the hyperparameters of now."""
        rule, h = self._settings()
        factors, more = self._options()
        layers = network._model.layers
        if factors is not None and len(factors) != len(layers) - 1:
            raise ValueError(
                f"layer_rates must hold a factor for each of the {len(layers) - 1} layers; "
                f"got {len(factors)}: {self.layer_rates!r}"
            )
        key = rule, h, factors, self.averaging, theta.dtype
        if self._updates is None or self._updates.key != key:
            self._updates = Updates(*key)
        shape = (rule.n_states, theta.size)
        if self._states is None or self._states.shape != shape:
            self._states = np.zeros(shape, theta.dtype)
        if self.averaging is None:
            self._mean = None
        elif self._mean is None:
            self._mean, self._layout = theta.copy(), network._layout
        self._owner, self._made_for = weakref.ref(network), _likeness(network)
        function = self._function()
        completes = more != NOTHING or self.averaging is not None or function is not None
        cut = pieces(layers) if completes else NO_PIECES
        scratch = max(len(cut), int(layers["stride"].sum())) if completes else 0
        update = Update(
            rule=network._engine.rule(rule.rule, 0 if function else rule.n_states, theta.dtype),
            plain=rule is PLAIN,
            completion=network._engine.completion(theta.dtype) if completes else 0,
            first=0,
            c=self._updates._c,
            t=self._t,
            states=self._states,
            mean=np.zeros(0, theta.dtype) if self._mean is None else self._mean,
            g=aligned_zeros(theta.size, theta.dtype),
            more=np.array([*more, *(0.0,) * scratch]),
            pieces=cut,
        )
        return Stepper(network, theta, self._updates, update, function)

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        """The rule and its hyperparameters, checked. Raises ValueError."""
        raise NotImplementedError

    def _function(self) -> Callable[..., None] | None:
        """A Python function that takes the step; see `Custom`."""
        return None

    def _options(self) -> tuple[tuple[float, ...] | None, tuple[float, ...]]:
        """`layer_rates`, and the options beside the rule. Raises ValueError."""
        options: tuple[Any, ...] = (self.l2, self.l1, self.penalize_biases, self.max_norm)
        options += (self.clip_norm, self.clip_value, self.layer_rates, self.averaging)
        if options == DEFAULTS:  # of small networks a step takes less time than the checks
            return None, NOTHING
        factors = None
        if self.layer_rates is not None:
            rates = self.layer_rates
            if isinstance(rates, str) or not isinstance(rates, Sequence):
                raise ValueError(f"layer_rates must be a sequence of numbers; got {rates!r}")
            factors = tuple(_check(f"layer_rates[{i}]", x, 0, np.inf) for i, x in enumerate(rates))
        if self.averaging is not None and not isinstance(self.averaging, EMA | SWA):
            raise ValueError(f"averaging must be None, EMA() or SWA(...); got {self.averaging!r}")
        if not isinstance(self.penalize_biases, bool | np.bool_):
            raise ValueError(f"penalize_biases must be True or False; got {self.penalize_biases!r}")
        l2, l1 = _check("l2", self.l2, 0, np.inf), _check("l1", self.l1, 0, np.inf)
        limits = {}
        for name in ("clip_norm", "clip_value", "max_norm"):
            value = getattr(self, name)
            limits[name] = np.inf if value is None else _check(name, value, 0, np.inf)
            if limits[name] == 0:
                raise ValueError(f"{name} must be above 0, or None; got {value!r}")
        biases = float(self.penalize_biases) if l2 or l1 else 0.0
        return factors, (
            limits["clip_norm"],
            limits["clip_value"],
            l2,
            l1,
            biases,
            limits["max_norm"],
        )

    def __copy__(self) -> "Optimizer":
        return copy.deepcopy(self)  # a copy that shared the states would disturb its original

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_owner", "_updates")
        return {key: value for key, value in self.__dict__.items() if key not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _owner=None, _updates=None)


NO_PIECES = np.zeros((0, 4), np.int64)
DEFAULTS = 0.0, 0.0, False, None, None, None, None, None  # of the options of all optimizers


MOST = np.iinfo(np.int32).max  # of a count: SciPy takes no more


def _likeness(network: Any) -> str:
    """What two networks must have in common for the state of one to fit the other."""
    return f"{network.sizes}, {network.dtype.char}, {network.engine}"


def _check(name: str, value: Any, low: float, high: float) -> float:
    """A hyperparameter in [low, high), as a float."""
    return number(value, name, low, high)


def _check_whole(name: str, value: Any, least: int, kind: str) -> None:
    whole(value, name, least, MOST, must=f"be a {kind}")


def _check_two(name: str, values: Any, low: float, high: float) -> tuple[float, float]:
    return two(values, name, low, high)


def _power(beta: float, t: np.ndarray) -> np.ndarray:
    """beta^t, but not far below what 1 - beta^t can see: where powers underflow they are slow."""
    return beta ** np.minimum(t, -100 / np.log2(beta)) if beta > 0 else 0.0 * t


# --- stochastic gradient descent -----------------------------------------------------------------


@formula
def sgd(theta, g, c):
    return (theta - c[0] * g,)


@formula
def momentum(theta, g, v, c):
    v = c[1] * v + c[2] * g
    return theta - c[0] * v, v


@formula
def nesterov(theta, g, v, c):
    v = c[1] * v + c[2] * g
    return theta - c[0] * (g + c[1] * v), v


def sgd_coefficients(h: tuple[float, ...], t: np.ndarray, tiny: float) -> tuple[Any, ...]:
    _, mu, dampening = h
    # PyTorch does not dampen the first gradient.
    return 1.0, mu, np.where(t == 1, 1.0, 1 - dampening) if dampening else 1.0


PLAIN = Rule(sgd, sgd_coefficients, 0)
MOMENTUM = Rule(momentum, sgd_coefficients, 1)
NESTEROV = Rule(nesterov, sgd_coefficients, 1)


@dataclass(repr=False)
class SGD(Optimizer):
    """Stochastic gradient descent: theta <- theta - learning_rate * g.

    With momentum mu: v <- mu v + (1 - dampening) g, the first g undampened; theta <- theta -
    learning_rate * v, or, with `nesterov`, theta - learning_rate * (g + mu v). Sutskever et al.
    (2013), in PyTorch's form.
    """

    name = "sgd"
    learning_rate: float = 1e-2
    momentum: float = 0.0
    nesterov: bool = False
    dampening: float = 0.0

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        learning_rate = _check("learning_rate", self.learning_rate, 0, np.inf)
        mu = _check("momentum", self.momentum, 0, 1)
        dampening = _check("dampening", self.dampening, 0, np.inf)
        if self.nesterov and (mu == 0 or dampening != 0):
            raise ValueError(
                f"nesterov=True needs a momentum above 0 and no dampening; got "
                f"momentum={self.momentum!r} and dampening={self.dampening!r}"
            )
        rule = PLAIN if mu == 0 else NESTEROV if self.nesterov else MOMENTUM
        return rule, (learning_rate, mu, dampening)


# --- Adam and its kin ----------------------------------------------------------------------------


@formula
def adam(theta, g, m, v, c):
    m = m + c[1] * (g - m)
    v = c[2] * v + c[3] * g * g
    return theta - c[0] * (m / (np.sqrt(v) / c[4] + c[5])), m, v


@formula
def amsgrad(theta, g, m, v, v_max, c):
    m = m + c[1] * (g - m)
    v = c[2] * v + c[3] * g * g
    v_max = np.maximum(v_max, v)
    return theta - c[0] * (m / (np.sqrt(v_max) / c[4] + c[5])), m, v, v_max


@formula
def adamw(theta, g, m, v, c):
    m = m + c[1] * (g - m)
    v = c[2] * v + c[3] * g * g
    return theta - c[0] * (c[6] * theta + m / (np.sqrt(v) / c[4] + c[5])), m, v


@formula
def adamw_amsgrad(theta, g, m, v, v_max, c):
    m = m + c[1] * (g - m)
    v = c[2] * v + c[3] * g * g
    v_max = np.maximum(v_max, v)
    return theta - c[0] * (c[6] * theta + m / (np.sqrt(v_max) / c[4] + c[5])), m, v, v_max


def adam_coefficients(h: tuple[float, ...], t: np.ndarray, tiny: float) -> tuple[Any, ...]:
    _, beta_1, beta_2, epsilon, decay = h
    bias_1, bias_2 = 1 - _power(beta_1, t), 1 - _power(beta_2, t)
    epsilon = max(epsilon, tiny)
    return 1 / bias_1, 1 - beta_1, beta_2, 1 - beta_2, np.sqrt(bias_2), epsilon, decay * bias_1


ADAM, AMSGRAD = Rule(adam, adam_coefficients, 2), Rule(amsgrad, adam_coefficients, 3)
ADAMW = Rule(adamw, adam_coefficients, 2)
ADAMW_AMSGRAD = Rule(adamw_amsgrad, adam_coefficients, 3)


@dataclass(repr=False)
class Adam(Optimizer):
    """Steps scaled by the running mean and variance of the gradient. Kingma and Ba (2015).

    m <- beta_1 m + (1 - beta_1) g; v <- beta_2 v + (1 - beta_2) g^2;
    theta <- theta - learning_rate * m' / (sqrt(v') + epsilon), where m' and v' are m and v
    divided by 1 - beta_1^t and 1 - beta_2^t. With `amsgrad` the largest v so far takes v's place.
    Reddi et al. (2018).
    """

    name = "adam"
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    amsgrad: bool = False

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        return (AMSGRAD if self.amsgrad else ADAM), (*_adaptive(self), 0.0)


def _adaptive(optimizer: Any) -> tuple[float, float, float, float]:
    """learning_rate, beta_1, beta_2 and epsilon, checked."""
    learning_rate = _check("learning_rate", optimizer.learning_rate, 0, np.inf)
    beta_1, beta_2 = _check_two("betas", optimizer.betas, 0, 1)
    return learning_rate, beta_1, beta_2, _check("epsilon", optimizer.epsilon, 0, np.inf)


@dataclass(repr=False)
class AdamW(Optimizer):
    """Adam, and theta <- theta - learning_rate * weight_decay * theta. Loshchilov, Hutter (2019).

    The decay is beside the gradient, not in it, and of biases too, as PyTorch's.
    """

    name = "adamw"
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 1e-2
    amsgrad: bool = False

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        decay = _check("weight_decay", self.weight_decay, 0, np.inf)
        return (ADAMW_AMSGRAD if self.amsgrad else ADAMW), (*_adaptive(self), decay)


@formula
def nadam(theta, g, m, v, c):
    m = m + c[1] * (g - m)
    v = c[2] * v + c[3] * g * g
    return theta - c[0] * ((g + c[6] * m) / (np.sqrt(v) / c[4] + c[5])), m, v


def nadam_coefficients(h: tuple[float, ...], t: np.ndarray, tiny: float) -> tuple[Any, ...]:
    _, beta_1, beta_2, epsilon, momentum_decay = h

    def mu(t: np.ndarray) -> np.ndarray:
        return beta_1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))

    # The product of all mu so far, from the first step on: below beta_1^t, it is soon zero.
    vanished = beta_1 ** t[0] == 0
    product = 0.0 * t
    if not vanished:
        product = np.multiply.accumulate(mu(np.arange(1, t[-1] + 1)))[-len(t) :]
    of_g, of_m = (1 - mu(t)) / (1 - product), mu(t + 1) / (1 - product * mu(t + 1))
    root = np.sqrt(1 - _power(beta_2, t))
    return of_g, 1 - beta_1, beta_2, 1 - beta_2, root, max(epsilon, tiny), of_m / of_g


NADAM = Rule(nadam, nadam_coefficients, 2)


@dataclass(repr=False)
class NAdam(Optimizer):
    """Adam with Nesterov's momentum. Dozat (2016).

    m and v are Adam's; mu_t = beta_1 (1 - 0.96^(t momentum_decay) / 2); theta <- theta -
    learning_rate * [(1 - mu_t) g / (1 - mu_1 ... mu_t) + mu_{t+1} m / (1 - mu_1 ... mu_{t+1})] /
    (sqrt(v') + epsilon).
    """

    name = "nadam"
    learning_rate: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    momentum_decay: float = 4e-3

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        return NADAM, (*_adaptive(self), _check("momentum_decay", self.momentum_decay, 0, np.inf))


@formula
def radam(theta, g, m, v, c):
    m = m + c[1] * (g - m)
    v = c[2] * v + c[3] * g * g
    return theta - c[0] * (m * (c[6] + c[4] / (np.sqrt(v) + c[5]))), m, v


def radam_coefficients(h: tuple[float, ...], t: np.ndarray, tiny: float) -> tuple[Any, ...]:
    _, beta_1, beta_2, epsilon = h
    bias_1, bias_2 = 1 - _power(beta_1, t), 1 - _power(beta_2, t)
    longest = 2 / (1 - beta_2) - 1
    rho = longest - 2 * t * _power(beta_2, t) / bias_2
    rectified = rho > 5
    rho = np.where(rectified, rho, longest)
    factor = (rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho)
    adapted = np.where(rectified, np.sqrt(bias_2 * np.where(rectified, factor, 0.0)), 0.0)
    plain = np.where(rectified, 0.0, 1.0)
    return 1 / bias_1, 1 - beta_1, beta_2, 1 - beta_2, adapted, max(epsilon, tiny), plain


RADAM = Rule(radam, radam_coefficients, 2)


@dataclass(repr=False)
class RAdam(Optimizer):
    """Adam whose first steps, where v knows too little, are not divided by it. Liu et al. (2020).

    rho_t = rho - 2 t beta_2^t / (1 - beta_2^t), rho = 2 / (1 - beta_2) - 1; theta <- theta -
    learning_rate * m', times, where rho_t > 5, sqrt(1 - beta_2^t) / (sqrt(v) + epsilon) and
    sqrt((rho_t - 4) (rho_t - 2) rho / ((rho - 4) (rho - 2) rho_t)).
    """

    name = "radam"
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        return RADAM, _adaptive(self)


@formula
def adamax(theta, g, m, u, c):
    m = m + c[1] * (g - m)
    u = np.maximum(c[2] * u, np.abs(g) + c[3])
    return theta - c[0] * (m / u), m, u


def adamax_coefficients(h: tuple[float, ...], t: np.ndarray, tiny: float) -> tuple[Any, ...]:
    _, beta_1, beta_2, epsilon = h
    return 1 / (1 - _power(beta_1, t)), 1 - beta_1, beta_2, max(epsilon, tiny)


ADAMAX = Rule(adamax, adamax_coefficients, 2)


@dataclass(repr=False)
class Adamax(Optimizer):
    """Adam with the infinity norm. Kingma and Ba (2015).

    m is Adam's; u <- max(beta_2 u, |g| + epsilon); theta <- theta - learning_rate * m' / u.
    """

    name = "adamax"
    learning_rate: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        return ADAMAX, _adaptive(self)


@formula
def lion(theta, g, m, c):
    direction = np.sign(m + c[1] * (g - m))
    return theta - c[0] * (direction + c[3] * theta), m + c[2] * (g - m)


def lion_coefficients(h: tuple[float, ...], t: np.ndarray, tiny: float) -> tuple[Any, ...]:
    _, beta_1, beta_2, decay = h
    return 1.0, 1 - beta_1, 1 - beta_2, decay


LION = Rule(lion, lion_coefficients, 1)


@dataclass(repr=False)
class Lion(Optimizer):
    """The sign of a mean of the gradient. Chen et al. (2023).

    theta <- theta - learning_rate * [sign(beta_1 m + (1 - beta_1) g) + weight_decay theta]; then
    m <- beta_2 m + (1 - beta_2) g.
    """

    name = "lion"
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        learning_rate = _check("learning_rate", self.learning_rate, 0, np.inf)
        decay = _check("weight_decay", self.weight_decay, 0, np.inf)
        return LION, (learning_rate, *_check_two("betas", self.betas, 0, 1), decay)


# --- steps scaled by squares of the gradient -----------------------------------------------------


@formula
def rmsprop(theta, g, v, c):
    v = c[1] * v + c[2] * g * g
    return theta - c[0] * (g / (np.sqrt(v) + c[3])), v


@formula
def rmsprop_momentum(theta, g, v, mean, b, c):
    v = c[1] * v + c[2] * g * g
    mean = mean + c[2] * (g - mean)
    b = c[4] * b + g / (np.sqrt(np.maximum(v - c[5] * mean * mean, c[6])) + c[3])
    return theta - c[0] * b, v, mean, b


def rmsprop_coefficients(h: tuple[float, ...], t: np.ndarray, tiny: float) -> tuple[Any, ...]:
    _, alpha, epsilon, mu, centered = h
    return 1.0, alpha, 1 - alpha, max(epsilon, tiny), mu, centered, 0.0


RMSPROP = Rule(rmsprop, rmsprop_coefficients, 1)
RMSPROP_MOMENTUM = Rule(rmsprop_momentum, rmsprop_coefficients, 3)


@dataclass(repr=False)
class RMSprop(Optimizer):
    """Steps scaled by the running mean of squares of the gradient. Tieleman and Hinton (2012).

    v <- alpha v + (1 - alpha) g^2; theta <- theta - learning_rate * g / (sqrt(v) + epsilon). With
    `centered`, v less the square of the running mean of g takes v's place. Graves (2013). With
    momentum mu: b <- mu b + g / (sqrt(v) + epsilon); theta <- theta - learning_rate * b.
    """

    name = "rmsprop"
    learning_rate: float = 1e-2
    alpha: float = 0.99
    epsilon: float = 1e-8
    momentum: float = 0.0
    centered: bool = False

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        learning_rate = _check("learning_rate", self.learning_rate, 0, np.inf)
        alpha, mu = _check("alpha", self.alpha, 0, 1), _check("momentum", self.momentum, 0, 1)
        epsilon = _check("epsilon", self.epsilon, 0, np.inf)
        rule = RMSPROP_MOMENTUM if mu or self.centered else RMSPROP
        return rule, (learning_rate, alpha, epsilon, mu, float(self.centered))


@formula
def adagrad(theta, g, v, c):
    v = v + c[2] + g * g
    return theta - c[0] * (g / (np.sqrt(v) + c[1])), v


def adagrad_coefficients(h: tuple[float, ...], t: np.ndarray, tiny: float) -> tuple[Any, ...]:
    _, rate_decay, initial, epsilon = h
    rate = 1 / (1 + (t - 1) * rate_decay) if rate_decay else 1.0
    return rate, max(epsilon, tiny), np.where(t == 1, initial, 0.0) if initial else 0.0


ADAGRAD = Rule(adagrad, adagrad_coefficients, 1)


@dataclass(repr=False)
class Adagrad(Optimizer):
    """Steps scaled by the sum of squares of the gradient so far. Duchi et al. (2011).

    v <- v + g^2, from initial_accumulator on; theta <- theta - learning_rate / (1 + (t - 1)
    rate_decay) * g / (sqrt(v) + epsilon).
    """

    name = "adagrad"
    learning_rate: float = 1e-2
    rate_decay: float = 0.0
    initial_accumulator: float = 0.0
    epsilon: float = 1e-10

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        names = ("learning_rate", "rate_decay", "initial_accumulator", "epsilon")
        return ADAGRAD, tuple(_check(name, getattr(self, name), 0, np.inf) for name in names)


@formula
def adadelta(theta, g, v, d, c):
    v = c[1] * v + c[2] * g * g
    step = np.sqrt(d + c[3]) / np.sqrt(v + c[3]) * g
    return theta - c[0] * step, v, c[1] * d + c[2] * step * step


def adadelta_coefficients(h: tuple[float, ...], t: np.ndarray, tiny: float) -> tuple[Any, ...]:
    _, rho, epsilon = h
    return 1.0, rho, 1 - rho, max(epsilon, tiny)


ADADELTA = Rule(adadelta, adadelta_coefficients, 2)


@dataclass(repr=False)
class Adadelta(Optimizer):
    """Steps as large as the steps before, by running means of squares. Zeiler (2012).

    v <- rho v + (1 - rho) g^2; s = sqrt(d + epsilon) / sqrt(v + epsilon) * g;
    d <- rho d + (1 - rho) s^2; theta <- theta - learning_rate * s.
    """

    name = "adadelta"
    learning_rate: float = 1.0
    rho: float = 0.9
    epsilon: float = 1e-6

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        learning_rate = _check("learning_rate", self.learning_rate, 0, np.inf)
        rho, epsilon = _check("rho", self.rho, 0, 1), _check("epsilon", self.epsilon, 0, np.inf)
        return ADADELTA, (learning_rate, rho, epsilon)


# --- signs ---------------------------------------------------------------------------------------


@formula
def rprop(theta, g, before, size, c):
    turn = np.sign(g * before)
    size = (size + c[0]) * (c[5] + turn * (c[1] * (c[5] + turn) + c[2] * (c[5] - turn)))
    size = np.minimum(np.maximum(size, c[3]), c[4])
    g = g * np.minimum(c[5] + turn, c[5])
    return theta - np.sign(g) * size, g, size


def rprop_coefficients(h: tuple[float, ...], t: np.ndarray, tiny: float) -> tuple[Any, ...]:
    _, eta_minus, eta_plus, smallest, largest = h
    # The factor of the size is eta_plus for turn = 1, eta_minus for -1 and 1 for 0.
    up, down = (eta_plus - 1) / 2, (1 - eta_minus) / 2
    return np.where(t == 1, 1.0, 0.0), up, down, smallest, largest, 1.0


RPROP = Rule(rprop, rprop_coefficients, 2)


@dataclass(repr=False)
class Rprop(Optimizer):
    """Each parameter has a step size of its own. Riedmiller and Braun (1993).

    Where g has the sign it had before, the size grows by etas[1]; where that has turned, it shrinks
    by etas[0] and there is no step; theta <- theta - sign(g) size. learning_rate is the first size;
    a schedule does not change it. For all samples at once (batch_size=None).
    """

    name = "rprop"
    learning_rate: float = 1e-2
    etas: tuple[float, float] = (0.5, 1.2)
    step_sizes: tuple[float, float] = (1e-6, 50.0)

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        learning_rate = _check("learning_rate", self.learning_rate, 0, np.inf)
        eta_minus, eta_plus = _check_two("etas", self.etas, 0, np.inf)
        if not 0 < eta_minus < 1 < eta_plus:
            raise ValueError(f"etas must be below and above 1, and above 0; got {self.etas!r}")
        smallest, largest = _check_two("step_sizes", self.step_sizes, 0, np.inf)
        return RPROP, (learning_rate, eta_minus, eta_plus, smallest, largest)


# --- a user's own --------------------------------------------------------------------------------


@formula
def stay(theta, g, c):
    return (theta,)


def stay_coefficients(h: tuple[float, ...], t: np.ndarray, tiny: float) -> tuple[Any, ...]:
    return (1.0,)


@dataclass(repr=False)
class Custom(Optimizer):
    """An optimizer of your own: a Python function, called for each step.

    The gradient is clipped and penalised before, max_norm and averaging come after. Not for
    `layer_rates`. Each step returns to Python, copies the vectors and goes through them once for
    each of NumPy's operations: best for large minibatches.

    Parameters
    ----------
    function : callable
        function(theta, g, states, step, rate) changes theta, and if it likes g and the states, in
        place and returns None. theta and g are flat, (n_parameters,), in the order of
        `get_parameters`, and states (n_states, n_parameters), zeros before the first step, all of
        the network's dtype; step, an int, counts from 1; rate is the learning rate of the step,
        times the schedule's factor. They are copies: where it raises, nothing has changed.
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
    learning_rate: float = 1e-2

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        if not callable(self.function):
            raise TypeError(
                f"function must be a function (theta, g, states, step, rate); got {self.function!r}"
            )
        n = self.n_states
        _check_whole("n_states", n, 0, "whole number of vectors")
        if self.layer_rates is not None:
            raise ValueError("layer_rates is not for Custom: its function sees one vector")
        learning_rate = _check("learning_rate", self.learning_rate, 0, np.inf)
        return Rule(stay, stay_coefficients, int(n)), (learning_rate,)

    def _function(self) -> Callable[..., None]:
        return self.function


# --- all samples at once -------------------------------------------------------------------------


@dataclass(repr=False)
class LBFGS(Optimizer):
    """Limited-memory BFGS: `scipy.optimize.minimize(method="L-BFGS-B")`. Byrd et al. (1995).

    For small data: an epoch is one iteration, with as many gradients of all samples as its line
    search needs, and ends where the next point is accepted; so the network always stands at an
    accepted point. History's `cost` is that before the iteration. Where SciPy ends, so does the
    training: by "converged", by "max_evaluations", or by "line_search", which found no lower cost.
    Of float64 networks best: float32 costs have too few digits for the last steps.

    Needs SciPy: the extra `scipy`. Of the options of all optimizers it takes `l2` and
    `penalize_biases`. There is no learning rate, so no schedule, and no minibatch. Each `fit`
    begins with an empty memory, and there is no checkpoint of it.

    Parameters
    ----------
    history : int
        Pairs of steps and changes of the gradient that are remembered.
    tolerance : float
        Converged where no element of the gradient is larger; SciPy's `gtol`.
    cost_tolerance : float
        Or where the cost falls by less, relative to itself (or 1); SciPy's `ftol`.
    max_line_search : int
        Gradients in one iteration.
    max_evaluations : int, optional
        Gradients in one `fit`: once there were more, no further iteration begins; SciPy's `maxfun`.
    """

    name = "lbfgs"
    history: int = 10
    tolerance: float = 1e-5
    cost_tolerance: float = 2.2e-9
    max_line_search: int = 20
    max_evaluations: int | None = None

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        whole = ["history", "max_line_search"]
        for name in whole if self.max_evaluations is None else [*whole, "max_evaluations"]:
            _check_whole(name, getattr(self, name), 1, "whole number, 1 at least")
        for name in ("tolerance", "cost_tolerance"):
            _check(name, getattr(self, name), 0, np.inf)
        defaults = {f.name: f.default for f in dataclasses.fields(Optimizer) if f.init}
        for name in defaults.keys() - {"l2", "penalize_biases"}:
            if getattr(self, name) != defaults[name]:
                raise ValueError(
                    f"LBFGS takes no {name}: of the common options it has l2 and penalize_biases"
                )
        return Rule(stay, stay_coefficients, 0), (0.0,)


OPTIMIZERS: dict[str, type[Optimizer]] = {
    optimizer.name: optimizer
    for optimizer in (
        *(SGD, Adam, AdamW, NAdam, RAdam, Adamax, Lion),
        *(RMSprop, Adagrad, Adadelta, Rprop, LBFGS),
    )
}
