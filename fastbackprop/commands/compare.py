"""Time every engine, PyTorch, scikit-learn, JAX and ONNX Runtime, beside the machine's peak.

All systems train the same networks from the same weights on the same data in the same order, and
predict the same rows. They take turns, and the best of several rounds counts. Compilation is not
timed. Packages that are not installed are left out.
"""

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastbackprop.commands import UsageError, compare_loops, new_figure, progress
from fastbackprop.commands.work import ACTIVATIONS, ANALYSES, OPTIMIZERS
from fastbackprop.jit.availability import jit_disabled
from fastbackprop.names import missing

LADDER = (
    "4-16-3:16",
    "16-64-64-4:32",
    "64-64-10:32",
    "64-64-64-64:32",
    "784-30-10:10",
    "784-128-10:32",
    "784-128-10:128",
    "256-256-256-256:64",
    "512-512-512-512:128",
    "784-512-512-10:128",
    "1024-1024-1024-1024:128",
    "2048-2048-2048-1000:128",
)
QUICK = ("4-16-3:16", "64-64-10:32", "784-128-10:32")

# Shape, activation, optimiser. The first is the benchmark of SimpleChains.jl, full batch.
OTHERS = (
    ("4-32-16-4:10000", "tanh", "adam"),
    ("64-64-10:32", "relu", "adam"),
    ("64-64-10:32", "tanh", "adam"),
    ("64-64-10:32", "gelu", "adam"),
    ("784-128-10:128", "relu", "adam"),
    ("784-128-10:128", "tanh", "sgd"),
    ("784-128-10:128", "gelu", "sgd"),
)
QUICK_OTHERS = (("64-64-10:32", "gelu", "adam"),)
PREDICTIONS = ("64-64-10:1", "64-64-10:32", "64-64-10:10000")
ANALYSED = ("64-64-10:32", "64-64-10:256", "16-64-64-4:32", "784-128-10:32", "784-128-10:256")

# Shapes and numbers of networks of --many; the step of each is Adam's.
MANY = (
    "2-8-2:16",
    "4-16-3:16",
    "8-16-3:16",
    "4-16-3:64",
    "16-24-2:32",
    "8-16-16-3:32",
    "13-32-32-3:32",
    "16-64-2:32",
    "64-32-10:32",
    "64-64-10:32",
)
QUICK_MANY = ("4-16-3:16", "13-32-32-3:32")
NETWORKS, QUICK_NETWORKS = (16, 64, 256), (16,)

MISSING = UsageError(str(missing("--plot needs matplotlib", "plot")))

# Libraries read them once, when they are loaded: hence a separate process. NPROC is XLA's.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NPROC",
    "TORCHINDUCTOR_COMPILE_THREADS",
)

# Ctrl-C goes to the parent process, which ends this one: it may be importing, outside of any `try`.
RACE = """\
import runpy, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
runpy.run_module("fastbackprop.commands.race", run_name="__main__", alter_sys=True)
"""


def parse_shape(text: str) -> tuple[tuple[int, ...], int]:
    """`784-128-10:32` -> ((784, 128, 10), 32): layer sizes, input first, and batch size."""
    if not re.fullmatch(r"[1-9]\d*(-[1-9]\d*)+(:[1-9]\d*)?", text):
        raise argparse.ArgumentTypeError(
            f"a shape is SIZES:BATCH, such as 784-128-10:32; got {text!r}"
        )
    sizes, _, batch_size = text.partition(":")
    layers = tuple(map(int, sizes.split("-")))
    if layers[-1] < 2:
        raise argparse.ArgumentTypeError(f"a softmax needs 2 or more outputs; got {text!r}")
    return layers, int(batch_size or 32)


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1; got {text!r}")
    return int(text)


def thread_count(text: str) -> int | str:
    return text if text == "all" else positive(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--shapes",
        nargs="+",
        type=parse_shape,
        metavar="SIZES:BATCH",
        help=f"train these networks, and predict BATCH rows (default: train {' '.join(LADDER)}, "
        f"then some with other functions, and predict {' '.join(PREDICTIONS)})",
    )
    add("--activation", choices=ACTIVATIONS, help="of the hidden layers (default: relu)")
    add("--optimizer", choices=tuple(OPTIMIZERS), help="(default: sgd)")
    add(
        "--analysis",
        action="store_true",
        help="instead of training and predicting: gradients of each sample, Jacobians, products "
        f"with the Hessian (default: tanh, {' '.join(ANALYSED)})",
    )
    compare_loops.add_argument(parser)
    add(
        "--many",
        action="store_true",
        help="instead of single networks: 16, 64 and 256 networks of a shape, trained together "
        f"(default: Adam, {' '.join(MANY)})",
    )
    add(
        "--dtype",
        nargs="+",
        choices=("float32", "float64"),
        default=["float32", "float64"],
        help="(default: both)",
    )
    add(
        "--threads",
        type=thread_count,
        default=1,
        metavar="N",
        help="threads for each, or all (default: 1)",
    )
    add(
        "--quick",
        action="store_true",
        help="few shapes, few rounds, no torch.compile: about a minute",
    )
    add("--json", metavar="FILE", help="also write the figures to this file")
    add("--plot", metavar="FILE", help="also draw the time of a step over its operations")


