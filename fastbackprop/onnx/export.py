"""Networks as ONNX models."""

from __future__ import annotations

import json
import os
import warnings
from types import ModuleType
from typing import Any

import numpy as np

from fastbackprop import inputs
from fastbackprop.formats import atomic, saved
from fastbackprop.formats.dense import Share, Writable, all_parameters, shares
from fastbackprop.formats.expressions import graph as formula
from fastbackprop.functions import LayerNorm
from fastbackprop.names import missing
from fastbackprop.onnx import operators
from fastbackprop.version import __version__

OPSET = 17  # of 2022
KEY = "fastbackprop"  # of the architecture in a model's metadata


def the_package() -> Any:
    """The package onnx. Raises ImportError with the extra that has it."""
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise missing("ONNX needs the onnx package", "onnx") from error
    return onnx


def export(network: Any, path: str | os.PathLike[str]) -> None:
    """Write the network as an ONNX model: input X, (n_samples, n_0), output Y, (n_samples, n_L).

    Y is the output, of an ensemble the mean that its `predict` gives. The number of samples is
    free; the opset is 17; weights
    and arithmetic are of the network's dtype. The sizes, the functions' names, the cost and the
    dtype are in the metadata, as JSON under the key "fastbackprop". The file is written in one
    piece or not at all.

    Parameters
    ----------
    network : Network or Ensemble
    path : str or path-like
        Replaced where it exists.

    Raises
    ------
    ImportError
        Without the onnx package (the extra `onnx`).
    ValueError
        For parameters that are not finite, or an activation of your own whose formula cannot be
        recorded.
    OSError
        Where the file cannot be written; the old one is still there then.

    Warns
    -----
    UserWarning
        For a float64 network with an operator that ONNX Runtime has in float32 alone, with its
        name. The file is valid, and written.
    """
    parts = shares(network)
    file = inputs.file_of(path, all_parameters(parts))
    atomic.write(file, [_model(parts).SerializeToString()])


def model(network: Any) -> Any:
    """The ONNX model, a ModelProto, that `export` writes; warnings are the same."""
    return _model(shares(network))


def _model(parts: list[Share]) -> Any:
    onnx, dtype = the_package(), parts[0].network.dtype
    graph = Writer(onnx, dtype)
    if len(parts) == 1:
        a = graph.layers(parts[0].network)
    else:
        a = graph.mean(parts)
    graph.nodes.append(onnx.helper.make_node("Identity", [a], ["Y"]))
    lacking = operators.SINGLE & {node.op_type for node in graph.nodes}
    if dtype == np.float64 and lacking:
        warnings.warn(
            f"ONNX Runtime has no float64 kernel for {', '.join(sorted(lacking))}: the model is "
            f"valid, but runs there only from a float32 network",
            stacklevel=3,
        )
    return graph.model([part.network for part in parts])


def nodes_of(network: Writable, dtype: np.dtype) -> tuple[list[Any], dict[str, Any], str]:
    """The nodes from "X" to the output, the constants by name, and the name of the output."""
    graph = Writer(the_package(), dtype)
    return graph.nodes, graph.constants, graph.layers(network)


class Writer:
    """Nodes and constants of a graph."""

    def __init__(self, onnx: ModuleType, dtype: np.dtype, prefix: str = "") -> None:
        self.onnx, self.dtype, self._prefix = onnx, dtype, prefix  # of all names
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def mean(self, parts: list[Share]) -> str:
        """The weighted sum of the outputs of several networks; returns its name."""
        terms = []
        for k, (network, weight) in enumerate(parts):
            a = self.layers(network, prefix=f"network{k}_")
            terms.append(self.node("Mul", [a, self.constant(weight, f"weight{k}")]))
        return self.node("Sum", terms)

    def layers(self, network: Writable, a: str = "X", prefix: str = "") -> str:
        """Those of a network, of a; returns the name of its output. Constants get the prefix."""
        layers = zip(network.weights, network.biases, network.machine.sigma, strict=True)
        for l, (W, b, sigma) in enumerate(layers, 1):
            weights = [self.constant(W, f"{prefix}W{l}"), self.constant(b, f"{prefix}b{l}")]
            z = self.node("Gemm", [a, *weights])
            if isinstance(sigma, LayerNorm):
                ones = self.constant(np.ones(len(b)), f"{prefix}ones{l}")
                z = self.node("LayerNormalization", [z, ones], axis=-1, epsilon=sigma.epsilon)
            a = self.write(operators.written(formula(sigma.inner, "ONNX"), self.dtype), z)
        return a

    def constant(self, values: Any, name: str, dtype: np.dtype | None = None) -> str:
        """An array under this name, with the prefix; returns it."""
        array = np.ascontiguousarray(values, dtype or self.dtype).reshape(np.shape(values))
        name = self._prefix + name
        self.constants[name] = self.onnx.numpy_helper.from_array(array, name)
        return name

    def node(self, type: str, inputs: list[str], **attributes: Any) -> str:
        """An operator; returns the name of its output."""
        name = f"{self._prefix}{type}_{len(self.nodes) + 1}"
        node = self.onnx.helper.make_node(type, inputs, [name], name=name, **attributes)
        self.nodes.append(node)
        return name

    def write(self, way: Any, z: str) -> str:
        """The nodes of a tree of operators; returns the name of the last one's output."""
        done: dict[int, str] = {}  # by the id of each operator

        def name(part: Any) -> str:
            if isinstance(part, str):
                return z
            if isinstance(part, float):
                return self.constant(part, f"constant_{part!r}")
            if isinstance(part, np.ndarray):
                return self.constant(part, f"constant_{part.tolist()}", part.dtype)
            if id(part) not in done:
                inputs = [name(of_part) for of_part in part.inputs]
                done[id(part)] = self.node(part.type, inputs, **part.attributes)
            return done[id(part)]

        return name(way)

    def model(self, networks: list[Writable]) -> Any:
        """The ModelProto of these nodes, which are of one network or of several."""
        make, network = self.onnx.helper, networks[0]
        number = make.np_dtype_to_tensor_dtype(self.dtype)
        ends = [
            make.make_tensor_value_info(name, number, ["n_samples", n])
            for name, n in (("X", network.sizes[0]), ("Y", network.sizes[-1]))
        ]
        constants = list(self.constants.values())
        graph = make.make_graph(self.nodes, "network", ends[:1], ends[1:], constants)
        opsets = [make.make_opsetid("", OPSET)]
        model = make.make_model(
            graph,
            opset_imports=opsets,
            ir_version=make.find_min_ir_version_for(opsets),
            producer_name="fastbackprop",
            producer_version=__version__,
        )
        described = [saved.architecture(network) for network in networks]
        for architecture in described:
            del architecture["engine"]  # of no meaning to other runtimes
        said = described if len(networks) > 1 else described[0]
        make.set_model_props(model, {KEY: json.dumps(said)})
        self.onnx.checker.check_model(model, full_check=True)
        return model
