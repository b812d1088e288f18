"""Every benchmark runs once, as asv runs it, on the smallest shapes."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from asv_runner.discovery import disc_benchmarks, get_benchmark_from_name

from asv_bench import equations, many, memory, network

ROOT = str(Path(equations.__file__).parent)
SMALLEST = {repr(next(iter(module.SHAPES))) for module in (equations, many, memory, network)}
QUICK = {"number": 1, "repeat": 1, "rounds": 1, "warmup_time": 0}  # asv run --quick


def cases():
    for benchmark in disc_benchmarks(ROOT):
        for index, values in enumerate(product(*benchmark.params)):
            shape = dict(zip(benchmark.param_names, values, strict=True)).get("shape")
            if benchmark.name.endswith("FirstFit.timeraw_compile"):
                continue  # half a minute for each, and test_compile.py does the same
            if shape is None or shape in SMALLEST:
                label = "-".join((benchmark.name, *(value.strip("'") for value in values)))
                yield pytest.param(f"{benchmark.name}-{index}", id=label)


@pytest.mark.parametrize("name", list(cases()))
def test_benchmark_runs(name):
    benchmark = get_benchmark_from_name(ROOT, name, QUICK)
    assert not benchmark.do_setup(), "skipped"
    try:
        result = benchmark.do_run()
    finally:
        benchmark.do_teardown()
    if benchmark.type == "track":
        assert result > 0
    else:
        assert len(result["samples"]) == 1
        assert result["samples"][0] > 0


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", equations.SHAPES)
@pytest.mark.parametrize(
    ("equation", "result"),
    [
        ("0 weighted_input", "Z"),
        ("2 hidden_error", "Delta_in"),
        ("3 weight_gradient", "G"),
        ("4 bias_gradient", "g"),
    ],
)
def test_engines_compute_the_same_equation(equation, result, shape, dtype):
    layer = equations.make_layer(*equations.SHAPES[shape], dtype)
    tiled = equations.prepared(layer, "tiles")
    before = np.array(getattr(layer, result))
    for engine in ("loops", "tiles"):
        of_engine = tiled if engine == "tiles" else equations.prepared(layer, engine)
        equations.EQUATIONS[equation][engine](layer, of_engine)
    ref, comp = getattr(layer, result), equations.untiled(tiled, result)
    assert not np.array_equal(ref, before)
    tolerance = {"float32": 2e-6, "float64": 1e-14}[dtype] * np.abs(ref).max()
    assert np.abs(comp - ref).max() < tolerance
