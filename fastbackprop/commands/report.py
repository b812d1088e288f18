"""The results of `compare`, as tables and as JSON."""

import contextlib
import platform
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import fastbackprop
from fastbackprop.commands.systems import OURS, OURS_TOGETHER, PACKAGES, ours
from fastbackprop.commands.work import ANALYSES, Work
from fastbackprop.engines import ENGINES
from fastbackprop.jit.processor import widest_vector

WIDTH = 100
LABEL, CELL = 32, 34
BUSY = 0.95


@dataclass
class Result:
    """A measurement of one system, or the reason why there is none."""

    system: str
    work: Work
    seconds: float = float("inf")  # of a step
    peak_gflops: float = 0.0
    difference: float = 0.0
    other_formula: bool = False  # known to differ slightly
    ratio: float = 1.0  # seconds relative to OURS
    busy: float = 1.0  # share of the time in which the processor ran this process
    reason: str = ""

    @property
    def gflops(self) -> float:
        return self.work.flops / self.seconds / 1e9

    @property
    def share(self) -> float:
        return self.gflops / self.peak_gflops

    @property
    def disturbed(self) -> bool:
        """Whether other processes took the processor; with several threads it is unknown."""
        return not self.reason and self.work.threads == 1 and self.busy < BUSY

    @property
    def cell(self) -> str:
        if self.reason:
            return self.reason if len(self.reason) < CELL - 2 else "failed: see below"
        microseconds = self.seconds * 1e6
        time = f"{microseconds:,.{0 if microseconds >= 1000 else 1}f}"
        ratio = f"{self.ratio:.{0 if self.ratio >= 99.995 else 2}f}x"
        return f"{time:>10}{self.gflops:9.2f}{self.share:8.1%}{ratio:>7}"

    def to_dict(self) -> dict[str, Any]:
        work, done = self.work, not self.reason
        return {
            "system": self.system,
            "task": work.task,
            "sizes": work.sizes,
            "batch_size": work.batch_size,
            "dtype": work.dtype,
            "activation": work.activation,
            "optimizer": work.optimizer if work.trains else None,
            "threads": work.threads,
            "steps": work.steps,
            "networks": work.networks,
            "flops": work.flops,
            "seconds": self.seconds if done else None,
            "gflops": self.gflops if done else None,
            "peak_gflops": self.peak_gflops,
            "peak_share": self.share if done else None,
            "ratio": self.ratio if done else None,
            "difference": self.difference if done else None,
            "busy": self.busy if done else None,
            "reason": self.reason or None,
        }


def print_block(columns: list[list[Result]]) -> None:
    """Print one shape: a row for each system, four figures for each dtype."""
    work = columns[0][0].work
    peaks = [f"{c[0].work.dtype}, peak {c[0].peak_gflops:.1f} GFLOP/s" for c in columns]
    print()
    name = work.name
    if len(name) >= LABEL:  # a line of its own
        print(name)
        name = ""
    print(f"{name:{LABEL}}" + "".join(f"{text:>{CELL}}" for text in peaks))
    unit = "step" if work.trains else "call"  # of one network
    operations = f"  {work.functions}, {count(work.flops)} a {unit}"
    heads = f"{f'us/{unit}':>10}{'GFLOP/s':>9}{'of peak':>8}{'time':>7}" * len(columns)
    print(f"{operations:{LABEL}}{heads}")
    for row in zip(*columns, strict=True):
        print(f"{row[0].system:{LABEL}}" + "".join(f"{result.cell:>{CELL}}" for result in row))
    notes = {
        f"  {result.system}: {result.reason}": None
        for row in zip(*columns, strict=True)
        for result in row
        if result.reason not in result.cell
    }
    for note in notes:
        print(textwrap.fill(note, WIDTH, subsequent_indent="    "))
    sys.stdout.flush()


def count(operations: float) -> str:
    """A number of operations, short."""
    for unit in ("FLOP", "kFLOP", "MFLOP"):
        if operations < 1000:
            return f"{operations:.4g} {unit}"
        operations /= 1000
    return f"{operations:.4g} GFLOP"


