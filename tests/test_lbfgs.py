"""LBFGS: SciPy's own iterates, one an epoch, and what every training promises."""

import pickle
import signal
import threading

import numpy as np
import pytest
from problems import deviation, every_engine

import fastbackprop as fb
from fastbackprop import machine
from fastbackprop.training import callbacks, lbfgs

optimize = pytest.importorskip("scipy.optimize")

rng = np.random.default_rng(0)
X, S = rng.standard_normal((60, 3)), rng.uniform(0.5, 2.0, 60)
Y = np.sin(X[:, :2]) + 0.1 * rng.standard_normal((60, 2))


def network(engine="numpy", dtype="float64"):
    return fb.Network([3, 5, 2], hidden="tanh", dtype=dtype, rng=1, engine=engine)


@every_engine
@pytest.mark.parametrize("biases", [False, True])
def test_iterates_are_those_of_scipy(biases, engine):
    net, twin, iterates = network(engine), network(), []
    penalized = np.ones(net.n_parameters)
    penalized[15:20] = penalized[-2:] = biases

    def cost(x):
        twin.set_parameters(x)
        C, weight, g = twin.gradient_sums(X, Y, S)
        return C / weight + 0.05 * penalized @ x**2, g / weight + 0.1 * penalized * x

    seen, thetas = [], []
    optimize.minimize(
        cost,
        net.get_parameters(),
        jac=True,
        method="L-BFGS-B",
        callback=lambda x: iterates.append(x.copy()),
        options={"maxcor": 10, "gtol": 1e-5, "ftol": 0.0, "maxiter": 12},
    )
    costs = [network().evaluate(X, Y, S)]
    for x in iterates:
        twin.set_parameters(x)
        costs.append(twin.evaluate(X, Y, S))

    def look(net, epoch, logs):
        thetas.append(net.get_parameters())
        seen.append(optimizer.steps)

    optimizer = fb.LBFGS(l2=0.1, penalize_biases=biases, cost_tolerance=0.0)
    history = net.fit(X, Y, epochs=12, sample_weight=S, optimizer=optimizer, callbacks=look)
    assert len(iterates) == 12 and seen == [*range(1, 13)]
    assert deviation(thetas, iterates) < 1e-9
    assert deviation(history.cost, costs[:12]) < 1e-9
    assert history.ended_by == "epochs"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_it_converges(dtype):
    net = fb.Network([3, 2], dtype=dtype, rng=0, engine="numpy")
    history = net.fit(X, Y, epochs=1000, optimizer="lbfgs")
    ones = np.column_stack([X, np.ones(60)])
    solution = np.linalg.lstsq(ones, Y, rcond=None)[0]
    assert history.ended_by == "converged" and len(history) < 30
    assert deviation(net.weights[0], solution[:3]) < 1e-3
    assert history.cost == sorted(history.cost, reverse=True)
    assert history.cost[-1] == pytest.approx(net.evaluate(X, Y), rel=1e-6)
    again = net.fit(X, Y, epochs=5, optimizer="lbfgs")
    assert again.ended_by == "converged" and len(again) <= 2


def test_validation_stopping_and_pickling():
    net = network()
    stopping = fb.EarlyStopping(2, min_improvement=1.0)
    optimizer = fb.LBFGS()
    history = net.fit(
        X, Y, epochs=50, optimizer=optimizer, validation=0.3, metrics="r2", early_stopping=stopping
    )
    assert history.ended_by == "early_stopping" and len(history) == 3
    assert {"validation_cost", "validation_r2"} < history.to_dict().keys()
    assert optimizer.steps == 3
    pickle.loads(pickle.dumps(net)).fit(X, Y, epochs=2, optimizer=fb.LBFGS())
    assert net.partial_fit(X, Y, batch_size=None).ended_by == "epochs"  # continues with LBFGS
    assert optimizer.steps == 4


def test_other_ends():
    with pytest.raises(ValueError, match="max_evaluations must be a whole number, 1 at least"):
        fb.LBFGS(max_evaluations=0)
    history = network().fit(X, Y, epochs=50, optimizer=fb.LBFGS(max_evaluations=3))
    assert history.ended_by == "max_evaluations" and 1 <= len(history) <= 4
    net = fb.Network([3, 2], dtype="float64", rng=0, engine="numpy")
    assert net.fit(X * 1e150, Y, epochs=50, optimizer="lbfgs").ended_by == "line_search"


