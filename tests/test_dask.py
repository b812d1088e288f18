"""One network on rows in partitions: real worker processes, real kills."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import clusters
import numpy as np
import pytest
from clusters import LONG, ROWS, epoch_of_means, epoch_of_steps, load, network, tasks_end

import fastbackprop as fb
from fastbackprop.optimizers import OPTIMIZERS

fd = pytest.importorskip("fastbackprop.dask")
import cloudpickle  # noqa: E402
import dask.array as da  # noqa: E402
import dask.dataframe as dd  # noqa: E402
import distributed  # noqa: E402
import pandas as pd  # noqa: E402
from dask import delayed  # noqa: E402

pytestmark = pytest.mark.compiled
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers need no tests
cloudpickle.register_pickle_by_value(clusters)
FOLDER = Path(__file__).parent
PARTITIONS = fd.partitions(load, len(ROWS))


@pytest.fixture(scope="module")
def client():
    with clusters.running(2) as client:
        yield client


def together():
    """All rows: X, y, weights."""
    return tuple(map(np.concatenate, zip(*map(load, range(len(ROWS))), strict=True)))


# --- the same bits -------------------------------------------------------------------------------


def some(name):
    """An optimizer of this kind, with a schedule and an average where it may have them."""
    if name == "custom":
        return fb.Custom(signs, n_states=1)
    if name == "adam":
        return fb.Adam(fb.Cosine(1e-2, epochs=5), averaging=fb.EMA(0.9), l2=1e-3)
    return OPTIMIZERS[name]()


def signs(theta, g, states, step, rate):
    states[0] += g
    theta -= rate * np.sign(states[0])


OTHERS = [name for name in OPTIMIZERS if name not in ("lbfgs", "adam", "rprop")]
every_optimizer = pytest.mark.parametrize(
    "name",
    [
        *("adam", "rprop", "custom"),
        *(pytest.param(name, marks=pytest.mark.skipif(not LONG, reason="long")) for name in OTHERS),
    ],
)


@every_optimizer
def test_the_mean_of_partitions_is_that_of_one_process(client, name):
    ours, theirs, optimizer, mirror = network(), network(), some(name), some(name)
    if name == "adam":
        optimizer, mirror = fb.Adam(falling), fb.Adam(falling)
    history = fd.fit(ours, PARTITIONS, epochs=2, batch_size=8, optimizer=optimizer, dropout=0.2)
    for _ in range(2):
        mirror = epoch_of_means(theirs, mirror, dropout=0.2)
    np.testing.assert_array_equal(ours.get_parameters(), theirs.get_parameters())
    assert len(history) == 2 and optimizer.steps == mirror.steps == 2 * -(-max(ROWS) // 8)


@every_optimizer
def test_the_steps_of_partitions_are_those_of_one_process(client, name):
    ours, theirs, optimizer = network(), network(), some(name)
    options = {"epochs": 2, "batch_size": 70, "optimizer": optimizer, "dropout": 0.2}
    fd.fit(ours, PARTITIONS, sync="step", **options)
    mirror = some(name)
    if name == "adam":  # to a trainer each step is an epoch
        mirror = fb.Adam(fb.Cosine(1e-2, epochs=15), averaging=fb.EMA(0.9), l2=1e-3)
    trainer = theirs.trainer(mirror)
    for _ in range(2):
        epoch_of_steps(theirs, trainer, 70, dropout=0.2)
    np.testing.assert_array_equal(ours.get_parameters(), theirs.get_parameters())


def falling(step):
    return 0.01 / (1 + step)


def numpy_gradient(parts, X, y, s):
    """sum_i s_i dC_i/dtheta of a tanh layer and a linear one, by NumPy alone."""
    V, b, W, c = parts
    a = np.tanh(X @ V + b)
    error = (a @ W + c - y) * s[:, None]
    below = error @ W.T * (1 - a**2)
    return [X.T @ below, below.sum(axis=0), a.T @ error, error.sum(axis=0)]


def test_both_are_those_of_plain_numpy(client):
    """Without shuffling: SGD, its formulas written out."""
    rate = 0.05
    for sync in ("step", "epoch"):
        net = network()
        parts = [np.array(v) for pair in zip(net.weights, net.biases, strict=True) for v in pair]
        options = {"epochs": 3, "shuffle": False, "optimizer": fb.SGD(rate), "batch_size": None}
        fd.fit(net, PARTITIONS, sync=sync, **options)
        data = [load(i) for i in range(len(ROWS))]
        total = sum(s.sum() for *_, s in data)
        for _ in range(3):
            sums = [0.0] * 4
            for X, y, s in data:  # one step each, so both are the same step
                sums = [a + g for a, g in zip(sums, numpy_gradient(parts, X, y, s), strict=True)]
            parts = [p - rate * g / total for p, g in zip(parts, sums, strict=True)]
        flat = np.concatenate([p.ravel() for p in parts])
        np.testing.assert_allclose(net.get_parameters(), flat, rtol=1e-11, atol=1e-13)


def test_one_partition_is_fit(client):
    X, y, s = load(1)
    for dtype in ("float32", "float64"):
        ours, theirs = network(dtype=dtype), network(dtype=dtype)
        seed = int(theirs.rng.integers(2**63))
        one = fb.Network(ours.sizes, hidden="tanh", dtype=dtype, rng=np.random.default_rng(1))
        one.set_parameters(theirs.get_parameters())
        one = fb.Network(
            ours.sizes,
            hidden="tanh",
            init="zeros",
            dtype=dtype,
            rng=np.random.default_rng([seed, 0]),
        )
        one.set_parameters(theirs.get_parameters())
        options = {"epochs": 1, "optimizer": "adam", "batch_size": 16}
        cost = fd.fit(ours, [delayed((X, y, s))], **options).cost
        assert one.fit(X, y, sample_weight=s, **options).cost == cost
        np.testing.assert_array_equal(ours.get_parameters(), one.get_parameters())


def test_lbfgs_is_that_of_one_process_to_rounding(client):
    X, y, s = together()
    ours, theirs = network(), network()
    history = fd.fit(ours, PARTITIONS, sync="step", optimizer=fb.LBFGS(l2=1e-3), epochs=15)
    expected = theirs.fit(X, y, sample_weight=s, optimizer=fb.LBFGS(l2=1e-3), epochs=15)
    np.testing.assert_allclose(history.cost, expected.cost, rtol=1e-6)
    with pytest.raises(ValueError, match="sync='step'"):
        fd.fit(ours, PARTITIONS, optimizer=fb.LBFGS())


def trained(sync="epoch", **options):
    """Parameters of a training with all that is random."""
    net = network(dtype="float32")
    options = {"epochs": 2, "batch_size": 64 if sync == "step" else 8, "dropout": 0.2} | options
    fd.fit(net, PARTITIONS, sync=sync, **options)
    return net.get_parameters()


@pytest.mark.parametrize(
    ("n_workers", "n_threads"),
    [(n, t) for n in (1, 2, 3, 5) for t in (1, 2)] if LONG else [(1, 2)],
)
def test_the_bits_do_not_depend_on_the_workers(client, n_workers, n_threads):
    expected = {sync: trained(sync, client=client) for sync in ("epoch", "step", 3)}
    with clusters.running(n_workers, n_threads) as other:
        for sync, parameters in expected.items():
            np.testing.assert_array_equal(trained(sync, client=other), parameters)


# --- workers and clients that are lost -----------------------------------------------------------


def two_workers(client):
    """Wait for them. A nanny gives up a worker that dies while it starts: then start another."""
    try:
        client.wait_for_workers(2, timeout=40)
    except TimeoutError:
        client.cluster.scale(len(client.cluster.worker_spec) + 1)
        client.wait_for_workers(2, timeout=120)


class Killer:
    """A callback that kills a worker at a random moment of some epochs, when two are there."""

    def __init__(self, client, epochs, seed):
        self.client, self.epochs, self.random = client, set(epochs), random.Random(seed)
        self.killed, self.timers = 0, []

    def on_epoch_begin(self, network, epoch):
        if epoch in self.epochs:
            two_workers(self.client)
            self.timers.append(threading.Timer(self.random.uniform(0, 0.3), self.kill))
            self.timers[-1].start()

    def on_epoch_end(self, network, epoch, logs):
        for timer in self.timers:  # or a short training may end before
            timer.join()

    def kill(self):
        processes = [nanny.process for nanny in self.client.cluster.workers.values()]
        started = [p.pid for p in processes if p is not None and p.status.name == "running"]
        if started:
            os.kill(self.random.choice(started), signal.SIGKILL)
            self.killed += 1


@pytest.mark.filterwarnings("ignore:the cluster has no workers:RuntimeWarning")  # for a moment
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
@pytest.mark.parametrize("sync", ["epoch", "step"])
def test_killed_workers_change_no_bit(client, sync):
    kills = 20 if LONG else 2
    epochs = 3 * kills
    expected = trained(sync, epochs=epochs)
    killer = Killer(client, range(2, epochs, 3), seed=0)
    with pytest.warns(RuntimeWarning, match=r"worker tcp://.* was lost"):
        parameters = trained(sync, epochs=epochs, callbacks=[killer])
    np.testing.assert_array_equal(parameters, expected)
    assert killer.killed >= kills - 1
    two_workers(client)


SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
import clusters, distributed
import fastbackprop.dask as fd
if __name__ == "__main__":
    import cloudpickle
    cloudpickle.register_pickle_by_value(clusters)
    with distributed.Client({address!r}) as client:
        {body}
"""


