"""The measuring process of `compare`: one task in, a table (and a file of figures) out."""

import contextlib
import json
import platform
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import fastbackprop
from fastbackprop.commands.peak import Peak
from fastbackprop.commands.peers import PEERS, System, Unavailable, Work, flat, systems
from fastbackprop.engines._tile import widest_vector

WIDTH = 100
LABEL, CELL = 32, 31

# How far apart rounding may take trained weights, relative to the way they went (Euclidean norms);
# what is further away has done other work. In float32, one sample with a z so near 0 that rounding
# turns its relu off has been seen to make 1.4e-3.
TOLERANCE = {"float32": 1e-2, "float64": 1e-9}


@dataclass
class Result:
    """One figure of the table, or the reason why there is none."""

    system: str
    work: Work
    seconds_per_step: float = float("inf")
    peak_gflops: float = 0.0
    difference: float = 0.0
    reason: str = ""

    @property
    def gflops(self) -> float:
        return self.work.flops / self.seconds_per_step / 1e9

    @property
    def cell(self) -> str:
        if self.reason:
            return self.reason if len(self.reason) < CELL - 2 else "failed: see below"
        share = self.gflops / self.peak_gflops
        return f"{self.seconds_per_step * 1e6:9.1f}{self.gflops:11.2f}{share:10.1%}"

    def to_dict(self) -> dict[str, Any]:
        work, done = self.work, not self.reason
        return {
            "system": self.system,
            "sizes": work.sizes,
            "batch_size": work.batch_size,
            "dtype": work.dtype,
            "threads": work.threads,
            "steps": work.steps,
            "flops_per_step": work.flops,
            "seconds_per_step": self.seconds_per_step if done else None,
            "gflops": self.gflops if done else None,
            "peak_gflops": self.peak_gflops,
            "difference": self.difference if done else None,
            "reason": self.reason or None,
        }


@contextlib.contextmanager
def failure_is_a_reason(result: Result) -> Iterator[None]:
    """What another package raises, or warns of, is its row of the table and not our end."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Unavailable as error:
        result.reason = str(error)
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        result.reason = textwrap.shorten(text, 3 * WIDTH)


def prepare(results: list[Result], makers: Mapping[str, Callable[[Work], System]]) -> dict:
    """Make every system and let it run once, which compiles it and shows that it does the same."""
    ready: dict[str, System] = {}
    reference = None
    for result in results:
        with failure_is_a_reason(result):
            system = makers[result.system](result.work)
            system.reset()
            system.run()
            end = system.parameters()
            reference = end if reference is None else reference
            change = np.linalg.norm(reference - flat(result.work.layers))
            result.difference = float(np.linalg.norm(end - reference) / change)
            if not result.difference <= TOLERANCE[result.work.dtype]:
                raise Unavailable(f"trains differently, by {result.difference:.0e}")
            ready[result.system] = system
    return ready


def race(
    work: Work, peak: Peak, makers: Mapping[str, Callable], rounds: int, seconds: float
) -> list[Result]:
    """Time every system on `work`, in turn, for `rounds` rounds and until `seconds` have passed."""
    results = [Result(label, work) for label in makers]
    ready = prepare(results, makers)
    peak_gflops, started, n = 0.0, time.perf_counter(), 0
    while n < rounds or time.perf_counter() - started < seconds:
        n += 1
        for result in results:
            if result.reason:
                continue
            peak_gflops = max(peak_gflops, peak.measure())
            with failure_is_a_reason(result):
                ready[result.system].reset()
                before = time.perf_counter()
                ready[result.system].run()
                elapsed = (time.perf_counter() - before) / work.steps
                result.seconds_per_step = min(result.seconds_per_step, elapsed)
    for result in results:
        result.peak_gflops = peak_gflops
    return results


def steps_in_an_epoch(work: Work) -> int:
    """Enough that a call's overhead does not count, few enough that the data stays small."""
    most = min(1e10 / work.flops, 4e6 / (work.batch_size * work.sizes[0]))
    return int(np.clip(most, 8, 500))


