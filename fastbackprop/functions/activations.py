"""Activations: what a user may name, and what belongs to each name.

To add one: its block in `fastbackprop.functions.elementwise`, its line in `ACTIVATIONS`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastbackprop.functions import elementwise as of
from fastbackprop.functions import softmaxes
from fastbackprop.jit.words import sigmoid, tanh
from fastbackprop.numbers import number


@dataclass(frozen=True)
class Activation:
    """An activation sigma: what it is called, sigma and sigma', and its formula in words.

    Attributes
    ----------
    name : str
    sigma : callable
        z -> a: of scalars in kernels, of arrays in the loop-free engine.
    derivative : callable
        (z, a) -> sigma'(z), likewise.
    formula : str
    initializer : str
        What `init="auto"` picks for the weights that lead into such a layer.
    p : tuple of float
        Parameters, at most two; sigma and derivative take them as a last argument if they like.
    rows : pair of kernels, optional
        Where a^l_j depends on the whole row z^l: (z, a, p) and (z, a, delta, p), which turns dC/da
        in delta into dC/dz. `sigma` and `derivative` are then of arrays (n_samples, n_l), and
        `derivative` is (dC/dA, Z, A) -> dC/dZ.
    second : callable, optional
        (z, a) -> sigma''(z), as `derivative`; 0 where sigma is a straight line, and at its kinks.
        With `rows`: (U, RZ, RA, Z, A) -> the derivative of `derivative`(U, Z, A) when Z moves along
        RZ, and so A along RA.
    push_forward : callable, optional
        With `rows`, where the matrix da/dz is not symmetric: (RZ, Z, A) -> RA, its product with RZ.
    second_row : kernel, optional
        `second` for a row: (z, a, u, Rz, Ra, Rdelta, p) adds it to Rdelta. Without it products with
        the Hessian are loop-free in every engine.
    of : Activation, optional
        Of a layer that is normalised first, the activation after that: `sigma`, `derivative`,
        `second` and p are its own. `LayerNorm` makes such a one.
    epsilon : float
        What is added to the variance there.
    """

    name: str
    sigma: Callable[..., Any]
    derivative: Callable[..., Any]
    formula: str = ""
    initializer: str = "he_normal"
    p: tuple[float, ...] = ()
    rows: tuple[Any, Any] | None = None
    second: Callable[..., Any] | None = None
    push_forward: Callable[..., Any] | None = None
    second_row: Any = None
    of: "Activation | None" = None
    epsilon: float = 0.0

    @property
    def coupled(self) -> bool:
        """Whether a^l_j depends on the whole row z^l."""
        return self.rows is not None or self.of is not None

    @property
    def is_registered(self) -> bool:
        """Whether it is one of `ACTIVATIONS`, with whatever parameters; else it is a user's own.

        Of a `LayerNorm`, whether the activation in it is one.
        """
        if self.of is not None:
            return self.of.is_registered
        ours = ACTIVATIONS.get(self.name)
        return ours is not None and (ours.sigma, ours.derivative) == (self.sigma, self.derivative)

    def __str__(self) -> str:
        """Its name, with its parameters where they are not the usual ones."""
        if self.of is not None:
            epsilon = "" if self.epsilon == EPSILON else f", {self.epsilon!r}"
            return f"layer_norm({self.of}{epsilon})"
        ours = ACTIVATIONS.get(self.name)
        usual = not self.p or (ours is not None and ours.p == self.p)
        return self.name if usual else f"{self.name}({', '.join(map(repr, self.p))})"

    def __getstate__(self) -> dict[str, Any]:
        """What differs from the one in `ACTIVATIONS`: no other process could load its kernels."""
        usual = vars(self.of or ACTIVATIONS[self.name]) if self.is_registered else {}
        return what_differs(self, usual, ("name",))

    def __setstate__(self, state: dict[str, Any]) -> None:
        ours = state.get("of") or ACTIVATIONS.get(state["name"])
        self.__dict__.update((vars(ours) if ours else {}) | state)

    def pull_back(self, G: np.ndarray, Z: np.ndarray, A: np.ndarray) -> np.ndarray:
        """dC/dZ from G = dC/dA: G (.) sigma'(Z), or through the Jacobian; (n_samples, n_l) each."""
        result: np.ndarray = self.derivative(G, Z, A) if self.coupled else G * self.derivative(Z, A)
        return result


