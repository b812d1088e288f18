"""Each equation of the derivation, for a batch of samples in one layer."""

from typing import NamedTuple

import numpy as np
from asv_runner.benchmarks.mark import parameterize

from asv_bench import DTYPE, ENGINE, REPEAT
from fastbackprop.activations import ACTIVATIONS
from fastbackprop.costs import COSTS
from fastbackprop.engines import loopfree, loops
from fastbackprop.engines._compile import kernel

SIGMA = ACTIVATIONS["sigmoid"]
COST = COSTS["squared_error"][0]
SIGMA_CODE, COST_CODE = SIGMA.code, COST.code

# name: (n_samples, n_{l-1}, n_l)
SHAPES = {
    "16 x 4-16": (16, 4, 16),
    "32 x 64-128": (32, 64, 128),
    "32 x 784-128": (32, 784, 128),
}


class Layer(NamedTuple):
    """What the equations read and write; rows are samples, n_{l-1} -> n_l neurons."""

    W: np.ndarray
    b: np.ndarray
    Z_in: np.ndarray  # of layer l-1
    A_in: np.ndarray
    Delta_in: np.ndarray
    Z: np.ndarray  # of layer l
    A: np.ndarray
    Delta: np.ndarray
    Y: np.ndarray
    G: np.ndarray  # gradient of W
    g: np.ndarray  # gradient of b


def make_layer(n_samples, n_in, n_out, dtype):
    draw = np.random.default_rng(0).standard_normal
    shapes = [(n_in, n_out), (n_out,), *[(n_samples, n_in)] * 3, *[(n_samples, n_out)] * 4]
    arrays = [draw(shape).astype(dtype) for shape in (*shapes, (n_in, n_out), (n_out,))]
    return Layer(*arrays)


# --- loops: the kernels take one sample; the batch is a compiled loop too, as in the engine ---------


@kernel
def weighted_input(layer):
    for i in range(layer.Z.shape[0]):
        loops.weighted_input(layer.A_in[i], layer.W, layer.b, layer.Z[i])


@kernel
def output_error(layer):
    for i in range(layer.Z.shape[0]):
        z, a, y, delta = layer.Z[i], layer.A[i], layer.Y[i], layer.Delta[i]
        loops.output_error(SIGMA_CODE, COST_CODE, z, a, y, delta)


@kernel
def hidden_error(layer):
    for i in range(layer.Z.shape[0]):
        z, a, delta = layer.Z_in[i], layer.A_in[i], layer.Delta_in[i]
        loops.hidden_error(SIGMA_CODE, layer.W, layer.Delta[i], z, a, delta)


@kernel
def weight_gradient(layer):
    for i in range(layer.Z.shape[0]):
        loops.weight_gradient(layer.A_in[i], layer.Delta[i], layer.G)


@kernel
def bias_gradient(layer):
    for i in range(layer.Z.shape[0]):
        loops.bias_gradient(layer.Delta[i], layer.g)


EQUATIONS = {
    "0 weighted_input": {
        "loops": weighted_input,
        "numpy": lambda layer: loopfree.weighted_input(layer.A_in, layer.W, layer.b),
    },
    "1 output_error": {
        "loops": output_error,
        "numpy": lambda layer: loopfree.output_error(SIGMA, COST, layer.Z, layer.A, layer.Y),
    },
    "2 hidden_error": {
        "loops": hidden_error,
        "numpy": lambda layer: loopfree.hidden_error(
            SIGMA, layer.W, layer.Delta, layer.Z_in, layer.A_in
        ),
    },
    "3 weight_gradient": {
        "loops": weight_gradient,
        "numpy": lambda layer: loopfree.weight_gradient(layer.A_in, layer.Delta),
    },
    "4 bias_gradient": {
        "loops": bias_gradient,
        "numpy": lambda layer: loopfree.bias_gradient(layer.Delta),
    },
}


@parameterize({"equation": list(EQUATIONS), **ENGINE, "shape": list(SHAPES), **DTYPE})
class Equations:
    repeat = REPEAT

    def setup(self, equation, engine, shape, dtype):
        self.layer = make_layer(*SHAPES[shape], dtype)
        self.compute = EQUATIONS[equation][engine]
        self.compute(self.layer)

    def time_equation(self, equation, engine, shape, dtype):
        self.compute(self.layer)
