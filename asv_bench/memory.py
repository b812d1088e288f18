"""Memory that a fit allocates, beside the data and the network."""

import tracemalloc

import numpy as np
from asv_runner.benchmarks.mark import parameterize

import fastbackprop as fb
from asv_bench import DTYPE, ENGINE

# name: sizes, n_samples, batch size
SHAPES = {
    "4-16-3": ([4, 16, 3], 256, 256),
    "1024-1024-10": ([1024, 1024, 10], 10_000, 10_000),
}


@parameterize({**ENGINE, "shape": list(SHAPES), **DTYPE})
class Memory:
    """NumPy reports its arrays to tracemalloc, and kernels allocate nothing: one sample is exact.

    The largest necessary part is the gradient, as large as the parameters.
    """

    unit = "bytes"

    def setup(self, engine, shape, dtype):
        sizes, n_samples, self.batch_size = SHAPES[shape]
        rng = np.random.default_rng(0)
        self.network = fb.Network(
            sizes, output="softmax", cost="cross_entropy", dtype=dtype, rng=rng, engine=engine
        )
        self.X = rng.standard_normal((n_samples, sizes[0]), dtype=dtype)
        self.y = rng.integers(0, sizes[-1], n_samples)
        self.fit(2)  # compiles

    def fit(self, n_samples):
        X, y = self.X[:n_samples], self.y[:n_samples]
        self.network.fit(X, y, epochs=1, batch_size=self.batch_size, optimizer="sgd")

    def track_peak_of_fit(self, engine, shape, dtype):
        tracemalloc.start()
        try:
            self.fit(None)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
