"""What notebooks show: whole HTML, with the numbers, on a light and a dark page."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

import fastbackprop as fb
from fastbackprop import html

VOID = {"br", "hr", "input", "link", "meta", "img"}


class Checker(HTMLParser):
    """Every element is closed, in order; ids and scripts would disturb the page."""

    def __init__(self, text):
        super().__init__()
        self.open, self.words = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        assert tag != "script" and "id" not in dict(attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)


def words(thing):
    """The text that is shown."""
    text = thing._repr_html_()
    colors = set(re.findall(r"(?:stroke|fill|color|background)[=:] ?\"?(#\w+|black|white)", text))
    assert colors <= {*html.COLORS}, "colours have to stand out from white and from black"
    return " ".join(Checker(text).words)


X, y = np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 3


@pytest.fixture
def net():
    options = {"output": "softmax", "cost": "cross_entropy", "engine": "numpy", "rng": 0}
    return fb.Network([4, 16, 5, 3], hidden=["tanh", fb.LeakyReLU(0.2)], **options)


def test_network(net):
    shown = words(net)
    for text in ("tanh", "leaky_relu(0.2)", "softmax", "16 x 5", "cross_entropy", "float32"):
        assert text in shown
    assert f"{net.n_parameters:,} parameters ({4 * net.n_parameters} bytes)" in shown
    assert net._repr_html_().count('r="5.5"') == 4 + 5 + 5 + 3  # of 16 neurons 5, and dots
    words(fb.Network([3] * 30, engine="numpy"))


def test_names_are_escaped():
    own = fb.Activation("<b>&", lambda z: z, lambda z, a: z)
    shown = fb.Network([2, 3, 1], hidden=own, engine="numpy")._repr_html_()
    assert "<b>" not in shown and "&lt;b&gt;&amp;" in shown


def test_history(net):
    history = net.fit(X, y, epochs=5, validation=0.25, metrics="accuracy")
    shown = words(history)
    assert "History of 5 epochs" in shown and "ended by" not in shown
    history.ended_by = "callback"
    assert "History of 5 epochs, ended by callback" in words(history)
    for name in ("training", "validation", "validation_accuracy", f"{history.cost[-1]:.4g}"):
        assert name in shown
    paths = re.findall(r'<path d="(M[^"]*)" fill="none" stroke="#', history._repr_html_())
    assert [path.count("L") for path in paths] == [4, 4]


COSTS = [[], [1.0], [2.0, np.nan, 1.0], [np.inf], [3.0, 3.0], [100.0, 0.1]]


@pytest.mark.parametrize("costs", COSTS)
def test_any_history_is_drawn(costs):
    history = fb.History()
    for cost in costs:
        history.append({"cost": cost, "seconds": 0.1})
    words(history)
    assert "nan" not in "".join(re.findall(r' d="([^"]*)"', history._repr_html_()))


def test_trace(net):
    trace = net.trace(X, y)
    shown = words(trace)
    assert f"C = {trace.cost:.6g}" in shown and "The first of 20 samples" in shown
    for value in (*trace.z[1][0][:5], *trace.delta[2][0]):
        assert f"{value:.3g}" in shown
    assert "10 more" in shown
    assert "One sample" in words(net.trace(X[:1], y[:1]))


def test_estimators():
    estimators = pytest.importorskip("fastbackprop.sklearn")
    estimator = estimators.MLPClassifier(engine="numpy", max_iter=20, n_iter_no_change=1, tol=1e9)
    before = estimator._repr_html_()
    assert "MLPClassifier" in before and "fastbackprop" not in before
    after = estimator.fit(X, y)._repr_html_()
    assert "History of" in after and "4 x 100" in after
    assert estimator._repr_mimebundle_()["text/html"].count('class="fastbackprop"') == 2


def test_tables():
    tabular = pytest.importorskip("fastbackprop.tabular")
    frame = pytest.importorskip("pandas").DataFrame(X, columns=["<a>", "b", "c", "d"])
    model = tabular.TabularClassifier(quality="fast", max_epochs=1, n_folds=2, random_state=0)
    assert "networks" not in model._repr_html_()
    shown = model.fit(frame, y)._repr_html_()
    assert "2 networks; the loss of held-out rows is" in shown
    assert ">&lt;a&gt;</td><td>number" in shown and "scaled" in shown
