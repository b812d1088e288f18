"""Threads: the same bits for any number of them, beside other threads, after a fork, cut short."""

import multiprocessing
import os
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from problems import every_dtype, problem

import fastbackprop as fb
from fastbackprop.jit import team as _team

pytestmark = pytest.mark.compiled

COUNTS = [2, 3, 7, _team.available_processors() + 1]
OPTIONS = {"hidden": "gelu", "output": "softmax", "cost": "cross_entropy"}


def trained(sizes, n_samples, n_threads, dtype, batch_size, optimizer="adam"):
    p = problem(sizes, n_samples, dtype=dtype, **OPTIONS)
    history = p.net.fit(
        p.X,
        p.Y,
        epochs=2,
        batch_size=batch_size,
        optimizer=optimizer,
        sample_weight=p.s,
        n_threads=n_threads,
    )
    return [p.net.get_parameters(), np.array(history.cost), p.net.predict(p.X, n_threads=n_threads)]


@every_dtype
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("batch_size", [1, 5, 16, 33, 48, 100, 129, None])
def test_no_bit_depends_on_the_number_of_threads(batch_size, optimizer, dtype):
    alone = trained([7, 33, 20, 3], 300, 1, dtype, batch_size, optimizer)
    for n_threads in COUNTS:
        together = trained([7, 33, 20, 3], 300, n_threads, dtype, batch_size, optimizer)
        for comp, ref in zip(together, alone, strict=True):
            assert np.array_equal(comp, ref), n_threads


@every_dtype
def test_the_chosen_number_of_threads_changes_no_bit(dtype, monkeypatch):
    for least in ("MIN_STEP", "MIN_TILE", "MIN_CALL"):
        monkeypatch.setattr(f"fastbackprop.engines.tiles.{least}", 1)
    monkeypatch.setattr(_team, "available_processors", lambda: 2)
    p = problem([5, 9, 2], 64, dtype=dtype, **OPTIONS)
    assert p.net.machine.engine.threads(p.net.machine.model, 64, 64) == 2
    chosen = trained([5, 9, 2], 64, None, dtype, 32)
    alone = trained([5, 9, 2], 64, 1, dtype, 32)
    assert all(map(np.array_equal, chosen, alone))


def test_small_work_takes_one_thread(monkeypatch):
    def chosen(sizes, batch_size):
        net = fb.Network(sizes)
        return net.machine.engine.threads(net.machine.model, batch_size, 10**6)

    monkeypatch.setattr(_team, "available_processors", lambda: 2)
    assert chosen([4, 16, 3], 16) == 1
    assert chosen([784, 128, 10], 32) == 2
    assert chosen([784, 128, 10], 4) == 1  # a vector of samples or less


def test_divergence_in_a_team_is_the_divergence_of_one():
    def diverged(n_threads):
        p = problem([3, 40, 2], 64)
        with pytest.raises(fb.DivergenceError), np.errstate(all="ignore"):
            p.net.fit(p.X, p.Y, epochs=50, optimizer=fb.SGD(1e6), n_threads=n_threads)
        return p.net.get_parameters()

    assert np.isfinite(diverged(2)).all()
    assert np.array_equal(diverged(2), diverged(1))


def test_networks_train_and_predict_in_several_python_threads():
    expected = trained([7, 33, 20, 3], 300, 1, "float64", 32)
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(trained, [7, 33, 20, 3], 300, 1 + k % 3, "float64", 32) for k in range(8)
        ]
        for job in jobs:
            assert all(map(np.array_equal, job.result(), expected))


def test_one_network_predicts_in_several_python_threads():
    p = problem([7, 33, 3], 700, **OPTIONS)
    expected = p.net.predict(p.X, n_threads=1)
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda k: p.net.predict(p.X, n_threads=1 + k % 3), range(40)):
            assert np.array_equal(result, expected)


def _in_child(connection):
    connection.send(trained([7, 33, 20, 3], 300, 2, "float64", 32))


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_a_forked_child_trains_too():
    expected = trained([7, 33, 20, 3], 300, 2, "float64", 32)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    with warnings.catch_warnings():  # of threads that libraries beside us keep
        warnings.simplefilter("ignore")
        child = context.Process(target=_in_child, args=(there,))
        child.start()
    assert here.poll(60), "the child hangs"
    assert all(map(np.array_equal, here.recv(), expected))
    child.join(10)
    assert child.exitcode == 0


def test_processes_of_joblib_come_to_the_same_bits():
    joblib = pytest.importorskip("joblib")
    case = [7, 33, 20, 3], 300
    expected = trained(*case, 2, "float64", 32)  # threads, before the processes start
    jobs = (joblib.delayed(trained)(*case, n, "float64", 32) for n in (1, 2))
    for results in joblib.Parallel(n_jobs=2)(jobs):
        assert all(map(np.array_equal, results, expected))


def test_a_team_is_used_again():
    trained([7, 33, 20, 3], 300, 3, "float64", 32)
    before = set(threading.enumerate())
    trained([7, 33, 20, 3], 300, 3, "float64", 32)
    trained([7, 33, 20, 3], 300, 2, "float64", 32)
    assert set(threading.enumerate()) == before


@pytest.mark.skipif(sys.platform != "linux", reason="processors of threads")
def test_the_members_of_a_team_have_a_processor_each(monkeypatch):
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("needs two processors")
    seen = {}

    def look(team):
        seen[team.t] = os.sched_getaffinity(0)
        return team.t

    assert _team.run(look, 2) == 0
    assert len(seen[0]) == len(seen[1]) == 1
    assert seen[0] != seen[1]
    assert _team.run(look, len(before) + 1) == 0
    assert sorted(map(len, seen.values()))[-1] == len(before)  # one was left over
    assert os.sched_getaffinity(0) == before

    def interrupt(team):
        if team.t == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _team.run(interrupt, 2)
    assert os.sched_getaffinity(0) == before

    def refuse(pid, processors):
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    assert _team.run(look, 2) == 0
    assert seen[0] == seen[1] == before


def test_idle_threads_end_with_the_program():
    code = (
        "import fastbackprop as fb, numpy as np\n"
        "fb.Network([3, 40, 2]).predict(np.ones((500, 3)), n_threads=3)\n"
        "print('done')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_a_thread_that_cannot_start_leaves_none_waiting(monkeypatch):
    start, calls = threading.Thread.start, []

    def second_fails(thread):
        calls.append(thread)
        if len(calls) == 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    p = problem([3, 4, 2], 50)
    before = p.net.get_parameters()
    monkeypatch.setattr(_team, "_idle", [])
    monkeypatch.setattr(threading.Thread, "start", second_fails)
    with pytest.raises(RuntimeError, match="can't start"):
        p.net.fit(p.X, p.Y, n_threads=3)
    monkeypatch.undo()
    calls[0].join(10)
    assert not calls[0].is_alive()
    assert np.array_equal(p.net.get_parameters(), before)


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "2"])
def test_refused_numbers_of_threads(bad):
    p = problem([3, 4, 2])
    for call in (
        lambda: p.net.fit(p.X, p.Y, n_threads=bad),
        lambda: p.net.predict(p.X, n_threads=bad),
    ):
        with pytest.raises((TypeError, ValueError), match="n_threads must be a positive integer"):
            call()
