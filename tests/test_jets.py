"""Derivatives along directions, and gradients of costs of them, for every engine."""

import functools
import runpy
from pathlib import Path

import autodiff
import numpy as np
import pytest
from problems import HIDDEN, deviation, every_engine, problem

import fastbackprop as fb
from fastbackprop.functions.activations import ACTIVATIONS

ALL = [name for name in HIDDEN if ACTIVATIONS[name].n_derivatives == 3]


def case(sizes=(3, 7, 5, 2), n=11, D=2, seed=0, **options):
    """A network, inputs, directions for each sample and random derivatives of a cost."""
    p = problem(list(sizes), n, dtype="float64", **options)
    rng = np.random.default_rng(seed)
    rays = rng.normal(size=(n, D, sizes[0]))
    return p.net, 0.5 * p.X, rays, rng.normal(size=(1 + 2 * D, n, sizes[-1]))


def channels(jet):
    return np.concatenate([jet.a[None], jet.da, *([] if jet.d2a is None else [jet.d2a])])


def backward(net, X, rays, G, **options):
    D = rays.shape[-2]
    second = G[1 + D :] if len(G) > 1 + D else None
    return net.jet_backward(X, rays, G[0], G[1 : 1 + D], second, **options)


def everything(net, X, rays, G, **options):
    return [channels(net.jet(X, rays, **options)), *backward(net, X, rays, G, **options)]


def check(comp, ref, tolerance=1e-10):
    for one, other in zip(comp, ref, strict=True):
        assert deviation(one, other) < tolerance


# --- oracles -------------------------------------------------------------------------------------


def three_of_all(number, engine):
    names = [ALL[(number + i) % len(ALL)] for i in range(3)]
    return case(hidden=names[:2], output=names[2], engine=engine)


@functools.cache
def by_jax(number):
    net, X, rays, G = three_of_all(number, "numpy")
    return autodiff.jax_jets(net.weights, net.biases, net.hidden, net.output, X, rays, G)


@every_engine
@pytest.mark.parametrize("number", range(0, len(ALL), 3))
def test_jax(number, engine):
    """Every activation, three to a network."""
    check(everything(*three_of_all(number, engine)), by_jax(number))


@every_engine
@pytest.mark.parametrize("order", [1, 2])
def test_central_differences(order, engine):
    """Of the outputs along the directions, and of a cost along a change of all parameters."""
    net, X, rays, G = case(hidden="tanh", output="sigmoid", engine=engine)
    G = G[: 1 + 2 * order]
    a, h = net.predict(X), 1e-3
    jet, steps = net.jet(X, rays, order=order), rays.swapaxes(0, 1)
    near, far = ([net.predict(X + m * h * v) for v in steps for m in (i, -i)] for i in (1, 2))
    near, far = (np.reshape(values, (2, 2, *a.shape)) for values in (near, far))
    first = (8 * (near[:, 0] - near[:, 1]) - (far[:, 0] - far[:, 1])) / (12 * h)
    assert deviation(jet.da, first) < 1e-9
    if order == 2:
        second = (16 * near.sum(axis=1) - far.sum(axis=1) - 30 * a) / (12 * h * h)
        assert deviation(jet.d2a, second) < 1e-6
    theta, by_theta, by_X = net.get_parameters(), *backward(net, X, rays, G)
    rng = np.random.default_rng(1)
    v, w = rng.normal(size=theta.size), rng.normal(size=X.shape)

    def cost(t):
        net.set_parameters(theta + t * v)
        return (G * channels(net.jet(X + t * w, rays, order=order))).sum()

    near, far = (cost(m * h) - cost(-m * h) for m in (1, 2))
    slope = (8 * near - far) / (12 * h)
    assert v @ by_theta + (w * by_X).sum() == pytest.approx(slope, rel=1e-8)


@every_engine
def test_one_neuron(engine):
    """a = tanh(w x + b) along v; C is da, then d2a."""
    w, b, x, v = 0.7, -0.2, 0.5, 1.5
    net = fb.Network([1, 1], output="tanh", engine=engine, dtype="float64")
    net.set_parameters([w, b])
    t = np.tanh(w * x + b)
    s_1, s_2, s_3 = 1 - t**2, -2 * t * (1 - t**2), (1 - t**2) * (6 * t**2 - 2)
    jet = net.jet([[x]], [[v]])
    found = [jet.a[0, 0], jet.da[0, 0, 0], jet.d2a[0, 0, 0]]
    assert found == pytest.approx([t, s_1 * w * v, s_2 * (w * v) ** 2], rel=1e-14)
    zero, one = [[0.0]], [[[1.0]]]
    by_theta, by_x = net.jet_backward([[x]], [[v]], zero, one)
    assert by_theta == pytest.approx([s_2 * x * w * v + s_1 * v, s_2 * w * v], rel=1e-14)
    assert by_x == pytest.approx(s_2 * w * w * v, rel=1e-14)
    by_theta, by_x = net.jet_backward([[x]], [[v]], zero, [zero], one)
    ref = [s_3 * x * (w * v) ** 2 + 2 * s_2 * w * v**2, s_3 * (w * v) ** 2]
    assert by_theta == pytest.approx(ref, rel=1e-14)
    assert by_x == pytest.approx(s_3 * w * (w * v) ** 2, rel=1e-14)


