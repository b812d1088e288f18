"""One sample, every number with its equation: the numbers are right, in every form."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

import fastbackprop as fb
from fastbackprop.functions import ACTIVATIONS, COSTS

WORDS = {"abs": abs, "max": max, "min": min} | {
    name: getattr(math, name)
    for name in ("cos", "erf", "exp", "expm1", "log", "log1p", "sin", "sqrt", "tanh")
}
ELEMENTWISE = [name for name, activation in ACTIVATIONS.items() if not activation.coupled]
PAIRS = [(cost, c.output or "tanh") for cost, of in COSTS.items() for c in of]
PAIRS += [("squared_error", "softmax"), ("huber", "log_softmax"), ("hinge", "identity")]


def network(hidden="tanh", output="sigmoid", cost="squared_error", sizes=(2, 3, 2)):
    options = {"hidden": hidden, "output": output, "cost": cost, "rng": 3}
    net = fb.Network(sizes, **options, dtype="float64", engine="numpy")
    for b in net.biases:
        b[:] = np.linspace(-0.2, 0.3, len(b))
    return net


def target(net):
    kind = net.machine.cost.targets
    n = net.machine.cost.n_targets(net.sizes[-1])
    return (
        1 if kind == "distribution" else np.resize([1.0, 1.0] if kind == "sign" else [0.8, 0.3], n)
    )


def check(explanation, trace):
    """Values are those of the trace; terms, calculated, give the values to their digits."""
    lines = {
        line.name: line
        for step in [*explanation.forward, *explanation.backward]
        for line in step.lines
    }
    expected = {"C": trace.cost}
    for letter, of in (("a", trace.a), ("z", [None, *trace.z]), ("delta", [None, *trace.delta])):
        expected |= {
            f"{letter}^{l}_{k + 1}": value
            for l, values in enumerate(of)
            if values is not None
            for k, value in enumerate(values[0])
        }
    for l, (W, b) in enumerate(zip(trace.weight_gradients, trace.bias_gradients, strict=True), 1):
        expected |= {f"dC/dw^{l}_{k + 1}{j + 1}": W[k, j] for k, j in np.ndindex(W.shape)}
        expected |= {f"dC/db^{l}_{j + 1}": b[j] for j in range(len(b))}
    assert {*lines} == {*expected}
    calculated = 0
    for name, line in lines.items():
        assert line.value == pytest.approx(expected[name], abs=1e-14)
        if line.terms and "sigma" not in line.terms:
            value = eval(line.terms.replace("^", "**"), dict(WORDS))
            assert value == pytest.approx(line.value, abs=2e-3, rel=5e-3), name
            calculated += 1
    return calculated


@pytest.mark.parametrize("hidden", ELEMENTWISE)
def test_every_activation(hidden):
    net = network(hidden)
    trace = net.trace([[0.5, -1.0]], [[1.0, 0.0]])
    n = check(fb.explain(net, [0.5, -1.0], [1.0, 0.0]), trace)
    assert n == 5 + 1 + 5 + 12  # z, C, delta, weights


@pytest.mark.parametrize(("cost", "output"), PAIRS)
def test_every_cost(cost, output):
    net = network(output=output, cost=cost)
    y = target(net)
    explanation = fb.explain(net, [0.5, -1.0], y)
    check(explanation, net.trace([[0.5, -1.0]], [y]))
    assert net.machine.cost.formula in str(explanation)


@pytest.mark.parametrize("hidden", [fb.LayerNorm("gelu"), fb.LeakyReLU(0.2)])
def test_layers_that_couple_their_neurons_and_parameters(hidden):
    net = network(hidden)
    check(fb.explain(net, [[0.5, -1.0]], [[1.0, 0.0]]), net.trace([[0.5, -1.0]], [[1.0, 0.0]]))


def bent(z):
    return z * z if z > 0 else 0.0


def bent_derivative(z, a):
    return 2.0 * z if z > 0 else 0.0


def test_own_functions():
    net = network(fb.Activation("bent", bent, bent_derivative))
    explanation = fb.explain(net, [0.5, -1.0], [1.0, 0.0])
    check(explanation, net.trace([[0.5, -1.0]], [[1.0, 0.0]]))
    assert "2 * z_j if z_j > 0 else 0" in str(explanation)


def test_text_has_the_equations():
    text = str(fb.explain(network(), [0.5, -1.0], [1.0, 0.0]))
    numbers = re.findall(r"^\((\d)\)", text, re.MULTILINE)
    assert numbers == ["0", "0", "1", "2", "3", "4", "3", "4"]
    assert (
        "delta^1_j = sigma_1'(z^1_j) sum_k delta^2_k w^2_jk    sigma_1'(z_j) = 1 - a_j * a_j"
        in text
    )
    assert "dC/da_j = a_j - y_j, sigma_2'(z_j) = a_j * (1 - a_j)" in text


def test_html_and_latex_have_every_value():
    net = network("gelu", "softmax", "cross_entropy", (2, 3, 11))
    explanation = fb.explain(net, [0.5, -1.0], 10)
    html, latex = explanation._repr_html_(), explanation.to_latex()
    formulas = re.findall(r"<math>.*?</math>", html)
    drawn = [
        "".join(ElementTree.fromstring(formula.replace("&nbsp;", " ")).itertext())
        for formula in formulas
    ]
    assert any("δ" in text and "∑" in text for text in drawn)
    for step in [*explanation.forward, *explanation.backward]:
        for line in step.lines:
            digits = re.sub(r"^-", "", f"{line.value:.4f}")
            if 1e-3 <= abs(line.value):
                assert digits in latex and any(digits in text for text in drawn)
    assert r"w_{1 , 11}^{2}" in latex
    assert latex.count(r"\begin{align*}") == latex.count(r"\end{align*}") > 5
    assert len(re.findall(r"(?<!\\){", latex)) == len(re.findall(r"(?<!\\)}", latex))


def test_refusals():
    with pytest.raises(ValueError, match="may have 500; it has 1,"):
        fb.explain(fb.Network([10, 100, 1], engine="numpy"), np.zeros(10), 0.0)
    with pytest.raises(ValueError, match=r"x must be one sample, \(2,\); got shape \(2, 2\)"):
        fb.explain(network(), np.zeros((2, 2)), [1.0, 0.0])
    with pytest.raises(ValueError, match="X must have shape"):
        fb.explain(network(), np.zeros(3), [1.0, 0.0])
