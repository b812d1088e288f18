"""A Dask cluster of real processes for tests, and a training's re-enactment in one process."""

import contextlib
import copy
import logging
import os
import time

import numpy as np
import pytest

import fastbackprop as fb

distributed = pytest.importorskip("distributed")
dask = pytest.importorskip("dask")

# The long forms: more workers, more kills.
LONG = bool(os.environ.get("FASTBACKPROP_LONG"))
SIZES = [3, 8, 2]
ROWS = [40, 70, 0, 33, 64]  # of partitions: unequal, one empty


@contextlib.contextmanager
def running(n_workers, n_threads=1, **options):
    """A client of so many worker processes on this machine."""
    for name in ("distributed", "distributed.scheduler", "distributed.nanny"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # A LocalCluster looks again some time after a worker was lost, and gives its nanny up for good
    # where the worker is not there: it may be starting again, after the next kill.
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"}),
        distributed.LocalCluster(
            n_workers=n_workers,
            threads_per_worker=n_threads,
            processes=True,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
            **options,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def tasks_end(client):
    """Wait until no worker has a task."""
    for _ in range(600):
        busy = client.run(lambda dask_worker: len(dask_worker.state.executing))
        if not sum(busy.values()):
            return
        time.sleep(0.05)
    raise AssertionError("a task went on")


def load(i):
    """Partition i."""
    rng = np.random.default_rng(i)
    X = rng.normal(size=(ROWS[i], 3))
    return (
        X,
        np.column_stack([np.sin(X.sum(axis=1)), X[:, 0] * X[:, 1]]),
        rng.uniform(0.5, 2, len(X)),
    )


def network(seed=1, **options):
    """The network of the tests."""
    return fb.Network(SIZES, hidden="tanh", rng=seed, **{"dtype": "float64"} | options)


def _copy(net, rng):
    other = fb.Network(SIZES, hidden="tanh", init="zeros", dtype=net.dtype, rng=rng)
    other.set_parameters(net.get_parameters())
    return other


def epoch_of_means(net, optimizer, batch_size=8, **options):
    """An epoch with sync="epoch", by `Network.fit`; returns the optimizer with the mean states."""
    seed = int(net.rng.integers(2**63))
    members = []
    for i, n in enumerate(ROWS):
        X, y, s = load(i)
        member = _copy(net, np.random.default_rng([seed, i])), copy.deepcopy(optimizer), s.sum()
        if n:
            member[0].fit(
                X,
                y,
                sample_weight=s,
                epochs=1,
                batch_size=batch_size,
                optimizer=member[1],
                **options,
            )
            members.append(member)
    shares = np.array([weight for *_, weight in members])
    shares /= shares.sum()

    def mean(vectors):
        total = None
        for share, vector in zip(shares, vectors, strict=True):
            part = share * vector.astype(np.float64)
            total = part if total is None else total + part
        return total.astype(net.dtype)

    states = [other.__getstate__() for _, other, _ in members]
    result = copy.deepcopy(members[0][1])
    steps = max(int(state["_t"][0]) for state in states)
    mean_of_states = mean([state["_states"] for state in states])
    result.__setstate__(states[0] | {"_states": mean_of_states, "_t": np.array([steps])})
    net.set_parameters(mean([other.get_parameters() for other, *_ in members]))
    return result


def epoch_of_steps(net, trainer, batch_size, dropout=0.0):
    """An epoch with sync="step": gradients of the partitions by `fb.Custom`, then one step."""
    seed, n = int(net.rng.integers(2**63)), sum(ROWS)
    n_rounds = -(-n // batch_size)
    for k in range(n_rounds):
        total, weight = np.zeros(net.n_parameters), 0.0
        for i, n_i in enumerate(ROWS):
            X, y, s = load(i)
            rng = np.random.default_rng([seed, i])
            rows = rng.permutation(n_i)[k * n_i // n_rounds : (k + 1) * n_i // n_rounds]
            if not len(rows):
                continue
            found = []
            member = _copy(net, rng)
            custom = fb.Custom(lambda theta, g, *_: found.append(g.astype(float)))  # noqa: B023
            state = custom.__getstate__()
            custom.__setstate__(state | {"_t": np.array([trainer.steps])})
            member.trainer(custom, dropout=dropout).step(X[rows], y[rows], s[rows])
            total = total + found[0] * sum(s[rows].tolist())
            weight += sum(s[rows].tolist())
        trainer.apply(total / weight, cost=1.0)
