"""Each equation of the derivation, for a batch of samples in one layer."""

from typing import NamedTuple

import numpy as np
from asv_runner.benchmarks.mark import parameterize

from asv_bench import DTYPE, ENGINE, REPEAT
from fastbackprop.engines import loopfree, loops, tiles
from fastbackprop.engines.functions import Model
from fastbackprop.engines.tiles import equations, layers, product, task
from fastbackprop.functions.activations import ACTIVATIONS
from fastbackprop.functions.costs import COSTS
from fastbackprop.jit.kernels import inlined, kernel
from fastbackprop.jit.tile import VECTOR_BYTES
from fastbackprop.layout import Layout, aligned_zeros

SIGMA = ACTIVATIONS["sigmoid"]
COST = COSTS["squared_error"][0]

N_SAMPLES = 128  # a row tile

# name: n_{l-1}, n_l
SHAPES = {"4-16": (4, 16), "64-128": (64, 128), "784-128": (784, 128)}


class Layer(NamedTuple):
    """Input and output of the equations; rows are samples, n_{l-1} -> n_l neurons."""

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


class Tiled(NamedTuple):
    """The same in strips of two vectors of samples, the layout of the tiles engine."""

    model: Model
    theta: np.ndarray
    gradient: np.ndarray
    work: tiles.Work
    V: int


def untiled(p, name):
    """The array that a Layer has under this name."""
    widths, strides = p.model.layers["width"], p.model.layers["stride"]
    layout = Layout(widths, strides)
    if name in ("G", "g"):
        return (layout.weights if name == "G" else layout.biases)(p.gradient)[0]
    l = 0 if name.endswith("_in") else 1
    start, height = N_SAMPLES * p.model.layers[l]["start"], strides[l]
    array = {"Z": p.work.z, "A": p.work.a, "Delta": p.work.delta}[name.removesuffix("_in")]
    strips = array[start : start + N_SAMPLES * height].reshape(-1, height, 2 * p.V)
    return strips.transpose(0, 2, 1).reshape(N_SAMPLES, height)[:, : widths[l]]


def make_tiled(layer):
    sizes, dtype = layer.W.shape, layer.W.dtype
    layout = Layout(sizes, [tiles.stride(n, dtype) for n in sizes])
    model = tiles.model(layout, [SIGMA], COST, dtype)
    for name in ("activate", "pull_back"):  # layer 0 is a hidden one here, with the same sigma
        model.layers[0][name] = model.layers[1][name]
    theta, gradient = (aligned_zeros(layout.length, dtype) for _ in range(2))
    layout.weights(theta)[0], layout.biases(theta)[0] = layer.W, layer.b
    layout.weights(gradient)[0], layout.biases(gradient)[0] = layer.G, layer.g
    work, V = tiles.workspace(model, dtype), VECTOR_BYTES // dtype.itemsize
    arrays = [
        (work.z, layer.Z_in, layer.Z),
        (work.a, layer.A_in, layer.A),
        (work.delta, layer.Delta_in, layer.Delta),
    ]
    for array, *of_layers in arrays:
        for l, of_layer in enumerate(of_layers):
            start, height = N_SAMPLES * model.layers[l]["start"], model.layers[l]["stride"]
            side_by_side = of_layer.reshape(-1, 2 * V, of_layer.shape[1]).transpose(0, 2, 1)
            strips = array[start : start + N_SAMPLES * height].reshape(-1, height, 2 * V)
            strips[:, : of_layer.shape[1]] = side_by_side
    work.y[: layer.Y.size] = layer.Y.ravel()
    p = Tiled(model, theta, gradient, work, V)
    neurons_on_lanes(p)
    return p


# The tiles engine takes the strips that a thread owns: here all.


