"""Activations: two of the three kinds, and the registry of all names.

`Activation` takes each neuron by itself, `Coupled` all neurons of a layer at once, and
`fastbackprop.functions.layer_norms.LayerNorm` normalises a layer before an `Activation`. They have
one interface: `name`, `formula`, `initializer`, `p`, `coupled`, `normalised`, `inner`,
`has_second`, and for arrays (n_samples, n_l), once `fastbackprop.functions.arrays.on_arrays` has
put the parameters in, `sigma`, `pull_back`, `push_forward` and `second_product`.

A new activation is one block of `fastbackprop.functions.elementwise`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np

from fastbackprop.functions.named import CALLS, Named

GLOROT = "glorot_uniform"


@dataclass(frozen=True, repr=False)
class Activation(Named):
    """An activation of each neuron by itself: a_k = sigma(z_k).

    With `rows`, and the other arguments of `Coupled`, it makes one of those.

    Attributes
    ----------
    name : str
    sigma : callable
        z -> a: of scalars in kernels, of arrays in the loop-free engine.
    derivative : callable
        (z, a) -> sigma'(z), likewise.
    formula : str
    initializer : str
        The initializer that `init="auto"` picks for the weights that lead into such a layer.
    p : tuple of float
        Parameters, at most two; formulas take them as a last argument if they like.
    second : callable, optional
        (z, a) -> sigma''(z), as `derivative`; 0 where sigma is a straight line, and at its kinks.
    third : callable, optional
        (z, a) -> sigma'''(z), likewise: for the gradient of a cost of second derivatives.
    """

    KIND: ClassVar[str] = "Activation"
    FORMULAS: ClassVar[dict[str, int]] = {"sigma": 1, "derivative": 2, "second": 2, "third": 2}
    normalised: ClassVar[bool] = False  # whether the layer is normalised first

    name: str
    sigma: Callable[..., Any]
    derivative: Callable[..., Any]
    formula: str = ""
    initializer: str = "he_normal"
    p: tuple[float, ...] = ()
    second: Callable[..., Any] | None = None
    third: Callable[..., Any] | None = None

    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        kind = Coupled if cls is Activation and options.get("rows") else cls
        return super().__new__(kind)

    @property
    def usual(self) -> "Activation | None":
        return ACTIVATIONS.get(self.name)

    def _place(self) -> str:
        return f"ACTIVATIONS[{self.name!r}]"

    @property
    def inner(self) -> "Activation":
        """The activation itself, without a normalisation before it."""
        return self

    @property
    def has_second(self) -> bool:
        return self.second is not None

    @property
    def n_derivatives(self) -> int:
        """How many derivatives along a direction it has; 0 where neurons are coupled."""
        if self.coupled:
            return 0
        return 1 if self.second is None else 2 if self.third is None else 3

    def pull_back(self, G: np.ndarray, Z: np.ndarray, A: np.ndarray) -> np.ndarray:
        """dC/dZ from G = dC/dA: G (.) sigma'(Z), or the product with the Jacobian."""
        return G * self.derivative(Z, A)

    def push_forward(self, RZ: np.ndarray, Z: np.ndarray, A: np.ndarray) -> np.ndarray:
        """R A when Z moves along RZ: the product of da/dz with RZ."""
        return self.pull_back(RZ, Z, A)

    def second_product(
        self, U: np.ndarray, RZ: np.ndarray, RA: np.ndarray, Z: np.ndarray, A: np.ndarray
    ) -> np.ndarray:
        """The derivative of pull_back(U, Z, A) when Z moves along RZ, and so A along RA."""
        assert self.second is not None
        return U * self.second(Z, A) * RZ


@dataclass(frozen=True, repr=False)
class Coupled(Activation):
    """An activation of an output layer where a_j depends on all neurons of a sample.

    Its formulas are of arrays (n_samples, n_l).

    Attributes
    ----------
    sigma : callable
        Z -> A.
    derivative : callable
        (dC/dA, Z, A) -> dC/dZ, the product with the Jacobian.
    second : callable, optional
        (U, RZ, RA, Z, A): see `second_product`.
    push_forward : callable, optional
        (RZ, Z, A) -> RA; only where the matrix da/dz is not symmetric.
    rows : pair of kernels, optional
        sigma and derivative of one sample: (z, a, p), and (z, a, delta, p), which turns dC/da in
        delta into dC/dz. The engines of loops have their own for the registered ones.
    second_row : kernel, optional
        `second` of one sample: (z, a, u, Rz, Ra, Rdelta, p) adds it to Rdelta. Without it products
        with the Hessian are loop-free in every engine.
    """

    FORMULAS: ClassVar[dict[str, int]] = {
        "sigma": 1,
        "derivative": 3,
        "second": 5,
        "push_forward": 3,
    }
    coupled: ClassVar[bool] = True

    rows: tuple[Any, Any] | None = None
    push_forward: Callable[..., Any] | None = None  # type: ignore[assignment]
    second_row: Any = None

    def __post_init__(self) -> None:
        if self.push_forward is None:
            object.__setattr__(self, "push_forward", self.derivative)

    def pull_back(self, G: np.ndarray, Z: np.ndarray, A: np.ndarray) -> np.ndarray:
        return self.derivative(G, Z, A)

    def second_product(
        self, U: np.ndarray, RZ: np.ndarray, RA: np.ndarray, Z: np.ndarray, A: np.ndarray
    ) -> np.ndarray:
        assert self.second is not None
        return self.second(U, RZ, RA, Z, A)


# --- the registry --------------------------------------------------------------------------------

ACTIVATIONS: dict[str, Activation] = {}
PARAMETRIC: dict[str, Callable[..., Activation]] = {}  # constructors of those with parameters
Constructor = TypeVar("Constructor", bound=Callable[..., Activation])


def register(*arguments: Any, kind: type[Activation] = Activation, **options: Any) -> None:
    """Let people name the activation that the class makes of these arguments."""
    activation = kind(*arguments, **options)
    ACTIVATIONS[activation.name] = activation


def parametric(name: str) -> Callable[[Constructor], Constructor]:
    """Mark the constructor of a registered activation with other parameters."""

    def add(constructor: Constructor) -> Constructor:
        PARAMETRIC[name] = constructor
        CALLS[name] = constructor.__name__, False
        return constructor

    return add
