"""Costs: what a user may name, and what belongs to each name.

A cost is of one sample, a sum over the outputs k; a batch's cost is the (weighted) mean over the
samples. Where an output activation and a cost belong together (softmax or sigmoid with
cross-entropy) the pair is one cost that reads z^L and gives dC/dz^L at once: no overflow, no 0 *
inf at saturation. To add one: its block in `fastbackprop.functions`, its line in `COSTS`.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from fastbackprop.functions import distances, likelihoods, softmaxes
from fastbackprop.functions.activations import Activation, parameter, what_differs
from fastbackprop.numbers import number

TARGETS = ("real", "unit", "distribution", "sign", "non-negative", "positive")


@dataclass(frozen=True)
class Cost:
    """A cost, alone or with the output activation it belongs to.

    Attributes
    ----------
    name : str
    terms : callable
        (z, a, y) -> what the sum over k adds up: of scalars in kernels, of arrays in the loop-free
        engine.
    gradient : callable
        (z, a, y) -> dC/da_k, or dC/dz_k where the cost is `fused`, likewise.
    formula : str
    output : str, optional
        The output activation of a pair; None goes with every output.
    targets : one of `TARGETS`
        What y may hold: any number; numbers in [0, 1]; rows of such that sum to one, or labels; -1
        and 1; numbers of at least 0; numbers above 0.
    p : tuple of float
        Parameters; terms and gradient take them as a last argument if they like.
    rows : pair of kernels, optional
        Where a term depends on the whole row: (z, a, y, p) -> C and (z, a, y, delta, p), which
        fills delta. `terms` and `gradient` are then of arrays (n_samples, n_L) alone.
    second : callable, optional
        (z, a, y) -> d2C/da_k^2, or d2C/dz_k^2 where the cost is `fused`, as `terms`. With `rows`:
        (V, Z, A, Y) -> H V, where H is the matrix of second derivatives of a sample's C, and V of
        shape (n_samples, n_L).
    second_row : kernel, optional
        `second` for a row: (z, a, y, Rz, Ra, Rdelta, p) fills Rdelta with H (R a), or H (R z).
        Without it products with the Hessian are loop-free in every engine.
    outputs_per_target : int
        The outputs are so many groups, each with one output for every target; y, (n_samples,
        n_targets), is there once for each group when a formula sees it.
    """

    name: str
    terms: Callable[..., Any]
    gradient: Callable[..., Any]
    formula: str = ""
    output: str | None = None
    targets: str = "real"
    p: tuple[float, ...] = ()
    rows: tuple[Any, Any] | None = None
    second: Callable[..., Any] | None = None
    second_row: Any = None
    outputs_per_target: int = 1

    @property
    def fused(self) -> bool:
        """Whether `gradient` is dC/dz, of a cost with its output activation."""
        return self.output is not None

    @property
    def is_registered(self) -> bool:
        """Whether it is one of `COSTS`, with whatever parameters; else it is a user's own."""
        usual = _registered(self.name, self.output)
        return usual is not None and (usual.terms, usual.gradient) == (self.terms, self.gradient)

    def n_targets(self, n_out: int) -> int:
        """How many columns y has for so many outputs. Raises ValueError."""
        n, rest = divmod(n_out, self.outputs_per_target)
        if rest:
            raise ValueError(
                f"cost={str(self)!r} has {self.outputs_per_target} outputs for each target: the "
                f"last of sizes must be a multiple of {self.outputs_per_target}; got {n_out}"
            )
        return n

    def __str__(self) -> str:
        """Its name, with its parameters where they are not the usual ones."""
        usual = any(self.p == cost.p for cost in COSTS.get(self.name, ())) or not self.p
        return self.name if usual else f"{self.name}({', '.join(map(repr, self.p))})"

    def __getstate__(self) -> dict[str, Any]:
        """What differs from the one in `COSTS`: no other process could load its kernels."""
        usual = vars(_registered(self.name, self.output)) if self.is_registered else {}
        return what_differs(self, usual, ("name", "output"))

    def __setstate__(self, state: dict[str, Any]) -> None:
        ours = _registered(state["name"], state["output"])
        self.__dict__.update((vars(ours) if ours else {}) | state)


