"""`python -m fastbackprop`: each command runs, says what it should, and fails with one line."""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import fastbackprop as fb
from fastbackprop import plot
from fastbackprop.__main__ import main
from fastbackprop.commands import UsageError, compare, demo, peak, peers, race, require
from fastbackprop.engines import ENGINES

PNG = b"\x89PNG\r\n\x1a\n"


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "fastbackprop", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[1],
        env=os.environ | environment,
    )


@pytest.fixture
def short_demo(monkeypatch):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(demo, "EPOCHS", 1)
    monkeypatch.setattr(demo, "REPETITIONS", 1)
    monkeypatch.setattr(demo, "SIZES", [64, 8, 10])
    load = demo.load_digits
    monkeypatch.setattr(demo, "load_digits", lambda: [values[:40] for values in load()])


@pytest.mark.parametrize("command", [[], ["demo"], ["compare"], ["warmup"]])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert end.value.code == 0
    assert "usage: python -m fastbackprop" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["dmeo"], ["demo", "--outptu", "x"]])
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["sklearn.datasets", "matplotlib.figure"])
def test_missing_extra_is_one_line_that_names_it(module, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.split(".")[0] == module.split(".")[0]]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module.split(".")[0], None)
    assert main(["demo"]) == 2
    message = capsys.readouterr().err
    assert 'pip install "fastbackprop[demo]"' in message
    assert message.count("\n") == 1


def test_require_shows_the_trouble_of_a_broken_package(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import a_module_nobody_has")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_module_nobody_has"):
        require("broken_package", UsageError("not installed"))


# --- demo ----------------------------------------------------------------------------------------


def test_demo_reports_and_draws(short_demo, tmp_path, capsys):
    path = tmp_path / "curve.png"
    assert main(["demo", "--output", str(path)]) == 0
    assert path.read_bytes().startswith(PNG)
    report = capsys.readouterr().out
    for word in ("epoch  1 of 1", "Held-out accuracy", "Gradient check", str(path), *ENGINES):
        assert word in report


def test_demo_draws_elsewhere_where_it_cannot_write(short_demo, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "a_file").touch()
    assert main(["demo", "--output", str(tmp_path / "a_file" / "curve.png")]) == 0
    assert "Cannot write" in capsys.readouterr().out
    [path] = tmp_path.glob("fastbackprop-*/*.png")
    assert path.read_bytes().startswith(PNG)


def test_demo_splits_by_class_and_always_alike():
    pytest.importorskip("sklearn")
    X, _, X_test, y_test = demo.load_digits()
    assert X.shape == (1437, 64) and X_test.shape == (360, 64)
    assert X.dtype == np.float32 and X.min() == 0 and X.max() == 1
    assert set(np.bincount(y_test)) <= {35, 36, 37}
    np.testing.assert_array_equal(y_test, demo.load_digits()[3])


def test_ctrl_c_in_a_training_ends_the_command(short_demo, monkeypatch):
    def interrupt(network, epoch, logs):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "print_epoch", interrupt)
    assert main(["demo"]) == 130


# --- compare -------------------------------------------------------------------------------------


def test_shapes():
    assert compare.parse_shape("784-128-10:32") == ((784, 128, 10), 32)
    assert compare.parse_shape("4-3") == ((4, 3), 32)
    for text in ("", "4", "4-1:8", "4-0-3", "4-3:0", "4,3", "4-3:x"):
        with pytest.raises(argparse.ArgumentTypeError, match="got"):
            compare.parse_shape(text)


