"""Parameters of estimators: their checks, and the arguments of Network and optimizers they mean."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import check_scalar

from fastbackprop.formats.sklearn import OURS
from fastbackprop.inputs.arguments import batch_size, choice
from fastbackprop.inputs.fit import refuse_for_lbfgs
from fastbackprop.names import closest
from fastbackprop.numbers import as_float, flag, is_number, shown
from fastbackprop.optimizers import LBFGS, OPTIMIZERS, SGD, Adam, Optimizer
from fastbackprop.optimizers.schedules import Schedule, as_schedule

SOLVERS = ("lbfgs", "sgd", "adam")
LEARNING_RATES = ("constant", "invscaling", "adaptive")

# Numbers that only this module checks: type, least, largest, and which of the two are included.
RANGES: dict[str, tuple[type, float | None, float | None, str]] = {
    "alpha": (Real, 0, None, "left"),
    "learning_rate_init": (Real, 0, None, "neither"),
    "power_t": (Real, 0, None, "left"),
    "max_iter": (Integral, 1, None, "left"),
    "tol": (Real, 0, None, "left"),
    "n_iter_no_change": (Real, 1, None, "left"),
    "validation_fraction": (Real, 0, 1, "left"),
    "max_fun": (Integral, 1, None, "left"),
    "momentum": (Real, 0, 1, "both"),
    "beta_1": (Real, 0, 1, "left"),
    "beta_2": (Real, 0, 1, "left"),
    "epsilon": (Real, 0, None, "neither"),
    "n_networks": (Integral, 1, None, "left"),
}
FLAGS = ("shuffle", "warm_start", "nesterovs_momentum", "early_stopping", "missing_targets")


def check(estimator: Any) -> None:
    """Raise ValueError or TypeError for a number or a flag that makes no sense."""
    for name, (kind, low, high, ends) in RANGES.items():
        value = getattr(estimator, name)
        check_scalar(value, name, kind, min_val=low, max_val=high, include_boundaries=ends)
        if kind is Real:
            as_float(value, name)
    for name in FLAGS:
        flag(getattr(estimator, name), name)
    check_scalar(estimator.verbose, "verbose", (Integral, np.bool_), min_val=0)


def is_lbfgs(solver: Any) -> bool:
    """Whether the solver, a name or an object, is LBFGS."""
    return getattr(solver, "name", solver) == "lbfgs"


def takes_minibatches(estimator: Any) -> bool:
    """True, or AttributeError: for `available_if`."""
    if is_lbfgs(estimator.solver):
        raise AttributeError("partial_fit takes steps on minibatches, which solver='lbfgs' cannot")
    return True


def hidden(activation: Any) -> Any:
    """Activations by our names, one or one for each hidden layer."""
    if isinstance(activation, str):
        return OURS.get(activation, activation)
    return [hidden(a) for a in activation] if isinstance(activation, Iterable) else activation


def samples_per_step(estimator: Any, n: int) -> int:
    """`batch_size` for n samples; all of them for lbfgs."""
    if is_lbfgs(estimator.solver):
        return n
    auto = isinstance(estimator.batch_size, str) and estimator.batch_size == "auto"
    return min(batch_size(200 if auto else estimator.batch_size, None) or n, n)


def optimizer(
    estimator: Any, l2: float, schedule: Schedule | None, last: Optimizer | None
) -> Optimizer:
    """The optimizer with the hyperparameters of now, and the state of the last one of its kind."""
    now = _new_optimizer(estimator, l2)
    if schedule is not None:
        if isinstance(now, LBFGS):
            refuse_for_lbfgs(learning_rate=schedule)
        now.learning_rate = schedule  # type: ignore[attr-defined]
    if type(last) is not type(now):
        return now
    for parameter in fields(now):
        if parameter.init:
            setattr(last, parameter.name, getattr(now, parameter.name))
    return last


def _new_optimizer(estimator: Any, l2: float) -> Optimizer:
    if isinstance(estimator.solver, Optimizer):
        return copy.deepcopy(estimator.solver)
    common: dict[str, Any] = {"l2": l2}
    meant = closest(estimator.solver, OPTIMIZERS)[:1] if isinstance(estimator.solver, str) else []
    if meant and meant[0] not in SOLVERS:
        raise ValueError(
            f"unknown solver {estimator.solver!r}: pass an optimizer, such as fastbackprop."
            f"{OPTIMIZERS[meant[0]].__name__}(). Names are {', '.join(SOLVERS)}"
        )
    solver = choice(estimator.solver, SOLVERS, "solver")
    if solver == "lbfgs":
        return LBFGS(tolerance=estimator.tol, max_evaluations=estimator.max_fun, **common)
    common["learning_rate"] = estimator.learning_rate_init
    if solver == "adam":
        betas = estimator.beta_1, estimator.beta_2
        return Adam(betas=betas, epsilon=estimator.epsilon, **common)
    nesterov = estimator.nesterovs_momentum and estimator.momentum > 0
    return SGD(momentum=estimator.momentum, nesterov=nesterov, **common)


def schedule(estimator: Any, last: Schedule | None) -> Schedule | None:
    """A schedule of the user's, or the one that a name stands for with `sgd`.

    The last one, with its state, where it is equal.
    """
    now = None
    if is_number(estimator.learning_rate):
        raise TypeError(
            f"learning_rate must be a name out of {', '.join(LEARNING_RATES)}, a schedule or a "
            f"function of the step; got {shown(estimator.learning_rate)}. A number is "
            f"learning_rate_init"
        )
    if not isinstance(estimator.learning_rate, str):
        now = as_schedule(copy.deepcopy(estimator.learning_rate), "learning_rate")
    else:
        name = choice(estimator.learning_rate, LEARNING_RATES, "learning_rate")
        if name != "constant" and estimator.solver == "sgd":
            now = EpochFactor(name, estimator.learning_rate_init)
    if last != now:
        return now
    if isinstance(now, EpochFactor):
        last.learning_rate = now.learning_rate  # type: ignore[union-attr]
    return last


@dataclass
class EpochFactor(Schedule):
    """A factor of the learning rate that `callbacks.Monitor` sets between epochs."""

    name: str
    learning_rate: float = field(compare=False)
    factor: float = field(default=1.0, init=False, compare=False)

    def factors(self, step: np.ndarray, steps_per_epoch: int) -> np.ndarray:
        """The same for all steps of an epoch."""
        return np.full(len(step), self.factor)
