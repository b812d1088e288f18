"""The oracle itself: against autodiff, central differences and arithmetic done by hand."""

import math
from functools import partial
from itertools import pairwise

import autodiff
import naive
import numpy as np
import pytest

HIDDEN = list(naive.ACTIVATIONS)
OUTPUTS = [  # every output, and every cost with each output of its own
    *((output, "squared_error") for output in [*HIDDEN, *naive.ROWS]),
    *(("identity", cost) for cost in naive.OF_DISTANCE if cost != "squared_error"),
    *(("identity", cost) for cost in ("quantile", "cosine", "gaussian_nll")),
    *((output, cost) for output in ("identity", "exp") for cost in naive.OF_LOG_MEAN),
    *((output, "cross_entropy") for output in ("softmax", "sigmoid", "log_softmax")),
    *((output, "kl_divergence") for output in ("softmax", "log_softmax")),
    *((output, "focal") for output in ("softmax", "sigmoid")),
]
COMBINATIONS = [(hidden, "identity", "squared_error") for hidden in HIDDEN] + [
    ("tanh", *pair) for pair in OUTPUTS
]
TOLERANCE = 1e-12  # relative to the largest entry; the largest measured is 2e-14

every_output = pytest.mark.parametrize(("output", "cost"), OUTPUTS)
every_hidden = pytest.mark.parametrize("hidden", HIDDEN)
every_combination = pytest.mark.parametrize(("hidden", "output", "cost"), COMBINATIONS)
every_oracle = pytest.mark.parametrize("oracle", [autodiff.torch_gradient, autodiff.jax_gradient])


def problem(sizes, n_samples, seed):
    """Weights, biases, X, targets whose rows do not sum to one, sample weights."""
    rng = np.random.default_rng(seed)
    weights = [rng.standard_normal(shape) for shape in pairwise(sizes)]
    biases = [rng.standard_normal(n) for n in sizes[1:]]
    X, Y = rng.standard_normal((n_samples, sizes[0])), rng.random((n_samples, sizes[-1]))
    return weights, biases, X, Y, rng.uniform(0.5, 2.0, n_samples)


def deviation(computed, expected):
    """Largest difference, relative to the largest entry expected."""
    assert [np.shape(c) for c in computed] == [np.shape(e) for e in expected]
    computed, expected = (np.concatenate([np.ravel(q) for q in qs]) for qs in (computed, expected))
    return np.abs(computed - expected).max() / np.abs(expected).max()


def check_gradient(oracle, *arguments):
    """Agreement of cost and gradient; returns the gradients for further checks."""
    C, dW, db = naive.gradient(*arguments)
    C_expected, dW_expected, db_expected = oracle(*arguments)
    assert deviation([C], [C_expected]) < TOLERANCE
    assert deviation(dW + db, dW_expected + db_expected) < TOLERANCE
    return dW + db


# Against autodiff


BY_JAX = ["squared_error", "cross_entropy"]
ORACLES = [(*combination, autodiff.torch_gradient) for combination in COMBINATIONS] + [
    (*combination, autodiff.jax_gradient)
    for combination in COMBINATIONS
    if combination[2] in BY_JAX and combination[1:] != ("log_softmax", "cross_entropy")
]


@pytest.mark.parametrize(("hidden", "output", "cost", "oracle"), ORACLES)
def test_gradient_of_every_combination(hidden, output, cost, oracle):
    weights, biases, X, Y, s = problem([3, 4, 2], 5, seed=2)
    gradients = check_gradient(oracle, weights, biases, [hidden], output, cost, X, Y, s)
    assert all(np.any(g) for g in gradients)


@pytest.mark.parametrize("n_samples", [1, 4])
@pytest.mark.parametrize(
    "sizes", [[2, 3], [1, 1, 1], [3, 2, 5, 2], [2, 3, 1, 4, 2], [4, 3, 2, 3, 4, 2]]
)
def test_gradient_at_every_depth(sizes, n_samples):
    weights, biases, X, Y, _ = problem(sizes, n_samples, seed=2)
    hidden = ["tanh", "gelu", "silu", "softplus"][: len(sizes) - 2]
    gradients = check_gradient(
        autodiff.torch_gradient, weights, biases, hidden, "sigmoid", "squared_error", X, Y
    )
    assert all(np.all(g) for g in gradients)


# From where sigma is steep to where it has saturated. Not 0: JAX's leaky_relu has slope 1 there.
FAR = [[m * z] for z in (0.01, 0.3, 1.0, 3.0, 8.0, 20.0, 35.0, 300.0, 800.0, 1e4) for m in (-1, 1)]


