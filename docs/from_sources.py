"""Parts of the pages that are generated from the package; MkDocs calls `on_page_markdown`.

    <!-- source: engines.loops.weighted_input -->    source of a function; tabs for several
    <!-- table: activations -->                      table of a registry
    <!-- classes: optimizers.Optimizer -->           reference of a class and its subclasses
    [`name`](../fastbackprop/machine.py)             a link to code: to its place in the reference

In the plain files the markers are invisible, and the links lead to the source files.
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


def code(text: str) -> str:
    return f"`{text}`"


def summary(thing: Any) -> str:
    """First line of the docstring, or nothing."""
    return (thing.__doc__ or "").strip().partition("\n")[0]


def usual(function: Any) -> str:
    """Default parameters of a function that is selected by name."""
    p = getattr(function, "p", ())
    return f", p = {', '.join(map(str, p))}" if p else ""


def activations() -> Iterator[Row]:
    yield "name", "sigma(z)", "initializer"
    for name, activation in ACTIVATIONS.items():
        only = " (output only)" if activation.coupled else ""
        yield (
            code(name) + only,
            code(activation.formula) + usual(activation),
            code(activation.initializer),
        )


def costs() -> Iterator[Row]:
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
            yield code(name), output, code(cost.formula) + usual(cost), targets[cost.targets]


def optimizers() -> Iterator[Row]:
    yield "name", "class", "method and source"
    for name, kind in OPTIMIZERS.items():
        yield code(name), reference(f"{kind.__module__}.{kind.__name__}", kind), summary(kind)


def learning_rates() -> Iterator[Row]:
    yield "class", "learning rate at epoch e"
    for kind in family("optimizers.schedules.Schedule")[1:]:
        yield reference(f"{kind.__module__}.{kind.__name__}", kind), summary(kind)


def by_name(registry: dict[str, Any]) -> Callable[[], Iterator[Row]]:
    def table() -> Iterator[Row]:
        yield "name", "description"
        for name, thing in registry.items():
            yield code(name), summary(getattr(thing, "value", thing))

    return table


TABLES: dict[str, Callable[[], Iterator[Row]]] = {
    "activations": activations,
    "costs": costs,
    "optimizers": optimizers,
    "schedules": learning_rates,
    "initializers": by_name(INITIALIZERS),
    "metrics": by_name(METRICS),
}


def table(name: str) -> str:
    """A registry as a table in Markdown."""
    header, *rows = TABLES[name]()
    lines: Iterable[Row] = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


# --- links ---------------------------------------------------------------------------------------


def documented() -> set[str]:
    """Modules and objects that are documented on the pages of the reference."""
    pages = PAGES.glob("api/*.md")
    return {
        name for page in pages for name in re.findall(r"^::: (\S+)", page.read_text("utf-8"), re.M)
    }


def reference(name: str, thing: Any) -> str:
    return f"[`{thing.__name__}`][{name}]"


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
    for marker, replacement in (("source", sources), ("table", table), ("classes", classes)):
        markdown = re.sub(rf"<!-- {marker}: (.+?) -->", lambda m, f=replacement: f(m[1]), markdown)
    return re.sub(r"\[([^]]+)\]\((?:\.\./)+([^)#]+)[^)]*\)", link, markdown)