@pytest.mark.parametrize(
    "arguments",
    [["--threads", "100000"], ["--json", "no/such/folder/figures.json"]],
)
def test_compare_says_what_it_cannot_do(arguments, capsys):
    assert main(["compare", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_processors_are_pinned_where_the_system_can(monkeypatch):
    processors = compare.available_processors()
    if hasattr(os, "sched_getaffinity"):
        before = os.sched_getaffinity(0)
        assert set(processors) == before
        with compare.pinned(processors[:1]):
            assert os.sched_getaffinity(0) == set(processors[:1])
        assert os.sched_getaffinity(0) == before
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    assert compare.available_processors() == list(range(os.cpu_count()))
    with compare.pinned([0]):
        pass


@pytest.mark.compiled
def test_compare_runs_every_system_on_the_same_work(tmp_path):
    path = tmp_path / "figures.json"
    done = run("compare", "--shapes", "3-4-3:4", "4-3:2", "--quick", "--json", str(path))
    assert done.returncode == 0, done.stderr
    *table, figures = done.stdout.splitlines()
    assert max(map(len, table)) <= 100
    assert figures == f"Figures: {path}"
    report = json.loads(path.read_text())
    assert report["threads"] == 1 and report["processor"]
    assert set(report["peak_gflops"]) == {"float32", "float64"}
    results = report["results"]
    packages = {"PyTorch": "torch", "scikit-learn": "sklearn", "JAX": "jax"}
    assert len(results) == 2 * 2 * (len(ENGINES) + len(packages))
    for result in results:
        package = packages.get(result["system"].split(" ")[0])
        if package and not importlib.util.find_spec(package):
            assert result["reason"] == "not installed"
            continue
        assert result["reason"] is None, result
        assert result["difference"] < (1e-4 if result["dtype"] == "float32" else 1e-12), result
        seconds = result["flops_per_step"] / result["gflops"] / 1e9
        assert seconds == pytest.approx(result["seconds_per_step"])
        assert 0 < result["gflops"] < result["peak_gflops"]


def test_flops_count_both_directions():
    work = peers.Work((5, 7, 3), batch_size=2, dtype="float32", steps=1)
    forward, weight_gradient, hidden_error = 2 * (5 * 7 + 7 * 3), 2 * (5 * 7 + 7 * 3), 2 * 7 * 3
    assert work.flops == 2 * (forward + weight_gradient + hidden_error)


@pytest.mark.compiled
def test_a_system_that_fails_is_a_row_with_its_reason(capsys):
    class Same(peers.Engine):
        def __init__(self, work):
            super().__init__(work, ENGINES[0])

    class Breaks(Same):
        def run(self):
            raise RuntimeError("out of luck " * 100)

    class BreaksLater(Same):
        runs = 0

        def run(self):
            super().run()
            self.runs += 1
            if self.runs > 2:
                raise RuntimeError("tired")

    class Cheats(Same):
        def run(self):
            pass

    class Absent(Same):
        def __init__(self, work):
            raise peers.NOT_INSTALLED

    makers = {c.__name__: c for c in (Same, Breaks, BreaksLater, Cheats, Absent)}
    work = peers.Work((3, 4, 3), 4, "float64", 8)
    results = race.race(work, peak.Peak("float64"), makers, rounds=3, seconds=0)
    same, breaks, breaks_later, cheats, absent = results
    assert same.reason == "" and same.seconds_per_step > 0
    assert breaks.reason.startswith("RuntimeError: out of luck")
    assert breaks_later.reason == "RuntimeError: tired"
    assert cheats.reason == "trains differently, by 1e+00"
    assert absent.reason == "not installed"
    race.print_block([results])
    table = capsys.readouterr().out
    assert table.count("out of luck") >= 1 and "see below" in table
    assert max(map(len, table.splitlines())) <= 100


@pytest.mark.compiled
@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_peak_multiplies_and_adds_in_every_lane(width, dtype, monkeypatch):
    monkeypatch.setattr(peak, "vector_bytes", lambda: width)
    run_once = numba.njit(peak._run.py_func)
    scalar = np.dtype(dtype).type
    lanes, n = width // np.dtype(dtype).itemsize, peak.n_accumulators()
    starts = 1 + np.arange(n)
    expected = lanes * ((starts * 2 + 3) * 2 + 3).sum()
    assert run_once(2, scalar(2), scalar(3)) == expected


@pytest.mark.compiled
def test_peak_of_two_threads_is_measured():
    assert peak.Peak("float32", threads=2).measure() > 0


# --- warmup --------------------------------------------------------------------------------------


@pytest.mark.compiled
def test_warmup_fills_the_cache_once(tmp_path):
    first = run("warmup", NUMBA_CACHE_DIR=str(tmp_path))
    assert first.returncode == 0, first.stderr
    assert "compiled in" in first.stdout and str(tmp_path) in first.stdout
    second = run("warmup", NUMBA_CACHE_DIR=str(tmp_path))
    assert second.returncode == 0, second.stderr
    assert "compiled in" not in second.stdout
    assert "loaded from the cache in" in second.stdout


def test_warmup_without_compilation(monkeypatch, capsys):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert main(["warmup"]) == 0
    assert "NUMBA_DISABLE_JIT" in capsys.readouterr().out


# --- pictures ------------------------------------------------------------------------------------


def test_history_plot_goes_where_it_is_told():
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    X, y = np.eye(4, dtype=np.float32), np.arange(4)
    network = fb.Network([4, 4], output="softmax", cost="cross_entropy", rng=0)
    history = network.fit(X, y, epochs=3, validation=(X, y))
    ax = Figure().subplots()
    assert plot.history(history, ax) is ax
    training, validation = ax.lines
    np.testing.assert_array_equal(training.get_data(), ([1, 2, 3], history.cost))
    np.testing.assert_array_equal(validation.get_data(), ([1, 2, 3], history.validation_cost))