@every_oracle
@pytest.mark.parametrize("hidden", [h for h in HIDDEN if h not in ("exp", "hard_tanh")])
def test_gradient_of_saturated_hidden_layers(hidden, oracle):
    weights, biases = [[[1.0, -1.5]], [[1.0, 2.0], [-1.0, 0.5]]], [[0.0, 0.0], [0.1, -0.2]]
    Y = naive.one_hot([0, 1] * (len(FAR) // 2), 2)
    check_gradient(oracle, weights, biases, [hidden], "identity", "squared_error", FAR, Y)


SATURATING = [
    (output, cost)
    for output, cost in OUTPUTS
    if cost in ("squared_error", "cross_entropy", "kl_divergence", "focal") and output != "exp"
]


SATURATING = [(*pair, autodiff.torch_gradient) for pair in SATURATING] + [
    (output, cost, autodiff.jax_gradient)
    for output, cost in SATURATING
    if cost in BY_JAX and (output, cost) != ("log_softmax", "cross_entropy")
]


@pytest.mark.parametrize(("output", "cost", "oracle"), SATURATING)
def test_gradient_of_saturated_outputs(output, cost, oracle):
    weights, biases = [[[1.0, -1.5, 0.5]]], [[0.1, -0.2, 0.3]]
    for shift in range(3):  # every output is right once and wrong twice
        Y = naive.one_hot([shift] * len(FAR), 3)
        gradients = check_gradient(oracle, weights, biases, [], output, cost, FAR, Y)
        assert all(np.all(g) for g in gradients)


def test_delta_is_the_bias_gradient_of_one_sample():
    weights, biases, X, Y, s = problem([3, 4, 3, 2], 4, seed=3)
    network = weights, biases, ["tanh", "silu"], "softmax", "cross_entropy"
    trace = naive.trace(*network, X, Y, s)
    for i in range(len(X)):
        z, a = naive.forward(*network[:4], X[i])
        assert [rows[i] for rows in trace.z] == z
        assert [rows[i] for rows in trace.a] == a
        _, _, db = autodiff.torch_gradient(*network, X[i : i + 1], Y[i : i + 1])
        expected = [s[i] / s.sum() * g for g in db]
        assert deviation([rows[i] for rows in trace.delta], expected) < TOLERANCE


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        ("sgd", {"learning_rate": 0.1}),
        ("sgd", {"learning_rate": 0.1, "momentum": 0.9}),
        ("sgd", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}),
        ("adam", {}),
        ("adam", {"learning_rate": 0.1, "betas": (0.5, 0.8), "epsilon": 1e-3}),
    ],
)
def test_trajectory_of_ten_steps(optimizer, options):
    weights, biases, X, Y, s = problem([3, 4, 2], 13, seed=4)
    network = weights, biases, ["tanh"], "softmax", "cross_entropy"
    rng = np.random.default_rng(5)
    orders = [rng.permutation(13) for _ in range(2)]  # batches of 3, 3, 3, 3 and 1
    step = partial(getattr(naive, optimizer), **options)
    trajectory, costs = naive.train(*network, X, Y, orders, 3, step, s)
    expected, expected_costs = autodiff.torch_trajectory(
        optimizer, *network, X, Y, orders, 3, s, **options
    )
    assert len(trajectory) == len(expected) == 10
    for theta, theta_expected in zip(trajectory, expected, strict=True):
        assert deviation([theta], [theta_expected]) < TOLERANCE
    assert deviation([costs], [expected_costs]) < TOLERANCE


# Against central differences


@every_combination
def test_gradient_against_central_differences(hidden, output, cost):
    sizes = [2, 3, 2]
    weights, biases, X, Y, s = problem(sizes, 3, seed=4)

    def mean_cost(theta):
        return naive.gradient(*naive.unflatten(theta, sizes), [hidden], output, cost, X, Y, s)[0]

    expected = naive.central_differences(mean_cost, naive.flatten(weights, biases))
    _, dW, db = naive.gradient(weights, biases, [hidden], output, cost, X, Y, s)
    assert deviation([naive.flatten(dW, db)], [expected]) < 1e-10


# By hand


