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
    rows: np.ndarray | None = None  # the numbers of those meant; None: all

    @property
    def n(self) -> int:
        """How many are meant."""
        return int(self.Y.shape[0]) if self.rows is None else len(self.rows)

    def alone(self) -> "Data":
        """Those that are meant, without the others."""
        if self.rows is None:
            return self
        return Data(*(None if a is None else a[self.rows] for a in self[:4]))

    def part(self, places: np.ndarray) -> "Data":
        """Those at these places."""
        return self._replace(rows=places if self.rows is None else self.rows[places])


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


def issparse(X: Any) -> bool:
    """Whether checked X is sparse."""
    return not isinstance(X, np.ndarray)


def inputs_alone(estimator: Any, X: Any) -> Any:
    """X in float32 or float64."""
    if _needs_no_check(estimator, X):  # scikit-learn's take longer than predictions
        return X
    return validate_data(estimator, X, reset=False, accept_sparse=SPARSE, dtype=DTYPES)


def _needs_no_check(estimator: Any, X: Any) -> bool:
    if type(X) is not np.ndarray or X.dtype not in DTYPES or X.ndim != 2 or not len(X):
        return False
    if X.shape[1] != estimator.n_features_in_ or "feature_names_in_" in vars(estimator):
        return False
    with np.errstate(all="ignore"):
        return bool(np.isfinite(X.sum()))


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
    """Training and validation samples, as scikit-learn draws them.

    Of samples among others the training samples are no copies.
    """
    y = data.y if data.rows is None else data.y[data.rows]
    places = train_test_split(
        np.arange(data.n),
        test_size=fraction,
        random_state=random_state,
        stratify=y if by_class else None,
    )
    if len(places[1]) < 2:
        raise ValueError(
            f"The validation set is too small: validation_fraction={fraction} of {data.n} "
            f"samples is one"
        )
    train, held_out = (data.part(some) for some in places)
    return train if data.rows is not None else train.alone(), held_out.alone()