@pytest.mark.parametrize("how", ["interrupt", "time_budget", "exception"])
def test_ended_within_an_iteration_it_stands_at_an_accepted_point(how, monkeypatch):
    monkeypatch.setattr(machine, "SLICE_SECONDS", 0.0)
    net, calls, original = network(), [], callbacks.time.monotonic
    gradient_sums, accepted = net.machine.engine.gradient_sums, [net.get_parameters()]

    def stopped(*arguments):
        calls.append(arguments)
        gradient_sums(*arguments)
        if len(calls) == 8:
            if how == "interrupt":
                signal.raise_signal(signal.SIGINT)
            elif how == "time_budget":
                monkeypatch.setattr(callbacks.time, "monotonic", lambda: original() + 1e6)
            else:
                raise MemoryError

    monkeypatch.setattr(net.machine.engine, "gradient_sums", stopped)
    before = threading.active_count()
    options = {
        "optimizer": fb.LBFGS(),
        "callbacks": [
            lambda net, epoch, logs: accepted.append(net.get_parameters()),
            fb.TimeBudget(1e5),
        ],
    }
    if how == "interrupt":
        with pytest.raises(fb.Interrupted) as info:
            net.fit(X, Y, epochs=50, **options)
        assert info.value.history.ended_by == how
    elif how == "time_budget":
        assert net.fit(X, Y, epochs=50, **options).ended_by == how
    else:
        with pytest.raises(MemoryError):
            net.fit(X, Y, epochs=50, **options)
    assert len(accepted) > 2
    assert (net.get_parameters() == accepted[-1]).all()
    assert threading.active_count() == before


def test_a_cost_that_is_not_finite():
    """Where it begins it ends the training; on the way the line search turns back."""
    net = network(dtype="float32")
    net.set_parameters(net.get_parameters() * 1e30)
    before = net.get_parameters()
    with pytest.raises(fb.DivergenceError):
        net.fit(X, Y * 1e30, epochs=3, optimizer=fb.LBFGS())
    assert (net.get_parameters() == before).all()
    net = fb.Network([3, 3, 2], hidden="softplus", rng=0, engine="numpy", dtype="float32")
    history = net.fit(X * 1e12, Y, epochs=20, optimizer=fb.LBFGS())
    assert np.isfinite(net.get_parameters()).all() and history.cost[-1] <= history.cost[0]


def test_what_it_has_no_use_for_is_refused(tmp_path):
    net = network()
    before = net.get_parameters()
    for option in ({"batch_size": 3}, {"dropout": 0.1}):
        with pytest.raises(ValueError, match=f"LBFGS has no use for {next(iter(option))}"):
            net.fit(X, Y, optimizer=fb.LBFGS(), **option)
    with pytest.raises(ValueError, match="LBFGS has no checkpoint: SciPy keeps the memory"):
        net.fit(X, Y, optimizer=fb.LBFGS(), callbacks=fb.Checkpoint(tmp_path / "c"))
    with pytest.raises(TypeError, match="batch_size must be"):
        net.fit(X, Y, optimizer=fb.LBFGS(), batch_size="all")
    with pytest.raises(ValueError, match="no use for batches"):
        net.fit([(X, Y)], optimizer=fb.LBFGS())
    with pytest.raises(TypeError, match="learning_rate"):  # so no schedule either
        fb.LBFGS(learning_rate=fb.Cosine(0.1, 3))
    for option in (
        {"l1": 0.1},
        {"max_norm": 1},
        {"layer_rates": (1, 2)},
        {"bias_rate": 0.5},
        {"averaging": fb.EMA()},
    ):
        with pytest.raises(ValueError, match=f"does not support {next(iter(option))}"):
            fb.LBFGS(**option)
    assert (net.get_parameters() == before).all()


def test_without_scipy_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r"fastbackprop\[scipy\]"):
        network().fit(X, Y, optimizer="lbfgs")


def test_an_error_of_scipy_arrives():
    """From its thread."""

    def fails(*arguments, **options):
        raise RuntimeError("no")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lbfgs, "scipy_minimize", lambda: fails)
        with pytest.raises(RuntimeError, match="no"):
            network().fit(X, Y, optimizer="lbfgs")
