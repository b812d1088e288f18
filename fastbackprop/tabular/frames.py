"""Frames, matrices and sparse matrices as named columns: numbers, dates and texts."""

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from fastbackprop.tabular import features

NUMBER, DATE, TEXT = "number", "date", "category"


@dataclass
class Frame:
    """Columns by name, each an array (n,): float64, datetime64, or texts as objects."""

    columns: dict[str, np.ndarray]
    n: int

    def kind(self, name: str) -> str:
        """NUMBER, DATE or TEXT."""
        return {"f": NUMBER, "M": DATE, "O": TEXT}[self.columns[name].dtype.kind]

    def missing(self, name: str) -> int:
        """The number of missing values."""
        values = self.columns[name]
        if self.kind(name) == TEXT:
            return int((values == features.MISSING).sum())
        return int(np.count_nonzero(values != values))

    def __len__(self) -> int:
        return self.n


def frame_of(X: Any, kinds: dict[str, str | None] | None = None) -> Frame:
    """A frame of pandas or polars, a matrix, or a sparse matrix of SciPy as columns.

    Parameters
    ----------
    X : DataFrame, array_like or sparse matrix, (n_samples, n_features)
    kinds : dict, optional
        By name the kind of each column of the training, in their order; None of those that are left
        out.

    Raises
    ------
    ValueError
        For infinite or complex numbers, two columns of one name, another number of dimensions, no
        rows or no columns.
    TypeError
        For values that are neither numbers nor texts nor dates.
    """
    pairs = _arrays(X)
    n = len(pairs[0][1]) if pairs else 0
    if kinds is not None:
        pairs = [(name, values) for name, (_, values) in zip(kinds, pairs, strict=True)]
    elif not pairs:
        raise ValueError(f"0 feature(s) (shape={np.shape(X)}) while a minimum of 1 is required.")
    if n == 0:
        raise ValueError(f"Found array with 0 sample(s): X has no rows, shape {np.shape(X)}")
    columns = {}
    for name, values in pairs:
        kind = kinds[name] if kinds else None
        if kinds and kind is None:
            continue
        try:
            columns[name] = _as_kind(values, kind) if kind else _checked(values)
        except (TypeError, ValueError) as error:
            raise type(error)(f"column {name!r} of X: {error}") from None
    return Frame(columns or {"": np.zeros(n)}, n)


def _arrays(X: Any) -> list[tuple[str, np.ndarray]]:
    """Names and values of all columns."""
    if hasattr(X, "iloc") and hasattr(X, "columns"):  # pandas
        _refuse_twice(map(str, X.columns))
        return [(str(name), _of_pandas(series)) for name, series in X.items()]
    if hasattr(X, "get_columns"):  # polars
        return [(series.name, _of_polars(series)) for series in X.get_columns()]
    matrix = X.toarray() if hasattr(X, "toarray") else np.asarray(X)
    if matrix.ndim != 2:
        raise ValueError(
            f"Expected 2D array or a frame, (n_samples, n_features); got shape {matrix.shape}. "
            f"Reshape your data: X.reshape(-1, 1) is one feature, X.reshape(1, -1) one sample"
        )
    return [(f"x{j}", _of_matrix(matrix[:, j])) for j in range(matrix.shape[1])]


def _refuse_twice(names: Any) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"X has two columns with the name {name!r}: rename one of them")
        seen.add(name)


def _of_pandas(series: Any) -> np.ndarray:
    dtype = series.dtype
    if hasattr(dtype, "categories"):
        labels = _of_pandas(series.cat.categories.to_series())
        labels = features.texts(labels.astype(object))
        return np.append(labels, features.MISSING)[series.cat.codes.to_numpy()]
    if getattr(dtype, "tz", None) is not None:
        return np.asarray(series.dt.tz_convert(None).to_numpy())
    if hasattr(series, "dt") and hasattr(series.dt, "to_timestamp"):  # periods
        return np.asarray(series.dt.to_timestamp().to_numpy())
    if hasattr(series, "sparse"):
        return np.asarray(series.sparse.to_dense().to_numpy())
    if dtype.kind in "biuf" and not isinstance(dtype, np.dtype):  # nullable
        return np.asarray(series.to_numpy(np.float64, na_value=np.nan))
    return np.asarray(series.to_numpy())


def _of_polars(series: Any) -> np.ndarray:
    name = str(series.dtype)
    if name.startswith(("Categorical", "Enum", "Decimal")):
        decimal = name.startswith("Decimal")
        return np.array(
            [None if v is None else (float(v) if decimal else str(v)) for v in series], object
        )
    return np.asarray(series.to_numpy())


def _of_matrix(values: np.ndarray) -> np.ndarray:
    """A column of a matrix; texts that are all numbers are numbers."""
    if values.dtype.kind not in "US":
        return values
    try:
        return values.astype(np.float64)
    except ValueError:
        return values.astype(str).astype(object)


def _checked(values: np.ndarray) -> np.ndarray:
    """Of the kind that the values have."""
    if values.dtype.kind == "c":
        raise ValueError("Complex data not supported")
    if values.dtype.kind == "M":
        return _as_kind(values, DATE)
    if values.dtype.kind in "biufm":
        return _as_kind(values, NUMBER)
    if values.dtype.kind not in "OUST":
        raise TypeError(f"values of type {values.dtype} are neither numbers nor texts nor dates")
    known = [value for value in values.tolist() if not features.is_missing(value)]
    if any(isinstance(value, complex) and not isinstance(value, Real) for value in known):
        raise ValueError("Complex data not supported")
    if all(isinstance(value, Real | np.bool_) for value in known):
        return _as_kind(values, NUMBER)
    if all(hasattr(value, "year") and hasattr(value, "month") for value in known):
        return _as_kind(values, DATE)
    return _as_kind(values, TEXT)


def _as_kind(values: np.ndarray, kind: str) -> np.ndarray:
    """Values of a kind. Raises TypeError or ValueError where they are of another."""
    if kind == TEXT:
        return features.texts(values)
    if kind == DATE:
        return features.dates(values)
    try:
        x = features.numbers(values)
    except (TypeError, ValueError):
        raise ValueError(f"numbers were expected, as in fit; got {_first_text(values)!r}") from None
    infinite = np.isinf(x)
    if infinite.any():
        raise ValueError(
            f"{int(infinite.sum())} of {len(x)} values are infinity: replace them by large "
            f"numbers, or by NaN, which is a missing value"
        )
    return x


def _first_text(values: np.ndarray) -> Any:
    for value in values.tolist():
        try:
            float(value)
        except (TypeError, ValueError):
            return value
    return None
