"""Many networks: training together, training one after the other, predictions of all."""

import numpy as np
from asv_runner.benchmarks.mark import parameterize

import fastbackprop as fb
from asv_bench import REPEAT

# name: sizes, samples, batch size
SHAPES = {"4-16-3": ([4, 16, 3], 1024, 16), "64-64-10": ([64, 64, 10], 1024, 32)}
HOW = ["together", "one after the other"]


@parameterize({"how": HOW, "shape": list(SHAPES)})
class Epochs:
    """Two epochs of 32 networks in one thread."""

    repeat = REPEAT

    def setup(self, how, shape):
        sizes, n, self.batch_size = SHAPES[shape]
        rng = np.random.default_rng(0)
        self.networks = [
            fb.Network(sizes, output="softmax", cost="cross_entropy", rng=k) for k in range(32)
        ]
        self.X, self.y = rng.standard_normal((n, sizes[0])), rng.integers(0, sizes[-1], n)
        self.optimizers = [fb.Adam(1e-3) for _ in self.networks]
        self.time_epochs(how, shape)

    def time_epochs(self, how, shape):
        options = {"epochs": 2, "batch_size": self.batch_size, "n_threads": 1}
        if how == "together":
            fb.fit_many(self.networks, self.X, self.y, optimizers=self.optimizers, **options)
        else:
            for network, optimizer in zip(self.networks, self.optimizers, strict=True):
                network.fit(self.X, self.y, optimizer=optimizer, **options)


@parameterize({"rows": [1, 1000], "shape": list(SHAPES)})
class Predictions:
    """Of 64 networks, for rows that they share."""

    repeat = REPEAT

    def setup(self, rows, shape):
        sizes = SHAPES[shape][0]
        self.ensemble = fb.Ensemble([fb.Network(sizes, rng=k) for k in range(64)])
        self.X = np.random.default_rng(0).standard_normal((rows, sizes[0]), dtype="float32")
        self.time_each(rows, shape)

    def time_each(self, rows, shape):
        self.ensemble.each(self.X)
