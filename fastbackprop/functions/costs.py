"""Costs: their two kinds, and the registry of all names.

A cost is of one sample, a sum over the outputs k; a batch's cost is the (weighted) mean over the
samples. Where an output activation and a cost belong together (softmax or sigmoid with
cross-entropy) the pair is one cost that reads z^L and gives dC/dz^L at once: no overflow, no 0 *
inf at saturation. `Cost` takes each output by itself, `CoupledCost` all outputs of a sample.

A new cost is one block of `distances`, `likelihoods` or `cross_entropies`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

import numpy as np

from fastbackprop.functions.activations import Activation
from fastbackprop.functions.named import CALLS, Named
from fastbackprop.numbers import number

TARGETS = ("real", "unit", "distribution", "sign", "non-negative", "positive")


@dataclass(frozen=True, repr=False)
class Cost(Named):
    """A cost, alone or with the output activation it belongs to.

    With `rows`, and the other arguments of `CoupledCost`, it makes one of those.

    Attributes
    ----------
    name : str
    terms : callable
        (z, a, y) -> the term of one output in the sum over k: of scalars in kernels, of arrays in
        the loop-free engine.
    gradient : callable
        (z, a, y) -> dC/da_k, or dC/dz_k where the cost is `fused`, likewise.
    formula : str
    output : str, optional
        The output activation of a pair; None goes with every output.
    targets : one of `TARGETS`
        The values y may hold: any number; numbers in [0, 1]; rows of such that sum to one, or
        labels; -1 and 1; numbers of at least 0; numbers above 0.
    p : tuple of float
        Parameters; formulas take them as a last argument if they like.
    second : callable, optional
        (z, a, y) -> d2C/da_k^2, or d2C/dz_k^2 where the cost is `fused`, as `terms`.
    outputs_per_target : int
        The outputs are so many groups, each with one output for every target; y, (n_samples,
        n_targets), is there once for each group when a formula sees it.
    missing : bool
        Whether y may hold NaN, where there is no term; `with_missing_targets` sets it.
    """

    KIND: ClassVar[str] = "Cost"
    FORMULAS: ClassVar[dict[str, int]] = {"terms": 3, "gradient": 3, "second": 3}

    name: str
    terms: Callable[..., Any]
    gradient: Callable[..., Any]
    formula: str = ""
    output: str | None = None
    targets: str = "real"
    p: tuple[float, ...] = ()
    second: Callable[..., Any] | None = None
    outputs_per_target: int = 1
    missing: bool = field(default=False, kw_only=True, repr=False)

    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        return super().__new__(CoupledCost if cls is Cost and options.get("rows") else cls)

    @property
    def fused(self) -> bool:
        """Whether `gradient` is dC/dz, of a cost with its output activation."""
        return self.output is not None

    @property
    def usual(self) -> "Cost | None":
        known = COSTS.get(self.name, ())
        return next((cost for cost in known if cost.output == self.output), None)

    def _place(self) -> str:
        place = [cost.output for cost in COSTS[self.name]].index(self.output)
        return f"COSTS[{self.name!r}][{place}]"

    @property
    def has_second(self) -> bool:
        return self.second is not None

    @property
    def with_missing_targets(self) -> "Cost":
        """The same cost without the terms of targets that are NaN. Raises ValueError."""
        if self.coupled or self.outputs_per_target > 1:
            raise ValueError(
                f"missing_targets=True needs a cost that is a sum with one term for each output; "
                f"a term of {str(self)!r} depends on several outputs"
            )
        return replace(self, missing=True)

    def n_targets(self, n_out: int) -> int:
        """The number of columns of y for so many outputs. Raises ValueError."""
        n, rest = divmod(n_out, self.outputs_per_target)
        if rest:
            raise ValueError(
                f"cost={str(self)!r} has {self.outputs_per_target} outputs for each target: the "
                f"last of sizes must be a multiple of {self.outputs_per_target}; got {n_out}"
            )
        return n

    def second_product(
        self, V: np.ndarray, Z: np.ndarray, A: np.ndarray, Y: np.ndarray
    ) -> np.ndarray:
        """H V, with each sample's matrix H of second derivatives; V (n_samples, n_L)."""
        assert self.second is not None
        return self.second(Z, A, Y) * V


@dataclass(frozen=True, repr=False)
class CoupledCost(Cost):
    """A cost where a term depends on all outputs of a sample, or terms are not one per output.

    Its formulas are of arrays (n_samples, n_L).

    Attributes
    ----------
    second : callable, optional
        (V, Z, A, Y) -> H V: see `second_product`.
    rows : pair of kernels, optional
        For one sample: (z, a, y, p) -> C, and (z, a, y, delta, p), which fills delta with the
        gradient. The engines of loops have their own for the registered ones.
    second_row : kernel, optional
        `second` of one sample: (z, a, y, Rz, Ra, Rdelta, p) fills Rdelta with H (R a), or H (R z).
        Without it products with the Hessian are loop-free in every engine.
    """

    FORMULAS: ClassVar[dict[str, int]] = {"terms": 3, "gradient": 3, "second": 4}
    coupled: ClassVar[bool] = True

    rows: tuple[Any, Any] | None = None
    second_row: Any = None

    def second_product(
        self, V: np.ndarray, Z: np.ndarray, A: np.ndarray, Y: np.ndarray
    ) -> np.ndarray:
        assert self.second is not None
        return self.second(V, Z, A, Y)


# --- the registry --------------------------------------------------------------------------------

COSTS: dict[str, tuple[Cost, ...]] = {}  # by name, one for each output of a pair
PARAMETRIC: dict[str, Callable[..., Cost]] = {}  # constructors of those with parameters
Constructor = TypeVar("Constructor", bound=Callable[..., Cost])


def register(*arguments: Any, kind: type[Cost] = Cost, **options: Any) -> None:
    """Let people name the cost that the class makes of these arguments."""
    cost = kind(*arguments, **options)
    COSTS[cost.name] = (*COSTS.get(cost.name, ()), cost)


def parametric(name: str, several: bool = False) -> Callable[[Constructor], Constructor]:
    """Mark the constructor of a registered cost with other parameters; `several` in one list."""

    def add(constructor: Constructor) -> Constructor:
        PARAMETRIC[name] = (lambda *p: constructor(p)) if several else constructor
        CALLS[name] = constructor.__name__, several
        return constructor

    return add


def between(function: str, name: str, value: Any, low: float, high: float) -> float:
    """A number between these two, neither included. Raises TypeError or ValueError."""
    return number(value, f"{name} of {function}", low, high, ends="()", must="lie")


def pair(name: str, output: Activation) -> Cost:
    """The cost of this name that goes with this output. Raises ValueError, with the reason."""
    for cost in COSTS[name]:
        if cost.output in (None, output.name):
            return cost
    partners = " or ".join(repr(cost.output) for cost in COSTS[name])
    raise ValueError(
        f"cost={name!r} needs output={partners}; got output={output.name!r}. For other outputs use "
        f"cost='squared_error'"
    )
