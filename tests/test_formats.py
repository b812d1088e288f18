"""Saved networks: read back bit for bit, by others too; anything that is not one is refused."""

import json
import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import fastbackprop as fb
from fastbackprop import formats, onnx
from fastbackprop.engines import ENGINES
from fastbackprop.formats import atomic, safetensors, saved

every_engine = pytest.mark.parametrize("engine", ENGINES)


def network(engine="numpy", dtype="float32"):
    net = fb.Network(
        [3, 5, 4, 2],
        hidden=["tanh", "relu"],
        output="softmax",
        cost="cross_entropy",
        dtype=dtype,
        rng=0,
        engine=engine,
    )
    net.biases[0][:] = np.arange(5)
    return net


@every_engine
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loaded_network_is_the_saved_one(engine, dtype, tmp_path):
    net = network(engine, dtype)
    net.save(tmp_path / "net.safetensors")
    loaded = fb.Network.load(str(tmp_path / "net.safetensors"), rng=1)
    assert repr(loaded) == repr(net)
    assert loaded.get_parameters().tobytes() == net.get_parameters().tobytes()
    X = np.random.default_rng(0).standard_normal((7, 3))
    assert loaded.predict(X).tobytes() == net.predict(X).tobytes()
    assert fb.Network.load(tmp_path / "net.safetensors", engine="numpy").engine == "numpy"
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]


def test_the_safetensors_package_reads_what_is_written(tmp_path):
    package = pytest.importorskip("safetensors")
    numpy = pytest.importorskip("safetensors.numpy")
    net = network(ENGINES[0])  # padded, where there are tiles
    net.save(tmp_path / "net")
    tensors = numpy.load_file(tmp_path / "net")
    assert sorted(tensors) == sorted(
        f"{kind}.{l}" for kind in ("weights", "biases") for l in range(3)
    )
    for l in range(3):
        assert (tensors[f"weights.{l}"] == net.weights[l]).all()
        assert (tensors[f"biases.{l}"] == net.biases[l]).all()
    with package.safe_open(tmp_path / "net", "np") as file:
        metadata = file.metadata()
    assert json.loads(metadata["network"])["sizes"] == [3, 5, 4, 2]
    assert metadata["library_version"] == fb.__version__
    numpy.save_file(tensors, tmp_path / "again", metadata)  # in another order
    loaded = fb.Network.load(tmp_path / "again")
    assert (loaded.get_parameters() == net.get_parameters()).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pytorch_s_loader_reads_what_is_written(dtype, tmp_path):
    torch = pytest.importorskip("torch")
    load_file = pytest.importorskip("safetensors.torch").load_file
    net, X = network(dtype=dtype), np.linspace(-1, 1, 12, dtype=dtype).reshape(4, 3)
    net.save(tmp_path / "net")
    tensors, a = load_file(tmp_path / "net"), torch.from_numpy(X)
    for l, sigma in enumerate([torch.tanh, torch.relu, lambda z: torch.softmax(z, 1)]):
        a = sigma(a @ tensors[f"weights.{l}"] + tensors[f"biases.{l}"])
    np.testing.assert_allclose(net.predict(X), a.numpy(), rtol=1e-5)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3, 4), (5,)])
@pytest.mark.parametrize("code", safetensors.DTYPES.values())
def test_every_shape_and_dtype(shape, code, tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    array = np.random.default_rng(0).integers(0, 2, shape).astype(code)
    tensors = {"a": array, "é\n": np.arange(3.0)}
    safetensors.write(tmp_path / "f", tensors, {"key": "ä"})
    contents = safetensors.Contents(tmp_path / "f")
    theirs = numpy.load_file(tmp_path / "f")
    assert contents.metadata == {"key": "ä"}
    for name, expected in tensors.items():
        for read in (contents.read(name), theirs[name]):
            assert read.dtype == expected.dtype and read.shape == expected.shape
            assert (read == expected).all()


def header(data):
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def with_header(data, change):
    """The file with its header changed; `change` returns another, as a dict or as text."""
    said = header(data)
    said = change(said) or said
    text = said if isinstance(said, bytes) else json.dumps(said).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + int.from_bytes(data[:8], "little") :]


