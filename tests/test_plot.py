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


# --- networks ------------------------------------------------------------------------------------


def test_network_has_every_weight_and_the_numbers_of_a_sample(ax):
    net = fb.Network([2, 3, 2], hidden="tanh", output="sigmoid", rng=0, engine="numpy")
    x, y = [0.5, -1.0], [1.0, 0.0]
    assert plot.network(net, x, y, ax) is ax
    for W, lines in zip(net.weights, ax.collections[:2], strict=True):
        assert len(lines.get_segments()) == W.size
        order = np.argsort(abs(W).ravel())
        widths, blue = lines.get_linewidths(), lines.get_colors()[:, 2] > lines.get_colors()[:, 0]
        assert (np.diff(widths) >= 0).all() and widths[-1] > 2 * widths[0]
        np.testing.assert_array_equal(blue, (W.ravel() > 0)[order])
    trace = net.trace([x], [y])
    texts = [text.get_text() for text in ax.texts]
    for a in trace.a:
        assert {f"{value:.2f}" for value in a[0]} <= {*texts}
    for delta in trace.delta:
        assert {f"$\\delta$ {value:.2g}" for value in delta[0]} <= {*texts}
    assert {"input\n2", "tanh\n3", "sigmoid\n2"} <= {*texts}
    ax.figure.canvas.draw()


def test_large_networks_have_no_numbers(ax):
    net = fb.Network([16, 64, 64, 4], output="softmax", cost="cross_entropy", engine="numpy")
    plot.network(net, np.ones(16), 2, ax)
    shown = [text.get_text() for text in ax.texts]
    assert shown == ["input\n16", "relu\n64", "relu\n64", "softmax\n4"]
    ax.figure.canvas.draw()
    with pytest.raises(ValueError, match="at most 256 neurons; the largest has 300"):
        plot.network(fb.Network([2, 300, 1], engine="numpy"), ax=ax)
    with pytest.raises(ValueError, match="y together with x"):
        plot.network(net, y=1, ax=ax)


POINTS = np.random.default_rng(0).uniform(-1, 1, (30, 2))


def test_decision_regions_are_those_of_predict(ax):
    """The colour of each pixel is nearest to that of the class that is predicted there."""
    from matplotlib.colors import to_rgb

    net = fb.Network([2, 8, 3], output="softmax", cost="cross_entropy", rng=0, engine="numpy")
    labels = np.arange(30) % 3
    assert plot.decision(net, POINTS, labels, ax) is ax
    (image,) = ax.images
    picture, (left, right, low, high) = np.asarray(image.get_array()), image.get_extent()
    grid = np.meshgrid(np.linspace(left, right, 200), np.linspace(low, high, 200))
    expected = net.predict(np.stack(grid, axis=-1).reshape(-1, 2)).argmax(axis=1).reshape(200, 200)
    colors = 1 - np.array([to_rgb(f"C{k}") for k in range(3)])
    shares = (1 - picture) @ colors.T / np.linalg.norm(colors, axis=1)
    np.testing.assert_array_equal(shares.argmax(axis=2), expected)
    assert [len(points.get_offsets()) for points in ax.collections[-3:]] == [10, 10, 10]
    ax.figure.canvas.draw()


def test_decision_of_one_output_and_of_one_input(ax):
    net = fb.Network([2, 4, 1], output="sigmoid", cost="cross_entropy", rng=0, engine="numpy")
    plot.decision(net, POINTS, POINTS[:, 0] > 0, ax)
    ax.figure.canvas.draw()
    ax.clear()
    curve = fb.Network([1, 4, 2], hidden="tanh", rng=0, engine="numpy")
    plot.decision(curve, POINTS[:, :1], np.zeros((30, 2)), ax)
    x = ax.lines[0].get_xdata()
    drawn = np.column_stack([line.get_ydata() for line in ax.lines])
    np.testing.assert_array_equal(drawn, curve.predict(x[:, None]))
    ax.figure.canvas.draw()
    with pytest.raises(ValueError, match="one or two inputs; the network has 4"):
        plot.decision(fb.Network([4, 1], engine="numpy"), POINTS, POINTS, ax)
    with pytest.raises(ValueError, match=r"y as many rows; got \(30, 2\) and \(3,\)"):
        plot.decision(net, POINTS, np.zeros(3), ax)


@pytest.mark.parametrize(("low", "high"), [(0.30001, 0.30004), (0.2, 0.9), (0.01, 4.0)])
def test_histories_have_readable_ticks(low, high, ax):
    """At least three labels inside the plot, all different, whatever the range."""
    history = fb.History()
    for cost in np.linspace(high, low, 20):
        history.append({"cost": cost, "seconds": 1.0})
    plot.history(history, ax)
    ax.figure.canvas.draw()
    bottom, top = ax.get_ylim()
    ticks = zip(ax.get_yticks(), labels(ax), strict=True)
    shown = [text for place, text in ticks if bottom <= place <= top and text]
    assert len(shown) == len({*shown}) >= 3
    assert ax.yaxis.get_offset_text().get_text() == ""


def test_names_are_kept_apart():
    heights = plot._spread(np.array([0.0, 0.1, 0.2, 5.0]), 1.0)
    np.testing.assert_allclose(heights, [-0.9, 0.1, 1.1, 5.0])
    np.testing.assert_allclose(plot._spread(np.array([0.0, 3.0]), 1.0), [0.0, 3.0])
