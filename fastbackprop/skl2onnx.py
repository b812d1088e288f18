"""Converters for skl2onnx: a fitted pipeline with our estimators as one ONNX model.

Needs skl2onnx and scikit-learn (the extra `skl2onnx`). `register` is called once in a process.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbackprop.names import missing
from fastbackprop.onnx.export import nodes_of, the_package

try:
    from skl2onnx import update_registered_converter
    from skl2onnx.common.data_types import (
        DoubleTensorType,
        FloatTensorType,
        Int64TensorType,
        guess_proto_type,
    )
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
except ModuleNotFoundError as error:
    raise missing("this needs skl2onnx", "skl2onnx") from error

from fastbackprop.sklearn import MLPClassifier, MLPRegressor

AXES_ARE_INPUTS = 18  # the opset since which they are, of ReduceMax and ReduceMean


def register() -> None:
    """Let skl2onnx convert `fastbackprop.sklearn`'s MLPClassifier and MLPRegressor.

    After it `skl2onnx.to_onnx(pipeline, X[:1])` writes scalers and network into one model. The
    network's arithmetic is of the dtype of the model's input. A regressor of distributions gives
    its `predict`.

    Examples
    --------
    >>> import fastbackprop.skl2onnx
    >>> fastbackprop.skl2onnx.register()
    """
    options = {"zipmap": [True, False, "columns"], "nocl": [True, False]}
    name = "Fastbackprop"
    update_registered_converter(
        MLPClassifier, f"{name}Classifier", _classifier_shapes, _classifier, options=options
    )
    update_registered_converter(MLPRegressor, f"{name}Regressor", _regressor_shapes, _regressor)


def _classifier_shapes(operator: Any) -> None:
    """Labels, (n_samples,) or, of several at once, (n_samples, n_L), and probabilities."""
    calculate_linear_classifier_output_shapes(operator)
    estimator = operator.raw_operator
    if estimator._label_binarizer.y_type_.startswith("multilabel"):
        n = operator.inputs[0].get_first_dimension()
        operator.outputs[0].type = Int64TensorType([n, len(estimator.classes_)])


def _regressor_shapes(operator: Any) -> None:
    """One output of the input's type, (n_samples, n_targets)."""
    double = isinstance(operator.inputs[0].type, DoubleTensorType)
    kind = DoubleTensorType if double else FloatTensorType
    n = operator.inputs[0].get_first_dimension()
    operator.outputs[0].type = kind([n, len(_columns(operator.raw_operator))])


def _columns(estimator: Any) -> list[int]:
    """The outputs of the network that `predict` returns."""
    n = estimator.n_outputs_
    columns: np.ndarray = np.atleast_1d(estimator._predictions(np.arange(n)[None].astype(float))[0])
    return [int(column) for column in columns]


class _Into:
    """Adds nodes to the container of a conversion, under names that nobody else has."""

    def __init__(self, scope: Any, operator: Any, container: Any) -> None:
        self.scope, self.container, self.onnx = scope, container, the_package()
        number = guess_proto_type(operator.inputs[0].type)
        double = number == self.onnx.TensorProto.DOUBLE
        self.dtype = np.dtype(np.float64 if double else np.float32)
        self.number = number if double else self.onnx.TensorProto.FLOAT
        self.x = self.node("Cast", [operator.inputs[0].full_name], to=self.number)

    def node(self, type: str, inputs: list[str], output: str | None = None, **options: Any) -> str:
        output = output or self.scope.get_unique_variable_name(f"fastbackprop_{type}")
        name = self.scope.get_unique_operator_name(f"fastbackprop_{type}")
        self.container.add_node(type, inputs, output, name=name, **options)
        return output

    def constant(self, tensor: Any) -> str:
        name: str = self.scope.get_unique_variable_name(f"fastbackprop_{tensor.name}")
        copy = self.onnx.TensorProto()
        copy.CopyFrom(tensor)
        copy.name = name
        self.container.initializers.append(copy)
        return name

    def array(self, values: Any, name: str) -> str:
        return self.constant(self.onnx.numpy_helper.from_array(np.asarray(values), name))

    def outputs(self, estimator: Any) -> str:
        """The nodes of a^L; of an ensemble, of its mean over the networks."""
        members = getattr(estimator, "estimators_", [estimator])
        total, *others = (self.network(member.network_) for member in members)
        for name in others:  # ONNX Runtime has no Mean of float64
            total = self.node("Add", [total, name])
        share = self.array(np.array(1 / len(members), self.dtype), "share")
        return self.node("Mul", [total, share]) if others else total

    def network(self, network: Any) -> str:
        """The nodes of a network; returns the name of its output."""
        nodes, constants, last = nodes_of(network, self.dtype)
        names = {"X": self.x} | {name: self.constant(t) for name, t in constants.items()}
        for node in nodes:
            options = {a.name: self.onnx.helper.get_attribute_value(a) for a in node.attribute}
            inputs = [names[name] for name in node.input]
            if "axes" in options and self.container.target_opset >= AXES_ARE_INPUTS:
                inputs.append(self.array(np.array(options.pop("axes"), np.int64), "axes"))
            names[node.output[0]] = self.node(node.op_type, inputs, **options)
        return names[last]


def _regressor(scope: Any, operator: Any, container: Any) -> None:
    into, estimator = _Into(scope, operator, container), operator.raw_operator
    columns = _columns(estimator)
    place = into.array(np.array(columns, np.int64), "columns")
    into.node("Gather", [into.outputs(estimator), place], operator.outputs[0].full_name, axis=1)


def _classifier(scope: Any, operator: Any, container: Any) -> None:
    """Labels and probabilities."""
    into, estimator = _Into(scope, operator, container), operator.raw_operator
    label, probabilities = (output.full_name for output in operator.outputs)
    a, classes = into.outputs(estimator), estimator.classes_
    if estimator._label_binarizer.y_type_.startswith("multilabel"):
        into.node("Identity", [a], probabilities)
        half = into.array(np.array(0.5, into.dtype), "half")
        above = into.node("Greater", [a, half])
        into.node("Cast", [above], label, to=into.onnx.TensorProto.INT64)
        return
    if estimator.n_outputs_ == 1:
        rest = into.node("Sub", [into.array(np.array(1.0, into.dtype), "one"), a])
        a = into.node("Concat", [rest, a], axis=1)
    into.node("Identity", [a], probabilities)
    place = into.node("ArgMax", [a], axis=1, keepdims=0)
    if np.issubdtype(classes.dtype, np.number) or classes.dtype == bool:
        names = into.array(classes.astype(np.int64), "classes")
    else:
        text = into.onnx.helper.make_tensor(
            "classes",
            into.onnx.TensorProto.STRING,
            [len(classes)],
            [str(c).encode() for c in classes],
        )
        names = into.constant(text)
    into.node("Gather", [names, place], label, axis=0)
