"""The network inside other people's compiled code: rows, derivatives, C callbacks."""

import ctypes
import gc
import runpy
from pathlib import Path

import naive
import numba
import numpy as np
import pytest
from problems import HIDDEN, TOLERANCE, deviation, problem

import fastbackprop as fb
from fastbackprop.functions.activations import ACTIVATIONS

# Each function once, four in a network: a network compiles for two seconds.
FUNCTIONS = [
    (HIDDEN[i : i + 3], HIDDEN[min(i + 3, len(HIDDEN) - 1)]) for i in range(0, len(HIDDEN), 4)
]
FUNCTIONS += [([], output) for output in ACTIVATIONS if output not in HIDDEN]
compiled = pytest.mark.compiled
DOUBLES = ctypes.POINTER(ctypes.c_double)


def derivative(net, x, v):
    """J v, by differences of fourth order of the network's own predictions in float64."""
    h = 1e-3
    rows = [x + m * h * v for m in (1, -1, 2, -2)]
    right, left, far_right, far_left = net.predict(rows)
    return (8 * (right - left) - (far_right - far_left)) / (12 * h)


@pytest.mark.parametrize(("hidden", "output"), FUNCTIONS)
def test_row_and_derivative(hidden, output):
    options = {"hidden": hidden, "output": output, "dtype": "float64", "engine": "numpy"}
    p = problem([3, *[5] * len(hidden), 4], n_samples=3, **options)
    f, v = p.net.as_njit(), np.random.default_rng(1).normal(size=3)
    for x, ref in zip(p.X, p.net.predict(p.X), strict=True):
        out, again, out_v = np.empty((3, 4))
        f(x, out)
        f.jvp(x, v, again, out_v)
        assert deviation(out, ref) < 1e-13
        assert deviation(again, ref) < 1e-13
        assert deviation(out_v, derivative(p.net, x, v)) < 1e-8


@compiled
def test_in_a_users_compiled_code():
    p = problem([2, 7, 3, 2], 1, hidden=["tanh", "silu"], dtype="float32", engine="numpy")
    f = p.net.as_njit()

    @numba.njit(error_model="numpy")
    def rows(X, V):
        A, AV = np.empty_like(X), np.empty_like(X)
        for i in range(len(X)):
            f.jvp(X[i], V[i], A[i], AV[i])
            f(X[i], X[i])  # in place
        return A, AV

    X = np.asfortranarray(np.random.default_rng(2).normal(size=(5, 2)))  # rows with a stride
    ref = p.net.predict(X)
    in_place = X.copy(order="F")
    A, AV = rows(in_place, np.ones_like(X))
    assert deviation(A, ref) < TOLERANCE["float32"]
    assert deviation(in_place, ref) < TOLERANCE["float32"]
    twin = fb.Network(p.net.sizes, hidden=p.net.hidden, dtype="float64", engine="numpy")
    twin.set_parameters(p.net.get_parameters())
    ref = [derivative(twin, x, np.ones(2)) for x in X]
    assert deviation(AV, ref) < TOLERANCE["float32"]


@compiled
def test_an_ode_with_a_learned_right_hand_side():
    """The example's solver, compiled with the network in it, against the same method in NumPy."""
    example = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "ode.py"))
    net = problem([2, 16, 16, 2], 1, hidden="tanh", dtype="float64", engine="numpy").net
    ref = example["with_numpy"](net)()
    assert np.abs(ref - example["START"]).max() > 0.1
    assert deviation(example["compiled_solver"](net)(), ref) < 1e-11


@compiled
def test_threads_do_not_share_scratch():
    p = problem([4, 33, 2], 200, hidden="tanh", dtype="float64", engine="numpy")
    f = p.net.as_njit()

    @numba.njit(parallel=True)
    def rows(X):
        A = np.empty((len(X), 2))
        for i in numba.prange(len(X)):
            f(X[i], A[i])
        return A

    assert deviation(rows(p.X), p.net.predict(p.X)) < 1e-13


def test_parameters_are_frozen():
    net = fb.Network([2, 2], dtype="float64", engine="numpy", rng=0)
    ref, f = net.predict([[1, 2]])[0], net.as_njit()
    net.weights[0] = 0
    gc.collect()
    out = np.empty(2)
    f(np.array([1.0, 2.0]), out)
    assert deviation(out, ref) < 1e-15


