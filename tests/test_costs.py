"""Costs and output errors: by hand, at saturation, where they are small; what is refused."""

import math

import autodiff
import naive
import numba
import numpy as np
import pytest
from problems import (
    CHOSEN,
    PAIRS,
    TOLERANCE,
    deviation,
    every_dtype,
    every_engine,
    every_pair,
    problem,
)

import fastbackprop as fb
from fastbackprop.functions.activations import ACTIVATIONS
from fastbackprop.functions.arrays import on_arrays, with_p
from fastbackprop.functions.costs import COSTS


def outputs_are_inputs(n, engine="loops", dtype="float64", **options):
    """A network with z^L = x."""
    net = fb.Network([n, n], engine=engine, dtype=dtype, rng=0, **options)
    net.weights[0] = np.eye(n)
    return net


def costs_and_deltas(net, Z, Y):
    """C and delta^L of every sample by itself."""
    traces = [net.trace([z], [y]) for z, y in zip(Z, Y, strict=True)]
    return [t.cost for t in traces], [t.delta[-1][0] for t in traces]


def references(output, cost, Z, Y):
    traces = [
        naive.trace([np.eye(len(z))], [[0] * len(z)], [], output, cost, [z], [y])
        for z, y in zip(Z, Y, strict=True)
    ]
    return [t.cost for t in traces], [t.delta[0][0] for t in traces]


# --- values --------------------------------------------------------------------------------------


@every_engine
@pytest.mark.parametrize(
    ("output", "cost", "z", "y", "C", "delta"),
    [  # sigmoid(log 3) = 3/4, softmax(0, log 3) = (1/4, 3/4)
        ("identity", "squared_error", [3, 5], [1, 6], 2.5, [2, -1]),
        ("relu", "squared_error", [-3, 5], [1, 6], 1, [0, -1]),
        ("softmax", "squared_error", [0, math.log(3)], [0, 1], 1 / 16, [3 / 32, -3 / 32]),
        ("sigmoid", "squared_error", [0, math.log(3)], [0, 1], 5 / 32, [1 / 8, -3 / 64]),
        ("softmax", "cross_entropy", [0, math.log(3)], [0, 1], math.log(4 / 3), [0.25, -0.25]),
        ("softmax", "cross_entropy", [0, math.log(3)], [1, 0], math.log(4), [-0.75, 0.75]),
        ("sigmoid", "cross_entropy", [0, math.log(3)], [0, 1], math.log(8 / 3), [0.5, -0.25]),
        ("sigmoid", "cross_entropy", [0, math.log(3)], [0.5, 0], math.log(8), [0, 0.75]),
    ],
)
def test_by_hand(output, cost, z, y, C, delta, engine):
    net = outputs_are_inputs(2, engine, output=output, cost=cost)
    trace = net.trace([z], [y])
    assert trace.cost == pytest.approx(C, rel=1e-14)
    assert trace.delta[0][0] == pytest.approx(delta, rel=1e-14, abs=1e-15)


@every_engine
def test_the_cost_of_a_batch_is_the_weighted_mean(engine):
    net = outputs_are_inputs(1, engine)
    X, Y = [[1.0], [2.0]], [[0.0], [5.0]]  # C is 0.5 and 4.5, delta 1 and -3
    assert net.evaluate(X, Y) == 2.5
    assert net.evaluate(X, Y, [3, 1]) == 1.5
    assert net.gradient_sums(X, Y, [3, 1])[:2] == (6.0, 4.0)
    assert np.array_equal(net.trace(X, Y, [3, 1]).delta[0], [[0.75], [-0.75]])
    assert net.gradient(X, Y, [3, 1]).biases == [[0.0]]


# --- saturation ----------------------------------------------------------------------------------

FAR = [sign * z for z in (0.1, 1.0, 10.0, 20.0, 40.0, 90.0, 100.0, 750.0, 1e4) for sign in (-1, 1)]
SATURATED = (
    [[z, 0.0, -z / 3] for z in FAR] + [[z, z, z] for z in FAR] + [[z, z - 3, 0] for z in FAR]
)
OF_SHARES = ["cross_entropy", "kl_divergence", "focal"]
TARGETS = [[1, 0, 0], [0, 1, 0], [0.25, 0.25, 0.5]]


OF_PROBABILITIES = [(output, cost) for output, cost in CHOSEN if cost in OF_SHARES] + [
    (output, "squared_error") for output in ("sigmoid", "softmax", "log_softmax", "silu")
]