def test_two_samples_by_hand():
    weights, biases = [[[1, -1], [0.5, 2]], [[3], [5]]], [[0, -4], [-1]]
    X, Y, s = [[1, 2], [0, 3]], [[3], [12.5]], [1, 3]
    t = naive.trace(weights, biases, ["relu"], "identity", "squared_error", X, Y, s)
    assert t.z == [[[2, -1], [1.5, 2]], [[5], [13.5]]]
    assert t.a == [X, [[2, 0], [1.5, 2]], [[5], [13.5]]]
    assert t.cost == 1 / 4 * 2 + 3 / 4 * 0.5
    assert t.delta == [[[1.5, 0], [2.25, 3.75]], [[0.5], [0.75]]]
    assert t.weight_gradients == [[[1.5, 0], [9.75, 11.25]], [[2.125], [1.5]]]
    assert t.bias_gradients == [[3.75, 3.75], [1.25]]


@pytest.mark.parametrize(
    ("output", "cost", "z", "y", "C", "delta"),
    [  # softmax(0, log 3) = (1/4, 3/4), sigmoid(log 3) = 3/4
        ("softmax", "cross_entropy", [0, math.log(3)], [0, 1], math.log(4 / 3), [0.25, -0.25]),
        ("softmax", "cross_entropy", [0, math.log(3)], [1, 1], math.log(16 / 3), [-0.5, 0.5]),
        ("softmax", "squared_error", [0, math.log(3)], [0, 1], 1 / 16, [3 / 32, -3 / 32]),
        ("sigmoid", "cross_entropy", [0, math.log(3)], [0, 1], math.log(8 / 3), [0.5, -0.25]),
        ("sigmoid", "squared_error", [0, math.log(3)], [0, 1], 5 / 32, [1 / 8, -3 / 64]),
        ("softmax", "cross_entropy", [1e4, -1e4], [0, 1], 2e4, [1, -1]),
        ("softmax", "cross_entropy", [1e4, -1e4], [1, 0], 0, [0, 0]),
        ("sigmoid", "cross_entropy", [1e4, -1e4], [0, 1], 2e4, [1, -1]),
        ("sigmoid", "cross_entropy", [1e4, -1e4], [1, 0], 0, [0, 0]),
    ],
)
def test_output_by_hand(output, cost, z, y, C, delta):
    t = naive.trace([[[0, 0]]], [z], [], output, cost, [[0]], [y])
    assert t.cost == pytest.approx(C, rel=1e-14, abs=0)
    assert t.delta[0][0] == pytest.approx(delta, rel=1e-14, abs=0)


@pytest.mark.parametrize(("output", "cost"), OUTPUTS)
def test_fused_error_is_the_chain_rule(output, cost):
    weights, biases, X, Y, _ = problem([3, 4], 1, seed=6)
    y = naive.plain(Y[0])
    z, a = naive.forward(weights, biases, [], output, X[0])
    if naive.fused_output_error(cost, output, z, a, y) is None:
        return
    chain = naive.output_error(cost, output, z, a, y)
    assert deviation([naive.fused_output_error(cost, output, z, a, y)], [chain]) < TOLERANCE


@pytest.mark.parametrize(
    ("name", "values", "slopes"),
    [  # at -1, 0 and 1, to 17 digits
        ("identity", (-1, 0, 1), (1, 1, 1)),
        (
            "sigmoid",
            (0.26894142136999512, 0.5, 0.73105857863000488),
            (0.19661193324148185, 0.25, 0.19661193324148185),
        ),
        (
            "tanh",
            (-0.76159415595576489, 0, 0.76159415595576489),
            (0.41997434161402607, 1, 0.41997434161402607),
        ),
        ("relu", (0, 0, 1), (0, 0, 1)),
        ("leaky_relu", (-0.01, 0, 1), (0.01, 0.01, 1)),
        ("elu", (-0.63212055882855768, 0, 1), (0.36787944117144232, 1, 1)),
        (
            "softplus",
            (0.31326168751822284, 0.69314718055994531, 1.3132616875182228),
            (0.26894142136999512, 0.5, 0.73105857863000488),
        ),
        (
            "gelu",
            (-0.15865525393145705, 0, 0.84134474606854295),
            (-0.083315470587686298, 0.5, 1.0833154705876863),
        ),
        (
            "silu",
            (-0.26894142136999512, 0, 0.73105857863000488),
            (0.072329488128513268, 0.5, 0.92767051187148673),
        ),
    ],
)
def test_activation_by_hand(name, values, slopes):
    sigma, slope = naive.ACTIVATIONS[name]
    assert [sigma(z) for z in (-1.0, 0.0, 1.0)] == pytest.approx(values, rel=1e-14, abs=0)
    assert [slope(z) for z in (-1.0, 0.0, 1.0)] == pytest.approx(slopes, rel=1e-14, abs=0)


