"""Some of the attacks of tests/fuzz, and that they notice what they are there for."""

import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # `python -m tests.fuzz` is run from there

from tests.fuzz import calls, configurations, damages, watch

ROOT = Path(__file__).parents[1]


def attacked(kind, first, last):
    report = watch.Report()
    watch.attempts(kind, 0, first, last, report)
    assert not report.wrong, report.text(kind)
    assert sum(report.counts.values()) == last - first
    return {outcome for _, outcome in report.counts}


@pytest.mark.compiled
def test_hostile_calls():
    assert {"accepted", "ValueError", "TypeError"} <= attacked("calls", 0, 150)


@pytest.mark.skipif(os.name != "posix", reason="forks and kills")
def test_kills():
    assert any("killed" in outcome for outcome in attacked("kills", 0, 4))


def test_damaged_files():
    assert {"read", "ValueError"} <= attacked("damages", 0, 300)


def test_configurations():
    outcomes = {
        configurations.attempt(np.random.default_rng([0, i]), "numpy")[0] for i in range(40)
    }
    assert "equal to rounding" in outcomes and "different" not in outcomes


def test_a_crash_and_an_error_without_sense_are_seen(tmp_path, monkeypatch):
    """A copy of the attacks, with a call that crashes and one that raises."""
    folder = tmp_path / "tests" / "fuzz"
    folder.mkdir(parents=True)
    for file in (ROOT / "tests" / "fuzz").glob("*.py"):
        (folder / file.name).write_text(file.read_text("utf-8"), "utf-8")
    text = "import os\n\n\ndef within(seed, first, last, tell):\n    for i in range(first, last):\n"
    text += "        tell(begin=i)\n        if i == 1:\n            os.abort()\n"
    text += '        tell(attempt=i, name="n", outcome="o", wrong="x" * (i == 2))\n'
    (folder / "kills.py").write_text(text)
    monkeypatch.setattr(watch, "ROOT", tmp_path)
    report = watch.Report()
    watch.attempts("kills", 0, 0, 4, report)
    assert report.counts == {("n", "o"): 3, ("kills", f"crashed ({-6})"): 1}
    assert [line.split(":")[0] for line in report.wrong] == ["1", "2"]


def test_a_changed_parameter_is_seen(tmp_path):
    world = calls.World.__new__(calls.World)
    world.nets = [damages.network()]
    world.before = [net.get_parameters() for net in world.nets]
    assert not world.changed()
    world.nets[0].biases[0][0] = np.nan
    assert world.changed() == "network 0 has other parameters, not finite"
    assert not world.changed()


def test_the_attacks_stand_in_the_promises():
    text = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    promised = re.findall(r"`(tests/\w+\.py)::(\w+)`", text)
    assert len(promised) > 25
    for file, name in promised:
        assert f"def {name}(" in (ROOT / file).read_text("utf-8"), (file, name)
