"""One sample through a small network and back: every number with its equation.

`explain` reads the numbers from `Network.trace` and writes the equations of the derivation with
these numbers in them. Derivatives are the formulas of the package, recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastbackprop import html
from fastbackprop.formats.expressions import bare
from fastbackprop.functions.arrays import on_arrays
from fastbackprop.functions.symbols import (
    ELEMENTARY,
    NotRecordable,
    Symbol,
    Z,
    number,
    record,
    symbol,
)
from fastbackprop.network.samples import one_sample
from fastbackprop.notation import latex, mathml

if TYPE_CHECKING:
    from fastbackprop.network import Network

MOST = 500  # parameters of a network that is explained
A, Y = symbol("a"), symbol("y")
BINDING = {  # signs, and how strongly they bind
    **{"add": ("+", 2), "subtract": ("-", 2), "multiply": ("*", 3), "divide": ("/", 3)},
    **{"greater": (">", 1), "greater_equal": (">=", 1), "less": ("<", 1)},
    **{"less_equal": ("<=", 1), "equal": ("==", 1), "not_equal": ("!=", 1)},
}
CALLS = {"maximum": "max", "minimum": "min", "absolute": "abs"} | {n: n for n in ELEMENTARY}
LOOSE, TIGHT = 0, 9


class Line(NamedTuple):
    """A quantity, the terms with numbers, which may be missing, and the value."""

    name: str
    terms: str
    value: float


class Step(NamedTuple):
    """An equation with its number in the derivation, a remark, and its lines."""

    number: str
    formula: str
    remark: str
    lines: list[Line]


class Explanation:
    """What `explain` returns: text by `print`, HTML in a notebook, LaTeX by `to_latex`.

    Attributes
    ----------
    forward, backward : list of Step
        (number, formula, remark, lines); a line is (name, terms, value).
    """

    def __init__(self, title: str, forward: list[Step], backward: list[Step]) -> None:
        self.title, self.forward, self.backward = title, forward, backward

    def _sections(self) -> Iterator[tuple[str, list[Step]]]:
        yield "Forward", self.forward
        yield "Backward", self.backward

    def __str__(self) -> str:
        lines = [self.title]
        for section, steps in self._sections():
            lines += ["", section]
            for step in steps:
                lines += ["", f"{step.number:5}{step.formula}    {step.remark}".rstrip()]
                lines += [f"     {name:10} = {_sum(t, v)}" for name, t, v in step.lines]
        return "\n".join(lines)

    __repr__ = __str__

    def to_latex(self) -> str:
        """A LaTeX source for the body of a document, with the package amsmath."""
        parts = []
        for section, steps in self._sections():
            parts.append(rf"\subsection*{{{section}}}")
            for step in steps:
                number = rf"\tag*{{{step.number}}}" if step.number else ""
                remark = rf"\qquad {latex(step.remark)}" if step.remark else ""
                parts.append(rf"\[ {latex(step.formula)} {remark} {number} \]")
                rows = (rf"{latex(n)} &= {latex(_sum(t, v))}" for n, t, v in step.lines)
                if step.lines:
                    parts.append(r"\begin{align*}" + "\n" + " \\\\\n".join(rows))
                    parts.append(r"\end{align*}")
        return "\n".join(parts) + "\n"

    def to_html(self) -> str:
        """HTML with formulas in MathML, which browsers typeset by themselves."""
        parts = []
        for section, steps in self._sections():
            parts.append(f"<h4>{section}</h4>")
            for step in steps:
                quiet = f'<span class="quiet"> &emsp; {mathml(step.remark)}</span>'
                remark = quiet if step.remark else ""
                parts.append(f"<p>{step.number} {mathml(step.formula)}{remark}</p>")
                rows = [
                    f'<tr><td>{mathml(n)}</td><td class="l">{mathml("= " + _sum(t, v))}</td></tr>'
                    for n, t, v in step.lines
                ]
                parts.append(f"<table><tbody>{''.join(rows)}</tbody></table>")
        return html.block(self.title, *parts)

    def _repr_html_(self) -> str:
        return self.to_html()


def explain(network: Network, x: Any, y: Any) -> Explanation:
    """Every z, a, delta and gradient for one sample, with its equation and the numbers filled in.

    Parameters
    ----------
    network : Network
        Of at most 500 parameters, with any activations and cost.
    x : array_like, (n_0,) or (1, n_0)
    y : int or array_like, (n_targets,) or (1, n_targets)
        A label, or the targets.

    Returns
    -------
    Explanation
        `print` shows it as text, a notebook as HTML with typeset formulas; `to_html()`,
        `to_latex()`.

    Raises
    ------
    ValueError, TypeError
        For a larger network, or as `Network.trace` does.

    Examples
    --------
    >>> import fastbackprop as fb
    >>> net = fb.Network([2, 3, 1], hidden="tanh", rng=0)
    >>> print(fb.explain(net, [0.5, -1.0], [1.0]))  # doctest: +SKIP
    """
    if network.n_parameters > MOST:
        raise ValueError(
            f"explain writes a line for every parameter: the network may have {MOST}; it has "
            f"{network.n_parameters:,}. Network.trace has the arrays"
        )
    return _Writer(network, *one_sample(network, x, y)).explanation()


class _Writer:
    """The steps of one sample."""

    def __init__(self, network: Network, X: np.ndarray, y: np.ndarray) -> None:
        self.network, machine = network, network.machine
        self.trace = network.trace(X, y)
        self.sigma, self.cost = machine.sigma, machine.cost
        self.L, n_out = network.n_layers, network.sizes[-1]
        is_label = y.ndim == 1 and self.cost.targets == "distribution"
        self.y = np.eye(n_out)[int(y[0])] if is_label else np.resize(y.ravel(), n_out)
        self.a = [values[0].astype(float) for values in self.trace.a]
        self.z = [np.zeros(0), *(values[0].astype(float) for values in self.trace.z)]
        self.delta = [np.zeros(0), *(values[0].astype(float) for values in self.trace.delta)]

    def explanation(self) -> Explanation:
        backward = [self.output_error()]
        backward += [self.hidden_error(l) for l in range(self.L - 1, 0, -1)]
        for l in range(self.L, 0, -1):
            backward += self.gradients(l)
        forward = [self.inputs()]
        for l in range(1, self.L + 1):
            forward += self.layer(l)
        return Explanation(repr(self.network), [*forward, self.the_cost()], backward)

    # --- forward ----------------------------------------------------------------------------------

    def inputs(self) -> Step:
        lines = [Line(f"a^0_{_i(j)}", "", x) for j, x in enumerate(self.a[0])]
        return Step("", "a^0_j = x_j", "", lines)

    def layer(self, l: int) -> list[Step]:
        W, b = self.network.weights[l - 1], self.network.biases[l - 1]
        sigma, lines, after = self.sigma[l - 1], [], []
        for k, (z, a) in enumerate(zip(self.z[l], self.a[l], strict=True)):
            terms = f"{_products(self.a[l - 1], W[:, k])} + {_number(b[k])}"
            lines.append(Line(f"z^{l}_{_i(k)}", terms, z))
            of = f"(z^{l})_{_i(k)}" if sigma.coupled else f"({_plain(z)})"
            after.append(Line(f"a^{l}_{_i(k)}", f"sigma_{l}{of}", a))
        name = sigma.formula or sigma.name
        return [
            Step("(0)", f"z^{l}_k = sum_j a^{l - 1}_j w^{l}_jk + b^{l}_k", "", lines),
            Step("", f"a^{l}_k = sigma_{l}(z^{l}_k)", f"sigma_{l}(z) = {name}", after),
        ]

    def the_cost(self) -> Step:
        terms = ""
        if not self.cost.coupled:
            texts = [self.text(self.cost.terms, k) for k in range(len(self.y))]
            terms = " + ".join(texts) if all(texts) else ""
        targets = ", ".join(map(_plain, self.y))
        formula = f"C = {self.cost.formula or self.cost.name}"
        return Step("", formula, f"y = ({targets})", [Line("C", terms, self.trace.cost)])

    # --- backward ---------------------------------------------------------------------------------

    def output_error(self) -> Step:
        """(1), or the derivative of a cost that belongs to its output."""
        L, sigma, cost = self.L, self.sigma[-1], self.cost
        if cost.fused:
            known, texts = self.general(cost.gradient), [""] * len(self.y)
            if known:
                texts = [self.text(cost.gradient, j) for j in range(len(self.y))]
            elif np.allclose(self.delta[L], self.a[L] - self.y, rtol=0, atol=1e-6):
                known = "a_j - y_j"
                pairs = zip(self.a[L], self.y, strict=True)
                texts = [f"{_number(a)} - {_number(y)}" for a, y in pairs]
            lines = [Line(f"delta^{L}_{_i(j)}", texts[j], d) for j, d in enumerate(self.delta[L])]
            remark = f"dC/dz_j = {known}" if known else f"of {cost.name} and {sigma.name} at once"
            return Step("(1)", f"delta^{L}_j = dC/dz^{L}_j", remark, lines)
        A, Z, Y = (np.atleast_2d(v) for v in (self.a[L], self.z[L], self.y))
        of_arrays = _on_arrays(cost)
        gradient = of_arrays.gradient(Z, A, Y)[0]
        slope = self.general(cost.gradient)
        texts = [self.text(cost.gradient, j) or _number(g) for j, g in enumerate(gradient)]
        if sigma.coupled:
            return self.coupled_error(L, gradient, f"dC/da^{L}_k")
        lines = [
            Line(f"delta^{L}_{_i(j)}", f"({texts[j]}) * {self.slope(L, j)}", d)
            for j, d in enumerate(self.delta[L])
        ]
        remark = ", ".join(
            [f"dC/da_j = {slope}"] * bool(slope) + [f"sigma_{L}'(z_j) = {self.general_slope(L)}"]
        )
        return Step("(1)", f"delta^{L}_j = dC/da^{L}_j sigma_{L}'(z^{L}_j)", remark, lines)

    def hidden_error(self, l: int) -> Step:
        """(2)."""
        W, above = self.network.weights[l], self.delta[l + 1]
        if self.sigma[l - 1].coupled:
            g = f"(sum_i delta^{l + 1}_i w^{l + 1}_ki)"
            return self.coupled_error(l, W @ above, g, "(2)")
        lines = [
            Line(f"delta^{l}_{_i(j)}", f"{self.slope(l, j)} * ({_products(above, W[j])})", d)
            for j, d in enumerate(self.delta[l])
        ]
        formula = f"delta^{l}_j = sigma_{l}'(z^{l}_j) sum_k delta^{l + 1}_k w^{l + 1}_jk"
        return Step("(2)", formula, f"sigma_{l}'(z_j) = {self.general_slope(l)}", lines)

    def coupled_error(self, l: int, g: np.ndarray, name: str, number: str = "(1)") -> Step:
        """Where a neuron depends on all z of its layer: with the matrix da/dz."""
        sigma = _on_arrays(self.sigma[l - 1])
        n = len(self.z[l])
        of = np.broadcast_to(self.z[l], (n, n)), np.broadcast_to(self.a[l], (n, n))
        J = sigma.pull_back(np.eye(n), *of)  # da_k/dz_j
        lines = [
            Line(f"delta^{l}_{_i(j)}", _products(g, J[:, j]), d)
            for j, d in enumerate(self.delta[l])
        ]
        formula = f"delta^{l}_j = sum_k {name} da^{l}_k/dz^{l}_j"
        return Step(number, formula, f"{self.sigma[l - 1].name} couples the neurons", lines)

    def gradients(self, l: int) -> list[Step]:
        """(3) and (4)."""
        W, b = self.trace.weight_gradients[l - 1], self.trace.bias_gradients[l - 1]
        lines = [
            Line(
                f"dC/dw^{l}_{_i(k, j)}",
                f"{_number(self.a[l - 1][k])} * {_number(self.delta[l][j])}",
                float(W[k, j]),
            )
            for k in range(W.shape[0])
            for j in range(W.shape[1])
        ]
        biases = [Line(f"dC/db^{l}_{_i(j)}", "", float(b[j])) for j in range(len(b))]
        return [
            Step("(3)", f"dC/dw^{l}_kj = a^{l - 1}_k delta^{l}_j", "", lines),
            Step("(4)", f"dC/db^{l}_j = delta^{l}_j", "", biases),
        ]

    # --- texts of formulas ------------------------------------------------------------------------

    def text(self, function: Callable[..., Any], k: int) -> str:
        """A formula (z, a, y) of the cost with the numbers of an output; "" where none is known."""
        L = self.L
        names = {Z: self.z[L][k], A: self.a[L][k], Y: self.y[k]}
        return self._recorded(function, (Z, A, Y), {s: _number(v) for s, v in names.items()})

    def general(self, function: Callable[..., Any]) -> str:
        """The same with letters."""
        return self._recorded(function, (Z, A, Y), {Z: "z_j", A: "a_j", Y: "y_j"})

    def _recorded(
        self, function: Any, of: tuple[Symbol, ...], names: dict[Symbol, str], p: Any = None
    ) -> str:
        if p is None:
            if self.cost.coupled:
                return ""
            p = self.cost.p
        try:
            return _written(_simplified(record(function, of, p, "formula")), names)[0]
        except NotRecordable:
            return ""

    def slope(self, l: int, j: int) -> str:
        """sigma' with the numbers of a neuron."""
        sigma, z, a = self.sigma[l - 1], self.z[l][j], self.a[l][j]
        names = {Z: _number(z), A: _number(a)}
        text = self._recorded(sigma.derivative, (Z, A), names, sigma.p)
        slope = _on_arrays(sigma).derivative(np.atleast_2d(z), np.atleast_2d(a))
        return f"({text})" if text else _number(float(np.ravel(slope)[0]))

    def general_slope(self, l: int) -> str:
        """sigma' with letters."""
        sigma = self.sigma[l - 1]
        known = self._recorded(sigma.derivative, (Z, A), {Z: "z_j", A: "a_j"}, sigma.p)
        return known or f"da_j/dz_j of {sigma.name}"


