"""When machine code is made, where it is kept, and when it is made anew."""

import ast
import errno
import os
import pickle
import shutil
import stat
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import llvmlite
import numba
import numpy as np
import pytest

import fastbackprop
from fastbackprop.commands import warmup
from fastbackprop.engines import loops
from fastbackprop.engines.tiles import calls
from fastbackprop.jit import cache as _cache
from fastbackprop.jit import numba_internals
from fastbackprop.jit.folder import LOCKS
from fastbackprop.jit.kernels import kernel as make_kernel

pytestmark = pytest.mark.compiled

PACKAGE = Path(fastbackprop.__file__).parent
posix = pytest.mark.skipif(os.name != "posix", reason="about users and permissions")
linux = pytest.mark.skipif(sys.platform != "linux", reason="XDG_CACHE_HOME is heeded there")


def start(script, *arguments, root=PACKAGE.parent, **environment):
    """A process of its own, which finds the package under `root` and no cache of the user's."""
    ours = ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.Popen(
        [sys.executable, "-P", "-W", "error", "-c", textwrap.dedent(script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=inherited | {"PYTHONPATH": str(root)} | {k: str(v) for k, v in environment.items()},
    )


def finish(process):
    """What it printed, evaluated."""
    try:
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err
    assert err == ""
    return ast.literal_eval(out)


def run(script, *arguments, **options):
    return finish(start(script, *arguments, **options))


# The smallest kernel there is: g += delta.
SMALL = """
    import numpy as np
    from fastbackprop.engines import loops
    from fastbackprop.jit import cache as _cache

    g = np.ones(3)
    loops.bias_gradient(np.arange(3.0), g)
    stats = loops.bias_gradient.stats
    print((
        g.tolist(),
        sum(stats.cache_hits.values()),
        sum(stats.cache_misses.values()),
        str(_cache.cache_directory()),
    ))
"""
RIGHT = [1.0, 2.0, 3.0]


# --- import --------------------------------------------------------------------------------------


def test_nothing_is_compiled_or_written_at_import(tmp_path):
    script = """
        import sys
        from numba.core import event

        with event.install_recorder("numba:compile") as recorder:
            import fastbackprop
            import fastbackprop.__main__
            from fastbackprop import engines

            nets = [fastbackprop.Network([2, 3, 1], engine=name) for name in engines.ENGINES]
            [repr(net) for net in nets]
        optional = {"matplotlib", "sklearn", "tqdm", "torch", "jax"} & set(sys.modules)
        print((len(recorder.buffer), optional))
    """
    folders = {"NUMBA_CACHE_DIR": tmp_path / "a", "XDG_CACHE_HOME": tmp_path / "b"}
    assert run(script, HOME=tmp_path / "home", **folders) == (0, set())
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_package_is_left_alone(tmp_path):
    """Not even the user root, whom permissions do not hold, leaves anything there."""
    copy = copy_of_the_package(tmp_path / "site")
    files = sorted(copy.rglob("*"))
    for path in (copy, *files):
        path.chmod(0o555 if path.is_dir() else 0o444)
    environment = {"NUMBA_CACHE_DIR": tmp_path / "cache", "PYTHONDONTWRITEBYTECODE": 1}
    try:
        g, hits, misses, folder = run(SMALL, root=copy.parent, **environment)
    finally:
        for path in (copy, *files):
            path.chmod(0o755)
    assert (g, hits, misses) == (RIGHT, 0, 1)
    assert sorted(copy.rglob("*")) == files
    assert Path(folder).is_relative_to(tmp_path / "cache")


def copy_of_the_package(folder):
    return Path(
        shutil.copytree(
            PACKAGE, folder / "fastbackprop", ignore=shutil.ignore_patterns("__pycache__")
        )
    )


# --- one compilation for all ---------------------------------------------------------------------

# Each kernel that Python calls: signatures, loaded, compiled; then all results.
EVERYTHING = """
    import sys
    import numpy as np
    from numba.core import event
    import fastbackprop as fb
    from fastbackprop.jit import cache as _cache

    rng, results = np.random.default_rng(0), []
    CE = dict(cost="cross_entropy")

    def use(net, X, y, s=None):
        read_only = X.copy()
        read_only.flags.writeable = False
        for x in (X, np.asfortranarray(X), read_only, X[::-1], X.tolist(), X.astype("f8")):
            results.append(net.predict(x))
        net.predict(X, out=results[-1])
        results.extend(net.activations(X))
        results.append(net.evaluate(X, y, s))
        results.append(net.gradient_sums(X, y, s)[2])
        results.extend(net.trace(X, y, s).delta)
        for name in ("sgd", "adam"):
            net.fit(X, y, epochs=2, batch_size=2, optimizer=name, sample_weight=s)
        net.fit(X, y, epochs=1, batch_size=None, shuffle=False, validation=0.4,
                optimizer=fb.SGD(0.1, momentum=0.9))
        results.append(net.get_parameters())

    with event.install_recorder("numba:compile") as recorder:
        X, s = rng.standard_normal((5, 3)).astype("f4"), np.arange(5.0)
        make = lambda *sizes, **kw: fb.Network(sizes, rng=0, **kw)
        use(make(3, 2), X, X[:, :2])
        use(make(3, 4, 2, output="softmax", **CE), X, [0, 1, 1, 0, 1])
        use(make(3, 4, 2, output="softmax", **CE), X, np.eye(2)[[0, 1, 1, 0, 1]], s)
        use(make(3, 1, hidden=[], output="sigmoid", **CE), X, [0, 1, 1, 0, 1], s)
        use(make(3, 7, 4, hidden=["gelu"], output="softmax"), X, X[:, [0, 1, 2, 0]])
        make(3, 4, 2, dtype="float64").predict(X)
        make(3, 4, 2, engine="loops").predict(X)

    kernels = {}
    for identity, kernel in _cache.KERNELS.items():
        if kernel.signatures and getattr(kernel, "_cache", None).__class__ is _cache.DiskCache:
            stats = kernel.stats
            counts = [sum(c.values()) for c in (stats.cache_hits, stats.cache_misses)]
            kernels[str(identity)] = (len(kernel.signatures), *counts)
    # Kernels give no promise about the sign of a zero; adding one makes all of them positive.
    flat = np.concatenate([np.ravel(r) for r in results]) + 0.0
    print((kernels, len(recorder.buffer), flat.tobytes()))
"""


def test_one_compilation_for_each_dtype_and_the_next_process_loads_it(tmp_path):
    first, compiled, results = run(EVERYTHING, NUMBA_CACHE_DIR=tmp_path)
    assert compiled > 0
    assert all(hits == 0 for _, hits, _ in first.values())
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    second, compiled, results_again = run(EVERYTHING, NUMBA_CACHE_DIR=tmp_path)
    assert compiled == 0
    names = "cost_sum", "gradient_sums", "train_tiles"
    called = {f"('{calls.__name__}', '{name}')" for name in names}
    assert called <= set(second) <= set(first)
    assert all(hits == n and misses == 0 for n, hits, misses in second.values())
    assert results_again == results
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == files


A_NEURON = """
    import sys
    import fastbackprop as fb
    from fastbackprop.jit import cache as _cache

    results = []
    for name in sys.argv[1:]:
        net = fb.Network([1, 1], output=name, engine="loops", dtype="float64")
        net.set_parameters([1, 0])
        results.append(float(net.predict([[-0.5]])[0, 0]))
    versions = [v for kernel in _cache.KERNELS.values() for v in kernel.overloads.values()]
    places = {v.library.get_pointer_to_function(v.fndesc.llvm_func_name) for v in versions}
    print((results, len(versions), len(places)))
"""


def test_kernels_of_one_name_from_several_processes_are_told_apart(tmp_path):
    """Loops over formulas are closures of one name; each process compiled one, a third has both."""
    expected = {"softsign": -1 / 3, "hard_sigmoid": 2.5 / 6}
    for names in (["softsign"], ["hard_sigmoid"], ["softsign", "hard_sigmoid"]):
        results, versions, places = run(
            A_NEURON, *names, NUMBA_CACHE_DIR=tmp_path, PYTHONHASHSEED=0
        )
        assert results == pytest.approx([expected[name] for name in names])
        assert places == versions


# --- the folder ----------------------------------------------------------------------------------


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The user's cache directory and the temporary one, both of this test's own."""
    user, temporary = tmp_path / "user", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(user))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return user / "fastbackprop", temporary / f"fastbackprop-{os.getuid()}"


def look_up():
    return _cache._found_directory.__wrapped__()[0]


def files_below(folder):
    """But for the file of the locks, which stays empty."""
    return [path for path in folder.rglob("*") if not path.is_dir() and path.name != LOCKS]


@linux
def test_the_folder_is_numbas_then_the_users(places, tmp_path, monkeypatch):
    user, temporary = places
    assert look_up() == user / _cache.fingerprint()
    assert look_up() == user / _cache.fingerprint()
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "numba"))
    assert look_up() == tmp_path / "numba" / "fastbackprop" / _cache.fingerprint()
    assert not temporary.exists()


@linux
@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o077])
def test_nobody_else_can_write_into_the_folder(umask, places):
    user, _ = places
    before = os.umask(umask)
    try:
        folder = look_up()
    finally:
        os.umask(before)
    assert folder == user / _cache.fingerprint()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755 & ~umask
    assert not stat.S_IMODE(user.stat().st_mode) & stat.S_IWOTH


AS_NOBODY = """
    import os, sys
    import numba, numba.np.linalg, scipy.linalg
    import fastbackprop.engines.loops

    numba.njit(lambda x: x + 1)(1)  # all that Numba imports, while this process may read it
    os.setgid(65534)
    os.setuid(65534)
"""


@linux
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only for root")
def test_others_use_the_code_that_root_has_compiled(capsys, monkeypatch):
    """As in the image of a container; they leave nothing there."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        assert run(SMALL, NUMBA_CACHE_DIR=folder)[:3] == (RIGHT, 0, 1)
        before = {path: path.stat().st_mtime_ns for path in files_below(folder)}
        as_nobody = textwrap.dedent(AS_NOBODY) + textwrap.dedent(SMALL)
        g, hits, misses, used = run(as_nobody, NUMBA_CACHE_DIR=folder)
        assert (g, hits, misses) == (RIGHT, 1, 0)
        assert Path(used).is_relative_to(folder)
        assert {path: path.stat().st_mtime_ns for path in files_below(folder)} == before
        monkeypatch.setattr(_cache, "cache_directory", lambda: Path(used))
        warmup.print_places()
        assert f"Other users load it with NUMBA_CACHE_DIR={folder}\n" in capsys.readouterr().out
        folder.chmod(0o700)
        warmup.print_places()
        assert "NUMBA_CACHE_DIR to a folder that they can read" in capsys.readouterr().out


def a_file(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("not a folder")


def a_link(path):
    elsewhere = path.parents[1] / "elsewhere"
    elsewhere.mkdir()
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(elsewhere)


def a_dangling_link(path):
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(path.parents[1] / "nowhere")


def writable_by_all(path):
    path.mkdir(parents=True)
    path.chmod(0o777)


def writable_by_the_group(path):
    path.mkdir(parents=True)
    path.chmod(0o770)


def sticky(path):
    """As /tmp is: good enough above the folder, not for the folder itself."""
    path.mkdir(parents=True)
    path.chmod(0o1777)


def of_another_user(path):
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    path.mkdir(parents=True)
    os.chown(path, 12345, 12345)


UNUSABLE = [
    *(a_file, a_dangling_link, writable_by_all, writable_by_the_group, sticky),
    of_another_user,
]


@linux
@pytest.mark.parametrize("spoil", UNUSABLE)
def test_a_folder_that_cannot_be_trusted_is_passed_over(spoil, places):
    """First for the temporary one, then for none; nothing is written into it."""
    user, temporary = places
    spoil(user)
    assert look_up() == temporary / _cache.fingerprint()
    shutil.rmtree(temporary)
    spoil(temporary)
    assert look_up() is None
    assert files_below(user) + files_below(temporary) == []


@linux
def test_a_link_planted_in_the_temporary_folder_is_not_followed(places):
    user, temporary = places
    a_file(user)
    a_link(temporary)
    assert look_up() is None


@linux
@posix
def test_a_folder_of_machine_code_that_all_may_write_is_passed_over(places):
    user, _ = places
    folder = user / _cache.fingerprint()
    writable_by_all(folder)
    user.chmod(0o755)
    assert look_up() != folder


@linux
@pytest.mark.parametrize("spoil", [writable_by_all, writable_by_the_group, of_another_user])
def test_a_folder_in_a_place_that_cannot_be_trusted_is_passed_over(spoil, tmp_path, places):
    """Others could put a folder of their own in its place."""
    user, temporary = places
    spoil(tmp_path / "between")
    link = tmp_path / "user"
    link.symlink_to(tmp_path / "between" / "cache")  # a link itself is followed, and then checked
    assert look_up() == temporary / _cache.fingerprint()
    (tmp_path / "between").chmod(0o1777)
    if spoil is not of_another_user:
        assert look_up() == user / _cache.fingerprint()


@linux
def test_folders_are_absolute(places, tmp_path, monkeypatch):
    """A relative one depends on the working directory, which may be anybody's."""
    _, temporary = places
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "numba")
    monkeypatch.setenv("XDG_CACHE_HOME", ".")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # nobody's home is known
    before = sorted(tmp_path.iterdir())
    assert look_up() == temporary / _cache.fingerprint()
    assert sorted(tmp_path.iterdir()) == before
    refused = _cache._found_directory.__wrapped__()[1]
    assert [text.partition(" is relative")[0] for text in refused] == [
        f"{Path(*parts)}/{_cache.fingerprint()}"
        for parts in (("numba", "fastbackprop"), ("~", ".cache", "fastbackprop"))
    ]


@linux
def test_the_users_cache_directory_may_be_a_file(places):
    user, temporary = places
    a_file(user.parent)
    assert look_up() == temporary / _cache.fingerprint()


@linux
def test_no_temporary_folder_at_all(places, monkeypatch):
    def gettempdir():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    user, _ = places
    a_file(user)
    monkeypatch.setattr(tempfile, "gettempdir", gettempdir)
    assert look_up() is None


@linux
def test_without_any_folder_kernels_compile_in_every_process(tmp_path):
    a_file(tmp_path / "cache")
    a_file(tmp_path / "temporary" / f"fastbackprop-{os.getuid()}")
    environment = {
        "NUMBA_CACHE_DIR": tmp_path / "cache",
        "XDG_CACHE_HOME": tmp_path / "cache",
        "TMPDIR": tmp_path / "temporary",
    }
    before = files_below(tmp_path)
    for _ in range(2):
        assert run(SMALL, **environment) == (RIGHT, 0, 1, "None")
    assert files_below(tmp_path) == before


@linux
def test_the_temporary_folder_serves_the_next_process(tmp_path):
    a_file(tmp_path / "cache")
    (tmp_path / "temporary").mkdir()
    environment = {"XDG_CACHE_HOME": tmp_path / "cache", "TMPDIR": tmp_path / "temporary"}
    folder = tmp_path / "temporary" / f"fastbackprop-{os.getuid()}" / _cache.fingerprint()
    assert run(SMALL, **environment) == (RIGHT, 0, 1, str(folder))
    assert run(SMALL, **environment) == (RIGHT, 1, 0, str(folder))
    assert len(files_below(tmp_path / "temporary")) == 1


# --- what the folder depends on ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (numba.config, "BOUNDSCHECK"),
        (numba.config, "OPT"),
        (numba.config, "DEBUGINFO_DEFAULT"),
        (numba, "__version__"),
        (llvmlite, "__version__"),
    ],
)
def test_options_and_versions_have_folders_of_their_own(module, name, monkeypatch):
    before = _cache.ingredients.__wrapped__()
    monkeypatch.setattr(module, name, "another")
    after = _cache.ingredients.__wrapped__()
    assert sum(after[name] != before[name] for name in before) == 1
    monkeypatch.setattr(_cache, "ingredients", lambda: after)
    assert _cache.fingerprint.__wrapped__() != _cache.fingerprint()


