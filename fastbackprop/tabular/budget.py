"""How much can be trained in a number of seconds."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastbackprop.tabular.groups import Problem, train
from fastbackprop.tabular.recipe import Group
from fastbackprop.training import TimeBudget

PART = 0.7  # of the time, for the training
FEWEST_EPOCHS = 4
MOST_REPEATS = 4
ROWS = 256  # of each fold, for the timing


def within(
    seconds: float, problem: Problem, groups: Sequence[Group], seeds: Any, options: dict[str, Any]
) -> tuple[list[Group], int, dict[str, Any]]:
    """The groups with as many epochs, and the repetitions, that fit into the seconds.

    Where there is time for more than the recipe, further networks are trained on each fold. One
    epoch of all networks is timed first, on some rows. The options get a clock that ends the
    training in any case.
    """
    end = time.monotonic() + seconds
    short = [replace(group, epochs=1) for group in groups]
    quiet = options | {"progress": None}
    some = _some_rows(problem)
    part = len(some.F) / len(problem.F)
    _, interrupted = train(some, short, seeds, **quiet)  # compiles
    needed = 0.0
    for group, one in zip(groups, short, strict=True):
        began = time.monotonic()
        if interrupted is None:
            _, interrupted = train(some, [one], seeds, **quiet)
        needed += group.epochs * (time.monotonic() - began) / part
    if interrupted is not None:
        raise interrupted
    left = max(PART * (end - time.monotonic()), 1e-3)
    times = left / needed
    if times < 1:
        groups = [replace(g, epochs=max(FEWEST_EPOCHS, int(g.epochs * times))) for g in groups]
    repeats = max(1, min(MOST_REPEATS, int(times)))
    return list(groups), repeats, options | {"callbacks": [TimeBudget(left)]}


def _some_rows(problem: Problem) -> Problem:
    """ROWS rows of each fold."""
    folds = range(int(problem.folds.max()) + 1)
    some = np.concatenate([np.flatnonzero(problem.folds == k)[:ROWS] for k in folds])
    F, targets, *s = problem.rows(some)
    return Problem(F, targets, s[0] if s else None, problem.folds[some], problem.n_outputs)
