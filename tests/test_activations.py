"""sigma and sigma' on arrays and through every engine, from tiny to huge z."""

import naive
import numba
import numpy as np
import pytest
from problems import every_dtype, every_engine, every_hidden

import fastbackprop as fb
from fastbackprop.formats.torch import MODULES, _first
from fastbackprop.functions.activations import ACTIVATIONS
from fastbackprop.functions.arrays import on_arrays, with_p

# 128 values, 0 and -0 among them: a mean over a power of two samples is exact.
STEPS = np.geomspace(1e-10, 1e4, 63)
Z = np.concatenate([-STEPS[::-1], [-0.0, 0.0], STEPS])

ERROR = 8  # units of rounding; the largest measured is 5, of silu'

coupled = [a.name for a in ACTIVATIONS.values() if a.coupled]
every_coupled = pytest.mark.parametrize("output", coupled)


def error(comp, ref):
    """Largest error in units of rounding, of values below 1 beside 1: some are 1 - (1 - small)."""
    unit, ref = np.finfo(comp.dtype).eps, np.array(ref)
    with np.errstate(all="ignore"):
        same = comp == ref.astype(comp.dtype)  # infinities among them
        errors = np.abs(comp.astype(np.float64) - ref) / np.maximum(np.abs(ref), 1)
    return np.max(np.where(same, 0, errors)) / unit


def at_hand(name):
    """Z, for exp up to where a - 1 is another number in float32 too."""
    return np.minimum(Z, 5) if name == "exp" else Z


def extremes(dtype):
    limits = np.finfo(dtype)
    magnitudes = [
        limits.smallest_subnormal,
        limits.tiny,
        88.0,
        89.0,
        709.0,
        746.0,
        1e30,
        limits.max,
    ]
    return np.array([sign * z for z in magnitudes for sign in (-1, 1)], dtype)


def one_neuron(name, engine, dtype):
    """A network whose hidden neuron has z = x, and whose output is a = sigma(z)."""
    net = fb.Network([1, 1, 1], hidden=name, engine=engine, dtype=dtype, rng=0)
    net.set_parameters([1, 0, 1, 0])
    return net


@every_dtype
@every_hidden
def test_on_arrays(hidden, dtype):
    z, activation = at_hand(hidden).astype(dtype), on_arrays(ACTIVATIONS[hidden], dtype)
    sigma, slope = naive.ACTIVATIONS[hidden]
    a = activation.sigma(z)
    derivative = np.broadcast_to(activation.derivative(z, a), z.shape)
    assert a.dtype == derivative.dtype == dtype
    assert error(a, [sigma(z_k) for z_k in z.tolist()]) < ERROR
    assert error(derivative, [slope(z_k) for z_k in z.tolist()]) < ERROR


@every_dtype
@every_engine
@every_hidden
def test_in_a_network(hidden, engine, dtype):
    z, net = at_hand(hidden).astype(dtype), one_neuron(hidden, engine, dtype)
    sigma, slope = naive.ACTIVATIONS[hidden]
    a = net.predict(z[:, None])[:, 0]
    trace = net.trace(z[:, None], a - 1)
    assert np.array_equal(trace.z[0][:, 0], z)
    derivative = trace.delta[0][:, 0] / trace.delta[1][:, 0]
    assert error(a, [sigma(z_k) for z_k in z.tolist()]) < ERROR
    assert error(derivative, [slope(z_k) for z_k in z.tolist()]) < ERROR


@every_dtype
@every_engine
@every_hidden
def test_at_the_extremes(hidden, engine, dtype):
    z, activation = extremes(dtype), on_arrays(ACTIVATIONS[hidden], dtype)
    sigma, slope = naive.ACTIVATIONS[hidden]
    a_ref = [sigma(z_k) for z_k in z.tolist()]
    net = fb.Network([1, 1], output=hidden, engine=engine, dtype=dtype, rng=0)
    net.set_parameters([1, 0])
    assert error(net.predict(z[:, None])[:, 0], a_ref) < ERROR
    with np.errstate(all="ignore"):
        a = activation.sigma(z)
        derivative = np.broadcast_to(activation.derivative(z, a), z.shape)
    assert error(a, a_ref) < ERROR
    assert error(derivative, [slope(z_k) for z_k in z.tolist()]) < ERROR


@every_dtype
@every_engine
@pytest.mark.parametrize(
    ("name", "z"),
    [
        ("sigmoid", [-80.0, -30.0, -5.0]),
        ("tanh", [-1e-5, 1e-10, 0.01]),
        ("elu", [-1e-5, -1e-10, -0.01]),
        ("softplus", [-80.0, -30.0, -5.0]),
        ("silu", [-80.0, -30.0, -5.0]),
    ],
)
def test_small_values_are_as_precise_as_large_ones(name, z, engine, dtype):
    z = np.array(z, dtype)
    a = one_neuron(name, engine, dtype).predict(z[:, None])[:, 0]
    ref = [naive.ACTIVATIONS[name][0](z_k) for z_k in z.tolist()]
    assert a == pytest.approx(ref, rel=float(8 * np.finfo(dtype).eps), abs=0)


@every_engine
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_derivative_at_the_kink_is_pytorchs(zero, engine):
    slopes = {"relu": 0.0, "leaky_relu": 0.01, "elu": 1.0}
    for name, slope in slopes.items():
        net = one_neuron(name, engine, "float64")
        assert net.trace([[zero]], [[-1.0]]).delta == [[[slope]], [[1.0]]]


