"""Networks from ONNX models: dense ones, of any tool."""

from __future__ import annotations

import contextlib
import json
import os
from types import ModuleType
from typing import Any

import numpy as np

from fastbackprop import inputs
from fastbackprop.formats import saved
from fastbackprop.formats.dense import activation as named
from fastbackprop.formats.dense import dense, layer_norm
from fastbackprop.functions import ACTIVATIONS
from fastbackprop.network import Network
from fastbackprop.onnx.export import KEY, the_package
from fastbackprop.onnx.operators import COMMUTATIVE, LAYER_NORM, Op, P, Z, ways

MAX_PARAMETERS = 10_000_000  # of a model whose file has fewer numbers


def load(
    path: str | os.PathLike[str], *, max_parameters: int | None = None, **options: Any
) -> Network:
    """The network of an ONNX file, from whatever tool, where it is a dense one.

    That is one input, one output, and between them a chain of linear layers (Gemm, MatMul, or
    MatMul and Add), each followed by one of our activations, in any form that `operators.ways`
    has, or by none, and before that by a LayerNormalization that does not scale and shift, or by
    none. Identity, Dropout and Flatten in between are passed over.

    Parameters
    ----------
    path : str or path-like
    max_parameters : int or None
        Nodes may share a weight, so a small file can ask for a network of any size. None: as many
        as the file has numbers, or ten million if that is more.
    **options
        `Network`'s; they replace arguments that were read. A file of ours knows its cost; of
        others, give `cost`, and `output="softmax"` where the softmax is not in the file.

    Raises
    ------
    ImportError
        Without the onnx package (the extra `onnx`).
    ValueError
        For a file that is not a valid model, or one that is something else than a dense network:
        the message names the node. For a network of more than `max_parameters`. And for one of
        ours with a cost of your own, unless `cost` is given.
    """
    onnx = the_package()
    if max_parameters is not None:
        inputs.positive_integer(max_parameters, "max_parameters")
    from google.protobuf.message import DecodeError

    path = inputs.file_path(path, "path")
    if path.exists() and not path.is_file():
        raise ValueError(f"{str(path)!r} is a device or a pipe, which may never end: copy the file")
    try:
        proto = onnx.load(path)
        onnx.checker.check_model(proto)
    except (DecodeError, UnicodeDecodeError, onnx.checker.ValidationError) as error:
        raise ValueError(f"{os.fspath(path)!r} is not a valid ONNX model: {error}") from None
    reader = _Reader(onnx, proto, max_parameters)
    layers, sigma = reader.layers()
    if "cost" not in options:
        options |= _cost(proto)
    return Network.from_dense(dense(layers, sigma, options, "the model"))


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

    def __init__(self, onnx: ModuleType, proto: Any, max_parameters: int | None) -> None:
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
        stored = sum(constant.size for constant in self.constants.values())
        self.most = max_parameters or max(stored, MAX_PARAMETERS)

    def array(self, tensor: Any) -> np.ndarray:
        """The values of a tensor; of a type that there is not, the checker says nothing."""
        try:
            values: np.ndarray = self.onnx.numpy_helper.to_array(tensor)
        except KeyError:
            raise ValueError(
                f"the tensor {tensor.name!r} has type number {tensor.data_type}, which is unknown"
            ) from None
        return values

    def layers(self) -> tuple[list[Any], list[Any]]:
        """(W, b) of each linear layer, and the activation after it."""
        layers, sigma, n_parameters = [], [], 0
        a = self.source(self.output)
        while a != self.input:
            name, p, z = self.activation(a)
            activation: Any = named(name, p)
            for way in LAYER_NORM:
                if (found := self.match(way, z, {})) is not None:
                    activation, z = layer_norm(activation, found[P]), found[Z]
                    break
            a, W, b = self.linear(z)
            n_parameters += W.size + b.size
            if n_parameters > self.most:
                raise ValueError(
                    f"the model shares weights between its nodes, and asks for more than "
                    f"{self.most} parameters: pass max_parameters= if that is meant"
                )
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
        for name, way in ways():
            found = self.match(way, a, {})
            if found is not None:
                p = (found[P],) if P in found else ACTIVATIONS[name].p
                return name, p, found[Z]
        raise AssertionError("every value is the identity of itself")

    def match(self, way: Any, name: str, found: dict[str, Any]) -> dict[str, Any] | None:
        """Z and P of this expression, if the value is one; else None."""
        name = self.source(name)
        if way is Z:
            return {Z: name, **found} if found.get(Z, name) == name else None
        if not isinstance(way, Op):
            constant = self.constants.get(name)
            if constant is None or not constant.size:
                return None
            if constant.size > 1 and (constant.ndim > 1 or np.ptp(constant) != 0):
                return None  # not even equal numbers, unless in one dimension
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
        return value.decode(errors="replace") if isinstance(value, bytes) else value

    def matrix(self, name: str, node: Any) -> np.ndarray:
        """The weights of a linear layer; the checker does not look at their shape."""
        W = self.constants[name]
        if W.ndim != 2 or not W.size:
            raise ValueError(
                f"the node {node.name!r} ({node.op_type}) must multiply by a matrix; it has "
                f"{name!r} of shape {W.shape}"
            )
        return W

    def linear(self, name: str) -> tuple[str, np.ndarray, np.ndarray]:
        """Input, W and b of the linear layer whose value this is. Raises ValueError."""
        node = self.nodes.get(name)
        if node is not None and node.op_type == "Gemm":
            options = self.attributes(node)
            a, W, *b = node.input
            if W in self.constants and not options["transA"] and set(b) <= self.constants.keys():
                weights = self.matrix(W, node)
                weights = weights.T if options["transB"] else weights
                biases = self.constants[b[0]] if b else np.zeros(1, weights.dtype)
                return a, options["alpha"] * weights, _bias(options["beta"] * biases, weights, node)
        if node is not None and node.op_type == "Add":
            for value, b in (node.input, node.input[::-1]):
                product = self.nodes.get(self.source(value))
                if b in self.constants and product is not None and product.op_type == "MatMul":
                    a, W, _ = self.linear(product.output[0])
                    return a, W, _bias(self.constants[b], W, node)
        if node is not None and node.op_type == "MatMul":
            a, W = node.input
            if W in self.constants:
                weights = self.matrix(W, node)
                return a, weights, np.zeros(weights.shape[-1], weights.dtype)
        known = ", ".join(ACTIVATIONS)
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


def _bias(b: np.ndarray, W: np.ndarray, node: Any) -> np.ndarray:
    """b, which may be one number, (n_l,) or (1, n_l), as (n_l,)."""
    try:
        bias: np.ndarray = np.broadcast_to(b, (1, W.shape[-1]))[0]
        return bias
    except ValueError:
        raise ValueError(
            f"the node {node.name!r} ({node.op_type}) adds values of shape {b.shape} to "
            f"{W.shape[-1]} outputs: expected one for each"
        ) from None
