"""Files for ONNX Runtime, and files of other tools: against its predictions."""

import io
import json
import os
from itertools import pairwise

import numpy as np
import pytest
from problems import HIDDEN, TOLERANCE, deviation, every_dtype, problem

import fastbackprop as fb
from fastbackprop.functions.activations import ACTIVATIONS
from fastbackprop.onnx import export, load
from fastbackprop.onnx.operators import ways

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

outputs = pytest.mark.parametrize("output", ACTIVATIONS)


def run(path, X):
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (name,) = [value.name for value in session.get_inputs()]
    (Y,) = session.run(None, {name: X})
    return Y


def small(output, dtype="float32", **options):
    hidden = output if output in HIDDEN else "relu"
    options = {"hidden": hidden, "output": output, "dtype": dtype, "engine": "numpy"} | options
    return problem([3, 6, 4], 8, **options)


@every_dtype
@outputs
def test_export_and_back(output, dtype, tmp_path, recwarn):
    p, path = small(output, dtype), tmp_path / "network.onnx"
    export(p.net, path)
    warned = [str(warning.message) for warning in recwarn]
    assert (dtype == "float64") or not warned
    if warned:  # then it is so
        with pytest.raises(Exception, match="Could not find an implementation") as error:
            run(path, p.X)
        assert any(name in warned[0] for name in str(error.value).replace("(", " ").split())
    else:
        assert deviation(run(path, p.X), p.net.predict(p.X)) < TOLERANCE[dtype]
        assert deviation(run(path, p.X[:1]), p.net.predict(p.X[:1])) < TOLERANCE[dtype]
    back = load(path, engine="numpy")
    assert repr(back) == repr(p.net)
    assert np.array_equal(back.get_parameters(), p.net.get_parameters())


def test_the_file(tmp_path):
    net = fb.Network([3, 2], output="softmax", cost="cross_entropy", engine="numpy")
    export(net, tmp_path / "network.onnx")
    model = onnx.load(tmp_path / "network.onnx")
    assert model.opset_import[0].version == 17
    (shape,) = [value.type.tensor_type.shape for value in model.graph.input]
    assert [d.dim_param or d.dim_value for d in shape.dim] == ["n_samples", 3]
    (architecture,) = [p.value for p in model.metadata_props if p.key == "fastbackprop"]
    assert json.loads(architecture) == {
        "sizes": [3, 2],
        "hidden": [],
        "output": "softmax",
        "cost": "cross_entropy",
        "dtype": "float32",
    }
    assert load(tmp_path / "network.onnx", engine="numpy").cost == "cross_entropy"


def test_every_activation_is_recognised():
    assert set(ACTIVATIONS) <= {name for name, _ in ways()}


# --- other tools' files --------------------------------------------------------------------------


def save(path, nodes, constants, n_in=3, n_out=2, opset=17, outputs=("Y",), shape=None):
    make, number = onnx.helper, onnx.TensorProto.FLOAT
    ends = [make.make_tensor_value_info("X", number, shape or ["n", n_in])]
    results = [make.make_tensor_value_info(name, number, ["n", "m"]) for name in outputs]
    arrays = [onnx.numpy_helper.from_array(np.float32(v), k) for k, v in constants.items()]
    graph = make.make_graph(
        [make.make_node(*node[:3], **node[3]) for node in nodes], "g", ends, results, arrays
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path)
    return path


RNG = np.random.default_rng(5)
W, B = RNG.normal(size=(3, 2)), RNG.normal(size=2)

