"""Samples of a call, and their weights."""

from typing import Any

import numpy as np

from fastbackprop import inputs
from fastbackprop.inputs.on_disk import at_hand
from fastbackprop.machine import Machine
from fastbackprop.samples import Samples
from fastbackprop.training.plan import samples_of


def dense_samples(machine: Machine, X: Any, y: Any, sample_weight: Any = None) -> Samples:
    """Checked samples, refused where X is sparse."""
    inputs.refuse_sparse(X, "only predictions, costs, gradients and training take that")
    return samples_of(machine, X, y, sample_weight)


def all_at_hand(samples: Samples) -> Samples:
    """The samples in memory."""
    n = len(samples.X)
    return next(at_hand(samples, iter([(0, n)])))[0]


def total_weight(samples: Samples) -> float:
    """sum_i s_i."""
    return float(samples.s.sum()) if len(samples.s) else float(len(samples.X))


def one_sample(network: Any, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """X, (1, n_0), and y as `trace` takes it, of x, (n_0,), and a label or targets."""
    X, targets = np.atleast_2d(np.asarray(x)), np.asarray(y)
    if targets.ndim == 0:
        targets = targets.reshape(1)
    elif targets.ndim == 1 and not (len(targets) == 1 and targets.dtype.kind in "iub"):
        targets = targets.reshape(1, -1)
    if len(X) != 1:
        raise ValueError(f"x must be one sample, ({network.sizes[0]},); got shape {np.shape(x)}")
    return X, targets