def what_differs(function: Any, usual: dict[str, Any], said: tuple[str, ...]) -> dict[str, Any]:
    """The attributes of an activation or a cost that are not the usual ones, and what is said."""
    attributes = vars(function).items()
    return {k: v for k, v in attributes if k in said or v is not usual.get(k, usual)}


_GLOROT = "glorot_uniform"
EPSILON = 1e-5  # of `LayerNorm`, PyTorch's
_ALL = (
    Activation("identity", of.identity, of.identity_derivative, "z", _GLOROT, second=of.zero),
    Activation(
        "sigmoid",
        sigmoid,
        of.sigmoid_derivative,
        "1 / (1 + e^-z)",
        _GLOROT,
        second=of.sigmoid_second,
    ),
    Activation(
        "hard_sigmoid",
        of.hard_sigmoid,
        of.hard_sigmoid_derivative,
        "min(max(z + 3, 0), 6) / 6",
        _GLOROT,
        second=of.zero,
    ),
    Activation("tanh", tanh, of.tanh_derivative, "tanh z", _GLOROT, second=of.tanh_second),
    Activation(
        "hard_tanh",
        of.hard_tanh,
        of.hard_tanh_derivative,
        "min(max(z, -1), 1)",
        _GLOROT,
        second=of.zero,
    ),
    Activation(
        "softsign",
        of.softsign,
        of.softsign_derivative,
        "z / (1 + abs(z))",
        _GLOROT,
        second=of.softsign_second,
    ),
    Activation("relu", of.relu, of.relu_derivative, "max(z, 0)", second=of.zero),
    Activation("relu6", of.relu6, of.relu6_derivative, "min(max(z, 0), 6)", second=of.zero),
    Activation(
        "leaky_relu",
        of.leaky_relu,
        of.leaky_relu_derivative,
        "z for z > 0, else p z",
        p=(0.01,),
        second=of.zero,
    ),
    Activation(
        "elu",
        of.elu,
        of.elu_derivative,
        "z for z > 0, else p (e^z - 1)",
        p=(1.0,),
        second=of.elu_second,
    ),
    Activation(
        "celu",
        of.celu,
        of.celu_derivative,
        "z for z > 0, else p (e^(z / p) - 1)",
        p=(1.0,),
        second=of.celu_second,
    ),
    Activation(
        "selu",
        of.selu,
        of.selu_derivative,
        "s z for z > 0, else s t (e^z - 1)",
        "lecun_normal",
        second=of.selu_second,
    ),
    Activation(
        "softplus", of.softplus, of.softplus_derivative, "log(1 + e^z)", second=of.softplus_second
    ),
    Activation(
        "gelu", of.gelu, of.gelu_derivative, "z (1 + erf(z / sqrt 2)) / 2", second=of.gelu_second
    ),
    Activation(
        "gelu_tanh",
        of.gelu_tanh,
        of.gelu_tanh_derivative,
        "z (1 + tanh u) / 2, u = sqrt(2 / pi) (z + 0.044715 z^3)",
        second=of.gelu_tanh_second,
    ),
    Activation("silu", of.silu, of.silu_derivative, "z / (1 + e^-z)", second=of.silu_second),
    Activation(
        "hard_swish",
        of.hard_swish,
        of.hard_swish_derivative,
        "z min(max(z + 3, 0), 6) / 6",
        second=of.hard_swish_second,
    ),
    Activation("mish", of.mish, of.mish_derivative, "z tanh(log(1 + e^z))", second=of.mish_second),
    Activation("sin", of.sine, of.sine_derivative, "sin z", _GLOROT, second=of.sine_second),
    Activation(
        "gaussian",
        of.gaussian,
        of.gaussian_derivative,
        "e^(-z^2)",
        _GLOROT,
        second=of.gaussian_second,
    ),
    Activation(
        "exp",
        of.exponential,
        of.exponential_derivative,
        "e^z",
        _GLOROT,
        second=of.exponential_derivative,
    ),
    Activation(
        "softmax",
        softmaxes.softmax,
        softmaxes.softmax_pull_back,
        "e^z_k / sum_i e^z_i",
        _GLOROT,
        rows=(softmaxes.softmax_row, softmaxes.softmax_pull_back_row),
        second=softmaxes.softmax_second,
        second_row=softmaxes.softmax_second_row,
    ),
    Activation(
        "log_softmax",
        softmaxes.log_softmax,
        softmaxes.log_softmax_pull_back,
        "z_k - log sum_i e^z_i",
        _GLOROT,
        rows=(softmaxes.log_softmax_row, softmaxes.log_softmax_pull_back_row),
        second=softmaxes.log_softmax_second,
        push_forward=softmaxes.log_softmax_push_forward,
    ),
)
ACTIVATIONS = {activation.name: activation for activation in _ALL}


