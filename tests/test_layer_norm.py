"""Layer normalisation before an activation: against PyTorch, and what it promises by itself."""

import pickle
import runpy
import shutil

import numpy as np
import pytest
from problems import HIDDEN, TOLERANCE, deviation, every_dtype, every_engine, problem

import fastbackprop as fb
from fastbackprop.formats import write_numpy
from fastbackprop.functions.activations import ACTIVATIONS

SIZES = [5, 7, 18, 3]
MIXED = [fb.LayerNorm(fb.LeakyReLU(0.25), 1e-3), fb.LayerNorm("gelu")]
SOME = ["tanh", "relu", "sin"]


def layer_normed(hidden, engine="numpy", dtype="float64", n_samples=37, **options):
    options = {"output": "tanh", "hidden": hidden, "engine": engine, "dtype": dtype} | options
    return problem(SIZES, n_samples, **options)


def everything(p):
    """What the engines compute, by name."""
    net, v = p.net, np.random.default_rng(1).normal(size=p.net.n_parameters).astype(p.net.dtype)
    return {
        "activations": np.hstack(net.activations(p.X)),
        "one row": np.vstack([net.predict(p.X[i : i + 1]) for i in range(3)]),
        "gradient": net.gradient_sums(p.X, p.Y, p.s)[2],
        "samples": net.sample_gradients(p.X, p.Y),
        "jacobian": net.jacobian(p.X),
        "hessian": net.hessian_vector_product(p.X, p.Y, v, p.s),
        "gauss_newton": net.gauss_newton_vector_product(p.X, p.Y, v, p.s),
    }


# --- against PyTorch -----------------------------------------------------------------------------


def flat(parameters):
    """As `get_parameters` has them."""
    return np.concatenate([t.detach().numpy().T.ravel() for t in parameters])


@every_engine
@pytest.mark.parametrize("hidden", [[fb.LayerNorm("tanh")] * 2, MIXED], ids=["tanh", "mixed"])
def test_torch(hidden, engine):
    torch = pytest.importorskip("torch")
    p = layer_normed(hidden, engine)
    module, X, Y, s = p.net.to_torch(), *(torch.tensor(array) for array in (p.X, p.Y, p.s))
    cost = (s[:, None] * 0.5 * (module(X) - Y) ** 2).sum() / s.sum()
    parameters = list(module.parameters())
    gradient = torch.autograd.grad(cost, parameters, create_graph=True)
    comp = everything(p)
    assert deviation(comp["gradient"] / p.s.sum(), flat(gradient)) < 1e-13
    v = np.random.default_rng(1).normal(size=p.net.n_parameters)
    direction = fb.Network(SIZES, dtype="float64", engine="numpy")
    direction.set_parameters(v)
    parts = [
        torch.tensor(part)
        for W, b in zip(direction.weights, direction.biases, strict=True)
        for part in (W.T.copy(), b.copy())
    ]
    slope = sum((g * part).sum() for g, part in zip(gradient, parts, strict=True))
    product = torch.autograd.grad(slope, parameters)
    assert deviation(comp["hessian"], flat(product)) < 1e-12
    jacobian = torch.autograd.functional.jacobian(lambda x: module(x).sum(dim=0), X)
    assert deviation(comp["jacobian"], jacobian.permute(1, 0, 2)) < 1e-13


@pytest.mark.parametrize("hidden", HIDDEN)
def test_every_activation_by_differences(hidden):
    p = layer_normed(fb.LayerNorm(hidden), n_samples=5)
    assert p.net.check_gradient(p.X, p.Y, p.s) < 1e-9
    v, theta, h = (
        np.random.default_rng(1).normal(size=p.net.n_parameters),
        p.net.get_parameters(),
        1e-5,
    )
    product = p.net.hessian_vector_product(p.X, p.Y, v, p.s)

    def gradient_at(step):
        p.net.set_parameters(theta + step * v)
        return p.net.gradient_sums(p.X, p.Y, p.s)[2] / p.s.sum()

    assert deviation(product, (gradient_at(h) - gradient_at(-h)) / (2 * h)) < 1e-6


# --- engines, threads, numbers -------------------------------------------------------------------


@pytest.mark.parametrize("hidden", SOME)
@pytest.mark.parametrize(
    ("engine", "dtype"), [("tiles", "float32"), ("tiles", "float64"), ("loops", "float64")]
)
def test_engines_agree(hidden, engine, dtype):
    ref = everything(layer_normed(fb.LayerNorm(hidden), "numpy", dtype, output=fb.LayerNorm()))
    comp = everything(layer_normed(fb.LayerNorm(hidden), engine, dtype, output=fb.LayerNorm()))
    for name in ref:
        assert deviation(comp[name], ref[name]) < 10 * TOLERANCE[dtype], name


