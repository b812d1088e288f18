"""The gradient against PyTorch's and JAX's automatic differentiation, where they are installed."""

from itertools import cycle

import autodiff
import naive
import numpy as np
import pytest
from problems import (
    FEW_PAIRS,
    HIDDEN,
    TOLERANCE,
    deviation,
    every_combination,
    every_dtype,
    every_engine,
    problem,
)


def check_gradient(oracle, p, s):
    Y = np.tile(p.Y, (1, p.net.machine.cost.outputs_per_target))
    cost_ref, *gradient_ref = oracle(*p.network, p.X, Y, s)
    cost, *gradient = p.net.gradient(p.X, p.Y, s)
    tolerance = TOLERANCE[p.net.dtype.name]
    assert deviation(cost, cost_ref) < tolerance
    assert deviation(naive.flatten(*gradient), naive.flatten(*gradient_ref)) < tolerance


@every_dtype
@every_engine
@every_combination
def test_torch(hidden, output, cost, engine, dtype):
    options = {"hidden": hidden, "output": output, "cost": cost, "engine": engine, "dtype": dtype}
    p = problem([3, 4, 3, 2], **options)
    check_gradient(autodiff.torch_gradient, p, p.s)


@every_engine
@pytest.mark.parametrize("n_samples", [1, 19])
@pytest.mark.parametrize(
    "sizes",
    [[1, 1], [35, 9], [1, 2, 1], [3, 2, 5, 2], [2, 3, 1, 4, 2], [4, 3, 2, 3, 9, 17]],
    ids=str,
)
def test_torch_at_every_depth(sizes, n_samples, engine):
    hidden = ["tanh", "gelu", "silu", "softplus"][: len(sizes) - 2]
    p = problem(sizes, n_samples, hidden=hidden, output="tanh", engine=engine, dtype="float64")
    check_gradient(autodiff.torch_gradient, p, None)


# JAX compiles for every network: each activation and each pair of output and cost once.
@every_engine
@pytest.mark.parametrize(
    ("hidden", "output", "cost"),
    [(hidden, *pair) for hidden, pair in zip(HIDDEN, cycle(FEW_PAIRS))],
)
def test_jax(hidden, output, cost, engine):
    options = {"hidden": hidden, "output": output, "cost": cost, "engine": engine}
    p = problem([3, 4, 3, 2], dtype="float64", **options)
    check_gradient(autodiff.jax_gradient, p, p.s)