@every_dtype
@every_engine
@pytest.mark.parametrize(("output", "cost"), OF_PROBABILITIES)
@pytest.mark.parametrize("y", TARGETS, ids=str)
def test_saturated_outputs(y, output, cost, engine, dtype):
    Z, Y = np.array(SATURATED, dtype), [y] * len(SATURATED)
    net = outputs_are_inputs(3, engine, dtype, output=output, cost=cost)
    costs, deltas = costs_and_deltas(net, Z, Y)
    costs_ref, deltas_ref = references(output, cost, Z, Y)
    # 1 + small is rounded at 1: that much is lost of a cost near 0, and of a delta.
    absolute = 10 * float(np.finfo(dtype).eps)
    assert costs == pytest.approx(costs_ref, rel=TOLERANCE[dtype], abs=absolute)
    for delta, delta_ref in zip(deltas, deltas_ref, strict=True):
        assert delta == pytest.approx(delta_ref, rel=TOLERANCE[dtype], abs=absolute)


@every_dtype
@every_engine
@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_a_wrong_certainty_costs_what_it_should(output, engine, dtype):
    net = outputs_are_inputs(2, engine, dtype, output=output, cost="cross_entropy")
    trace = net.trace([[1e4, -1e4]], [[0, 1]])
    assert trace.cost == 2e4
    assert np.array_equal(trace.delta[0], [[1, -1]])
    trace = net.trace([[1e4, -1e4]], [[1, 0]])
    assert trace.cost == 0
    assert not np.any(trace.delta[0])


@every_engine
def test_labels_of_saturated_outputs(engine):
    net = outputs_are_inputs(3, engine, output="softmax", cost="cross_entropy")
    Z = [[1e4, -1e4, 0], [-1e4, 1e4, 0], [0, 0, 1e4]]
    assert net.evaluate(Z, [0, 1, 2]) == 0
    assert net.evaluate(Z, [1, 0, 0]) == pytest.approx((2e4 + 2e4 + 1e4) / 3, rel=1e-15)


@every_dtype
@every_engine
@pytest.mark.parametrize(
    ("output", "z", "y", "C"),
    [  # large z whose differences decide: gathered the other way, the cost would be rounding
        ("softmax", [1000.0, 993.0], [1, 0], math.log1p(math.exp(-7))),
        ("softmax", [-1000.0, -993.0], [0, 1], math.log1p(math.exp(-7))),
        ("sigmoid", [20.0, -15.0], [1, 0], math.log1p(math.exp(-20)) + math.log1p(math.exp(-15))),
        ("sigmoid", [80.0, -80.0], [1, 0], 2 * math.exp(-80)),
    ],
)
def test_small_costs_are_not_lost(output, z, y, C, engine, dtype):
    net = outputs_are_inputs(2, engine, dtype, output=output, cost="cross_entropy")
    digits = {"float64": 1e-12, "float32": 1e-3 if output == "softmax" else 1e-5}
    assert net.evaluate([z], [y]) == pytest.approx(C, rel=digits[dtype], abs=0)


@every_dtype
@every_engine
def test_small_costs_are_not_lost_in_a_large_sum(engine, dtype):
    net = outputs_are_inputs(1, engine, dtype)
    X = [[1e4], *[[1.0]] * 1000]
    assert net.evaluate(X, np.zeros((1001, 1))) == pytest.approx((0.5e8 + 500) / 1001, rel=1e-15)


# --- costs on arrays -----------------------------------------------------------------------------


ALL = [cost for costs in COSTS.values() for cost in costs]
ELEMENTWISE = [cost for cost in ALL if not cost.coupled]


@every_dtype
@pytest.mark.parametrize("cost", ALL, ids=lambda cost: f"{cost.name}-{cost.output}")
def test_the_gradient_is_the_slope(cost, dtype):
    """dC/da^L, or dC/dz^L of a pair, against differences of the cost."""
    rng, h = np.random.default_rng(5), 1e-3
    Z, Y = rng.normal(size=(4, 4)), rng.random((4, 4)) + 0.05
    activation = on_arrays(ACTIVATIONS[cost.output or "identity"], "float64")
    of_doubles = on_arrays(cost, "float64")

    def costs(Z):
        return of_doubles.terms(Z, activation.sigma(Z), Y).sum(axis=1)

    slope = np.empty_like(Z)
    for k, unit in enumerate(np.eye(4)):
        near, far = (costs(Z + m * h * unit) - costs(Z - m * h * unit) for m in (1, 2))
        slope[:, k] = (8 * near - far) / (12 * h)
    Z, Y, cost = Z.astype(dtype), Y.astype(dtype), on_arrays(cost, dtype)
    gradient = cost.gradient(Z, activation.sigma(Z), Y)
    assert gradient.dtype == cost.terms(Z, activation.sigma(Z), Y).dtype == dtype
    assert deviation(gradient, slope) < {"float64": 1e-11, "float32": 1e-6}[dtype]


