"""How the package gets by with Numba: not at all, only when needed, without its insides."""

import ast
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import fastbackprop
from fastbackprop.jit import cache as _cache
from fastbackprop.jit import numba_internals

PACKAGE = Path(fastbackprop.__file__).parent
compiled = pytest.mark.compiled


def run(script, *options, **environment):
    """What a process of its own printed, evaluated."""
    ours = ("FASTBACKPROP_PLAIN_NUMBA", "NUMBA_DISABLE_JIT")
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    result = subprocess.run(
        [sys.executable, "-P", "-W", "error", *options, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=300,
        env=inherited | {"PYTHONPATH": str(PACKAGE.parent)} | environment,
    )
    assert result.returncode == 0, result.stderr
    return ast.literal_eval(result.stdout)


# --- without Numba -------------------------------------------------------------------------------

BLOCK = """
    import sys

    class Block:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("numba", "llvmlite"):
                raise ImportError(f"{name} is not for this process")

    sys.meta_path.insert(0, Block())
"""

USE = """
    import tempfile
    from pathlib import Path
    import numpy as np
    import fastbackprop as fb

    def swish(z):
        return z * fb.math.sigmoid(z)

    def swish_derivative(z, a):
        s = fb.math.sigmoid(z)
        return s * (1.0 + z * (1.0 - s))

    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(7, 3)), rng.normal(size=(7, 2))
    hidden = ["gelu", "tanh", fb.LayerNorm("silu"), fb.Activation("s", swish, swish_derivative)]
    net = fb.Network([3, 4, 5, 4, 3, 2], hidden=hidden, engine="numpy", dtype="float64", rng=0)
    net.fit(X, Y, epochs=3, batch_size=2, optimizer="adam", dropout=0.1)
    results = [net.predict(X), net.predict(X[:1]), net.evaluate(X, Y), net.gradient(X, Y)[0],
               *net.gradient(X, Y)[1], net.check_gradient(X, Y) < 1e-6]
    plain = fb.Network([3, 4, 2], hidden="gelu", output="softmax", cost="cross_entropy",
                       engine="numpy", dtype="float64", rng=0)
    plain.fit(X, [0, 1, 1, 0, 0, 1, 0], epochs=2)
    with tempfile.TemporaryDirectory() as folder:
        plain.save(Path(folder) / "net")
        loaded = fb.Network.load(Path(folder) / "net")
    results.extend([loaded.predict(X), loaded.engine == "numpy", net.sample_gradients(X, Y)])
    flat = np.concatenate([np.ravel(r) for r in results]).tolist()
"""


def test_the_engine_numpy_works_without_numba():
    names = {}
    exec(textwrap.dedent(USE), names)
    comp = run(BLOCK + USE + "    print(flat)")
    np.testing.assert_allclose(comp, names["flat"], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("engine", ["tiles", "loops"])
def test_other_engines_say_that_they_need_it(engine):
    script = f"""
    import fastbackprop as fb

    try:
        fb.Network([3, 2], engine="{engine}")
    except ImportError as error:
        print([str(error)])
    """
    (message,) = run(BLOCK + script)
    assert message.startswith(f"engine='{engine}' needs Numba, which cannot be imported (numba")
    assert message.endswith("engine='numpy' works without it")


# --- when it is imported -------------------------------------------------------------------------

LOADED = "print({*sys.modules} & {'numba', 'llvmlite'})"


@pytest.mark.parametrize(
    "use",
    [
        "",
        "net = fb.Network([2, 3, 1], engine='numpy'); net.fit([[0.0, 1.0]], [[1.0]], epochs=1)",
        "fb.Network([2, 3, 1], engine='numpy').predict(np.ones((3, 2)).tolist())",
        "fb.Adam(), fb.LeakyReLU(0.1), fb.Quantile(0.5), fb.engines.ENGINES",
        "import fastbackprop.__main__",
    ],
    ids=["import", "fit", "check an array", "settings", "commands"],
)
def test_numba_is_not_loaded(use):
    assert run(f"import sys, numpy as np, fastbackprop as fb\n{use}\n{LOADED}") == set()


def test_engines_are_those_of_numbas_own_setting(tmp_path):
    """Whoever decides: the environment, Numba where it has been imported, its file."""
    script = "import fastbackprop.engines as e; print(e.ENGINES)"
    every, few = ("tiles", "loops", "numpy"), ("loops", "numpy")
    assert run(script) == every
    assert run(script, NUMBA_DISABLE_JIT="1") == few
    changed = f"import numba; numba.config.DISABLE_JIT = 1; {script}"
    assert run(changed) == few
    pytest.importorskip("yaml")
    (tmp_path / ".numba_config.yaml").write_text("disable_jit: 1\n")
    there = f"import os; os.chdir({str(tmp_path)!r}); {script}"
    assert run(there) == few
    assert run(there, NUMBA_DISABLE_JIT="0") == every


@compiled
def test_words_in_a_users_compiled_code():
    """Numba knows them as soon as they have been asked for, and formulas once kernels are there."""
    script = """
    import numba
    import numpy as np
    import fastbackprop as fb

    @numba.njit
    def f(x):
        return fb.math.sigmoid(x) + fb.math.exp(x)

    @numba.njit
    def g(x):
        return exp(x)

    from fastbackprop.math import exp
    print([float(f(np.float64(0.5))), float(g(np.float64(0.5))), dir(fb.math).count("exp")])
    """
    comp = run(script)
    e = np.exp(0.5)
    np.testing.assert_allclose(comp[:2], [1 / (1 + 1 / e) + e, e], rtol=1e-15)


# --- without its insides -------------------------------------------------------------------------

FIT = """
    import warnings
    import numpy as np
    from fastbackprop.jit import numba_internals
    {before}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import fastbackprop as fb
        from fastbackprop.engines import loops

        g = np.ones(3)
        loops.bias_gradient(np.arange(3.0), g)
        net = fb.Network([2, 1], engine="loops", dtype="float64")
        net.set_parameters([1.0, 2.0, 3.0])
        y = net.predict([[1.0, 1.0]])
    messages = [str(w.message) for w in caught]
    print((g.tolist(), y.tolist(), numba_internals.is_linked(), messages))
"""
RIGHT = [1.0, 2.0, 3.0], [[6.0]]


NEW = """
    import numba, numba.core.caching, numba.core.registry, warnings

    warnings.simplefilter("ignore")
    numba.__version__, base = "0.99.0", numba.core.registry.CPUDispatcher
    original = base.__init__

    def without_pipeline(self, py_func, locals=None, targetoptions=None):
        original(self, py_func, locals, targetoptions)
"""


@compiled
@pytest.mark.parametrize(
    "change", ["del numba.core.caching._Cache", "base.__init__ = without_pipeline"]
)
def test_a_numba_of_the_future(change, tmp_path):
    """It lacks a name, or an argument: compilation takes longer, nothing is kept on disk."""
    script = f"{NEW}\n    {change}\n{FIT.format(before='')}"
    *results, linked, _ = run(script, NUMBA_CACHE_DIR=str(tmp_path))
    assert tuple(results) == RIGHT and not linked
    assert list(tmp_path.iterdir()) == []


@compiled
def test_what_tiles_need_is_gone(monkeypatch):
    monkeypatch.setattr(numba_internals, "_needed_for_tiles", ["numba.np.arrayobj.make_array"])
    with pytest.raises(ImportError, match=r"'tiles' needs numba.np.arrayobj.make_array, and this"):
        fastbackprop.Network([2, 1], engine="tiles")
    fastbackprop.Network([2, 1], engine="loops")


@compiled
@pytest.mark.parametrize(
    "change",
    [
        "numba_internals.user_function = lambda fndesc: None",
        "numba_internals.Library._optimize_final_module = lambda self, module: None",
        "numba_internals.Kernel.get_call_template = lambda self, args: None",
    ],
)
def test_the_first_compilation_shows_a_change(change, tmp_path):
    before = f"numba_internals._tried = False; {change}"
    *results, linked, messages = run(FIT.format(before=before), NUMBA_CACHE_DIR=str(tmp_path))
    assert tuple(results) == RIGHT and not linked
    (message,) = messages
    assert message.startswith("fastbackprop does not know the insides of Numba")


@compiled
def test_nothing_is_tried_where_nothing_changed(tmp_path):
    before = "numba_internals._tried = False"
    assert run(FIT.format(before=before), NUMBA_CACHE_DIR=str(tmp_path)) == (*RIGHT, True, [])
    assert len(list(tmp_path.rglob("*.bin"))) >= 3


@compiled
def test_engines_without_numbas_insides(tmp_path):
    """A selection of their tests, for code is compiled as a whole and not kept."""
    tiles = "test_engines.py::test_samples_do_not_influence_one_another[tiles-float64]"
    loops = "test_own_functions.py::test_the_same_as_built_in[parameter-loops-float64]"
    environment = {"FASTBACKPROP_PLAIN_NUMBA": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", tiles, loops],
        cwd=Path(__file__).parent,
        env=os.environ | environment | {"PYTHONPATH": str(PACKAGE.parent), "NUMBA_OPT": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 passed" in result.stdout
    assert list(tmp_path.iterdir()) == []


# --- where it is used ----------------------------------------------------------------------------

DOCUMENTED = {
    "numba": None,  # all of it
    "numba.extending": None,
    "numba.types": None,
    "numba.core": {"types", "event"},
}


def imports(path):
    """Every (module, name) that a file imports from, at the top or in a function."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)


def test_what_numba_does_not_document_is_in_one_package():
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name == "numba_internals":
            continue
        for module, name in imports(path):
            if module and module.partition(".")[0] == "numba":
                assert module in DOCUMENTED, path
                assert DOCUMENTED[module] is None or name in DOCUMENTED[module], path
        text = path.read_text("utf-8")
        assert not any(word in text for word in ("._defns", ".call_conv", ".fndesc", ".targetctx"))


def test_the_fingerprint_covers_what_is_compiled():
    """No file of the rooms that kernels come from takes a part of a kernel from another room."""
    rooms = {*_cache.ROOMS}
    files = {
        path.relative_to(PACKAGE): {*imports(path)}
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py" or path.parent != PACKAGE
    }
    marks = {"kernel", "inlined", "formula", "layer_type", "intrinsic"}
    with_kernels = {
        path
        for path, imported in files.items()
        if {name for module, name in imported if (module or "").startswith("fastbackprop.jit")}
        & marks
    }
    inside = {path for path in with_kernels if path.parts[0].removesuffix(".py") in rooms}
    assert {path.parts[0] for path in with_kernels - inside} <= {"commands"}
    assert {path.parts[0].removesuffix(".py") for path in inside} | {"layout", "samples"} == rooms
    for path in inside:
        for module, _ in files[path]:
            if module and module.startswith("fastbackprop."):
                assert module.split(".")[1] in rooms | {"numbers"}, (path, module)
