"""Training on slopes: steps whose cost is of the outputs and of their derivatives by the inputs.

Czarnecki et al. (2017), "Sobolev Training for Neural Networks". With w = slope_weight, the cost of
sample i is C_i + w/2 sum_vk (.a_ik - slope_ivk)^2, over the directions v and outputs k whose slope
is known.
"""

from typing import Any

import numpy as np

from fastbackprop.analysis.jets import quantities
from fastbackprop.engines.bound import by_parameters
from fastbackprop.inputs import jets as of_jets
from fastbackprop.layout import read_only
from fastbackprop.machine import Machine
from fastbackprop.numbers import number
from fastbackprop.optimizers import LBFGS
from fastbackprop.samples import COST, N_SUMS, WEIGHT, Samples
from fastbackprop.training.dropout import Dropout, as_dropout
from fastbackprop.training.trainer import Trainer


class SlopesTrainer(Trainer):
    """One call of `fit` with slopes: a minibatch at a time.

    Attributes
    ----------
    slopes : Slopes
        Of the samples of the plan.
    """

    slopes: "Slopes"
    takes_rows = has_short_passes = False

    @staticmethod
    def check(settings: dict[str, Any], batches: bool) -> None:
        """Raise ValueError for arguments of `fit` that do not go with slopes."""
        if batches:
            raise ValueError("slopes are not for batches that come one by one: pass arrays")
        if isinstance(settings["optimizer"], LBFGS) or settings["optimizer"] == "lbfgs":
            raise ValueError(
                "slopes are not for LBFGS: use another optimizer, or give SciPy the gradients of "
                "`jet_backward`"
            )
        if as_dropout(settings["dropout"]) != Dropout():
            raise ValueError("slopes are not for dropout or noise: leave one of both out")

    def _train(self, samples: Samples, order: np.ndarray, start: int, stop: int) -> int:
        """The steps of the minibatches that end here; the rest of another comes in later calls."""
        size = self._batch_size(len(order))
        for first in range(start // size * size, stop, size):
            last = min(first + size, len(order))
            if last <= stop and not self._step(samples, order[first:last], first):
                return first
        return stop

    def _step(self, samples: Samples, rows: np.ndarray, first: int) -> bool:
        """A step on these rows; False, and no step, where their cost is not finite."""
        machine, n = self.machine, len(rows)
        block = samples.subset(lambda field: read_only(field[rows]))
        weight = float(block.s.sum()) if len(block.s) else float(n)
        total, sums = weight if weight > 0 else 1.0, np.zeros(N_SUMS)
        slope_cost, gradient = self.slopes.gradient(
            machine, block, rows, total, self.plan.n_threads
        )
        for _, _, update in self.stepper.turns(first, first + n, max(n, first + n)):
            update.g[:] = gradient
            with machine.bound(self._threads(block)) as bound:
                into = by_parameters(update.g)
                machine.engine.gradient_sums(bound, block, total, into, sums, 0, n)
            cost = float(sums[COST]) + slope_cost
            if not np.isfinite(cost):
                return False
            if weight > 0:
                with machine.bound() as bound:
                    machine.engine.take_step(bound, update)
        self.sums[COST] += cost
        self.sums[WEIGHT] += weight
        return True


class Slopes:
    """Known derivatives of the outputs, checked.

    Parameters
    ----------
    machine, values, weight
        The network, and `slopes` and `slope_weight` of `fit`.
    n : int
        Samples of `fit`.
    rows : ndarray or None
        Those of them that are trained on.
    """

    def __init__(
        self, machine: Machine, values: Any, weight: Any, n: int, rows: np.ndarray | None
    ) -> None:
        of_jets.have_derivatives(machine.sigma, 2)
        self.weight = number(weight, "slope_weight", 0, ends="()", must="be a positive number")
        n_in, n_out = machine.sizes[0], machine.sizes[-1]
        self.rays, self.slopes = of_jets.slopes(values, (n, n_in, n_out), machine.dtype)
        if rows is not None:
            self.slopes = self.slopes[rows]
            self.rays = self.rays[rows] if len(self.rays) > 1 else self.rays

    def gradient(
        self,
        machine: Machine,
        block: Samples,
        rows: np.ndarray,
        total: float,
        n_threads: int | None,
    ) -> tuple[float, np.ndarray]:
        """The slopes' part of sum_i s_i C_i, and its gradient over `total`, of the layout."""
        rays = read_only(self.rays[rows] if len(self.rays) > 1 else self.rays)
        a = quantities.jet(machine, block.X, rays, 1, n_threads)
        slopes = self.slopes[rows].swapaxes(0, 1)
        difference = np.where(np.isnan(slopes), 0, a[1:] - slopes)
        G = np.zeros_like(a)
        factor = self.weight * (block.s[:, None] if len(block.s) else 1.0)
        G[1:] = factor / total * difference
        cost = 0.5 * np.sum(factor * np.square(difference, dtype=np.float64))
        return float(cost), quantities.gradient(machine, block.X, rays, G, n_threads)[0]
