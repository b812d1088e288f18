"""Damaged files of every format: refused, or read, in seconds and little memory."""

import contextlib
import resource
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastbackprop as fb

SECONDS, MEGABYTES = 2.0, 1024
AT_THE_START = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # Linux hands on the parent's
X, Y = np.zeros((6, 3)), np.zeros((6, 2))


def network(seed: int = 0) -> fb.Network:
    return fb.Network([3, 4, 2], hidden=["gelu"], rng=seed, engine="numpy")


def training(path: Path, seed: int = 0) -> fb.Network:
    net, callbacks = network(seed), [fb.EarlyStopping(3), fb.Checkpoint(path)]
    optimizer = fb.SGD(fb.Plateau(0.1), momentum=0.9, averaging=fb.EMA(0.9))
    net.fit(X, Y, epochs=2, optimizer=optimizer, callbacks=callbacks)
    return net


def ensemble(path: Path) -> None:
    other = fb.Network([3, 2], rng=2, engine="numpy", dtype="float32")
    fb.Ensemble([network(), network(1), other], weights=[1, 2, 3]).save(path)


# --- damage --------------------------------------------------------------------------------------


def bytes_changed(r: np.random.Generator, data: bytearray) -> None:
    for place in r.integers(0, len(data), int(r.integers(1, 5))):
        data[place] = r.integers(256)


def bit_flipped(r: np.random.Generator, data: bytearray) -> None:
    data[int(r.integers(len(data)))] ^= 1 << int(r.integers(8))


def cut(r: np.random.Generator, data: bytearray) -> None:
    del data[int(r.integers(len(data))) :]


def part_removed(r: np.random.Generator, data: bytearray) -> None:
    place = int(r.integers(len(data)))
    del data[place : place + int(r.integers(1, 50))]


def part_repeated(r: np.random.Generator, data: bytearray) -> None:
    first, last = sorted(r.integers(0, len(data), 2).tolist())
    data[last:last] = data[first:last] * int(r.integers(1, 4))


def zeroed(r: np.random.Generator, data: bytearray) -> None:
    first = int(r.integers(len(data)))
    data[first : first + 512] = b"\0" * len(data[first : first + 512])


def number_replaced(r: np.random.Generator, data: bytearray) -> None:
    """A digit of the header, by another number or another kind of thing."""
    digits = [i for i, byte in enumerate(data) if 48 <= byte <= 57]
    place = digits[int(r.integers(len(digits)))]
    others = [b"-1", b"1e400", b"9" * 30, b"null", b"[]", b'""', b"0.5", b"true", b"{}", b"NaN"]
    data[place : place + 1] = others[int(r.integers(len(others)))]


def length_mended(r: np.random.Generator, data: bytearray) -> None:
    """A number replaced in a safetensors file whose length of the header is right again."""
    length, before = int.from_bytes(data[:8], "little"), len(data)
    text = data[8 : 8 + length]
    (number_replaced if r.random() < 0.7 else bytes_changed)(r, text)
    data[8 : 8 + length] = text
    data[:8] = (length + len(data) - before).to_bytes(8, "little")


DAMAGE = [bytes_changed, bit_flipped, cut, part_removed, part_repeated, zeroed, number_replaced]

# --- formats -------------------------------------------------------------------------------------


class Format:
    """A kind of file: how it is made, and read."""

    def __init__(
        self, path: Path, write: Callable[[Path], Any], read: Callable[[Path], Any]
    ) -> None:
        self.path, self.read = path, read
        write(path)
        self.data = path.read_bytes()


def resumed(path: Path) -> fb.Network:
    """A training that goes on from the file; the network that is refused is as it was."""
    net = network(1)
    before = net.get_parameters()
    try:
        optimizer = fb.SGD(fb.Plateau(0.1), momentum=0.9, averaging=fb.EMA(0.9))
        callbacks = [fb.EarlyStopping(3), fb.Checkpoint(path)]
        net.fit(X, Y, epochs=3, optimizer=optimizer, callbacks=callbacks)
    except fb.DivergenceError:
        pass  # a state that is not finite
    except ValueError:
        assert np.array_equal(net.get_parameters(), before), "a refused file changed the network"
        raise
    return net


def formats(folder: Path) -> dict[str, Format]:
    found = {
        "network": Format(folder / "net", lambda path: network().save(path), fb.Network.load),
        "checkpoint": Format(folder / "c", training, resumed),
        "ensemble": Format(folder / "e", ensemble, lambda path: fb.Ensemble.load(path)[2]),
    }
    with contextlib.suppress(ImportError):
        from fastbackprop import onnx

        def load(path: Path) -> fb.Network:
            return onnx.load(path, cost="squared_error", engine="numpy")

        found["onnx"] = Format(folder / "net.onnx", lambda path: onnx.export(network(), path), load)
    return found


def attempt(file: Format, name: str, r: np.random.Generator) -> tuple[str, str]:
    """What came of a damaged file, and what was wrong with it."""
    data = bytearray(file.data)
    ways = [*DAMAGE, length_mended, length_mended] if name != "onnx" else DAMAGE
    ways[int(r.integers(len(ways)))](r, data)
    file.path.write_bytes(data)
    began, wrong = time.process_time(), ""
    try:
        net = file.read(file.path)
        outcome = "read"
        if not np.isfinite(net.get_parameters()).all():
            wrong = "parameters that are not finite"
    except (ValueError, OSError, fb.DivergenceError) as error:
        outcome = type(error).__name__
        wrong = f"{outcome}: {error}" if isinstance(error, UnicodeError) else ""
    except Exception as error:
        outcome = type(error).__name__
        wrong = f"{outcome}: {error}"
    if time.process_time() - began > SECONDS:
        wrong = f"{time.process_time() - began:.1f} s"
    limit = max(MEGABYTES * 1024, AT_THE_START)
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > limit:
        wrong = wrong or "memory"
    return outcome, wrong


def within(seed: int, first: int, last: int, tell: Any) -> None:
    """Damages first ... last."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        files = formats(Path(folder))
        for file in files.values():
            file.read(file.path)
        for i in range(first, last):
            tell(begin=i)
            r, name = np.random.default_rng([seed, i]), list(files)[i % len(files)]
            outcome, wrong = attempt(files[name], name, r)
            tell(attempt=i, name=name, outcome=outcome, wrong=wrong)
