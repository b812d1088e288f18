"""Recorded formulas as text: one expression, and names for its parts that occur several times."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from fastbackprop.formats.dense import Share
from fastbackprop.functions import Activation
from fastbackprop.functions.symbols import NotRecordable, Symbol, is_leaf, nodes, recorded

BINARY = {  # alike in C and Python
    **{"add": "+", "subtract": "-", "multiply": "*", "divide": "/"},
    **{"greater": ">", "greater_equal": ">=", "less": "<", "less_equal": "<="},
    **{"equal": "==", "not_equal": "!="},
}
TEMPLATES = {word: f"({{}} {sign} {{}})" for word, sign in BINARY.items()}
TEMPLATES["negative"] = "(-{})"


def graph(activation: Activation, format: str) -> Symbol:
    """The graph of sigma. Raises ValueError where there is none."""
    try:
        return recorded(activation)
    except NotRecordable as error:
        raise ValueError(
            f"{format} has nothing for the activation {activation.name!r}: {error}"
        ) from None


def expression(
    node: Symbol,
    templates: Mapping[str, str],
    number: Callable[[float], str],
    names: Mapping[Symbol, str],
) -> str:
    """The text of a graph; of symbols that have names, the names."""

    def text(node: Symbol) -> str:
        if node in names:
            return names[node]
        if node.word == "number":
            return number(node.value)
        template, parts = templates[node.word], [text(part) for part in node.parts]
        if template[0] not in "({":  # a call
            parts = [bare(part) for part in parts]
        return template.format(*parts)

    return bare(text(node))


def shared(root: Symbol, within: Callable[[Symbol], bool]) -> list[Symbol]:
    """Parts of a graph, those `within`, that occur several times: parts before wholes."""
    order = nodes(root, within)
    uses = Counter(
        part for node in order if within(node) for part in node.parts if isinstance(part, Symbol)
    )
    return [node for node in order if uses[node] > 1 and within(node) and not is_leaf(node)]


def bare(text: str) -> str:
    """Without parentheses around the whole."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for i, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return text[1:-1] if i == len(text) - 1 else text
    return text


def safe(name: str) -> str:
    """A name, a user's own perhaps, as it may stand in a comment."""
    return re.sub(r"[^\w(). -]", "_", name)


def said(parts: Sequence[Share]) -> str:
    """What the file holds."""
    network = parts[0].network
    shape = " -> ".join(map(str, network.sizes))
    text = f"{shape}: {', '.join(safe(s.name) for s in network.machine.sigma)}"
    if len(parts) == 1:
        return f"The network {text}"
    return f"The mean of {len(parts)} networks, the first of them {text}"
