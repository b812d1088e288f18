"""Time of an epoch with sparse X, compared with scikit-learn's MLPClassifier.

SGD and Adam, in float32, with the same data, mini-batches of the same size, and one thread. The
systems take turns, and the best epoch of each counts. Run it with `python examples/sparse.py`; it
takes half a minute.
"""

from time import perf_counter

import numpy as np
from scipy.sparse import csr_array
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

import fastbackprop as fb

SOLVERS = {
    "sgd": (lambda: fb.SGD(0.1), {"momentum": 0, "learning_rate_init": 0.1}),
    "adam": (lambda: fb.Adam(0.001), {}),
}


def data(n=10_000, n_in=20_000, per_sample=100, classes=20):
    """X, (n, n_in), with `per_sample` non-zeros in each row, and labels."""
    rng = np.random.default_rng(0)
    values, columns = (
        rng.random(n * per_sample, np.float32),
        rng.integers(0, n_in, n * per_sample),
    )
    starts = np.arange(0, n * per_sample + 1, per_sample)
    X = csr_array((values, columns, starts), shape=(n, n_in))
    X.sum_duplicates()
    return X, rng.integers(0, classes, n)


def seconds(solver, X, y, hidden=100, batch_size=200, rounds=8):
    """Seconds per epoch of fastbackprop and scikit-learn."""
    make, options = SOLVERS[solver]
    optimizer, classes = make(), np.unique(y)
    ours = fb.Network(
        [X.shape[1], hidden, len(classes)], output="softmax", cost="cross_entropy", rng=0
    )
    theirs = MLPClassifier((hidden,), solver=solver, alpha=0, batch_size=batch_size, **options)
    epochs = (
        lambda: ours.fit(X, y, epochs=1, batch_size=batch_size, optimizer=optimizer, n_threads=1),
        lambda: theirs.partial_fit(X, y, classes=classes),
    )
    best = [np.inf, np.inf]
    for _ in range(rounds + 1):  # the first compiles
        for i, epoch in enumerate(epochs):
            began = perf_counter()
            epoch()
            best[i] = min(best[i], perf_counter() - began)
    return best


def main():
    X, y = data()
    with threadpool_limits(1):
        for solver in SOLVERS:
            ours, theirs = seconds(solver, X, y)
            print(
                f"{solver:5} fastbackprop {ours:.3f} s, scikit-learn {theirs:.3f} s: "
                f"{theirs / ours:.1f} times"
            )


if __name__ == "__main__":
    main()