# --- engines with one another --------------------------------------------------------------------


@pytest.mark.parametrize("D", [1, 7, 20])  # the last has no room in one call
@pytest.mark.parametrize("sizes", [[1, 1], [5, 1, 4], [35, 9, 17, 3], [2, 67, 2]], ids=str)
@pytest.mark.parametrize("n", [1, 150])
@every_engine
def test_every_shape(engine, n, sizes, D):
    """Against the loop-free engine, all directions and samples at once."""
    if engine == "loops" and n == 150 and D > 1:
        pytest.skip("it takes one sample after the other")
    ref = everything(*case(sizes, n, D, hidden="tanh", engine="numpy"))
    check(everything(*case(sizes, n, D, hidden="tanh", engine=engine)), ref, 1e-12)


@every_engine
def test_float32(engine):
    net, X, rays, G = case(hidden="tanh", engine="numpy")
    ref = everything(net, X, rays, G)
    net, X, rays, G = case(hidden="tanh", engine=engine)
    other = fb.Network(net.sizes, hidden="tanh", engine=engine)
    other.set_parameters(net.get_parameters())
    comp = everything(other, X, rays, G)
    assert {array.dtype for array in comp} == {np.dtype("float32")}
    check(comp, ref, 1e-5)


# --- properties ----------------------------------------------------------------------------------


@every_engine
def test_directions_for_all_samples(engine):
    net, X, rays, G = case(hidden="tanh", engine=engine)
    repeated = np.broadcast_to(rays[0], rays.shape)
    for one, other in zip(
        everything(net, X, rays[0], G), everything(net, X, repeated, G), strict=True
    ):
        assert np.array_equal(one, other)


@every_engine
def test_directions_together_are_those_apart(engine):
    net, X, rays, G = case(hidden="tanh", engine=engine, D=3)
    together, apart = everything(net, X, rays, G), [np.zeros_like(G), 0, 0]
    for d in range(3):
        own = [0, 1 + d, 4 + d]
        G_d = G[own] * np.array([d == 0, 1, 1])[:, None, None]
        parts = everything(net, X, rays[:, d : d + 1], G_d)
        apart = [apart[0], apart[1] + parts[1], apart[2] + parts[2]]
        apart[0][own] = parts[0]
    check(apart, together, 1e-13)


@every_engine
def test_order_1_is_the_first_part(engine):
    net, X, rays, G = case(hidden="tanh", engine=engine)
    jet = net.jet(X, rays, order=1)
    assert jet.d2a is None
    assert deviation(channels(jet), channels(net.jet(X, rays))[:3]) < 1e-13
    without = net.jet_backward(X, rays, G[0], G[1:3])
    check(without, net.jet_backward(X, rays, G[0], G[1:3], np.zeros_like(G[3:])), 1e-13)


@every_engine
def test_matrices_of_derivatives(engine):
    net, X, rays, _ = case(hidden="tanh", output="sigmoid", engine=engine)
    unit, jet = np.eye(3), net.jet(X, rays)
    assert deviation(net.jet(X, unit, order=1).da.transpose(1, 2, 0), net.jacobian(X)) < 1e-13
    hessian = net.input_hessian(X)
    assert hessian.shape == (11, 2, 3, 3)
    assert deviation(np.einsum("idj,ikjm,idm->dik", rays, hessian, rays), jet.d2a) < 1e-12
    assert deviation(np.trace(hessian, axis1=2, axis2=3), net.laplacian(X)) < 1e-12


@every_engine
def test_values_alone_are_backpropagation(engine):
    """With no part of the derivatives, C of the outputs is left."""
    net, X, rays, G = case(hidden="tanh", engine=engine)
    ref = net.gradient_sums(X, net.predict(X) - G[0])[2]  # dC/da = a - y
    assert deviation(backward(net, X, rays, G * (np.arange(5) == 0)[:, None, None])[0], ref) < 1e-12


@pytest.mark.compiled
@pytest.mark.parametrize("n_slots", [2, 128])
def test_threads_change_no_bit(n_slots, monkeypatch):
    monkeypatch.setattr("fastbackprop.jit.team.available_processors", lambda: 3)
    monkeypatch.setattr("fastbackprop.engines.tiles.whole.MOST_SLOTS", n_slots)
    net, X, rays, G = case([2, 9, 1], 300, hidden="tanh")
    ref = [net.jet(X, rays, n_threads=1).d2a, *backward(net, X, rays, G, n_threads=1)]
    for n_threads in (None, 2, 3):
        jet = net.jet(X, rays, n_threads=n_threads)
        comp = [jet.d2a, *backward(net, X, rays, G, n_threads=n_threads)]
        assert all(map(np.array_equal, comp, ref))