@every_hidden
def test_kinks_are_pytorchs(hidden):
    torch = pytest.importorskip("torch")
    if hidden not in MODULES:
        pytest.skip("PyTorch has no module")
    z = torch.tensor(
        [-3.0, -1.0, -0.0, 0.0, 1.0, 3.0, 6.0], dtype=torch.float64, requires_grad=True
    )
    name, arguments = MODULES[hidden]
    p = ACTIVATIONS[hidden].p
    getattr(torch.nn, name)(**{k: _first(v, p) for k, v in arguments.items()})(z).sum().backward()
    of_arrays, numbers = on_arrays(ACTIVATIONS[hidden], "float64"), z.detach().numpy()
    comp = of_arrays.derivative(numbers, of_arrays.sigma(numbers))
    grad = z.grad.numpy()
    assert np.broadcast_to(comp, 7) == pytest.approx(grad, rel=1e-7)  # their 1/6 is a float32


@every_hidden
def test_derivative_is_the_slope(hidden):
    z, h = np.array([-2.5, -0.7, 0.3, 1.9]), 1e-3
    activation = on_arrays(ACTIVATIONS[hidden], "float64")
    near, far = (activation.sigma(z + m * h) - activation.sigma(z - m * h) for m in (1, 2))
    slope = (8 * near - far) / (12 * h)
    comp = activation.derivative(z, activation.sigma(z))
    assert comp == pytest.approx(slope, rel=1e-10, abs=1e-14)


@every_hidden
def test_second_derivative_is_the_slope_of_the_derivative(hidden):
    z, h = np.array([-2.5, -0.7, 0.3, 1.9]), 1e-3
    activation = on_arrays(ACTIVATIONS[hidden], "float64")

    def derivative(z):
        return np.broadcast_to(activation.derivative(z, activation.sigma(z)), z.shape)

    near, far = (derivative(z + m * h) - derivative(z - m * h) for m in (1, 2))
    slope = (8 * near - far) / (12 * h)
    second = np.broadcast_to(activation.second(z, activation.sigma(z)), z.shape)
    assert second == pytest.approx(slope, rel=1e-9, abs=1e-11)
    with np.errstate(all="ignore"):
        z = extremes("float64")
        second = activation.second(z, activation.sigma(z))
        assert np.isfinite(second).all() or hidden == "exp"


@every_hidden
def test_third_derivative_is_the_slope_of_the_second(hidden):
    z, h = np.array([-2.5, -0.7, 0.3, 1.9]), 1e-3
    activation = on_arrays(ACTIVATIONS[hidden], "float64")

    def derivative(z, part):
        return np.broadcast_to(getattr(activation, part)(z, activation.sigma(z)), z.shape)

    near, far = (derivative(z + m * h, "second") - derivative(z - m * h, "second") for m in (1, 2))
    slope = (8 * near - far) / (12 * h)
    assert derivative(z, "third") == pytest.approx(slope, rel=1e-9, abs=1e-11)
    with np.errstate(all="ignore"):
        assert np.isfinite(derivative(extremes("float64"), "third")).all() or hidden == "exp"


@pytest.mark.compiled
@every_hidden
def test_compiled_float32_stays_float32(hidden):
    activation = ACTIVATIONS[hidden]
    sigma, derivative = (
        with_p(f, n, np.dtype("float32"))
        for f, n in ((activation.sigma, 1), (activation.derivative, 2))
    )

    @numba.njit
    def value_and_slope(z, p):
        a = sigma(z, p)
        return a, derivative(z, a, p)

    value_and_slope.compile((numba.float32, numba.types.UniTuple(numba.float32, 2)))
    types = value_and_slope.nopython_signatures[0].return_type
    assert types == numba.types.UniTuple(numba.float32, 2)


# --- activations that couple a row ---------------------------------------------------------------

ROWS = np.array([[0, 0, 0], [1, -2, 3], [1e4, -1e4, 9999], [-1e4, -1e4, -1e4], [30, -30, 0]])


@every_dtype
@every_engine
@every_coupled
def test_coupled_outputs(output, engine, dtype):
    net = fb.Network([3, 3], output=output, engine=engine, dtype=dtype, rng=0)
    net.weights[0] = np.eye(3)
    a = net.predict(ROWS)
    ref = [naive.activate(output, z) for z in ROWS.tolist()]
    of_arrays = on_arrays(ACTIVATIONS[output], dtype).sigma(ROWS.astype(dtype))
    assert a.dtype == of_arrays.dtype == dtype
    assert error(a, ref) < ERROR
    assert error(of_arrays, ref) < ERROR


@every_dtype
@every_coupled
def test_rows_are_pulled_back_through_their_jacobian(output, dtype):
    z = ROWS.astype(dtype)
    g = np.random.default_rng(4).normal(size=z.shape).astype(dtype)
    activation = on_arrays(ACTIVATIONS[output], dtype)
    comp = activation.pull_back(g, z, activation.sigma(z))
    ref = [
        np.array(g_i) @ naive.JACOBIANS[output](z_i)
        for g_i, z_i in zip(g.tolist(), z.tolist(), strict=True)
    ]
    assert comp.dtype == dtype
    assert error(comp, ref) < ERROR


# --- the registry --------------------------------------------------------------------------------


def test_names():
    assert all(name == activation.name for name, activation in ACTIVATIONS.items())
