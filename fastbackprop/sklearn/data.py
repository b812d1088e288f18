"""X, y and sample weights of estimators, checked by scikit-learn; the split of early stopping."""

from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import is_classifier
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array, column_or_1d, compute_sample_weight
from sklearn.utils.validation import validate_data

SPARSE = "csr"  # for `accept_sparse` of scikit-learn's checks
DTYPES = (np.float64, np.float32)


class Data(NamedTuple):
    """Checked samples."""

    X: Any
    Y: Any  # the targets of `Network.fit`
    y: Any  # as the user passed it
    s: np.ndarray | None  # weights, (n_samples,); None: one each


def inputs_and_targets(estimator: Any, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
    """X in float32 or float64, and y, which holds NaN where a target is missing and may be."""
    holes = None
    if estimator.missing_targets:
        y = np.asarray(y, np.float64)
        holes = np.isnan(y)
        y = np.where(holes, 0.0, y)
    X, y = validate_data(
        estimator,
        X,
        y,
        reset=reset,
        accept_sparse=SPARSE,
        multi_output=True,
        y_numeric=not is_classifier(estimator),
        dtype=DTYPES,
    )
    if holes is not None and holes.any():
        y = np.where(holes, np.nan, y)
    return X, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y


def inputs_alone(estimator: Any, X: Any) -> Any:
    """X in float32 or float64."""
    return validate_data(estimator, X, reset=False, accept_sparse=SPARSE, dtype=DTYPES)


def weights(estimator: Any, sample_weight: Any, y: Any) -> np.ndarray | None:
    """Weights of the samples times those of their classes, (n_samples,); None: one each."""
    s = None
    if sample_weight is not None:
        if isinstance(sample_weight, Real):  # one for all
            sample_weight = np.full(y.shape[0], sample_weight)
        options = {"ensure_2d": False, "dtype": np.float64, "input_name": "sample_weight"}
        s = check_array(sample_weight, **options)
        if s.min() < 0:
            raise ValueError(f"sample_weight must not be negative; its smallest is {s.min()}")
        if s.shape != (y.shape[0],):
            raise ValueError(
                f"sample_weight must have shape (n_samples,) = ({y.shape[0]},); got {s.shape}"
            )
    class_weight = getattr(estimator, "class_weight", None)
    if class_weight is not None:
        of_classes = compute_sample_weight(class_weight, y)
        s = of_classes if s is None else s * of_classes
    return s


def split(data: Data, fraction: float, random_state: Any, by_class: bool) -> tuple[Data, Data]:
    """Training and validation samples, as scikit-learn draws them."""
    arrays = [array for array in data if array is not None]
    parts = train_test_split(
        *arrays,
        test_size=fraction,
        random_state=random_state,
        stratify=data.y if by_class else None,
    )
    if parts[1].shape[0] < 2:
        raise ValueError(
            f"The validation set is too small: validation_fraction={fraction} of {len(data.Y)} "
            f"samples is one"
        )
    parts += [None, None] * (data.s is None)
    return Data(*parts[::2]), Data(*parts[1::2])
