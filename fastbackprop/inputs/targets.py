"""y: targets of the values that a cost takes, or integer labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbackprop.inputs.arrays import as_array, is_frame, numeric
from fastbackprop.inputs.on_disk import OnDisk, stays_on_disk
from fastbackprop.layout import read_only
from fastbackprop.samples import NO_LABELS

if TYPE_CHECKING:
    from fastbackprop.functions.costs import Cost

Numbers = Sequence[int] | np.ndarray | None  # of rows, as `numeric` takes them


def targets(y: Any, n: int, n_out: int, dtype: np.dtype, cost: Cost) -> tuple[Any, np.ndarray]:
    """Y (n, n_out), in memory or `OnDisk`, and no labels; or labels (n,) and an empty Y."""
    n_targets = cost.n_targets(n_out)
    if cost.missing and stays_on_disk(y):
        raise TypeError("with missing_targets=True y must be in memory: pass np.array(y)")
    if stays_on_disk(y) and tuple(y.shape) == (n, n_targets):
        numeric(y[:0], dtype, "y")
        return OnDisk(y, "y", partial(_values, dtype=dtype, cost=cost), n_out), NO_LABELS
    array = as_array(y, "y")
    if cost.targets == "distribution" and array.ndim == 1:
        return read_only(np.zeros((0, n_out), dtype)), _labels(array, n, n_out)
    if n_targets == 1 and array.ndim == 1:
        array = array.reshape(-1, 1)
    if array.shape != (n, n_targets):
        also = " or integer labels of shape (n_samples,)" if cost.targets == "distribution" else ""
        also = " or (n_samples,)" if n_targets == 1 else also
        if cost.targets == "distribution" and array.shape == (n, 1):
            also += ", not a column of them"
        raise ValueError(
            f"y must have shape (n_samples, {n_targets}) = ({n}, {n_targets}){also}; "
            f"got {np.shape(y)}"
        )
    return _values(y if is_frame(y) else array, None, dtype, cost), NO_LABELS


def output_gradient(values: Any, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """dC/da^L of each sample, (n, n_L)."""
    G = numeric(values, dtype, "output_gradient")
    if G.shape == shape[:1] and shape[1] == 1:
        G = read_only(G.reshape(shape))
    if G.shape != shape:
        raise ValueError(
            f"output_gradient must have the shape of the outputs, (n_samples, n_L) = {shape}; "
            f"got {G.shape}"
        )
    return G


def _labels(array: np.ndarray, n: int, n_out: int) -> np.ndarray:
    """A copy: kernels use labels as indices, and others may write into the array passed."""
    if array.dtype.kind not in "iub":
        raise TypeError(
            f"y of shape (n_samples,) must hold integer labels; got dtype {array.dtype}. "
            f"Pass labels as integers, or probabilities of shape (n_samples, {n_out})"
        )
    if array.shape != (n,):
        raise ValueError(f"y must have one label for each of the {n} rows of X; got {len(array)}")
    labels = np.array(array, np.int64)  # unsigned ones that are too large become negative
    if labels.min() < 0 or labels.max() >= n_out:
        low, high = array.min(), array.max()
        raise ValueError(f"labels in y must lie in 0 ... {n_out - 1}; they span {low} ... {high}")
    return read_only(labels)


def _values(y: Any, numbers: Numbers, dtype: np.dtype, cost: Cost) -> np.ndarray:
    """Y (n, n_L); a cost with several outputs per target has as many copies of each target."""
    Y = numeric(y, dtype, "y", numbers, cost.missing)
    known = Y[~np.isnan(Y)] if cost.missing else Y
    if len(known):
        _REFUSALS[cost.targets](known, cost, numbers)
    groups = cost.outputs_per_target
    return Y if groups == 1 else read_only(np.tile(Y, (1, groups)))


def _refuse_no_probability(Y: np.ndarray, cost: Cost, numbers: Numbers) -> None:
    low, high = Y.min(), Y.max()
    if low < 0 or high > 1:
        raise ValueError(
            f"with cost={cost.name!r} the values of y are probabilities, in [0, 1]; "
            f"they span {low} ... {high}"
        )
    if cost.targets == "distribution":
        sums = Y.sum(axis=1)
        i = int(np.argmax(abs(sums - 1)))
        if abs(sums[i] - 1) > 1e-3:
            raise ValueError(
                f"with output={cost.output!r} and cost={cost.name!r} each row of y must sum to "
                f"one; row {i if numbers is None else numbers[i]} sums to {sums[i]}. "
                f"For several labels at once use output='sigmoid'"
            )


def _refuse_no_sign(Y: np.ndarray, cost: Cost, numbers: Numbers) -> None:
    wrong = abs(Y) != 1
    if wrong.any():
        value = Y[wrong][0]
        hint = ": of 0 and 1 make 2 * y - 1" if value == 0 else ""
        raise ValueError(
            f"with cost={cost.name!r} the values of y are -1 or 1; one of them is {value}{hint}"
        )


def _refuse_below(Y: np.ndarray, cost: Cost, numbers: Numbers) -> None:
    low, kind = Y.min(), cost.targets
    if low < 0 or (kind == "positive" and low == 0):
        raise ValueError(
            f"with cost={cost.name!r} the values of y must be {kind}; the smallest is {low}"
        )


_REFUSALS: dict[str, Callable[[np.ndarray, Cost, Numbers], None]] = {
    "real": lambda Y, cost, numbers: None,
    "unit": _refuse_no_probability,
    "distribution": _refuse_no_probability,
    "sign": _refuse_no_sign,
    "non-negative": _refuse_below,
    "positive": _refuse_below,
}
