"""Formulas of the plain notation as LaTeX and MathML."""

import re
from xml.etree import ElementTree

import pytest

from fastbackprop.functions.activations import ACTIVATIONS
from fastbackprop.functions.costs import COSTS
from fastbackprop.notation import latex, mathml

KNOWN = {
    "z^l_k = sum_j a^{l-1}_j w^l_jk + b^l_k": (
        r"z_{k}^{l} = \sum_{j} a_{j}^{l - 1} w_{j k}^{l} + b_{k}^{l}"
    ),
    "dC/da^L_j sigma_L'(z^L_j)": r"\frac{\partial C}{\partial a_{j}^{L}} {\sigma'}_{L} (z_{j}^{L})",
    "(Delta^{l+1} (W^{l+1})^T) (.) sigma'(Z)": (
        r"(\Delta^{l + 1} (W^{l + 1})^{T}) \odot \sigma' (Z)"
    ),
    "1 / (1 + e^-z)": r"\frac{1}{1 + e^{- z}}",
    "e^z_k / sum_i e^z_i": r"\frac{e^{z_{k}}}{\sum_{i} e^{z_{i}}}",
    "e^a_k^(2 - p) / (2 - p)": r"\frac{e^{a_{k} (2 - p)}}{2 - p}",
    "1/2 sum_k (a_k - y_k)^2": r"\frac{1}{2} \sum_{k} (a_{k} - y_{k})^{2}",
    "z for z > 0, else p z": r"z \text{ for } z > 0 , \text{ else } p z",
    "a_k (1[k=j] - a_j)": r"a_{k} (\mathbf{1} [k = j] - a_{j})",
    "sqrt(2 / pi) abs(x)": r"\sqrt{\frac{2}{\pi}} \left\lvert x \right\rvert",
    "0 * inf": r"0 \cdot \infty",
}
FORMULAS = [a.formula for a in ACTIVATIONS.values()]
FORMULAS += [cost.formula for costs in COSTS.values() for cost in costs]


@pytest.mark.parametrize("formula", KNOWN)
def test_latex(formula):
    assert latex(formula) == KNOWN[formula]


@pytest.mark.parametrize("formula", [*KNOWN, *FORMULAS])
def test_every_formula_is_read_to_its_end(formula):
    """Braces are balanced, MathML is XML, and each letter and number is in both."""
    text, math = latex(formula), mathml(formula).replace("&nbsp;", " ")
    depth = 0
    for sign in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if sign == "{" else -1
        assert depth >= 0
    assert depth == 0
    drawn = "".join(ElementTree.fromstring(math).itertext())
    for number in re.findall(r"\d+\.?\d*", formula):
        assert number in text and number in drawn
    for name in re.findall(r"(?<![A-Za-z])[a-z](?![A-Za-z])", formula):
        assert name in text and name in drawn


@pytest.mark.parametrize(
    "formula", ["", ")", "(", "a)) b", "^", "e^", "/ 2", "a / ", "{[(", "é ~ x"]
)
def test_anything_is_written_somehow(formula):
    """What is no formula raises nothing."""
    latex(formula), mathml(formula)
