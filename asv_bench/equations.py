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

N_SAMPLES = 256

# name: n_{l-1}, n_l
SHAPES = {"4-16": (4, 16), "64-128": (64, 128), "784-128": (784, 128)}


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


def make_layer(n_in, n_out, dtype):
    draw = np.random.default_rng(0).standard_normal
    of_layer = [(n_in, n_out), (n_out,)]
    of_samples = [(N_SAMPLES, n_in)] * 3 + [(N_SAMPLES, n_out)] * 4
    return Layer(*(draw(shape, dtype) for shape in of_layer + of_samples + of_layer))


# The kernels take one sample: for a batch, a compiled loop around each, as in the engine.


@kernel
def weighted_input(A_in, W, b, Z):
    for i in range(Z.shape[0]):
        loops.weighted_input(A_in[i], W, b, Z[i])


@kernel
def output_error(Z, A, Y, Delta):
    for i in range(Z.shape[0]):
        loops.output_error(SIGMA_CODE, COST_CODE, Z[i], A[i], Y[i], Delta[i])


@kernel
def hidden_error(W, Delta, Z_in, A_in, Delta_in):
    for i in range(Delta.shape[0]):
        loops.hidden_error(SIGMA_CODE, W, Delta[i], Z_in[i], A_in[i], Delta_in[i])


@kernel
def weight_gradient(A_in, Delta, G):
    for i in range(Delta.shape[0]):
        loops.weight_gradient(A_in[i], Delta[i], G)


@kernel
def bias_gradient(Delta, g):
    for i in range(Delta.shape[0]):
        loops.bias_gradient(Delta[i], g)


# equation -> engine -> the call; q is a Layer
EQUATIONS = {
    "0 weighted_input": {
        "loops": lambda q: weighted_input(q.A_in, q.W, q.b, q.Z),
        "numpy": lambda q: loopfree.weighted_input(q.A_in, q.W, q.b),
    },
    "1 output_error": {
        "loops": lambda q: output_error(q.Z, q.A, q.Y, q.Delta),
        "numpy": lambda q: loopfree.output_error(SIGMA, COST, q.Z, q.A, q.Y),
    },
    "2 hidden_error": {
        "loops": lambda q: hidden_error(q.W, q.Delta, q.Z_in, q.A_in, q.Delta_in),
        "numpy": lambda q: loopfree.hidden_error(SIGMA, q.W, q.Delta, q.Z_in, q.A_in),
    },
    "3 weight_gradient": {
        "loops": lambda q: weight_gradient(q.A_in, q.Delta, q.G),
        "numpy": lambda q: loopfree.weight_gradient(q.A_in, q.Delta),
    },
    "4 bias_gradient": {
        "loops": lambda q: bias_gradient(q.Delta, q.g),
        "numpy": lambda q: loopfree.bias_gradient(q.Delta),
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
