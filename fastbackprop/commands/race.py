"""The measuring process of `compare`: reads a task, prints a table, writes a file of figures."""

import contextlib
import json
import sys
import textwrap
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fastbackprop.commands import exit_code, progress
from fastbackprop.commands.peak import Peak
from fastbackprop.commands.report import (
    WIDTH,
    Result,
    print_block,
    print_differences,
    print_disturbances,
    print_header,
    print_ratios,
    processor_name,
    versions,
)
from fastbackprop.commands.systems import Maker, systems
from fastbackprop.commands.work import ANALYSES, System, Unavailable, Work
from fastbackprop.formats import atomic

# Largest difference that rounding may cause (Euclidean norms): of trained weights relative to their
# change, of predictions relative to their size. A system beyond it has done different work. In
# float32, a single sample whose z rounds to the other side of relu's kink has caused 1.4e-3.
TOLERANCE = {
    ("train", "float32"): 1e-2,
    ("train", "float64"): 1e-9,
    ("loop", "float32"): 1e-2,
    ("loop", "float64"): 1e-9,
    ("predict", "float32"): 1e-5,
    ("predict", "float64"): 1e-13,
}
ANALYSED = {"float32": 1e-4, "float64": 1e-12}  # relative to their size

UNDISTURBED, PATIENCE, NAP = 0.9, 1.0, 0.01  # of the peak; seconds


@contextlib.contextmanager
def failure_is_a_reason(result: Result) -> Iterator[None]:
    """An exception in another package becomes the reason in its row; warnings are ignored."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Unavailable as error:
        result.reason = str(error)
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        result.reason = textwrap.shorten(text, 3 * WIDTH)


def prepare(work: Work, results: list[Result], makers: Mapping[str, Maker]) -> dict[str, System]:
    """Make every system and run it once: this compiles it, and its result is compared."""
    ready: dict[str, System] = {}
    reference = None
    for result in results:
        with failure_is_a_reason(result):
            system = makers[result.system](work)
            system.reset()
            system.run()
            end = system.result()
            reference = end if reference is None else reference
            expected = reference[: len(end)]
            way = expected - work.starts.ravel()[: len(end)] if work.trains else expected
            result.difference = float(np.linalg.norm(end - expected) / np.linalg.norm(way))
            task = "train" if work.trains else work.task
            usual = TOLERANCE.get((task, work.dtype), ANALYSED[work.dtype])
            result.other_formula = system.tolerance > usual
            if not result.difference <= max(usual, system.tolerance):
                does = {"train": "trains", "predict": "predicts"}.get(task, "computes")
                raise Unavailable(f"{does} differently, by {result.difference:.0e}")
            ready[result.system] = system
    return ready


def undisturbed(peak: Peak, best: float, threads: int) -> float:
    """Wait until the machine is near its best peak again, for `PATIENCE` at most; return the peak.

    Threads of the previous system may spin for another 0.1 s, and a host may run two virtual
    processors on one core for a while.
    """
    end = time.perf_counter() + PATIENCE
    while True:
        spinning = threads > 1
        while spinning and time.perf_counter() < end:
            before = time.process_time()
            time.sleep(NAP)
            spinning = time.process_time() - before > NAP / 10
        now = peak.measure()
        if now > UNDISTURBED * best or time.perf_counter() > end:
            return now


def race(
    work: Work,
    peak: Peak,
    makers: Mapping[str, Maker],
    rounds: int,
    seconds: float,
) -> list[Result]:
    """Time every system on `work`, in turn, for `rounds` rounds and until `seconds` have passed.

    A system that alone takes longer than `seconds` gets two turns.
    """
    results = [Result(label, replace(work)) for label in makers]  # these copies hold no data
    ready = prepare(work, results, makers)
    spent = dict.fromkeys(ready, 0.0)
    peak_gflops, started, n = 0.0, time.perf_counter(), 0
    while n < rounds or time.perf_counter() - started < seconds:
        n += 1
        for result in results:
            label = result.system
            if result.reason or (n > 2 and spent[label] > seconds):
                continue
            peak_gflops = max(peak_gflops, undisturbed(peak, peak_gflops, work.threads))
            with failure_is_a_reason(result):
                ready[label].reset()
                before, used = time.perf_counter(), time.process_time()
                ready[label].run()
                elapsed, used = time.perf_counter() - before, time.process_time() - used
                spent[label] += elapsed
                seconds = elapsed / (work.all_steps * ready[label].share)
                if seconds < result.seconds:
                    result.seconds, result.busy = seconds, used / elapsed
    for result in results:
        result.peak_gflops = peak_gflops
        result.ratio = result.seconds / results[0].seconds
    return results


def steps_in_a_run(work: Work) -> int:
    """Steps of a run: enough to hide the overhead of a call, few enough to keep the data small."""
    if work.task in (*ANALYSES, "residual"):  # a run of a few ms fits between interruptions
        return int(np.clip(3e7 / work.flops, 3, 300))
    if work.task == "many":  # as many as an epoch of usual length has, and of many networks fewer
        return int(np.clip(3e9 / (work.flops * work.networks), 20, 500))
    if not work.trains:
        return int(np.clip(2e8 / work.flops, 2, 1000))
    most = min(1e10 / work.flops, 4e6 / (work.batch_size * work.sizes[0]))
    return int(np.clip(most, 3, 500))


def main(task: Mapping[str, Any]) -> None:
    threads, dtypes = task["threads"], task["dtypes"]
    peaks = {dtype: Peak(dtype, threads) for dtype in dtypes}
    first = {dtype: max(peak.measure() for _ in range(10)) for dtype, peak in peaks.items()}
    processor = processor_name()
    progress(1, 1)
    print_header(processor, threads, first)
    everything: list[Result] = []
    done, total = 0, len(task["works"]) * len(dtypes)
    for item in task["works"]:
        columns: list[list[Result]] = []
        for dtype, peak in peaks.items():
            sizes = tuple(item["sizes"])
            work = Work(**item | {"sizes": sizes, "dtype": dtype, "steps": 1, "threads": threads})
            work = replace(work, steps=steps_in_a_run(work))
            progress(done, total, f"{work.name}, {work.functions}, {dtype}")
            makers = systems(work.task, task["quick"])
            columns.append(race(work, peak, makers, task["rounds"], task["seconds"]))
            everything += columns[-1]
            done += 1
        progress(total, total)
        print_block(columns)
    print_ratios(everything, dtypes)
    print_differences(everything)
    print_disturbances(everything)
    report = {
        "processor": processor,
        "versions": versions(),
        "threads": threads,
        "peak_gflops": first,
        "results": [result.to_dict() for result in everything],
    }
    atomic.write(task["json"], [json.dumps(report, indent=1).encode(), b"\n"])


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(json.loads(sys.argv[1]))))
