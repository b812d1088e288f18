"""The annotations accept what users write, and reject what they should not."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
USE = Path(__file__).with_name("typed_use.py")


def test_typed_use(monkeypatch):
    api = pytest.importorskip("mypy.api")
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    options = ["--config-file=", "--strict", "--follow-imports=silent", "--hide-error-context"]
    options += ["--allow-any-generics"]  # before NumPy 2.2, that is what a bare np.ndarray is
    quiet = ["--no-error-summary", "--no-pretty", "--no-color-output"]
    cache = ROOT / ".mypy_cache" / "use"  # apart: options are not those of the package
    printed, trouble, _ = api.run([*options, *quiet, f"--cache-dir={cache}", str(USE)])
    assert not trouble
    complaints: dict[int, str] = {}
    for line in printed.splitlines():
        found = re.match(r".*typed_use\.py:(\d+): error: (.*)", line)
        if found:
            complaints[int(found[1])] = found[2]
    lines = USE.read_text("utf-8").splitlines()
    wrong = {i for i, line in enumerate(lines, 1) if line.endswith("# wrong")}
    assert {i: text for i, text in complaints.items() if i not in wrong} == {}
    assert [lines[i - 1] for i in wrong - set(complaints)] == []