# --- with parameters of their own ----------------------------------------------------------------


def LeakyReLU(negative_slope: float = 0.01) -> Activation:
    """The activation leaky_relu, z for z > 0, else `negative_slope` z: any finite number."""
    return _with(ACTIVATIONS["leaky_relu"], negative_slope=negative_slope)


def ELU(alpha: float = 1.0) -> Activation:
    """The activation elu, z for z > 0, else `alpha` (e^z - 1): any finite number."""
    return _with(ACTIVATIONS["elu"], alpha=alpha)


def CELU(alpha: float = 1.0) -> Activation:
    """The activation celu, z for z > 0, else `alpha` (e^(z / `alpha`) - 1), with `alpha` > 0."""
    if not parameter("CELU", "alpha", alpha) > 0:
        raise ValueError(f"CELU(alpha) must have alpha > 0; got {alpha!r}")
    return _with(ACTIVATIONS["celu"], alpha=alpha)


def LayerNorm(activation: str | Activation = "relu", epsilon: float = EPSILON) -> Activation:
    """Layer normalisation, and an activation after it: for any layer of two or more neurons.

    Of exactly two, little more than which z is the larger is left: normalised they are 1 and -1.

    a_k = sigma((z_k - mean z) / sqrt(var z + epsilon)): mean and variance (divided by n, not by
    n - 1) are over the neurons of the layer, of each sample by itself, in training and prediction
    alike. It is torch.nn.LayerNorm(n, eps=epsilon, elementwise_affine=False) between Linear and
    activation. Ba, Kiros and Hinton (2016).

    It has no gain and no shift of its own. Xu et al. (2019), "Understanding and Improving Layer
    Normalization", found that these raise the risk of overfitting and in most cases do not help.
    After the identity, and in part after others, W and b of the next layer do what they would.

    Parameters
    ----------
    activation : str or Activation
        sigma: any that does not couple the neurons of a layer itself; also one of your own.
    epsilon : float
        Positive. It bounds the slope where the neurons of a layer hardly differ.

    Raises
    ------
    ValueError, TypeError
        For another activation or epsilon.
    """
    of = ACTIVATIONS.get(activation) if isinstance(activation, str) else activation
    if of is None:
        known = ", ".join(repr(a.name) for a in _ALL if not a.coupled)
        raise ValueError(f"LayerNorm knows no activation {activation!r}; known are {known}")
    if not isinstance(of, Activation):
        raise TypeError(f"LayerNorm takes the name of an activation, or an Activation; got {of!r}")
    if of.coupled:
        raise ValueError(
            f"LayerNorm(activation) must have one that takes each neuron by itself; got {str(of)!r}"
        )
    if not parameter("LayerNorm", "epsilon", epsilon) > 0:
        raise ValueError(f"LayerNorm(epsilon) must have epsilon > 0; got {epsilon!r}")
    name, formula = f"layer_norm({of.name})", of.formula and f"{of.formula} of layer-normalised z"
    return replace(of, name=name, formula=formula, of=of, epsilon=float(epsilon))


PARAMETRIC: dict[str, Callable[..., Activation]] = {
    "leaky_relu": LeakyReLU,
    "elu": ELU,
    "celu": CELU,
}


def _with(activation: Activation, **p: float) -> Activation:
    values = (parameter(activation.name, name, value) for name, value in p.items())
    return replace(activation, p=tuple(values))


def parameter(function: str, name: str, value: Any) -> float:
    """A finite number. Raises TypeError or ValueError."""
    return number(value, f"{name} of {function}")
