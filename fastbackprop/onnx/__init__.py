"""ONNX: networks to files that other runtimes run, and dense networks of other tools from theirs.

One table, `FUNCTIONS`, says what each activation is in ONNX's operators. It is read both ways: to
write a graph, and to recognise an activation in one.
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from types import ModuleType
from typing import Any

import numpy as np

from fastbackprop import inputs
from fastbackprop.formats import atomic, dense, saved
from fastbackprop.formats.dense import P
from fastbackprop.functions.activations import ACTIVATIONS
from fastbackprop.network import Network

OPSET = 17  # of 2022; a later one only where an operator asks for it
KEY = "fastbackprop"  # of the architecture in a model's metadata


class Op:
    """An operator on inputs: `Z`, numbers, parameters or other operators."""

    def __init__(self, type: str, *inputs: Any, **attributes: Any) -> None:
        self.type, self.inputs, self.attributes = type, inputs, attributes


Z = "z"  # the weighted input

_cube = Op("Mul", Z, Op("Mul", Z, Z))
_gelu_tanh = Op("Tanh", Op("Mul", (2 / np.pi) ** 0.5, Op("Add", Z, Op("Mul", 0.044715, _cube))))
_hard_sigmoid = Op("Div", Op("Clip", Op("Add", Z, 3.0), 0.0, 6.0), 6.0)

# The first way is how an activation is written; all are recognised. A product's and a sum's inputs
# may come in either order. Attributes are float32: the first ways of leaky_relu and its kin have
# their numbers as constants, so that float64 is float64.
FUNCTIONS: dict[str, list[Any]] = {
    "sigmoid": [Op("Sigmoid", Z)],
    "tanh": [Op("Tanh", Z)],
    "relu": [Op("Relu", Z), Op("Max", Z, 0.0)],
    "leaky_relu": [
        Op("Where", Op("Greater", Z, 0.0), Z, Op("Mul", P, Z)),
        Op("LeakyRelu", Z, alpha=P),
        Op("PRelu", Z, P),
    ],
    "elu": [Op("Elu", Z, alpha=P)],
    "celu": [Op("Mul", P, Op("Elu", Op("Div", Z, P), alpha=1.0)), Op("Celu", Z, alpha=P)],
    "selu": [Op("Selu", Z)],
    "softplus": [Op("Softplus", Z)],
    "gelu": [  # as PyTorch writes it
        Op("Mul", 0.5, Op("Mul", Z, Op("Add", 1.0, Op("Erf", Op("Div", Z, 2**0.5))))),
        Op("Mul", 0.5, Op("Mul", Z, Op("Add", 1.0, Op("Erf", Op("Mul", Z, 0.5**0.5))))),
        Op("Gelu", Z, approximate="none"),
    ],
    "gelu_tanh": [
        Op("Mul", 0.5, Op("Mul", Z, Op("Add", 1.0, _gelu_tanh))),
        Op("Gelu", Z, approximate="tanh"),
    ],
    "silu": [Op("Mul", Z, Op("Sigmoid", Z)), Op("Swish", Z, alpha=1.0)],
    "mish": [Op("Mul", Z, Op("Tanh", Op("Softplus", Z))), Op("Mish", Z)],
    "softsign": [Op("Div", Z, Op("Add", 1.0, Op("Abs", Z))), Op("Softsign", Z)],
    "hard_sigmoid": [_hard_sigmoid, Op("HardSigmoid", Z, alpha=1 / 6, beta=0.5)],
    "hard_swish": [
        Op("Mul", Z, _hard_sigmoid),
        Op("HardSwish", Z),
        Op("Mul", Z, Op("HardSigmoid", Z, alpha=1 / 6, beta=0.5)),
    ],
    "hard_tanh": [Op("Clip", Z, -1.0, 1.0)],
    "relu6": [Op("Clip", Z, 0.0, 6.0)],
    "sin": [Op("Sin", Z)],
    "gaussian": [Op("Exp", Op("Neg", Op("Mul", Z, Z)))],
    "exp": [Op("Exp", Z)],
    "softmax": [Op("Softmax", Z, axis=-1), Op("Softmax", Z, axis=1)],
    "log_softmax": [
        Op("LogSoftmax", Z, axis=-1),
        Op("LogSoftmax", Z, axis=1),
        Op("Log", Op("Softmax", Z, axis=-1)),
    ],
    "identity": [Z],
}

# Before an activation. Its scale is a row of ones, and P is epsilon, in float32.
LAYER_NORM = [
    Op("LayerNormalization", Z, 1.0, *shift, axis=axis, epsilon=P)
    for shift in ([], [0.0])
    for axis in (-1, 1)
]

COMMUTATIVE = {"Add", "Mul", "Max"}

# Of those written, what ONNX Runtime's CPU provider (1.32) has for float32 alone.
SINGLE = {"Elu", "Softplus", "Erf", "Selu"}


def _onnx() -> Any:
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise ImportError(
            'ONNX needs the onnx package: pip install "fastbackprop[onnx]"'
        ) from error
    return onnx


# --- export --------------------------------------------------------------------------------------


def export(network: Network, path: str | os.PathLike[str]) -> None:
    """Write the network as an ONNX model: input X, (n_samples, n_0), output Y, (n_samples, n_L).

    The number of samples is free; the opset is 17, or the lowest that has every operator; weights
    and arithmetic are of the network's dtype. The sizes, the functions' names, the cost and the
    dtype are in the metadata, as JSON under the key "fastbackprop". The file is written in one
    piece or not at all.

    Parameters
    ----------
    network : Network
    path : str or path-like
        Replaced where it exists.

    Raises
    ------
    ImportError
        Without the onnx package (the extra `onnx`).
    ValueError
        For parameters that are not finite, or an activation that `FUNCTIONS` lacks.
    OSError
        Where the file cannot be written; what was there is still there then.

    Warns
    -----
    UserWarning
        For a float64 network with an operator that ONNX Runtime has in float32 alone, with its
        name. The file is valid, and written.
    """
    file = inputs.file_of(path, network.get_parameters())
    atomic.write(file, [model(network).SerializeToString()])


def model(network: Network) -> Any:
    """The ONNX model, a ModelProto, that `export` writes; warnings are the same."""
    onnx = _onnx()
    graph = _Writer(onnx, network.dtype)
    a, layers = "X", zip(network.weights, network.biases, network.machine.sigma, strict=True)
    for l, (W, b, sigma) in enumerate(layers, 1):
        way = dense.entry(FUNCTIONS, sigma.inner, "ONNX")[0]
        weights = [graph.constant(W, f"W{l}"), graph.constant(b, f"b{l}")]
        z = graph.node("Gemm", [a, *weights])
        if sigma.normalised:
            ones = graph.constant(np.ones(len(b)), f"ones{l}")
            z = graph.node("LayerNormalization", [z, ones], axis=-1, epsilon=sigma.epsilon)
        a = graph.write(way, z, sigma.p)
    graph.nodes.append(onnx.helper.make_node("Identity", [a], ["Y"]))
    lacking = SINGLE & {node.op_type for node in graph.nodes}
    if network.dtype == np.float64 and lacking:
        warnings.warn(
            f"ONNX Runtime has no float64 kernel for {', '.join(sorted(lacking))}: the model is "
            f"valid, but runs there only from a float32 network",
            stacklevel=3,
        )
    return graph.model(network)


class _Writer:
    """Nodes and constants of a graph."""

    def __init__(self, onnx: ModuleType, dtype: np.dtype) -> None:
        self.onnx, self.dtype = onnx, dtype
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def constant(self, values: Any, name: str) -> str:
        array = np.ascontiguousarray(values, self.dtype).reshape(np.shape(values))
        self.constants[name] = self.onnx.numpy_helper.from_array(array, name)
        return name

    def node(self, type: str, inputs: list[str], **attributes: Any) -> str:
        name = f"{type}_{len(self.nodes) + 1}"
        node = self.onnx.helper.make_node(type, inputs, [name], name=name, **attributes)
        self.nodes.append(node)
        return name

    def write(self, way: Any, z: str, p: tuple[float, ...]) -> str:
        """The nodes of an entry of `FUNCTIONS`; returns the name of the last one's output."""
        if way is Z:
            return z
        if way is P:
            way = p[0]
        if isinstance(way, float):
            return self.constant(way, f"constant_{way!r}")
        attributes = {key: p[0] if value is P else value for key, value in way.attributes.items()}
        return self.node(way.type, [self.write(i, z, p) for i in way.inputs], **attributes)

    def model(self, network: Network) -> Any:
        from fastbackprop import __version__

        make, defs = self.onnx.helper, self.onnx.defs
        number = make.np_dtype_to_tensor_dtype(self.dtype)
        ends = [
            make.make_tensor_value_info(name, number, ["n_samples", n])
            for name, n in (("X", network.sizes[0]), ("Y", network.sizes[-1]))
        ]
        constants = list(self.constants.values())
        graph = make.make_graph(self.nodes, "network", ends[:1], ends[1:], constants)
        opset = OPSET
        while not all(defs.has(node.op_type, opset, "") for node in self.nodes):
            opset += 1
        opsets = [make.make_opsetid("", opset)]
        model = make.make_model(
            graph,
            opset_imports=opsets,
            ir_version=make.find_min_ir_version_for(opsets),
            producer_name="fastbackprop",
            producer_version=__version__,
        )
        architecture = saved.architecture(network)
        del architecture["engine"]  # no matter of other runtimes
        make.set_model_props(model, {KEY: json.dumps(architecture)})
        self.onnx.checker.check_model(model, full_check=True)
        return model


