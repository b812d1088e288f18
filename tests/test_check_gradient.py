"""check_gradient: small for a right gradient, large for one that is made wrong."""

import numpy as np
import pytest
from problems import every_combination, every_dtype, every_engine, every_hidden, problem

import fastbackprop as fb

RIGHT = 1e-9  # the largest measured is 1.2e-11
KINKED = ["relu", "leaky_relu", "elu"]


@every_engine
@every_combination
def test_right_gradients(hidden, output, cost, engine):
    p = problem([2, 3, 2], 4, hidden=hidden, output=output, cost=cost, engine=engine)
    assert p.net.check_gradient(p.X, p.Y, p.s) < RIGHT


@every_engine
@pytest.mark.parametrize("distance", [1e-3, 1e-5, -1e-4])
@pytest.mark.parametrize("hidden", KINKED)
def test_a_kink_close_by_is_no_error(hidden, distance, engine):
    p = problem([1, 2, 1], 1, hidden=hidden, engine=engine, dtype="float64")
    net = p.net
    net.biases[0] = distance - p.X[0] * net.weights[0][0]  # z^1 = distance
    assert net.trace(p.X, p.Y).z[0] == pytest.approx(distance)
    assert net.check_gradient(p.X, p.Y) < 1e-7  # smaller steps, larger rounding


@every_engine
@pytest.mark.parametrize("hidden", ["relu", "leaky_relu"])
def test_a_unit_on_the_kink_is_no_error(hidden, engine):
    """Biases start at zero: z^1 = 0 for the sample (0, 0)."""
    pair = {"output": "sigmoid", "cost": "cross_entropy"}
    net = fb.Network([2, 8, 1], hidden=hidden, engine=engine, rng=0, **pair)
    assert net.check_gradient([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]) < 1e-6


@every_engine
def test_a_layer_of_dead_units_is_no_error(engine):
    """Where all of layer 1 is dead, z^2 = b^2 = 0."""
    p = problem([2, 2, 2, 1], hidden="relu", engine=engine)
    net = fb.Network([2, 2, 2, 1], hidden="relu", engine=engine, rng=3)
    net.biases[0] = -100
    assert not net.activations(p.X)[1].any()
    assert net.check_gradient(p.X, p.Y) < 1e-6


@every_engine
def test_labels_and_weights_of_zero(engine):
    p = problem([2, 3, 3], 4, output="softmax", cost="cross_entropy", engine=engine)
    assert p.net.check_gradient(p.X, [0, 2, 1, 1], [1, 0, 2, 0]) < RIGHT


@every_engine
def test_a_gradient_of_zero_is_right(engine):
    net = fb.Network([2, 3, 2], init="zeros", engine=engine)
    assert net.check_gradient([[1, 2]], [[0, 0]]) < RIGHT


@every_dtype
@every_engine
def test_checking_leaves_no_trace(engine, dtype):
    p = problem([2, 3, 2], 4, engine=engine, dtype=dtype)
    q = problem([2, 3, 2], 4, engine=engine, dtype=dtype)
    checked = [p.net.check_gradient(p.X, p.Y) for _ in range(2)]
    assert checked[0] == checked[1] and type(checked[0]) is float
    assert np.array_equal(p.net.get_parameters(), q.net.get_parameters())
    for problem_ in (p, q):  # the generator is where it was
        problem_.net.fit(p.X, p.Y, epochs=2, batch_size=1)
    assert np.array_equal(p.net.get_parameters(), q.net.get_parameters())


def make_wrong(monkeypatch, net, spoil):
    """From now on the engine's gradient goes through spoil(gradient), in place."""
    right = net.machine.engine.gradient_sums

    def wrong(bound, samples, total, into, *rest):
        right(bound, samples, total, into, *rest)
        spoil(into.by_theta)

    monkeypatch.setattr(net.machine.engine, "gradient_sums", wrong)


def scaled(gradient):
    gradient *= 1.001


def one_entry_of_another_sign(gradient):
    p = np.argmax(np.abs(gradient))
    gradient[p] *= -1


def bias_forgotten(gradient):
    gradient[np.flatnonzero(gradient)[-1]] = 0  # behind it there may be padding


def not_a_number(gradient):
    gradient[0] = np.nan


@every_engine
@every_hidden
@pytest.mark.parametrize(
    ("spoil", "at_least"),
    [
        (scaled, 0.9e-3),
        (one_entry_of_another_sign, 1.9),
        (bias_forgotten, 1e-2),
        (not_a_number, 1e-2),
    ],
)
def test_wrong_gradients(spoil, at_least, hidden, engine, monkeypatch):
    p = problem([2, 3, 1], 4, hidden=hidden, engine=engine)
    make_wrong(monkeypatch, p.net, spoil)
    assert p.net.check_gradient(p.X, p.Y) > at_least


@pytest.mark.parametrize(
    ("equation", "wrong"),
    [
        ("hidden_error", lambda sigma, W, Delta, Z, A: Delta @ W.T),  # sigma' forgotten
        ("output_error", lambda sigma, cost, Z, A, Y: Y - A),
        ("weight_gradient", lambda A, Delta: A.T @ Delta / len(A)),
        ("bias_gradient", lambda Delta: Delta.mean(axis=0)),
    ],
)
def test_a_wrong_equation(equation, wrong, monkeypatch):
    p = problem([2, 3, 2], 4, hidden="tanh", engine="numpy")
    monkeypatch.setattr(f"fastbackprop.engines.loopfree.{equation}", wrong)
    assert p.net.check_gradient(p.X, p.Y) > 0.1


def test_of_a_large_network_some_parameters_are_checked(monkeypatch):
    p = problem([2, 30, 2], 4, engine="numpy")
    assert p.net.check_gradient(p.X, p.Y, max_parameters=5) < RIGHT
    make_wrong(monkeypatch, p.net, one_entry_of_another_sign)
    assert p.net.check_gradient(p.X, p.Y, max_parameters=5) < RIGHT
    assert p.net.check_gradient(p.X, p.Y, max_parameters=p.net.n_parameters) > 1