def test_bounds_checks_have_a_folder_of_their_own(tmp_path):
    """Checked code must not be served to those who did not ask for it, nor the other way round."""
    found = {
        run(SMALL, NUMBA_CACHE_DIR=tmp_path, NUMBA_BOUNDSCHECK=value)[1:] for value in (0, 1, 0, 1)
    }
    assert {(hits, misses) for hits, misses, _ in found} == {(0, 1), (1, 0)}
    assert len({folder for *_, folder in found}) == 2


def test_an_edit_in_a_helpers_file_is_seen(tmp_path):
    """output_error is in loops.py, the gradient that it calls in functions/distances.py."""
    script = """
        import numpy as np
        from fastbackprop.functions.activations import ACTIVATIONS
        from fastbackprop.functions.costs import COSTS
        from fastbackprop.engines import loops
        from fastbackprop.jit import cache as _cache
        from fastbackprop.layout import Layout

        cost, one, delta = COSTS["squared_error"][0], np.ones(2), np.zeros(2)
        model = loops.model(Layout([1, 2]), [ACTIVATIONS["identity"]], cost, np.dtype(float))
        loops.output_error(model.layers[1], model.cost, one, one, np.zeros(2), delta)
        stats = loops.output_error.stats
        counts = [sum(c.values()) for c in (stats.cache_hits, stats.cache_misses)]
        print((delta.tolist(), *counts, str(_cache.cache_directory())))
    """
    options = {"root": tmp_path, "NUMBA_CACHE_DIR": tmp_path / "cache"}
    costs = copy_of_the_package(tmp_path) / "functions" / "distances.py"
    original = costs.read_text()
    assert original.count("return a - y\n") == 1
    *first, folder = run(script, **options)
    assert first == [[1.0, 1.0], 0, 1]
    costs.write_text(original.replace("return a - y\n", "return a - y + a\n"))
    *edited, other_folder = run(script, **options)
    assert edited == [[2.0, 2.0], 0, 1]
    assert other_folder != folder
    costs.write_text(original)
    assert run(script, **options) == ([1.0, 1.0], 1, 0, folder)