_LINKS = (  # output, mu, log mu: the network gives the logarithm of the mean, or the mean
    ("identity", "e^a_k", "a_k"),
    ("exp", "a_k", "log a_k"),
)
_ALL = (
    Cost(
        "squared_error",
        distances.squared_error,
        distances.difference,
        "1/2 sum_k (a_k - y_k)^2",
        second=distances.one,
    ),
    Cost(
        "absolute_error",
        distances.absolute_error,
        distances.absolute_error_gradient,
        "sum_k abs(a_k - y_k)",
        second=distances.zero,
    ),
    Cost(
        "huber",
        distances.huber,
        distances.huber_gradient,
        "sum_k x_k^2 / 2 for x_k = abs(a_k - y_k) < p, else p (x_k - p / 2)",
        p=(1.0,),
        second=distances.huber_second,
    ),
    Cost(
        "log_cosh",
        distances.log_cosh,
        distances.log_cosh_gradient,
        "sum_k log cosh(a_k - y_k)",
        second=distances.log_cosh_second,
    ),
    Cost(
        "quantile",
        distances.quantile,
        distances.quantile_gradient,
        "sum_k max(p (y_k - a_k), (p - 1) (y_k - a_k))",
        p=(0.5,),
        rows=(distances.quantile_row, distances.quantile_gradient_row),
        second=distances.quantile_second,
    ),
    Cost(
        "hinge",
        distances.hinge,
        distances.hinge_gradient,
        "sum_k max(1 - y_k a_k, 0)",
        targets="sign",
        second=distances.zero,
    ),
    Cost(
        "squared_hinge",
        distances.squared_hinge,
        distances.squared_hinge_gradient,
        "sum_k max(1 - y_k a_k, 0)^2",
        targets="sign",
        second=distances.squared_hinge_second,
    ),
    Cost(
        "cosine",
        distances.cosine,
        distances.cosine_gradient,
        "1 - sum_k a_k y_k / sqrt(sum_k a_k^2 sum_k y_k^2)",
        rows=(distances.cosine_row, distances.cosine_gradient_row),
        second=distances.cosine_second,
    ),
    *(
        Cost(
            "poisson",
            likelihoods.poisson,
            likelihoods.poisson_delta,
            f"sum_k [{mu} - y_k {log_mu}]",
            output,
            targets="non-negative",
            second=likelihoods.poisson_second,
        )
        for output, mu, log_mu in _LINKS
    ),
    *(
        Cost(
            "gamma",
            likelihoods.gamma,
            likelihoods.gamma_delta,
            f"sum_k [y_k / {mu} + {log_mu}]",
            output,
            targets="positive",
            second=likelihoods.gamma_second,
        )
        for output, mu, log_mu in _LINKS
    ),
    *(
        Cost(
            "tweedie",
            likelihoods.tweedie,
            likelihoods.tweedie_delta,
            f"sum_k [y_k {mu}^(1 - p) / (p - 1) + {mu}^(2 - p) / (2 - p)]",
            output,
            targets="non-negative",
            p=(1.5,),
            second=likelihoods.tweedie_second,
        )
        for output, mu, log_mu in _LINKS
    ),
    Cost(
        "gaussian_nll",
        likelihoods.gaussian_nll,
        likelihoods.gaussian_nll_gradient,
        "1/2 sum_k [s_k + (m_k - y_k)^2 e^-s_k], a = (m_1, ..., s_1, ...)",
        output="identity",
        rows=(likelihoods.gaussian_nll_row, likelihoods.gaussian_nll_gradient_row),
        second=likelihoods.gaussian_nll_second,
        outputs_per_target=2,
    ),
    Cost(
        "cross_entropy",
        likelihoods.sigmoid_cross_entropy,
        likelihoods.sigmoid_cross_entropy_delta,
        "-sum_k [y_k log a_k + (1 - y_k) log(1 - a_k)]",
        output="sigmoid",
        targets="unit",
        p=(0.0,),
        second=likelihoods.sigmoid_cross_entropy_second,
    ),
    Cost(
        "cross_entropy",
        softmaxes.softmax_cross_entropy,
        softmaxes.softmax_cross_entropy_delta,
        "-sum_k y_k log a_k",
        output="softmax",
        targets="distribution",
        p=(0.0,),
        rows=(softmaxes.softmax_cross_entropy_row, softmaxes.softmax_cross_entropy_delta_row),
        second=softmaxes.softmax_cross_entropy_second,
        second_row=softmaxes.softmax_cross_entropy_second_row,
    ),
    Cost(
        "cross_entropy",
        softmaxes.softmax_cross_entropy,
        softmaxes.log_softmax_cross_entropy_delta,
        "-sum_k y_k a_k",
        output="log_softmax",
        targets="distribution",
        p=(0.0,),
        rows=(softmaxes.softmax_cross_entropy_row, softmaxes.log_softmax_cross_entropy_delta_row),
        second=softmaxes.log_softmax_cross_entropy_second,
    ),
    Cost(
        "kl_divergence",
        softmaxes.softmax_kl,
        softmaxes.softmax_cross_entropy_delta,
        "sum_k y_k (log y_k - log a_k)",
        output="softmax",
        targets="distribution",
        p=(0.0,),
        rows=(softmaxes.softmax_kl_row, softmaxes.softmax_cross_entropy_delta_row),
        second=softmaxes.softmax_cross_entropy_second,
        second_row=softmaxes.softmax_cross_entropy_second_row,
    ),
    Cost(
        "kl_divergence",
        softmaxes.softmax_kl,
        softmaxes.log_softmax_cross_entropy_delta,
        "sum_k y_k (log y_k - a_k)",
        output="log_softmax",
        targets="distribution",
        p=(0.0,),
        rows=(softmaxes.softmax_kl_row, softmaxes.log_softmax_cross_entropy_delta_row),
        second=softmaxes.log_softmax_cross_entropy_second,
    ),
    Cost(
        "focal",
        likelihoods.sigmoid_focal,
        likelihoods.sigmoid_focal_delta,
        "-sum_k [y_k (1 - a_k)^p log a_k + (1 - y_k) a_k^p log(1 - a_k)]",
        output="sigmoid",
        targets="unit",
        p=(2.0,),
        second=likelihoods.sigmoid_focal_second,
    ),
    Cost(
        "focal",
        softmaxes.softmax_focal,
        softmaxes.softmax_focal_delta,
        "-sum_k y_k (1 - a_k)^p log a_k",
        output="softmax",
        targets="distribution",
        p=(2.0,),
        rows=(softmaxes.softmax_focal_row, softmaxes.softmax_focal_delta_row),
        second=softmaxes.softmax_focal_second,
    ),
)
COSTS = {cost.name: tuple(c for c in _ALL if c.name == cost.name) for cost in _ALL}