@pytest.mark.parametrize("cost", ALL, ids=lambda cost: f"{cost.name}-{cost.output}")
def test_second_derivatives_are_the_slope_of_the_gradient(cost):
    """H v against differences of the gradient along v; of elementwise costs H is diagonal."""
    rng, h = np.random.default_rng(6), 1e-3
    Z, Y, V = rng.normal(size=(4, 4)), rng.random((4, 4)), rng.normal(size=(4, 4))
    activation = on_arrays(ACTIVATIONS[cost.output or "identity"], "float64")
    cost = on_arrays(cost, "float64")

    def gradient(Z):
        return cost.gradient(Z, activation.sigma(Z), Y)

    near, far = (gradient(Z + m * h * V) - gradient(Z - m * h * V) for m in (1, 2))
    A = activation.sigma(Z)
    if not cost.coupled:
        product = cost.second(Z, A, Y) * V
    else:
        product = cost.second(V, Z, A, Y)
    assert product == pytest.approx((8 * near - far) / (12 * h), rel=1e-9, abs=1e-10)


@pytest.mark.compiled
@pytest.mark.parametrize("cost", ELEMENTWISE)
def test_compiled_float32_stays_float32(cost):
    terms, gradient = (with_p(f, 3, np.dtype("float32")) for f in (cost.terms, cost.gradient))

    @numba.njit
    def value_and_slope(z, a, y, p):
        return terms(z, a, y, p), gradient(z, a, y, p)

    value_and_slope.compile((*(numba.float32,) * 3, numba.float32[::1]))
    types = value_and_slope.nopython_signatures[0].return_type
    assert types == numba.types.UniTuple(numba.float32, 2)


# --- which cost goes with which output -----------------------------------------------------------


WITH_EVERY_OUTPUT = [
    *("squared_error", "absolute_error", "huber", "log_cosh", "quantile"),
    *("hinge", "squared_hinge", "cosine"),
]
OUTPUTS = {
    "poisson": ["identity", "exp"],
    "gamma": ["identity", "exp"],
    "tweedie": ["identity", "exp"],
    "gaussian_nll": ["identity"],
    "cross_entropy": ["softmax", "sigmoid", "log_softmax"],
    "kl_divergence": ["softmax", "log_softmax"],
    "focal": ["softmax", "sigmoid"],
}


def test_pairs_are_those_that_mean_something():
    everything = [(output, cost) for output in ACTIVATIONS for cost in WITH_EVERY_OUTPUT]
    own = [(output, cost) for cost, outputs in OUTPUTS.items() for output in outputs]
    assert sorted(PAIRS) == sorted(everything + own)


@pytest.mark.parametrize("cost", OUTPUTS)
@pytest.mark.parametrize("output", ["relu", "softmax", "sigmoid"])
def test_other_pairs_are_refused_with_a_reason(output, cost):
    if output in OUTPUTS[cost]:
        return
    reason = f"cost='{cost}' needs output=.*; got output='{output}'"
    with pytest.raises(ValueError, match=reason) as refusal:
        fb.Network([2, 3], output=output, cost=cost)
    with pytest.raises(ValueError, match="is not defined for"):
        naive.sample_cost(cost, output, [[0.0]], [[0.0]], [0.0])
    partners = [repr(partner) for partner, name in PAIRS if name == cost]
    assert all(partner in str(refusal.value) for partner in partners)


@every_pair
def test_a_network_knows_its_pair(output, cost):
    net = fb.Network([2, 4], output=output, cost=cost)
    assert (net.output, net.cost) == (output, cost)


# --- with parameters, and several outputs for a target -------------------------------------------

PARAMETRIC = [  # cost, output, number of outputs
    (fb.Huber(0.3), "identity", 3),
    (fb.Quantile([0.1, 0.5, 0.8]), "identity", 6),
    (fb.Quantile(0.9), "softplus", 2),
    (fb.Tweedie(1.2), "identity", 2),
    (fb.Tweedie(1.9), "exp", 2),
    (fb.Focal(0.5), "sigmoid", 3),
    (fb.Focal(3.0), "softmax", 3),
    (fb.CrossEntropy(label_smoothing=0.1), "softmax", 3),
    (fb.CrossEntropy(label_smoothing=0.1), "log_softmax", 3),
    (fb.CrossEntropy(label_smoothing=0.1), "sigmoid", 3),
    ("gaussian_nll", "identity", 4),
]