# --- files ---------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(_cache, "cache_directory", lambda: tmp_path)
    return tmp_path


def fresh_kernel():
    return make_kernel(loops.bias_gradient.py_func, entry=True)


def call(kernel):
    """Whether it was loaded; the result is checked."""
    g = np.ones(3)
    kernel(np.arange(3.0), g)
    assert g.tolist() == RIGHT
    stats = kernel.stats
    hits, misses = sum(stats.cache_hits.values()), sum(stats.cache_misses.values())
    assert hits + misses == 1
    return hits == 1


DAMAGE = {
    "empty": lambda data: b"",
    "cut short": lambda data: data[: len(data) // 2],
    "one byte short": lambda data: data[:-1],
    "text": lambda data: b"nothing that was ever pickled",
    "another object": lambda data: pickle.dumps({"a": 1}),
    "a tuple of another length": lambda data: pickle.dumps((1, 2, 3)),
    "of a class that is gone": lambda data: b"cno_module\nno_class\n.",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_compiled_anew(damage, folder):
    assert not call(fresh_kernel())
    (path,) = files_below(folder)
    whole = path.read_bytes()
    assert call(fresh_kernel())
    path.write_bytes(DAMAGE[damage](whole))
    assert not call(fresh_kernel())
    assert [p.name for p in files_below(folder)] == [path.name]
    assert len(path.read_bytes()) > len(whole) // 2
    assert call(fresh_kernel())


def test_a_file_that_numba_refuses_is_compiled_anew(folder, monkeypatch):
    def refuse(*arguments):
        raise RuntimeError("another format")

    assert not call(fresh_kernel())
    monkeypatch.setattr(numba_internals, "compile_result", refuse)
    assert not call(fresh_kernel())


@linux
def test_a_file_with_a_wrong_byte_is_compiled_anew(tmp_path):
    """A byte without meaning, of the padding in the object's header: others may end the process."""
    run(SMALL, NUMBA_CACHE_DIR=tmp_path)
    (path,) = files_below(tmp_path)
    data = bytearray(path.read_bytes())
    data[data.index(b"\x7fELF") + 12] ^= 0xFF
    path.write_bytes(data)
    assert run(SMALL, NUMBA_CACHE_DIR=tmp_path)[:3] == (RIGHT, 0, 1)
    assert run(SMALL, NUMBA_CACHE_DIR=tmp_path)[:3] == (RIGHT, 1, 0)


def test_a_folder_in_the_place_of_a_file(folder):
    assert not call(fresh_kernel())
    (path,) = files_below(folder)
    path.unlink()
    path.mkdir()
    assert not call(fresh_kernel())
    assert {p.name for p in folder.iterdir()} == {path.name, LOCKS}


def test_a_folder_that_disappears(folder):
    kernel = fresh_kernel()
    folder.rmdir()
    assert not call(kernel)
    folder.mkdir()


@pytest.mark.parametrize("step", ["open", "replace"])
def test_a_full_disk(step, folder, monkeypatch):
    original = getattr(os, step)

    def fail(*arguments, **options):
        if step == "open" and not arguments[1] & os.O_CREAT:
            return original(*arguments, **options)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    assert not call(fresh_kernel())
    assert files_below(folder) == []


def spoiled(path):
    path.chmod(0o660)


def given_away(path):
    if os.getuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, 12345, 12345)


def a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def linked(path):
    path.rename(path.with_suffix(".other"))
    path.symlink_to(path.with_suffix(".other"))


@posix
@pytest.mark.parametrize("spoil", [spoiled, given_away, a_pipe, linked])
def test_a_file_that_cannot_be_trusted_is_not_read(spoil, folder, caplog):
    assert not call(fresh_kernel())
    (path,) = files_below(folder)
    spoil(path)
    with caplog.at_level("INFO", "fastbackprop"):
        assert not call(fresh_kernel())
    assert "is compiled again" in caplog.text
    assert call(fresh_kernel())  # the file has been replaced


def test_what_killed_processes_left_is_removed(folder):
    left, recent = folder / ".a-1.bin.12-ab.tmp", folder / ".a-1.bin.34-cd.tmp"
    for path in (left, recent):
        path.write_bytes(b"half a file")
    os.utime(left, (0, 0))
    _cache._clean.cache_clear()
    assert not call(fresh_kernel())
    assert not left.exists()
    assert recent.exists()


def test_each_signature_has_a_file(folder):
    kernel = fresh_kernel()
    for dtype in (np.float32, np.float64):
        kernel(np.ones(2, dtype), np.ones(2, dtype))
    assert len(files_below(folder)) == 2
    assert kernel.stats.cache_path == str(folder)


def test_processes_may_compile_at_once(tmp_path):
    """One of them compiles, and the others wait for it."""
    processes = [start(SMALL, NUMBA_CACHE_DIR=tmp_path) for _ in range(4)]
    results = [finish(process) for process in processes]
    assert {(tuple(g), hits + misses) for g, hits, misses, _ in results} == {(tuple(RIGHT), 1)}
    assert sum(misses for _, _, misses, _ in results) == 1
    assert len(files_below(tmp_path)) == 1
    assert run(SMALL, NUMBA_CACHE_DIR=tmp_path)[1:3] == (1, 0)
