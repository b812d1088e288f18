"""Which networks of a kind are faster on lanes than one after the other.

Measured: whole calls of `fit_many` on full vectors, beside `fit` of each network, Adam, batches of
16 to 128, in CPU time. Between the sizes the logarithm decides. Parameters and states of V larger
networks leave the second cache, and the engine "tiles" fills whole vectors with their layers.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

# Number of parameters: how many times faster V networks are, by the bytes of a vector.
FASTER: dict[int, dict[int, float]] = {
    64: {100: 6.2, 230: 4.0, 580: 2.3, 1060: 1.9, 1670: 1.5, 3270: 1.27, 5400: 1.05, 9000: 0.9},
    32: {35: 2.5, 130: 1.8, 460: 1.4, 900: 1.3, 1600: 1.15, 2400: 1.02, 3200: 0.93, 5000: 0.7},
    16: {35: 2.5, 130: 1.8, 460: 1.4, 900: 1.3, 1600: 1.15, 2400: 1.02, 3200: 0.93, 5000: 0.7},
}
MARGIN = 1.03  # a gain below it may be a loss elsewhere


def together(n: int, sizes: Sequence[int], width: int, dtype: np.dtype) -> int:
    """How many of n networks of these sizes to take on lanes; the others one after the other.

    `width` networks of this dtype fill a vector.
    """
    n_parameters = sum(n_in * n_l + n_l for n_in, n_l in pairwise(sizes))
    table = FASTER.get(width * dtype.itemsize, FASTER[16])
    # The time of a group does not depend on how many of its lanes are filled.
    faster = np.interp(np.log(n_parameters), np.log(list(table)), list(table.values()))
    if faster < MARGIN:
        return 0
    rest = n % width
    return n if rest == 0 or rest * faster >= MARGIN * width else n - rest
