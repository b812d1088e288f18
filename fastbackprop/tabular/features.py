"""What is done to each column, with NumPy alone: `write_numpy` copies this file into its own.

A plan is plain data, made by `plan.py`. Missing numbers are NaN, missing texts are MISSING.
"""

from typing import Any

import numpy as np

MISSING = "<missing>"
BLOCK = 2048  # rows whose features are computed at once
PARTS = ("year", "month", "day of week", "hour", "elapsed")  # of a date


def numbers(values: Any) -> np.ndarray:
    """Values as float64, (n,): None and NaN are NaN. Raises TypeError or ValueError."""
    array = np.asarray(values)
    if array.dtype.kind == "m":
        return np.where(np.isnat(array), np.nan, array / np.timedelta64(1, "s"))
    if array.dtype.kind != "O":
        return np.asarray(array, np.float64)
    return np.array([np.nan if is_missing(value) else float(value) for value in array])


def texts(values: Any) -> np.ndarray:
    """Values as text, (n,) of objects; equal numbers of any type have equal texts."""
    array = np.asarray(values, object)
    items = array.tolist()
    if set(map(type, items)) <= {str}:
        return array
    try:
        known = {key: _text(key[1]) for key in {(type(value), value) for value in items}}
    except TypeError:
        kind = next(type(value) for value in items if type(value).__hash__ is None)
        raise TypeError(
            f"values must be strings, numbers, booleans, dates or missing; got a {kind.__name__}"
        ) from None
    result = np.empty(len(items), object)
    result[:] = [known[type(value), value] for value in items]
    return result


def dates(values: Any) -> np.ndarray:
    """Dates of any kind as datetime64 of microseconds, (n,)."""
    array = np.asarray(values)
    if array.dtype.kind == "O":
        known = [None if is_missing(value) else value for value in array.tolist()]
        array = np.array(known, object)
    return array.astype("datetime64[us]")


def is_missing(value: Any) -> bool:
    """Whether it is None, NaN, or what pandas has for these."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or value != value


def _text(value: Any) -> str:
    if is_missing(value):
        return MISSING
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def date_part(values: np.ndarray, part: str) -> np.ndarray:
    """A part of dates as numbers, (n,) float64; NaN where a date is missing."""
    days = values.astype("datetime64[D]")
    number: np.ndarray
    if part == "elapsed":  # days since 1970
        number = (values - np.datetime64(0, "s")) / np.timedelta64(1, "D")
    elif part == "year":
        number = values.astype("datetime64[Y]").astype(np.int64) + 1970.0
    elif part == "month":
        number = values.astype("datetime64[M]").astype(np.int64) % 12 + 1.0
    elif part == "day of week":  # Monday is 0
        number = (days.astype(np.int64) + 3) % 7.0
    else:
        number = (values - days) / np.timedelta64(1, "h")
    return np.where(np.isnat(values), np.nan, number)


def number_column(columns: dict[str, np.ndarray], source: Any) -> np.ndarray:
    """The numbers of a source, (name, None) or (name, part of a date): (n,) float64."""
    name, part = source
    return columns[name] if part is None else date_part(columns[name], part)


def logarithms(N: np.ndarray, plan: dict[str, Any]) -> np.ndarray:
    """N with log(1 + distance from the least, in units) in the columns that have a logarithm."""
    some = np.flatnonzero(plan["log"])
    D = (N[:, some] - plan["low"][some]) / plan["unit"][some]
    L = N.copy()
    L[:, some] = np.sign(D) * np.log1p(np.abs(D))
    return L


def scaled(N: np.ndarray, plan: dict[str, Any]) -> np.ndarray:
    """N scaled, and clipped smoothly to (-3, 3): x / sqrt(1 + (x/3)^2). Missing numbers are 0."""
    x = (logarithms(N, plan) - plan["shift"]) * plan["scale"]
    x = np.where(np.isnan(N), 0.0, x)
    return x / np.sqrt(1 + (x / 3) ** 2)


class Places(dict[str, int]):
    """The place of each level; the number of levels for any other text."""

    def __init__(self, levels: list[str]) -> None:
        super().__init__((level, i) for i, level in enumerate(levels))

    def __missing__(self, text: str) -> int:
        return len(self)


def codes(values: np.ndarray, levels: list[str]) -> np.ndarray:
    """The place of each text among the levels, (n,); len(levels) for one that is not there."""
    return np.fromiter(map(Places(levels).__getitem__, values.tolist()), np.int64, len(values))


def feature_matrix(columns: dict[str, np.ndarray], plan: dict[str, Any]) -> np.ndarray:
    """All features of the columns, (n, n_features) float32: what the networks get.

    `columns` maps names to arrays: float64 for numbers, dates, and texts as `texts` makes them.
    Rows come in blocks, so that no second matrix of all rows is in memory.
    """
    n = len(next(iter(columns.values())))
    F: Any = None
    for start in range(0, max(n, 1), BLOCK):
        some = {name: values[start : start + BLOCK] for name, values in columns.items()}
        block = _block(some, plan, min(BLOCK, n - start))
        if F is None:
            F = np.empty((n, block.shape[1]), np.float32)
        F[start : start + BLOCK] = block
    return np.asarray(F)


def _block(columns: dict[str, np.ndarray], plan: dict[str, Any], n: int) -> np.ndarray:
    N = np.empty((n, len(plan["sources"])))
    for j, source in enumerate(plan["sources"]):
        N[:, j] = number_column(columns, source)
    x = scaled(N, plan)
    waves = np.cos(x[:, plan["waves"], None] * plan["w"] + plan["b"])
    blocks = [x, np.isnan(N[:, plan["gaps"]]), waves.reshape(n, plan["w"].size)]
    for category in plan["categories"]:
        code = codes(columns[category["column"]], category["levels"])
        blocks.append(category["table"][code])
    F = np.hstack(blocks)
    return F if F.shape[1] else np.zeros((n, 1))