@every_dtype
@every_engine
@pytest.mark.parametrize("offset", [0.0, 1e4, -1e7])
def test_equal_neurons_are_zero_whatever_their_size(offset, engine, dtype):
    net = fb.Network([1, 7], output=fb.LayerNorm("identity"), engine=engine, dtype=dtype, rng=0)
    net.weights[0], net.biases[0] = 0, offset + 0.1
    assert not net.predict(np.ones((40, 1))).any()
    delta = net.trace([[1.0]], [np.arange(7.0)]).delta[0]
    assert np.isfinite(delta).all() and abs(delta.sum()) < 1e-4 * np.abs(delta).max()


@every_dtype
@every_engine
def test_mean_and_variance(engine, dtype):
    net = fb.Network([3, 50], output=fb.LayerNorm("identity"), engine=engine, dtype=dtype, rng=0)
    net.biases[0] = 1000  # a large mean: the mean of squares less its square would be lost
    a = net.predict(np.random.default_rng(0).normal(size=(20, 3))).astype(float)
    assert np.abs(a.mean(axis=1)).max() < 10 * TOLERANCE[dtype]
    assert a.var(axis=1) == pytest.approx(1, abs=1e-3)


@pytest.mark.compiled
def test_no_bit_depends_on_the_number_of_threads():
    results = []
    for n_threads in (1, 2, 3):
        p = layer_normed(fb.LayerNorm("relu"), "tiles", "float32", n_samples=300)
        p.net.fit(p.X, p.Y, epochs=2, batch_size=100, dropout=0.3, n_threads=n_threads)
        results.append(p.net.get_parameters())
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])


# --- one's own -----------------------------------------------------------------------------------


def cube(z):
    return z * z * z


def cube_derivative(z, a):
    return 3 * z * z


OWN = fb.Activation("cube", cube, cube_derivative)


@every_engine
def test_ones_own_activation(engine, tmp_path):
    p = layer_normed(fb.LayerNorm(OWN), engine)
    assert p.net.check_gradient(p.X, p.Y) < 1e-9
    p.net.save(tmp_path / "net")
    loaded = fb.Network.load(tmp_path / "net", functions=[OWN])
    assert repr(loaded) == repr(p.net)
    assert loaded.predict(p.X).tobytes() == p.net.predict(p.X).tobytes()
    with pytest.raises(ValueError, match="'cube' is of the user's own making"):
        fb.Network.load(tmp_path / "net")


# --- files and other libraries -------------------------------------------------------------------


def test_saved_and_pickled_with_the_same_bits(tmp_path):
    p = layer_normed([*MIXED[:1], "relu"], dtype="float32")
    p.net.save(tmp_path / "net")
    for other in (fb.Network.load(tmp_path / "net"), pickle.loads(pickle.dumps(p.net))):
        assert repr(other) == repr(p.net) and "layer_norm(leaky_relu(0.25), 0.001)" in repr(other)
        assert other.predict(p.X).tobytes() == p.net.predict(p.X).tobytes()


@pytest.mark.parametrize(
    ("written", "changed"),
    [
        ('"of": "tanh"', '"of": "soft"'),
        ('"epsilon": 1e-05', '"epsilon": -1e05'),
        ('"name": "layer_norm"', '"name": "batch_norm"'),
        ('"epsilon": 1e-05', '"epsilon": "no"'),
    ],
)
def test_a_file_with_another_description_is_refused(written, changed, tmp_path):
    layer_normed(fb.LayerNorm("tanh"), dtype="float32").net.save(tmp_path / "net")
    content = (tmp_path / "net").read_bytes()
    written, changed = (text.replace('"', '\\"').encode() for text in (written, changed))
    assert written in content
    length = 8 + int.from_bytes(content[:8], "little")
    header = content[8:length].rstrip().replace(written, changed)
    header += b" " * (-len(header) % 8)
    size = len(header).to_bytes(8, "little")
    (tmp_path / "net").write_bytes(size + header + content[length:])
    with pytest.raises((ValueError, TypeError)):
        fb.Network.load(tmp_path / "net")


@every_dtype
def test_torch_there_and_back(dtype):
    torch = pytest.importorskip("torch")
    p = layer_normed(MIXED, dtype=dtype, output=fb.LayerNorm("identity"))
    module = p.net.to_torch()
    assert deviation(p.net.predict(p.X), module(torch.from_numpy(p.X)).detach()) < TOLERANCE[dtype]
    back = fb.Network.from_torch(module, engine="numpy")
    assert repr(back) == repr(p.net)
    assert np.array_equal(back.get_parameters(), p.net.get_parameters())