def processor_name() -> str:
    """The name of the processor, as far as the system tells."""
    with contextlib.suppress(OSError):
        if platform.system() == "Darwin":
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True).stdout.strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str | None]:
    """Package -> version; None where it is not installed."""
    found: dict[str, str | None] = {
        "fastbackprop": fastbackprop.__version__,
        "Python": platform.python_version(),
    }
    for package in ("numpy", "numba", *PACKAGES):
        found[package] = None
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def print_header(processor: str, threads: int, peaks: Mapping[str, float]) -> None:
    figures = " and ".join(f"{rate:.1f} GFLOP/s ({dtype})" for dtype, rate in peaks.items())
    single = " and ".join(engine for engine in ENGINES if engine not in ours.THREADED)
    several = "" if threads == 1 else f"s (of the engines {single} use one)"
    packages = ", ".join(f"{name} {version}" for name, version in versions().items() if version)
    for paragraph in (
        f"{processor}, {threads} thread{several}, {8 * widest_vector()}-bit vectors. "
        f"Measured multiply-add peak: {figures}.",
        f"{packages}.",
        "Softmax cross-entropy; the same weights, data and order for all. The best of several "
        "rounds in which the systems take turns; compiling is not timed. The last column is the "
        "time over that of the first row.",
    ):
        print(textwrap.fill(paragraph, WIDTH))
    sys.stdout.flush()


def kind(work: Work) -> str:
    """The group of works whose ratios are averaged."""
    if work.task == "many":
        return f"Training of many networks, {work.functions}"
    if not work.trains:
        return "Prediction" if work.task == "predict" else work.task.replace("_", " ").capitalize()
    if work.task == "loop":
        return "Own loop"
    plain = (work.activation, work.optimizer) == ("relu", "sgd")
    return "Training, relu and SGD" if plain else "Training, other functions"


def print_ratios(results: list[Result], dtypes: list[str]) -> None:
    """Print each system's geometric mean and minimum of the last column."""
    done = [r for r in results if not r.reason and r.system not in (OURS, OURS_TOGETHER)]
    many = any(result.work.task == "many" for result in results)
    print(f"\nTime over that of {OURS_TOGETHER if many else OURS}: more than 1 is slower")
    for name in dict.fromkeys(kind(result.work) for result in done):
        rows = [result for result in done if kind(result.work) == name]
        print("\n" + f"{name:{LABEL}}" + "".join(f"{dtype:>{CELL}}" for dtype in dtypes))
        print(" " * LABEL + f"{'geometric mean':>20}{'worst':>7}{'of':>7}" * len(dtypes))
        for system in dict.fromkeys(result.system for result in rows):
            cells = []
            for dtype in dtypes:
                ratios = [r.ratio for r in rows if (r.system, r.work.dtype) == (system, dtype)]
                mean = f"{np.exp(np.mean(np.log(ratios))):.2f}x" if ratios else ""
                worst = f"{min(ratios):.2f}x" if ratios else ""
                cells.append(f"{mean:>20}{worst:>7}{len(ratios):7}")
            print(f"{system:{LABEL}}" + "".join(cells))


def print_differences(results: list[Result]) -> None:
    """Print the largest differences from the results of OURS."""
    groups: dict[str, Callable[[Result], bool]] = {
        "trained weights differ by {} of their change": lambda r: r.work.trains,
        "scikit-learn's Adam, with epsilon in another place, by {}": lambda r: r.other_formula,
        "predictions differ by {}": lambda r: r.work.task == "predict",
        "analyses differ by {}": lambda r: r.work.task in (*ANALYSES, "residual"),
    }
    parts, left = [], [result for result in results if not result.reason]
    for text, belongs in groups.items():
        worst: dict[str, float] = {}
        for result in left:
            if belongs(result) and (result.other_formula == ("Adam" in text)):
                dtype = result.work.dtype
                worst[dtype] = max(worst.get(dtype, 0.0), result.difference)
        if worst:
            figures = ", ".join(f"{value:.0e} ({dtype})" for dtype, value in worst.items())
            parts.append(text.format(figures))
    if parts:
        print("\n" + textwrap.fill(f"Same work, at most: {'; '.join(parts)}.", WIDTH))


def print_disturbances(results: list[Result]) -> None:
    """Print a warning where other processes disturbed the best rounds."""
    disturbed = sum(result.disturbed for result in results)
    if disturbed:
        done = sum(not result.reason for result in results)
        text = (
            f"Not to be relied on: in {disturbed} of {done} figures even the best round shared the "
            f"processor with other processes, which favours systems with short runs. Repeat it "
            f"on an idle machine."
        )
        print("\n" + textwrap.fill(text, WIDTH))
