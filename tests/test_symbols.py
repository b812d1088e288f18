"""Formulas that are recorded: a user's own in files, and what cannot be recorded."""

import math
import runpy
import shutil

import numba
import numpy as np
import pytest
from problems import HIDDEN, TOLERANCE, deviation, every_dtype, problem

import fastbackprop as fb
from fastbackprop.formats import write_c, write_numpy
from fastbackprop.functions import ACTIVATIONS, Coupled
from fastbackprop.functions import symbols as of


@numba.njit
def softplus(z):
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


def slope(z, p):
    return z if z > 0.0 else p[0] * z


def steps(z):
    if z < -1.0:
        return -1.0
    return 1.0 if z > 1.0 else z


def several(z):
    inside = (z > -2.0) & (z < 2.0)
    bounded = min(max(z, -1.0), 1.0)
    return softplus(z) * fb.math.tanh(z**2) + (bounded if inside else 0.5 * z) + inside


def with_erf(z):
    return z * (math.erf(z) + fb.math.erf(0.5 * z) + fb.math.sigmoid(z) + np.sqrt(abs(z) + 1))


def normed(Z):
    """Neither softmax nor one of ours: a_k = z_k / sum_i (1 + abs(z_i - mean z))."""
    D = Z - Z.mean(axis=1, keepdims=True)
    return D / (1 + np.abs(D)).sum(axis=1, keepdims=True) + Z[:, :1]


OWN = [
    fb.Activation("slope", slope, slope, p=(0.2,)),
    fb.Activation("steps", steps, steps),
    fb.Activation("several", several, several),
    fb.Activation('a/b\n*/ """', with_erf, with_erf),
]
NORMED = Coupled("normed", normed, normed)


def network(activation, dtype="float64"):
    """With sigma in place, whose derivative nobody asks for."""
    coupled = activation.coupled
    p = problem([3, 6, 4], 20, dtype=dtype, engine="numpy", hidden="tanh")
    p.net.machine.sigma[-1 if coupled else 0] = activation
    return p.net, 3 * p.X


every_own = pytest.mark.parametrize("activation", [*OWN, NORMED], ids=lambda a: a.name[:3])


@every_dtype
@every_own
def test_ones_own_in_numpy(activation, dtype, tmp_path):
    net, X = network(activation, dtype)
    write_numpy(net, tmp_path / "network.py")
    comp = runpy.run_path(str(tmp_path / "network.py"))["predict"](X)
    assert comp.dtype == net.dtype
    assert deviation(comp, net.predict(X)) < TOLERANCE[dtype]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler")
@every_dtype
@every_own
def test_ones_own_in_c(activation, dtype, tmp_path):
    from test_sources import compiled

    net, X = network(activation, dtype)
    assert deviation(compiled(net, tmp_path)(X), net.predict(X)) < TOLERANCE[dtype]


def run(path, X):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"X": X})[0]


@every_own
def test_ones_own_in_onnx(activation, tmp_path):
    pytest.importorskip("onnx")
    from fastbackprop.onnx import export

    net, X = network(activation, "float32")
    export(net, tmp_path / "net.onnx")
    assert deviation(run(tmp_path / "net.onnx", X), net.predict(X)) < TOLERANCE["float32"]


@every_dtype
@pytest.mark.filterwarnings("ignore:ONNX Runtime has no float64")
def test_onnx_at_the_extremes(dtype, tmp_path):
    """Nothing overflows to NaN where predict is finite; small values may be lost beside 1."""
    pytest.importorskip("onnx")
    from fastbackprop.onnx import export

    limits = np.finfo(dtype)
    z = [0, limits.smallest_subnormal, 1e-6, 30, 88, 120, 709, 800, 1e4, limits.max / 8]
    X = np.array([sign * z_k for z_k in z for sign in (1, -1)], dtype)[:, None]
    for name in HIDDEN:
        if name in ("gelu", "sin", "exp") and dtype == "float64":
            continue  # gelu: no kernel of Erf
        net = fb.Network([1, 1], output=name, dtype=dtype, engine="numpy")
        net.weights[0] = 1
        X_name = np.clip(X, -1e4, 1e4) if name == "sin" else X
        ref = net.predict(X_name)
        export(net, tmp_path / f"{name}.onnx")
        comp = run(tmp_path / f"{name}.onnx", X_name)
        scale = np.maximum(np.abs(ref), 1)
        with np.errstate(invalid="ignore"):  # infinities
            same = (comp == ref) | (np.abs(comp - ref) <= 64 * limits.eps * scale)
        assert same.all(), (name, X_name[~same], comp[~same], ref[~same])


def test_shared_parts_are_one_symbol():
    graph = of.recorded(ACTIVATIONS["mish"])
    exponentials = [node for node in of.nodes(graph) if node.word == "exp"]
    assert len(exponentials) == 1
    assert of.recorded(ACTIVATIONS["mish"]) is graph


@numba.njit
def halved(z):
    while z > 1.0:
        z = z / 2.0
    return z


REFUSED = {
    "np.floor": lambda z: np.floor(z),
    "float()": lambda z: z * float(z),
    "C": lambda z: math.gamma(z),
    "loop that depends on z": halved,
    "an index": lambda z: (1.0, 2.0)[int(z > 0)],
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_recorded(case, tmp_path):
    own = fb.Activation("own", REFUSED[case], REFUSED[case])
    message = "C source has nothing for the activation 'own': the formula of 'own' cannot be recor"
    net, _ = network(own)
    with pytest.raises(ValueError, match=message) as error:
        write_c(net, tmp_path / "net.c")
    assert case in str(error.value) or "float()" in str(error.value)
    assert not list(tmp_path.iterdir())
