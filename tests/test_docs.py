"""What the documents say is there: their code runs, the functions they name and link exist."""

import html
import importlib
import inspect
import json
import re
import runpy
import tomllib
from functools import partial
from pathlib import Path

import from_sources
import naive
import numpy as np
import pytest

import fastbackprop as fb
from fastbackprop.__main__ import main
from fastbackprop.engines import ENGINES, loopfree, loops
from fastbackprop.functions.activations import ACTIVATIONS
from fastbackprop.functions.costs import COSTS
from fastbackprop.functions.initializers import INITIALIZERS
from fastbackprop.jit.numba_internals import NEWEST_TESTED
from fastbackprop.optimizers import OPTIMIZERS
from fastbackprop.training.metrics import METRICS

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DERIVATION = ROOT / "docs" / "derivation.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
DOCUMENTS = [README, CONTRIBUTING, *sorted(ROOT.glob("docs/**/*.md"))]

EQUATIONS = ["weighted_input", "output_error", "hidden_error", "weight_gradient", "bias_gradient"]

BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def those(documents):
    name = {path: path.relative_to(ROOT).as_posix() for path in DOCUMENTS}
    return pytest.mark.parametrize("document", documents, ids=name.get)


documents = those(DOCUMENTS)


def rows(text):
    """The cells of every row of every table."""
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]


def headings(text):
    """The anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.compiled  # hundreds of epochs
@those([path for path in DOCUMENTS if BLOCK.search(path.read_text("utf-8"))])
def test_python_blocks_run(document, tmp_path, monkeypatch):
    """From top to bottom, as one reads them: a later block may use names of an earlier one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    text, names = document.read_text("utf-8"), {}
    for block in BLOCK.finditer(text):
        for package in re.findall(
            r"^(?:import|from) (torch|sklearn|onnx|dask)\b", block[1], re.MULTILINE
        ):
            pytest.importorskip(package)
        above = text.count("\n", 0, block.start(1))  # so that errors name the document's lines
        exec(compile("\n" * above + block[1], document.name, "exec"), names)
    if document == README:
        assert names["right"].mean() > 0.9


@documents
def test_links_lead_somewhere(document):
    """To a file, a heading, or, from a name to a file of code, to what has that name there."""
    text = document.read_text("utf-8")
    links = re.findall(r"\[([^]]+)\]\((?!https?:)([^)#]*)#?([^)]*)\)", text)
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


REGISTRIES = {
    "activations": ACTIVATIONS,
    "costs": COSTS,
    "optimizers": OPTIMIZERS,
    "schedules": [
        kind.__name__
        for kind in fb.Schedule.__subclasses__()
        if kind.__module__ == "fastbackprop.optimizers.schedules"  # others are of other tests
    ],
    "initializers": INITIALIZERS,
    "metrics": METRICS,
}


@pytest.mark.parametrize("name", from_sources.TABLES)
def test_tables_have_every_name(name):
    text = from_sources.table(name)
    header, _, *entries = rows(text)
    assert {re.findall(r"`(\w+)`", row[0])[0] for row in entries} == set(REGISTRIES[name])
    assert all(len(row) == len(header) and all(row) for row in entries)
    assert f"<!-- table: {name} -->" in (ROOT / "docs" / "functions.md").read_text("utf-8")
    on_site = rows(from_sources.table(name, from_sources.OnSite))
    assert [len(row) for row in on_site] == [len(row) for row in rows(text)]


@documents
def test_tables_are_current(document):
    """`python docs/from_sources.py` has nothing to change."""
    text = document.read_text("utf-8")
    assert from_sources.with_tables(text) == text


def test_formulas_are_typeset():
    """On the page of the derivation all are, and no code is taken for one."""
    page = from_sources.on_page_markdown(DERIVATION.read_text("utf-8"))
    outside = re.sub(
        r"```.*?```|<(div|span) class=.tex.>.*?</\1>|``.*?``", "", page, flags=re.DOTALL
    )
    assert not re.search(r"`[^`\n]*\^[^`\n]*`|^    \S", outside, re.MULTILINE)
    formulas = re.findall(r"<(?:div|span) class=.tex.>(.*?)<", page)
    texts = [html.unescape(formula) for formula in formulas]
    assert any(r"\delta_{j}^{l}" in text and r"\sum_{k}" in text for text in texts)
    assert not [text for text in texts if re.search(r"net\.|trace|\(\.\)", text)]


def test_the_site_loads_nothing_from_elsewhere():
    """KaTeX, its fonts and the pictures are files of the site."""
    config = (ROOT / "mkdocs.yml").read_text("utf-8")
    added = re.findall(r"[\w/.]+\.(?:css|js)\b", config)
    assert "katex/katex.min.js" in added
    for path in added:
        text = (ROOT / "docs" / path).read_text("utf-8")
        assert not re.search(r"(?:url\(|@import|src=)['\"]?https?:", text)
        for font in re.findall(r"url\((fonts/[^)]+)\)", text):
            assert (ROOT / "docs" / path).with_name("fonts").joinpath(Path(font).name).is_file()


