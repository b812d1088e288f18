"""Pictures of networks: Axes in, Axes out, and on them what the network holds."""

import numpy as np
import pytest

import fastbackprop as fb
from fastbackprop import plot

pytest.importorskip("matplotlib")


@pytest.fixture
def ax():
    from matplotlib.figure import Figure

    return Figure(layout="constrained").subplots()


@pytest.fixture
def net():
    return fb.Network([4, 6, 5, 3], hidden=["relu", "tanh"], rng=0, engine="numpy")


def labels(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def histograms(ax):
    """Counts of what was drawn as an outline, each scaled to its largest, from the top down."""
    outlines = [patch for patch in ax.patches if not patch.get_fill()]
    heights = [p.get_data().values - p.get_data().baseline for p in outlines]
    return [h / h.max() for h in heights], [p.get_data().edges for p in outlines]


def test_weights(net, ax):
    assert plot.weights(net, ax) is ax
    assert labels(ax) == ["$W^{1}$\n4 x 6", "$W^{2}$\n6 x 5", "$W^{3}$\n5 x 3"]
    drawn, edges = histograms(ax)
    for heights, edges_l, W in zip(drawn, edges, net.weights, strict=True):
        counts = np.histogram(W, edges_l)[0]
        assert counts.sum() == W.size
        np.testing.assert_allclose(heights, counts / counts.max())
    ax.figure.canvas.draw()


def test_activations_leave_zeros_out_and_say_how_many(net, ax):
    X = np.random.default_rng(0).normal(size=(50, 4))
    assert plot.activations(net, X, ax) is ax
    assert labels(ax) == ["$a^{1}$\n6 relu", "$a^{2}$\n5 tanh", "$a^{3}$\n3 identity"]
    drawn, edges = histograms(ax)
    for heights, edges_l, a in zip(drawn, edges, net.activations(X)[1:], strict=True):
        counts = np.histogram(a[a != 0], edges_l)[0]
        np.testing.assert_allclose(heights, counts / counts.max())
    zero = np.mean(net.activations(X)[1] == 0)
    assert 0 < zero < 1
    assert [f"{zero:.0%} are zero" in text.get_text() for text in ax.texts] == [True, False, False]
    ax.figure.canvas.draw()


def test_layers_without_any_activity_are_drawn(net, ax):
    net.biases[0] = -100
    plot.activations(net, np.ones((3, 4)), ax)
    assert "100% are zero" in ax.texts[0].get_text()
    plot.weights(fb.Network([2, 2], init="zeros", engine="numpy"), ax)
    ax.figure.canvas.draw()


def test_error_flow(net, ax):
    X, Y = np.random.default_rng(0).normal(size=(20, 4)), np.zeros((20, 3))
    flow = fb.ErrorFlow(X, Y)
    with pytest.raises(ValueError, match="has seen no training"):
        plot.error_flow(flow, ax)
    net.fit(X, Y, epochs=3, callbacks=flow)
    assert plot.error_flow(flow, ax) is ax
    for line, sizes in zip(ax.lines, np.transpose(flow.sizes), strict=True):
        np.testing.assert_array_equal(line.get_data(), (range(4), sizes))
    assert {text.get_text() for text in ax.texts} == {f"$\\delta^{{{l}}}$" for l in (1, 2, 3)}
    ax.figure.canvas.draw()


def test_names_are_kept_apart():
    heights = plot._spread(np.array([0.0, 0.1, 0.2, 5.0]), 1.0)
    np.testing.assert_allclose(heights, [-0.9, 0.1, 1.1, 5.0])
    np.testing.assert_allclose(plot._spread(np.array([0.0, 3.0]), 1.0), [0.0, 3.0])