def works(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The works to measure, in the order of the table, as arguments of `Work`."""

    def work(
        shape: Any, activation: str = "relu", optimizer: str = "sgd", task: str = "train"
    ) -> dict[str, Any]:
        sizes, batch_size = parse_shape(shape) if isinstance(shape, str) else shape
        return {
            "sizes": sizes,
            "batch_size": batch_size,
            "activation": arguments.activation or activation,
            "optimizer": arguments.optimizer or optimizer,
            "task": task,
        }

    if arguments.loop:
        yield from compare_loops.works(arguments)
        return
    if arguments.many:
        for shape in arguments.shapes or (QUICK_MANY if arguments.quick else MANY):
            for n in QUICK_NETWORKS if arguments.quick else NETWORKS:
                yield work(shape, optimizer="adam", task="many") | {"networks": n}
        return
    if arguments.analysis:
        for task in ANALYSES:
            for shape in arguments.shapes or (QUICK if arguments.quick else ANALYSED):
                yield work(shape, "tanh", task=task)
        return
    for shape in arguments.shapes or (QUICK if arguments.quick else LADDER):
        yield work(shape)
    if not (arguments.shapes or arguments.activation or arguments.optimizer):
        for functions in QUICK_OTHERS if arguments.quick else OTHERS:
            yield work(*functions)
    for shape in arguments.shapes or PREDICTIONS:
        yield work(shape, task="predict")


def available_processors() -> list[int]:
    """Processors that this process may use; the first hardware thread of each core comes first."""
    if not hasattr(os, "sched_getaffinity"):
        return list(range(os.cpu_count() or 1))

    def place(processor: int) -> tuple[bool, int]:
        topology = Path(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
        with contextlib.suppress(OSError):
            siblings = re.findall(r"\d+", topology.read_text())
            return siblings[:1] != [str(processor)], processor
        return False, processor

    return sorted(os.sched_getaffinity(0), key=place)


@contextlib.contextmanager
def pinned(processors: list[int]) -> Iterator[None]:
    """Restrict processes that are started inside to these processors, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def check_writable(option: str, path: str | None) -> None:
    """Raise UsageError if the file cannot be written; no empty file stays behind."""
    if path:
        new = not Path(path).exists()
        try:
            open(path, "a").close()
            if new:
                os.unlink(path)
        except OSError as error:
            raise UsageError(f"{option} {path}: {error.strerror}") from None


def run(arguments: argparse.Namespace) -> int:
    """Measure in a separate process: threads and processors are fixed before NumPy is loaded."""
    processors = available_processors()
    threads = len(processors) if arguments.threads == "all" else arguments.threads
    if threads > len(processors):
        raise UsageError(f"--threads {threads}: this process may use {len(processors)} processors")
    if jit_disabled():
        raise UsageError("compare measures compiled code: unset NUMBA_DISABLE_JIT")
    if arguments.many and arguments.analysis:
        raise UsageError("--many and --analysis are two comparisons: choose one")
    figure = None
    if arguments.plot:
        figure = new_figure("--plot", arguments.plot, MISSING, figsize=(8, 5.2), dpi=160)
    check_writable("--json", arguments.json)
    check_writable("--plot", arguments.plot)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(arguments.json or Path(folder) / "figures.json")
        code = measure(
            {
                "works": list(works(arguments)),
                "dtypes": list(dict.fromkeys(arguments.dtype)),
                "threads": threads,
                "quick": arguments.quick,
                "rounds": 3 if arguments.quick else 5,
                "seconds": 0.3 if arguments.quick else 1.0,
                "json": str(path),
            },
            processors[:threads],
        )
        if code == 0 and figure:
            from fastbackprop import plot  # needs matplotlib

            plot.compare(json.loads(path.read_text()), figure.subplots())
            figure.savefig(arguments.plot)
            print(f"Plot: {arguments.plot}")
    if code == 0 and arguments.json:
        print(f"Figures: {arguments.json}")
    return code


def measure(task: dict[str, Any], processors: list[int]) -> int:
    """Run the measuring process, a thread for each of these processors; return its exit code."""
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(len(processors)))
    environment["JAX_PLATFORMS"] = "cpu"
    folder = str(Path(__file__).parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, os.getenv("PYTHONPATH")]))
    command = [sys.executable, "-c", RACE, json.dumps(task)]
    sys.stdout.flush()
    progress(0, 1, "measuring the peak of this machine")
    with pinned(processors):
        code = subprocess.run(command, env=environment).returncode
    if code < 0:
        raise UsageError(f"the measuring process was ended by signal {-code}")
    return code
