"""What calls of an engine are about: a network at work, and the minibatches of a training."""

from typing import Any, NamedTuple

import numpy as np

from fastbackprop.samples import Samples


class Bound(NamedTuple):
    """A network as the calls of an engine take it."""

    model: Any  # of the engine's `model` or `perturbed`
    theta: np.ndarray  # parameters, with the engine's padding
    work: Any  # scratch memory of the engine's `workspace`


class Gradients(NamedTuple):
    """Where gradients of a cost go: those by the parameters are added, those by the inputs set."""

    by_theta: np.ndarray  # (length of the engine's layout,), or (0,) where it is not asked for
    by_X: np.ndarray  # (n_samples, n_0), or (0, n_0) likewise


def by_parameters(gradient: np.ndarray) -> Gradients:
    """The gradient by the parameters alone."""
    return Gradients(gradient, np.empty((0, 0), gradient.dtype))


class Minibatches(NamedTuple):
    """Samples in the order of an epoch, `batch_size` to a step; the last step takes the rest."""

    samples: Samples
    order: np.ndarray  # (n_samples,) int64
    batch_size: int
    seed: int  # of the dropout and noise of this epoch
