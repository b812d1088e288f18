"""The boundary: every check and conversion of what a user passes, every error message about it.

What leaves this module is C-contiguous, of the right dtype, finite and read-only; what is behind it
trusts that. Every error says what was passed, what is expected and, where it is known, what to do.
"""

import contextlib
import difflib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from fastbackprop.functions import own as own_functions
from fastbackprop.functions.activations import ACTIVATIONS, Activation
from fastbackprop.functions.costs import COSTS, TARGETS, Cost, pair
from fastbackprop.functions.initializers import INITIALIZERS
from fastbackprop.functions.layer_norms import LayerNorm
from fastbackprop.inputs.rows import Numbers, Rows
from fastbackprop.layout import N_P, read_only
from fastbackprop.numbers import is_number, is_whole
from fastbackprop.optimizers import OPTIMIZERS, Optimizer
from fastbackprop.samples import NO_LABELS, NO_WEIGHTS, Samples, without_targets
from fastbackprop.training.callbacks import EarlyStopping, Stopping
from fastbackprop.training.metrics import METRICS, Metric, of_function

CHUNK = 1 << 20  # elements looked at together: the checks need no memory in proportion to the data


# --- names and numbers ---------------------------------------------------------------------------


def choice(name: Any, known: Mapping[str, Any] | Iterable[str], what: str) -> str:
    """A name out of those known. Raises ValueError, with the closest names, or TypeError."""
    names = list(known)
    if not isinstance(name, str):
        raise TypeError(f"{what} must be one of {_listed(names)}; got {_shown(name)}")
    if name not in names:
        close = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
        hint = f": did you mean {_listed(close)}?" if close else "."
        raise ValueError(f"unknown {what} {name!r}{hint} Known are {_listed(names)}")
    return name


def positive_integer(value: Any, what: str) -> int:
    """An integer of at least 1. Raises TypeError or ValueError."""
    if not is_whole(value):
        raise TypeError(f"{what} must be a positive integer; got {_shown(value)}")
    if value < 1:
        raise ValueError(f"{what} must be a positive integer; got {value}")
    return int(value)


def batch_size(value: Any, auto: int | None) -> int | None:
    """Samples per step, None for all; "auto" is replaced. Raises TypeError or ValueError."""
    if isinstance(value, str) and value == "auto":
        return auto
    return None if value is None else positive_integer(value, "batch_size")


def thread_count(value: Any) -> int | None:
    """None or a number of threads. Raises TypeError or ValueError."""
    return None if value is None else positive_integer(value, "n_threads")


def flag(value: Any, what: str) -> bool:
    """True or False. Raises TypeError."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{what} must be True or False; got {_shown(value)}")
    return bool(value)


def layer_sizes(sizes: Any) -> tuple[int, ...]:
    """Neurons per layer, input first: at least two positive integers."""
    if isinstance(sizes, str) or not isinstance(sizes, Sequence | np.ndarray):
        raise TypeError(
            f"sizes must list the neurons per layer, input first, as in [64, 128, 10]; "
            f"got {_shown(sizes)}"
        )
    if len(sizes) < 2:
        raise ValueError(f"sizes must name an input and an output layer at least; got {sizes!r}")
    checked = tuple(positive_integer(n, f"sizes[{i}]") for i, n in enumerate(sizes))
    if sum(m * n for m, n in pairwise(checked)) > 2**40:
        raise ValueError(f"sizes {sizes!r} ask for more weights than a machine can hold")
    return checked


def float_dtype(dtype: Any) -> np.dtype:
    """float32 or float64."""
    try:
        result = np.dtype(dtype)
    except TypeError:
        result = None
    if result not in (np.float32, np.float64):
        raise ValueError(f"dtype must be 'float32' or 'float64'; got {dtype!r}")
    checked: np.dtype = np.dtype(result.type)
    return checked


def generator(rng: Any) -> np.random.Generator:
    """A generator from None, an integer or a generator, as NumPy makes it."""
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"rng must be None, a non-negative integer or a numpy.random.Generator; "
            f"got {_shown(rng)}"
        ) from None


def activations(
    hidden: Any, output: Any, sizes: Sequence[int], dtype: np.dtype
) -> list[Activation]:
    """sigma_1 ... sigma_L from one name or one per hidden layer, and the output's."""
    n_hidden = len(sizes) - 2
    if isinstance(hidden, str | Activation):
        hidden = [hidden] * n_hidden
    elif not isinstance(hidden, Sequence):
        raise TypeError(
            f"hidden must be an activation or a list with one per hidden layer; "
            f"got {_shown(hidden)}"
        )
    if len(hidden) != n_hidden:
        raise ValueError(
            f"hidden must be one activation, or one per hidden layer: {n_hidden} for "
            f"sizes={list(sizes)}; got {len(hidden)}"
        )
    sigma = [_activation(name, "hidden activation", dtype) for name in hidden]
    for activation in sigma:
        if activation.coupled and not activation.normalised:
            raise ValueError(
                f"{activation.name!r} is an output activation: pass it as output=, not hidden="
            )
    sigma.append(_activation(output, "output activation", dtype))
    for n, activation in zip(sizes[1:], sigma, strict=True):
        if activation.normalised and n == 1:
            raise ValueError(
                f"{activation.name!r} of a single neuron is the same whatever the input: "
                f"give it more, or {str(activation.inner)!r}; got sizes={list(sizes)}"
            )
    if sigma[-1].coupled and sizes[-1] == 1:
        raise ValueError(
            f"output={sigma[-1].name!r} of a single neuron is 1 whatever the input: "
            f"use output='sigmoid', or two output neurons"
        )
    return sigma


