"""Time every engine, PyTorch, scikit-learn and JAX on the same training, beside the machine's peak.

Each does the same steps (relu hidden layers, softmax cross-entropy, plain SGD) from the same
weights on the same data in the same order. They take turns, round after round, and the best round
of each counts; compiling is not timed.
"""

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numba

from fastbackprop.commands import UsageError

LADDER = (
    "4-16-3:16",
    "16-64-64-4:32",
    "64-64-10:32",
    "784-30-10:10",
    "784-128-10:32",
    "784-512-512-10:128",
    "1024-1024-1024-1024:128",
)
QUICK = ("4-16-3:16", "64-64-10:32", "784-128-10:32")

# All are read once, when a library is loaded: hence the process of its own. NPROC is XLA's.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NPROC",
)


def parse_shape(text: str) -> tuple[tuple[int, ...], int]:
    """`784-128-10:32` is three layers of neurons, input first, in batches of 32."""
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--shapes",
        nargs="+",
        type=parse_shape,
        metavar="SIZES:BATCH",
        help=f"networks to train (default: {' '.join(LADDER)})",
    )
    add(
        "--dtype",
        nargs="+",
        choices=("float32", "float64"),
        default=["float32", "float64"],
        help="(default: both)",
    )
    add("--threads", type=positive, default=1, metavar="N", help="threads for each (default: 1)")
    add("--quick", action="store_true", help="few shapes, few rounds: half a minute")
    add("--json", metavar="FILE", help="also write the figures to this file")


def available_processors() -> list[int]:
    """Processors this process may use, one of each core first.

    Two hardware threads of one core share its arithmetic.
    """
    if not hasattr(os, "sched_getaffinity"):
        return list(range(os.cpu_count() or 1))

    def place(processor):
        topology = Path(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
        with contextlib.suppress(OSError):
            siblings = re.findall(r"\d+", topology.read_text())
            return siblings[:1] != [str(processor)], processor
        return False, processor

    return sorted(os.sched_getaffinity(0), key=place)


@contextlib.contextmanager
def pinned(processors: list[int]):
    """Processes started in here may use these processors only, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def run(arguments: argparse.Namespace) -> int:
    """Measure in a process of its own: threads and processors are fixed before NumPy is loaded."""
    processors = available_processors()
    if arguments.threads > len(processors):
        raise UsageError(
            f"--threads {arguments.threads}: this process may use {len(processors)} processors"
        )
    if numba.config.DISABLE_JIT:
        raise UsageError("compare measures compiled code: unset NUMBA_DISABLE_JIT")
    if arguments.json:
        try:
            open(arguments.json, "a").close()
        except OSError as error:
            raise UsageError(f"--json {arguments.json}: {error.strerror}") from None
    shapes = arguments.shapes or map(parse_shape, QUICK if arguments.quick else LADDER)
    task = {
        "shapes": list(shapes),
        "dtypes": list(dict.fromkeys(arguments.dtype)),
        "threads": arguments.threads,
        "rounds": 3 if arguments.quick else 5,
        "seconds": 0.3 if arguments.quick else 2.0,
        "json": arguments.json,
    }
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(arguments.threads))
    environment["JAX_PLATFORMS"] = "cpu"
    folder = str(Path(__file__).parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, os.getenv("PYTHONPATH")]))
    command = [sys.executable, "-m", "fastbackprop.commands.race", json.dumps(task)]
    sys.stdout.flush()
    with pinned(processors[: arguments.threads]):
        code = subprocess.run(command, env=environment).returncode
    if code < 0:
        raise UsageError(f"the measuring process was ended by signal {-code}")
    return code
