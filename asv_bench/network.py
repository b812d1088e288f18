"""Calls of a user: gradient, epoch, one step, prediction."""

import numpy as np
from asv_runner.benchmarks.mark import parameterize

import fastbackprop as fb
from asv_bench import DTYPE, ENGINE, REPEAT

# name: sizes, n_samples, batch size of an epoch
SHAPES = {
    "4-16-3": ([4, 16, 3], 256, 16),
    "64-128-10": ([64, 128, 10], 1024, 32),
    "784-128-10": ([784, 128, 10], 1024, 32),
}


@parameterize({**ENGINE, "shape": list(SHAPES), **DTYPE})
class Network:
    repeat = REPEAT

    def setup(self, engine, shape, dtype):
        sizes, n_samples, self.batch_size = SHAPES[shape]
        rng = np.random.default_rng(0)
        self.network = fb.Network(
            sizes, output="softmax", cost="cross_entropy", dtype=dtype, rng=rng, engine=engine
        )
        self.X = rng.standard_normal((n_samples, sizes[0]), dtype=dtype)
        self.y = rng.integers(0, sizes[-1], n_samples)
        self.optimizer = fb.SGD(learning_rate=1e-3)


class Gradient(Network):
    def setup(self, *parameters):
        super().setup(*parameters)
        self.time_gradient(*parameters)

    def time_gradient(self, engine, shape, dtype):
        self.network.gradient(self.X, self.y)


class Epoch(Network):
    def setup(self, *parameters):
        super().setup(*parameters)
        self.time_epoch(*parameters)

    def time_epoch(self, engine, shape, dtype):
        self.network.fit(
            self.X, self.y, epochs=1, batch_size=self.batch_size, optimizer=self.optimizer
        )


class FullBatchEpoch(Epoch):
    """One step, on all samples."""

    def setup(self, engine, shape, dtype):
        Network.setup(self, engine, shape, dtype)
        self.batch_size = None
        self.time_epoch(engine, shape, dtype)


class OneStep(Network):
    """The call of online and reinforcement learning."""

    def setup(self, *parameters):
        super().setup(*parameters)
        self.X, self.y = self.X[: self.batch_size], self.y[: self.batch_size]
        self.time_one_step(*parameters)

    def time_one_step(self, engine, shape, dtype):
        self.network.partial_fit(self.X, self.y, optimizer=self.optimizer)


class StepOfTrainer(OneStep):
    """The same with everything settled before."""

    def setup(self, *parameters):
        Network.setup(self, *parameters)
        self.X, self.y = self.X[: self.batch_size], self.y[: self.batch_size]
        self.trainer = self.network.trainer(self.optimizer)
        self.time_one_step(*parameters)

    def time_one_step(self, engine, shape, dtype):
        self.trainer.step(self.X, self.y)


class Backward(OneStep):
    """From a gradient by the outputs to a step."""

    def setup(self, *parameters):
        Network.setup(self, *parameters)
        self.X = self.X[: self.batch_size]
        self.G = self.network.predict(self.X)
        self.trainer = self.network.trainer(self.optimizer)
        self.time_one_step(*parameters)

    def time_one_step(self, engine, shape, dtype):
        self.trainer.apply(self.network.backward(self.X, self.G).parameter_gradient)


class Evaluation(OneStep):
    """The cost of a minibatch."""

    def time_one_step(self, engine, shape, dtype):
        self.network.evaluate(self.X, self.y)


class GradientOfInputs(OneStep):
    """Of a minibatch."""

    def time_one_step(self, engine, shape, dtype):
        self.network.input_gradient(self.X, self.y)


class Prediction(Network):
    def setup(self, *parameters):
        super().setup(*parameters)
        self.time_prediction(*parameters)

    def time_prediction(self, engine, shape, dtype):
        self.network.predict(self.X)


class PredictionOfOneRow(Prediction):
    def setup(self, *parameters):
        Network.setup(self, *parameters)
        self.X = self.X[:1]
        self.time_prediction(*parameters)