def _activation(value: Any, what: str, dtype: np.dtype) -> Activation:
    if not isinstance(value, Activation):
        return ACTIVATIONS[choice(value, ACTIVATIONS, what)]
    if isinstance(value, LayerNorm):
        if not value.epsilon >= np.finfo(dtype).tiny:
            raise ValueError(
                f"epsilon of LayerNorm must be at least {np.finfo(dtype).tiny} for {dtype}; "
                f"got {value.epsilon!r}"
            )
        _activation(value.inner, what, dtype)
    elif not value.is_registered:
        name = _own_name(value, ACTIVATIONS, "activation")
        parts = {"sigma": (value.sigma, "z"), "derivative": (value.derivative, "z, a")}
        _own_parts(f"the activation {name!r}", parts, value, "z, a", dtype)
        choice(value.initializer, INITIALIZERS, "initializer")
        if len(value.p) > N_P:
            raise ValueError(
                f"an activation has at most {N_P} parameters; {name!r} has p={value.p!r}"
            )
    return value


def cost(value: Any, output: Activation, dtype: np.dtype) -> Cost:
    """The cost, from a name or an object, that goes with the output activation."""
    if not isinstance(value, Cost):
        return pair(choice(value, COSTS, "cost"), output)
    if value.is_registered:
        of_output = pair(value.name, output)
        return replace(of_output, p=value.p, outputs_per_target=value.outputs_per_target)
    name = _own_name(value, COSTS, "cost")
    parts = {"terms": (value.terms, "z, a, y"), "gradient": (value.gradient, "z, a, y")}
    _own_parts(f"the cost {name!r}", parts, value, "z, a, y", dtype)
    choice(value.targets, TARGETS, "kind of targets")
    if value.output not in (None, output.name):
        raise ValueError(
            f"cost={name!r} goes with output={value.output!r}; got output={output.name!r}"
        )
    return value


def _own_name(function: Activation | Cost, known: Mapping[str, Any], what: str) -> str:
    """The name of a user's own activation or cost, which is none of ours."""
    name = function.name
    if not isinstance(name, str) or not name:
        raise TypeError(f"the name of an {what} must be a string; got {_shown(name)}")
    if name in known:
        raise ValueError(f"{name!r} is the name of a built-in {what}: give yours another")
    return name


def _own_parts(
    what: str,
    parts: Mapping[str, tuple[Any, str]],
    function: Activation | Cost,
    words: str,
    dtype: np.dtype,
) -> None:
    p = function.p
    if not isinstance(p, tuple) or not all(map(is_number, p)):
        raise TypeError(f"p of {what} must be a tuple of numbers; got {_shown(p)}")
    if not function.coupled:
        second = {} if function.second is None else {"second": (function.second, words)}
        for part, (formula, arguments) in {**parts, **second}.items():
            own_functions.check(formula, f"{part} of {what}", arguments, dtype, p)


