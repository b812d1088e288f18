"""Per-sample gradients, Jacobians, Hessian and Gauss-Newton products, for every engine."""

import functools
from dataclasses import replace
from itertools import cycle

import autodiff
import numpy as np
import pytest
from problems import CHOSEN, HIDDEN, TOLERANCE, deviation, every_dtype, every_engine, problem

import fastbackprop as fb
from fastbackprop.analysis import quantities as analysis
from fastbackprop.engines.functions import rows
from fastbackprop.functions import softmaxes
from fastbackprop.functions.activations import ACTIVATIONS
from fastbackprop.functions.costs import COSTS

# Fused pairs, softmax whose Jacobian is not diagonal, and pairs of element by element.
CASES = [
    ("tanh", "softmax", "cross_entropy"),
    ("silu", "softmax", "squared_error"),
    ("gelu", "sigmoid", "cross_entropy"),
    ("softplus", "identity", "squared_error"),
    ("elu", "sigmoid", "squared_error"),
]
SHAPES = [
    [2, 3],
    [5, 1, 4],
    [35, 9, 17, 3],
    [2, 67, 2],
]  # the last are wider than vectors


def case(hidden, output, cost, sizes=(3, 4, 3, 2), n_samples=5, **options):
    p = problem(list(sizes), n_samples, hidden=hidden, output=output, cost=cost, **options)
    v = np.random.default_rng(1).normal(size=p.net.n_parameters).astype(p.net.dtype)
    return p, v


def everything(p, v, s=None):
    net = p.net
    return {
        "sample_gradients": net.sample_gradients(p.X, p.Y),
        "sample_gradient_norms": net.sample_gradient_norms(p.X, p.Y),
        "input_gradient": net.input_gradient(p.X, p.Y),
        "jacobian": net.jacobian(p.X),
        "hessian_vector_product": net.hessian_vector_product(p.X, p.Y, v, s),
        "gauss_newton_vector_product": net.gauss_newton_vector_product(p.X, p.Y, v, s),
    }


def check(comp, ref, tolerance):
    assert comp.keys() == ref.keys()
    for name in ref:
        assert deviation(comp[name], ref[name]) < tolerance, name


# --- oracles -------------------------------------------------------------------------------------


@functools.cache
def by_jax(hidden, output, cost, dtype):
    p, v = case(hidden, output, cost, dtype=dtype)
    ref = autodiff.jax_analysis(*p.network, p.X, p.Y, p.s, v.astype(float))
    norms = np.linalg.norm(ref["sample_gradients"], axis=1)
    return ref | {"sample_gradient_norms": norms}


@every_dtype
@every_engine
@pytest.mark.parametrize(("hidden", "output", "cost"), CASES)
def test_jax(hidden, output, cost, engine, dtype):
    ref = by_jax(hidden, output, cost, dtype)
    p, v = case(hidden, output, cost, engine=engine, dtype=dtype)
    comp = everything(p, v, p.s)
    assert {result.dtype for result in comp.values()} == {p.net.dtype}
    check(comp, ref, 10 * TOLERANCE[dtype])


def gradient_at(p, theta):
    p.net.set_parameters(theta)
    return p.net.gradient_sums(p.X, p.Y, p.s)[2] / p.s.sum()


@every_engine
@pytest.mark.parametrize(
    ("hidden", "output", "cost"),
    [(hidden, *pair) for hidden, pair in zip(cycle(HIDDEN), CHOSEN, strict=False)],
)
def test_differences_of_the_gradient(hidden, output, cost, engine):
    """Every activation, with itself as output or another, and every cost."""
    p, v = case(hidden, output, cost, engine=engine, dtype="float64")
    product, theta, h = p.net.hessian_vector_product(p.X, p.Y, v, p.s), p.net.get_parameters(), 1e-4
    near, far = (
        gradient_at(p, theta + step * v) - gradient_at(p, theta - step * v) for step in (h, 2 * h)
    )
    assert deviation(product, (8 * near - far) / (12 * h)) < 1e-8


@every_dtype
@every_engine
def test_sample_gradients_are_those_of_batches_of_one(engine, dtype):
    p, _ = case(*CASES[0], engine=engine, dtype=dtype)
    rows = [p.net.gradient_sums(x[None], y[None])[2] for x, y in zip(p.X, p.Y, strict=True)]
    gradients = p.net.sample_gradients(p.X, p.Y)
    assert deviation(gradients, rows) < TOLERANCE[dtype]
    mean = p.net.gradient_sums(p.X, p.Y)[2] / len(p.X)
    assert deviation(gradients.mean(axis=0), mean) < TOLERANCE[dtype]


