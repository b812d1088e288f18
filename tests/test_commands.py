"""`python -m fastbackprop`: each command runs, says what it should, and fails with one line."""

import argparse
import importlib.util
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numba
import numpy as np
import pytest

import fastbackprop as fb
from fastbackprop import plot
from fastbackprop.__main__ import main, make_parser
from fastbackprop.commands import (
    UsageError,
    compare,
    demo,
    exit_code,
    peak,
    progress,
    race,
    report,
    require,
    systems,
    work,
)
from fastbackprop.commands.systems import ours
from fastbackprop.engines import ENGINES
from fastbackprop.jit import cache

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


def test_no_arguments_explain_themselves(capsys):
    assert main([]) == 0
    printed = capsys.readouterr().out
    for word in ("demo", "compare", "warmup", "for example", "exit codes"):
        assert word in printed


@pytest.mark.parametrize("arguments", [["dmeo"], ["demo", "--outptu", "x"], ["warmup", "now"]])
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


def end_of(error):
    def run():
        raise error

    return exit_code(run)


def test_exit_codes(capsys):
    assert exit_code(lambda: None) == 0
    assert end_of(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == ""
    assert end_of(UsageError("mend this")) == 2
    assert capsys.readouterr().err == "python -m fastbackprop: mend this\n"
    with pytest.raises(RuntimeError):  # a mistake of ours is shown
        end_of(RuntimeError("a bug"))


@pytest.mark.skipif(os.name == "nt", reason="no pipes that end so")
@pytest.mark.parametrize("arguments", [[], ["warmup"]])
def test_nobody_reads_the_output(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "fastbackprop", *arguments],
        stdout=writer,
        stderr=subprocess.PIPE,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def command(*arguments, before="", **environment):
    """In a process of its own, by a shell that does something before."""
    script = f'{before} exec "{sys.executable}" -m fastbackprop "$@"'
    return subprocess.run(
        ["sh", "-c", script, "sh", *arguments],
        capture_output=True,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"} | environment,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("arguments", [[], ["warmup"]])
def test_a_full_disk_is_one_line(arguments):
    done = command(*arguments, before="exec > /dev/full;")
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"No space left" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="a shell of Unix")
def test_without_any_output():
    done = command("warmup", before="exec >&- 2>&-;")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_signs_that_a_terminal_lacks_are_written_as_numbers(monkeypatch):
    bytes_written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(bytes_written, "ascii"))
    assert exit_code(lambda: print("cürve.png")) == 0
    assert bytes_written.getvalue().startswith(rb"c\xfcrve.png")


def test_progress_is_one_line_that_goes(monkeypatch, capsys):
    progress(1, 4, "text")
    assert capsys.readouterr().err == ""  # nobody watches
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "50")
    progress(1, 4, "long text " * 10)
    start, line = capsys.readouterr().err.split("\033[K")
    assert start == "\r" and len(line) == 49
    assert line.startswith(f"[{'#' * 6}{'.' * 18}] 1 of 4  long text")
    progress(4, 4)
    assert capsys.readouterr().err == "\r\033[K"


# --- demo ----------------------------------------------------------------------------------------


def test_demo_reports_and_draws(short_demo, tmp_path, capsys):
    path = tmp_path / "curve.png"
    assert main(["demo", "--output", str(path)]) == 0
    assert path.read_bytes().startswith(PNG)
    printed = capsys.readouterr().out
    for word in ("epoch  1 of 1", "Held-out accuracy", "Gradient check", str(path), *ENGINES):
        assert word in printed


def test_demo_draws_elsewhere_where_it_cannot_write(short_demo, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "a_file").touch()
    assert main(["demo", "--output", str(tmp_path / "a_file" / "curve.png")]) == 0
    assert "Cannot write" in capsys.readouterr().out
    [path] = tmp_path.glob("fastbackprop-*/*.png")
    assert path.read_bytes().startswith(PNG)