@every_engine
@pytest.mark.parametrize(("cost", "output", "n"), PARAMETRIC, ids=str)
def test_costs_with_parameters(cost, output, n, engine, tmp_path):
    options = {"output": output, "cost": cost, "engine": engine, "dtype": "float64"}
    p = problem([3, 4, n], 6, hidden="tanh", **options)
    ref, trace = p.reference(s=p.s), p.net.trace(p.X, p.Y, p.s)
    assert p.Y.shape[1] == p.net.machine.cost.n_targets(n)
    assert deviation(trace.cost, ref.cost) < TOLERANCE["float64"]
    for name in ("delta", "weight_gradients", "bias_gradients"):
        for comp_l, ref_l in zip(getattr(trace, name), getattr(ref, name), strict=True):
            assert deviation(comp_l, ref_l) < TOLERANCE["float64"]
    assert p.net.check_gradient(p.X, p.Y) < 1e-9
    p.net.save(tmp_path / "net")
    loaded = fb.Network.load(tmp_path / "net")
    assert repr(loaded) == repr(p.net) and str(p.net.machine.cost) in repr(p.net)
    assert loaded.evaluate(p.X, p.Y) == p.net.evaluate(p.X, p.Y)


@pytest.mark.parametrize(("cost", "output", "n"), PARAMETRIC, ids=str)
def test_parameters_by_pytorch(cost, output, n):
    torch = pytest.importorskip("torch")
    options = {"output": output, "cost": cost, "engine": "numpy", "dtype": "float64"}
    net = outputs_are_inputs(n, **options | {"dtype": "float64"})
    p = problem([3, n], 6, **options)
    Z = np.random.default_rng(2).normal(size=(6, n))
    trace, cost = net.trace(Z, p.Y), net.machine.cost
    z = torch.tensor(Z, requires_grad=True)
    a = net.to_torch()[1](z) if output not in ("identity", "exp") else z
    a = torch.exp(z) if output == "exp" else a
    Y = torch.tensor(np.tile(p.Y, (1, cost.outputs_per_target)))
    C = autodiff.torch_costs(cost.name, output, z, a, Y, cost.p).mean()
    C.backward()
    assert trace.cost == pytest.approx(C.item(), rel=1e-13)
    assert deviation(trace.delta[0], z.grad.numpy()) < 1e-12


@every_engine
def test_smoothed_labels_are_smoothed_rows(engine):
    options = {"output": "softmax", "engine": engine, "dtype": "float64"}
    smooth = outputs_are_inputs(3, cost=fb.CrossEntropy(0.3), **options)
    plain = outputs_are_inputs(3, cost="cross_entropy", **options)
    Z, labels = np.random.default_rng(1).normal(size=(9, 3)), np.arange(9) % 3
    Y = 0.7 * np.eye(3)[labels] + 0.1
    comp, ref = smooth.trace(Z, labels), plain.trace(Z, Y)
    assert comp.cost == pytest.approx(ref.cost, rel=1e-14)
    assert deviation(comp.delta[0], ref.delta[0]) < 1e-14


def test_quantiles_are_found():
    """A bias alone, so the outputs become the quantiles of y."""
    y = np.random.default_rng(0).exponential(size=(2001, 1))
    levels = [0.1, 0.5, 0.9]
    net = fb.Network([1, 3], cost=fb.Quantile(levels), dtype="float64", engine="numpy", rng=0)
    net.weights[0] = 0
    history = net.fit(
        np.zeros((2001, 1)),
        y,
        epochs=600,
        batch_size=None,
        optimizer=fb.SGD(0.1),
        metrics={"coverage": lambda y, a: float((y < a[:, 2:]).mean())},
    )
    assert net.biases[0] == pytest.approx(np.quantile(y, levels), abs=0.05)
    assert history[-1]["coverage"] == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize(
    ("options", "y", "message"),
    [
        ({"cost": "hinge"}, [[0, 1]], r"values of y are -1 or 1; one of them is 0.*2 \* y - 1"),
        ({"cost": "squared_hinge"}, [[2, 1]], r"values of y are -1 or 1; one of them is 2"),
        ({"cost": "poisson"}, [[-1, 1]], "values of y must be non-negative; the smallest is -1"),
        ({"cost": "gamma", "output": "exp"}, [[0, 1]], "must be positive; the smallest is 0"),
        ({"cost": "tweedie"}, [[-1, 1]], "must be non-negative"),
        ({"cost": "focal", "output": "sigmoid"}, [[2, 1]], "probabilities, in"),
        ({"cost": "kl_divergence", "output": "softmax"}, [[1, 1]], "must sum to one"),
        ({"cost": "gaussian_nll"}, [[1, 1]], r"shape \(n_samples, 1\) .* or \(n_samples,\); got"),
        ({"cost": fb.Quantile([0.1, 0.9])}, [[1, 1]], r"shape \(n_samples, 1\)"),
    ],
)
def test_targets_that_the_cost_has_no_use_for(options, y, message):
    net = fb.Network([2, 2], engine="numpy", **options)
    with pytest.raises(ValueError, match=message):
        net.fit([[1, 2]], y)