def in_metadata(**values):
    def change(said):
        said["__metadata__"] |= values

    return lambda data: with_header(data, change)


def in_network(**values):
    def change(said):
        network = json.loads(said["__metadata__"]["network"]) | values
        said["__metadata__"]["network"] = json.dumps(network)

    return lambda data: with_header(data, change)


def in_tensor(**values):
    return lambda data: with_header(data, lambda said: said["weights.1"].update(values))


def many(part, n):
    """A header with a list of so many parts."""
    return lambda data: with_header(data, lambda said: b'{"a":[' + part * n + b"1]}")


def duplicated(data):
    return with_header(data, lambda said: json.dumps(said).encode()[:-1] + b', "biases.0": 1}')


HOSTILE = {
    "empty": (lambda data: b"", "truncated"),
    "short": (lambda data: data[:5], "truncated"),
    "header cut": (lambda data: data[:100], "truncated"),
    "data cut": (lambda data: data[:-4], "bytes where its header asks for"),
    "more data": (lambda data: data + b"\0", "bytes where its header asks for"),
    "pickle": (lambda data: b"\x80\x04\x95" + data, "truncated, or of another format"),
    "longest header": (lambda data: b"\xff" * 8 + data[8:], "truncated"),
    "not JSON": (lambda data: data[:8] + b"x" + data[9:], "not JSON"),
    "not UTF-8": (lambda data: data[:9] + b"\xff" + data[10:], "not JSON"),
    "deep JSON": (lambda data: with_header(data, lambda said: b"[" * 100_000), "not JSON"),
    "long number": (lambda data: with_header(data, lambda said: b"9" * 10_000), "not JSON"),
    "long": (many(b" ", 16_000_000), "has 160000.. bytes, more than 16000000"),
    "many objects": (many(b"{},", 200_000), "has 40000. values, more than 300000"),
    "many numbers": (many(b"1,", 400_000), "has 40000. values"),
    "long name": (
        lambda data: with_header(data, lambda h: h.update({"x" * 10**6: 1})),
        "x{400}",
    ),
    "list": (lambda data: with_header(data, lambda said: [said]), "not a JSON object"),
    "duplicate": (duplicated, "duplicate"),
    "no metadata": (
        lambda data: with_header(data, lambda h: {k: h[k] for k in list(h)[1:]}),
        "fast",
    ),
    "metadata numbers": (in_metadata(format=1), "dict of strings"),
    "newer": (in_metadata(format_version="2.0", library_version="9.1"), "newer than 1.2.*9.1"),
    "no version": (in_metadata(format_version="one"), "is none"),
    "other format": (in_metadata(format="pt"), "do not say"),
    "network no JSON": (in_metadata(network="{"), "not JSON"),
    "network a list": (in_metadata(network="[]"), "must be described by"),
    "more arguments": (in_network(init="zeros"), "must be described by"),
    "huge sizes": (in_network(sizes=[3, 10**12, 4, 2]), "must be float32 of shape"),
    "sizes no list": (in_network(sizes="3, 5"), "sizes"),
    "negative sizes": (in_network(sizes=[3, -5]), "sizes"),
    "other sizes": (in_network(sizes=[3, 5, 5, 2]), "must be float32 of shape"),
    "deeper": (in_network(sizes=[3, 5, 4, 2, 2]), "missing"),
    "less deep": (in_network(sizes=[3, 5, 4]), "no part of"),
    "other dtype": (in_network(dtype="float64"), "must be float64"),
    "object dtype": (in_network(dtype="O"), "dtype"),
    "unknown activation": (in_network(hidden=["os.system", "relu"]), "unknown hidden activation"),
    "activation no name": (in_network(output={"a": [1]}), "output activation must be"),
    "unknown engine": (in_network(engine="../evil"), "unknown engine"),
    "overlap": (in_tensor(data_offsets=[0, 80]), "overlap"),
    "backwards": (in_tensor(data_offsets=[80, 0]), "do not fit"),
    "negative offset": (in_tensor(data_offsets=[-80, 0]), "no valid"),
    "shape of floats": (in_tensor(shape=[5.0, 4]), "no valid"),
    "huge shape": (in_tensor(shape=[2**62, 2**62]), "do not fit"),
    "zero times huge": (in_tensor(shape=[0, 2**62]), "do not fit"),
    "unknown tensor dtype": (in_tensor(dtype="BF16"), "not known here"),
    "dtype no name": (in_tensor(dtype=[1]), "not known here"),
    "more keys": (in_tensor(more=1), "must have dtype, shape"),
    "renamed": (
        lambda data: with_header(data, lambda said: said.update(x=said.pop("weights.1"))),
        "missing",
    ),
    "not finite": (lambda data: data[:-4] + np.float32(np.nan).tobytes(), "not finite"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_is_none_is_refused(name, tmp_path):
    change, message = HOSTILE[name]
    network().save(tmp_path / "net")
    data = (tmp_path / "net").read_bytes()
    assert fb.Network.load(tmp_path / "net")
    (tmp_path / "net").write_bytes(change(data))
    with pytest.raises(ValueError, match=message) as error:
        fb.Network.load(tmp_path / "net")
    assert str(tmp_path / "net") in str(error.value) and len(str(error.value)) < 1000


def test_no_file_is_written_that_cannot_be_read(tmp_path):
    """A history of many epochs is a long header."""
    net, rows = network(), [{"cost": 0.1, "seconds": 0.2}] * 60_000
    saved.write(tmp_path / "c", net, {"plan": {}, "history": rows})
    assert saved.Saved(tmp_path / "c").json("training")["history"] == rows
    data = (tmp_path / "c").read_bytes()
    with pytest.raises(OSError, match="values, more than"):
        saved.write(tmp_path / "c", net, {"plan": {}, "history": rows * 2})
    assert (tmp_path / "c").read_bytes() == data and len([*tmp_path.iterdir()]) == 1


def test_random_damage_is_refused_or_harmless(tmp_path):
    """No file makes anything but a network or a ValueError."""
    network().save(tmp_path / "net")
    data = bytearray((tmp_path / "net").read_bytes())
    rng, refused = np.random.default_rng(0), 0
    for _ in range(300):
        damaged = data.copy()
        for place in rng.integers(0, len(data), 2):
            damaged[place] = rng.integers(0, 256)
        (tmp_path / "net").write_bytes(damaged)
        try:
            assert isinstance(fb.Network.load(tmp_path / "net"), fb.Network)
        except ValueError:
            refused += 1
    assert refused > 100


def test_places_where_no_file_can_be(tmp_path):
    net = network()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        net.save(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        net.save(tmp_path / "no" / "net")
    with pytest.raises(TypeError, match="path of a file"):
        net.save(3)
    for name in ("\ud800", "a\0b"):
        for use in (net.save, fb.Network.load, fb.Checkpoint, lambda path: onnx.export(net, path)):
            with pytest.raises(ValueError, match="no file has the name"):
                use(name)
    with pytest.raises(ValueError, match="no file has the name"):
        fb.Network.from_torch("\ud800")
    pytest.importorskip("onnx")
    with pytest.raises(ValueError, match="no file has the name"):
        onnx.load("\ud800")
    with pytest.raises(FileNotFoundError):
        fb.Network.load(tmp_path / "nothing")


def test_what_is_not_finite_does_not_replace_a_good_file(tmp_path):
    net = network()
    net.save(tmp_path / "net")
    net.weights[0][0, 0] = np.nan
    with pytest.raises(ValueError, match="not saved"):
        net.save(tmp_path / "net")
    assert fb.Network.load(tmp_path / "net")


@pytest.mark.parametrize("at", ["write", "fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(at, tmp_path, monkeypatch):
    atomic.write(tmp_path / "f", [b"old"])

    def full(*arguments):
        raise OSError(28, "No space left on device")

    def parts():
        yield b"new"
        if at == "write":
            full()

    if at == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    if at == "replace":
        monkeypatch.setattr(atomic.Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        atomic.write(tmp_path / "f", parts())
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_bytes() == b"old"


@pytest.mark.parametrize(
    "write", [fb.Network.save, formats.write_c, formats.write_numpy, onnx.export]
)
def test_every_file_of_a_network_is_whole_or_the_old_one(write, tmp_path, monkeypatch):
    if write is onnx.export:
        pytest.importorskip("onnx")
    net, file = network("numpy"), tmp_path / "f"
    file.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write(net, file)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        write(net, tmp_path / "no" / "f")
    bad = network("numpy")
    bad.biases[-1][0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        write(bad, file)
    assert list(tmp_path.iterdir()) == [file] and file.read_bytes() == b"old"
    write(net, file)
    assert list(tmp_path.iterdir()) == [file] and file.read_bytes() != b"old"


posix = pytest.mark.skipif(os.name != "posix", reason="links and permissions")


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_a_file_keeps_its_permissions(mode, tmp_path):
    path = tmp_path / "net"
    path.touch()
    path.chmod(mode)
    network().save(path)
    assert stat.S_IMODE(path.stat().st_mode) == mode and fb.Network.load(path)


def test_a_read_only_file_is_not_replaced(tmp_path):
    path = tmp_path / "net"
    path.write_bytes(b"old")
    path.chmod(0o444)
    with pytest.raises(PermissionError, match="read-only"):
        network().save(path)
    assert path.read_bytes() == b"old" and [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("name", ["n" * 255, "ä" * 127, "n" * 201])
def test_the_longest_names(name, tmp_path):
    for _ in range(2):
        network().save(tmp_path / name)
    assert fb.Network.load(tmp_path / name) and [*tmp_path.iterdir()] == [tmp_path / name]


KILLED = """
    import os, signal, sys
    from fastbackprop.formats import atomic

    def parts():
        yield b"half of it"
        sys.stdout.write("writing")
        sys.stdout.flush()
        signal.pause()

    atomic.write(sys.argv[1], parts())
"""


def half_written(path):
    """A process that has begun to write the file."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), path],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(fb.__file__).parents[1])},
    )
    assert process.stdout.read(7) == b"writing"
    return process


@posix
@pytest.mark.parametrize("name", ["net", "n" * 240])
def test_what_killed_processes_leave_is_removed(name, tmp_path):
    path, other = tmp_path / name, tmp_path / f"{name[:-1]}x"
    beside = [tmp_path / f".{n}" for n in (f"{name[:9]}.0123abcd.tmp.txt", "n.tmp", "0123abcd.tmp")]
    for file in beside:
        file.touch()
    killed, alive, of_other = half_written(path), half_written(path), half_written(other)
    for process in (killed, of_other):
        process.kill()
        process.communicate()
    assert len([*tmp_path.iterdir()]) == 6
    network().save(path)
    assert len([*tmp_path.iterdir()]) == 6  # without one, with the file
    alive.kill()
    alive.communicate()
    for _ in range(2):
        network().save(path)
        network().save(other)
    assert {*tmp_path.iterdir()} == {path, other, *beside}


@posix
def test_links_stay_links_and_files_have_the_usual_permissions(tmp_path):
    (tmp_path / "plain").touch()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    atomic.write(tmp_path / "link", [b"x"])
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_bytes() == b"x"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    atomic.write(tmp_path / "pipe", [b"y", b"z"])
    assert os.read(reader, 9) == b"yz" and (tmp_path / "pipe").is_fifo()
    os.close(reader)
    mode = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "target")]
    assert mode[0] == mode[1]


@pytest.mark.parametrize(
    ("package", "use", "command"),
    [
        ("onnx", lambda net, path: onnx.export(net, path), r'"fastbackprop\[onnx\]"'),
        ("torch", lambda net, path: net.to_torch(), "torch"),
        ("sklearn", lambda net, path: net.to_sklearn(), r'"fastbackprop\[sklearn\]"'),
    ],
)
def test_a_missing_package_is_named(package, use, command, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"pip install {command}"):
        use(fb.Network([3, 4, 2], engine="numpy"), tmp_path / "f")
    assert not list(tmp_path.iterdir())
