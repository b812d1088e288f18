"""Networks on the lanes of vectors: V networks of one kind take their steps together.

V is the number of lanes of a vector. Every parameter, state, activation and error is a vector, with
one number of each network. So no width of a layer wastes a lane and nothing is padded: small
networks are several times faster than one after the other. Each network has its own samples,
coefficients and number of steps, and exactly the results that `tiles` gives it alone.

This is no engine of `fastbackprop.engines`: it trains copies of parameters that belong to networks
of the engine "tiles", with the functions of their model.

    product.py  the sums (0), (2) and (3)
    memory.py   parameters and states in lanes, scratch
    step.py     a minibatch through the layers and back, epochs of them, predictions
    rules.py    the rules of optimizers
"""

import numpy as np

from fastbackprop.engines.lanes.memory import (
    COST,
    N_FIGURES,
    SQUARES,
    WEIGHT,
    Epochs,
    Lanes,
    make,
    pack,
    unpack,
)
from fastbackprop.engines.lanes.rules import compiled_rule
from fastbackprop.engines.lanes.step import predict, train
from fastbackprop.jit.tile import VECTOR_BYTES

MOST_ROWS = 4096  # of a minibatch: one is a native call, which Ctrl-C has to wait for

__all__ = [
    "COST",
    "MOST_ROWS",
    "N_FIGURES",
    "SQUARES",
    "WEIGHT",
    "Epochs",
    "Lanes",
    "compiled_rule",
    "make",
    "pack",
    "predict",
    "train",
    "unpack",
    "width",
]


def width(dtype: np.dtype) -> int:
    """V: how many networks share vectors."""
    return int(VECTOR_BYTES // dtype.itemsize)
