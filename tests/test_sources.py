"""Networks as C and as NumPy source: compiled, run, and compared with `predict`."""

import ctypes
import dataclasses
import re
import runpy
import shutil
import subprocess

import numpy as np
import pytest
from problems import DTYPES, HIDDEN, every_dtype

import fastbackprop as fb
from fastbackprop.formats import write_c, write_numpy
from fastbackprop.functions.activations import ACTIVATIONS

compiler = shutil.which("gcc") or shutil.which("cc")
outputs = pytest.mark.parametrize("output", ACTIVATIONS)


def network(output, dtype, sizes=(3, 7, 5, 4)):
    """A network whose z run from small to large, with the function inside and at the end."""
    hidden = [output if output in HIDDEN else "tanh", "tanh", "tanh"][: len(sizes) - 2]
    rng = np.random.default_rng(3)
    net = fb.Network(
        sizes,
        hidden=hidden,
        output=output,
        dtype=dtype,
        engine="numpy",
        rng=rng,
        init="glorot_normal",
    )
    for b in net.biases:
        b[:] = rng.normal(size=b.shape)
    scale = np.geomspace(0.01, 3, 20)[:, None]
    return net, (rng.normal(size=(20, sizes[0])) * scale).astype(dtype)


def ulps(comp, ref):
    """Largest difference in units of rounding of the row's largest value, or of one."""
    scale = np.maximum(np.abs(ref).max(axis=1, keepdims=True), 1)
    return np.max(np.abs(comp - ref) / scale) / np.finfo(ref.dtype).eps


def compiled(net, folder, name="predict", **options):
    """`predict` of the C file: compiled without a warning, called row by row."""
    source, library = folder / f"{name}.c", folder / f"{name}.so"
    write_c(net, source, name=name, **options)
    text = source.read_text("utf-8")
    assert re.findall("#include (.*)", text) == ["<math.h>"] and "malloc" not in text
    strict = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]
    subprocess.run(
        [compiler, *strict, "-shared", "-fPIC", source, "-o", library, "-lm"], check=True
    )
    row = np.ctypeslib.ndpointer(net.dtype, ndim=1, flags="C_CONTIGUOUS")
    function = ctypes.CDLL(str(library))[name]
    function.argtypes, function.restype = [row, row], None

    def predict(X):
        out = np.full((len(X), net.sizes[-1]), np.nan, net.dtype)
        for x, a in zip(X, out, strict=True):
            function(x, a)
        return out

    return predict


@pytest.mark.skipif(compiler is None, reason="needs a C compiler")
@every_dtype
@outputs
def test_c(output, dtype, tmp_path):
    net, X = network(output, dtype)
    assert ulps(compiled(net, tmp_path)(X), net.predict(X)) < 16


@pytest.mark.skipif(compiler is None, reason="needs a C compiler")
@pytest.mark.parametrize("sizes", [(1, 1), (2, 9), (2, 1, 6, 3, 5)], ids=str)
def test_c_at_every_depth_and_in_place(sizes, tmp_path):
    net, X = network("tanh", "float64", sizes)
    predict = compiled(net, tmp_path, name="net_1")
    assert ulps(predict(X), net.predict(X)) < 16


@every_dtype
@outputs
def test_numpy(output, dtype, tmp_path):
    net, X = network(output, dtype)
    write_numpy(net, tmp_path / "network.py")
    text = (tmp_path / "network.py").read_text("utf-8")
    assert "numba" not in text and "import fastbackprop" not in text
    predict = runpy.run_path(str(tmp_path / "network.py"))["predict"]
    comp = predict(X.astype("float64"))
    assert comp.dtype == net.dtype
    assert ulps(comp, net.predict(X)) < 16
    with pytest.raises(ValueError, match=r"\(n_samples, 3\)"):
        predict(X[0])


@pytest.mark.skipif(compiler is None, reason="needs a C compiler")
@every_dtype
def test_extremes(dtype, tmp_path):
    """Every function of one z that is huge or tiny, side by side: nothing overflows to NaN."""
    limits = np.finfo(dtype)
    z = [0, limits.smallest_subnormal, 1e-6, 30, 88.5, 120, 709.5, 800, 1e4, limits.max / 8]
    X = np.array([sign * z_k for z_k in z for sign in (1, -1)], dtype)[:, None]
    for name in HIDDEN:
        net = fb.Network([1, 1], output=name, dtype=dtype, engine="numpy")
        net.weights[0] = 1
        ref = net.predict(X)
        write_numpy(net, tmp_path / "network.py")
        comp = runpy.run_path(str(tmp_path / "network.py"))["predict"](X)
        np.testing.assert_allclose(comp, ref, rtol=8 * limits.eps, atol=limits.tiny)
        np.testing.assert_allclose(
            compiled(net, tmp_path, f"p_{name}")(X), ref, rtol=8 * limits.eps, atol=limits.tiny
        )


def test_a_user_s_function_is_not_taken_for_ours(tmp_path):
    """Of two functions of one name each is written as it is."""
    net, X = network("tanh", "float32")
    ref = network("sin", "float32")[0]
    ref.set_parameters(net.get_parameters())
    net.machine.sigma[0] = dataclasses.replace(ACTIVATIONS["relu"], sigma=np.sin)
    net.machine.sigma[1] = ACTIVATIONS["relu"]
    ref.machine.sigma[1:] = net.machine.sigma[1:]
    write_numpy(net, tmp_path / "network.py")
    comp = runpy.run_path(str(tmp_path / "network.py"))["predict"](X)
    assert ulps(comp, ref.predict(X)) < 16


@pytest.mark.parametrize("name", ["2nd", "a b", "", "f;", None])
def test_c_names(name, tmp_path):
    with pytest.raises(ValueError, match="C identifier"):
        write_c(network("tanh", DTYPES[0])[0], tmp_path / "a.c", name=name)
    assert not list(tmp_path.iterdir())


def ensemble(dtype, weights):
    kinds = [((3, 7, 4), "gelu"), ((3, 5, 6, 4), "tanh"), ((3, 4), ())]
    networks = [
        fb.Network(
            sizes, hidden=hidden, output="softmax", cost="cross_entropy", dtype=dtype, rng=seed,
            engine="numpy",
        )
        for seed, (sizes, hidden) in enumerate(kinds)
    ]  # fmt: skip
    return fb.Ensemble(networks, weights=weights)


@pytest.mark.parametrize("weights", [None, [1, 2, 5]])
@every_dtype
def test_ensembles(dtype, weights, tmp_path):
    model, X = ensemble(dtype, weights), np.random.default_rng(0).normal(size=(9, 3)).astype(dtype)
    write_numpy(model, tmp_path / "f.py", scaler=(1.0, 2.0))
    predict = runpy.run_path(str(tmp_path / "f.py"))["predict"]
    assert predict(X).dtype == dtype
    assert ulps(predict(X), model.predict((X - 1) / 2)) < 16
    if compiler is not None:
        model.sizes = (3, 4)  # for `compiled`
        assert ulps(compiled(model, tmp_path)(X), model.predict(X)) < 16
        scaled = compiled(model, tmp_path, "scaled", scaler=(1.0, 2.0), target_scaler=(3.0, 4.0))
        assert ulps(scaled(X), model.predict((X - 1) / 2) * 4 + 3) < 32
