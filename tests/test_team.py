"""Threads: the same bits for any number of them, beside other threads, after a fork, cut short."""

import copy
import multiprocessing
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
from fastbackprop.jit.kernels import kernel

pytestmark = pytest.mark.compiled

COUNTS = [2, 3, 7]
OPTIONS = {"hidden": "gelu", "output": "softmax", "cost": "cross_entropy"}


@pytest.fixture(autouse=True)
def eight_processors(monkeypatch):
    """Teams of 3 and 7 on any machine: `run` starts no more threads than there are processors."""
    monkeypatch.setattr(_team, "available_processors", lambda: 8)


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


def of_all_calls(net, X, y, s, n_threads):
    """What every call that takes threads returns."""
    gradient = net.gradient(X, y, s, n_threads=n_threads)
    cost, weight, sums = net.gradient_sums(X, y, s, n_threads=n_threads)
    mean = net.evaluate(X, y, s, n_threads=n_threads)
    return [
        *gradient.weights,
        *gradient.biases,
        np.array([gradient.cost, cost, weight, mean]),
        sums,
        *net.backward(X, y, n_threads=n_threads),
        net.input_gradient(X, y, n_threads=n_threads),
        net.jacobian(X, n_threads=n_threads),
        net.predict(X, n_threads=n_threads),
    ]


@every_dtype
@pytest.mark.parametrize("n_samples", [1, 128, 129, 700])
def test_no_call_depends_on_the_number_of_threads(n_samples, dtype):
    p = problem([7, 33, 20, 3], n_samples, dtype=dtype, **OPTIONS)
    ref = of_all_calls(p.net, p.X, p.Y, p.s, 1)
    for n_threads in (None, *COUNTS):
        comp = of_all_calls(p.net, p.X, p.Y, p.s, n_threads)
        assert all(map(np.array_equal, comp, ref)), n_threads


@pytest.mark.parametrize("n_slots", [2, 3, 128])
@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (fb.SGD(0.1), {}),
        (fb.Adam(layer_rates=[1.0, 0.5, 0.1]), {"dropout": fb.Dropout(0.2, inputs=0.1)}),
        (fb.Adam(clip_norm=0.01, l2=0.1, averaging=fb.EMA(0.9)), {}),
    ],
    ids=["plain", "dropout", "completed"],
)
def test_whole_row_tiles_in_turns(optimizer, options, n_slots, monkeypatch):
    """A thread that has no slot left waits for the sum of those before."""
    monkeypatch.setattr("fastbackprop.engines.tiles.whole.MOST_SLOTS", n_slots)
    monkeypatch.setattr("fastbackprop.machine.SLICE_SECONDS", 1e-9)  # a call for each row tile

    def trained(n_threads):
        p = problem([7, 33, 20, 3], 700, **OPTIONS)
        options_of_fit = {"epochs": 2, "sample_weight": p.s, "n_threads": n_threads, **options}
        history = p.net.fit(
            p.X, p.Y, batch_size=450, optimizer=copy.deepcopy(optimizer), **options_of_fit
        )
        return [p.net.get_parameters(), np.array(history.cost)]

    ref = trained(1)
    monkeypatch.undo()
    monkeypatch.setattr(_team, "available_processors", lambda: 8)
    monkeypatch.setattr("fastbackprop.engines.tiles.whole.MOST_SLOTS", n_slots)
    for n_threads in (2, 3):
        assert all(map(np.array_equal, trained(n_threads), ref)), n_threads


def test_networks_whose_row_tiles_are_taken_whole():
    def shares(sizes, n_threads, **options):
        with fb.Network(sizes).machine.bound(n_threads, **options) as bound:
            return bound.work.shares

    assert shares([4, 32, 16, 4], 2) == 2
    assert shares([4, 32, 16, 4], 1) == 1
    assert shares([784, 128, 10], 2) == 1  # a row tile is work for several threads
    assert shares([4, 32, 16, 4], 2, sparse=True) == 1


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
    assert chosen([4, 32, 16, 4], 10**4) == 2
    assert chosen([4, 32, 16, 4], 128) == 1  # one row tile


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


def test_one_network_has_its_gradient_in_several_python_threads():
    p = problem([7, 33, 20, 3], 700, **OPTIONS)
    ref = of_all_calls(p.net, p.X, p.Y, p.s, 1)
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(of_all_calls, p.net, p.X, p.Y, p.s, 1 + k % 3) for k in range(12)]
        for job in jobs:
            assert all(map(np.array_equal, job.result(), ref))


