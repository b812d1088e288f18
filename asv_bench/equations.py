"""Each equation of the derivation, for a batch of samples in one layer."""

from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
from asv_runner.benchmarks.mark import parameterize

from asv_bench import DTYPE, ENGINE, REPEAT
from fastbackprop.activations import ACTIVATIONS
from fastbackprop.costs import COSTS
from fastbackprop.engines import loopfree, loops, tiles
from fastbackprop.engines._compile import kernel
from fastbackprop.engines._tile import VECTOR_BYTES
from fastbackprop.layout import Layout, aligned_zeros

SIGMA = ACTIVATIONS["sigmoid"]
COST = COSTS["squared_error"][0]
SIGMA_CODE, COST_CODE = SIGMA.code, COST.code

N_SAMPLES = 128  # a row tile

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


def make_tiled(layer):
    """The same as matrices with padded rows, and scratch memory: arguments for the tiles."""
    (n_in, n_out), dtype = layer.W.shape, layer.W.dtype
    stride_in, stride_out = (tiles.stride(n, dtype) for n in (n_in, n_out))

    def padded(array):
        rows, columns = np.atleast_2d(array).shape
        wide = np.zeros((-(-rows // tiles.ROW) * tiles.ROW, tiles.stride(columns, dtype)), dtype)
        wide[:rows, :columns] = array
        flat = aligned_zeros(wide.size, dtype)
        flat[:] = wide.ravel()
        return tiles.Matrix(flat, 0, wide.shape[1] if np.ndim(array) == 2 else 0)

    W = padded(np.zeros((stride_in, n_out), dtype))
    W.array.reshape(stride_in, stride_out)[:n_in, :n_out] = layer.W
    matrices = {name: padded(array) for name, array in layer._asdict().items()} | {"W": W}
    model = Layout((n_in, n_out), (stride_in, stride_out)).model([SIGMA_CODE], COST_CODE)
    return SimpleNamespace(
        **matrices, n_in=n_in, work=tiles.workspace(model, dtype), V=VECTOR_BYTES // dtype.itemsize
    )


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


# equation -> engine -> the call; q is a Layer, p the same for tiles
EQUATIONS = {
    "0 weighted_input": {
        "tiles": lambda q, p: tiles.weighted_input(p.A_in, p.W, p.b, p.Z, N_SAMPLES, p.V),
        "loops": lambda q, p: weighted_input(q.A_in, q.W, q.b, q.Z),
        "numpy": lambda q, p: loopfree.weighted_input(q.A_in, q.W, q.b),
    },
    "1 output_error": {
        "tiles": lambda q, p: output_error(q.Z, q.A, q.Y, q.Delta),  # row by row in either
        "loops": lambda q, p: output_error(q.Z, q.A, q.Y, q.Delta),
        "numpy": lambda q, p: loopfree.output_error(SIGMA, COST, q.Z, q.A, q.Y),
    },
    "2 hidden_error": {
        "tiles": lambda q, p: tiles.hidden_error(
            SIGMA_CODE, p.W, p.Delta, p.Z_in, p.A_in, p.Delta_in, N_SAMPLES, p.work, p.V
        ),
        "loops": lambda q, p: hidden_error(q.W, q.Delta, q.Z_in, q.A_in, q.Delta_in),
        "numpy": lambda q, p: loopfree.hidden_error(SIGMA, q.W, q.Delta, q.Z_in, q.A_in),
    },
    "3 weight_gradient": {
        "tiles": lambda q, p: tiles.weight_gradient(
            p.A_in, p.Delta, p.G, p.G, N_SAMPLES, p.n_in, p.V
        ),
        "loops": lambda q, p: weight_gradient(q.A_in, q.Delta, q.G),
        "numpy": lambda q, p: loopfree.weight_gradient(q.A_in, q.Delta),
    },
    "4 bias_gradient": {
        "tiles": lambda q, p: tiles.bias_gradient(p.Delta, N_SAMPLES, p.g.array),
        "loops": lambda q, p: bias_gradient(q.Delta, q.g),
        "numpy": lambda q, p: loopfree.bias_gradient(q.Delta),
    },
}


@parameterize({"equation": list(EQUATIONS), **ENGINE, "shape": list(SHAPES), **DTYPE})
class Equations:
    repeat = REPEAT

    def setup(self, equation, engine, shape, dtype):
        self.layer = make_layer(*SHAPES[shape], dtype)
        self.compute = EQUATIONS[equation][engine]
        self.tiled = make_tiled(self.layer) if engine == "tiles" else None
        self.compute(self.layer, self.tiled)

    def time_equation(self, equation, engine, shape, dtype):
        self.compute(self.layer, self.tiled)