# --- import --------------------------------------------------------------------------------------


def load(path: str | os.PathLike[str], **options: Any) -> Network:
    """The network of an ONNX file, from whatever tool, where it is a dense one.

    That is one input, one output, and between them a chain of linear layers (Gemm, MatMul, or
    MatMul and Add), each followed by one of our activations, in any way of writing it that
    `FUNCTIONS` has, or by none, and before that by a LayerNormalization that does not scale and
    shift, or by none. Identity, Dropout and Flatten in between are passed over.

    Parameters
    ----------
    path : str or path-like
    **options
        `Network`'s, which go before what was read. A file of ours knows its cost; of others, give
        `cost`, and `output="softmax"` where the softmax is not in the file.

    Raises
    ------
    ImportError
        Without the onnx package (the extra `onnx`).
    ValueError
        For a file that is not a valid model, or one that is something else than a dense network:
        the message names the node. And for one of ours with a cost of your own, unless `cost` is
        given.
    """
    onnx = _onnx()
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load(path)
        onnx.checker.check_model(proto)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise ValueError(f"{os.fspath(path)!r} is not a valid ONNX model: {error}") from None
    reader = _Reader(onnx, proto)
    layers, sigma = reader.layers()
    if "cost" not in options:
        options |= _cost(proto)
    return Network._from_dense(dense.dense(layers, sigma, options, "the model"))


