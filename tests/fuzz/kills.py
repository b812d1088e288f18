"""Processes that are killed while they write a network, a training's checkpoint, or machine code.

What is there afterwards is the old file or the new one, whole; the training goes on and ends with
the bits of one that nobody killed; and no temporary file stays.
"""

import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastbackprop as fb
from fastbackprop.jit.folder import LOCKS, opened

X, Y = (np.random.default_rng(i).normal(size=(40, 3)) for i in (0, 1))
EPOCHS = 12


def network(seed: int) -> fb.Network:
    return fb.Network([3, 40, 3], hidden="tanh", rng=seed, engine="numpy")


def train(folder: Path) -> fb.Network:
    net = network(0)
    net.fit(X, Y, epochs=EPOCHS, batch_size=8, callbacks=fb.Checkpoint(folder / "c"))
    return net


def killed(work: Any, seconds: float) -> bool:
    """Do the work in a forked process that is killed after so long; whether it had not ended."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def of_save(r: np.random.Generator, folder: Path) -> tuple[str, str]:
    path, nets = folder / "net", [network(1), network(2)]
    versions = {net.get_parameters().tobytes() for net in nets}
    nets[0].save(path)

    def work() -> None:
        for i in range(10**6):
            nets[i % 2].save(path)

    killed(work, r.uniform(0, 0.01))
    if fb.Network.load(path).get_parameters().tobytes() not in versions:
        return "killed", "another file"
    left = len(os.listdir(folder)) - 1
    nets[1].save(path)
    if os.listdir(folder) != ["net"]:
        return "killed", f"a temporary file stays: {os.listdir(folder)}"
    return ("killed while it wrote" if left else "killed between files"), ""


def of_checkpoint(r: np.random.Generator, folder: Path, expected: bytes) -> tuple[str, str]:
    kills = 0
    while killed(lambda: train(folder), r.uniform(0.002, 0.03)):
        kills += 1
        if (folder / "c").exists():
            fb.Network.load(folder / "c")
        if kills > 200:
            break
    if train(folder).get_parameters().tobytes() != expected:
        return f"{kills} kills", "another end"
    (folder / "c").unlink()
    train(folder)
    return ("killed in training", "" if os.listdir(folder) == ["c"] else f"{os.listdir(folder)}")


def of_cache(r: np.random.Generator, folder: Path) -> tuple[str, str]:
    place, contents = folder / "fastbackprop" / "version", [bytes([i]) * 50_000 for i in (1, 2)]

    def work() -> None:
        with opened(place, 2, make=True) as here:
            locks = here.locks()
            assert locks is not None and locks.acquire(7)
            for i in range(10**6):
                here.write("kernel.bin", contents[i % 2])

    killed(work, r.uniform(0, 0.02))
    with opened(place, 2, make=True) as here:
        if here.read("kernel.bin") not in (None, *contents):
            return "killed", "half a file"
        locks = here.locks()
        if locks is None or not locks.acquire(7):
            return "killed", "a lock that nobody has cannot be had"
        left = list(place.glob(".*.tmp"))
        for path in left:
            os.utime(path, (0, 0))
        here.clean()
        if sorted(os.listdir(place)) not in ([LOCKS], ["kernel.bin", LOCKS]):
            return "killed", f"more files stay: {os.listdir(place)}"
    return ("killed while it wrote" if left else "killed between files"), ""


ATTACKS: dict[str, Any] = {"save": of_save, "cache": of_cache, "checkpoint": of_checkpoint}


def within(seed: int, first: int, last: int, tell: Any) -> None:
    """Kills first ... last."""
    with tempfile.TemporaryDirectory() as whole:
        expected = train(Path(whole)).get_parameters().tobytes()
    for i in range(first, last):
        tell(begin=i)
        r, name = np.random.default_rng([seed, i]), ("save", "cache", "save", "checkpoint")[i % 4]
        with tempfile.TemporaryDirectory() as place:
            more = [expected] if name == "checkpoint" else []
            outcome, wrong = ATTACKS[name](r, Path(place), *more)
        tell(attempt=i, name=name, outcome=outcome, wrong=wrong)
