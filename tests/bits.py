"""Hashes of the results of a table of trainings, predictions and analyses.

    python tests/bits.py write FILE      before a change of the structure
    python tests/bits.py compare FILE    after it: the rows that differ

A change that is only about structure keeps every bit on one machine, for every engine, dtype,
function, optimizer and option. Another processor or another version of a library may round
otherwise, so no hashes are kept in the repository.
"""

import copy
import hashlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import scipy.sparse

import fastbackprop as fb
from fastbackprop.functions.activations import ACTIVATIONS
from fastbackprop.functions.costs import COSTS
from fastbackprop.optimizers import OPTIMIZERS

N = 203
PAIR = {"output": "softmax", "cost": "cross_entropy"}
NORMALISED = [fb.LayerNorm(of) for of in ("tanh", "relu", "sin", "identity")]
MORE_COSTS = [("softmax", fb.CrossEntropy(0.1)), ("identity", fb.Quantile([0.1, 0.5]))]
OPTIONS = [
    {"l2": 1e-2},
    {"l1": 1e-3, "penalize_biases": True},
    {"max_norm": 0.5},
    {"clip_norm": 0.1},
    {"clip_value": 0.01},
    {"layer_rates": [0.1, 1.0]},
    {"averaging": fb.EMA(0.9)},
    {"averaging": fb.SWA(5, 3)},
    {"l2": 1e-2, "max_norm": 1.0, "clip_norm": 1.0, "averaging": fb.EMA(0.99)},
]
SCHEDULES = [
    lambda: fb.Cosine(1e-2, epochs=4),
    lambda: fb.Warmup(2, then=fb.Exponential(1e-2, factor=0.7)),
    lambda: fb.Plateau(1e-2, patience=1),
]
DROPOUTS = [
    0.3,
    fb.Dropout(inputs=0.2),
    fb.Dropout(noise=0.1),
    fb.Dropout([0.1, 0.5], inputs=0.1, noise=0.2),
]
SHAPES = [  # sizes, samples, batch size
    ([9, 200, 150, 3], 400, 100),
    ([9, 33, 3], 500, 300),
    ([9, 3], 100, 7),
    ([9, 1, 1, 3], 20, 20),
    ([9, 64, 64, 3], 300, None),
]


def digest(*arrays):
    sha = hashlib.sha256()
    for array in map(np.ascontiguousarray, arrays):
        sha.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return sha.hexdigest()[:16]


def end(net, X, history=None):
    """Parameters, predictions of many rows, of one and of some, and the history."""
    columns = [] if history is None else [history.cost, history.validation_cost]
    return digest(net.get_parameters(), *map(net.predict, (X, X[:1], X[:5])), *columns)


def looked_into(net, X, y):
    """Everything that the analysis gives."""
    v = np.ones(net.n_parameters)
    return digest(
        net.hessian_vector_product(X, y, v),
        net.gauss_newton_vector_product(X, y, v),
        net.sample_gradients(X, y),
        net.sample_gradient_norms(X, y),
        net.input_gradient(X, y),
        net.jacobian(X[:40]),
        net.error_sizes(X, y),
        net.gradient(X, y).cost,
    )


def targets(net, rng):
    cost, n_out = net.machine.cost, net.sizes[-1]
    shape = N, cost.n_targets(n_out)
    if cost.targets == "distribution":
        return rng.integers(0, n_out, N)
    if cost.targets == "sign":
        return np.where(rng.uniform(size=shape) < 0.5, -1.0, 1.0)
    return rng.normal(size=shape) if cost.targets == "real" else rng.uniform(0.1, 1, shape)


def functions(common):
    """Every activation, cost and output."""
    rng = np.random.default_rng(7)
    X = rng.normal(size=(N, 9))
    sgd = {"optimizer": fb.SGD(1e-3), "epochs": 2, "batch_size": 30}
    hidden = [a for a in ACTIVATIONS.values() if not a.coupled]
    for activation in [*hidden, *NORMALISED]:
        net = fb.Network([9, 19, 6, 3], hidden=activation, **common)
        Y = rng.normal(size=(N, 3))
        history = net.fit(0.3 * X, Y, **sgd | {"optimizer": fb.SGD(1e-3)})
        yield f"{activation}", end(net, X, history), looked_into(net, 0.3 * X, Y)
    pairs = [(cost.output or "identity", cost) for costs in COSTS.values() for cost in costs]
    outputs = [(name, "squared_error") for name in ("softmax", "log_softmax")]
    for output, cost in [*pairs, *MORE_COSTS, *outputs]:
        net = fb.Network([9, 7, 4], hidden="tanh", output=output, cost=cost, **common)
        y = targets(net, rng)
        history = net.fit(X, y, **sgd | {"optimizer": fb.SGD(1e-3)})
        yield f"{cost} {output}", end(net, X, history), looked_into(net, X, y)