READABLE = {
    "Gemm with factors": [
        ("Gemm", ["X", "WT", "b"], ["Y"], {"transB": 1, "alpha": 2.0, "beta": 0.5})
    ],
    "Gemm without a bias": [("Gemm", ["X", "W"], ["Y"], {})],
    "Gemm with one number": [("Gemm", ["X", "W", "one"], ["Y"], {})],
    "MatMul": [("MatMul", ["X", "W"], ["Y"], {})],
    "MatMul and Add": [("MatMul", ["X", "W"], ["z"], {}), ("Add", ["b", "z"], ["Y"], {})],
    "pass on": [
        ("Flatten", ["X"], ["f"], {}),
        ("Gemm", ["f", "W", "b"], ["z"], {}),
        ("Dropout", ["z"], ["d"], {}),
        ("Relu", ["d"], ["a"], {}),
        ("Identity", ["a"], ["Y"], {}),
    ],
    "an activation of several nodes": [
        ("Gemm", ["X", "W", "b"], ["z"], {}),
        ("Sigmoid", ["z"], ["s"], {}),
        ("Mul", ["s", "z"], ["Y"], {}),
    ],
}


@pytest.mark.parametrize("case", READABLE)
def test_what_is_read(case, tmp_path):
    constants = {"W": W, "WT": W.T, "b": B, "one": 1.5}
    path = save(tmp_path / "other.onnx", READABLE[case], constants)
    X = RNG.normal(size=(4, 3)).astype(np.float32)
    net = load(path, cost="squared_error", engine="numpy")
    assert deviation(net.predict(X), run(path, X)) < TOLERANCE["float32"]


UNREADABLE = {
    "another operator": (
        [("Gemm", ["X", "W", "b"], ["z"], {}), ("Cos", ["z"], ["Y"], {"name": "wave"})],
        r"the node 'wave' \(Cos\) is not part of a dense network",
    ),
    "a skip": (
        [
            ("Gemm", ["X", "S", "c"], ["z"], {}),
            ("Add", ["z", "X"], ["Y"], {"name": "skip"}),
        ],
        r"the node 'skip' \(Add\)",
    ),
    "an activation after another": (
        [
            ("Gemm", ["X", "W", "b"], ["z"], {}),
            ("Tanh", ["z"], ["t"], {"name": "first"}),
            ("Relu", ["t"], ["Y"], {}),
        ],
        r"the node 'first' \(Tanh\)",
    ),
    "silu of two values": (
        [
            ("Gemm", ["X", "W", "b"], ["z"], {}),
            ("Sigmoid", ["b2"], ["s"], {}),
            ("Mul", ["z", "s"], ["Y"], {"name": "gate"}),
        ],
        r"the node 'gate' \(Mul\)",
    ),
    "softmax over the samples": (
        [("Gemm", ["X", "W", "b"], ["z"], {}), ("Softmax", ["z"], ["Y"], {"name": "s", "axis": 0})],
        r"the node 's' \(Softmax\)",
    ),
    "a bias for each sample": (
        [("Gemm", ["X", "W", "S"], ["Y"], {"name": "g"})],
        r"the node 'g' \(Gemm\) adds values of shape \(3, 3\) to 2 outputs",
    ),
    "input that is transposed": (
        [("Gemm", ["X", "W", "b"], ["Y"], {"transA": 1, "name": "g"})],
        r"the node 'g' \(Gemm\)",
    ),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_refused(case, tmp_path):
    nodes, message = UNREADABLE[case]
    constants = {"W": W, "b": B, "b2": B[None], "S": np.eye(3), "c": np.zeros(3)}
    path = save(tmp_path / "other.onnx", nodes, constants)
    with pytest.raises(ValueError, match=message):
        load(path)


@pytest.mark.parametrize(
    "W", [np.zeros((0, 5)), np.float32(2), np.ones((1, 3, 2)), np.zeros((3, 0))]
)
@pytest.mark.parametrize("node", ["Gemm", "MatMul"])
def test_a_weight_that_is_no_matrix_is_refused(node, W, tmp_path):
    path = save(tmp_path / "other.onnx", [(node, ["X", "W"], ["Y"], {"name": "n"})], {"W": W})
    with pytest.raises(ValueError, match=r"the node 'n' \(\w+\) must multiply by a matrix"):
        load(path)


def test_a_small_file_makes_no_large_network(tmp_path):
    """One weight that all products share."""
    names = ["X", *(f"z{i}" for i in range(19)), "Y"]
    nodes = [("MatMul", [a, "W"], [z], {}) for a, z in pairwise(names)]
    path = save(tmp_path / "shared.onnx", nodes, {"W": np.eye(1000)}, n_in=1000)
    with pytest.raises(ValueError, match=r"shares weights.* more than 10000000 parameters"):
        load(path, cost="squared_error", engine="numpy")
    for most in (10**4, 20_020_000 - 1):
        with pytest.raises(ValueError, match=f"more than {most} parameters"):
            load(path, max_parameters=most)
    net = load(path, cost="squared_error", engine="numpy", max_parameters=20_020_000)
    assert net.n_parameters == 20_020_000
    with pytest.raises(ValueError, match="max_parameters must be a positive integer"):
        load(path, max_parameters=0)


def test_several_outputs_are_refused(tmp_path):
    nodes = [("MatMul", ["X", "W"], ["Y"], {}), ("Relu", ["Y"], ["a"], {})]
    path = save(tmp_path / "other.onnx", nodes, {"W": W}, outputs=("Y", "a"))
    with pytest.raises(ValueError, match=r"outputs \['Y', 'a'\]"):
        load(path)


def test_no_model(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"no model")
    with pytest.raises(ValueError, match="not a valid ONNX model"):
        load(tmp_path / "a.onnx")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "b.onnx")
    if os.path.exists("/dev/zero"):
        with pytest.raises(ValueError, match="is a device or a pipe, which may never end"):
            load("/dev/zero")


