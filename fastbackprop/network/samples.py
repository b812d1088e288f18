"""Samples of a call, and their weights."""

from typing import Any

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
