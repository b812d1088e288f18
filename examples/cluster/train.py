"""More networks, and more rows, than one machine has: on a cluster, or on this machine alone.

    python examples/cluster/train.py [tcp://scheduler:8786]

Rows are made where they are needed. Networks with several learning rates are trained on one
partition, one with the best rate on all partitions, and then every row gets a prediction.
"""

import sys

import numpy as np
from dask.distributed import Client

import fastbackprop as fb
import fastbackprop.dask as fd

N_PARTITIONS, ROWS = 8, 4000


def load(i):
    """Partition i: in a real case a file, `np.load(f"part-{i}.npz")`."""
    rng = np.random.default_rng(i)
    X = rng.uniform(-1, 1, (ROWS, 6)).astype(np.float32)
    y = np.sin(3 * X[:, 0]) * X[:, 1] + X[:, 2:].prod(axis=1)
    return X, y + 0.1 * rng.normal(size=ROWS).astype(np.float32)


def main(client, epochs=10):
    """Returns the network, and its cost on rows that it has not seen."""
    X, y = load(N_PARTITIONS)
    held_out = load(N_PARTITIONS + 1)
    rates = [1e-3, 3e-3, 1e-2]
    networks = [fb.Network([6, 32, 1], hidden="tanh", rng=seed) for seed in range(len(rates))]
    histories = fd.fit_many(
        networks,
        X,
        y,
        optimizers=[fb.Adam(rate) for rate in rates],
        validation=held_out,
        epochs=epochs,
        client=client,
    )
    best = int(np.argmin([history.validation_cost[-1] for history in histories]))
    print(f"best learning rate on one partition: {rates[best]:g}")

    net = fb.Network([6, 32, 1], hidden="tanh", rng=0)
    rows = fd.partitions(load, N_PARTITIONS)
    history = fd.fit(
        net, rows, client=client, optimizer=fb.Adam(rates[best]), epochs=epochs, validation=held_out
    )
    print(f"validation cost of {N_PARTITIONS} partitions: {history.validation_cost[-1]:.4f}")
    a = fd.predict(net, rows)
    print(f"mean of all predictions: {client.compute(a.mean()).result():.4f}")
    return net, history.validation_cost[-1]


if __name__ == "__main__":  # workers import this file too
    with Client(*sys.argv[1:], **({} if sys.argv[1:] else {"threads_per_worker": 1})) as client:
        main(client)
