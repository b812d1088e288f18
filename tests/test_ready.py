"""Machine code in the package: found, complete, and of no harm where it is not as it should be."""

import ast
import hashlib
import json
import os
import pickle
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import numba
import pytest
from llvmlite.binding import ObjectFileRef
from test_compile import (
    PACKAGE,
    RIGHT,
    SMALL,
    call,
    copy_of_the_package,
    files_below,
    fresh_kernel,
    run,
)

from fastbackprop.jit import cache as _cache
from fastbackprop.jit.processor import LEVELS, level, levels_here

pytestmark = pytest.mark.compiled
of_a_level = pytest.mark.skipif(level() is None, reason="wheels have nothing for this processor")

TESTS = Path(__file__).parent


@of_a_level
def test_machine_code_of_the_package_is_used(tmp_path):
    """Made as for a wheel, for the level of this processor; nothing is compiled or kept."""
    here, compiled = level(), tmp_path / "compiled"
    target = {"NUMBA_CPU_NAME": here.cpu, "NUMBA_CPU_FEATURES": here.features}
    assert run(SMALL, NUMBA_CACHE_DIR=compiled, **target)[:3] == (RIGHT, 0, 1)
    copy = copy_of_the_package(tmp_path / "site")
    shipped = copy / "machine_code"
    shipped.mkdir()
    _cache.pack(files_below(compiled), shipped, [here])
    files = {path: path.stat().st_mtime_ns for path in files_below(copy)}
    environment = {"NUMBA_CACHE_DIR": tmp_path / "cache", "PYTHONDONTWRITEBYTECODE": 1}
    assert run(SMALL, root=copy.parent, **environment)[:3] == (RIGHT, 1, 0)
    assert files_below(tmp_path / "cache") == []
    assert {path: path.stat().st_mtime_ns for path in files_below(copy)} == files


@of_a_level
def test_compiled_here_and_for_a_wheel_is_the_same_code(tmp_path):
    """So results have the same bits. `.ci/run` compares those of everything in a wheel."""
    script = "import fastbackprop as fb; net = fb.Network([2, 1], rng=0); "
    script += "print(net.predict([[1, 2]]).tolist())"
    results, code = [], []
    for where, told in (("here", {}), ("wheel", {"NUMBA_CPU_NAME": level().cpu})):
        told |= {"NUMBA_CPU_FEATURES": level().features} if told else {}
        results.append(run(script, NUMBA_CACHE_DIR=tmp_path / where, **told))
        files = files_below(tmp_path / where)
        code.append({path.name: instructions(path) for path in files})
    assert len(code[0]) > 2 and all(code[0].values())
    assert results[0] == results[1] and code[0] == code[1]


