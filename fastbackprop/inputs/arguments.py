"""Single arguments: names, counts, seconds, dtypes, generators and paths."""

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastbackprop.names import closest, pass_name
from fastbackprop.numbers import is_number, number, shown, text, whole


def choice(name: Any, known: Mapping[str, Any] | Iterable[str], what: str) -> str:
    """A name out of those known. Raises ValueError, with the closest names, or TypeError."""
    names = list(known)
    if not isinstance(name, str):
        hint = pass_name(name, names)
        raise TypeError(f"{what} must be one of {_listed(names)}; got {shown(name)}{hint}")
    if name not in names:
        close = closest(name, names)
        hint = f": did you mean {_listed(close)}?" if close else "."
        raise ValueError(f"unknown {what} {name!r}{hint} Known are {_listed(names)}")
    return name


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def positive_integer(value: Any, what: str) -> int:
    """An integer of at least 1. Raises TypeError or ValueError."""
    return whole(value, what, must="be a positive integer")


def batch_size(value: Any, auto: int | None) -> int | None:
    """Samples per step, None for all; "auto" is replaced. Raises TypeError or ValueError."""
    if isinstance(value, str) and value == "auto":
        return auto
    return None if value is None else positive_integer(value, "batch_size")


def thread_count(value: Any) -> int | None:
    """None or a number of threads. Raises TypeError or ValueError."""
    return None if value is None else positive_integer(value, "n_threads")


def seconds(value: Any, what: str) -> float | None:
    """None or a positive number, which may be infinite. Raises TypeError or ValueError."""
    if value is None:
        return None
    if is_number(value) and value == math.inf:
        return math.inf
    return number(value, what, 0, ends="()", must="be None or a positive number of seconds,")


def float_dtype(dtype: Any) -> np.dtype:
    """float32 or float64. Raises ValueError for anything else."""
    try:
        result = np.dtype(dtype)
    except TypeError:
        result = None
    if result not in (np.float32, np.float64):
        raise ValueError(f"dtype must be 'float32' or 'float64'; got {text(dtype)}")
    checked: np.dtype = np.dtype(result.type)
    return checked


def generator(rng: Any) -> np.random.Generator:
    """A generator from None, an integer or a generator, as NumPy makes it."""
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"rng must be None, a non-negative integer or a numpy.random.Generator; "
            f"got {shown(rng)}"
        ) from None


def file_path(value: Any, what: str) -> Path:
    """The path of a file, which need not exist, in a folder that does."""
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise TypeError(f"{what} must be the path of a file; got {shown(value)}")
    path = Path(value)
    try:
        impossible = b"\0" in os.fsencode(path)
    except UnicodeEncodeError:
        impossible = True
    if impossible:
        raise ValueError(f"{what} must be the path of a file; no file has the name {text(value)}")
    if path.is_dir():
        raise IsADirectoryError(f"{what} must be a file; {str(path)!r} is a folder")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{what}: there is no folder {str(path.parent)!r}")
    return path


def file_of(path: Any, parameters: np.ndarray) -> Path:
    """`file_path` for a network with these parameters; ValueError unless all are finite."""
    file = file_path(path, "path")
    if not np.isfinite(parameters).all():
        raise ValueError("the network is not saved: it has parameters that are not finite")
    return file
