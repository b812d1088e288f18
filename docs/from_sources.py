"""Parts of the pages that are generated from the package; MkDocs calls `on_page_markdown`.

    <!-- source: engines.loops.weighted_input -->    source of a function; tabs for several
    <!-- table: activations --> ... <!-- end -->     table of a registry
    <!-- classes: optimizers.Optimizer -->           reference of a class and its subclasses
    <!-- typeset -->                                 formulas of this page are typeset
    [`name`](../fastbackprop/machine.py)             a link to code: to its place in the reference

In the plain files the markers are invisible, and the links lead to the source files. Tables are
there too: `python docs/from_sources.py` writes them anew, and a test compares them.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from fastbackprop.functions.activations import ACTIVATIONS
from fastbackprop.functions.costs import COSTS
from fastbackprop.functions.initializers import INITIALIZERS
from fastbackprop.notation import latex
from fastbackprop.optimizers import OPTIMIZERS
from fastbackprop.training.metrics import METRICS

PAGES = Path(__file__).parent
Row = tuple[str, ...]


def source(name: str) -> str:
    """Source of a function of the package, compiled or not."""
    module, _, attribute = f"fastbackprop.{name}".rpartition(".")
    function = getattr(import_module(module), attribute)
    return inspect.getsource(getattr(function, "py_func", function)).rstrip()


def sources(names: str) -> str:
    """One block of code per name, in a tab titled with its file."""
    tabs = []
    for name in names.split():
        title = name.rpartition(".")[0].replace(".", "/") + ".py"
        lines = ["```python", *source(name).splitlines(), "```"]
        tabs.append(f'=== "{title}"\n\n' + "\n".join("    " + line for line in lines))
    return "\n\n".join(tabs)


def family(name: str) -> list[type]:
    """A class of the package, and its public subclasses in the same module or package."""
    module, _, base = f"fastbackprop.{name}".rpartition(".")
    here = vars(import_module(module))
    kinds = [
        thing for thing in here.values() if isinstance(thing, type) and thing.__name__[0] != "_"
    ]
    return [
        kind
        for kind in kinds
        if issubclass(kind, here[base]) and f"{kind.__module__}.".startswith(f"{module}.")
    ]


def classes(name: str) -> str:
    return "\n\n".join(f"::: {kind.__module__}.{kind.__name__}" for kind in family(name))


# --- tables --------------------------------------------------------------------------------------


class InFile:
    """Cells of the tables in the plain files."""

    @staticmethod
    def formula(text: str) -> str:
        return code(text)

    @staticmethod
    def reference(kind: type) -> str:
        path = Path(*kind.__module__.split(".")).with_suffix(".py")
        return f"[`{kind.__name__}`](../{path.as_posix()})"


class OnSite:
    """Cells of the tables on the web site: formulas are typeset, links lead to the reference."""

    @staticmethod
    def formula(text: str) -> str:
        return tex("span", latex(text))

    @staticmethod
    def reference(kind: type) -> str:
        return f"[`{kind.__name__}`][{kind.__module__}.{kind.__name__}]"


Cells = type[InFile] | type[OnSite]


def code(text: str) -> str:
    return f"`{text}`"


def tex(element: str, formula: str) -> str:
    """An element that docs/typeset.js replaces; Markdown finds nothing to change in it."""
    escaped = re.sub(r"[^\w\s]", lambda sign: f"&#{ord(sign[0])};", formula).replace("_", "&#95;")
    return f'<{element} class="tex">{escaped}</{element}>'


def summary(thing: Any) -> str:
    """First line of the docstring, or nothing."""
    return (thing.__doc__ or "").strip().partition("\n")[0]


def usual(function: Any) -> str:
    """Default parameters of a function that is selected by name."""
    p = getattr(function, "p", ())
    return f", p = {', '.join(map(str, p))}" if p else ""


def activations(cells: Cells) -> Iterator[Row]:
    yield "name", "sigma(z)", "initializer"
    for name, activation in ACTIVATIONS.items():
        only = " (output only)" if activation.coupled else ""
        formula = cells.formula(activation.formula) + usual(activation)
        yield code(name) + only, formula, code(activation.initializer)


def costs(cells: Cells) -> Iterator[Row]:
    yield "cost", "output", "C of one sample", "targets y"
    targets = {
        "real": "real numbers",
        "unit": "each in [0, 1]",
        "distribution": "integer labels, or rows that sum to 1",
        "sign": "-1 or 1",
        "non-negative": "0 or more",
        "positive": "above 0",
    }
    for name, group in COSTS.items():
        for cost in group:
            output = code(cost.output) if cost.output else "any"
            formula = cells.formula(cost.formula) + usual(cost)
            yield code(name), output, formula, targets[cost.targets]


def optimizers(cells: Cells) -> Iterator[Row]:
    yield "name", "class", "method and source"
    for name, kind in OPTIMIZERS.items():
        yield code(name), cells.reference(kind), summary(kind)


def learning_rates(cells: Cells) -> Iterator[Row]:
    yield "class", "learning rate at epoch e"
    for kind in family("optimizers.schedules.Schedule")[1:]:
        yield cells.reference(kind), summary(kind)


def by_name(registry: dict[str, Any]) -> Callable[[Cells], Iterator[Row]]:
    def table(cells: Cells) -> Iterator[Row]:
        yield "name", "description"
        for name, thing in registry.items():
            yield code(name), summary(getattr(thing, "value", thing))

    return table


TABLES: dict[str, Callable[[Cells], Iterator[Row]]] = {
    "activations": activations,
    "costs": costs,
    "optimizers": optimizers,
    "schedules": learning_rates,
    "initializers": by_name(INITIALIZERS),
    "metrics": by_name(METRICS),
}
TABLE = re.compile(r"<!-- table: (\w+) -->.*?<!-- end -->", re.DOTALL)


def table(name: str, cells: Cells = InFile) -> str:
    """A registry as a table in Markdown."""
    header, *rows = TABLES[name](cells)
    lines: Iterable[Row] = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def with_tables(text: str) -> str:
    """The text of a plain file with its tables as they should be."""
    return TABLE.sub(lambda m: f"<!-- table: {m[1]} -->\n\n{table(m[1])}\n\n<!-- end -->", text)


# --- formulas ------------------------------------------------------------------------------------


IN_PROSE = re.compile(
    r"(?<![\w`/])(?:[A-Za-z]+\^(?:\{[^}]*\}|\w)(?:_(?:\{[^}]*\}|\w+))?|n_(?:\{[^}]*\}|[lL0]))(?![\w`])"
)


def typeset(text: str) -> str:
    """Formulas between backticks and in indented blocks, outside fenced code."""
    parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"(?:^    .*\n(?:\n(?=    ))?)+", display, parts[i], flags=re.MULTILINE)
        parts[i] = re.sub(r"``.*?``|\[`[^`\n]+`|`([^`\n]+)`", inline, parts[i])
        parts[i] = IN_PROSE.sub(lambda m: tex("span", latex(m[0])), parts[i])
    return "".join(parts)


def inline(match: re.Match[str]) -> str:
    """A formula has a superscript, a subscript of one letter, a derivative or `grad`."""
    text = match[1]
    if text is None:
        return match[0]
    is_code = re.search(r"\.\w|\*\*|\"|==|\|", text)
    is_formula = re.search(r"\^|\b\w_\w\b|\bdC/d|\bgrad\b|^[A-Z]$|\(\.\)|sigma'|1\[k", text)
    return tex("span", latex(text)) if is_formula and not is_code else match[0]


def display(match: re.Match[str]) -> str:
    """Lines of a block, aligned at their first sign of equality; a label, a remark beside them."""
    lines: list[tuple[str, str]] = []
    for line in re.split(r"\n|,\s{3,}", match[0]):
        label, formula = re.fullmatch(r"\s*(one sample|batch)?\s*(.*?)\s*", line).groups()
        if formula:
            lines.append((label or "", formula))
    rows = []
    for label, formula in lines:
        formula, _, remark = re.sub(r"\s{4,}", "\n", formula).partition("\n")
        left, equal, right = re.match(r"(.*?)((?<=\s)=\s|^=\s|$)(.*)", formula).groups()
        aligned = f"{latex(left)} & {'=' if equal else ''} {latex(right)}"
        aligned += rf" \qquad {latex(remark)}" if remark else ""
        rows.append(rf"\text{{{label}}} && {aligned}" if any(x for x, _ in lines) else aligned)
    return tex("div", r"\begin{aligned} " + r" \\ ".join(rows) + r" \end{aligned}") + "\n\n"


# --- links ---------------------------------------------------------------------------------------


def documented() -> set[str]:
    """Modules and objects that are documented on the pages of the reference."""
    pages = PAGES.glob("api/*.md")
    return {
        name for page in pages for name in re.findall(r"^::: (\S+)", page.read_text("utf-8"), re.M)
    }


def link(match: re.Match[str]) -> str:
    """Links to pages stay; links to code lead to the reference, or become plain text."""
    words, path = match.groups()
    if (PAGES / path).is_file():
        return match[0]
    module = path.removesuffix(".py").replace("/", ".")
    if module not in documented():
        return words
    is_name = re.fullmatch(r"`\w+`", words)
    return f"[{words}][{module}.{words.strip('`')}]" if is_name else f"[{words}][{module}]"


def on_page_markdown(markdown: str, **_: Any) -> str:
    if "<!-- typeset -->" in markdown:
        markdown = typeset(markdown.replace("<!-- typeset -->", ""))
    markdown = TABLE.sub(lambda m: table(m[1], OnSite), markdown)
    for marker, replacement in (("source", sources), ("classes", classes)):
        markdown = re.sub(rf"<!-- {marker}: (.+?) -->", lambda m, f=replacement: f(m[1]), markdown)
    return re.sub(r"\[([^]]+)\]\((?:\.\./)+([^)#]+)[^)]*\)", link, markdown)


if __name__ == "__main__":
    for path in PAGES.glob("**/*.md"):
        text = path.read_text("utf-8")
        path.write_text(with_tables(text), "utf-8")