def script(client, body):
    """A process with a client of its own."""
    text = SCRIPT.format(folder=str(FOLDER), address=client.scheduler.address, body=body)
    return subprocess.Popen([sys.executable, "-c", text], stderr=subprocess.PIPE, text=True)


def test_a_killed_client_goes_on_from_its_checkpoint(client, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    options = {"epochs": 6, "early_stopping": 20, "validation": (together()[0], together()[1])}
    expected = trained(checkpoint=tmp_path / "other.safetensors", **options)
    body = f"""
        X, y, _ = map(__import__("numpy").concatenate, zip(*map(clusters.load, range(5))))
        fd.fit(
            clusters.network(dtype="float32"), fd.partitions(clusters.load, 5), epochs=6,
            batch_size=8, dropout=0.2, early_stopping=20, validation=(X, y),
            checkpoint={str(path)!r}, callbacks=lambda net, epoch, logs:
                __import__("os").kill(__import__("os").getpid(), 9) if epoch == 3 else None)
    """.strip()
    process = script(client, body)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, errors
    net = network(dtype="float32")
    history = fd.fit(
        net, PARTITIONS, batch_size=8, dropout=0.2, callbacks=[fb.Checkpoint(path)], **options
    )
    np.testing.assert_array_equal(net.get_parameters(), expected)
    assert len(history) == 6
    with pytest.raises(ValueError, match=r"another training, with .*rows"):
        fd.fit(network(dtype="float32"), fd.partitions(load, 2), checkpoint=path)


# --- what is refused, and what ends a training ---------------------------------------------------


def bad(i, *, where, what):
    """Partition i; one of them cannot be used."""
    X, y, s = load(i)
    if i == where:
        if what == "nan":
            X[3, 1] = np.nan
        elif what == "columns":
            X = X[:, :2]
        elif what == "weights":
            s = s[1:]
        elif what == "dtype":
            X = X.astype("float32")
        elif what == "raises":
            raise OSError("no such disk")
        elif what == "nothing":
            return X
        elif what == "text":
            return np.full(X.shape, "a"), y, s
    return X, y, s


@pytest.mark.parametrize(
    ("what", "kind", "message"),
    [
        ("nan", ValueError, r"partition 3: X.* nan"),
        ("columns", ValueError, r"partition 3: X must have shape \(n_samples, 3\)"),
        ("weights", ValueError, r"partition 3: sample_weight must have shape"),
        ("dtype", TypeError, r"X holds float32 in partition 3, and float64 in partition 0"),
        ("raises", RuntimeError, r"partition 3: OSError: no such disk"),
        ("nothing", TypeError, r"partition 3: it must be \(X, y\)"),
        ("text", TypeError, r"partition 3: X must hold real numbers"),
    ],
)
def test_a_bad_partition_is_named_and_nothing_is_changed(client, what, kind, message):
    net, optimizer = network(), fb.Adam()
    before, state = net.get_parameters(), net.rng.bit_generator.state
    with pytest.raises(kind, match=message):
        fd.fit(net, fd.partitions(lambda i: bad(i, where=3, what=what), 5), optimizer=optimizer)
    np.testing.assert_array_equal(net.get_parameters(), before)
    assert net.rng.bit_generator.state == state and optimizer.steps == 0


@pytest.mark.parametrize(("sync", "good"), [("step", 3), ("epoch", 27)])
def test_a_divergence_leaves_the_round_before(client, sync, good):
    net, kept = network(), []
    optimizer = fb.SGD(lambda step: 0.01 if step < good else 1e200)
    options = {"batch_size": None if sync == "step" else 8, "optimizer": optimizer, "epochs": 9}
    options["callbacks"] = lambda net, *_: kept.append(net.get_parameters())
    with pytest.raises(fb.DivergenceError, match="epoch") as caught:
        fd.fit(net, PARTITIONS, sync=sync, **options)
    assert len(kept) == len(caught.value.history) >= 2
    np.testing.assert_array_equal(net.get_parameters(), kept[-1])


def large(i):
    """A partition that a step of `wide` takes minutes for."""
    X = np.ones((50_000, 64), np.float32)
    return X, X[:, 0]


def wide():
    return fb.Network([64, 1024, 1024, 1], rng=0)


def test_ctrl_c_ends_the_tasks(client):
    """The task would take minutes."""
    net = wide()
    before = net.get_parameters()
    timer = threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(fb.Interrupted) as caught:
        fd.fit(net, fd.partitions(large, 2), sync="step", epochs=3)
    timer.join()
    assert len(caught.value.history) == 0
    np.testing.assert_array_equal(net.get_parameters(), before)
    tasks_end(client)


def test_a_time_budget_ends_a_round(client):
    options = {"sync": "step", "callbacks": [fb.TimeBudget(0.3)], "epochs": 2}
    history = fd.fit(wide(), fd.partitions(large, 1), **options)
    assert history.ended_by == "time_budget" and len(history) == 0


def test_without_a_client(monkeypatch):
    net = network()
    with pytest.raises(TypeError, match=r"client must be a dask\.distributed\.Client"):
        fd.fit(net, PARTITIONS, client="tcp://here:8786")

    def none():
        raise ValueError("No global client found and no address provided")

    monkeypatch.setattr(distributed, "get_client", none)
    for call in (fd.fit, lambda net, X, y: fd.fit_many([net], X, y)):
        with pytest.raises(ValueError, match=r"no Dask client: .*client = Client\(\)"):
            call(
                net,
                np.ones((3, 3)) if call is not fd.fit else PARTITIONS,
                None if call is fd.fit else np.ones((3, 2)),
            )


def test_a_closed_client(client):
    other = distributed.Client(client.scheduler.address, set_as_default=False)
    other.close()
    with pytest.raises(ValueError, match=r"client is closed: .*client = Client\(\)"):
        fd.fit(network(), PARTITIONS, client=other)


REFUSED = [
    ({"X": np.ones((4, 3)), "y": np.ones((4, 2))}, TypeError, "Network.fit, or dask.array"),
    ({"X": [np.ones((4, 3))]}, TypeError, r"X\[0\] must be a future or a delayed object"),
    ({"X": []}, TypeError, "X must be a Dask array"),
    ({"X": da.ones((4, 3))}, TypeError, "y must be a Dask array"),
    ({"X": da.ones((4, 3)), "y": da.ones((5, 2))}, ValueError, "a row for each of the 4 rows"),
    ({"sync": "never"}, ValueError, "unknown sync 'never'"),
    ({"sync": 0}, ValueError, "sync must be 'step', 'epoch' or a positive number"),
    ({"metrics": "r2"}, ValueError, "metrics need predictions in this process"),
    ({"validation": 0.1}, TypeError, "validation must be"),
    ({"epochs": 0}, ValueError, "epochs"),
    ({"learning_rate": 1}, TypeError, "Adam"),
    ({"sample_weight": "balanced"}, ValueError, "sample_weight cannot be passed without y"),
    ({"optimizer": "adm"}, ValueError, "did you mean 'adam'"),
]


@pytest.mark.parametrize(("arguments", "kind", "message"), REFUSED)
def test_refused(client, arguments, kind, message):
    with pytest.raises(kind, match=message):
        fd.fit(network(), **{"X": PARTITIONS} | arguments)


def worker(client, **variables):
    """A further worker, with these environment variables; yields when it is there."""
    command = [sys.executable, "-m", "distributed.cli.dask_worker", client.scheduler.address]
    command += ["--nthreads", "1", "--no-nanny", "--no-dashboard", *variables.pop("options", [])]
    return subprocess.Popen(
        command, env=os.environ | variables, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )


def test_other_workers_are_named_before_anything_starts(client, tmp_path):
    without = tmp_path / "without.py"
    without.write_text("import sys\nsys.modules['fastbackprop'] = None\n")
    known = set(client.nthreads())
    for variables, message in [
        ({"options": ["--preload", str(without)]}, "not installed on worker {}"),
        ({"FASTBACKPROP_VECTOR_BYTES": "16"}, "worker {} computes with vectors of 16 bytes"),
    ]:
        process = worker(client, **variables)
        try:
            client.wait_for_workers(3, timeout=60)
            (address,) = set(client.nthreads()) - known
            net = network()
            with pytest.raises(RuntimeError, match=message.format(address)):
                fd.fit(net, PARTITIONS)
        finally:
            process.kill()
            process.wait()
        while len(client.nthreads()) > 2:
            time.sleep(0.05)


def test_a_worker_of_another_version_is_named_before_anything_starts(client):
    def set_version(version):
        from fastbackprop.dask import tasks

        tasks.__version__ = version

    net, address = network(), next(iter(client.nthreads()))
    before = net.get_parameters()
    client.run(set_version, "0.0.7", workers=[address])
    try:
        for call in (fd.fit, lambda net, X: fd.fit_many([net], np.ones((3, 3)), np.ones((3, 2)))):
            with pytest.raises(RuntimeError, match=rf"worker {address} has fastbackprop 0\.0\.7, "):
                call(net, PARTITIONS)
    finally:
        client.run(set_version, fb.__version__, workers=[address])
    np.testing.assert_array_equal(net.get_parameters(), before)


# --- forms of data -------------------------------------------------------------------------------


def forms(client):
    """The same partitions in every form."""
    parts = [load(i) for i in range(len(ROWS)) if ROWS[i]]
    X, y, s = together()
    cuts = (tuple(n for n in ROWS if n), 2)
    frame = pd.DataFrame(X, columns=list("abc")).assign(u=y[:, 0], v=y[:, 1], s=s)
    ends = np.cumsum([0, *cuts[0]])
    frames = dd.concat([dd.from_pandas(frame[a:b], npartitions=1) for a, b in pairwise(ends)])
    columns = [list(column) for column in zip(*parts, strict=True)]
    return {
        "arrays": (
            da.from_array(X, chunks=cuts),
            da.from_array(y, chunks=(50, 1)),
            da.from_array(s, chunks=(cuts[0],)),
        ),
        "frames": (frames[list("abc")], frames[list("uv")], frames["s"]),
        "futures": tuple([client.submit(np.array, a) for a in column] for column in columns),
        "delayed": tuple([delayed(a) for a in column] for column in columns),
        "triples": ([delayed(part) for part in parts], None, None),
        "function": (fd.partitions(lambda i: parts[i], len(parts)), None, None),
    }


def test_every_form_of_the_same_data_gives_the_same_bits(client):
    results = {}
    for name, (X, y, s) in forms(client).items():
        net = network()
        history = fd.fit(net, X, y, sample_weight=s, epochs=2, batch_size=8)
        cost = fd.evaluate(net, X, y, s)
        a = fd.predict(net, X)
        results[name] = net.get_parameters(), history.cost, cost.compute(), a.compute()
    X, y, s = together()
    for parameters, costs, cost, a in results.values():
        np.testing.assert_array_equal(parameters, results["arrays"][0])
        assert costs == results["arrays"][1]
        assert cost == pytest.approx(net.evaluate(X, y, s), rel=1e-12)
        np.testing.assert_array_equal(a, net.predict(X))


def test_a_saved_network_is_read_once_by_each_worker(client, tmp_path):
    from fastbackprop.dask import lazy

    net, path = network(dtype="float32"), tmp_path / "net.safetensors"
    net.save(path)
    X = da.from_array(together()[0].astype("f4"), chunks=(5, 3))
    a = fd.predict(path, X)
    assert a.chunks[0] == X.chunks[0] and a.dtype == net.dtype
    client.run(lazy._loaded.cache_clear)
    np.testing.assert_array_equal(a.compute(), net.predict(together()[0].astype("f4")))
    read = client.run(lazy._loaded.cache_info).values()
    assert sum(info.misses for info in read) <= 2 and sum(info.hits for info in read) > 20
    with pytest.raises(ValueError, match=r"X must have shape \(n_samples, 3\)"):
        fd.predict(path, X[:, :2])
    with pytest.raises(TypeError, match="network must be a Network or the path"):
        fd.predict(3, X)


def test_validation_in_partitions(client):
    X, y, s = together()
    ours, theirs = network(), network()
    history = fd.fit(ours, PARTITIONS, epochs=3, validation=PARTITIONS, early_stopping=5)
    expected = fd.fit(theirs, PARTITIONS, epochs=3, validation=(X, y, s), metrics="r2")
    np.testing.assert_allclose(history.validation_cost, expected.validation_cost, rtol=1e-12)
    assert len(expected["validation_r2"]) == 3
    with pytest.raises(ValueError, match=r"validation: partition 1"):
        fd.fit(
            network(),
            PARTITIONS,
            validation=fd.partitions(lambda i: bad(i, where=1, what="columns"), 3),
        )


def test_missing_targets_and_classes(client):
    X, y, _ = together()
    y[::3, 0] = np.nan
    net = network()
    arrays = da.from_array(X, chunks=(50, 3)), da.from_array(y, chunks=(50, 2))
    history = fd.fit(net, *arrays, epochs=2, missing_targets=True)
    assert history.cost[1] < history.cost[0]
    cost = fd.evaluate(net, *arrays, missing_targets=True).compute()
    assert cost == pytest.approx(net.evaluate(X, y, missing_targets=True), rel=1e-12)
    labels = (X.sum(axis=1) > 0).astype(int)
    net = fb.Network([3, 8, 2], output="softmax", cost="cross_entropy", rng=0)
    weights = {0: 1.0, 1: 3.0}
    parts = [(X[i::3], labels[i::3], weights) for i in range(3)]
    history = fd.fit(net, [delayed(part) for part in parts], epochs=3)
    assert history.cost[-1] < history.cost[0]


def test_rows_of_ten_times_the_memory_of_the_client(client):
    """16 MB more than the client has when it starts; the partitions have 160 MB."""
    body = """
        import resource, numpy as np, fastbackprop as fb
        def rows(i, n=200_000):
            X = np.random.default_rng(i).random((n, 20), np.float32)
            return X, X[:, 0]
        net = fb.Network([20, 8, 1], rng=0)
        fd.fit(net, fd.partitions(lambda i: rows(i, 9), 10), epochs=2)
        with open("/proc/self/status") as file:
            used = next(int(line.split()[1]) for line in file if line.startswith("VmData"))
        resource.setrlimit(resource.RLIMIT_DATA, (used * 1024 + 16_000_000,) * 2)
        history = fd.fit(net, fd.partitions(rows, 10), epochs=1, batch_size=500_000)
        assert len(history) == 1
        try:
            np.ones(20_000_000)
            raise SystemExit(3)
        except MemoryError:
            pass
    """.strip()
    process = script(client, body)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