def signs(theta, g, states, step, rate):
    theta -= rate * np.sign(g)


def optimizers(common):
    """Every optimizer, its options, schedules, weights, dropout and noise."""
    rng = np.random.default_rng(8)
    X, y, s = rng.normal(size=(N, 9)), rng.integers(0, 3, N), rng.uniform(0, 2, N)
    made = [lambda kind=kind: kind() for kind in OPTIMIZERS.values()]
    for kind in (fb.SGD, fb.AdamW):
        made += [lambda kind=kind, options=options: kind(1e-2, **options) for options in OPTIONS]
    custom = {"max_norm": 1.0, "l2": 0.1, "averaging": fb.EMA(0.9)}
    made.append(lambda: fb.Custom(signs, learning_rate=fb.Cosine(1e-3, 3), **custom))
    for make in made:
        net, optimizer = fb.Network([9, 17, 3], **PAIR, **common), make()
        size = None if optimizer.name == "lbfgs" else 17
        history = net.fit(X, y, optimizer=optimizer, epochs=3, batch_size=size)
        mean = optimizer.averaged_parameters if optimizer.averaging else ()
        name = repr(optimizer).replace(repr(signs), "signs")
        yield name, end(net, X, history), digest(mean)
    for make in SCHEDULES:
        net = fb.Network([9, 17, 3], **PAIR, **common)
        options = {"validation": 0.2, "sample_weight": s, "early_stopping": 2}
        history = net.fit(
            X, y, optimizer=fb.Adam(make()), epochs=5, batch_size=17, metrics="accuracy", **options
        )
        yield f"{make()}", end(net, X, history)
    for dropout in DROPOUTS:
        net = fb.Network([9, 17, 5, 3], **PAIR, **common)
        history = net.fit(X, y, optimizer=fb.Adam(1e-2), epochs=3, batch_size=64, dropout=dropout)
        yield f"{dropout}", end(net, X, history)


def data(common):
    """Sparse inputs, shapes and threads, checkpoints, steps cut into calls, a trace."""
    rng = np.random.default_rng(9)
    X, y = rng.normal(size=(N, 9)), rng.integers(0, 3, N)
    S = scipy.sparse.random(N, 40, 0.1, "csr", common["dtype"], np.random.default_rng(3))
    for kind in (fb.SGD, fb.Adam):
        for rate in (0.0, 0.2):
            net = fb.Network([40, 17, 3], **PAIR, **common)
            dropout = fb.Dropout(inputs=rate)
            net.fit(S, y, optimizer=kind(1e-2), epochs=3, batch_size=50, dropout=dropout)
            yield f"sparse {kind.__name__} {rate}", digest(net.get_parameters(), net.predict(S))
    for sizes, n, size in SHAPES:
        Z, Y = rng.normal(size=(n, 9)), rng.normal(size=(n, 3))
        for n_threads in (1, 2):
            net = fb.Network(sizes, **common)
            history = net.fit(Z, Y, epochs=3, batch_size=size, n_threads=n_threads)
            predicted = digest(net.predict(Z, n_threads=n_threads))
            yield f"{sizes} {n} {size} {n_threads}", end(net, Z, history), predicted
    with tempfile.TemporaryDirectory() as folder:
        for epochs in (2, 5):
            net = fb.Network([9, 17, 3], **PAIR, **common)
            options = {"callbacks": fb.Checkpoint(Path(folder) / "c"), "batch_size": 50}
            adam = fb.Adam(fb.Plateau(1e-2, patience=1))
            history = net.fit(X, y, optimizer=adam, epochs=epochs, **options)
            yield f"checkpoint {epochs}", end(net, X, history)
    net, optimizer = fb.Network([9, 17, 3], **PAIR, **common), fb.Adam(1e-2)
    for _ in range(3):
        net.fit(X, y, optimizer=optimizer, epochs=1, batch_size=50)
        net.partial_fit(X, y, batch_size=20)
    yield "cut into calls", end(net, X), end(copy.deepcopy(net), X)
    trace = net.trace(X[:7], y[:7])
    arrays = *trace.z, *trace.a, *trace.delta, *trace.weight_gradients, *trace.bias_gradients
    yield "trace", digest(*arrays)


def table():
    for engine in ("tiles", "loops", "numpy"):
        for dtype in ("float32", "float64"):
            common = {"engine": engine, "dtype": dtype, "rng": 1}
            for part in (functions, optimizers, data):
                for name, *digests in part(common):
                    yield f"{engine} {dtype} {name}", " ".join(digests)


if __name__ == "__main__":
    mode, file = sys.argv[1:]
    ours = dict(table())
    if mode == "write":
        Path(file).write_text(json.dumps(ours, indent=0))
    else:
        theirs = json.loads(Path(file).read_text())
        differ = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
        print(f"{len(ours)} rows, {len(differ)} differ", *differ, sep="\n")
        sys.exit(bool(differ))
