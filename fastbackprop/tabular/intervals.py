"""Intervals and quantiles from held-out residuals: CV+, with residuals in units of their spread.

Barber, Candes, Ramdas, Tibshirani (2021), "Predictive inference with the jackknife+": of n
exchangeable rows, an interval of coverage c contains a new target with a probability of at least
2c - 1 - sqrt(2 / n), whatever the distribution, and in practice of about c. Lei et al. (2018)
describe residuals in units of a spread that depends on the row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastbackprop.many import fit_many
from fastbackprop.network import Network
from fastbackprop.optimizers import Adam
from fastbackprop.optimizers.schedules import Cosine
from fastbackprop.training import EarlyStopping

EPOCHS, HIDDEN, RATE = 32, 16, 0.01
LEAST = 0.05  # of the typical residual, in a spread
BISECTIONS = 60


@dataclass
class Residuals:
    """The residuals of the rows that each fold held out, and networks for their spread.

    Attributes
    ----------
    scores : list of ndarray, (n_targets, n_k)
        (target - prediction) / spread of each fold, sorted.
    spreads : list of Network, or None
        The logarithm of the spread, in units of `typical`, by the networks that did not see the
        fold; without them the spread is the same everywhere.
    typical : ndarray, (n_targets,)
        The mean absolute residual.
    """

    scores: list[np.ndarray]
    spreads: list[Network] | None
    typical: np.ndarray

    @property
    def n(self) -> int:
        """The number of rows."""
        return sum(of_fold.shape[1] for of_fold in self.scores)

    def spread(self, F: np.ndarray, k: int) -> np.ndarray:
        """The spread at these rows by the networks of fold k, (n, n_targets)."""
        if self.spreads is None:
            return np.broadcast_to(self.typical, (len(F), len(self.typical)))
        return np.asarray(self.typical * np.exp(self.spreads[k].predict(F).astype(np.float64)))

    def quantiles(self, F: np.ndarray, of_folds: np.ndarray, ranks: Sequence[int]) -> np.ndarray:
        """The r-th smallest of prediction + spread * score over all held-out rows, for each r.

        of_folds : ndarray, (n_folds, m, n_targets)
            The predictions of the networks of each fold.

        Returns (len(ranks), m, n_targets); -inf below the first rank, inf above the last.
        """
        widths = np.stack([self.spread(F, k) for k in range(len(of_folds))])
        out = np.empty((len(ranks), *of_folds.shape[1:]))
        for i, rank in enumerate(ranks):
            for j in range(out.shape[2]):
                scores = [of_fold[j] for of_fold in self.scores]
                out[i, :, j] = _ranked(of_folds[:, :, j], widths[:, :, j], scores, rank)
        return out


def _ranked(mean: np.ndarray, width: np.ndarray, scores: list[np.ndarray], rank: int) -> np.ndarray:
    """The rank-th smallest of mean_k + width_k * score, (m,), by bisection."""
    n = sum(map(len, scores))
    if not 1 <= rank <= n:
        return np.full(mean.shape[1], -np.inf if rank < 1 else np.inf)
    ends = [(m + w * s[0], m + w * s[-1]) for m, w, s in zip(mean, width, scores, strict=True)]
    low = np.min([first for first, _ in ends], axis=0)
    high = np.max([last for _, last in ends], axis=0)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        below = sum(
            np.searchsorted(s, (middle - m) / w, side="right")
            for m, w, s in zip(mean, width, scores, strict=True)
        )
        enough = below >= rank
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return high


def residuals_of(
    F: np.ndarray, errors: np.ndarray, folds: np.ndarray, seed: Sequence[int], n_threads: int | None
) -> Residuals:
    """From the errors of held-out predictions, (n, n_targets); a seed of None trains nothing."""
    typical = np.maximum(np.abs(errors).mean(axis=0), 1e-12)
    n_folds = int(folds.max()) + 1
    result = Residuals([], None, typical)
    if seed:
        logs = np.log(np.abs(errors) / typical + LEAST).astype(np.float32)
        result.spreads = _trained(F, logs, folds, seed, n_threads)
    for k in range(n_folds):
        rows = folds == k
        result.scores.append(np.sort((errors[rows] / result.spread(F[rows], k)).T, axis=1))
    return result


def _trained(
    F: np.ndarray, logs: np.ndarray, folds: np.ndarray, seed: Sequence[int], n_threads: int | None
) -> list[Network]:
    """A small network for each fold, trained on the residuals of the others."""
    ks = range(int(folds.max()) + 1)
    sizes = [F.shape[1], HIDDEN, logs.shape[1]]
    networks = [Network(sizes, hidden="tanh", rng=np.random.default_rng([*seed, k])) for k in ks]
    for network in networks:
        network.weights[-1][...], network.biases[-1][...] = 0, logs.mean(axis=0)
    fit_many(
        networks,
        F,
        logs,
        rows=[np.flatnonzero(folds != k) for k in ks],
        validation=[(F[folds == k], logs[folds == k]) for k in ks],
        epochs=EPOCHS,
        batch_size=min(128, len(F)),
        optimizers=[Adam(Cosine(RATE, epochs=EPOCHS)) for _ in ks],
        early_stopping=[EarlyStopping(patience=EPOCHS) for _ in ks],
        n_threads=n_threads,
    )
    return networks