def test_sizes_that_the_cost_has_no_use_for():
    message = r"cost='gaussian_nll' has 2 outputs for each target.*multiple of 2; got 3"
    with pytest.raises(ValueError, match=message):
        fb.Network([2, 3], cost="gaussian_nll")
    with pytest.raises(ValueError, match=r"quantile\(0.1, 0.9\)' has 2 outputs for each target"):
        fb.Network([2, 3], cost=fb.Quantile([0.1, 0.9]))
    net = fb.Network([2, 2], cost="gaussian_nll", engine="numpy")
    with pytest.raises(ValueError, match="the metric 'r2' compares each output with a target"):
        net.fit([[1, 2]], [1], metrics="r2")


@pytest.mark.parametrize("rows", [True, False])
def test_targets_for_several_outputs_may_stay_in_a_file(rows, tmp_path):
    p = problem([2, 3, 4], 7, cost="gaussian_nll", engine="numpy", dtype="float64")
    np.save(tmp_path / "y.npy", p.Y)
    Y = np.load(tmp_path / "y.npy", mmap_mode="r")
    assert p.net.evaluate(p.X, Y) == p.net.evaluate(p.X, p.Y)
    p.net.fit(p.X, Y, epochs=1, metrics={"first": lambda y, a: float(y.shape[1])}, batch_size=3)


# --- where others overflow -----------------------------------------------------------------------


@every_dtype
@every_engine
@pytest.mark.parametrize(
    ("cost", "output", "z", "y", "C", "delta"),
    [
        ("log_cosh", "identity", 1e4, 0, 1e4 - math.log(2), 1),
        ("log_cosh", "identity", 1e-4, 0, 0.5e-8, 1e-4),
        ("huber", "identity", 1e4, 0, 1e4 - 0.5, 1),
        ("poisson", "identity", -1e4, 3, 3e4, -3),
        ("poisson", "exp", -1e4, 3, 3e4, -3),
        ("gamma", "exp", 50, 3, 50, 1),
        ("tweedie", "exp", -8, 0, 2 * math.exp(-4), math.exp(-4)),
        ("focal", "sigmoid", 1e4, 0, 1e4, 1),
        ("focal", "sigmoid", -1e4, 0, 0, 0),
        ("squared_hinge", "identity", 1e4, 1, 0, 0),
        ("hinge", "identity", -1e4, 1, 10001, -1),
    ],
)
def test_far_away(cost, output, z, y, C, delta, engine, dtype):
    net = outputs_are_inputs(1, engine, dtype, output=output, cost=cost)
    trace = net.trace([[z]], [[y]])
    rel = {"float64": 1e-7, "float32": 1e-4}[dtype]
    assert trace.cost == pytest.approx(C, rel=rel)
    assert trace.delta[0][0] == pytest.approx([delta], rel=rel)


@every_dtype
@every_engine
def test_directions_of_nothing_and_of_huge_vectors(engine, dtype):
    net = outputs_are_inputs(2, engine, dtype, cost="cosine")
    huge = 1e30 if dtype == "float32" else 1e300
    for z, y, C in ([0, 0], [1, 2], 1), ([1, 2], [0, 0], 1), ([huge, 0], [huge, 0], 0):
        trace = net.trace([z], [y])
        assert trace.cost == pytest.approx(C, abs=1e-6)
        assert np.abs(trace.delta[0]).max() < 1e-6
    assert net.trace([[3, 4]], [[0, huge]]).cost == pytest.approx(0.2, rel=1e-6)


@every_engine
@pytest.mark.parametrize(
    ("output", "cost", "least"), [("softmax", "kl_divergence", 0), ("sigmoid", "focal", 0)]
)
def test_nothing_is_paid_for_what_is_right(output, cost, least, engine):
    net = outputs_are_inputs(2, engine, output=output, cost=cost)
    assert net.evaluate([[800, -800]], [[1, 0]]) == least
    assert not net.trace([[800, -800]], [[1, 0]]).delta[0].any()
