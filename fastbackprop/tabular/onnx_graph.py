"""The whole model, preprocessing included, as one ONNX model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbackprop import inputs
from fastbackprop.formats import atomic
from fastbackprop.network import Network
from fastbackprop.onnx.export import OPSET, Writer, the_package
from fastbackprop.tabular.blend import LEAST
from fastbackprop.tabular.frames import DATE, NUMBER
from fastbackprop.version import __version__

ML = "ai.onnx.ml", 3  # the domain of LabelEncoder, and its version


def write_onnx(
    model: dict[str, Any], networks: Sequence[Network], path: str | os.PathLike[str]
) -> None:
    """Write the file; `model` is that of `standalone.outputs`, without its networks.

    Raises ImportError, ValueError for dates, OSError.
    """
    dates = [name for name, kind in model["kinds"].items() if kind == DATE]
    if dates:
        raise ValueError(
            f"ONNX has no dates: train on the parts of {', '.join(map(repr, dates))} as numbers, "
            f"such as X['year'] = X[{dates[0]!r}].dt.year, or use write_numpy"
        )
    taken = {"prediction", "probabilities"} & {n for n, kind in model["kinds"].items() if kind}
    if taken:
        raise ValueError(
            f"{', '.join(map(repr, sorted(taken)))} is the name of an output: rename the column"
        )
    onnx = the_package()
    writer = Writer(onnx, np.dtype(np.float32), prefix="fastbackprop/")
    graph = _Graph(writer, model)
    results = graph.results(graph.mean(graph.features(), networks))
    atomic.write(
        inputs.file_of(path, np.zeros(0)),
        [_proto(onnx, writer, graph.inputs(), results).SerializeToString()],
    )


def _proto(onnx: Any, writer: Writer, ends: list[Any], results: list[Any]) -> Any:
    """The ModelProto, checked."""
    make = onnx.helper
    constants = list(writer.constants.values())
    opsets = [make.make_opsetid("", OPSET), make.make_opsetid(*ML)]
    proto = make.make_model(
        make.make_graph(writer.nodes, "tabular", ends, results, constants),
        opset_imports=opsets,
        ir_version=make.find_min_ir_version_for(opsets),
        producer_name="fastbackprop",
        producer_version=__version__,
    )
    onnx.checker.check_model(proto, full_check=True)
    return proto


class _Graph:
    """The nodes of a model."""

    def __init__(self, writer: Writer, model: dict[str, Any]) -> None:
        self.writer, self.model, self.plan = writer, model, model["plan"]
        self._n_constants = 0

    def inputs(self) -> list[Any]:
        """An input for each column that is used."""
        proto = self.writer.onnx.TensorProto
        make = self.writer.onnx.helper.make_tensor_value_info
        return [
            make(name, proto.DOUBLE if kind == NUMBER else proto.STRING, ["n_samples", 1])
            for name, kind in self.model["kinds"].items()
            if kind is not None
        ]

    def constant(self, values: Any, dtype: Any) -> str:
        """A constant with a name of its own."""
        self._n_constants += 1
        return self.writer.constant(values, f"c{self._n_constants}", np.dtype(dtype))

    def double(self, values: Any) -> str:
        """A row of float64."""
        return self.constant(np.atleast_2d(values), np.float64)

    def cast(self, name: str, dtype: Any) -> str:
        """To another type."""
        to = self.writer.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.writer.node("Cast", [name], to=to)

    def features(self) -> str:
        """`features.feature_matrix`; returns its name."""
        blocks = self._of_numbers() if self.plan["sources"] else []
        for category in self.plan["categories"]:
            n = len(category["levels"])
            code = self.writer.node(
                "LabelEncoder",
                [category["column"]],
                domain=ML[0],
                keys_strings=category["levels"],
                values_int64s=list(range(n)),
                default_int64=n,
            )
            table = self.constant(category["table"], np.float32)
            rows = self.writer.node("Gather", [table, code])
            blocks.append(self._flat(rows))
        return self.writer.node("Concat", blocks, axis=1)

    def _flat(self, name: str) -> str:
        return self.writer.node("Reshape", [name, self.constant([0, -1], np.int64)])

    def _of_numbers(self) -> list[str]:
        plan, node = self.plan, self.writer.node
        N = node("Concat", [name for name, _ in plan["sources"]], axis=1)
        D = node("Div", [node("Sub", [N, self.double(plan["low"])]), self.double(plan["unit"])])
        one = self.double([1.0])
        log = node("Log", [node("Add", [one, node("Abs", [D])])])
        log = node("Mul", [node("Sign", [D]), log])
        x = node("Where", [self.constant(plan["log"][None], bool), log, N])
        x = node("Mul", [node("Sub", [x, self.double(plan["shift"])]), self.double(plan["scale"])])
        missing = node("IsNaN", [N])
        x = node("Where", [missing, self.double([0.0]), x])
        third = node("Div", [x, self.double([3.0])])
        root = node("Sqrt", [node("Add", [one, node("Mul", [third, third])])])
        x = self.cast(node("Div", [x, root]), np.float32)
        blocks = [x]
        if len(plan["gaps"]):
            gaps = self.constant(plan["gaps"], np.int64)
            blocks.append(node("Gather", [self.cast(missing, np.float32), gaps], axis=1))
        if plan["w"].size:
            waves = node("Gather", [x, self.constant(plan["waves"], np.int64)], axis=1)
            waves = node("Unsqueeze", [waves, self.constant([2], np.int64)])
            waves = node("Mul", [waves, self.constant(plan["w"][None], np.float32)])
            waves = node("Add", [waves, self.constant(plan["b"][None], np.float32)])
            blocks.append(self._flat(node("Cos", [waves])))
        return blocks

    def mean(self, F: str, networks: Sequence[Network]) -> str:
        """The networks' outputs times their shares, summed: float64."""
        parts = [
            self.writer.node(
                "Mul",
                [
                    self.cast(self.writer.layers(network, F, f"network{k}_"), np.float64),
                    self.double([share]),
                ],
            )
            for k, (network, share) in enumerate(
                zip(networks, self.model["shares"], strict=True), 1
            )
        ]
        return self.writer.node("Sum", parts)

    def results(self, mean: str) -> list[Any]:
        """The outputs of the graph."""
        make, node = self.writer.onnx.helper, self.writer.node
        if self.model["power"] is None:
            center, width, low, high = self.model["scaling"]
            Y = node("Add", [node("Mul", [mean, self.double(width)]), self.double(center)])
            Y = node("Min", [node("Max", [Y, self.double(low)]), self.double(high)])
            return [self._result(Y, "prediction", np.float64, len(center))]
        classes = np.asarray(self.model["classes"])
        P = node("Max", [mean, self.double([LEAST])])
        P = node("Pow", [P, self.double([self.model["power"]])])
        total = node("ReduceSum", [P, self.constant([1], np.int64)], keepdims=1)
        P = node("Div", [P, total])
        best = node("ArgMax", [P], axis=1, keepdims=0)
        is_text = classes.dtype.kind in "OU"
        if is_text:
            tensor = make.make_tensor(
                "fastbackprop/classes",
                self.writer.onnx.TensorProto.STRING,
                [len(classes)],
                [str(c).encode() for c in classes.tolist()],
            )
            self.writer.constants[tensor.name] = tensor
            label = node("Gather", [tensor.name, best])
        else:
            kind = np.float64 if classes.dtype.kind == "f" else np.int64
            label = node("Gather", [self.constant(classes.astype(kind), kind), best])
        return [
            self._result(label, "prediction", str if is_text else kind, None),
            self._result(P, "probabilities", np.float64, len(classes)),
        ]

    def _result(self, name: str, output: str, dtype: Any, width: int | None) -> Any:
        make, proto = self.writer.onnx.helper, self.writer.onnx.TensorProto
        self.writer.nodes.append(make.make_node("Identity", [name], [output]))
        to = proto.STRING if dtype is str else make.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return make.make_tensor_value_info(
            output, to, ["n_samples", *([] if width is None else [width])]
        )
