"""Permutation importances on held-out predictions. Breiman (2001), "Random forests"."""

import numpy as np

from fastbackprop.tabular.blend import Blend, row_losses
from fastbackprop.tabular.groups import Members, Problem
from fastbackprop.tabular.preprocessor import Preprocessor

MOST_ROWS = 2000
REPEATS = 3


def sample(problem: Problem) -> Problem:
    """Some rows of each fold, MOST_ROWS in all: a copy."""
    n = len(problem.F)
    rows = np.arange(n)
    if n > MOST_ROWS:
        rows = np.sort(np.random.default_rng(0).choice(n, MOST_ROWS, replace=False))
    s = None if problem.s is None else problem.s[rows]
    return Problem(
        problem.F[rows].copy(), problem.targets[rows], s, problem.folds[rows], problem.n_outputs
    )


def importances(
    problem: Problem, members: Members, blend: Blend, preprocessor: Preprocessor
) -> np.ndarray:
    """By how much the loss grows when a column's features are permuted within folds.

    Returns
    -------
    ndarray, (n_columns,) float64
        In the order of the training's columns; 0 of those that are not used, and not below 0.
    """

    def loss() -> float:
        P = blend(members.held_out(problem, None))
        return float(np.average(row_losses(P, problem.targets), weights=problem.s))

    plan, rng = preprocessor.plan, np.random.default_rng(0)
    before, names = loss(), list(preprocessor.kinds)
    result = np.zeros(len(names))
    for place, name in enumerate(plan.kinds):
        own = np.flatnonzero(plan.owners == place)
        kept = problem.F[:, own].copy()
        growth = 0.0
        for _ in range(REPEATS):
            for k in np.unique(problem.folds):
                rows = np.flatnonzero(problem.folds == k)
                problem.F[np.ix_(rows, own)] = problem.F[np.ix_(rng.permutation(rows), own)]
            growth += (loss() - before) / REPEATS
        problem.F[:, own] = kept
        result[names.index(name)] = max(0.0, growth)
    return result
