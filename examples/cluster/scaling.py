"""How far training on Dask scales: measured here for two workers, and by a model beyond.

    python examples/cluster/scaling.py [scaling.png]

Three figures for two workers of one thread each against one: `fit_many` of 100 networks, `fit`
with sync="epoch" and with sync="step", with about a second of arithmetic for each partition. Then
the time of an empty round is measured over partitions and parameters, and a model of it gives the
efficiency of other clusters.
"""

import math
import sys
import time

import numpy as np
from dask.distributed import Client, LocalCluster

import fastbackprop as fb
import fastbackprop.dask as fd

REPETITIONS, SECONDS = 2, 1.0  # of arithmetic in a partition
SIZES = [32, 128, 128, 1]


def rows(i, n):
    """A partition of n rows."""
    X = np.random.default_rng(i).random((n, SIZES[0]), np.float32)
    return X, X[:, 0] * X[:, 1]


def network(sizes=SIZES, seed=0):
    return fb.Network(sizes, hidden="tanh", rng=seed)


def seconds_per_row():
    """Of an epoch of minibatches in one thread, and of a gradient: the least of some."""
    X, y = rows(0, 8192)
    net = network()
    epoch, gradient = [], []
    for _ in range(5):
        began = time.process_time()
        net.fit(X, y, epochs=1, n_threads=1)
        between = time.process_time()
        net.gradient(X, y)
        epoch.append((between - began) / len(X))
        gradient.append((time.process_time() - between) / len(X))
    return min(epoch), min(gradient)


def timed(clients, call):
    """The least seconds of call(client) for each client; they take turns."""
    found = [[] for _ in clients]
    for client in clients:
        call(client)  # machine code and data are loaded
    for _ in range(REPETITIONS):
        for client, times in zip(clients, found, strict=True):
            began = time.perf_counter()
            call(client)
            times.append(time.perf_counter() - began)
    return [min(times) for times in found]


def many(client, n=100, epochs=20):
    X, y = rows(0, 2000)
    networks = [network([SIZES[0], 16, 1], seed) for seed in range(n)]
    fd.fit_many(networks, X, y, client=client, epochs=epochs)


def by(sync, n, epochs=2):
    """A training of two partitions of n rows."""

    def call(client):
        parts = fd.partitions(lambda i: rows(i, n), 2)
        history = fd.fit(network(), parts, client=client, sync=sync, epochs=epochs)
        call.rounds.append(sum(history.seconds) / epochs)

    call.rounds = []
    return call


def rounds(client, n_partitions, sizes):
    """The least seconds of a round with next to no arithmetic."""
    parts = fd.partitions(lambda i: rows(i, 1), n_partitions)
    history = fd.fit(network(sizes), parts, client=client, sync="step", epochs=6)
    return min(history.seconds)


def model(measured):
    """Seconds of a round = t + s partitions + b parameters: least squares."""
    A = np.array([[1, partitions, parameters] for partitions, parameters, _ in measured])
    t, s, b = np.linalg.lstsq(A / np.array(measured)[:, 2:], np.ones(len(measured)))[0]
    return max(t, 0), max(s, 0), max(b, 0)


def efficiency(workers, parameters, arithmetic, constants, bandwidth=1e9):
    """Of a round with so many seconds of arithmetic in each of as many partitions as workers.

    Parameters go out to log2(workers) generations of workers, 4 bytes each; sums of 8 come back in
    log8(workers) stages, 8 bytes each; the scheduler handles one task after the other.
    """
    t, s, _ = constants
    out = 4 * parameters / bandwidth * max(math.log2(workers), 1)
    back = 8 * 8 * parameters / bandwidth * max(math.ceil(math.log(workers, 8)), 1)
    return arithmetic / (arithmetic + t + s * workers + out + back)


def table(constants):
    """Rows of (parameters, seconds of arithmetic, efficiency for each number of workers)."""
    workers = [2, 8, 32, 128, 1024]
    print("parameters  seconds" + "".join(f"{n:>8}" for n in workers) + "   workers")
    for parameters in (10_000, 1_000_000, 100_000_000):
        for arithmetic in (0.1, 1.0, 10.0, 60.0):
            values = [efficiency(n, parameters, arithmetic, constants) for n in workers]
            print(f"{parameters:>10,}{arithmetic:>9}" + "".join(f"{v:8.2f}" for v in values))


def picture(path, constants):
    import matplotlib.pyplot as plt

    workers = np.geomspace(1, 2000, 60)
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), sharey=True)
    for ax, parameters in zip(axes, (10_000, 1_000_000, 100_000_000), strict=True):
        for arithmetic in (0.1, 1.0, 10.0, 60.0):
            values = [efficiency(n, parameters, arithmetic, constants) for n in workers]
            ax.semilogx(workers, values, label=f"{arithmetic:g} s")
        ax.set(title=f"{parameters:,} parameters", xlabel="workers", ylim=(0, 1))
    axes[0].set_ylabel("efficiency")
    axes[0].legend(title="arithmetic per round")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main(arguments):
    epoch, gradient = seconds_per_row()
    print(f"{epoch * 1e6:.2f} us for a row of an epoch, {gradient * 1e6:.2f} us of a gradient")
    options = {"threads_per_worker": 1, "dashboard_address": ":0"}
    with (
        LocalCluster(n_workers=1, **options) as one,
        LocalCluster(n_workers=2, **options) as two,
        Client(one, set_as_default=False) as single,
        Client(two, set_as_default=False) as double,
    ):
        a, b = timed([single, double], many)
        print(f"fit_many, 100 networks: {a:.2f} s and {b:.2f} s, efficiency {a / b / 2:.2f}")
        for sync, per_row in (("epoch", epoch), ("step", gradient)):
            call = by(sync, int(SECONDS / per_row))
            timed([single, double], call)
            turns = np.array(call.rounds[2:]).reshape(-1, 2)
            a, b = turns.min(axis=0)
            print(f"sync={sync!r}: {a:.2f} s and {b:.2f} s a round, efficiency {a / b / 2:.2f}")
        measured = [
            (n, network(sizes).n_parameters, rounds(double, n, sizes))
            for n in (2, 8, 32)
            for sizes in ([32, 8, 1], [32, 512, 512, 1])
        ]
    for n, parameters, found in measured:
        print(f"{n:>3} partitions, {parameters:>9,} parameters: {found * 1e3:.0f} ms a round")
    constants = model(measured)
    t, s, b = constants
    print(
        f"a round: {t * 1e3:.1f} ms + {s * 1e3:.2f} ms a partition + {b * 1e9:.1f} ns a parameter"
    )
    table(constants)
    if arguments:
        picture(arguments[0], constants)


if __name__ == "__main__":
    main(sys.argv[1:])