# --- engines with one another --------------------------------------------------------------------


@every_engine
@pytest.mark.parametrize("n_samples", [1, 150])
@pytest.mark.parametrize("sizes", SHAPES, ids=str)
def test_every_shape(sizes, n_samples, engine, monkeypatch):
    """Against the loop-free engine, which the others share no line with; in several blocks."""
    monkeypatch.setattr(analysis, "BLOCK", 1)
    ref = everything(*case(*CASES[0], sizes, n_samples, engine="numpy", dtype="float64"))
    comp = everything(*case(*CASES[0], sizes, n_samples, engine=engine, dtype="float64"))
    check(comp, ref, 10 * TOLERANCE["float64"])


@every_engine
def test_labels_are_one_hot_rows(engine):
    p, v = case(*CASES[0], engine=engine)
    labels = np.array([0, 1, 1, 0, 1])
    ref = everything(p._replace(Y=np.eye(2, dtype=p.net.dtype)[labels]), v)
    comp = everything(p._replace(Y=labels), v)
    assert all(np.array_equal(comp[name], ref[name]) for name in ref)


@every_engine
def test_memory_maps(engine, tmp_path):
    p, v = case(*CASES[3], engine=engine)
    maps = []
    for name, array in (("X", p.X), ("Y", p.Y)):
        np.save(tmp_path / f"{name}.npy", array)
        maps.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    ref, comp = everything(p, v, p.s), everything(p._replace(X=maps[0], Y=maps[1]), v, p.s)
    check(comp, ref, 1e-6)


# --- properties ----------------------------------------------------------------------------------


@every_engine
@pytest.mark.parametrize("method", ["hessian_vector_product", "gauss_newton_vector_product"])
def test_products_are_linear_and_symmetric(method, engine):
    p, v = case(*CASES[1], engine=engine, dtype="float64")
    u = np.random.default_rng(2).normal(size=v.size)
    Hu, Hv, H_of_both = (getattr(p.net, method)(p.X, p.Y, w) for w in (u, v, u - 3 * v))
    assert deviation(H_of_both, Hu - 3 * Hv) < 1e-12
    assert u @ Hv == pytest.approx(v @ Hu, rel=1e-11)
    if method == "gauss_newton_vector_product":
        assert u @ Hu > 0
    assert not getattr(p.net, method)(p.X, p.Y, 0 * v).any()


@every_engine
@pytest.mark.parametrize(
    ("output", "cost"), [(c.output or "identity", name) for name in COSTS for c in COSTS[name]]
)
def test_gauss_newton_of_one_layer_is_the_hessian(output, cost, engine):
    """Where z^L, or a^L = z^L, is linear in the parameters, nothing is left out."""
    p, v = case("tanh", output, cost, (3, 4), engine=engine, dtype="float64")
    ref = p.net.hessian_vector_product(p.X, p.Y, v, p.s)
    assert deviation(p.net.gauss_newton_vector_product(p.X, p.Y, v, p.s), ref) < 1e-12


@every_engine
def test_a_weight_of_two_is_a_row_twice(engine):
    p, v = case(*CASES[2], engine=engine, dtype="float64")
    twice = [0, 0, 1, 2, 3, 4]
    ref = p.net.hessian_vector_product(p.X[twice], p.Y[twice], v)
    assert deviation(p.net.hessian_vector_product(p.X, p.Y, v, [2, 1, 1, 1, 1]), ref) < 1e-12


def test_nothing_is_changed_and_calls_repeat():
    p, v = case(*CASES[0])
    before = p.net.get_parameters()
    first, second = everything(p, v), everything(p, v)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert np.array_equal(p.net.get_parameters(), before)


@every_engine
def test_error_sizes(engine):
    p, _ = case(*CASES[0], engine=engine, dtype="float64")
    deltas = [np.concatenate(d) for d in zip(*(delta_of(p, i) for i in range(5)), strict=True)]
    ref = [np.sqrt(np.mean(delta**2)) for delta in deltas]
    assert deviation(p.net.error_sizes(p.X, p.Y), ref) < 1e-12


def delta_of(p, i):
    return p.net.trace(p.X[i : i + 1], p.Y[i : i + 1]).delta


