"""Models of PyTorch, there and back, against its predictions."""

import numpy as np
import pytest
from problems import HIDDEN, TOLERANCE, deviation, every_dtype, problem

import fastbackprop as fb
from fastbackprop.formats.torch import MODULES
from fastbackprop.functions.activations import ACTIVATIONS

torch = pytest.importorskip("torch")
nn = torch.nn

WITHOUT = {  # registered, but PyTorch has no module
    "exp",
    "gaussian",
    "sin",
}


@every_dtype
@pytest.mark.parametrize("output", [name for name in ACTIVATIONS if name in MODULES])
def test_there_and_back(output, dtype):
    hidden = output if output in HIDDEN else "tanh"
    options = {"hidden": hidden, "output": output, "dtype": dtype, "engine": "numpy"}
    p = problem([3, 6, 5, 4], 20, **options)
    module = p.net.to_torch()
    ref = module(torch.from_numpy(30 * p.X)).detach()
    assert deviation(p.net.predict(30 * p.X), ref) < TOLERANCE[dtype]
    back = fb.Network.from_torch(module, engine="numpy")
    assert repr(back) == repr(p.net)
    assert np.array_equal(back.get_parameters(), p.net.get_parameters())
    with torch.no_grad():  # a copy, both ways
        module[0].weight.zero_()
    assert np.array_equal(back.get_parameters(), p.net.get_parameters())


def test_what_pytorch_lacks():
    assert set(ACTIVATIONS) - set(MODULES) == WITHOUT & set(ACTIVATIONS)


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ({1: 2}, TypeError, "the keys of the state dict must be names of tensors; one is 1"),
        ({"weight": 2}, ValueError, r"'weight' in the state dict must have shape"),
        ({}, ValueError, "the state dict has no linear layer"),
    ],
)
def test_state_dicts_that_are_none(state, error, message):
    with pytest.raises(error, match=message):
        fb.Network.from_torch(state)


def test_sequentials_of_others():
    torch.manual_seed(1)
    inner = nn.Sequential(nn.Linear(3, 7), nn.ReLU(inplace=True), nn.Dropout())
    module = nn.Sequential(
        nn.Flatten(),
        inner,
        nn.Linear(7, 5, bias=False),
        nn.Identity(),
        nn.Linear(5, 2),
        nn.Softplus(),
    ).eval()
    net = fb.Network.from_torch(module, engine="numpy", dtype="float64")
    assert net.hidden == ("relu", "identity") and net.output == "softplus"
    X = torch.randn(6, 3)
    assert deviation(net.predict(X.numpy()), module(X).detach()) < 1e-6


def test_a_head_for_logits():
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    net = fb.Network.from_torch(module, output="softmax", cost="cross_entropy", engine="numpy")
    X = torch.randn(6, 3)
    ref = torch.softmax(module(X), 1).detach()
    assert deviation(net.predict(X.numpy()), ref) < TOLERANCE["float32"]
    with pytest.raises(ValueError, match="ends with relu: leave output='softmax' out"):
        fb.Network.from_torch(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), output="softmax")


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(11)])
        self.head = nn.Linear(4, 2, dtype=torch.float32)

    def forward(self, x):
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return torch.sigmoid(self.head(x))


@pytest.mark.parametrize("kind", ["tensors", "arrays", "file", "bfloat16"])
def test_state_dicts(kind, tmp_path):
    torch.manual_seed(2)
    module, X = Named(), torch.randn(6, 4)
    source = module.state_dict()
    if kind == "arrays":
        source = {key: value.numpy() for key, value in source.items()}
    if kind == "file":
        save = pytest.importorskip("safetensors.torch").save_file
        # by name: layers.10 after layers.2, and all of them after "head"
        source = {key.replace("head", "outputs"): value for key, value in source.items()}
        save(source, source := tmp_path / "model.safetensors")
    if kind == "bfloat16":
        source = {key: value.bfloat16() for key, value in source.items()}
        module = module.bfloat16().float()
    net = fb.Network.from_torch(source, hidden="tanh", output="sigmoid", engine="numpy")
    assert net.dtype == "float32"
    assert deviation(net.predict(X.numpy()), module(X).detach()) < TOLERANCE["float32"]


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), ValueError, r"^1 is BatchNorm1d\(2"),
        (nn.Sequential(nn.Sequential(nn.Conv1d(1, 1, 1))), ValueError, r"^0\.0 is Conv1d"),
        (nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Tanh()), ValueError, r"2 \(Tanh\) does not"),
        (nn.Sequential(nn.ReLU(), nn.Linear(3, 2)), ValueError, r"0 \(ReLU\) does not follow"),
        (nn.Sequential(nn.Linear(3, 2), nn.Linear(3, 2)), ValueError, "layer 2 of the module"),
        (nn.Sequential(nn.Linear(3, 2), nn.Softplus(beta=2)), ValueError, "is Softplus"),
        (Named(), ValueError, r"the module is Named[\s\S]*state_dict"),
        (nn.Sequential(), ValueError, "the module has no linear layer"),
        (Named().state_dict(), ValueError, "does not say what the activations are: pass hidden="),
        ({"a.weight": np.ones((2, 3)), "mean": np.ones(3)}, ValueError, "'mean' in the state dict"),
        ({"c.weight": np.ones((2, 3, 3))}, ValueError, r"'c.weight' .* got \(2, 3, 3\)"),
        (
            {"a.weight": np.full((2, 3), np.nan)},
            ValueError,
            r"W\^1 of the state dict must be finite",
        ),
        (3, TypeError, "got int"),
    ],
)
def test_refused(source, error, message):
    with pytest.raises(error, match=message):
        fb.Network.from_torch(source)


def test_tensors_that_numpy_cannot_read_are_named():
    net = fb.Network([2, 3, 1], engine="numpy", rng=0)
    for X, message in (
        (torch.ones(4, 2, requires_grad=True), r"X is no array .*detach\(\)"),
        (torch.ones(4, 2, dtype=torch.bfloat16), "X is no array .*BFloat16"),
    ):
        for call in (net.predict, lambda X: net.fit(X, np.ones((4, 1)), epochs=1)):
            with pytest.raises(TypeError, match=message):
                call(X)


def test_a_file_of_pytorch_is_recognised(tmp_path):
    path = tmp_path / "net.pt"
    torch.save(nn.Linear(2, 3).state_dict(), path)
    with pytest.raises(ValueError, match=r"Network\.from_torch\(torch\.load\(path\)"):
        fb.Network.load(path)


def test_objects_of_pytorch_are_answered_with_names():
    for options, name in (
        ({"hidden": nn.ReLU()}, "relu"),
        ({"hidden": [nn.SiLU()]}, "silu"),
        ({"output": torch.softmax}, "softmax"),
        ({"cost": nn.CrossEntropyLoss()}, "cross_entropy"),
    ):
        with pytest.raises(TypeError, match=f": pass '{name}'"):
            fb.Network([2, 3, 2], engine="numpy", **options)
    with pytest.raises(TypeError, match=r": pass 'adam'"):
        fb.Network([2, 1], engine="numpy").fit(
            np.ones((3, 2)), np.ones(3), optimizer=torch.optim.Adam
        )