def have_second_derivatives(sigma: Sequence[Activation], cost: Cost) -> None:
    """Raise ValueError for one that has none."""
    functions: list[tuple[str, Activation | Cost]] = [("activation", f) for f in sigma]
    for what, function in [*functions, ("cost", cost)]:
        if not function.has_second:
            raise ValueError(
                f"the {what} {function.name!r} has no second derivative, which this product needs: "
                f"give it one with `second`"
            )


def optimizer(value: Any) -> Optimizer:
    """An optimizer from a name or an object."""
    if isinstance(value, Optimizer):
        return value
    if isinstance(value, type) and issubclass(value, Optimizer):
        raise TypeError(f"optimizer must be an object: pass {value.__name__}(), not the class")
    return OPTIMIZERS[choice(value, OPTIMIZERS, "optimizer")]()


def own_functions_given(functions: Any) -> list[Activation | Cost]:
    """A list of activations and costs. Raises TypeError for anything else."""
    if isinstance(functions, str) or not isinstance(functions, Iterable):
        raise TypeError(
            f"functions must be a list of Activation and Cost objects; got {_shown(functions)}"
        )
    given = list(functions)
    for function in given:
        if not isinstance(function, Activation | Cost):
            raise TypeError(
                f"functions must be a list of Activation and Cost objects; one is "
                f"{_shown(function)}"
            )
    return given


# --- control of training -------------------------------------------------------------------------


def seconds(value: Any, what: str) -> float | None:
    """None or a positive number. Raises TypeError or ValueError."""
    if value is None:
        return None
    if not is_number(value):
        raise TypeError(f"{what} must be None or a number of seconds; got {_shown(value)}")
    if not value > 0:
        raise ValueError(f"{what} must be a positive number of seconds; got {value}")
    return float(value)


def dropout_rates(hidden: Any, of_input: Any, n_layers: int) -> tuple[float, ...]:
    """Of a^0 ... a^{L-1}. Raises TypeError or ValueError."""
    n_hidden = n_layers - 1
    each = hidden if isinstance(hidden, Sequence | np.ndarray) else [hidden] * n_hidden
    if len(each) != n_hidden:
        raise ValueError(
            f"dropout must be one rate, or one for each hidden layer: {n_hidden}; got {len(each)}"
        )
    if not n_hidden and hidden:
        raise ValueError("there is no hidden layer for dropout: leave it out")
    return _rate(of_input, "input_dropout"), *(_rate(value, "dropout") for value in each)


def _rate(value: Any, what: str) -> float:
    if not is_number(value):
        raise TypeError(f"{what} must be a number in [0, 1); got {_shown(value)}")
    if not 0 <= value < 1:
        raise ValueError(f"{what} must be in [0, 1), the part to leave out; got {value}")
    return float(value)


def deviation(value: Any, what: str) -> float:
    """A finite standard deviation, zero or more. Raises TypeError or ValueError."""
    if not is_number(value):
        raise TypeError(f"{what} must be a standard deviation; got {_shown(value)}")
    if not 0 <= value < np.inf:
        raise ValueError(f"{what} must be a finite standard deviation, 0 or more; got {value}")
    return float(value)


def file_path(value: Any, what: str) -> Path:
    """The path of a file, which need not exist, in a folder that does."""
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise TypeError(f"{what} must be the path of a file; got {_shown(value)}")
    path = Path(value)
    if path.is_dir():
        raise IsADirectoryError(f"{what} must be a file; {str(path)!r} is a folder")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{what}: there is no folder {str(path.parent)!r}")
    return path


def file_of(path: Any, parameters: np.ndarray) -> Path:
    """`file_path`, for a network with these parameters. Raises ValueError unless all are finite."""
    file = file_path(path, "path")
    if not np.isfinite(parameters).all():
        raise ValueError("the network holds parameters that are not finite: it is not saved")
    return file