def test_error_flow_is_recorded_before_and_after_every_epoch():
    p, _ = case(*CASES[0], engine="numpy")
    flow, seen = fb.ErrorFlow(p.X, p.Y), [p.net.error_sizes(p.X, p.Y)]
    look = lambda net, epoch, logs: seen.append(net.error_sizes(p.X, p.Y))  # noqa: E731
    for _ in range(2):
        p.net.fit(p.X, p.Y, epochs=2, callbacks=[flow, look])
    np.testing.assert_array_equal(flow.sizes, seen)
    assert np.shape(seen) == (5, 3)


def test_error_flow_refuses_other_samples_before_the_training():
    p, _ = case(*CASES[0], engine="numpy")
    before = p.net.get_parameters()
    with pytest.raises(ValueError, match="X must have shape"):
        p.net.fit(p.X, p.Y, epochs=1, callbacks=fb.ErrorFlow(p.X[:, :2], p.Y))
    assert np.array_equal(p.net.get_parameters(), before)


@every_engine
@pytest.mark.parametrize(
    "method", ["sample_gradients", "sample_gradient_norms", "input_gradient", "error_sizes"]
)
def test_samples_that_do_not_fit(method, engine):
    p, _ = case(*CASES[0], engine=engine)
    with pytest.raises(ValueError, match=r"X must have shape \(n_samples, 3\); got \(5, 2\)"):
        getattr(p.net, method)(p.X[:, :2], p.Y)
    with pytest.raises(ValueError, match=r"labels in y must lie in 0 ... 1; they span 0 ... 2"):
        getattr(p.net, method)(p.X, [0, 1, 2, 0, 0])
    with pytest.raises(ValueError, match=r"X must be finite; X\[0, 0\] is inf"):
        p.net.jacobian(np.add(p.X, [np.inf, 0, 0]))


# --- arguments -----------------------------------------------------------------------------------


@every_engine
def test_out(engine):
    p, _ = case(*CASES[0], engine=engine)
    out = np.full((len(p.X), p.net.n_parameters), np.nan, p.net.dtype)
    assert p.net.sample_gradients(p.X, p.Y, out) is out
    assert np.array_equal(out, p.net.sample_gradients(p.X, p.Y))


def test_out_that_does_not_fit():
    p, _ = case(*CASES[0])
    shape = len(p.X), p.net.n_parameters
    with pytest.raises(ValueError, match="out must be a C-contiguous float32 array"):
        p.net.sample_gradients(p.X, p.Y, np.empty(shape))
    memory = np.zeros(shape, np.float32)
    X = memory.reshape(-1)[: p.X.size].reshape(p.X.shape)
    with pytest.raises(ValueError, match="out must not share memory with X"):
        p.net.sample_gradients(X, p.Y, memory)
    assert not memory.any()


@pytest.mark.parametrize("method", ["hessian_vector_product", "gauss_newton_vector_product"])
def test_directions_that_do_not_fit(method):
    p, v = case(*CASES[0], engine="numpy")
    product = getattr(p.net, method)
    with pytest.raises(ValueError, match=r"v must have shape \(n_parameters,\) = \(39,\); got"):
        product(p.X, p.Y, v[:-1])
    with pytest.raises(ValueError, match=r"v must be finite; v\[3\] is nan"):
        product(p.X, p.Y, np.where(np.arange(v.size) == 3, np.nan, v))
    with pytest.raises(TypeError, match="v must be an array of numbers; got None"):
        product(p.X, p.Y, None)


@every_engine
def test_an_activation_without_a_second_derivative(engine):
    p, v = case(*CASES[0], engine=engine)
    ref = everything(p, v)["gauss_newton_vector_product"]
    q, _ = case(*CASES[0], engine=engine)
    q.net.machine.sigma[0] = replace(ACTIVATIONS["tanh"], second=None)
    with pytest.raises(ValueError, match="activation 'tanh' has no second derivative"):
        q.net.hessian_vector_product(p.X, p.Y, v)
    assert np.array_equal(q.net.gauss_newton_vector_product(p.X, p.Y, v), ref)


@every_engine
def test_a_coupled_function_without_a_kernel(engine):
    """The product is then made by matrix expressions, whatever the engine."""
    p, v = case(*CASES[1], engine=engine, dtype="float64")
    ref = everything(p, v)
    q, _ = case(*CASES[1], engine=engine, dtype="float64")
    q.net.machine.sigma[-1] = fb.Activation(
        "my_softmax",
        softmaxes.softmax,
        softmaxes.softmax_pull_back,
        rows=(rows.softmax_row, rows.softmax_pull_back_row),
        second=lambda *arrays: softmaxes.softmax_second(*arrays),
    )
    check(everything(q, v), ref, 10 * TOLERANCE["float64"])