def test_what_of_torch_is_refused():
    nn = pytest.importorskip("torch").nn
    gain = nn.LayerNorm(4)
    assert fb.Network.from_torch(nn.Sequential(nn.Linear(3, 4), gain)).output.startswith("layer")
    gain.weight.data[0] = 2
    for modules, message in (
        ((nn.Linear(3, 4), gain), "without gain and shift"),
        ((nn.Linear(3, 4), nn.ReLU(), nn.LayerNorm(4)), "does not follow a Linear"),
        ((nn.LayerNorm(3), nn.Linear(3, 4)), "does not follow a Linear"),
    ):
        with pytest.raises(ValueError, match=message):
            fb.Network.from_torch(nn.Sequential(*modules))


@every_dtype
def test_onnx(dtype, tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    from fastbackprop.onnx import export, load

    p, path = layer_normed([MIXED[0], fb.LayerNorm("tanh")], dtype=dtype), tmp_path / "net.onnx"
    export(p.net, path)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (ref,) = session.run(None, {"X": p.X})
    tolerance = max(TOLERANCE[dtype], 1e-7)  # epsilon is a float32 there
    assert deviation(p.net.predict(p.X), ref) < tolerance
    back = load(path, engine="numpy")
    assert repr(back) == repr(p.net)
    assert np.array_equal(back.get_parameters(), p.net.get_parameters())


def test_numpy_source(tmp_path):
    p = layer_normed(MIXED, dtype="float32")
    write_numpy(p.net, tmp_path / "network.py")
    predict = runpy.run_path(str(tmp_path / "network.py"))["predict"]
    assert deviation(predict(p.X), p.net.predict(p.X)) < TOLERANCE["float32"]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler")
@every_dtype
def test_c_source(dtype, tmp_path):
    from test_sources import compiled

    p = layer_normed(MIXED, dtype=dtype, output=fb.LayerNorm("gelu"))
    assert deviation(compiled(p.net, tmp_path)(p.X), p.net.predict(p.X)) < TOLERANCE[dtype]


def test_as_njit():
    p = layer_normed([MIXED[0], fb.LayerNorm("tanh")])
    f, ref, jacobian = p.net.as_njit(), p.net.predict(p.X), p.net.jacobian(p.X)
    out, out_v, v = np.empty(3), np.empty(3), np.random.default_rng(2).normal(size=5)
    for i in range(3):
        f(p.X[i], out)
        assert deviation(out, ref[i]) < 1e-13
        f.jvp(p.X[i], v, out, out_v)
        assert deviation(out_v, jacobian[i] @ v) < 1e-13


def test_sklearn_is_refused_by_name():
    pytest.importorskip("sklearn")
    with pytest.raises(ValueError, match=r"nothing for the activation 'layer_norm\(relu\)'"):
        layer_normed(fb.LayerNorm(), output="identity").net.to_sklearn()


# --- names and refusals --------------------------------------------------------------------------


def test_equality_and_names():
    assert fb.LayerNorm("elu") == fb.LayerNorm(ACTIVATIONS["elu"]) != fb.LayerNorm("elu", 1e-3)
    net = fb.Network([2, 3, 4, 1], hidden=[fb.LayerNorm(), "tanh"], engine="numpy")
    assert net.hidden == ("layer_norm(relu)", "tanh")
    assert str(fb.LayerNorm(fb.ELU(0.5))) == "layer_norm(elu(0.5))"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("softmax",), ValueError, "takes each neuron by itself; got 'softmax'"),
        ((fb.LayerNorm(),), ValueError, r"by itself; got 'layer_norm\(relu\)'"),
        (("rleu",), ValueError, "no activation 'rleu'; known are 'identity'"),
        ((3,), TypeError, "name of an activation, or an Activation; got 3"),
        (("relu", 0), ValueError, "epsilon > 0; got 0"),
        (("relu", np.nan), ValueError, "must be finite"),
        (("relu", "1e-5"), TypeError, "must be a number"),
    ],
)
def test_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        fb.LayerNorm(*arguments)


def test_refused_networks():
    with pytest.raises(ValueError, match=r"'layer_norm\(relu\)' of a single neuron"):
        fb.Network([2, 1, 3], hidden=fb.LayerNorm())
    with pytest.raises(ValueError, match=r"epsilon of LayerNorm must be at least 1\.17"):
        fb.Network([2, 3, 3], hidden=fb.LayerNorm("relu", 1e-60))
