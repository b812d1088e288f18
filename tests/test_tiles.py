"""What only register tiles can get wrong: vector widths, padding, and the ends of arrays."""

import os
import subprocess
import sys
import textwrap
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from problems import deviation, every_combination, every_dtype, problem

import fastbackprop as fb

pytestmark = pytest.mark.compiled

# Narrower and wider than a vector, and just beside a multiple of it; samples around ROWS and units.
EDGES = sorted({v + n for v in (2, 4, 8, 16, 32, 48, 64) for n in (-1, 0, 1)} | {70})
MANY = [127, 128, 129, 255, 257, 300]
SAMPLES = [1, 2, 5, 16, 31, 127, 128, 129, 300]

# It knows nothing of the package.
REFERENCE = """
    import numpy as np

    def reference(net, X, Y):
        "a^L, and the mean gradient as W^1, b^1, ..., of softplus and the squared error."
        weights, X, Y = [W.astype(float) for W in net.weights], X.astype(float), Y.astype(float)
        a, z, gradient = [X], [], []
        for W, b in zip(weights, net.biases):
            z.append(a[-1] @ W + b)
            a.append(np.logaddexp(z[-1], 0))
        delta = (z[-1] - Y) / len(X)
        for l in range(len(z) - 1, -1, -1):
            gradient = [a[l].T @ delta, delta.sum(axis=0), *gradient]
            if l > 0:
                delta = (delta @ weights[l].T) / (1 + np.exp(-z[l - 1]))
        return z[-1].ravel(), np.concatenate([part.ravel() for part in gradient])
"""

PADDING = """
    def padding_is_zero(net):
        theta = net.machine.theta.copy()
        for view in (*net.machine.layout.weights(theta), *net.machine.layout.biases(theta)):
            view[...] = 0
        return not theta.any()
"""

# The prediction and a step of plain SGD: few kernels, for each is compiled anew. One output of one
# sample may come close to 0 by cancellation, and the reference has the roundings of the machine's
# BLAS: the error is 50.2 eps on one machine.
COMPUTE = """
    import numpy as np
    import fastbackprop as fb

    rng, worst = np.random.default_rng(0), 0.0
    placed = globals().get("placed", np.array)
    for sizes, batches in CASES:
        for dtype in DTYPES:
            net = fb.Network(sizes, hidden="softplus", dtype=dtype, rng=rng)
            for n_samples in batches:
                X = placed(rng.normal(size=(n_samples, sizes[0])).astype(dtype))
                Y = placed(rng.normal(size=(n_samples, sizes[-1])).astype(dtype))
                out = placed(np.empty(Y.shape, dtype))
                before, expected = net.get_parameters(), reference(net, X, Y)
                a = net.predict(X, out=out).ravel().astype(float)
                net.fit(X, Y, epochs=1, batch_size=None, optimizer=fb.SGD(1.0))
                results = a, before.astype(float) - net.get_parameters()
                for comp, ref in zip(results, expected):
                    error = np.abs(comp - ref).max() / np.abs(ref).max()
                    worst = max(worst, error / np.finfo(dtype).eps)
                    assert error < 64 * np.finfo(dtype).eps, (sizes, n_samples, dtype, error)
                assert padding_is_zero(net), (sizes, n_samples, dtype)
                net.set_parameters(before)
    print(worst)
"""


def run(script, cases, vector_bytes):
    """The script's output, in a process of its own: the width of vectors is read at import.

    Another width than the processor's has to be compiled: one dtype for each.
    """
    from fastbackprop.jit.tile import VECTOR_BYTES

    environment, dtypes = {}, ["float32", "float64"]
    if vector_bytes != VECTOR_BYTES:
        environment = {"FASTBACKPROP_VECTOR_BYTES": str(vector_bytes)}
        dtypes = ["float32"] if vector_bytes == 16 else ["float64"]
    script = textwrap.dedent(script).replace("CASES", repr(cases)).replace("DTYPES", repr(dtypes))
    completed = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(Path(fb.__file__).parents[1])} | environment,
        capture_output=True,
        text=True,
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def test_the_reference_computes_the_sums_of_the_derivation():
    names: dict = {}
    exec(textwrap.dedent(REFERENCE), names)
    p = problem([3, 4, 5, 2], hidden="softplus", dtype="float64")
    t = p.reference()
    parts = [g for pair in zip(t.weight_gradients, t.bias_gradients, strict=True) for g in pair]
    for comp, ref in zip(names["reference"](*p[:3]), (t.a[-1], parts), strict=True):
        assert deviation(comp, np.concatenate([np.ravel(part) for part in ref])) < 1e-14


