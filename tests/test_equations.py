"""Equations (0) to (4), each by itself, against the sums of the derivation.

The loops take one sample, the loop-free functions a batch: an adapter for each makes them look
alike. Matrices hold a sample a row; the expected numbers come from `naive`.
"""

from types import SimpleNamespace

import naive
import numpy as np
import pytest
from problems import CHOSEN, TOLERANCE, deviation, every_dtype, every_hidden

from fastbackprop.engines import loopfree, loops
from fastbackprop.functions.activations import ACTIVATIONS
from fastbackprop.functions.arrays import on_arrays
from fastbackprop.functions.costs import COSTS, pair
from fastbackprop.layout import Layout

N = 5  # samples


def each_row(function, n_out, *matrices):
    """function(row of each matrix ..., result) for every sample; returns the results as rows."""
    results = np.full((N, n_out), np.nan, matrices[0].dtype)  # all of it has to be written
    for *rows, result in zip(*matrices, results, strict=True):
        function(*rows, result)
    return results


def loops_weighted_input(A, W, b):
    return each_row(lambda a, z: loops.weighted_input(a, W, b, z), len(b), A)


def loops_output_error(sigma, cost, Z, A, Y):
    model = loops.model(Layout([1, Z.shape[1]]), [sigma], cost, Z.dtype)

    def equation(z, a, y, delta):
        loops.output_error(model.layers[1], model.cost, z, a, y, delta)

    return each_row(equation, Z.shape[1], Z, A, Y)


def loops_hidden_error(sigma, W_next, Delta_next, Z, A):
    model = loops.model(Layout([1, Z.shape[1]]), [sigma], COSTS["squared_error"][0], Z.dtype)

    def equation(delta_next, z, a, delta):
        loops.hidden_error(model.layers[1], W_next, delta_next, z, a, delta)

    return each_row(equation, Z.shape[1], Delta_next, Z, A)


def loops_weight_gradient(A, Delta):
    g = np.full((A.shape[1], Delta.shape[1]), 7, A.dtype)  # is added to
    for a, delta in zip(A, Delta, strict=True):
        loops.weight_gradient(a, delta, g)
    return g - 7


def loops_bias_gradient(Delta):
    g = np.full(Delta.shape[1], 7, Delta.dtype)
    for delta in Delta:
        loops.bias_gradient(delta, g)
    return g - 7


LOOPS = SimpleNamespace(
    weighted_input=loops_weighted_input,
    output_error=loops_output_error,
    hidden_error=loops_hidden_error,
    weight_gradient=loops_weight_gradient,
    bias_gradient=loops_bias_gradient,
)
LOOPFREE = SimpleNamespace(
    weighted_input=loopfree.weighted_input,
    output_error=lambda sigma, cost, Z, A, Y: loopfree.output_error(
        on_arrays(sigma, Z.dtype), on_arrays(cost, Z.dtype), Z, A, Y
    ),
    hidden_error=lambda sigma, W, Delta, Z, A: loopfree.hidden_error(
        on_arrays(sigma, Z.dtype), W, Delta, Z, A
    ),
    weight_gradient=loopfree.weight_gradient,
    bias_gradient=loopfree.bias_gradient,
)
every_text = pytest.mark.parametrize("equations", [LOOPS, LOOPFREE], ids=["loops", "loopfree"])
every_width = pytest.mark.parametrize(("n_in", "n_out"), [(1, 1), (1, 4), (3, 1), (3, 4), (19, 33)])


def matrices(dtype, *shapes):
    rng = np.random.default_rng(3)
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def layer_below(sigma, Z):
    """A = sigma(Z), rounded to Z's dtype."""
    return np.array([naive.activate(sigma, z) for z in naive.plain(Z)], Z.dtype)


@every_dtype
@every_text
@every_width
def test_0_weighted_input(n_in, n_out, equations, dtype):
    A, W, b = matrices(dtype, (N, n_in), (n_in, n_out), n_out)
    comp = equations.weighted_input(A, W, b)
    ref = [naive.forward([W], [b], [], "identity", a)[0][0] for a in A]
    assert comp.dtype == dtype
    assert deviation(comp, ref) < TOLERANCE[dtype]


@every_dtype
@every_text
@pytest.mark.parametrize("n_out", [2, 5])
@pytest.mark.parametrize(("sigma", "cost"), CHOSEN)
def test_1_output_error(sigma, cost, n_out, equations, dtype):
    Z, Y = matrices(dtype, (N, n_out), (N, n_out))
    A = layer_below(sigma, Z)
    activation, cost_of_pair = ACTIVATIONS[sigma], pair(cost, ACTIVATIONS[sigma])
    if cost_of_pair.targets == "real":
        n_out -= n_out % cost_of_pair.outputs_per_target
        Z, Y, A = (np.ascontiguousarray(M[:, :n_out]) for M in (Z, Y, A))
    else:
        Y = layer_below("softmax", Y)
    comp = equations.output_error(activation, cost_of_pair, Z, A, Y)
    samples = zip(naive.plain(Z), naive.plain(Y), strict=True)
    ref = [naive.output_error(cost, sigma, [z], [naive.activate(sigma, z)], y) for z, y in samples]
    assert comp.dtype == dtype
    assert deviation(comp, ref) < TOLERANCE[dtype]


@every_dtype
@every_text
@pytest.mark.parametrize(("n", "n_next"), [(1, 1), (4, 1), (1, 3), (4, 3), (33, 19)])
@every_hidden
def test_2_hidden_error(hidden, n, n_next, equations, dtype):
    Z, W_next, Delta_next = matrices(dtype, (N, n), (n, n_next), (N, n_next))
    comp = equations.hidden_error(
        ACTIVATIONS[hidden], W_next, Delta_next, Z, layer_below(hidden, Z)
    )
    slope, W = naive.ACTIVATIONS[hidden][1], naive.plain(W_next)
    ref = [
        [slope(z[j]) * sum(d[k] * W[j][k] for k in range(n_next)) for j in range(n)]
        for z, d in zip(naive.plain(Z), naive.plain(Delta_next), strict=True)
    ]
    assert comp.dtype == dtype
    assert deviation(comp, ref) < TOLERANCE[dtype]


@every_dtype
@every_text
@every_width
def test_3_weight_gradient(n_in, n_out, equations, dtype):
    A, Delta = matrices(dtype, (N, n_in), (N, n_out))
    comp = equations.weight_gradient(A, Delta)
    assert comp.dtype == dtype
    assert (
        deviation(comp, naive.weight_gradient(naive.plain(A), naive.plain(Delta)))
        < (TOLERANCE[dtype])
    )


@every_dtype
@every_text
@every_width
def test_4_bias_gradient(n_in, n_out, equations, dtype):
    (Delta,) = matrices(dtype, (N, n_out))
    comp = equations.bias_gradient(Delta)
    assert comp.dtype == dtype
    assert deviation(comp, naive.bias_gradient(naive.plain(Delta))) < TOLERANCE[dtype]