def _registered(name: str, output: str | None) -> Cost | None:
    return next((cost for cost in COSTS.get(name, ()) if cost.output == output), None)


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


# --- with parameters of their own ----------------------------------------------------------------


def Huber(delta: float = 1.0) -> Cost:
    """The cost huber: quadratic up to a distance of `delta` > 0, then a line. Huber (1964)."""
    return _with("huber", delta=_between("Huber", "delta", delta, 0, math.inf))


def Quantile(levels: float | Iterable[float] = 0.5) -> Cost:
    """The cost quantile: outputs become these quantiles of y, given x.

    `levels` are one or several in (0, 1), ascending. With m targets and q levels the network has
    m q outputs: those of the first level for all targets, then those of the second, ...
    """
    several = list(levels) if isinstance(levels, Iterable) else [levels]
    checked = [_between("Quantile", "levels", level, 0, 1) for level in several]
    if not checked or sorted(set(checked)) != checked:
        raise ValueError(f"levels of Quantile must ascend from one to the next; got {levels!r}")
    return replace(COSTS["quantile"][0], p=tuple(checked), outputs_per_target=len(checked))


def Tweedie(power: float = 1.5) -> Cost:
    """The cost tweedie: the variance is proportional to mu^`power`, between 1 and 2.

    For a power of 1 there is the cost poisson, for 2 gamma.
    """
    return _with("tweedie", power=_between("Tweedie", "power", power, 1, 2))


def Focal(gamma: float = 2.0) -> Cost:
    """The cost focal with the exponent `gamma` > 0; 0 would be cross_entropy."""
    return _with("focal", gamma=_between("Focal", "gamma", gamma, 0, math.inf))


def CrossEntropy(label_smoothing: float = 0.0) -> Cost:
    """The cost cross_entropy with label smoothing s in [0, 1).

    The target y_k becomes (1 - s) y_k + s / n: n is n_L for softmax and log_softmax, 2 for sigmoid.
    """
    if parameter("CrossEntropy", "label_smoothing", label_smoothing) != 0:
        _between("CrossEntropy", "label_smoothing", label_smoothing, 0, 1)
    return _with("cross_entropy", label_smoothing=float(label_smoothing))


PARAMETRIC: dict[str, Callable[..., Cost]] = {
    "huber": Huber,
    "quantile": lambda *levels: Quantile(levels),
    "tweedie": Tweedie,
    "focal": Focal,
    "cross_entropy": CrossEntropy,
}


def _with(name: str, **p: float) -> Cost:
    return replace(COSTS[name][0], p=tuple(p.values()))


def _between(function: str, name: str, value: Any, low: float, high: float) -> float:
    """A number between these two, neither included. Raises TypeError or ValueError."""
    return number(value, f"{name} of {function}", low, high, ends="()", must="lie")
