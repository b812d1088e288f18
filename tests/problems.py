"""Networks with data to try them on, and how far two results are apart.

What a test is parametrised over comes from the package's registries: what is registered is tested.
"""

from typing import NamedTuple

import naive
import numpy as np
import pytest

import fastbackprop as fb
from fastbackprop.engines import ENGINES
from fastbackprop.functions.activations import ACTIVATIONS
from fastbackprop.functions.costs import COSTS, pair


def is_defined(output, cost):
    try:
        pair(cost, ACTIVATIONS[output])
    except ValueError:
        return False
    return True


HIDDEN = [activation.name for activation in ACTIVATIONS.values() if not activation.coupled]
PAIRS = [(output, cost) for output in ACTIVATIONS for cost in COSTS if is_defined(output, cost)]

# Each output once, with the plainest cost; each cost once with each output of its own, or, where it
# goes with all, with one that couples nothing. What depends on neither is tried with a few.
CHOSEN = [(output, "squared_error") for output in ACTIVATIONS] + [
    (cost.output or "tanh", name)
    for name in COSTS
    for cost in COSTS[name]
    if name != "squared_error"
]
FEW_HIDDEN = ["identity", "relu", "leaky_relu", "elu", "gelu", "sin"]
FEW_PAIRS = [
    ("identity", "squared_error"),
    ("softmax", "squared_error"),
    ("softmax", "cross_entropy"),
    ("sigmoid", "cross_entropy"),
]
DTYPES = ["float64", "float32"]

every_engine = pytest.mark.parametrize("engine", ENGINES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_hidden = pytest.mark.parametrize("hidden", HIDDEN)
every_pair = pytest.mark.parametrize(("output", "cost"), CHOSEN)

# Every activation with a pair, every pair with an activation, some of both with one another.
COMBINATIONS = [
    *((hidden, "identity", "squared_error") for hidden in HIDDEN),
    *(("tanh", *pair_) for pair_ in CHOSEN if pair_ != ("identity", "squared_error")),
    *((hidden, *pair_) for hidden in FEW_HIDDEN for pair_ in FEW_PAIRS[1:]),
]
every_combination = pytest.mark.parametrize(("hidden", "output", "cost"), COMBINATIONS)

# Of a quantity, relative to its largest entry. Largest measured: 6e-15 and 2e-6.
TOLERANCE = {"float64": 1e-13, "float32": 1e-5}


class Problem(NamedTuple):
    """A network with inputs, targets (n_samples, n_L) and sample weights for it."""

    net: fb.Network
    X: np.ndarray
    Y: np.ndarray
    s: np.ndarray

    @property
    def network(self):
        """The network as the oracles take it: weights, biases, and the names of the functions."""
        net = self.net
        return net.weights, net.biases, net.hidden, net.output, net.cost

    def reference(self, Y=None, s=None):
        """Every quantity of the derivation, by scalar sums in double precision."""
        Y = self.Y if Y is None else Y
        groups = self.net.machine.cost.outputs_per_target
        return naive.trace(
            *self.network, self.X, np.tile(Y, (1, groups)), s, self.net.machine.cost.p
        )


def problem(sizes, n_samples=5, seed=7, **options):
    """Random parameters and data, exact in the network's dtype; options are `Network`'s."""
    rng = np.random.default_rng(seed)
    net = fb.Network(sizes, rng=rng, **options)
    for b in net.biases:
        b[:] = rng.normal(size=b.shape)
    X = rng.normal(size=(n_samples, sizes[0]))
    Y = targets(rng, net, n_samples)
    s = rng.uniform(0.5, 2.0, n_samples)
    return Problem(net, X.astype(net.dtype), Y.astype(net.dtype), s)


def targets(rng, net, n_samples):
    """What the cost takes, each kind with numbers at its ends."""
    shape = n_samples, net.machine.cost.n_targets(net.sizes[-1])
    kind, Y = net.machine.cost.targets, rng.random(shape)
    if kind == "real":
        return rng.normal(size=shape)
    if kind == "distribution":
        return Y / Y.sum(axis=1, keepdims=True)
    if kind == "sign":
        return np.where(Y < 0.5, -1.0, 1.0)
    return {"unit": Y, "non-negative": rng.poisson(2.0, shape), "positive": 3 * Y + 0.1}[kind]


def deviation(comp, ref):
    """Largest difference, relative to the largest entry of the reference."""
    comp, ref = np.asarray(comp, dtype=float), np.asarray(ref, dtype=float)
    assert comp.shape == ref.shape
    scale = np.abs(ref).max()
    return np.abs(comp - ref).max() / (scale if scale > 0 else 1.0)
