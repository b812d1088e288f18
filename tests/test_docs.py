"""What the documents say is there: their code runs, the functions they name and link exist."""

import importlib
import re
import runpy
import tomllib
from pathlib import Path

import pytest

from fastbackprop.__main__ import main
from fastbackprop.activations import ACTIVATIONS
from fastbackprop.costs import COSTS
from fastbackprop.engines import ENGINES, loopfree, loops
from fastbackprop.initializers import INITIALIZERS
from fastbackprop.optimizers import OPTIMIZERS

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DERIVATION = ROOT / "docs" / "derivation.md"
DOCUMENTS = [README, *sorted(ROOT.glob("docs/*.md"))]

EQUATIONS = ["weighted_input", "output_error", "hidden_error", "weight_gradient", "bias_gradient"]
COSTS_AND_OUTPUTS = [cost for costs in COSTS.values() for cost in costs]

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def rows(text):
    """The cells of every row of every table."""
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]


def headings(text):
    """The anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@documents
def test_python_blocks_run(document, tmp_path, monkeypatch):
    """From top to bottom, as one reads them: a later block may use names of an earlier one."""
    monkeypatch.chdir(tmp_path)
    text, names = document.read_text("utf-8"), {}
    blocks = list(re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    assert blocks
    for block in blocks:
        above = text.count("\n", 0, block.start(1))  # so that errors name the document's lines
        exec(compile("\n" * above + block[1], document.name, "exec"), names)
    if document == README:
        assert names["right"].mean() > 0.9


@documents
def test_links_lead_somewhere(document):
    """To a file, a heading, or, from a name to a file of code, to what has that name there."""
    text = document.read_text("utf-8")
    links = re.findall(r"\[([^]]+)\]\((?!https?:)([^)#]*)#?([^)]*)\)", text)
    assert links
    for label, path, anchor in links:
        target = document.parent / path if path else document
        assert target.is_file(), path
        if anchor:
            assert anchor in headings(target.read_text("utf-8"))
        if target.suffix == ".py" and re.fullmatch(r"`\w+`", label):
            names = target.resolve().relative_to(ROOT).with_suffix("").parts
            assert hasattr(importlib.import_module(".".join(names)), label.strip("`")), label


@pytest.mark.parametrize("equation", range(len(EQUATIONS)))
def test_equations_are_those_of_the_functions(equation):
    """The README's row holds the first lines of the docstrings, docs/derivation.md the formulas."""
    name = EQUATIONS[equation]
    (cells,) = [
        row for row in rows(README.read_text("utf-8")) if row[0].startswith(f"({equation})")
    ]
    derivation = " ".join(DERIVATION.read_text("utf-8").split())
    for cell, engine in zip(cells[1:], (loops, loopfree), strict=True):
        number, formula = getattr(engine, name).__doc__.splitlines()[0].split("  ", 1)
        assert number == f"({equation})"
        assert cell.startswith(f"`{formula}` <br> [`{name}`]")
        assert formula.split(" = ", 1)[1] in derivation


def test_the_equations_are_all_there():
    """Every function with a number is in the list above."""
    numbered = {
        name
        for name, function in vars(loopfree).items()
        if re.match(r"\(\d\)  ", getattr(function, "__doc__", None) or "")
    }
    assert numbered == set(EQUATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_table_of_activations(name):
    activation = ACTIVATIONS[name]
    table = {row[0].split("`")[1]: row for row in rows(README.read_text("utf-8")) if "`" in row[0]}
    cells = table[name]
    assert cells[1] == f"`{activation.formula}`"
    assert cells[3] == f"`{activation.initializer}`"
    assert ("output only" in cells[0]) == activation.coupled


@pytest.mark.parametrize("cost", COSTS_AND_OUTPUTS, ids=lambda cost: f"{cost.name}-{cost.output}")
def test_table_of_costs(cost):
    output = f"`{cost.output}`" if cost.output else "any"
    expected = [f"`{cost.name}`", output, f"`{cost.formula}`"]
    table = [[row[0].split(",")[0], *row[1:3]] for row in rows(README.read_text("utf-8"))]
    assert expected in table


def test_the_teaching_example_is_right(capsys):
    """Its numbers, made with Python's sums, are those of `trace`; every equation is there."""
    runpy.run_path(str(ROOT / "examples" / "teaching.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert {f"({n})" for n in range(5)} <= set(re.findall(r"^\(\d\)", printed, re.MULTILINE))
    (difference,) = re.findall(r"the largest difference is (\S+)\.$", printed, re.MULTILINE)
    assert float(difference) < 1e-14
    assert len(re.findall(r"^ +dC/d", printed, re.MULTILINE)) == 17


def test_every_name_is_documented():
    text = README.read_text("utf-8")
    for optimizer in OPTIMIZERS.values():
        assert f"[`{optimizer.__name__}`]" in text
    for name in ENGINES:
        assert name == "loops" or f'engine="{name}"' in text  # "loops" is what one gets unasked
    assert {activation.initializer for activation in ACTIVATIONS.values()} <= set(INITIALIZERS)


@pytest.mark.parametrize(
    "command",
    [
        'pip install ".[demo]" && python -m fastbackprop demo',
        'pip install -e ".[test]" && python -m pytest -n auto',
    ],
)
def test_the_two_commands(command):
    lines = README.read_text("utf-8").splitlines()
    assert lines.count(command) == 1
    assert len([line for line in lines if line.startswith("pip install")]) == 2
    (extra,) = re.findall(r"\.\[(\w+)\]", command)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert extra in project["optional-dependencies"]


@documents
def test_commands_exist(document, capsys):
    commands = set(re.findall(r"python -m fastbackprop (\w+)", document.read_text("utf-8")))
    assert document != README or commands == {"demo", "compare", "warmup"}
    for command in commands:
        with pytest.raises(SystemExit) as end:
            main([command, "--help"])
        assert end.value.code == 0
        assert command in capsys.readouterr().out


@documents
def test_nothing_of_one_machine(document):
    assert not re.search(r"(?<!\w)/(work|tmp|home|root|Users)/", document.read_text("utf-8"))