def test_random_damage_is_refused_or_harmless(tmp_path):
    net = fb.Network([3, 4, 5, 2], hidden=["gelu", "elu"], engine="numpy", rng=0)
    export(net, tmp_path / "a.onnx")
    model, rng, refused = onnx.load(tmp_path / "a.onnx"), np.random.default_rng(0), 0
    model.graph.initializer[1].data_type = 49
    onnx.save(model, tmp_path / "b.onnx")
    with pytest.raises(ValueError, match="the tensor 'b1' has type number 49"):
        load(tmp_path / "b.onnx")
    for i in range(300):
        data = bytearray((tmp_path / "a.onnx").read_bytes())
        data[rng.integers(len(data))] = rng.integers(256)
        (tmp_path / "b.onnx").write_bytes(data[: rng.integers(len(data)) if i % 3 == 0 else None])
        try:
            assert np.isfinite(load(tmp_path / "b.onnx", engine="numpy").get_parameters()).all()
        except ValueError:
            refused += 1
    assert refused > 100


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_file_of_pytorch(tmp_path):
    """Every activation that PyTorch has too, as its exporter writes it."""
    torch = pytest.importorskip("torch")
    from fastbackprop.formats.torch import MODULES

    hidden = [name for name in HIDDEN if name in MODULES]
    net = problem([3, *[6] * len(hidden), 2], hidden=hidden, output="softmax", engine="numpy").net
    module, file = net.to_torch(), io.BytesIO()
    module.insert(2, torch.nn.Dropout())
    torch.onnx.export(module.eval(), (torch.zeros(1, 3),), file, dynamo=False)
    (tmp_path / "torch.onnx").write_bytes(file.getvalue())
    back = load(tmp_path / "torch.onnx", engine="numpy")
    assert repr(back) == repr(net)
    assert np.array_equal(back.get_parameters(), net.get_parameters())


@pytest.mark.parametrize("weights", [None, [1, 2, 5]])
def test_ensembles(weights, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    kinds = [((3, 7, 4), "tanh"), ((3, 5, 6, 4), "relu"), ((3, 4), ())]
    networks = [
        fb.Network(sizes, hidden=hidden, output="softmax", rng=seed, engine="numpy")
        for seed, (sizes, hidden) in enumerate(kinds)
    ]
    model = fb.Ensemble(networks, weights=weights)
    export(model, tmp_path / "m.onnx")
    X = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    (Y,) = runtime.InferenceSession(tmp_path / "m.onnx").run(None, {"X": X})
    np.testing.assert_allclose(Y, model.predict(X), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"one|Sum"):
        load(tmp_path / "m.onnx")
