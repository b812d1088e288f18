"""Which networks of a kind are faster on lanes than one after the other.

Measured: whole calls of `fit_many` on full vectors, with lanes and without, Adam, in CPU time. The
gain falls with the batch: the table has that of 128 samples (with 32 samples it is 1.2 to 1.7 times
as much). Between the sizes the logarithm decides. Parameters and states of V larger networks leave
the second cache, and the engine "tiles" fills whole vectors with their layers.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

# Number of parameters: how many times faster V networks are, by the bytes of a vector and of an
# element. Of 64 bytes float32 was measured, of 16 bytes nothing: these are the rows of the others.
AVX512 = {100: 6.2, 230: 4.0, 580: 2.3, 1060: 1.9, 1670: 1.5, 3270: 1.27, 5400: 1.05, 9000: 0.9}
AVX2 = {30: 2.5, 130: 1.8, 460: 1.45, 1200: 1.25, 1600: 1.13, 2400: 1.1, 3400: 0.98, 4800: 0.9}
AVX2_64 = {30: 2.1, 130: 1.65, 460: 1.28, 1200: 1.13, 1600: 1.07, 2400: 1.0, 3400: 0.94, 4800: 0.9}
FASTER: dict[tuple[int, int], dict[int, float]] = {
    (64, 4): AVX512,
    (64, 8): AVX512,
    (32, 4): AVX2,
    (32, 8): AVX2_64,
    (16, 4): AVX2,
    (16, 8): AVX2_64,
}
MARGIN = 1.03  # a gain below it may be a loss elsewhere


def together(n: int, sizes: Sequence[int], width: int, dtype: np.dtype) -> int:
    """How many of n networks of these sizes to take on lanes; the others one after the other.

    `width` networks of this dtype fill a vector.
    """
    n_parameters = sum(n_in * n_l + n_l for n_in, n_l in pairwise(sizes))
    table = FASTER.get((width * dtype.itemsize, dtype.itemsize), AVX2_64)
    # The time of a group does not depend on how many of its lanes are filled.
    faster = np.interp(np.log(n_parameters), np.log(list(table)), list(table.values()))
    if faster < MARGIN:
        return 0
    rest = n % width
    return n if rest == 0 or rest * faster >= MARGIN * width else n - rest