@pytest.mark.parametrize(("n_threads", "error"), [(0, ValueError), (1.5, TypeError)])
def test_numbers_of_threads_that_make_no_sense(n_threads, error):
    net, X, y = fb.Network([2, 3, 1], hidden="tanh"), np.ones((4, 2)), np.ones((4, 1))
    for call in (net.evaluate, net.gradient, net.gradient_sums, net.backward, net.input_gradient):
        with pytest.raises(error, match="n_threads must be"):
            call(X, y, n_threads=n_threads)
    for call in (net.predict, net.jacobian, net.laplacian):
        with pytest.raises(error, match="n_threads must be"):
            call(X, n_threads=n_threads)


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


def program(code):
    """What a Python process prints; it must end without an error."""
    before = "import fastbackprop as fb, numpy as np, threading\n"
    command = [sys.executable, "-c", before + code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_idle_threads_end_with_the_program():
    code = "fb.Network([3, 40, 2]).predict(np.ones((500, 3)), n_threads=2)\nprint('done')"
    assert program(code) == "done\n"


@pytest.mark.parametrize("used_before", [False, True])
def test_a_handler_of_atexit_predicts(used_before):
    code = f"""
import atexit
net, X = fb.Network([3, 40, 2], rng=0), np.ones((10_000, 3))
expected = net.predict(X, n_threads=1 + {used_before})
atexit.register(lambda: print(np.array_equal(net.predict(X, n_threads=2), expected)))
"""
    assert program(code) == "True\n"


def test_a_thread_trains_on_while_the_program_ends():
    code = """
net, X, y = fb.Network([3, 40, 2], rng=0), np.ones((64, 3)), np.ones((64, 2))

def fit():
    threading.main_thread().join()
    print(len(net.fit(X, y, epochs=5, n_threads=2).cost))

threading.Thread(target=fit).start()
"""
    assert program(code) == "5\n"


def test_an_object_predicts_while_the_interpreter_is_finalised():
    code = """
class Last:
    net, X = fb.Network([3, 40, 2], rng=0), np.ones((10_000, 3))
    net.predict(X, n_threads=2)

    def __del__(self, print=print):
        print(self.net.predict(self.X, n_threads=2).shape)

import sys
sys.last = Last()
"""
    assert program(code) in ("(10000, 2)\n", "")  # modules may be gone before


@pytest.fixture
def started(monkeypatch):
    """The threads that are started from now on, none of which was waiting."""
    start, threads = threading.Thread.start, []

    def note(thread):
        threads.append(thread)
        start(thread)

    monkeypatch.setattr(_team, "_idle", [])
    monkeypatch.setattr(threading.Thread, "start", note)
    return threads


def test_no_more_threads_than_processors(started, monkeypatch):
    expected = trained([7, 33, 20, 3], 300, 1, "float64", 32)
    monkeypatch.setattr(_team, "available_processors", lambda: 3)
    results = trained([7, 33, 20, 3], 300, 3000, "float64", 32)
    assert all(map(np.array_equal, results, expected))
    assert len(started) == 2


@pytest.mark.parametrize("most", [0, 1])
def test_where_no_thread_can_be_started_fewer_do_the_work(most, started, monkeypatch):
    expected = trained([7, 33, 20, 3], 300, 1, "float64", 32)
    start = threading.Thread.start

    def refuse(thread):
        if len(started) == most:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    results = trained([7, 33, 20, 3], 300, 3, "float64", 32)
    assert all(map(np.array_equal, results, expected))
    assert len(started) == most


def test_a_daemon_is_not_asked_once_the_interpreter_is_finalising(monkeypatch):
    monkeypatch.setattr(sys, "is_finalizing", lambda: True)
    teams = []
    _team.run(teams.append, 3)
    assert teams == [_team.ALONE]


@kernel(entry=True)
def pass_the_gate(team):
    return _team.begins(team)


def test_an_interrupt_before_the_gate_leaves_no_thread_waiting(started):
    ended = []

    def interrupted(team):
        if team.t == 0:
            raise KeyboardInterrupt
        ended.append(pass_the_gate(team))

    with pytest.raises(KeyboardInterrupt):
        _team.run(interrupted, 3)
    for thread in started:
        thread.join(10)
        assert not thread.is_alive()
    assert ended == [False, False]
    assert _team.run(lambda team: team.T, 3) == 3


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "2"])
def test_refused_numbers_of_threads(bad):
    p = problem([3, 4, 2])
    for call in (
        lambda: p.net.fit(p.X, p.Y, n_threads=bad),
        lambda: p.net.predict(p.X, n_threads=bad),
    ):
        with pytest.raises((TypeError, ValueError), match="n_threads must be a positive integer"):
            call()