def _on_arrays(function: Any) -> Any:
    return on_arrays(function, np.dtype(np.float64))


def _simplified(node: Symbol) -> Symbol:
    """Without products with 0 and 1 and without sums with 0, which parameters leave behind."""
    if not any(isinstance(part, Symbol) for part in node.parts):
        return node
    parts = [_simplified(part) for part in node.parts]
    values = [part.value if part.word == "number" else None for part in parts]
    if node.word == "multiply" and 0.0 in values:
        return number(0.0)
    neutral = {"multiply": 1.0, "add": 0.0}.get(node.word)
    if neutral is not None and neutral in values:
        return parts[1 - values.index(neutral)]
    return symbol(node.word, *parts)


def _written(node: Symbol, names: dict[Symbol, str]) -> tuple[str, int]:
    """The text of a graph, and how strongly its outermost operation binds."""
    if node in names:
        return names[node], TIGHT
    if node.word == "number":
        return (f"{node.value:.6g}" if node.value >= 0 else f"({node.value:.6g})"), TIGHT

    def part(i: int, least: int) -> str:
        text, binding = _written(node.parts[i], names)
        return text if binding >= least else f"({text})"

    if node.word in BINDING:
        sign, binding = BINDING[node.word]
        after = binding + (node.word in ("subtract", "divide"))
        return f"{part(0, binding)} {sign} {part(1, after)}", binding
    if node.word in CALLS:
        arguments = ", ".join(bare(part(i, LOOSE)) for i in range(len(node.parts)))
        return f"{CALLS[node.word]}({arguments})", TIGHT
    if node.word == "where":
        return f"{part(1, 1)} if {part(0, LOOSE)} else {part(2, 1)}", LOOSE
    if node.word == "negative":
        return f"(-{part(0, 3)})", TIGHT
    if node.word == "power":
        return f"{part(0, TIGHT)}^({part(1, LOOSE)})", TIGHT
    raise NotRecordable(f"{node.word} in a text")


def _i(*places: int) -> str:
    """Indices, which count from 1."""
    numbers = [str(place + 1) for place in places]
    together = "".join(numbers)
    if len(numbers) == 1 or all(len(n) == 1 for n in numbers):
        return together
    return "{" + ",".join(numbers) + "}"


def _plain(x: float) -> str:
    """Four decimals, or three digits of a very small or large number."""
    if x == 0:
        return "0.0000"
    return f"{x:.4f}" if 1e-3 <= abs(x) < 1e5 else f"{x:.2e}"


def _number(x: float) -> str:
    """A factor; negative numbers in parentheses."""
    return _plain(x) if x >= 0 else f"({_plain(x)})"


def _products(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> str:
    return " + ".join(
        f"{_number(float(p))} * {_number(float(q))}" for p, q in zip(x, y, strict=True)
    )


def _sum(terms: str, value: float) -> str:
    return f"{terms} = {_plain(value)}" if terms else _plain(value)
