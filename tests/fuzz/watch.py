"""Attempts in processes of their own: what they report, and which of them crashed or hung."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PATIENCE = 120  # seconds without progress: a first call may compile


@dataclass
class Report:
    """Outcomes of attempts, by name and kind, and what should not have happened."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def note(self, line: dict[str, Any]) -> None:
        self.counts[line["name"], line["outcome"]] += 1
        if line.get("wrong"):
            self.wrong.append(f"{line['attempt']}: {line['name']}: {line['wrong']}")

    def text(self, what: str) -> str:
        kinds = Counter(outcome for (_, outcome), n in self.counts.items() for _ in range(n))
        total = sum(kinds.values())
        listed = ", ".join(f"{n:,} {kind}" for kind, n in kinds.most_common())
        lines = [f"{total:,} {what} in {self.seconds:.0f} s: {listed or 'none'}"]
        return "\n".join([*lines, *(f"WRONG {line}" for line in self.wrong)])


def attempts(what: str, seed: int, first: int, last: int, report: Report) -> None:
    """Make attempts first ... last of this kind; after a crash go on behind it."""
    began = time.monotonic()
    while first < last:
        first = _in_a_process(what, seed, first, last, report)
    report.seconds += time.monotonic() - began


def _in_a_process(what: str, seed: int, first: int, last: int, report: Report) -> int:
    """Returns where the next process has to begin."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told"
        with told.open("wb") as stream, (Path(folder) / "stderr").open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz", "--within",
                 f"{what}:{seed}:{first}:{last}:{folder}"],
                stdout=stream, stderr=errors, cwd=ROOT, env=environment(),
            )  # fmt: skip
            hung = _wait(process, told)
        place, done = first, False
        for text in told.read_text().splitlines():
            line = json.loads(text)
            if "begin" in line:
                place = line["begin"]
            elif "attempt" in line:
                report.note(line)
            done |= "done" in line
        if done and process.returncode == 0:
            return last
        trace = (Path(folder) / "stderr").read_text(errors="replace")[-2000:]
        outcome = "hung" if hung else f"crashed ({process.returncode})"
        report.note({"name": what, "outcome": outcome, "attempt": place, "wrong": trace})
        return place + 1


def environment() -> dict[str, str]:
    paths = [str(ROOT), str(ROOT / "tests")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}


def _wait(process: subprocess.Popen[bytes], told: Path) -> bool:
    """Until the process ends; kill it, and return True, where nothing is told for long."""
    size, since = -1, time.monotonic()
    while True:
        try:
            process.wait(0.2)
            return False
        except subprocess.TimeoutExpired:
            pass
        if told.stat().st_size != size:
            size, since = told.stat().st_size, time.monotonic()
        elif time.monotonic() - since > PATIENCE:
            process.kill()
            process.wait()
            return True


def tell(**line: Any) -> None:
    """A line to the watching process, at once: a crash must not lose it."""
    os.write(1, (json.dumps(line) + "\n").encode())