every_vector = pytest.mark.parametrize("vector_bytes", [16, 32, 64])


@every_vector
def test_every_width_and_every_number_of_samples(vector_bytes):
    """Each width 1 ... 70 as n_0, n_1 and n_2, each pair at an edge, each batch 1 ... 70."""
    edges = list(product(EDGES, EDGES))
    cases = [
        *(((w, 71 - w, 29 * w % 70 + 1), [*EDGES, *MANY]) for w in range(1, 71)),
        *((sizes, [1 + i % 70]) for i, sizes in enumerate(edges)),
        *((sizes, range(1, 71)) for sizes in [(1, 1), (17, 3), (33, 16, 5), (5, 64, 1, 17, 8)]),
        *(((*sizes, 1), MANY) for sizes in edges[::11]),
        ((256, 512, 3), [5, 130]),  # rows that would be a multiple of 2 KiB have another vector
    ]
    assert float(run(REFERENCE + PADDING + COMPUTE, cases, vector_bytes)) < 64


GUARDED = """
    from tests.fuzz.guards import install, placed

    install()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="uses mprotect")
@every_vector
def test_nothing_is_read_or_written_behind_an_array(vector_bytes):
    cases = [
        ((m, n, 1), [s])
        for (m, n), s in zip(product([1, 5, 33], [1, 16, 17]), SAMPLES, strict=True)
    ]
    assert float(run(GUARDED + REFERENCE + PADDING + COMPUTE, cases, vector_bytes)) < 64


@every_dtype
def test_what_is_compiled_on_demand_is_for_what_a_training_passes(dtype):
    from fastbackprop.engines.rules import update_type
    from fastbackprop.engines.tiles import calls
    from fastbackprop.engines.tiles.task import task_type

    class Listens:
        def on_batch_end(self, network, batch, logs): ...

    p = problem([3, 4, 2], 5, dtype=dtype)
    p.net.fit(p.X, p.Y, epochs=1, callbacks=Listens())  # not in one short call
    passed, updates = [], []
    for team, bound, minibatches, update, *_ in calls.train.overloads:
        (model, theta, work), (samples, order, *_) = bound, minibatches
        passed.append((team, model, theta, samples, order, work))
        updates.append(update)
    assert tuple(task_type(p.net.dtype).to) in passed
    assert update_type(p.net.dtype) in updates


@every_dtype
@pytest.mark.parametrize("n_samples", SAMPLES)
def test_any_number_of_samples(n_samples, dtype):
    nets = [problem([7, 9, 3], n_samples, engine=e, dtype=dtype) for e in ("tiles", "loops")]
    results = [p.net.gradient_sums(p.X, p.Y, p.s)[2] for p in nets]
    tolerance = 1e3 * np.finfo(dtype).eps * np.abs(results[1]).max()
    assert np.abs(results[0] - results[1]).max() < tolerance


# --- what is not finite --------------------------------------------------------------------------

NOT_FINITE = """
    import numpy as np
    import fastbackprop as fb
    from fastbackprop.inputs import arrays

    arrays.first_non_finite = lambda *_: None  # else it is refused before any engine sees it
    ROWS = [0, 1, 3, 4, 15, 16, 17, 31, 32, 63, 64, 126, 127, 128, 129, 130]
    rng = np.random.default_rng(0)

    def spoil(net):
        "What earlier calls left in the scratch memory is not a number."
        for work in sum(net.machine._idle.values(), []):
            for name in ("z", "a", "delta", "y", "factor", "C", "costs", "panels"):
                getattr(work, name)[...] = np.nan
            work.delta_rows[work.delta_rows != 0] = np.nan  # its padding is zero since it was made

    def trained(net, X, Y):
        "The parameters after two steps, of SGD and of Adam, and as they were."
        before = net.get_parameters()
        try:
            for optimizer in (fb.SGD(1e-3), fb.Adam(1e-3)):
                net.fit(X, Y, epochs=1, batch_size=None, shuffle=False, optimizer=optimizer)
            return net.get_parameters()
        finally:
            assert padding_is_zero(net)
            net.set_parameters(before)

    def diverges(net, X, Y):
        before = net.get_parameters()
        try:
            net.fit(X, Y, epochs=1, batch_size=None, shuffle=False, optimizer=fb.SGD(1e-3))
        except fb.DivergenceError:
            return np.array_equal(net.get_parameters(), before)
        return False

    for sizes in CASES:
        for dtype in DTYPES:
            net = fb.Network(sizes, hidden="identity", dtype=dtype, rng=rng)
            X = rng.normal(size=(131, sizes[0])).astype(dtype)
            Y = rng.normal(size=(131, sizes[-1])).astype(dtype)
            clean, batches = net.predict(X), (2, 5, 131)
            theta = [trained(net, X[:n], Y[:n]) for n in batches]
            for n, expected in zip(batches, theta):
                spoil(net)
                assert np.array_equal(net.predict(X[:n]), clean[:n]), (sizes, dtype, n)
                spoil(net)
                assert np.array_equal(trained(net, X[:n], Y[:n]), expected), (sizes, dtype, n)
            for i, value in zip(ROWS, [np.nan, np.inf, -np.inf] * 6):
                for j in {0, sizes[0] // 2, sizes[0] - 1}:
                    case = sizes, dtype, i, j, value
                    bad, others = X.copy(), np.arange(131) != i
                    bad[i, j] = value
                    a = net.predict(bad)
                    assert not np.isfinite(a[i]).any(), case
                    assert np.array_equal(a[others], clean[others]), case
                    assert diverges(net, bad, Y), case
                    assert diverges(net, bad[: i + 1], Y[: i + 1]), case
                    bad = Y.copy()
                    bad[i, j % sizes[-1]] = value
                    assert diverges(net, X, bad), case
                    n = i % 3 + 2
                    assert np.array_equal(net.predict(X[:n]), clean[:n]), case
            for n, expected in zip(batches, theta):  # nothing stays behind
                assert np.array_equal(trained(net, X[:n], Y[:n]), expected), (sizes, dtype, n)
"""


@every_vector
def test_what_is_not_finite_reaches_its_own_row_and_the_cost_alone(vector_bytes):
    """Behind the boundary, where it comes from overflow: no lane loses it, none gets it."""
    cases = [(1, 1, 1), (17, 15, 16), (4, 33, 3), (5, 16, 64, 9)]
    run(PADDING + NOT_FINITE, cases, vector_bytes)


# --- few rows -------------------------------------------------------------------------------------


@every_dtype
@pytest.mark.parametrize("n", [2, 15, 16, 127, 128, 129, 300])
@every_combination
def test_the_short_way_of_few_rows_is_the_long_way(hidden, output, cost, n, dtype):
    p = problem([5, 17, 33, 2], n, hidden=hidden, output=output, cost=cost, dtype=dtype)
    X, out = p.X.astype(dtype), np.full((n, 2), 7, dtype)
    short, long = p.net.machine.predict_few(X, out, None), p.net.predict(X.astype("float64"))
    assert short is out and short.tobytes() == long.tobytes()
    assert p.net.machine.predict_few(X, None, None).tobytes() == long.tobytes()
    for other in (np.asfortranarray(X), X[::2, ::-1], X.tolist(), X[0], X[:0], X[:, :4]):
        assert p.net.machine.predict_few(other, None, None) is None
    for row in {0, n // 2, n - 1}:
        bad = X.copy()
        bad[row, 4] = np.inf
        out[:] = 7
        assert p.net.machine.predict_few(bad, out, None) is None and (out == 7).all()


# --- one row -------------------------------------------------------------------------------------


BATCHES = [slice(i, i + 1) for i in (0, 7, 299)] + [slice(0, 5), slice(3, 40), slice(50, 250)]


def ways(X):
    """The same numbers, as arrays that are converted or not, and in two threads."""
    read_only = X.copy()
    read_only.flags.writeable = False
    yield from ((X.copy(), 1), (X.copy(), 2), (read_only, None), (np.asfortranarray(X), None))
    yield from ((X.astype("float64"), None), (X.tolist(), None))


def has_one_result(net, X):
    together = net.predict(X)
    for rows in BATCHES:
        for batch, n_threads in ways(X[rows]):
            alone = net.predict(batch, n_threads=n_threads)
            assert alone.dtype == net.dtype and np.array_equal(alone, together[rows]), rows


@every_dtype
@every_combination
def test_one_row_has_one_result_whatever_the_way(hidden, output, cost, dtype):
    p = problem([5, 17, 33, 2], 300, hidden=hidden, output=output, cost=cost, dtype=dtype)
    has_one_result(p.net, p.X)


@every_dtype
@pytest.mark.parametrize("output", ["softmax", "log_softmax", fb.LayerNorm("tanh"), "sin"])
@pytest.mark.parametrize("n", [3, 9, 256, 257, 2500])
def test_one_row_has_one_result_however_wide(n, output, dtype):
    p = problem([5, n], 300, output=output, dtype=dtype)
    X = p.X.copy()
    X[3] *= 1e7  # sines of far numbers have another formula: of this row alone
    has_one_result(p.net, X)


@every_dtype
@pytest.mark.parametrize("engine", ["tiles", "loops"])
@pytest.mark.parametrize("output", ["softmax", "log_softmax"])
def test_a_million_probabilities_sum_to_one(output, engine, dtype):
    net = fb.Network([1, 10**6], output=output, engine=engine, dtype=dtype, init="zeros")
    net.biases[0] = np.random.default_rng(0).normal(size=10**6)
    for n in (1, 2) if engine == "tiles" else (1,):
        a = net.predict(np.zeros((n, 1)))[-1].astype(float)
        assert (
            abs((np.exp(a) if output == "log_softmax" else a).sum() - 1) < 100 * np.finfo(dtype).eps
        )


@pytest.mark.parametrize("engine", ["tiles", "loops"])
@pytest.mark.parametrize("cost", ["cross_entropy", fb.CrossEntropy(0.1), "kl_divergence"], ids=str)
@pytest.mark.parametrize("output", ["softmax", "log_softmax"])
def test_a_million_soft_targets_lose_no_digits(output, cost, engine):
    """Costs and errors are sums over a million outputs; against float64."""
    if output == "log_softmax" and cost == "kl_divergence":
        pytest.skip("it belongs to softmax")
    n, rng = 10**6, np.random.default_rng(0)
    net = fb.Network([1, n], output=output, cost=cost, engine=engine, init="zeros")
    net.biases[0] = rng.normal(size=n)
    y = rng.uniform(0.5, 1.5, size=(1, n))
    y /= y.sum()
    z, X = net.biases[0].astype(float), np.zeros((1, 1), np.float32)
    minus_log = np.log(np.exp(z - z.max()).sum()) + z.max() - z
    smooth = 0.9 * y + 0.1 / n if isinstance(cost, fb.Cost) else y
    expected = np.sum(smooth * minus_log)
    if cost == "kl_divergence":
        expected += np.sum(y * np.log(y))
    gradient = net.gradient(X, y)
    assert gradient.cost == pytest.approx(expected, rel=3e-6, abs=3e-5)
    error = gradient.biases[0] - (np.exp(-minus_log) - smooth[0])
    assert abs(error).max() < 1e-5 * abs(gradient.biases[0]).max()


def test_one_row_fills_out_even_over_its_own_input():
    p = problem([3, 4, 3])
    x = p.X[:1].copy()
    expected = p.net.predict(x)
    out = np.empty((1, 3), np.float32)
    assert p.net.predict(x, out=out) is out and np.array_equal(out, expected)
    assert p.net.predict(x, out=x) is x and np.array_equal(x, expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_row_that_is_not_finite_is_refused(value):
    p = problem([3, 4, 2])
    x, out = p.X[:1].copy(), np.full((1, 2), 7, np.float32)
    x[0, 1] = value
    with pytest.raises(ValueError, match=r"X must be finite; X\[0, 1\] is"):
        p.net.predict(x, out=out)
    assert (out == 7).all()


def test_one_row_does_not_write_into_the_parameters():
    p = problem([3, 4, 2])
    with pytest.raises(ValueError, match="must not be a part of the network's own parameters"):
        p.net.predict(p.X[:1], out=p.net.biases[0][:2].reshape(1, 2))


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.astype("float64"),
        lambda x: np.asfortranarray(np.repeat(x, 2, axis=1))[:, ::2],
        lambda x: x.tolist(),
        lambda x: np.frombuffer(x.tobytes(), np.float32).reshape(1, 3),  # read-only
    ],
)
def test_one_row_of_another_kind_gives_the_same(change):
    p = problem([3, 4, 2])
    x = p.X[:1].copy()
    assert deviation(p.net.predict(change(x)), p.net.predict(x)) < 1e-6


# --- padding -------------------------------------------------------------------------------------


@every_dtype
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "nesterov"])
def test_padding_is_zero_after_thousands_of_steps(optimizer, dtype):
    rng = np.random.default_rng(0)
    if optimizer == "nesterov":
        optimizer = fb.SGD(0.01, momentum=0.9, nesterov=True)
    net = fb.Network([5, 17, 33, 3], hidden=["sigmoid", "softplus"], dtype=dtype, rng=0)
    for n in rng.integers(1, 300, 12):  # strips and row tiles of every kind, one after the other
        X, Y = rng.normal(size=(n, 5)), rng.normal(size=(n, 3))
        size = int(rng.integers(1, n + 1))
        net.fit(X, Y, epochs=1 + int(300 * size / n), batch_size=size, optimizer=optimizer)
    theta = net.machine.theta.copy()
    for view in (*net.machine.layout.weights(theta), *net.machine.layout.biases(theta)):
        assert np.isfinite(view).all()
        view[...] = 0
    assert not theta.any()
