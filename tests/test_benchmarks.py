"""Every benchmark runs once, as asv runs it, so that none can rot; the smallest shapes only."""

from itertools import product
from pathlib import Path

import pytest
from asv_runner.discovery import disc_benchmarks, get_benchmark_from_name

from asv_bench import equations, network

ROOT = str(Path(equations.__file__).parent)
SMALLEST = {repr(next(iter(module.SHAPES))) for module in (equations, network)}
QUICK = {"number": 1, "repeat": 1, "rounds": 1, "warmup_time": 0}  # asv run --quick


def cases():
    for benchmark in disc_benchmarks(ROOT):
        for index, values in enumerate(product(*benchmark.params)):
            shape = dict(zip(benchmark.param_names, values, strict=True)).get("shape")
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
    assert len(result["samples"]) == 1
    assert result["samples"][0] > 0
