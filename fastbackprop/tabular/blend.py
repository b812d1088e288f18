"""The shares of the groups in the prediction, and the temperature, from held-out predictions."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

SHARES = 10  # steps from 0 to 1
LEAST = 1e-12  # probability in a logarithm


@dataclass
class Blend:
    """How the predictions of groups become one.

    Attributes
    ----------
    shares : ndarray, (n_groups,)
        Their sum is 1.
    power : float
        Of probabilities, before they are normalised: 1 / temperature. Guo et al. (2017).
    loss : float
        Mean squared error or cross-entropy of the held-out predictions.
    """

    shares: np.ndarray
    power: float
    loss: float

    def __call__(self, groups: np.ndarray) -> np.ndarray:
        """The prediction, (n, n_outputs), of those of the groups, (n_groups, n, n_outputs)."""
        return self.calibrated(np.tensordot(self.shares, groups, 1))

    def calibrated(self, mean: np.ndarray) -> np.ndarray:
        """Of the mean of the groups."""
        return mean if self.power == 1 else sharpened(mean, self.power)


def sharpened(P: np.ndarray, power: float) -> np.ndarray:
    """P^power, normalised."""
    Q = np.clip(P, LEAST, 1) ** power
    return np.asarray(Q / Q.sum(axis=-1, keepdims=True))


def row_losses(P: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Of each row, (n,): the cross-entropy of labels, or the mean squared error of numbers."""
    if targets.dtype.kind == "f":
        return np.asarray(((P - targets) ** 2).mean(axis=1))
    return np.asarray(-np.log(np.clip(P[np.arange(len(P)), targets], LEAST, 1)))


def best_blend(held_out: np.ndarray, targets: np.ndarray, s: np.ndarray | None) -> Blend:
    """The blend of the groups' held-out predictions, (n_groups, n, n_outputs), of least loss."""

    def loss_of(P: np.ndarray) -> float:
        return float(np.average(row_losses(P, targets), weights=s))

    best: Blend | None = None
    for shares in _all_shares(len(held_out)):
        mean, power = np.tensordot(shares, held_out, 1), 1.0
        if targets.dtype.kind != "f":
            power = _best_power(mean, loss_of)
        loss = loss_of(mean if power == 1 else sharpened(mean, power))
        if best is None or loss < best.loss:
            best = Blend(shares, power, loss)
    assert best is not None
    return best


def _best_power(mean: np.ndarray, loss_of: Any) -> float:
    found = minimize_scalar(
        lambda log_power: loss_of(sharpened(mean, np.exp(log_power))),
        bounds=(np.log(0.25), np.log(4)),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return float(np.exp(found.x))


def _all_shares(n_groups: int) -> list[np.ndarray]:
    steps = product(range(SHARES + 1), repeat=n_groups)
    return [np.array(step) / SHARES for step in steps if sum(step) == SHARES]
