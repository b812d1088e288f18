"""What calls of an engine are about: a network at work, and the minibatches of a training."""

from typing import Any, NamedTuple

import numpy as np

from fastbackprop.samples import Samples


class Bound(NamedTuple):
    """A network as the calls of an engine take it."""

    model: Any  # of the engine's `model` or `perturbed`
    theta: np.ndarray  # parameters, with the engine's padding
    work: Any  # scratch memory of the engine's `workspace`


class Minibatches(NamedTuple):
    """Samples in the order of an epoch, `batch_size` to a step; the last step takes the rest."""

    samples: Samples
    order: np.ndarray  # (n_samples,) int64
    batch_size: int
    seed: int  # of the dropout and noise of this epoch