def test_the_first_screen_of_the_readme_has_the_page_and_its_picture():
    first = (ROOT / "README.md").read_text("utf-8").split("```python")[0]
    assert "](docs/backprop.png)](docs/backprop.html)" in first


def test_the_start_page_begins_with_the_plot():
    text = (ROOT / "docs" / "index.md").read_text("utf-8")
    plot = text.index("(compare.png)")
    assert not re.search(r"^#{2,}|```|equation|derivation", text[:plot], re.MULTILINE)
    assert text.index("Lower is", plot) < text.index("##", plot)


@documents
def test_what_pages_take_from_sources(document):
    """Markers are replaced, links into the reference lead to what is documented."""
    page = from_sources.on_page_markdown(document.read_text("utf-8"))
    assert "<!--" not in page
    if document == DERIVATION:
        for name in EQUATIONS:
            assert f"def {name}(" in page


def test_sources_are_those_of_compiled_functions():
    tabs = from_sources.sources("engines.loops.bias_gradient engines.loopfree.bias_gradient")
    assert tabs.startswith('=== "engines/loops.py"\n\n    ```python\n    @kernel')
    assert "g[j] += delta[j]" in tabs and "Delta.sum(axis=0)" in tabs


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
    for name in ENGINES:
        assert f'engine="{name}"' in text
    assert {activation.initializer for activation in ACTIVATIONS.values()} <= set(INITIALIZERS)


def hunks():
    """The worked diffs of CONTRIBUTING.md: file, what is there before, what is added."""
    text = CONTRIBUTING.read_text("utf-8")
    for diff in re.findall(r"^```diff\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^--- a/.*\n", diff, flags=re.MULTILINE)[1:]:
            path, *places = part.split("@@\n")
            for lines in places:
                before = re.findall(r"^ (.*\n)", lines, re.MULTILINE)
                added = re.findall(r"^\+(.*\n)", lines, re.MULTILINE)
                yield path.strip().removeprefix("+++ b/"), "".join(before), "".join(added)


def slopes(f, x):
    return (f(x + 1e-5) - f(x - 1e-5)) / 2e-5


def test_worked_diffs_apply_and_are_right():
    """They fit the files as they are; what they add has the derivatives that they say."""
    entries, oracles = [], {}
    for path, before, added in hunks():
        assert (ROOT / path).read_text("utf-8").count(before) == 1, (path, before)
        if path == "tests/naive.py":
            oracles |= eval(f"{{{added}}}", vars(naive))
        elif path.startswith("fastbackprop/"):
            module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
            kind = inspect.signature(module.register).parameters["kind"].default

            def register(*arguments, kind=kind, **options):
                entries.append(kind(*arguments, **options))

            exec(added, vars(module) | {"register": register})
    activation, cost = entries
    z, y = np.linspace(-3, 3, 13), 0.3
    same = partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6)
    same(activation.derivative(z, activation.sigma(z)), slopes(activation.sigma, z))
    sigma, slope = oracles[activation.name]
    same(activation.sigma(z), [sigma(z_k) for z_k in z])
    same(activation.derivative(z, None), [slope(z_k) for z_k in z])
    same(activation.second(z, None), slopes(lambda z: activation.derivative(z, None), z))
    same(activation.third(z, None), slopes(lambda z: activation.second(z, None), z))
    terms, slope = oracles[cost.name]
    same(cost.terms(z, z, y), [terms(a_k, y) for a_k in z])
    same(cost.gradient(z, z, y), [slope(a_k, y) for a_k in z])
    same(cost.gradient(z, z, y), slopes(lambda a: cost.terms(z, a, y), z))
    same(cost.second(z, z, y), slopes(lambda a: cost.gradient(z, a, y), z))


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


def test_what_is_claimed_is_tested():
    """Every version of Python that is named, the lowest of Numba and NumPy, the newest of Numba."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    claimed = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))
    workflow = (ROOT / ".github" / "workflows" / "tests.yml").read_text("utf-8")
    assert f"python: {json.dumps(claimed)}" in workflow
    assert project["requires-python"] == f">={claimed[0]}"
    numba, numpy = project["dependencies"]
    assert re.fullmatch(r"numpy>=[\d.]+", numpy)
    major, minor = NEWEST_TESTED
    assert re.fullmatch(rf"numba>=[\d.]+,<{major}\.{minor + 1}", numba)
    for script in (workflow, (ROOT / ".ci" / "run").read_text("utf-8")):
        assert "python .ci/lowest.py" in script


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
