"""Optimizer: hyperparameters, the options of all optimizers, and the state that is kept."""

import copy
import dataclasses
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import numpy as np

from fastbackprop.engines.update import NOTHING
from fastbackprop.functions.named import called
from fastbackprop.layout import Layout
from fastbackprop.names import keywords_of, refuse_unknown, unknown_attribute
from fastbackprop.numbers import number
from fastbackprop.optimizers.averaging import EMA, SWA
from fastbackprop.optimizers.rules import Rule
from fastbackprop.optimizers.schedules import Schedule, as_schedule
from fastbackprop.optimizers.steps import Settings, Stepper


@dataclass(kw_only=True)
class Optimizer:
    """A rule with its hyperparameters, and the state it keeps between calls of `fit`.

    The state belongs to the network it was first used with. `reset()` forgets it. `learning_rate`
    is a number, a schedule such as `Cosine(1e-3, epochs=50)`, or a function of the step. Every
    optimizer takes these options, by name:

    Parameters
    ----------
    l2, l1 : float
        Penalties l2/2 ||W||^2 and l1 ||W||_1. They are minimised with the cost; reported costs do
        not contain them.
    penalize_biases : bool
        Whether the penalties include the biases. With it, l2 is PyTorch's `weight_decay`.
    max_norm : float or None
        Largest norm of the weights into a neuron; longer ones are scaled down after each step.
    clip_norm, clip_value : float or None
        Limits of the norm of the whole gradient, and then of each element of it, before the
        penalties. As PyTorch's `clip_grad_norm_` and `clip_grad_value_`.
    layer_rates : sequence of float or None
        A factor of the learning rate for each layer.
    bias_rate : float
        A factor of the learning rate for the biases.
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
    bias_rate: float = 1.0
    averaging: EMA | SWA | None = None
    _t: np.ndarray = field(init=False, repr=False, compare=False)
    _states: np.ndarray | None = field(init=False, repr=False, compare=False)
    _mean: np.ndarray | None = field(init=False, repr=False, compare=False)
    _layout: Any = field(init=False, repr=False, compare=False)  # of these vectors
    _made_for: str | None = field(init=False, repr=False, compare=False)
    _owner: Callable[[], Any] | None = field(init=False, repr=False, compare=False)
    _stepper: Stepper | None = field(init=False, repr=False, compare=False)

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        refuse_unknown(options, keywords_of(cast(Any, cls)), cls.__name__, "optimizer")
        return super().__new__(cls)

    if not TYPE_CHECKING:  # or no checker would find a wrong name

        def __getattr__(self, name: str) -> Any:
            raise unknown_attribute(self, name, "optimizer")

    def __post_init__(self) -> None:
        if isinstance(self.layer_rates, np.ndarray):
            self.layer_rates = self.layer_rates.tolist()
        _, h = self._settings()
        self._of_biases(h)
        self._options()
        self._forget()

    def __repr__(self) -> str:
        """The optimizer's own hyperparameters, and of the common ones those that are set."""
        defaults = {f.name: f.default for f in dataclasses.fields(Optimizer) if f.init}
        names = [f.name for f in dataclasses.fields(self) if f.init and f.name not in defaults]
        names += [name for name in defaults if getattr(self, name) != defaults[name]]
        shown = [f"{name}={called(getattr(self, name))}" for name in names]
        return f"{type(self).__name__}({', '.join(shown)})"

    @property
    def steps(self) -> int:
        """Steps taken since the state was new."""
        return int(self._t[0])

    @property
    def schedule(self) -> Schedule | None:
        """The schedule of the learning rate; None where that is a number."""
        return as_schedule(getattr(self, "learning_rate", None))

    @property
    def averaged_parameters(self) -> np.ndarray:
        """The mean that `averaging` asks for, (n_parameters,), as `set_parameters` takes it.

        Raises ValueError where there is none, or none yet.
        """
        if self.averaging is None:
            raise ValueError(
                "there is no average of the parameters: pass averaging=EMA() or SWA(...)"
            )
        if self._mean is None or self.steps < self.averaging.start:
            raise ValueError(
                f"there is no mean of the parameters yet: averaging starts at step "
                f"{self.averaging.start}, {self.steps} were taken"
            )
        mean: np.ndarray = self._layout.flatten(self._mean)
        return mean

    def reset(self) -> None:
        """Forget every state, that of the schedule too: the next step is the first."""
        if self.schedule is not None:
            self.schedule.reset()
        self._forget()

    def _forget(self) -> None:
        self._t = np.zeros(1, np.int64)
        self._states = self._mean = self._layout = self._made_for = None
        self._owner = None  # a weak reference; None also after unpickling: whoever comes first
        self._stepper = None

    def check_free_for(self, machine: Any) -> None:
        """Raise ValueError if the state belongs to another network."""
        fits = self._states is None or self._made_for == machine.likeness
        if not fits or (self._owner is not None and self._owner() is not machine.theta):
            raise ValueError(
                f"this {type(self).__name__} holds the state of another network: "
                f"pass each network its own optimizer, or call reset() first"
            )

    def is_at_work(self, stepper: Stepper) -> bool:
        """Whether this stepper has the state and hyperparameters that the optimizer took last."""
        return self._stepper is stepper

    def stepper(self, machine: Any) -> Stepper:
        """The optimizer at work on this network, with its hyperparameters as they are now.

        Raises ValueError for hyperparameters that make no sense.
        """
        rule, h = self._settings()
        layer_rates, bias_rate, more = self._options()
        n_layers, h_of_biases, rates = len(machine.sizes) - 1, self._of_biases(h), None
        if layer_rates is not None and len(layer_rates) != n_layers:
            raise ValueError(
                f"layer_rates must hold a factor for each of the {n_layers} layers; "
                f"got {len(layer_rates)}: {self.layer_rates!r}"
            )
        if layer_rates is not None or bias_rate != 1 or h_of_biases != h:
            of_layers = layer_rates or (1.0,) * n_layers
            rates = tuple(rate * factor for rate in of_layers for factor in (1.0, bias_rate))
        function = self._function()
        settings = Settings(rule, h, h_of_biases, rates, self.averaging, more, function)
        self._place(machine, rule.n_states)
        kept = self._stepper
        if kept is None or kept.settings != settings or kept.states is not self._states:
            mean = np.zeros(0, machine.dtype) if self._mean is None else self._mean
            kept = self._stepper = Stepper(machine, settings, self._t, self._states, mean)
        kept.begin(self.schedule)
        return kept

    def _place(self, machine: Any, n_states: int) -> None:
        """Make the state on first use, or place that of a pickle in the memory of this network."""
        layout, dtype = machine.layout, machine.dtype
        if self._layout is not None and self._layout.strides != layout.strides:
            self._states = _moved(self._states, self._layout, layout)
            self._mean = (
                self._mean if self._mean is None else _moved([self._mean], self._layout, layout)[0]
            )
            self._stepper = None
        shape = (n_states, layout.length)
        if self._states is None or self._states.shape != shape:
            self._states, self._stepper = np.zeros(shape, dtype), None
        before = self._mean
        if self.averaging is None:
            self._mean = None
        elif self._mean is None:
            self._mean = machine.theta.copy()
        if self._mean is not before:
            self._stepper = None
        self._layout = layout
        self._owner, self._made_for = weakref.ref(machine.theta), machine.likeness

    def _settings(self) -> tuple[Rule, tuple[float, ...]]:
        """The rule and its hyperparameters, checked. Raises ValueError."""
        raise NotImplementedError

    def _of_biases(self, h: tuple[float, ...]) -> tuple[float, ...]:
        """The hyperparameters of the rule for biases, with the same learning rate."""
        return h

    def _function(self) -> Callable[..., None] | None:
        """A Python function that takes the step; see `Custom`."""
        return None

    def _options(self) -> tuple[tuple[float, ...] | None, float, tuple[float, ...]]:
        """`layer_rates`, `bias_rate`, and the options beside the rule. Raises ValueError."""
        options: tuple[Any, ...] = (self.l2, self.l1, self.penalize_biases, self.max_norm)
        options += (self.clip_norm, self.clip_value, self.layer_rates, self.bias_rate)
        if (*options, self.averaging) == DEFAULTS:  # the checks take longer than a small step
            return None, 1.0, NOTHING
        factors = None
        if self.layer_rates is not None:
            rates = self.layer_rates
            if isinstance(rates, str) or not isinstance(rates, Sequence):
                raise ValueError(f"layer_rates must be a sequence of numbers; got {rates!r}")
            factors = tuple(number(x, f"layer_rates[{i}]", 0, np.inf) for i, x in enumerate(rates))
        if self.averaging is not None and not isinstance(self.averaging, EMA | SWA):
            raise ValueError(f"averaging must be None, EMA() or SWA(...); got {self.averaging!r}")
        if not isinstance(self.penalize_biases, bool | np.bool_):
            raise ValueError(f"penalize_biases must be True or False; got {self.penalize_biases!r}")
        l2, l1 = number(self.l2, "l2", 0, np.inf), number(self.l1, "l1", 0, np.inf)
        limits = {}
        for name in ("clip_norm", "clip_value", "max_norm"):
            value = getattr(self, name)
            limits[name] = np.inf if value is None else number(value, name, 0, np.inf)
            if limits[name] == 0:
                raise ValueError(f"{name} must be above 0, or None; got {value!r}")
        biases = float(self.penalize_biases) if l2 or l1 else 0.0
        clip, bias_rate = (limits["clip_norm"], limits["clip_value"]), self.bias_rate
        more = *clip, l2, l1, biases, limits["max_norm"]
        return factors, number(bias_rate, "bias_rate", 0, np.inf), more

    def __copy__(self) -> "Optimizer":
        return copy.deepcopy(self)  # a copy that shared the states would disturb its original

    def __getstate__(self) -> dict[str, Any]:
        """Without padding: another machine may have vectors of another width."""
        state = {k: v for k, v in self.__dict__.items() if k not in ("_owner", "_stepper")}
        if self._layout is not None:
            plain = Layout(self._layout.sizes)
            state |= {"_layout": plain, "_states": _moved(self._states, self._layout, plain)}
            if self._mean is not None:
                state["_mean"] = _moved([self._mean], self._layout, plain)[0]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _owner=None, _stepper=None)


DEFAULTS = 0.0, 0.0, False, None, None, None, None, 1.0, None  # of the options of all optimizers


def _moved(vectors: Any, source: Layout, target: Layout) -> np.ndarray:
    """Vectors of one layout as those of another with the same sizes, (n, length)."""
    moved = np.zeros((len(vectors), target.length), np.asarray(vectors).dtype)
    for vector, row in zip(vectors, moved, strict=True):
        target.unflatten(source.flatten(vector), row)
    return moved
