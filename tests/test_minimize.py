"""minimize: SciPy's minimisers for a function of the caller's."""

import os
import signal

import numpy as np
import pytest
import scipy.optimize

import fastbackprop as fb
from fastbackprop.engines import ENGINES

x = np.linspace(-1, 1, 15).reshape(-1, 1)


def network(engine=ENGINES[0], dtype="float64"):
    return fb.Network([1, 6, 1], hidden="tanh", dtype=dtype, rng=0, engine=engine)


def mean_square(net):
    error = net.predict(x) - np.sin(3 * x)
    return np.mean(error**2), net.backward(x, 2 * error / len(x)).parameter_gradient


@pytest.mark.parametrize(
    ("method", "engine"),
    [*(("L-BFGS-B", name) for name in ENGINES), ("BFGS", ENGINES[0]), ("CG", ENGINES[0])],
)
def test_it_ends_where_scipy_does(method, engine):
    own, other = network(engine), network(engine)

    def at(theta):
        other.set_parameters(theta)
        return mean_square(other)

    options = {"gtol": 1e-4}
    ref = scipy.optimize.minimize(
        at, other.get_parameters(), jac=True, method=method, options=options
    )
    history = fb.minimize(own, mean_square, method, options=options)
    assert len(history) in (ref.nit, ref.nit + 1) and ref.nit > 5
    np.testing.assert_array_equal(own.get_parameters(), ref.x)
    assert history.ended_by == "converged" and own.is_training is False
    costs = np.array(history.cost)
    assert (np.diff(costs) <= 0).all() and costs[-1] >= mean_square(own)[0] == ref.fun


def test_it_is_lbfgs_where_the_function_is_the_cost():
    own, other = network(), network()

    def cost(net):
        gradient = net.gradient(x, x**2)
        parts = zip(gradient.weights, gradient.biases, strict=True)
        return gradient.cost, np.concatenate([part.ravel() for pair in parts for part in pair])

    history = fb.minimize(own, cost, iterations=9, options={"gtol": 1e-5, "ftol": 2.2e-9})
    expected = other.fit(x, x**2, epochs=9, optimizer=fb.LBFGS())
    np.testing.assert_allclose(history.cost, expected.cost, rtol=1e-9)
    assert history.ended_by == expected.ended_by == "epochs"


def test_iterations_callbacks_and_the_time_budget():
    net, seen = network(), []

    def watch(network, epoch, logs):
        seen.append((epoch, logs["cost"] > mean_square(network)[0]))
        return epoch == 3

    assert fb.minimize(net, mean_square, callbacks=watch).ended_by == "callback"
    assert seen == [(1, True), (2, True), (3, True)]
    assert len(fb.minimize(net, mean_square, iterations=2)) == 2
    history = fb.minimize(net, mean_square, callbacks=fb.TimeBudget(1e-9))
    assert history.ended_by == "time_budget"
    history = fb.minimize(net, mean_square, options={"maxfun": 3})
    assert history.ended_by == "max_evaluations"


def test_the_network_stands_at_an_accepted_point():
    """After an exception of the function, after Ctrl-C within it, and where it is infinite."""
    net, accepted = network(), []

    def note(network, epoch, logs):
        accepted.append(network.get_parameters())

    def ending(number, end):
        calls = []

        def function(network):
            calls.append(1)
            if len(calls) == number:
                end()
            return mean_square(network)

        return function

    def fail():
        raise LookupError

    with pytest.raises(LookupError):
        fb.minimize(net, ending(9, fail), callbacks=note)
    np.testing.assert_array_equal(net.get_parameters(), accepted[-1])
    function = ending(9, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(fb.Interrupted) as caught:
        fb.minimize(net, function, callbacks=note)
    assert caught.value.history.interrupted
    np.testing.assert_array_equal(net.get_parameters(), accepted[-1])

    limit = np.abs(net.get_parameters()).max() * 1.01

    def bounded(network):
        value, gradient = mean_square(network)
        return (np.inf if np.abs(network.get_parameters()).max() > limit else value), gradient

    before = mean_square(net)[0]
    fb.minimize(net, bounded)
    assert np.abs(net.get_parameters()).max() <= limit and mean_square(net)[0] <= before


def test_bad_arguments(tmp_path):
    net = network()
    before = net.get_parameters()
    for error, message, arguments, options in [
        (TypeError, "network must be a Network", (3, mean_square), {}),
        (TypeError, "function must be a function of the network", (net, 3), {}),
        (ValueError, "unknown method 'BFGSS'", (net, mean_square, "BFGSS"), {}),
        (ValueError, "iterations must be a positive", (net, mean_square), {"iterations": 0}),
        (ValueError, "pass iterations=", (net, mean_square), {"options": {"maxiter": 3}}),
        (TypeError, r"must return \(value, gradient\)", (net, lambda net: 3.0), {}),
        (TypeError, "the value of function must be", (net, lambda net: ("a", before)), {}),
        (ValueError, "gradient of function must have shape", (net, lambda net: (1.0, [0.0])), {}),
        (
            ValueError,
            "minimize has no checkpoint",
            (net, mean_square),
            {"callbacks": [fb.Checkpoint(tmp_path / "c")]},
        ),
    ]:
        with pytest.raises(error, match=message):
            fb.minimize(*arguments, **options)
    with pytest.raises(fb.DivergenceError):
        fb.minimize(net, lambda net: (np.nan, before))
    trainer = net.trainer()
    with pytest.raises(RuntimeError, match="while fit trains"):
        fb.minimize(net, lambda net: trainer.step(x, x))
    np.testing.assert_array_equal(net.get_parameters(), before)