# --- arguments -----------------------------------------------------------------------------------


def test_directions_that_do_not_fit():
    net, X, rays, _ = case(hidden="tanh", engine="numpy")
    shape = r"directions must have shape \(n_directions, 3\), or .*; got "
    for bad in (rays[0, 0], rays[..., :2], np.zeros((0, 3)), rays[None]):
        with pytest.raises(ValueError, match=shape):
            net.jet(X, bad)
    with pytest.raises(ValueError, match=r"those of the 11 samples in X; got \(10, 2, 3\)"):
        net.jet(X, rays[:-1])
    with pytest.raises(ValueError, match=r"directions must be finite; directions\[0, 1, 0\] is n"):
        net.jet(X, np.where(np.arange(66).reshape(rays.shape) == 3, np.nan, rays))
    for order, error in ((3, ValueError), (0, ValueError), (1.5, TypeError), (None, TypeError)):
        with pytest.raises(error, match=f"order must be 1 or 2; got {order}"):
            net.jet(X, rays, order=order)


def test_gradients_that_do_not_fit():
    net, X, rays, G = case(hidden="tanh", engine="numpy")
    before = net.get_parameters()
    with pytest.raises(ValueError, match=r"dC_da must have shape \(n_samples, n_L\) = \(11, 2\)"):
        net.jet_backward(X, rays, G[0, :-1], G[1:3])
    words = r"dC_d_d2a must have shape \(n_directions, n_samples, n_L\) = \(2, 11, 2\); got \(1, 11"
    with pytest.raises(ValueError, match=words):
        net.jet_backward(X, rays, G[0], G[1:3], G[3:4])
    with pytest.raises(ValueError, match=r"dC_d_da must be finite; dC_d_da\[0, 0, 0\] is nan"):
        net.jet_backward(X, rays, G[0], G[1:3] * np.nan)
    with pytest.raises(TypeError, match="dC_d_da must be an array of numbers; got None"):
        net.jet_backward(X, rays, G[0], None)
    assert np.array_equal(net.get_parameters(), before)


def test_functions_without_the_derivatives():
    X, v, zero = np.zeros((1, 2)), np.ones((1, 2)), np.zeros((1, 1, 2))
    for output in ("softmax", fb.LayerNorm("tanh")):
        net = fb.Network([2, 2], output=output, engine="numpy")
        with pytest.raises(ValueError, match="couples the neurons of a layer"):
            net.jet(X, v)
    own = {
        "derivative": lambda z, a: 1 - a * a,
        "second": lambda z, a: -2 * a * (1 - a * a),
    }
    net = fb.Network(
        [2, 2], output=fb.Activation("mine", lambda z: np.tanh(z), **own), engine="numpy"
    )
    assert net.jet(X, v).d2a.shape == (1, 1, 2)
    with pytest.raises(ValueError, match=r"'mine' has no third derivative.*with `third`"):
        net.jet_backward(X, v, zero[0], zero, zero)
    del own["second"]
    net = fb.Network(
        [2, 2], output=fb.Activation("mine", lambda z: np.tanh(z), **own), engine="numpy"
    )
    assert net.jet(X, v, order=1).da.shape == (1, 1, 2)
    for call in (net.laplacian, net.input_hessian, lambda X: net.jet(X, v)):
        with pytest.raises(ValueError, match="'mine' has no second derivative"):
            call(X)


@every_engine
def test_an_activation_of_ones_own(engine):
    mine = fb.Activation(
        "cubic",
        lambda z: z * z * z,
        lambda z, a: 3 * z * z,
        second=lambda z, a: 6 * z,
        third=lambda z, a: 6,
    )
    net = fb.Network([1, 1], output=mine, engine=engine, dtype="float64")
    net.set_parameters([1, 0])
    jet = net.jet([[2.0]], [[1.0]])
    assert [jet.a[0, 0], jet.da[0, 0, 0], jet.d2a[0, 0, 0]] == pytest.approx([8, 12, 12])
    by_x = net.jet_backward([[2.0]], [[1.0]], [[0]], [[[0]]], [[[1]]])[1]
    assert by_x[0, 0] == pytest.approx(6)


def test_inputs_stay_where_they_are(tmp_path):
    net, X, rays, _ = case(hidden="tanh", engine="numpy")
    np.save(tmp_path / "X.npy", X)
    on_disk = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert np.array_equal(net.jet(on_disk, rays).d2a, net.jet(X, rays).d2a)
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match="X is a sparse csr_array, and derivatives"):
        net.jet(sparse.csr_array(X), rays)


def test_the_example(tmp_path, capsys):
    """A few steps; the other libraries have the same cost and the same gradient."""
    pytest.importorskip("scipy")
    pytest.importorskip("matplotlib")
    example = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "poisson.py"))
    net = example["main"](n=60, adam_steps=20, lbfgs_steps=60, file=tmp_path / "u.png")
    assert (tmp_path / "u.png").is_file()
    assert example["error"](net) < 0.5
    assert "milliseconds a step" in capsys.readouterr().out
