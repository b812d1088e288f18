"""Arguments: for each name in `calls.CALLS` one that fits, or a hostile one."""

import contextlib
import itertools
import math
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

import fastbackprop as fb


class Mine(Exception):
    """Raised by objects that the fuzzer passes: it must come out as it is."""


class Traitor:
    """An object whose every use raises."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("dtype", "columns", "tocsr", "toarray", "shape"):
            raise AttributeError(name)
        raise Mine

    def __float__(self) -> float:
        raise Mine

    __index__ = __len__ = __iter__ = __bool__ = __float__  # type: ignore[assignment]
    __array__ = __call__ = __fspath__ = __float__  # type: ignore[assignment]


class Liar:
    """A data set on a disk that has fewer rows, or of other lengths, than its shape says."""

    def __init__(self, array: np.ndarray, way: int) -> None:
        self.array, self.shape, self.dtype, self.way = array, array.shape, array.dtype, way

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: Any) -> Any:
        part = self.array[rows]
        cases = part, part[:-1], part[:, :-1], part.astype(object), part * np.nan, None, list(part)
        return cases[self.way % len(cases)]


def small(r: np.random.Generator) -> int:
    return int(r.choice([-(2**63), -1, 0, 1, 2, 3, 7, 100, 2**31, 2**64, 10**30]))


def number(r: np.random.Generator) -> Any:
    return one_of(r, [
        -1, 0, -0.0, 0.5, 1, 1.5, math.nan, math.inf, -math.inf, 1e-320, 1e308, 10**400, True,
        np.float32(1e38), np.int8(-128), np.uint64(2**64 - 1), Fraction(1, 3), 1j, "1", None,
        np.array(0.5), np.array([0.5]), np.datetime64("NaT"), np.longdouble("1e4000"),
    ])  # fmt: skip


def anything(r: np.random.Generator) -> Any:
    """Nothing in particular."""
    return one_of(r, [
        number(r), small(r), array(r), "", "adam", "relu", "x" * 10_000, "\0", "\ud800", b"x", [],
        (), {}, set(), [[]], [[1], [1, 2]], [None], [object()], object(), object, len, lambda: 1,
        lambda *a, **k: 1, range(3), iter([1]), (x for x in [1]), Traitor(), np.random, fb.Adam,
        fb.Adam(), fb.SGD, fb.Cosine(0.1, 3), fb.EMA(0.9), fb.LayerNorm("relu"), "nan", "é",
        np.random.default_rng(0), memoryview(b"abcd"), {"a": 1}, slice(None), NotImplemented, ...,
        fb.Activation("x", lambda z: z, lambda z, a: 1.0), fb.Network([1, 1], engine="numpy"),
    ])  # fmt: skip


def one_of(r: np.random.Generator, values: Any) -> Any:
    return values[int(r.integers(len(values)))]


def array(r: np.random.Generator) -> Any:
    shape = one_of(r, [(), (0,), (1,), (3,), (5, 3), (0, 3), (3, 0), (5, 4), (2, 2, 2), (5, 1)])
    kind = one_of(r, [float, "float32", "float16", ">f4", "int8", "uint64", bool, complex, object,
                      "U3", "S2", "M8[s]", "longdouble", [("a", float)]])  # fmt: skip
    with np.errstate(all="ignore"):
        return np.zeros(shape, kind)


def spoilt(r: np.random.Generator, good: np.ndarray) -> Any:
    """An array with one thing that is not right, or only unusual."""
    bad = np.array(good)
    which = int(r.integers(20))
    if which < 6 and bad.size and bad.dtype.kind in "fi":
        value = (np.nan, np.inf, -np.inf, 1e39, -1, 2.0**62)[which]
        with np.errstate(all="ignore"), contextlib.suppress(OverflowError, ValueError):
            bad.flat[int(r.integers(bad.size))] = value
        return bad
    if which == 6:
        return bad[:-1]
    if which == 7:
        return bad[..., :-1]
    if which == 8:
        return bad[None]
    if which == 9:
        return bad.astype(object)
    if which == 10:
        return np.ma.masked_array(bad, bad == bad.flat[0] if bad.size else False)
    if which == 11:
        return bad.tolist()
    if which == 12:
        return bad.astype("U9")
    if which == 13:
        return Liar(bad, int(r.integers(9)))
    if which == 14 and bad.ndim == 2:
        return sparse(r, bad)
    if which == 15:
        return np.broadcast_to(bad[:1], bad.shape) if bad.size else bad
    if which == 16:
        raw = np.zeros(bad.nbytes + 1, np.uint8)[1:].view(bad.dtype).reshape(bad.shape)  # unaligned
        raw[...] = bad
        return raw
    if which == 17:
        return bad[::-1]
    if which == 18:
        return bad.astype(">f8") if bad.dtype.kind == "f" else bad.astype(">i8")
    return anything(r)


def sparse(r: np.random.Generator, good: np.ndarray) -> Any:
    """A sparse matrix whose arrays may be spoilt."""
    S = scipy.sparse.csr_array(np.where(r.random(good.shape) < 0.5, good, 0))
    name = one_of(r, ["none", "indices", "indptr", "data", "none"])
    if name != "none" and len(getattr(S, name)):
        part = getattr(S, name).copy()
        with np.errstate(all="ignore"):
            part[int(r.integers(len(part)))] = one_of(r, [-1, 3, 2**31 - 1, -(2**31)])
        setattr(S, name, part)
    return one_of(r, [S, S.tocoo() if name == "none" else S, scipy.sparse.csr_matrix(good)])


# --- what fits -----------------------------------------------------------------------------------


def inputs(r: np.random.Generator, net: fb.Network) -> np.ndarray:
    n = int(one_of(r, [1, 1, 2, 5, 17, 130]))
    return np.ascontiguousarray(r.normal(size=(n, net.sizes[0])), one_of(r, [net.dtype, "float64"]))


def targets(r: np.random.Generator, net: fb.Network, n: int) -> np.ndarray:
    cost, n_out = net.machine.cost, net.sizes[-1]
    if cost.targets == "distribution" and r.random() < 0.7:
        return r.integers(0, n_out, n)
    Y = r.random((n, n_out))
    return Y / Y.sum(axis=1, keepdims=True) if cost.targets == "distribution" else Y


Draw = Callable[[np.random.Generator, Any], Any]


def flat(r: np.random.Generator, w: Any) -> np.ndarray:
    return r.normal(size=w.net.n_parameters).astype(one_of(r, [w.net.dtype, "float64"]))


def a_file(r: np.random.Generator, w: Any) -> Any:
    return one_of(r, [
        w.folder / "net", w.folder / "new", str(w.folder / "net"), w.folder / "checkpoint",
        w.folder / "damaged", w.folder / "empty", w.folder, w.folder / "no" / "net",
        w.folder / "x\0y",
        w.folder / ("n" * 255), w.folder / ("n" * 256), os.fsencode(w.folder / "net"), "",
        w.folder / "link", w.folder / "loop", w.folder / "read_only", w.folder / "net.onnx",
        w.folder / "\ud800", "/dev/null", "/dev/full", Path("/proc/self/mem"), 3,
    ])  # fmt: skip


def optimizer(r: np.random.Generator, w: Any) -> Any:
    kind = one_of(r, [fb.SGD, fb.Adam, fb.AdamW, fb.RMSprop, fb.Lion, fb.Rprop, fb.Adagrad])
    options: dict[str, Any] = {}
    if r.random() < 0.3:
        options |= one_of(r, [{"l2": 1e-2}, {"max_norm": 1.0}, {"clip_norm": 1.0}, {"l1": 1e-3},
                              {"averaging": fb.EMA(0.9)}, {"clip_value": 0.1}])  # fmt: skip
    rate = one_of(r, [1e-3, 0.1, 1e30, fb.Cosine(1e-2, 3), lambda step: 1e-3, lambda step: "x"])
    return one_of(r, ["adam", "sgd", kind(rate, **options), w.used, "lbfgs", fb.LBFGS()])


def batches(r: np.random.Generator, w: Any) -> Any:
    def some() -> Any:
        for _ in range(2):
            X = inputs(r, w.net)
            yield X, targets(r, w.net, len(X))
        if r.random() < 0.3:
            raise Mine
        if r.random() < 0.5:
            yield anything(r), anything(r)

    return one_of(r, [some(), list(itertools.islice(some(), 2))])


def callback(r: np.random.Generator, w: Any) -> Any:
    class Changes:
        def on_epoch_end(self, net: Any, epoch: Any, logs: Any) -> Any:
            return one_of(r, [True, False, None, [], "x"])

        def get_state(self) -> Any:
            return one_of(r, [{}, {"a": 1}, {"a": np.zeros(2)}, None, {"a": object()}, {1: 2}])

        def set_state(self, state: Any) -> None:
            raise ValueError("not mine")

    def raises(*arguments: Any) -> Any:
        raise Mine

    return one_of(r, [(), raises, Changes(), [Changes()], fb.TimeBudget(1e-9), fb.EarlyStopping(1),
                      fb.Checkpoint(w.folder / "checkpoint"), [fb.Checkpoint(w.folder / "new")],
                      fb.ErrorFlow(w.X, w.y), lambda *a: True])  # fmt: skip


# By the names in `calls.CALLS`. `w` has the network `net`, data `X` and `y` for it, and more.
KINDS: dict[str, Draw] = {
    "X": lambda r, w: w.X,
    "y": lambda r, w: w.y,
    "weights": lambda r, w: one_of(r, [None, r.random(len(w.X)), np.zeros(len(w.X))]),
    "out": lambda r, w: one_of(r, [None, np.zeros((len(w.X), w.net.sizes[-1]), w.net.dtype), w.X,
                                   w.net.weights[0], w.net.biases[-1].reshape(1, -1)]),
    "sample_out": lambda r, w: np.zeros((len(w.X), w.net.n_parameters), w.net.dtype),
    "flat": flat,
    "count": lambda r, w: one_of(r, [None, 1, 2, 3, 1000]),
    "epochs": lambda r, w: one_of(r, [1, 1, 2, 3]),
    "batch_size": lambda r, w: one_of(r, ["auto", None, 1, 2, 32, 10**9]),
    "optimizer": optimizer,
    "batches": batches,
    "flag": lambda r, w: bool(r.integers(2)),
    "rate": lambda r, w: one_of(r, [0.0, 0.5, fb.Dropout(0.2, inputs=0.1), [0.1]]),
    "number": lambda r, w: float(one_of(r, [0.0, 0.1, 0.5, 0.9, 1.0, 2.0])),
    "validation": lambda r, w: one_of(r, [None, 0.3, (w.X, w.y), (w.X, w.y, np.ones(len(w.X)))]),
    "callback": callback,
    "stopping": lambda r, w: one_of(r, [None, True, 2, fb.EarlyStopping(1)]),
    "metrics": lambda r, w: one_of(r, [None, "accuracy", "r2", lambda y, a: 1.0, lambda y, a: "x",
                                       fb.Metrics("r2", training=True), {"m": lambda y, a: 1}]),
    "path": a_file,
    "rng": lambda r, w: one_of(r, [None, 0, 5, np.random.default_rng(1)]),
    "engine": lambda r, w: one_of(r, ["numpy", "loops", "tiles"]),
    "sizes": lambda r, w: one_of(r, [[3, 4, 2], (3, 1), np.array([3, 5, 5, 2]), [3, 10**13, 1],
                                     [10**7, 10**7, 1], range(1, 4)]),
    "activation": lambda r, w: one_of(r, ["relu", "tanh", fb.LayerNorm("tanh"), fb.LeakyReLU(0.1)]),
    "output": lambda r, w: one_of(r, ["identity", "sigmoid", "softmax", "log_softmax", "tanh"]),
    "cost": lambda r, w: one_of(r, ["squared_error", "cross_entropy", fb.Huber(1.0), "hinge"]),
    "init": lambda r, w: one_of(r, ["auto", "zeros", "he_normal"]),
    "dtype": lambda r, w: one_of(r, ["float32", "float64", np.float64, float]),
    "function": lambda r, w: one_of(r, [lambda z: z, lambda z, a: 1.0, lambda z, a, y: a - y]),
    "schedule": lambda r, w: one_of(r, [0.1, fb.Cosine(0.1, 3), fb.Exponential(0.1, 0.9)]),
    "p": lambda r, w: one_of(r, [(), (0.1,), (0.1, 0.2)]),
    "state": lambda r, w: one_of(r, [{}, {"0.weight": np.zeros((2, 3)), "0.bias": np.zeros(2)}]),
    "anything": lambda r, w: anything(r),
    "directions": lambda r, w: r.normal(size=(2, w.net.sizes[0])),
    "gradient": lambda r, w: r.normal(size=(len(w.X), w.net.sizes[-1])),
    "jets": lambda r, w: r.normal(size=(2, len(w.X), w.net.sizes[-1])),
    "networks": lambda r, w: [w.net, w.net],
    "objective": lambda r, w: lambda net: (1.0, net.get_parameters()),
}  # fmt: skip
HOSTILE_FILES = {"path"}


def argument(name: str, r: np.random.Generator, world: Any, hostile: bool) -> Any:
    """One for this name; if hostile, most likely not one that fits."""
    good = KINDS[name](r, world)
    if not hostile:
        return good
    if isinstance(good, np.ndarray) and r.random() < 0.7:
        return spoilt(r, good)
    if isinstance(good, int | float) and r.random() < 0.6:
        return number(r) if r.random() < 0.5 else small(r)
    return anything(r)
