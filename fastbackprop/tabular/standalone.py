"""A fitted model with NumPy alone: `write_numpy` copies this file, after features.py, into its own.

A model is plain data. `write_numpy` makes it, and the functions that it names.
"""

from typing import Any

import numpy as np

from fastbackprop.tabular.features import dates, feature_matrix, numbers, texts


def outputs(model: dict[str, Any], columns: Any) -> np.ndarray:
    """Probabilities, or numbers as the targets have them, (n, n_outputs) float64.

    `columns` maps the names of the columns to their values; or it is a matrix, (n, n_columns), with
    the columns of the training in their order. Raises ValueError where one is missing.
    """
    arrays = {}
    for place, (name, kind) in enumerate(model["kinds"].items()):
        if kind is None:  # not used
            continue
        if isinstance(columns, np.ndarray):
            values = columns[:, place]
        elif name in columns:
            values = columns[name]
        else:
            raise ValueError(f"the column {name!r} is missing")
        arrays[name] = _values(values, kind)
    if not arrays:  # of a model that uses no column
        n = len(columns) if hasattr(columns, "shape") else len(next(iter(columns.values())))
        arrays = {"": np.zeros(n)}
    F = feature_matrix(arrays, model["plan"])
    mean: Any = 0.0
    for network, share in zip(model["networks"], model["shares"], strict=True):
        a = F
        for W, b, sigma in network:
            a = np.asarray(sigma(a @ W + b), np.float32)
        mean = mean + share * a.astype(np.float64)
    if model["power"] is None:
        center, width, low, high = model["scaling"]
        return np.clip(mean * width + center, low, high)
    P = np.clip(mean, 1e-12, 1.0) ** model["power"]
    return P / P.sum(axis=1, keepdims=True)


def _values(values: Any, kind: str) -> np.ndarray:
    if kind == "number":
        return numbers(values)
    return texts(values) if kind == "category" else dates(values)
