"""Arguments of `fit`: dropout, noise, the validation split; and which of them go together."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbackprop.numbers import is_number, number, shown

MOST_DROPOUT = 1 - 2.0**-32  # masks compare numbers of 32 bits with the rate


def dropout_rates(hidden: Any, of_input: Any, n_layers: int) -> tuple[float, ...]:
    """Rates of a^0 ... a^{L-1}. Raises TypeError or ValueError."""
    n_hidden = n_layers - 1
    each = hidden if isinstance(hidden, Sequence | np.ndarray) else [hidden] * n_hidden
    if len(each) != n_hidden:
        raise ValueError(
            f"dropout must be one rate, or one for each hidden layer: {n_hidden}; got {len(each)}"
        )
    if not n_hidden and hidden:
        raise ValueError("this network has no hidden layer: leave dropout out")
    return _rate(of_input, "inputs of Dropout"), *(_rate(value, "dropout") for value in each)


def _rate(value: Any, what: str) -> float:
    rate = number(value, what, 0, 1, must="be")
    if rate > MOST_DROPOUT:
        raise ValueError(f"{what} must be in [0, 1), and at most 1 - 2**-32; got {value!r}")
    return rate


def deviation(value: Any, what: str) -> float:
    """A finite standard deviation, zero or more. Raises TypeError or ValueError."""
    if not is_number(value):
        raise TypeError(f"{what} must be a standard deviation; got {shown(value)}")
    return number(value, what, 0, must="be a finite standard deviation")


def split(fraction: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the training and of the validation samples, the same in every call."""
    if isinstance(fraction, bool) or not isinstance(fraction, float | np.floating):
        raise TypeError(
            f"validation must be (X, y), (X, y, sample_weight) or a fraction; got {shown(fraction)}"
        )
    if not 0 < fraction < 1:
        raise ValueError(f"validation as a fraction must lie between 0 and 1; got {fraction}")
    n_held_out = max(1, round(n * fraction))
    if n_held_out == n:
        raise ValueError(f"validation={fraction} of {n} samples leaves none for training")
    order = np.random.default_rng(n).permutation(n)
    return np.sort(order[n_held_out:]), np.sort(order[:n_held_out])


def row_numbers(rows: Any, n: int, s: np.ndarray) -> np.ndarray:
    """Numbers of rows of X, which has n, (n_rows,) int64; s are the sample weights of X.

    Raises TypeError or ValueError.
    """
    given = np.asarray(rows)
    if given.dtype == bool and given.shape == (n,):
        given = np.flatnonzero(given)
    if given.ndim != 1 or not (given.dtype.kind in "iu" or not given.size):
        raise TypeError(
            f"rows must be integers, (n_rows,), or {n} booleans; "
            f"got shape {given.shape}, dtype {given.dtype}"
        )
    if not given.size:
        raise ValueError("rows must hold the number of at least one row of X; it is empty")
    if given.min() < 0 or given.max() >= n:
        wrong = given[(given < 0) | (given >= n)][0]
        raise ValueError(f"rows must lie in 0 ... {n - 1}, as X has {n} rows; got {wrong}")
    numbers = given.astype(np.int64)
    if len(s) and s[numbers].sum() == 0:
        raise ValueError("sample_weight is zero for every one of the rows")
    return numbers


def refuse_for_batches(**arguments: Any) -> None:
    """Raise ValueError for an argument of `fit` that needs all samples before the first step."""
    for name, value in arguments.items():
        if value is not None and value is not False:
            if name == "schedule":
                raise ValueError(
                    f"{value!r} counts epochs, and the number of steps in one is not known of "
                    f"batches without a length (__len__), or cut by batch_size=. Yield each "
                    f"minibatch by itself, or pass a function of the step as learning_rate"
                )
            raise ValueError(
                f"{name} is not for batches that come one by one: their number and content are "
                f"not known in advance. Pass arrays, or leave {name} out"
            )


def refuse_for_lbfgs(**arguments: Any) -> None:
    """Raise ValueError for an argument of `fit` that LBFGS cannot use."""
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(
                f"LBFGS has no use for {name}: each iteration uses all samples and chooses its "
                f"own step size. Leave {name} out"
            )