def metrics(value: Any, labels: bool, cost: Cost) -> list[Metric]:
    """Metrics from a name, a function, an iterable of both, or a dict of functions by name."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        named = [(str(name), function) for name, function in value.items()]
    else:
        items = [value] if isinstance(value, str) or callable(value) else value
        if not isinstance(items, Iterable):
            raise TypeError(f"metrics must be names or functions; got {_shown(value)}")
        named = [(getattr(item, "__name__", "metric"), item) for item in items]
    result: dict[str, Metric] = {}
    for name, item in named:
        if callable(item):
            metric = of_function(name, item, cost.outputs_per_target)
        else:
            metric = METRICS[choice(item, METRICS, "metric")]
            if labels and not metric.takes_labels:
                raise ValueError(f"the metric {metric.name!r} is not for integer labels")
            if cost.outputs_per_target > 1:
                raise ValueError(
                    f"the metric {metric.name!r} compares each output with a target of its own, "
                    f"and {cost} has {cost.outputs_per_target} outputs for each: pass a function"
                )
        if metric.name in result or metric.name in ("cost", "seconds", "learning_rate"):
            raise ValueError(
                f"two figures of an epoch would have the name {metric.name!r}: name metrics by a "
                f"dict, metrics={{'name': function}}"
            )
        result[metric.name] = metric
    return list(result.values())


def early_stopping(
    value: Any, metrics: Iterable[Metric], has_validation: bool, of_training: bool
) -> Stopping | None:
    """What watches the training: from None, False, True, a patience or an `EarlyStopping`."""
    if value is None or value is False:
        return None
    if value is True:
        value = EarlyStopping()
    elif not isinstance(value, EarlyStopping):
        value = EarlyStopping(positive_integer(value, "early_stopping"))
    positive_integer(value.patience, "patience")
    flag(value.restore_best, "restore_best")
    least = value.min_improvement
    if not is_number(least):
        raise TypeError(f"min_improvement must be a number; got {_shown(least)}")
    if not 0 <= least < math.inf:
        raise ValueError(f"min_improvement must be finite and at least 0; got {least}")
    directions: dict[str, bool | None] = {"cost": False}
    if has_validation:
        directions["validation_cost"] = False
    for metric in metrics:
        if has_validation:
            directions[f"validation_{metric.name}"] = metric.maximize
        if of_training:
            directions[metric.name] = metric.maximize
    default = "validation_cost" if has_validation else "cost"
    monitor = choice(value.monitor or default, directions, "monitor")
    maximize = directions[monitor] if value.maximize is None else flag(value.maximize, "maximize")
    if maximize is None:
        raise ValueError(
            f"early stopping must know whether more of {monitor!r} is better: "
            f"EarlyStopping(monitor={monitor!r}, maximize=True), or False"
        )
    return Stopping(value, monitor, maximize)


# --- arrays --------------------------------------------------------------------------------------


def numeric(values: Any, dtype: np.dtype, what: str, numbers: Numbers | None = None) -> np.ndarray:
    """A C-contiguous, finite, read-only array of this dtype; a view where nothing has to change.

    `numbers` are those of the rows, for messages, where values are some rows of a larger array.
    """
    array = as_array(values, what)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{what} must hold real numbers; got dtype {array.dtype}")
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(array, dtype).reshape(array.shape)
    wrong = _first_non_finite(converted, array)
    if wrong is not None:
        place = np.unravel_index(wrong, array.shape)
        if numbers is not None:
            place = (np.intp(numbers[int(place[0])]), *place[1:])
        names = _column_names(values)
        _refuse(array.flat[wrong], what, place, dtype, names[place[1]] if names else None)
    return read_only(converted)


def parameters(values: Any, n: int, dtype: np.dtype, what: str) -> np.ndarray:
    """A value for every parameter, (n,), as `numeric` makes it."""
    flat = numeric(values, dtype, what)
    if flat.shape != (n,):
        raise ValueError(f"{what} must have shape (n_parameters,) = ({n},); got {flat.shape}")
    return flat


def as_array(values: Any, what: str) -> np.ndarray:
    """A plain array, with an error for humans where NumPy has none."""
    if type(values) is np.ndarray and values.dtype.kind in "fiub":
        return values  # the questions below take longer than a small network
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise TypeError(f"{what} is a masked array with masked values: fill or drop them first")
    if hasattr(values, "toarray"):
        raise TypeError(f"{what} is a sparse {type(values).__name__}: pass {what}.toarray()")
    if values is None:
        raise TypeError(f"{what} must be an array of numbers; got None")
    if _is_frame(values):
        return _from_frame(values, what)
    kind = str(getattr(values, "dtype", "")).lower()
    if kind.startswith(("categ", "enum")):  # NumPy would see what the values stand for
        raise TypeError(f"{what} is categorical: encode it as numbers first, such as its codes")
    if kind.startswith("sparse"):
        raise TypeError(f"{what} is sparse, of dtype {values.dtype}: make it dense first")
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{what} must be rectangular: its rows differ in length") from None
    if array.dtype == object:
        shown = f"dtype {values.dtype}" if hasattr(values, "dtype") else _shown(values)
        try:
            if any(isinstance(value, str | bytes) for value in array.flat):
                raise TypeError
            array = array.astype(np.float64)
        except OverflowError:
            raise ValueError(f"{what} holds an integer too large for a float") from None
        except (TypeError, ValueError):
            raise TypeError(f"{what} must hold real numbers; got {shown}") from None
    return array


def _is_frame(values: Any) -> bool:
    """A table of named columns, as pandas and polars have it; we import neither."""
    return hasattr(type(values), "columns")


def _column_names(values: Any) -> list[str] | None:
    return [repr(name) for name in values.columns] if _is_frame(values) else None


def _from_frame(frame: Any, what: str) -> np.ndarray:
    """Its columns side by side: each holds numbers, or the message says which one does not."""
    if hasattr(type(frame), "collect"):
        raise TypeError(f"{what} is a {type(frame).__name__}: pass {what}.collect()")
    columns = frame.items() if hasattr(frame, "items") else zip(frame.columns, frame, strict=True)
    arrays = []
    for name, column in columns:
        array = as_array(column, f"{what}: column {name!r}")
        if array.dtype.kind not in "fiub" or array.ndim != 1:
            raise TypeError(
                f"{what}: column {name!r} must hold real numbers; got dtype {column.dtype}. "
                f"Encode it as numbers, or leave it out"
            )
        arrays.append(array)
    return np.column_stack(arrays) if arrays else np.empty(frame.shape)


def _first_non_finite(converted: np.ndarray, original: np.ndarray) -> int | None:
    """The place in the flat array of what is not finite, if anything is not."""
    if original.dtype.kind != "f":
        return None
    flat = converted.reshape(-1)
    for start in range(0, flat.size, CHUNK):
        finite = np.isfinite(flat[start : start + CHUNK])
        if not finite.all():
            return start + int(np.argmin(finite))
    return None


def _refuse(
    value: Any, what: str, place: tuple[Any, ...], dtype: np.dtype, column: str | None = None
) -> None:
    """Raise ValueError for a value that is not finite, or not in this dtype."""
    where = f"{what}[{', '.join(map(str, place))}]" if place else what
    where += f" (column {column})" if column else ""
    if np.isfinite(value):
        raise ValueError(f"{where} is {value}: too large for {dtype}")
    raise ValueError(f"{what} must be finite; {where} is {value}")


def matrix(X: Any, n_columns: int, dtype: np.dtype, what: str = "X") -> Any:
    """X, (n_samples, n_columns), with at least one row; `Rows` where it stays in its file."""
    array: np.ndarray | Rows
    if stays(X):
        array = Rows(X, partial(numeric, dtype=dtype, what=what), X.shape[1])
        numeric(X[:0], dtype, what)
    else:
        array = numeric(X, dtype, what)
    shape = tuple(X.shape) if isinstance(array, Rows) else array.shape
    _check_shape(shape, n_columns, what, _column_names(X))
    return array


def _check_shape(
    shape: tuple[int, ...], n_columns: int, what: str, names: list[str] | None = None
) -> None:
    if len(shape) != 2 or shape[1] != n_columns:
        hint = ""
        if shape == (n_columns,):
            hint = f": for one sample pass {what}.reshape(1, -1)"
        elif len(shape) == 1 and n_columns == 1:
            hint = f": pass {what}.reshape(-1, 1)"
        elif names:
            hint = f", columns {', '.join(names[:20])}{', ...' * (len(names) > 20)}"
        raise ValueError(f"{what} must have shape (n_samples, {n_columns}); got {shape}{hint}")
    if not shape[0]:
        raise ValueError(f"{what} must have at least one row; got shape {shape}")


def stays(values: Any) -> bool:
    """Whether to read rows when they are needed: memory maps, and what is like an array on a disk.

    That is a matrix with NumPy's dtype and rows to take, which offers no memory to look at.
    """
    if isinstance(values, np.ndarray):
        return isinstance(values, np.memmap) and values.ndim == 2
    matrix = isinstance(getattr(values, "dtype", None), np.dtype) and hasattr(values, "__getitem__")
    if not matrix or len(getattr(values, "shape", ())) != 2:
        return False
    in_memory = ("__array_interface__", "__dlpack__", "toarray", "columns")
    return not any(hasattr(values, name) for name in in_memory)


def is_sparse(values: Any) -> bool:
    """Whether this is a matrix of SciPy's sparse formats, or like one; we do not import SciPy."""
    return hasattr(values, "tocsr")


