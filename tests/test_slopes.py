"""Training on slopes: `fit(slopes=)`."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from problems import deviation, every_engine, problem

import fastbackprop as fb

RATE = 0.1


def case(engine="numpy", dtype="float64", **options):
    """A network, samples, targets, weights, Jacobians of which some are unknown."""
    p = problem([3, 7, 2], 20, hidden="tanh", engine=engine, dtype=dtype, **options)
    slopes = np.random.default_rng(2).normal(size=(20, 2, 3)).astype(p.net.dtype)
    slopes[::3, 1, 1] = slopes[4] = np.nan
    return p, slopes


def cost(net, X, Y, s, jacobians, weight):
    """The mean cost by its definition."""
    terms = 0.5 * np.sum((net.predict(X) - Y) ** 2, axis=1)
    terms += weight / 2 * np.nansum((net.jacobian(X) - jacobians) ** 2, axis=(1, 2))
    return s @ terms / s.sum()


def step(p, slopes, **options):
    """(minus) the gradient, from a step of gradient descent, and its cost."""
    before = p.net.get_parameters()
    arguments = {"epochs": 1, "batch_size": None, "sample_weight": p.s, "slopes": slopes}
    history = p.net.fit(p.X, p.Y, optimizer=fb.SGD(RATE), **arguments | options)
    return (before - p.net.get_parameters()) / RATE, history.cost[0]


@every_engine
def test_a_step_follows_the_gradient(engine):
    """Central differences of the cost along the step, and the cost itself."""
    p, slopes = case(engine)
    theta, h = p.net.get_parameters(), 1e-3
    g, found = step(p, slopes, slope_weight=0.7)

    def at(t):
        p.net.set_parameters(theta + t * g)
        return cost(p.net, p.X, p.Y, p.s, slopes, 0.7)

    assert found == pytest.approx(at(0), rel=1e-12)
    near, far = (at(m * h) - at(-m * h) for m in (1, 2))
    assert g @ g == pytest.approx((8 * near - far) / (12 * h), rel=1e-8)


@every_engine
def test_minibatches_are_those_of_steps_apart(engine):
    p, slopes = case(engine)
    q, _ = case(engine)
    p.net.fit(p.X, p.Y, epochs=1, batch_size=8, shuffle=False, slopes=slopes, optimizer="adam")
    adam = fb.Adam()
    for rows in (slice(0, 8), slice(8, 16), slice(16, 20)):
        q.net.fit(q.X[rows], q.Y[rows], epochs=1, slopes=slopes[rows], optimizer=adam)
    assert deviation(p.net.get_parameters(), q.net.get_parameters()) < 1e-13


@every_engine
@pytest.mark.parametrize(
    "make", [lambda: fb.SGD(0.05), lambda: fb.AdamW(1e-2, l2=1e-3, clip_norm=1.0)]
)
def test_slopes_that_are_met_change_nothing(make, engine):
    """With the slopes that the network has, the first step is that of training without slopes."""
    p, _ = case(engine)
    q, _ = case(engine)
    p.net.fit(p.X, p.Y, epochs=1, batch_size=None, slopes=p.net.jacobian(p.X), optimizer=make())
    q.net.fit(q.X, q.Y, epochs=1, batch_size=None, optimizer=make())
    assert deviation(p.net.get_parameters(), q.net.get_parameters()) < 1e-12


def test_slopes_along_directions():
    """Unit vectors are the Jacobian; each sample may have its own."""
    p, slopes = case()
    ref = step(p, slopes)
    along = slopes.transpose(2, 0, 1)
    for directions in (np.eye(3), np.broadcast_to(np.eye(3), (20, 3, 3))):
        p, _ = case()
        comp = step(p, (directions, along))
        assert deviation(comp[0], ref[0]) < 1e-12
        assert comp[1] == pytest.approx(ref[1], rel=1e-12)


def test_a_single_output_has_gradients():
    p = problem([3, 5, 1], 9, hidden="tanh", engine="numpy", dtype="float64")
    slopes = np.random.default_rng(0).normal(size=(9, 3))
    first, _ = step(p, slopes)
    q = problem([3, 5, 1], 9, hidden="tanh", engine="numpy", dtype="float64")
    assert np.array_equal(first, step(q, slopes[:, None])[0])


def test_validation_by_a_fraction_holds_out_slopes_too():
    p, slopes = case()
    q, _ = case()
    options = {"batch_size": None, "epochs": 1, "optimizer": fb.SGD(RATE)}
    history = p.net.fit(p.X, p.Y, validation=0.25, slopes=slopes, **options)
    rows, held_out = fb.inputs.split(0.25, 20)
    q.net.fit(q.X[rows], q.Y[rows], slopes=slopes[rows], **options | {"optimizer": fb.SGD(RATE)})
    assert np.array_equal(p.net.get_parameters(), q.net.get_parameters())
    assert history.validation_cost[0] == p.net.evaluate(p.X[held_out], p.Y[held_out])


@every_engine
def test_float32_and_checkpoints(engine, tmp_path):
    """A training that was resumed ends with the bits of one that was not."""
    ends = []
    for parts in ([4], [2, 4]):
        for epochs in parts:
            p, slopes = case(engine, "float32")
            checkpoint = fb.Checkpoint(tmp_path / f"{len(parts)}")
            p.net.fit(p.X, p.Y, epochs=epochs, batch_size=6, slopes=slopes, callbacks=[checkpoint])
        ends.append(p.net.get_parameters())
    assert np.array_equal(*ends)


def test_divergence_keeps_finite_parameters():
    p, slopes = case()
    with pytest.raises(fb.DivergenceError):
        p.net.fit(p.X, p.Y, epochs=50, slopes=slopes, optimizer=fb.SGD(1e200))
    assert np.isfinite(p.net.get_parameters()).all()


def test_slopes_that_do_not_fit():
    p, slopes = case()
    before = p.net.get_parameters()

    def refused(match, error=ValueError, slopes=slopes, **options):
        with pytest.raises(error, match=match):
            p.net.fit(p.X, p.Y, epochs=1, slopes=slopes, **options)
        assert np.array_equal(p.net.get_parameters(), before)

    refused(r"slopes must have shape \(n_samples, n_L, n_0\) = \(20, 2, 3\)", slopes=slopes[:-1])
    refused("a pair .directions, slopes.; got 1 items", slopes=(slopes,))
    refused(r"n_samples, n_L\) = \(3, 20, 2\); got \(20, 2, 3\)", slopes=(np.eye(3), slopes))
    refused("all of them are NaN", slopes=np.full_like(slopes, np.nan))
    refused(r"slopes must be finite; slopes\[0, 0, 0\] is inf", slopes=np.full_like(slopes, np.inf))
    refused("slopes must hold real numbers", TypeError, slopes="no")
    refused("slope_weight must be a positive number above 0; got -1", slope_weight=-1)
    refused("slopes are not for LBFGS", optimizer="lbfgs")
    refused("slopes are not for dropout", dropout=0.5)
    with pytest.raises(ValueError, match="slopes are not for batches"):
        p.net.fit([(p.X, p.Y)], epochs=1, slopes=slopes)
    sparse = pytest.importorskip("scipy.sparse").csr_array(p.X)
    with pytest.raises(TypeError, match="X is a sparse csr_array, and slopes"):
        p.net.fit(sparse, p.Y, epochs=1, slopes=slopes)
    net = fb.Network([3, 2], output="softmax", engine="numpy")
    with pytest.raises(ValueError, match="'softmax' couples the neurons"):
        net.fit(p.X, np.eye(2)[np.zeros(20, int)], epochs=1, slopes=slopes)


def test_the_example(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    example = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "surrogate.py"))
    without, with_slopes = example["main"](epochs=400, file=tmp_path / "surrogate.png")
    assert with_slopes < without / 2
    assert (tmp_path / "surrogate.png").is_file()
    assert "error" in capsys.readouterr().out
