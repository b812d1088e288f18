"""LBFGS: the hyperparameters of SciPy's L-BFGS-B; `training.lbfgs` runs it."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from fastbackprop.numbers import number, whole
from fastbackprop.optimizers.base import Optimizer
from fastbackprop.optimizers.rules import MOST, STAY, Rule


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
        counts = ["history", "max_line_search"]
        for name in counts if self.max_evaluations is None else [*counts, "max_evaluations"]:
            whole(getattr(self, name), name, 1, MOST, must="be a whole number, 1 at least")
        for name in ("tolerance", "cost_tolerance"):
            number(getattr(self, name), name, 0, np.inf)
        defaults = {f.name: f.default for f in dataclasses.fields(Optimizer) if f.init}
        for name in defaults.keys() - {"l2", "penalize_biases"}:
            if getattr(self, name) != defaults[name]:
                raise ValueError(
                    f"LBFGS does not support {name}; it supports l2 and penalize_biases"
                )
        return STAY, (0.0,)