def inputs_alone(X: Any, n_in: int, n_out: int, dtype: np.dtype) -> Samples:
    """Checked inputs, sparse or not, without targets."""
    if not is_sparse(X):
        return without_targets(matrix(X, n_in, dtype), n_out, dtype)
    _check_shape(tuple(X.shape), n_in, "X")
    n = X.shape[0]
    spans, columns, values = _sparse_rows(X.tocsr(), n_in, dtype)
    empty = without_targets(read_only(np.zeros((n, 0), dtype)), n_out, dtype)
    return empty._replace(spans=spans, columns=columns, values=values)


def _sparse_rows(X: Any, n_in: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`Samples.spans`, columns and values of a CSR matrix: kernels go where these send them."""
    starts = np.ascontiguousarray(X.indptr, np.int64)
    given, columns = np.asarray(X.data), np.asarray(X.indices)
    if n_in > np.iinfo(np.int32).max:
        raise ValueError(f"a sparse X has at most {np.iinfo(np.int32).max} columns; got {n_in}")
    n = starts[-1] if len(starts) == X.shape[0] + 1 else -1
    if n < 0 or n > min(len(given), len(columns)) or starts[0] < 0 or (np.diff(starts) < 0).any():
        raise ValueError("X is no CSR matrix: its indptr does not fit its shape, indices and data")
    given, columns = given[:n], columns[:n]
    if n and not 0 <= columns.min() <= columns.max() < n_in:
        raise ValueError(
            f"X is no CSR matrix of {n_in} columns: its indices span {columns.min()} ... "
            f"{columns.max()}"
        )
    if given.dtype.kind not in "fiub":
        raise TypeError(f"X must hold real numbers; got dtype {given.dtype}")
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(given, dtype)
    wrong = _first_non_finite(values, given)
    if wrong is not None:
        row = np.searchsorted(starts, wrong, side="right") - 1
        _refuse(given[wrong], "X", (row, columns[wrong]), dtype)
    spans = np.column_stack([starts[:-1], starts[1:]])
    columns = np.ascontiguousarray(columns, np.int32)
    return read_only(spans), read_only(columns), read_only(values)


def refuse_sparse(X: Any, why: str) -> None:
    """Raise TypeError for a sparse X."""
    if is_sparse(X):
        raise TypeError(f"X is a sparse {type(X).__name__}, and {why}: pass X.toarray()")


def samples(
    X: Any, y: Any, sample_weight: Any, n_in: int, n_out: int, dtype: np.dtype, cost: Cost
) -> Samples:
    """Checked inputs, targets and weights."""
    inputs = inputs_alone(X, n_in, n_out, dtype)
    n = len(inputs.X)
    Y, labels = _targets(y, n, n_out, dtype, cost)
    return inputs._replace(Y=Y, labels=labels, s=_weights(sample_weight, n))


def _targets(y: Any, n: int, n_out: int, dtype: np.dtype, cost: Cost) -> tuple[Any, np.ndarray]:
    """Y (n, n_out), or `Rows` of it, and no labels; or labels (n,) and an empty Y."""
    n_targets = cost.n_targets(n_out)
    if stays(y) and tuple(y.shape) == (n, n_targets):
        numeric(y[:0], dtype, "y")
        return Rows(y, partial(_values, dtype=dtype, cost=cost), n_out), NO_LABELS
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
    return _values(y if _is_frame(y) else array, None, dtype, cost), NO_LABELS


def _values(y: Any, numbers: Numbers | None, dtype: np.dtype, cost: Cost) -> np.ndarray:
    """Y (n, n_L): each target as often as it has outputs."""
    Y = numeric(y, dtype, "y", numbers)
    if len(Y):
        _REFUSALS[cost.targets](Y, cost, numbers)
    groups = cost.outputs_per_target
    return Y if groups == 1 else read_only(np.tile(Y, (1, groups)))


def _labels(array: np.ndarray, n: int, n_out: int) -> np.ndarray:
    if array.dtype.kind not in "iub":
        raise TypeError(
            f"y of shape (n_samples,) must hold integer labels; got dtype {array.dtype}. "
            f"Pass labels as integers, or probabilities of shape (n_samples, {n_out})"
        )
    if array.shape != (n,):
        raise ValueError(f"y must have one label for each of the {n} rows of X; got {len(array)}")
    low, high = array.min(), array.max()
    if low < 0 or high >= n_out:
        raise ValueError(f"labels in y must lie in 0 ... {n_out - 1}; they span {low} ... {high}")
    return read_only(np.ascontiguousarray(array, np.int64))


def _refuse_no_probability(Y: np.ndarray, cost: Cost, numbers: Numbers | None) -> None:
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


def _refuse_no_sign(Y: np.ndarray, cost: Cost, numbers: Numbers | None) -> None:
    wrong = abs(Y) != 1
    if wrong.any():
        value = Y[wrong][0]
        hint = ": of 0 and 1 make 2 * y - 1" if value == 0 else ""
        raise ValueError(
            f"with cost={cost.name!r} the values of y are -1 or 1; one of them is {value}{hint}"
        )


def _refuse_below(Y: np.ndarray, cost: Cost, numbers: Numbers | None) -> None:
    low, kind = Y.min(), cost.targets
    if low < 0 or (kind == "positive" and low == 0):
        raise ValueError(
            f"with cost={cost.name!r} the values of y must be {kind}; the smallest is {low}"
        )


_REFUSALS: dict[str, Callable[[np.ndarray, Cost, Numbers | None], None]] = {
    "real": lambda Y, cost, numbers: None,
    "unit": _refuse_no_probability,
    "distribution": _refuse_no_probability,
    "sign": _refuse_no_sign,
    "non-negative": _refuse_below,
    "positive": _refuse_below,
}


def _weights(sample_weight: Any, n: int) -> np.ndarray:
    if sample_weight is None:
        return NO_WEIGHTS
    s = numeric(sample_weight, np.dtype(np.float64), "sample_weight")
    if s.shape != (n,):
        raise ValueError(f"sample_weight must have shape (n_samples,) = ({n},); got {s.shape}")
    if s.min() < 0:
        raise ValueError(f"sample_weight must not be negative; its smallest value is {s.min()}")
    if s.max() == 0:
        raise ValueError("sample_weight must not be zero for every sample")
    if not 1e-15 < s.max() < 1e15:
        raise ValueError(
            f"the largest sample_weight must lie between 1e-15 and 1e15; got {s.max()}. Only the "
            f"proportions of the weights count: scale them"
        )
    return s


# --- batches -------------------------------------------------------------------------------------


class Batches:
    """An iterable of (X, y) or (X, y, sample_weight): `Samples`, each checked when it comes."""

    def __init__(self, batches: Any, epochs: int, check: Callable[..., Samples]) -> None:
        if isinstance(batches, Iterator) and epochs > 1:
            raise ValueError(
                f"a {type(batches).__name__} gives its batches once, and there are {epochs} "
                f"epochs: pass a list, or an object whose __iter__ begins anew"
            )
        self._batches, self._check = batches, check

    def __iter__(self) -> Iterator[Samples]:
        number = 0
        for number, batch in enumerate(self._batches, 1):
            with naming(f"batch {number} of X (no y was passed)"):
                if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
                    raise TypeError(f"must be (X, y) or (X, y, sample_weight); got {_shown(batch)}")
                samples = self._check(*batch)
            yield samples
        if not number:
            raise ValueError(f"{_shown(self._batches)} gave no batch")


def are_batches(X: Any, y: Any) -> bool:
    """Whether X, with y left out, is to be gone through for batches: no array, no frame."""
    iterable = hasattr(X, "__iter__") or hasattr(X, "__getitem__")
    data = isinstance(X, str | bytes | Mapping) or hasattr(X, "shape") or hasattr(X, "__array__")
    return y is None and iterable and not data


def refuse_for_batches(**arguments: Any) -> None:
    """Raise ValueError for an argument of `fit` that has to know all samples before the first."""
    for name, value in arguments.items():
        if value is not None and value is not False:
            raise ValueError(
                f"{name} is not for batches that come one by one: how many there are, and what was "
                f"in them, is not known. Pass arrays, or leave {name} out"
            )


def refuse_for_lbfgs(*, checkpoint: Any, **arguments: Any) -> None:
    """Raise ValueError for an argument of `fit` that means nothing to a minimizer of the whole."""
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(
                f"LBFGS has no use for {name}: each iteration takes all samples at once and finds "
                f"its own step. Leave {name} out"
            )
    if checkpoint is not None:
        raise ValueError(
            "LBFGS has no checkpoint: SciPy keeps the memory of the iterations to itself and takes "
            "none back. Leave checkpoint out; `save` the network in a callback, and `fit` goes on "
            "from that with an empty memory"
        )


# --- validation ----------------------------------------------------------------------------------


@contextlib.contextmanager
def naming(argument: str) -> Iterator[None]:
    """Errors raised in the block say which argument they are about."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise type(error)(f"{argument}: {error}") from None


def split(fraction: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and of the validation samples, the same in every call."""
    if isinstance(fraction, bool) or not isinstance(fraction, float | np.floating):
        raise TypeError(
            f"validation must be (X, y), (X, y, sample_weight) or a fraction; "
            f"got {_shown(fraction)}"
        )
    if not 0 < fraction < 1:
        raise ValueError(f"validation as a fraction must lie between 0 and 1; got {fraction}")
    n_held_out = max(1, round(n * fraction))
    if n_held_out == n:
        raise ValueError(f"validation={fraction} of {n} samples leaves none for training")
    order = np.random.default_rng(n).permutation(n)
    return np.sort(order[n_held_out:]), np.sort(order[:n_held_out])


def take(samples: Samples, rows: np.ndarray) -> Samples:
    """These samples out of all."""
    part = samples.part(lambda field: _take(field, rows))
    if len(part.s) and part.s.sum() == 0:
        raise ValueError(
            "sample_weight is zero for every sample on one side of the validation split"
        )
    return part


def _take(field: Any, rows: np.ndarray) -> Any:
    if isinstance(field, Rows):
        return field.part(rows)
    return read_only(field[rows])


def check_output(out: Any, shape: tuple[int, int], dtype: np.dtype) -> None:
    """Refuse an array to fill that is not of this shape and dtype, C-contiguous and writable."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a NumPy array; got {_shown(out)}")
    if out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
        order = "" if out.flags.c_contiguous else ", not C-contiguous"
        raise ValueError(
            f"out must be a C-contiguous {dtype} array of shape {shape}; "
            f"got {out.dtype} of shape {out.shape}{order}"
        )
    if not out.flags.writeable:
        raise ValueError("out must be writable; got a read-only array")


def check_apart(out: np.ndarray, **others: Any) -> None:
    """Refuse an array to fill that lies in the memory of what is still to be read."""
    for what, other in others.items():
        if np.may_share_memory(out, other.source if isinstance(other, Rows) else other):
            raise ValueError(f"out must not share memory with {what}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) < 60 else text[:57] + '...'} ({type(value).__name__})"