@compiled
def test_a_user_s_function_may_outlive_it():
    net = fb.Network([50, 50], dtype="float64", engine="numpy", rng=0)
    x, ref = np.ones(50), net.predict(np.ones((1, 50)))[0]
    f = net.as_njit()

    @numba.njit
    def user(x, out):
        f(x, out)

    user(x, np.empty(50))
    f = fb.Network([50, 50], dtype="float64", engine="numpy", rng=1).as_njit()
    gc.collect()
    out, litter = np.empty(50), [np.full(2800, np.nan) for _ in range(200)]
    user(x, out)
    assert litter and deviation(out, ref) < 1e-14


@compiled
def test_a_user_s_cached_function_never_has_the_parameters_of_another_day():
    f = fb.Network([1, 1], engine="numpy", rng=0).as_njit()

    @numba.njit(cache=True)
    def user(x):
        f(x, x)

    with pytest.warns(numba.NumbaWarning, match="Cannot cache compiled function"):
        user(np.ones(1))


@compiled
def test_nothing_is_allocated():
    net = fb.Network([3, 8, 2], hidden="tanh", output="softmax", engine="numpy", rng=0)
    f = net.as_njit()
    x, out = np.ones(3), np.empty(2)
    f(x, out)
    f.jvp(x, x, out, out.copy())
    for function in (f, f.jvp):
        for text in function.inspect_llvm().values():
            assert "NRT_MemInfo_alloc" not in text and "NRT_Allocate" not in text


def test_too_wide_for_a_stack():
    with pytest.raises(ValueError, match=r"at most 262144 bytes.*call predict"):
        fb.Network([1, 20_000, 1], engine="numpy").as_njit()


# --- C callbacks ---------------------------------------------------------------------------------


@compiled
def test_quad():
    scipy = pytest.importorskip("scipy")
    from scipy.integrate import quad

    net = problem([2, 6, 1], 1, hidden="tanh", engine="numpy").net
    function = net.as_cfunc("quad").ctypes
    callback = scipy.LowLevelCallable(function)
    gc.collect()
    comp = quad(callback, -1, 2, args=(0.3,), epsabs=1e-6, epsrel=1e-6)[0]
    ref = quad(lambda x: net.predict([[x, 0.3]])[0, 0], -1, 2, epsabs=1e-6, epsrel=1e-6)[0]
    assert comp == pytest.approx(ref, rel=1e-5)
    assert np.isnan(function(1, np.ones(1).ctypes.data_as(DOUBLES)))  # the network has two inputs


@compiled
def test_generic_filter():
    scipy = pytest.importorskip("scipy")
    from scipy.ndimage import generic_filter

    net = problem([9, 5, 1], 1, hidden="relu", dtype="float64", engine="numpy").net
    callback = scipy.LowLevelCallable(net.as_cfunc("filter").ctypes)
    image = np.random.default_rng(0).normal(size=(6, 7))
    ref = generic_filter(image, lambda x: net.predict(x[None])[0, 0], size=3)
    assert deviation(generic_filter(image, callback, size=3), ref) < 1e-14
    with pytest.raises(RuntimeError):
        generic_filter(image, callback, size=2)


@compiled
def test_row_callback():
    p = problem([3, 4, 2], 1, hidden="tanh", output="softmax", dtype="float64", engine="numpy")
    x, out = np.ascontiguousarray(p.X[0]), np.empty(2)
    p.net.as_cfunc().ctypes(x.ctypes.data_as(DOUBLES), out.ctypes.data_as(DOUBLES))
    assert deviation(out, naive.trace(*p.network, p.X, p.Y, None)[1][-1][0]) < 1e-14


def test_callbacks_refuse():
    net = fb.Network([2, 2], engine="numpy")
    with pytest.raises(ValueError, match="2 outputs: pass kind='row'"):
        net.as_cfunc("quad")
    with pytest.raises(ValueError, match="unknown kind 'qaud': did you mean 'quad'"):
        net.as_cfunc("qaud")
