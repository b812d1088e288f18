"""Networks on the lanes of vectors: V networks of one kind take their steps together.

V is the number of lanes of a vector. Every parameter, state, activation and error is a vector, with
one number of each network. So no width of a layer wastes a lane and nothing is padded: small
networks are several times faster than one after the other. Each network has its own samples,
coefficients and number of steps, and exactly the results that `tiles` gives it alone.

This is no engine of `fastbackprop.engines`: it trains copies of parameters that belong to networks
of the engine "tiles", with the functions of their model.

    product.py  the sums (0), (2) and (3)
    step.py     a minibatch through the layers and back, predictions, memory
    rules.py    the rules of optimizers
"""

import numpy as np

from fastbackprop.engines.lanes.product import STRIP
from fastbackprop.engines.lanes.rules import compiled_rule
from fastbackprop.engines.lanes.step import ALIVE, COST, WEIGHT, Lanes, Steps, make, predict, train
from fastbackprop.engines.tiles.task import ROWS
from fastbackprop.jit.tile import VECTOR_BYTES

MOST_ROWS = ROWS  # of a minibatch: `tiles` has a sum for each row tile of a longer one

# How many times faster V networks of so many parameters are on lanes than one after the other,
# float32, AVX-512. Parameters and states of V larger networks leave the second cache.
PARAMETERS = (100, 230, 580, 1060, 1670, 3270, 5400, 11000)
TIMES_FASTER = (6.2, 4.0, 2.3, 1.9, 1.5, 1.27, 1.11, 0.95)

__all__ = [
    "ALIVE",
    "COST",
    "MOST_ROWS",
    "STRIP",
    "WEIGHT",
    "Lanes",
    "Steps",
    "compiled_rule",
    "fewest",
    "make",
    "predict",
    "train",
    "width",
]


def width(dtype: np.dtype) -> int:
    """V: how many networks share vectors."""
    return int(VECTOR_BYTES // dtype.itemsize)


def fewest(n_parameters: int, dtype: np.dtype) -> float:
    """So many networks, of V, are as fast here as one after the other."""
    faster = np.interp(np.log(n_parameters), np.log(PARAMETERS), TIMES_FASTER)
    return float(width(dtype) / faster)
