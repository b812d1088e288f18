"""The boundary: every check and conversion of what a user passes, and its error message.

Arrays leave here C-contiguous, of the right dtype, finite and read-only; engines trust that. An
error says what was passed, what is expected and, where it is known, what to do.

    arguments.py     single arguments: names, counts, dtypes, paths
    architecture.py  sizes, activations, cost; the only file here that loads the compiler
    arrays.py        arrays of real numbers, from lists, frames and the like
    data.py          X, dense or sparse, and sample weights; targets.py has y
    on_disk.py       matrices whose rows stay in their file
    batches.py       iterables of batches
    few.py           few samples, of which the engine checks the values
    fit.py           dropout, noise, the validation split, rows
    many.py          one value for all networks, or one for each
    outputs.py       arrays of the caller to fill
"""

from fastbackprop.inputs.arguments import (
    batch_size,
    choice,
    file_of,
    file_path,
    float_dtype,
    generator,
    positive_integer,
    seconds,
    thread_count,
)
from fastbackprop.inputs.arrays import numeric, parameters
from fastbackprop.inputs.batches import (
    Batches,
    are_batches,
    are_streamed,
    inputs_of,
    naming,
    together,
)
from fastbackprop.inputs.data import (
    inputs_alone,
    is_sparse,
    matrix,
    refuse_sparse,
    refuse_zero_weights,
    samples,
    take,
    weighted,
)
from fastbackprop.inputs.few import FewSamples
from fastbackprop.inputs.fit import (
    deviation,
    dropout_rates,
    refuse_for_batches,
    refuse_for_lbfgs,
    row_numbers,
    split,
)
from fastbackprop.inputs.outputs import (
    apart_from,
    check_apart,
    check_output,
    outputs,
    shares_memory,
)
from fastbackprop.inputs.targets import output_gradient
from fastbackprop.numbers import flag

__all__ = [
    "Batches",
    "FewSamples",
    "apart_from",
    "are_batches",
    "are_streamed",
    "batch_size",
    "check_apart",
    "check_output",
    "choice",
    "deviation",
    "dropout_rates",
    "file_of",
    "file_path",
    "flag",
    "float_dtype",
    "generator",
    "inputs_alone",
    "inputs_of",
    "is_sparse",
    "matrix",
    "naming",
    "numeric",
    "output_gradient",
    "outputs",
    "parameters",
    "positive_integer",
    "refuse_for_batches",
    "refuse_for_lbfgs",
    "refuse_sparse",
    "refuse_zero_weights",
    "row_numbers",
    "samples",
    "seconds",
    "shares_memory",
    "split",
    "take",
    "thread_count",
    "together",
    "weighted",
]