def _cost(proto: Any) -> dict[str, Any]:
    """The cost, of a file of ours."""
    for entry in proto.metadata_props:
        if entry.key == KEY:
            with contextlib.suppress(json.JSONDecodeError):
                architecture = json.loads(entry.value)
                if isinstance(architecture, dict) and "cost" in architecture:
                    return {"cost": saved.function(architecture["cost"], "cost")}
    return {}


class _Reader:
    """A graph, read backwards from its output."""

    def __init__(self, onnx: ModuleType, proto: Any) -> None:
        self.onnx, graph = onnx, proto.graph
        self.opset = max(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx"))
        self.constants = {tensor.name: self.array(tensor) for tensor in graph.initializer}
        self.nodes = {name: node for node in graph.node for name in node.output}
        for node in graph.node:
            for attribute in node.attribute:
                if node.op_type == "Constant" and attribute.name == "value":
                    self.constants[node.output[0]] = self.array(attribute.t)
        inputs = [i.name for i in graph.input if i.name not in self.constants]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise ValueError(
                f"the model must have one input and one output; it has the inputs {inputs} and "
                f"the outputs {[o.name for o in graph.output]}"
            )
        self.input, self.output = inputs[0], graph.output[0].name

    def array(self, tensor: Any) -> np.ndarray:
        """The values of a tensor; of a type that there is not, the checker says nothing."""
        try:
            values: np.ndarray = self.onnx.numpy_helper.to_array(tensor)
        except KeyError:
            raise ValueError(
                f"the tensor {tensor.name!r} has type number {tensor.data_type}, which is none"
            ) from None
        return values

    def layers(self) -> tuple[list[Any], list[Any]]:
        """(W, b) of each linear layer, and the activation after it."""
        layers, sigma = [], []
        a = self.source(self.output)
        while a != self.input:
            name, p, z = self.activation(a)
            activation: Any = dense.activation(name, p)
            for way in LAYER_NORM:
                if (found := self.match(way, z, {})) is not None:
                    activation, z = dense.layer_norm(activation, found[P]), found[Z]
                    break
            a, W, b = self.linear(z)
            layers.append((W, b))
            sigma.append(activation)
            a = self.source(a)
        return layers[::-1], sigma[::-1]

    def source(self, name: str) -> str:
        """Where a value comes from that some nodes only pass on."""
        while (node := self.nodes.get(name)) and (
            (node.op_type == "Identity")
            or (node.op_type == "Dropout" and len(node.input) < 3)
            or (node.op_type == "Flatten" and self.attributes(node)["axis"] == 1)
        ):
            name = node.input[0]
        return name

    def activation(self, a: str) -> tuple[str, tuple[float, ...], str]:
        """Name, parameters and weighted input of the activation whose value this is."""
        for name, ways in FUNCTIONS.items():
            for way in ways:
                found = self.match(way, a, {})
                if found is not None and name in ACTIVATIONS:
                    p = (found[P],) if P in found else ACTIVATIONS[name].p
                    return name, p, found[Z]
        raise AssertionError("identity is whatever is no other activation")

    def match(self, way: Any, name: str, found: dict[str, Any]) -> dict[str, Any] | None:
        """What Z and P are, if the value is this expression; else None."""
        name = self.source(name)
        if way is Z:
            return {Z: name, **found} if found.get(Z, name) == name else None
        if not isinstance(way, Op):
            constant = self.constants.get(name)
            if constant is None or not constant.size:
                return None
            if constant.size > 1 and (constant.ndim > 1 or np.ptp(constant) != 0):
                return None  # no row of equal numbers either
            return _bind(way, constant.flat[0].item(), found)
        node = self.nodes.get(name)
        if node is None or node.op_type != way.type or node.domain not in ("", "ai.onnx"):
            return None
        actual, expected = self.attributes(node), self.defaults(way.type) | way.attributes
        if actual.keys() != expected.keys() or len(node.input) != len(way.inputs):
            return None
        bound: dict[str, Any] | None = found
        for key in expected:
            bound = None if bound is None else _bind(expected[key], actual[key], bound)
        orders = [way.inputs] + ([way.inputs[::-1]] if way.type in COMMUTATIVE else [])
        for order in orders:
            result = bound
            for part, value in zip(order, node.input, strict=True):
                result = None if result is None else self.match(part, value, result)
            if result is not None:
                return result
        return None

    def defaults(self, type: str) -> dict[str, Any]:
        """The attributes of an operator that is not told otherwise."""
        try:
            schema = self.onnx.defs.get_schema(type, self.opset, "")
        except self.onnx.defs.SchemaError:
            return {}
        defaults = {key: attribute.default_value for key, attribute in schema.attributes.items()}
        return {key: self.value(value) for key, value in defaults.items() if value.type}

    def attributes(self, node: Any) -> dict[str, Any]:
        """The attributes of a node, defaults included."""
        given = {attribute.name: self.value(attribute) for attribute in node.attribute}
        return self.defaults(node.op_type) | given

    def value(self, attribute: Any) -> Any:
        value = self.onnx.helper.get_attribute_value(attribute)
        return value.decode() if isinstance(value, bytes) else value

    def linear(self, name: str) -> tuple[str, np.ndarray, np.ndarray]:
        """Input, W and b of the linear layer whose value this is. Raises ValueError."""
        node = self.nodes.get(name)
        if node is not None and node.op_type == "Gemm":
            options = self.attributes(node)
            a, W, *b = node.input
            if W in self.constants and not options["transA"] and set(b) <= self.constants.keys():
                weights = self.constants[W].T if options["transB"] else self.constants[W]
                biases = self.constants[b[0]] if b else np.zeros(1, weights.dtype)
                return a, options["alpha"] * weights, _row(options["beta"] * biases, weights, node)
        if node is not None and node.op_type == "Add":
            for value, b in (node.input, node.input[::-1]):
                product = self.nodes.get(self.source(value))
                if b in self.constants and product is not None and product.op_type == "MatMul":
                    a, W, _ = self.linear(product.output[0])
                    return a, W, _row(self.constants[b], W, node)
        if node is not None and node.op_type == "MatMul":
            a, W = node.input
            if W in self.constants:
                weights = self.constants[W]
                return a, weights, np.zeros(weights.shape[-1], weights.dtype)
        known = ", ".join(name for name in FUNCTIONS if name in ACTIVATIONS)
        what = f"the value {name!r}" if node is None else f"the node {node.name!r} ({node.op_type})"
        raise ValueError(
            f"{what} is not part of a dense network: expected was Gemm, MatMul, or MatMul and Add, "
            f"with constant weights, and after it one of the activations {known}, or none; before "
            f"that, LayerNormalization with a scale of ones and no shift"
        )


def _bind(way: Any, value: Any, found: dict[str, Any]) -> dict[str, Any] | None:
    """`found`, with P if the way is P, where the value agrees; else None."""
    expected = found.get(P, value) if way is P else way
    if isinstance(expected, float):
        agrees = bool(np.isclose(value, expected, rtol=1e-6, atol=0))
    else:
        agrees = value == expected
    return None if not agrees else {P: value, **found} if way is P else found


def _row(b: np.ndarray, W: np.ndarray, node: Any) -> np.ndarray:
    """b, which may be one number or a row of a matrix, as (n_l,)."""
    try:
        row: np.ndarray = np.broadcast_to(b, (1, W.shape[-1]))[0]
        return row
    except ValueError:
        raise ValueError(
            f"the node {node.name!r} ({node.op_type}) adds values of shape {b.shape} to "
            f"{W.shape[-1]} outputs: expected one for each"
        ) from None