def test_the_ending_says_what_demo_draws(short_demo, tmp_path, capsys):
    assert main(["demo", "--output", str(tmp_path / "curve.foo")]) == 2
    printed = capsys.readouterr()
    assert "the name must end in one of" in printed.err and printed.err.count("\n") == 1
    assert printed.out == "" and not list(tmp_path.iterdir())
    assert main(["demo", "--output", str(tmp_path / "curve.svg")]) == 0
    assert "<svg" in (tmp_path / "curve.svg").read_text("utf-8")


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
    [
        ["--threads", "100000"],
        ["--json", "no/such/folder/figures.json"],
        ["--plot", "no/such/folder/plot.png"],
        ["--plot", "plot.of_no_kind"],
    ],
)
def test_compare_says_what_it_cannot_do(arguments, capsys):
    assert main(["compare", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_files_are_checked_before_anything_is_measured(tmp_path):
    path = tmp_path / "figures.json"
    compare.check_writable("--json", str(path))
    assert not path.exists()
    path.write_text("earlier figures")
    compare.check_writable("--json", str(path))
    assert path.read_text() == "earlier figures"
    with pytest.raises(UsageError, match=r"--json .*[Dd]irectory"):
        compare.check_writable("--json", str(tmp_path))


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
    shapes = ["--shapes", "3-4-3:4"]
    drawn = [] if not importlib.util.find_spec("matplotlib") else ["--plot", f"{tmp_path}/plot.png"]
    done = run("compare", *shapes, "--quick", "--json", str(path), *drawn)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert f"Figures: {path}" in lines
    if drawn:
        assert (tmp_path / "plot.png").read_bytes().startswith(PNG)
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= 100
    assert f"Time over that of {systems.OURS}" in done.stdout
    written = json.loads(path.read_text())
    assert written["threads"] == 1 and written["processor"]
    assert set(written["peak_gflops"]) == {"float32", "float64"}
    results = written["results"]
    names = [name for task in ("train", "predict") for name in systems.systems(task, quick=True)]
    assert len(results) == 2 * len(names)  # of two dtypes
    packages = {"PyTorch": "torch", "scikit-learn": "sklearn", "JAX": "jax", "ONNX": "onnxruntime"}
    for result in results:
        package = packages.get(result["system"].split(" ")[0])
        if package and not importlib.util.find_spec(package):
            assert result["reason"] == "not installed"
            continue
        assert result["reason"] is None, result
        assert result["difference"] < (1e-4 if result["dtype"] == "float32" else 1e-12), result
        assert result["flops"] / result["gflops"] / 1e9 == pytest.approx(result["seconds"])
        assert 0 < result["gflops"] < result["peak_gflops"]
        assert (result["optimizer"] is None) == (result["task"] == "predict")
        assert result["ratio"] > 0 and (result["ratio"] == 1 or result["system"] != systems.OURS)


def planned(*arguments):
    return list(compare.works(make_parser().parse_args(["compare", *arguments])))


def test_what_compare_measures():
    default = planned()
    functions = {(work["activation"], work["optimizer"]) for work in default}
    assert {("relu", "sgd"), ("relu", "adam"), ("tanh", "adam"), ("gelu", "adam")} <= functions
    assert [w["batch_size"] for w in default if w["task"] == "predict"] == [1, 32, 10_000]
    assert len(planned("--quick")) < len(default) / 2
    chosen = planned("--activation", "gelu", "--optimizer", "adam", "--shapes", "4-3:10000")
    assert [work["task"] for work in chosen] == ["train", "predict"]
    analyses = planned("--analysis", "--shapes", "4-3:10000")
    assert [item["task"] for item in analyses] == list(work.ANALYSES)
    assert {item["task"] for item in planned("--loop")} == {"loop", "residual"}
    loops = planned("--loop", "--shapes", "4-3:10000", "--activation", "gelu")
    assert [(item["task"], item["optimizer"]) for item in loops] == [("loop", "adam")]
    for item in chosen + loops:
        assert item["sizes"] == (4, 3) and item["batch_size"] == 10_000
        assert item["activation"] == "gelu" and item["optimizer"] == "adam"


@pytest.mark.compiled
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("task", ["train", "predict", "loop"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("activation", work.ACTIVATIONS)
def test_every_function_is_the_same_everywhere(activation, optimizer, task, dtype):
    if (task == "predict" and optimizer == "adam") or (task == "loop" and activation != "tanh"):
        return
    some = work.Work((5, 7, 3), 6, dtype, 4, 1, activation, optimizer, task)
    makers = systems.systems(task, quick=True)
    results = [report.Result(label, some) for label in makers]
    race.prepare(some, results, makers)
    reasons = {"", "not installed", "has no gelu", "has no gelu in float64"}
    assert {result.reason for result in results} <= reasons
    exact = [r for r in results if not r.reason and not r.other_formula]
    assert len(exact) >= (2 if task == "loop" else len(ENGINES))
    for result in exact:
        assert result.difference < (1e-4 if dtype == "float32" else 1e-12), result


@pytest.mark.compiled
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_residual_is_the_same_everywhere(dtype):
    some = work.Work((2, 7, 1), 6, dtype, 4, 1, "tanh", task="residual")
    makers = systems.systems("residual")
    results = [report.Result(label, some) for label in makers]
    race.prepare(some, results, makers)
    assert {result.reason for result in results} <= {"", "not installed"}


@pytest.mark.compiled
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("task", work.ANALYSES)
def test_every_analysis_is_the_same_everywhere(task):
    some = work.Work((5, 7, 3), 6, "float64", 2, activation="gelu", task=task)
    makers = systems.systems(task)
    results = [report.Result(label, some) for label in makers]
    race.prepare(some, results, makers)
    assert {result.reason for result in results} <= {"", "not installed"}
    assert [result.difference < 1e-12 for result in results if not result.reason][:3] == [True] * 3


@pytest.mark.compiled
@pytest.mark.filterwarnings("default")
def test_torch_compile_trains_the_same():
    pytest.importorskip("torch")
    label = "PyTorch (torch.compile)"
    makers = {name: systems.systems("train")[name] for name in (systems.OURS, label)}
    some = work.Work((3, 4, 3), 4, "float64", 3, optimizer="adam")
    results = [report.Result(name, some) for name in makers]
    race.prepare(some, results, makers)
    assert results[1].reason in ("", "needs a C++ compiler")
    assert results[1].difference < 1e-12


@pytest.mark.compiled
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_all_train_the_same_many_networks(optimizer):
    makers = systems.systems("many")
    options = {"optimizer": optimizer, "task": "many", "networks": 3}
    some = work.Work((3, 4, 3), 4, "float32", 5, **options)
    results = [report.Result(name, some) for name in makers]
    race.prepare(some, results, makers)
    for result in results:
        assert result.reason in ("", "not installed")
        assert result.difference < (0.1 if result.other_formula else 1e-3)
    assert results[0].difference == results[1].difference == 0.0
    for many in planned("--many", "--quick"):
        assert (many["task"], many["networks"], many["optimizer"]) == ("many", 16, "adam")
    assert {many["networks"] for many in planned("--many")} == {16, 64, 256}


def test_flops_count_both_directions():
    some = work.Work((5, 7, 3), batch_size=2, dtype="float32", steps=1)
    forward, weight_gradient, hidden_error = 2 * (5 * 7 + 7 * 3), 2 * (5 * 7 + 7 * 3), 2 * 7 * 3
    assert some.flops == 2 * (forward + weight_gradient + hidden_error)
    assert replace(some, task="predict").flops == 2 * forward


def test_data_stay_small():
    for sizes, batch_size in map(compare.parse_shape, (*compare.LADDER, "1024-1024:10000")):
        some = work.Work(sizes, batch_size, "float32", 1)
        steps = race.steps_in_a_run(some)
        assert 3 <= steps <= 500
        assert steps * batch_size * sizes[0] <= 4e7


def result_of(system, seconds, **changes):
    some = work.Work((4, 3), 2, "float32", 3)
    values = {"seconds": seconds, "peak_gflops": 100.0, "ratio": seconds / 1e-6} | changes
    return report.Result(system, some, **values)


def test_ratios_are_summarised(capsys):
    results = [result_of(systems.OURS, 1e-6), result_of("other", 2e-6), result_of("other", 8e-6)]
    report.print_ratios([*results, result_of("gone", 1.0, reason="not installed")], ["float32"])
    table = capsys.readouterr().out
    (row,) = [line.split() for line in table.splitlines() if line.startswith("other")]
    assert row == ["other", "4.00x", "2.00x", "2"]
    assert "gone" not in table


def test_figures_of_a_shared_processor_are_called_so(capsys):
    report.print_disturbances([result_of("idle", 1e-6, busy=0.99)])
    assert capsys.readouterr().out == ""
    report.print_disturbances([result_of("idle", 1e-6), result_of("shared", 1e-6, busy=0.5)])
    assert "Not to be relied on: in 1 of 2 figures" in capsys.readouterr().out


@pytest.mark.compiled
def test_a_system_that_fails_is_a_row_with_its_reason(capsys):
    def same(some):
        return ours.train(some, ENGINES[0])

    def breaks(some):
        def run():
            raise RuntimeError("out of luck " * 100)

        return replace(same(some), run=run)

    def breaks_later(some):
        system, runs = same(some), []

        def run():
            system.run()
            runs.append(1)
            if len(runs) > 2:
                raise RuntimeError("tired")

        return replace(system, run=run)

    def cheats(some):
        return replace(same(some), run=lambda: None)

    def absent(some):
        raise work.NOT_INSTALLED

    makers = {maker.__name__: maker for maker in (same, breaks, breaks_later, cheats, absent)}
    some = work.Work((3, 4, 3), 4, "float64", 8)
    results = race.race(some, peak.Peak("float64"), makers, rounds=3, seconds=0)
    first, *others = results
    assert first.reason == "" and first.seconds > 0
    reasons = [result.reason for result in others]
    assert reasons[0].startswith("RuntimeError: out of luck")
    assert reasons[1:] == ["RuntimeError: tired", "trains differently, by 1e+00", "not installed"]
    report.print_block([results])
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
    command = "warmup", "--all", "--engine", "numpy", "--dtype", "float32"
    first = run(*command, NUMBA_CACHE_DIR=str(tmp_path))
    assert first.returncode == 0, first.stderr
    assert "compiled in" in first.stdout and str(tmp_path) in first.stdout
    assert "float64" not in first.stdout and "loops" not in first.stdout
    second = run(*command, NUMBA_CACHE_DIR=str(tmp_path))
    assert second.returncode == 0, second.stderr
    assert "compiled in" not in second.stdout
    assert "loaded in" in second.stdout


def test_warmup_needs_a_folder(monkeypatch, capsys):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 0)
    monkeypatch.setattr(cache, "cache_directory", lambda: None)
    assert main(["warmup"]) == 2
    assert "set NUMBA_CACHE_DIR" in capsys.readouterr().err


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


def test_compare_plot_has_a_line_for_each_system():
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    results = [result_of(name, seconds) for name, seconds in (("a", 1e-6), ("b", 2e-6))]
    results += [result_of("b", 1.0, reason="not installed")]
    figures = {
        "results": [result.to_dict() for result in results],
        "peak_gflops": {"float32": 100.0},
        "threads": 1,
    }
    ax = Figure().subplots()
    assert plot.compare(figures, ax) is ax
    lines = {line.get_label(): line for line in ax.lines}
    flops = results[0].work.flops
    np.testing.assert_allclose(lines["a"].get_xydata(), [[flops, 1.0]])
    np.testing.assert_allclose(lines["b"].get_xydata(), [[flops, 2.0]])
    np.testing.assert_allclose(lines["peak"].get_xydata(), [[flops, flops / 1e5]])
    assert {text.get_text() for text in ax.texts} == {"a", "b", "measured peak"}
    assert plot.compare(figures | {"results": []}, Figure().subplots()).lines[:] == []
