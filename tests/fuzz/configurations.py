"""Random networks and data through the three engines, against an oracle.

The oracle is the loop-free engine in float64. How far a result in the network's dtype may be from
it is told by the oracle too: by how much its own result moves when parameters and inputs move by a
rounding of that dtype. So ill-conditioned sums and kinks explain themselves. Where the oracle
leaves the range of the dtype, so may the engine.
"""

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

import fastbackprop as fb
from tests.fuzz.values import one_of

HIDDEN = ["tanh", "relu", "softplus", "sin", "elu", fb.LeakyReLU(0.2), fb.LayerNorm("tanh")]
PAIRS = [("identity", "squared_error"), ("softmax", "cross_entropy"), ("sigmoid", "cross_entropy"),
         ("identity", "huber"), ("softmax", "squared_error")]  # fmt: skip
SCALES = [1e-30, 1e-3, 1.0, 1.0, 1.0, 30.0, 1e8, 1e30]


def drawn(r: np.random.Generator) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray]:
    """Arguments of `Network`, X, Y, and parameters, exact in float32."""
    depth, hidden = int(r.integers(0, 4)), []
    sizes = [int(one_of(r, [1, 2, 3, 9, 17, 33])) for _ in range(depth + 2)]
    output, cost = one_of(r, PAIRS)
    sizes[-1] = max(sizes[-1], 2)
    for n in sizes[1:-1]:
        hidden.append(one_of(r, HIDDEN if n > 1 else HIDDEN[:-1]))
    options = {"sizes": sizes, "hidden": hidden, "output": output, "cost": cost}
    n, scale = int(one_of(r, [1, 2, 7, 40, 140])), one_of(r, SCALES)
    X = (scale * r.normal(size=(n, sizes[0]))).astype(np.float32).astype(float)
    Y = r.random((n, sizes[-1]))
    Y = Y / Y.sum(axis=1, keepdims=True) if output == "softmax" else Y
    theta = one_of(r, SCALES[1:-1]) * r.normal(size=sum((m + 1) * k for m, k in pairwise(sizes)))
    return options, X, Y.astype(np.float32).astype(float), theta.astype(np.float32)


def result(net: fb.Network, X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """Predictions, the mean cost and its gradient, one behind the other, float64."""
    with np.errstate(all="ignore"):
        cost, weight, gradient = net.gradient_sums(X, Y)
        return np.concatenate([net.predict(X).ravel(), [cost / weight], gradient / weight]).astype(
            float
        )


def attempt(
    r: np.random.Generator, engine: str = "", placed: Callable[[Any], Any] = np.array
) -> tuple[str, str]:
    """How an engine's result differs from the oracle's, and what nothing explains.

    `placed` puts the data somewhere in memory.
    """
    options, X, Y, theta = drawn(r)
    dtype, one = one_of(r, ["float32", "float64"]), one_of(r, ["tiles", "loops", "numpy"])
    engine = engine or one
    oracle = fb.Network(**options, dtype="float64", engine="numpy", rng=0)
    oracle.set_parameters(theta)
    net = fb.Network(**options, dtype=dtype, engine=engine, rng=0)
    net.set_parameters(theta)
    ours = result(net, placed(X.astype(dtype)), placed(Y.astype(dtype)))
    expected = result(oracle, X, Y)
    eps, largest = np.finfo(dtype).eps, np.finfo(dtype).max
    z = [np.abs(a).max() for a in oracle.trace(X, Y).z]
    moved, other = np.zeros_like(expected), copy.deepcopy(oracle)
    for _ in range(6):
        other.set_parameters(theta * (1 + 4 * eps * r.uniform(-1, 1, theta.shape)))
        there = result(other, X * (1 + 4 * eps * r.uniform(-1, 1, X.shape)), Y)
        moved = np.fmax(moved, np.abs(there - expected))
    far = not np.isfinite(expected).all() or max(np.abs(expected).max(), *z) ** 2 > largest
    with np.errstate(all="ignore"):
        off = np.abs(ours - expected)
        tiny = 64 * np.finfo(dtype).tiny
        parts = np.split(np.arange(len(off)), [len(X) * options["sizes"][-1]])
        allowed = np.empty_like(off)
        for part in parts:  # predictions; the cost and the gradient
            scale = np.abs(expected[part]).max()
            allowed[part] = 64 * moved[part].max() + 512 * eps * scale + tiny
        bad = ~(off <= allowed)
    if not bad.any():
        return ("equal" if off.max() == 0 else "equal to rounding"), ""
    if far:
        return "beyond the range of the dtype", ""
    place = int(np.argmax(np.where(bad, off, 0)))
    text = (
        f"{options}, {dtype}, {engine}, n={len(X)}: {ours[place]!r}, expected {expected[place]!r}"
    )
    return "different", f"{text}; allowed {allowed[place]:.2g}"


def within(seed: int, first: int, last: int, tell: Any) -> None:
    """Configurations first ... last."""
    for i in range(first, last):
        tell(begin=i)
        outcome, wrong = attempt(np.random.default_rng([seed, i]))
        tell(attempt=i, name="configuration", outcome=outcome, wrong=wrong)