@inlined
def all_strips(V):
    return product.Owned(2 * V, 0, N_SAMPLES // (2 * V))


@kernel(entry=True)
def neurons_on_lanes(p):
    Delta = task.neurons(p.model, p.work.delta, 1, 2 * p.V)
    Delta_rows = task.panels(p.model, p.work.delta_rows, 1)
    layers.neurons_on_lanes(Delta, Delta_rows, p.model.layers[1]["width"], all_strips(p.V))


@kernel(entry=True)
def tiled_weighted_input(p):
    W, b = task.weights(p.model, p.theta, 1), task.biases(p.model, p.theta, 1)
    A = task.neurons(p.model, p.work.a, 0, 2 * p.V)
    Z = task.neurons(p.model, p.work.z, 1, 2 * p.V)
    n_in, n_l = p.model.layers[0]["width"], p.model.layers[1]["width"]
    equations.weighted_input(W, b, A, Z, n_in, n_l, all_strips(p.V))


@kernel(entry=True)
def tiled_output_error(p):
    lanes, layer = 2 * p.V, p.model.layers[1]
    for s in range(all_strips(p.V).last):
        z, a, delta, y = layers.outputs(p.model, p.work, s, lanes)
        equations.output_error(layer, p.model.cost, z, a, y, delta, lanes)


@kernel(entry=True)
def tiled_hidden_error(p):
    lanes, below, above = 2 * p.V, p.model.layers[0], p.model.layers[1]
    here = task.layer_of(p.model, p.work, 0, lanes)
    Delta_next = task.neurons(p.model, p.work.delta, 1, lanes)
    W, none = task.weights(p.model, p.theta, 1), product.Matrix(p.work.zeros, 0, 0)
    equations.hidden_error(below, above, W, Delta_next, here, none, all_strips(p.V))


@kernel(entry=True)
def tiled_weight_gradient(p):
    A, G = task.neurons(p.model, p.work.a, 0, 2 * p.V), task.weights(p.model, p.gradient, 1)
    Delta_rows = task.panels(p.model, p.work.delta_rows, 1)
    n_in, n_l = p.model.layers[0]["width"], p.model.layers[1]["width"]
    into = product.Into(G, p.V < 0, p.theta.dtype.type(1))
    equations.weight_gradient(
        A, Delta_rows, into, N_SAMPLES, n_l, 0, product.up(n_in, tiles.ROW_UNIT)
    )


@kernel(entry=True)
def tiled_bias_gradient(p):
    stride, start = p.model.layers[1]["stride"], p.model.layers[1]["bias_start"]
    Delta_rows = task.panels(p.model, p.work.delta_rows, 1)
    g = p.gradient[start : start + stride]
    equations.bias_gradient(Delta_rows, N_SAMPLES, g, p.V < 0)


# These kernels take one sample, so each has a compiled loop over the batch, as in the engine.


@kernel(entry=True)
def weighted_input(A_in, W, b, Z):
    for i in range(Z.shape[0]):
        loops.weighted_input(A_in[i], W, b, Z[i])


@kernel(entry=True)
def output_error(model, Z, A, Y, Delta):
    for i in range(Z.shape[0]):
        loops.output_error(model.layers[1], model.cost, Z[i], A[i], Y[i], Delta[i])


@kernel(entry=True)
def hidden_error(model, W, Delta, Z_in, A_in, Delta_in):
    for i in range(Delta.shape[0]):
        loops.hidden_error(model.layers[1], W, Delta[i], Z_in[i], A_in[i], Delta_in[i])


@kernel(entry=True)
def weight_gradient(A_in, Delta, G):
    for i in range(Delta.shape[0]):
        loops.weight_gradient(A_in[i], Delta[i], G)


@kernel(entry=True)
def bias_gradient(Delta, g):
    for i in range(Delta.shape[0]):
        loops.bias_gradient(Delta[i], g)


def prepared(layer, engine):
    """The second argument of the calls below."""
    if engine == "tiles":
        return make_tiled(layer)
    return loops.model(Layout(layer.W.shape), [SIGMA], COST, layer.W.dtype)


# equation -> engine -> the call; q is a Layer, p a Tiled, or the Model of the loops
EQUATIONS = {
    "0 weighted_input": {
        "tiles": lambda q, p: tiled_weighted_input(p),
        "loops": lambda q, p: weighted_input(q.A_in, q.W, q.b, q.Z),
        "numpy": lambda q, p: loopfree.weighted_input(q.A_in, q.W, q.b),
    },
    "1 output_error": {
        "tiles": lambda q, p: tiled_output_error(p),
        "loops": lambda q, p: output_error(p, q.Z, q.A, q.Y, q.Delta),
        "numpy": lambda q, p: loopfree.output_error(SIGMA, COST, q.Z, q.A, q.Y),
    },
    "2 hidden_error": {
        "tiles": lambda q, p: tiled_hidden_error(p),
        "loops": lambda q, p: hidden_error(p, q.W, q.Delta, q.Z_in, q.A_in, q.Delta_in),
        "numpy": lambda q, p: loopfree.hidden_error(SIGMA, q.W, q.Delta, q.Z_in, q.A_in),
    },
    "3 weight_gradient": {
        "tiles": lambda q, p: tiled_weight_gradient(p),
        "loops": lambda q, p: weight_gradient(q.A_in, q.Delta, q.G),
        "numpy": lambda q, p: loopfree.weight_gradient(q.A_in, q.Delta),
    },
    "4 bias_gradient": {
        "tiles": lambda q, p: tiled_bias_gradient(p),
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
        self.of_engine = prepared(self.layer, engine)
        self.compute(self.layer, self.of_engine)

    def time_equation(self, equation, engine, shape, dtype):
        self.compute(self.layer, self.of_engine)
