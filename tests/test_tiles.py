"""What only register tiles can get wrong: vector widths, padding, and the ends of arrays."""

import os
import subprocess
import sys
import textwrap
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from problems import every_dtype, problem

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
    for n, (sizes, n_samples) in enumerate(CASES):
        for dtype in ("float32", "float64"):
            X = rng.normal(size=(n_samples, sizes[0]))
            Y = rng.normal(size=(n_samples, sizes[-1]))
            options = {"hidden": "softplus", "dtype": dtype, "rng": n}
            nets = [fb.Network(sizes, engine=engine, **options) for engine in ("tiles", "numpy")]
            results = []
            for net in nets:
                results.append([net.predict(X).ravel(), net.gradient_sums(X, Y)[2]])
                net.fit(X, Y, epochs=1, batch_size=None, optimizer=fb.SGD(1e-3))
                results[-1].append(net.get_parameters())
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


def run(script, cases, **environment):
    """The script's output, in a process of its own: these settings are read at import."""
    script = textwrap.dedent(script).replace("CASES", repr(cases))
    completed = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(Path(fb.__file__).parents[1])} | environment,
        capture_output=True,
        text=True,
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


@pytest.mark.parametrize("vector_bytes", ["16", "32", "64"])
def test_vectors_of_every_width_agree_with_the_loop_free_engine(vector_bytes):
    sizes = [
        (m, n, k) for m, n, k in zip(WIDTHS, WIDTHS[::-1], WIDTHS[3:] + WIDTHS[:3], strict=True)
    ]
    cases = [(s, n) for s, n in zip(sizes, SAMPLES + SAMPLES[:1], strict=True)] + [
        ((17, 5, 16, 1, 3), 37)
    ]
    worst = run(PADDING + COMPUTE, cases, FASTBACKPROP_VECTOR_BYTES=vector_bytes)
    assert float(worst) < 100


GUARDED = """
    import ctypes, mmap
    import numpy as np
    from fastbackprop import layout, network, optimizers
    from fastbackprop.engines import tiles

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

    for module in (network, optimizers, tiles):
        module.aligned_zeros = at_the_end
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="uses mprotect")
@pytest.mark.parametrize("vector_bytes", ["16", "32", "64"])
def test_nothing_is_read_or_written_behind_an_array(vector_bytes):
    cases = [
        ((m, n, 1), s) for (m, n), s in zip(product([1, 5, 33], [1, 16, 17]), SAMPLES, strict=True)
    ]
    script = GUARDED + PADDING + COMPUTE
    worst = run(script, cases, FASTBACKPROP_VECTOR_BYTES=vector_bytes)
    assert float(worst) < 100


@every_dtype
@pytest.mark.parametrize("n_samples", SAMPLES)
def test_any_number_of_samples(n_samples, dtype):
    nets = [problem([7, 9, 3], n_samples, engine=e, dtype=dtype) for e in ("tiles", "loops")]
    results = [p.net.gradient_sums(p.X, p.Y, p.s)[2] for p in nets]
    tolerance = 1e3 * np.finfo(dtype).eps * np.abs(results[1]).max()
    assert np.abs(results[0] - results[1]).max() < tolerance
