"""Folds: which rows are held out together."""

from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from fastbackprop.numbers import shown


def folds_of(
    n: int, labels: np.ndarray | None, groups: Any, n_folds: int, rng: np.random.Generator
) -> np.ndarray:
    """The fold of each row, (n,): 0 ... n_folds - 1, fewer where there are fewer rows or groups.

    With labels each fold has its part of every class, also of classes with fewer members than
    folds. With groups all rows of a group are in one fold.

    Raises
    ------
    ValueError
        For fewer than two rows or groups, or groups of another length.
    """
    if groups is not None:
        return _by_group(n, labels, groups, n_folds, rng)
    if n < 2:
        raise ValueError(
            f"Found n_samples = {n} sample: two are needed at least, because each is predicted by "
            f"networks that were trained on others"
        )
    order = rng.permutation(n)
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    folds = np.empty(n, np.int64)
    folds[order] = np.arange(n) % min(n_folds, n)
    return folds


def _by_group(
    n: int, labels: np.ndarray | None, groups: Any, n_folds: int, rng: np.random.Generator
) -> np.ndarray:
    groups = np.asarray(groups)
    if groups.shape != (n,):
        raise ValueError(f"groups must have shape (n_samples,) = ({n},); got {groups.shape}")
    different, number = np.unique(groups.astype(str), return_inverse=True)
    n_folds = min(n_folds, len(different))
    if n_folds < 2:
        raise ValueError(f"groups must hold two groups at least; all rows have {shown(groups[0])}")
    options = {"n_splits": n_folds, "shuffle": True, "random_state": int(rng.integers(2**31))}
    splits = GroupKFold(**options) if labels is None else StratifiedGroupKFold(**options)
    folds = np.empty(n, np.int64)
    for k, (_, held) in enumerate(splits.split(np.zeros(n), labels, number)):
        folds[held] = k
    return np.unique(folds, return_inverse=True)[1]  # a fold may have no rows
