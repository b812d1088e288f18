"""What users write, for mypy alone: `test_types.py` says where it has to object, and nowhere else.

Lines that end in `# wrong` must be rejected. Nothing here is run.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, assert_type

import numpy as np

import fastbackprop as fb
import fastbackprop.onnx
from fastbackprop import plot
from fastbackprop.formats import write_c
from fastbackprop.functions.activations import ACTIVATIONS
from fastbackprop.functions.costs import COSTS

X = np.zeros((8, 2))
y = np.zeros(8, dtype=int)

# --- networks ------------------------------------------------------------------------------------

net = fb.Network([2, 3, 2], hidden="tanh", output="softmax", cost="cross_entropy", rng=0)
fb.Network((2, 3, 2), hidden=["tanh"], dtype=np.float64, rng=np.random.default_rng(0))
fb.Network(
    sizes=[2, 1], hidden=ACTIVATIONS["relu"], cost=COSTS["squared_error"][0], dtype="float64"
)
for name in ("tiles", "loops", "numpy"):
    fb.Network([2, 1], engine=name, rng=None)

fb.Network("2-3-2")  # wrong
fb.Network([2, 3.5, 1])  # wrong
fb.Network([2, 3], "tanh")  # wrong
fb.Network([2, 3], activation="tanh")  # wrong
fb.Network([2, 3], rng="seed")  # wrong
fb.Network([2, 3], hidden=np.tanh)  # wrong

# --- what they can be asked ----------------------------------------------------------------------

assert_type(net.predict(X), np.ndarray)
assert_type(net.predict(X.tolist(), n_threads=1), np.ndarray)
net.predict(X, out=np.empty((8, 2), "float32"))
assert_type(net.evaluate(X, y), float)
gradient = net.gradient(X, y, sample_weight=np.ones(8))
assert_type(gradient, fb.Gradient)
assert_type(gradient.cost, float)
assert_type(gradient.weights[0], np.ndarray)
z, a, delta, dW, db, cost = net.trace(X, y)
assert_type(delta, list[np.ndarray])
assert_type(cost, float)
cost_sum, weight_sum, flat = net.gradient_sums(X, y)
assert_type(flat, np.ndarray)
assert_type(net.check_gradient(X, y, max_parameters=10), float)
assert_type(net.sizes, tuple[int, ...])
assert_type(net.hidden, tuple[str, ...])
net.weights[0][...] = 0
net.weights[0] = np.zeros((2, 3))
for W, g in zip(net.weights, gradient.weights, strict=True):
    W -= 0.1 * g
net.set_parameters(net.get_parameters() * 0.5)

net.predict()  # wrong
net.predict(X, n_threads="all")  # wrong
net.sizes = (2, 2)  # wrong
print(gradient.weight)  # wrong
net.check_gradient(X, y, None, 10)  # wrong

# --- training ------------------------------------------------------------------------------------


def report(network: fb.Network, epoch: int, logs: dict[str, float]) -> bool:
    return logs["cost"] < 0.1


class Watch:
    def on_epoch_end(self, network: fb.Network, epoch: int, logs: dict[str, float]) -> None: ...


def largest(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    return float(abs(y_true - y_pred).max())


def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    yield X, y


history = net.fit(X, y, epochs=3, batch_size=4, optimizer=fb.Adam(learning_rate=1e-3))
assert_type(history, fb.History)
assert_type(history.cost, list[float])
assert_type(history.ended_by, str)
assert_type(len(history), int)
net.fit(X, y, optimizer="sgd", validation=0.2, early_stopping=True, metrics="accuracy")
net.fit(X, y, batch_size=None, validation=(X, y), early_stopping=fb.EarlyStopping(patience=3))
net.fit(X, y, validation=[X, y, np.ones(8)], metrics={"largest": largest}, callbacks=report)
net.fit(X, y, metrics=["accuracy", largest], callbacks=[report, Watch()], progress=True)
net.fit(
    X,
    y,
    optimizer=fb.Adam(fb.Warmup(1, then=fb.Cosine(1e-3, epochs=9))),
    callbacks=[fb.Checkpoint(Path("run.checkpoint")), fb.TimeBudget(3), fb.EarlyStopping()],
)
net.fit(X, y, optimizer=fb.SGD(lambda step: 1 / (1 + step)), shuffle=False)
net.fit(X, y, dropout=0.5, metrics=fb.Metrics("accuracy", training=True))
net.fit(X, y, dropout=fb.Dropout([0.5], inputs=0.1, noise=0.1), callbacks=fb.TimeBudget(0.5))
net.fit(batches(), epochs=1)
assert_type(net.evaluate(batches()), float)
assert_type(net.predict(batches()), np.ndarray)
net.partial_fit(X, y, optimizer=fb.SGD(learning_rate=0.1, momentum=0.9, nesterov=True))
net.partial_fit(X, y, batch_size=4, n_threads=1)

net.fit(X, y, 10)  # wrong
net.fit(X, y, epochs="10")  # wrong
net.fit(X, y, optimiser="adam")  # wrong
net.fit(X, y, optimizer=0.1)  # wrong
net.fit(X, y, validation="20 %")  # wrong
net.fit(X, y, optimizer=fb.Cosine(0.1, 3))  # wrong
net.fit(X, y, dropout="0.5")  # wrong
fb.Adam(learning_rate=fb.Adam())  # wrong
fb.Cosine(epochs=3)  # wrong
fb.Warmup(1)  # wrong
fb.Checkpoint()  # wrong
fb.TimeBudget("1 h")  # wrong
fb.Dropout(0.5, 0.1)  # wrong
net.fit(X, y, metrics=3)  # wrong
net.fit(X, y, early_stopping="yes")  # wrong
fb.Adam(learning_rate="fast")  # wrong
fb.Adam(lr=1e-3)  # wrong
fb.EarlyStopping(patience=None)  # wrong
print(history.costs)  # wrong
history.cost.mean()  # wrong

# --- files and other tools -----------------------------------------------------------------------

net.save("net.safetensors")
net.save(Path("net.safetensors"))
assert_type(fb.Network.load("net.safetensors", rng=1), fb.Network)
fb.onnx.export(net, "net.onnx")
assert_type(fb.onnx.load("net.onnx"), fb.Network)
write_c(net, os.devnull, name="f")
plot.history(history).set_title("training")
module: Any = net.to_torch()
assert_type(fb.Network.from_torch(module, output="softmax"), fb.Network)

net.save(3)  # wrong
fb.Network.load()  # wrong
fb.Network.load("net.safetensors", rng="seed")  # wrong
fb.onnx.export("net.onnx", net)  # wrong