def instructions(path):
    """The code in a file of the cache, without names: those count the compilations before it."""
    _, ((_, machine_code, _), *_) = pickle.loads(path.read_bytes()[_cache.DIGEST_SIZE :])
    file = ObjectFileRef.from_data(machine_code)  # the sections are in its memory
    return b"".join(section.data() for section in file.sections() if section.is_text())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The cache's."""
    monkeypatch.setattr(_cache, "cache_directory", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def shipped(folder, tmp_path, monkeypatch):
    """The file of `fresh_kernel` in a package, and no files in the cache's folder."""
    package, here = tmp_path / "machine_code", level()
    package.mkdir()
    _cache.pack([], package, [here])
    monkeypatch.setattr(_cache, "SHIPPED", package)
    monkeypatch.setattr(_cache, "shipped", lambda: found)
    found = _cache.Shipped()
    assert found.level == here
    kernel = fresh_kernel()
    assert not call(kernel)
    (kept,) = folder.glob("*.bin")
    name = kernel._cache._name(kernel.nopython_signatures[0].args, (here.cpu, here.features))
    _cache.pack([kept.rename(folder / name)], package, [here])
    (folder / name).unlink()
    return package / name


def flipped(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_short(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def of_another_version(path):
    """Whole, but what it unpickles to is something else."""
    payload = pickle.dumps(((), ("another", "number", "of parts")))
    packer = zlib.compressobj(zdict=(path.parent / _cache.DICTIONARY).read_bytes())
    content = hashlib.sha256(payload).digest() + payload
    path.write_bytes(packer.compress(content) + packer.flush())


def without_the_dictionary(path):
    (path.parent / _cache.DICTIONARY).write_bytes(b"another")
    _cache._dictionary.cache_clear()


def a_folder(path):
    path.unlink()
    path.mkdir()


DAMAGES = [flipped, cut_short, of_another_version, without_the_dictionary, a_folder]


@of_a_level
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_costs_a_compilation_and_a_line(damage, shipped, folder, caplog):
    with caplog.at_level("INFO", "fastbackprop"):
        assert call(fresh_kernel())
        assert caplog.text == ""
        damage(shipped)
        assert not call(fresh_kernel())
    assert caplog.text.count("\n") == 1
    assert shipped.name in caplog.text and "is compiled again" in caplog.text
    assert len(list(folder.glob("*.bin"))) == 1
    assert call(fresh_kernel())  # from the cache


@of_a_level
def test_what_is_missing_in_the_package_is_compiled_and_kept(shipped, folder):
    shipped.unlink()
    assert not call(fresh_kernel())
    assert len(list(folder.glob("*.bin"))) == 1
    assert call(fresh_kernel())


CHANGES = {
    "another Numba": lambda contents: contents["ingredients"].update(Numba="0.1.0"),
    "another sources": lambda contents: contents["ingredients"].update(sources="0"),
    "another options": lambda contents: contents["ingredients"].update(options={}),
    "it is for another, and this processor is": lambda contents: contents.update(
        levels=["another"]
    ),
}


@of_a_level
@pytest.mark.parametrize("reason", CHANGES)
def test_what_does_not_match_is_left_alone(reason, tmp_path, monkeypatch):
    _cache.pack([], tmp_path, levels_here())
    path = tmp_path / _cache.CONTENTS
    contents = json.loads(path.read_text())
    CHANGES[reason](contents)
    path.write_text(json.dumps(contents))
    monkeypatch.setattr(_cache, "SHIPPED", tmp_path)
    found = _cache.Shipped()
    assert found.level is None
    assert reason in found.why_not


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"ingredients": 1, "levels": 2}', "\xff"])
def test_contents_that_cannot_be_read(text, tmp_path, monkeypatch):
    monkeypatch.setattr(_cache, "SHIPPED", tmp_path)
    (tmp_path / _cache.CONTENTS).write_text(text, "latin-1")
    assert "cannot be read" in _cache.Shipped().why_not


def test_a_build_without_machine_code_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(_cache, "SHIPPED", tmp_path)
    assert _cache.Shipped().why_not == "this build has none"


def test_numba_may_be_told_of_another_processor(monkeypatch):
    monkeypatch.setattr(numba.config, "CPU_NAME", "generic")
    assert level() is None


def test_levels_are_told_apart_by_their_targets():
    targets = {(each.cpu, each.features) for each in LEVELS}
    assert len(targets) == len(LEVELS)


# --- everything that a wheel has -----------------------------------------------------------------

COVERED = """
    import io
    import sys
    from fastbackprop.__main__ import main
    from fastbackprop.jit.cache import KERNELS
    from fastbackprop.jit.numba_internals import Kernel

    sys.stdout, out = io.StringIO(), sys.stdout
    assert main(["warmup", "--all", "--engine", "tiles", "--dtype", "float32"]) == 0
    sys.stdout = out
    rooms = "engines.tiles.", "engines.lanes.", "analysis.tiles", "analysis.rows", "analysis.jets.t"
    rooms = tuple(f"fastbackprop.{room}" for room in rooms)
    print({
        ".".join(identity[:2]): "float32" in str(kernel.signatures)
        for identity, kernel in KERNELS.items()
        if type(kernel) is Kernel and identity[0].startswith(rooms)
    })
"""


def in_the_usual_cache(*arguments):
    """What a process printed that shares machine code with the others of this suite."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_warmup_compiles_all_that_a_user_needs():
    """A kernel that Python calls and that is not in `commands.everything` fails here.

    In float32; `.ci/run` has a wheel with both dtypes.
    """
    kernels = ast.literal_eval(in_the_usual_cache("-c", textwrap.dedent(COVERED)))
    assert len(kernels) > 8
    assert [name for name, is_there in kernels.items() if not is_there] == []
    pytest.importorskip("scipy")
    assert len(in_the_usual_cache(TESTS / "without_compiling.py", "float32").strip()) == 64