@pytest.mark.parametrize("z", [1e4, 1e300])
def test_activations_have_their_limits(z):
    limits = {  # name: sigma(-z), sigma(z), sigma'(-z), sigma'(z)
        "identity": (-z, z, 1, 1),
        "sigmoid": (0, 1, 0, 0),
        "tanh": (-1, 1, 0, 0),
        "relu": (0, z, 0, 1),
        "leaky_relu": (-0.01 * z, z, 0.01, 1),
        "elu": (-1, z, 0, 1),
        "softplus": (0, z, 0, 1),
        "gelu": (0, z, 0, 1),
        "silu": (0, z, 0, 1),
        "hard_sigmoid": (0, 1, 0, 0),
        "hard_tanh": (-1, 1, 0, 0),
        "softsign": (-z / (1 + z), z / (1 + z), (1 + z) ** -2, (1 + z) ** -2),
        "relu6": (0, 6, 0, 0),
        "celu": (-1, z, 0, 1),
        "selu": (-naive.SELU[0] * naive.SELU[1], naive.SELU[0] * z, 0, naive.SELU[0]),
        "gelu_tanh": (0, z, 0, 1),
        "hard_swish": (0, z, 0, 1),
        "mish": (0, z, 0, 1),
        "sin": (-math.sin(z), math.sin(z), math.cos(z), math.cos(z)),
        "gaussian": (0, 0, 0, 0),
        "exp": (0, math.inf, 0, math.inf),
    }
    assert list(limits) == HIDDEN
    for name, expected in limits.items():
        sigma, slope = naive.ACTIVATIONS[name]
        comp = (sigma(-z), sigma(z), slope(-z), slope(z))
        assert comp == pytest.approx(expected, rel=1e-15, abs=0), name
    assert naive.softmax([z, -z, z]) == pytest.approx([0.5, 0, 0.5], rel=1e-14, abs=0)


@pytest.mark.parametrize(
    ("step", "gradients", "expected"),
    [
        (partial(naive.sgd, learning_rate=0.5), [2, 1], [0, -0.5]),
        (partial(naive.sgd, learning_rate=0.5, momentum=0.5), [2, 1], [0, -1]),
        (partial(naive.sgd, learning_rate=0.5, momentum=0.5, nesterov=True), [2, 1], [-0.5, -1.5]),
        (
            partial(naive.adam, learning_rate=0.5, betas=(0.5, 0.75), epsilon=0.0),
            [2, -1, 1],
            [0.5, 0.5, 0.5 - math.sqrt(37) / 28],
        ),
        (partial(naive.adam, learning_rate=0.5, betas=(0.5, 0.75), epsilon=1.0), [1], [0.75]),
    ],
)
def test_optimizer_steps_by_hand(step, gradients, expected):
    theta, state = [1.0], {}
    for t, (g, theta_expected) in enumerate(zip(gradients, expected, strict=True), start=1):
        step(theta, [g], state, t)
        assert theta[0] == pytest.approx(theta_expected, rel=1e-14, abs=0)


def test_epoch_cost_is_the_weighted_mean_over_batches_of_any_size():
    weights, biases, X, Y, s = problem([2, 3, 2], 7, seed=7)
    network = weights, biases, ["tanh"], "identity", "squared_error"
    step = partial(naive.sgd, learning_rate=0.0)
    trajectory, costs = naive.train(*network, X, Y, [range(7)], 3, step, s)
    assert trajectory == [naive.flatten(weights, biases)] * 3
    assert costs == pytest.approx([naive.gradient(*network, X, Y, s)[0]], rel=1e-14, abs=0)


def test_parameters_lie_as_w1_b1_w2_b2():
    weights, biases = [[[1, 2], [3, 4]], [[7], [8]]], [[5, 6], [9]]
    theta = naive.flatten(weights, biases)
    assert theta == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert naive.unflatten(theta, [2, 2, 1]) == (weights, biases)


def test_float32_arrays_are_computed_in_double_precision():
    *arrays, _ = problem([3, 4, 2], 5, seed=8)
    weights, biases, X, Y = ([np.float32(array) for array in q] for q in arrays)
    computed = naive.gradient(weights, biases, ["tanh"], "sigmoid", "squared_error", X, Y)
    weights, biases, X, Y = ([array.tolist() for array in q] for q in (weights, biases, X, Y))
    assert computed == naive.gradient(weights, biases, ["tanh"], "sigmoid", "squared_error", X, Y)


def test_one_hot():
    assert naive.one_hot([2, 0], 3) == [[0, 0, 1], [1, 0, 0]]