def print_block(columns: list[list[Result]]) -> None:
    """One shape: a row for each system, three figures for each dtype."""
    works = [results[0].work for results in columns]
    peaks = [f"{c[0].work.dtype}, peak {c[0].peak_gflops:.1f} GFLOP/s" for c in columns]
    print()
    print(f"{works[0].name:{LABEL}}" + "".join(f"{text:>{CELL}}" for text in peaks))
    operations = f"  {works[0].flops / 1e3:,.1f} kFLOP a step"
    print(f"{operations:{LABEL}}" + f"{'us/step':>10}{'GFLOP/s':>11}{'of peak':>10}" * len(columns))
    for row in zip(*columns, strict=True):
        cells = "".join(f" {result.cell:>{CELL - 1}}" for result in row)
        print(f"{row[0].system:{LABEL}}{cells}")
    notes = {
        f"  {result.system}: {result.reason}": None
        for row in zip(*columns, strict=True)
        for result in row
        if result.reason not in result.cell
    }
    for note in notes:
        print(textwrap.fill(note, WIDTH, subsequent_indent="    "))
    sys.stdout.flush()


def processor_name() -> str:
    """The processor as its maker calls it, as far as the system tells."""
    with contextlib.suppress(OSError):
        if platform.system() == "Darwin":
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True).stdout.strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str | None]:
    """Version of everything that takes part; None for a peer that is not installed."""
    found: dict[str, str | None] = {
        "fastbackprop": fastbackprop.__version__,
        "Python": platform.python_version(),
    }
    for package in ("numpy", "numba", *(peer.package for peer in PEERS)):
        found[package] = None
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def print_header(processor: str, threads: int, peaks: Mapping[str, float]) -> None:
    figures = " and ".join(f"{rate:.1f} GFLOP/s ({dtype})" for dtype, rate in peaks.items())
    several = "" if threads == 1 else "s (the loops engine uses one)"
    packages = ", ".join(f"{name} {version}" for name, version in versions().items() if version)
    for paragraph in (
        f"{processor}, {threads} thread{several}, {8 * widest_vector()}-bit vectors. "
        f"Measured multiply-add peak: {figures}.",
        f"{packages}.",
        "One step: relu hidden layers, softmax cross-entropy, plain SGD; the same weights, "
        "data and order for all. The best of several rounds in which the systems take turns; "
        "compiling is not timed.",
    ):
        print(textwrap.fill(paragraph, WIDTH))
    sys.stdout.flush()


def show_progress(text: str) -> None:
    """Say on a terminal what is going on, in a line that the next text replaces."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def print_differences(results: list[Result]) -> None:
    done = [result for result in results if not result.reason]
    worst = {r.work.dtype: 0.0 for r in done}
    for result in done:
        worst[result.work.dtype] = max(worst[result.work.dtype], result.difference)
    figures = ", ".join(f"{value:.0e} ({dtype})" for dtype, value in worst.items())
    print(f"\nSame work: trained weights differ by {figures} of their change, at most.")


def main(task: Mapping[str, Any]) -> None:
    threads, dtypes, makers = task["threads"], task["dtypes"], systems()
    peaks = {dtype: Peak(dtype, threads) for dtype in dtypes}
    first = {dtype: max(peak.measure() for _ in range(10)) for dtype, peak in peaks.items()}
    processor = processor_name()
    print_header(processor, threads, first)
    everything: list[Result] = []
    for sizes, batch_size in task["shapes"]:
        columns = []
        for dtype, peak in peaks.items():
            steps = steps_in_an_epoch(Work(tuple(sizes), batch_size, dtype, 1))
            work = Work(tuple(sizes), batch_size, dtype, steps, threads)
            show_progress(f"{work.name}, {dtype} ...")
            columns.append(race(work, peak, makers, task["rounds"], task["seconds"]))
            everything += columns[-1]
        show_progress("")
        print_block(columns)
    print_differences(everything)
    if task["json"]:
        report = {
            "processor": processor,
            "versions": versions(),
            "threads": threads,
            "peak_gflops": first,
            "results": [result.to_dict() for result in everything],
        }
        Path(task["json"]).write_text(json.dumps(report, indent=1) + "\n")
        print(f"Figures: {task['json']}")


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
