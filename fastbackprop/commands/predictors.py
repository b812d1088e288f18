"""The same prediction in every system: `steps` calls from Python, each of one batch of rows.

Every system gets the batch in its own kind of array.
"""

from typing import Any

import numpy as np

from fastbackprop.commands import require
from fastbackprop.commands.peers import (
    jax_for,
    jax_network,
    make_network,
    sklearn_classifier,
    thread_options,
    torch_network,
)
from fastbackprop.commands.work import NOT_INSTALLED, Unavailable, Work


class Predictor:
    """A prediction changes nothing: there is nothing to reset."""

    _outputs: Any

    def reset(self) -> None:
        pass

    def result(self) -> np.ndarray:
        return np.array(self._outputs)


class Engine(Predictor):
    """`Network.predict` of one of this package's engines; with `reuse`, into the same `out`."""

    def __init__(self, work: Work, engine: str, reuse: bool = False):
        self._network, self._X, self._steps = make_network(work, engine), work.data[0], work.steps
        self._options = thread_options(work, engine)
        if reuse:
            self._options["out"] = np.empty((work.batch_size, work.sizes[-1]), work.dtype)

    def run(self) -> None:
        for _ in range(self._steps):
            self._outputs = self._network.predict(self._X, **self._options)


class Torch(Predictor):
    """PyTorch, eager, in inference mode."""

    def __init__(self, work: Work):
        torch = require("torch", NOT_INSTALLED)
        self._torch, self._steps = torch, work.steps
        self._X = torch.from_numpy(work.data[0])
        network, _ = torch_network(torch, work)
        self._network = torch.nn.Sequential(network, torch.nn.Softmax(dim=1)).eval()

    def run(self) -> None:
        with self._torch.inference_mode():
            for _ in range(self._steps):
                self._outputs = self._network(self._X)


class ScikitLearn(Predictor):
    """scikit-learn: `MLPClassifier.predict_proba`."""

    def __init__(self, work: Work):
        self._classifier, self._X, self._steps = sklearn_classifier(work), work.data[0], work.steps

    def run(self) -> None:
        for _ in range(self._steps):
            self._outputs = self._classifier.predict_proba(self._X)


class Jax(Predictor):
    """JAX: the network as one compiled call."""

    def __init__(self, work: Work):
        jax = jax_for(work)
        network = jax_network(jax, work)
        self._predict = jax.jit(lambda layers, X: jax.nn.softmax(network(layers, X)))
        self._layers, self._X = jax.device_put((work.layers, work.data[0]))
        self._steps = work.steps

    def run(self) -> None:
        for _ in range(self._steps):
            self._outputs = self._predict(self._layers, self._X).block_until_ready()


class Onnx(Predictor):
    """ONNX Runtime on a graph of Gemm, activation and Softmax."""

    def __init__(self, work: Work):
        onnx = require("onnx", NOT_INSTALLED)
        runtime = require("onnxruntime", NOT_INSTALLED)
        if work.activation == "gelu" and work.dtype == "float64":
            raise Unavailable("has no gelu in float64")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = work.threads
        self._session = runtime.InferenceSession(
            self._graph(onnx, work), options, providers=["CPUExecutionProvider"]
        )
        self._inputs, self._steps = {"a0": work.data[0]}, work.steps

    @staticmethod
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

    def run(self) -> None:
        for _ in range(self._steps):
            (self._outputs,) = self._session.run(None, self._inputs)
