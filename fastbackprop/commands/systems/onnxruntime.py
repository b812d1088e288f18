"""ONNX Runtime on a graph of Gemm, activation and Softmax."""

from functools import partial
from typing import Any

import numpy as np

from fastbackprop.commands import require
from fastbackprop.commands.work import NOT_INSTALLED, System, Unavailable, Work, repeated


def predict(work: Work) -> System:
    onnx = require("onnx", NOT_INSTALLED)
    runtime = require("onnxruntime", NOT_INSTALLED)
    if work.activation == "gelu" and work.dtype == "float64":
        raise Unavailable("has no gelu in float64")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = work.threads
    session = runtime.InferenceSession(
        _graph(onnx, work), options, providers=["CPUExecutionProvider"]
    )
    call = partial(session.run, None, {"a0": work.data[0]})
    return repeated(work, call, lambda outputs: outputs[0])


def _graph(onnx: Any, work: Work) -> bytes:
    make, sigma, n_layers = onnx.helper, work.activation.capitalize(), len(work.layers)
    constant, nodes, constants = onnx.numpy_helper.from_array, [], []
    for l, (W, b) in enumerate(work.layers, 1):
        constants += [constant(W, f"W{l}"), constant(b, f"b{l}")]
        nodes += [
            make.make_node("Gemm", [f"a{l - 1}", f"W{l}", f"b{l}"], [f"z{l}"]),
            make.make_node("Softmax" if l == n_layers else sigma, [f"z{l}"], [f"a{l}"]),
        ]
    number = make.np_dtype_to_tensor_dtype(np.dtype(work.dtype))
    ends = [
        make.make_tensor_value_info(name, number, [work.batch_size, n])
        for name, n in (("a0", work.sizes[0]), (f"a{n_layers}", work.sizes[-1]))
    ]
    graph = make.make_graph(nodes, "network", ends[:1], ends[1:], constants)
    # 20 is the first with Gelu; readers of 2024 know both versions.
    opset = make.make_opsetid("", 20)
    model = make.make_model(graph, opset_imports=[opset], ir_version=9)
    return bytes(model.SerializeToString())
