"""What only register tiles can get wrong: vector widths, padding, and the ends of arrays."""

import os
import subprocess
import sys
import textwrap
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from problems import (
    TOLERANCE,
    deviation,
    every_combination,
    every_dtype,
    problem,
)

import fastbackprop as fb

pytestmark = pytest.mark.compiled

# Narrower and wider than a vector, and just beside a multiple of it; samples around ROW and ROWS.
WIDTHS = [1, 3, 4, 5, 15, 16, 17, 33, 64, 100]
SAMPLES = [1, 2, 5, 16, 31, 127, 128, 129, 300]

COMPUTE = """
    import sys
    import numpy as np
    import fastbackprop as fb

    rng, worst = np.random.default_rng(0), 0.0
    placed = globals().get("placed", np.array)
    for n, (sizes, n_samples) in enumerate(CASES):
        for dtype in ("float32", "float64"):
            X = placed(rng.normal(size=(n_samples, sizes[0])).astype(dtype))
            Y = placed(rng.normal(size=(n_samples, sizes[-1])).astype(dtype))
            out = placed(np.empty(Y.shape, dtype))
            options = {"hidden": "softplus", "dtype": dtype, "rng": n}
            nets = [fb.Network(sizes, engine=engine, **options) for engine in ("tiles", "numpy")]
            results = []  # of few kernels: each is compiled anew
            for net in nets:
                before = net.get_parameters()
                predicted = [net.predict(X, out=out).ravel().copy()] if dtype == "float32" else []
                net.fit(X, Y, epochs=1, batch_size=None, optimizer=fb.SGD(1.0))
                results.append([*predicted, net.get_parameters() - before])
            for comp, ref in zip(*results):
                error = np.abs(comp - ref).max() / np.abs(ref).max()
                worst = max(worst, error / np.finfo(dtype).eps)
            assert not nets[0]._theta.any() or padding_is_zero(nets[0])
    print(worst)
"""

PADDING = """
    def padding_is_zero(net):
        theta = net._theta.copy()
        for view in (*net._layout.weights(theta), *net._layout.biases(theta)):
            view[...] = 0
        return not theta.any()
"""


def run(script, cases, vector_bytes):
    """The script's output, in a process of its own: the width of vectors is read at import."""
    from fastbackprop.engines._tile import VECTOR_BYTES

    asked = {"FASTBACKPROP_VECTOR_BYTES": str(vector_bytes)}
    environment = asked if vector_bytes != VECTOR_BYTES else {}  # else there is machine code
    script = textwrap.dedent(script).replace("CASES", repr(cases))
    completed = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(Path(fb.__file__).parents[1])} | environment,
        capture_output=True,
        text=True,
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
def test_vectors_of_every_width_agree_with_the_loop_free_engine(vector_bytes):
    sizes = [
        (m, n, k) for m, n, k in zip(WIDTHS, WIDTHS[::-1], WIDTHS[3:] + WIDTHS[:3], strict=True)
    ]
    cases = [(s, n) for s, n in zip(sizes, SAMPLES + SAMPLES[:1], strict=True)] + [
        ((17, 5, 16, 1, 3), 37)
    ]
    worst = run(PADDING + COMPUTE, cases, vector_bytes)
    assert float(worst) < 100


GUARDED = """
    import ctypes, mmap
    import numpy as np
    from fastbackprop import network, optimizers
    from fastbackprop.engines import _task

    libc, kept = ctypes.CDLL(None, use_errno=True), []

    def at_the_end(n, dtype):
        "Zeros that end where a page begins that may not be touched."
        size = n * np.dtype(dtype).itemsize
        pages = -(-size // mmap.PAGESIZE) + 1
        memory = mmap.mmap(-1, pages * mmap.PAGESIZE)
        kept.append(memory)
        base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        guard = base + (pages - 1) * mmap.PAGESIZE
        assert libc.mprotect(ctypes.c_void_p(guard), mmap.PAGESIZE, 0) == 0
        start = (pages - 1) * mmap.PAGESIZE - size
        return np.frombuffer(memory, dtype, n, start)

    def placed(array):
        moved = at_the_end(array.size, array.dtype).reshape(array.shape)
        moved[...] = array
        return moved

    for module in (network, optimizers, _task):
        module.aligned_zeros = at_the_end
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="uses mprotect")
@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
def test_nothing_is_read_or_written_behind_an_array(vector_bytes):
    cases = [
        ((m, n, 1), s) for (m, n), s in zip(product([1, 5, 33], [1, 16, 17]), SAMPLES, strict=True)
    ]
    script = GUARDED + PADDING + COMPUTE
    worst = run(script, cases, vector_bytes)
    assert float(worst) < 100


@every_dtype
def test_what_is_compiled_on_demand_is_for_what_a_training_passes(dtype):
    from fastbackprop.engines import tiles
    from fastbackprop.engines._task import task_type
    from fastbackprop.engines._update import update_type

    p = problem([3, 4, 2], 5, dtype=dtype)
    p.net.fit(p.X, p.Y, epochs=1)
    team, model, theta, samples, order, _, update, _, _, work, *_ = zip(
        *tiles._train.overloads, strict=True
    )
    passed = zip(team, model, theta, samples, order, work, strict=True)
    assert tuple(task_type(p.net.dtype).to) in passed
    assert update_type(p.net.dtype) in update


@every_dtype
@pytest.mark.parametrize("n_samples", SAMPLES)
def test_any_number_of_samples(n_samples, dtype):
    nets = [problem([7, 9, 3], n_samples, engine=e, dtype=dtype) for e in ("tiles", "loops")]
    results = [p.net.gradient_sums(p.X, p.Y, p.s)[2] for p in nets]
    tolerance = 1e3 * np.finfo(dtype).eps * np.abs(results[1]).max()
    assert np.abs(results[0] - results[1]).max() < tolerance


# --- one row -------------------------------------------------------------------------------------


@every_dtype
@every_combination
def test_one_row_is_a_row_of_many(hidden, output, cost, dtype):
    p = problem([5, 17, 33, 2], 3, hidden=hidden, output=output, cost=cost, dtype=dtype)
    rows = p.net.predict(p.X)
    for i in range(3):
        alone = p.net.predict(p.X[i : i + 1])
        assert alone.shape == (1, 2) and alone.dtype == p.net.dtype
        assert deviation(alone[0], rows[i]) < TOLERANCE[dtype]


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
    theta = net._theta.copy()
    for view in (*net._layout.weights(theta), *net._layout.biases(theta)):
        assert np.isfinite(view).all()
        view[...] = 0
    assert not theta.any()
