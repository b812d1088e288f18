"""Pictures of a network itself: its neurons and weights, and the function that it computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastbackprop.plot.axes import NEGATIVE, POSITIVE, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fastbackprop.network import Network

MOST_NEURONS = 256  # of a layer that is drawn neuron by neuron
MOST_NUMBERS = 12  # neurons of a layer whose numbers are readable
GRID = 200  # points along an axis of `decision`


def network(net: Network, x: Any = None, y: Any = None, ax: Axes | None = None) -> Axes:
    """Draw the neurons and the weights, and one sample on its way forward and back.

    Weights are lines, wider and darker the larger they are; blue is positive, orange negative, in
    proportion to the largest weight of their layer. With `x`, the neurons have the colours of their
    activations; with `y` too, a ring around each has the colour of its error delta. Where layers
    are small the numbers are there as well.

    Parameters
    ----------
    net : Network
        Layers of at most 256 neurons.
    x : array_like, (n_0,) or (1, n_0), optional
    y : int or array_like, (n_targets,) or (1, n_targets), optional
        A label, or the targets.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; those of a new figure, large enough for the network, by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError, TypeError
        For a larger layer, for `y` without `x`, or as `Network.trace` does.
    """
    from fastbackprop.network.samples import one_sample

    sizes, largest = net.sizes, max(net.sizes)
    if largest > MOST_NEURONS:
        raise ValueError(
            f"plot.network draws layers of at most {MOST_NEURONS} neurons; the largest has "
            f"{largest}. plot.weights shows the weights of any network"
        )
    if y is not None and x is None:
        raise ValueError("plot.network takes y together with x")
    a = delta = None
    if y is not None:
        trace = net.trace(*one_sample(net, x, y))
        a, delta = [v[0] for v in trace.a], [v[0] for v in trace.delta]
    elif x is not None:
        a = [v[0] for v in net.activations(np.atleast_2d(np.asarray(x)))]
    height = min(2.0 + 0.55 * largest, 9.0)
    ax = new_axes(1.6 + 2.1 * net.n_layers, height) if ax is None else ax
    gap = max(1.0, 0.45 * largest)  # between layers, in rows
    places = [(l * gap, _rows(n, largest)) for l, n in enumerate(sizes)]
    _weights(ax, net, places)
    _neurons(ax, net, places, a, delta)
    names = ["input", *map(str, net.machine.sigma)]
    top = max(rows.max() for _, rows in places) + 0.9
    for (column, _), n, name in zip(places, sizes, names, strict=True):
        ax.text(column, top, f"{name}\n{n}", ha="center", va="bottom", fontsize=9)
    ax.set_ylim(-top, top + 1.1)
    ax.set_xlim(-0.5 * gap, (net.n_layers + 0.5) * gap)
    ax.set_axis_off()
    return ax


def _rows(n: int, largest: int) -> np.ndarray:
    """Heights of the neurons of a layer; smaller layers are spread out a little."""
    rows: np.ndarray = (np.arange(n) - (n - 1) / 2)[::-1] * (largest / n) ** 0.6
    return rows


def _weights(ax: Axes, net: Network, places: list[tuple[float, np.ndarray]]) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgb

    for W, (x, rows), (u, after) in zip(net.weights, places[:-1], places[1:], strict=True):
        j, k = (index.ravel() for index in np.indices(W.shape))
        size = abs(W) / (abs(W).max() or 1.0)
        order = np.argsort(size.ravel())
        part, positive = size.ravel()[order], (W.ravel() >= 0)[order]
        colors = np.ones((W.size, 4))
        colors[:, :3] = np.where(positive[:, None], to_rgb(POSITIVE), to_rgb(NEGATIVE))
        many = min(1.0, (60 / W.size) ** 0.4)  # where there are many, only the large ones stand out
        colors[:, 3] = np.clip((0.15 + 0.85 * part) * many + part**4 * (1 - many), 0, 1)
        ends = np.empty((W.size, 2, 2))
        ends[:, 0] = np.column_stack([np.full(W.size, x), rows[j]])
        ends[:, 1] = np.column_stack([np.full(W.size, u), after[k]])
        widths = (0.3 + 3.2 * part) * (0.3 + 0.7 * many)
        lines = LineCollection(list(ends[order]), colors=colors, linewidths=widths, zorder=1)
        ax.add_collection(lines)


def _neurons(
    ax: Axes,
    net: Network,
    places: list[tuple[float, np.ndarray]],
    a: list[np.ndarray] | None,
    delta: list[np.ndarray] | None,
) -> None:
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    signs = LinearSegmentedColormap.from_list("signs", [NEGATIVE, "#ffffff", POSITIVE])
    largest = max(net.sizes)
    size = 620 if largest <= MOST_NUMBERS else 9000 / largest * min(1.0, 24 / largest)
    for l, (x, rows) in enumerate(places):
        xs, edge = np.full(len(rows), x), {"edgecolors": "#444444", "linewidths": 0.8}
        a_l = None if a is None else a[l]
        delta_l = delta[l - 1] if delta is not None and l else None
        if delta_l is not None:
            ring = signs(Normalize(*_symmetric(delta_l))(delta_l))
            ax.scatter(xs, rows, s=size * 1.75, c=ring, zorder=2, **edge)
        inside: Any = "white" if a_l is None else signs(Normalize(*_symmetric(a_l))(a_l))
        ax.scatter(xs, rows, s=size, c=inside, zorder=3, **edge)
        if largest <= MOST_NUMBERS:
            _numbers(ax, x, rows, a_l, delta_l)


def _numbers(
    ax: Axes, x: float, rows: np.ndarray, a: np.ndarray | None, delta: np.ndarray | None
) -> None:
    """a in the neurons, delta below them."""
    for k, row in enumerate(rows):
        if a is not None:
            white = abs(a[k]) > 0.65 * _symmetric(a)[1]
            color = "white" if white else "black"
            middle = {"ha": "center", "va": "center", "fontsize": 7, "zorder": 4}
            ax.text(x, row, f"{a[k]:.2f}", color=color, **middle)
        if delta is not None:
            text = ax.annotate(
                f"$\\delta$ {delta[k]:.2g}",
                (x, row),
                (0, -19),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=7,
                zorder=4,
            )
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.8})


def _symmetric(values: np.ndarray) -> tuple[float, float]:
    largest = float(abs(values).max()) or 1.0
    return -largest, largest


# --- the function --------------------------------------------------------------------------------


def decision(net: Network, X: Any, y: Any, ax: Axes | None = None) -> Axes:
    """Draw the function of a network of one or two inputs, with samples.

    Two inputs and several outputs: the region of each class, darker where its output is larger. Two
    inputs and one output: the output as a surface in colours, and, of a sigmoid, the line of 1/2.
    One input: the outputs as curves.

    Parameters
    ----------
    net : Network
        Of one or two inputs.
    X : array_like, (n_samples, n_0)
    y : array_like, (n_samples,) or (n_samples, n_targets)
        Labels or targets: the colour of a sample, or its height.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; those of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError, TypeError
        For another number of inputs, or X and y that do not fit.
    """
    X, y = np.asarray(X, dtype=float), np.asarray(y)
    if net.sizes[0] > 2:
        raise ValueError(f"plot.decision is for one or two inputs; the network has {net.sizes[0]}")
    if X.ndim != 2 or X.shape[1] != net.sizes[0] or len(X) != len(y) or not len(X):
        raise ValueError(
            f"X must have shape (n_samples, {net.sizes[0]}) and y as many rows; "
            f"got {X.shape} and {y.shape}"
        )
    ax = new_axes() if ax is None else ax
    low, high = X.min(axis=0), X.max(axis=0)
    margin = 0.06 * np.where(high > low, high - low, 1.0)
    ends = np.stack([low - margin, high + margin])
    draw = _curves if net.sizes[0] == 1 else _surface if net.sizes[-1] == 1 else _regions
    draw(ax, net, X, y, [np.linspace(left, right, GRID) for left, right in ends.T])
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _curves(ax: Axes, net: Network, X: np.ndarray, y: np.ndarray, axes: list[np.ndarray]) -> None:
    outputs = net.predict(axes[0][:, None])
    targets = y.reshape(len(X), -1)
    one_hot = targets.shape[1] == 1 and net.sizes[-1] > 1 and targets.dtype.kind in "iub"
    if one_hot:
        targets = np.eye(net.sizes[-1])[targets[:, 0]]
    for k in range(net.sizes[-1]):
        color = f"C{k}"
        if k < targets.shape[1]:
            ax.scatter(X[:, 0], targets[:, k], s=14, color=color, alpha=0.5, linewidths=0)
        ax.plot(axes[0], outputs[:, k], color=color, linewidth=2, label=f"output {k + 1}")
    if net.sizes[-1] > 1:
        ax.legend(frameon=False)
    ax.set_xlabel("input")
    ax.set_ylabel("output")


def _on_grid(net: Network, axes: list[np.ndarray]) -> np.ndarray:
    """a^L on a grid, (GRID, GRID, n_L)."""
    points = np.stack(np.meshgrid(*axes), axis=-1)
    return net.predict(points.reshape(-1, 2)).reshape(GRID, GRID, -1)


def _surface(ax: Axes, net: Network, X: np.ndarray, y: np.ndarray, axes: list[np.ndarray]) -> None:
    surface, targets = _on_grid(net, axes)[:, :, 0], y.ravel()
    is_probability = net.output == "sigmoid"
    both = np.concatenate([surface.ravel(), targets])
    low, high = (0.0, 1.0) if is_probability else (float(both.min()), float(both.max()))
    colors = "RdBu" if is_probability else "viridis"
    levels = np.linspace(low, high + 1e-9, 21)
    shown = ax.contourf(*axes, surface, levels=levels, cmap=colors, alpha=0.75)
    if is_probability:
        ax.contour(*axes, surface, levels=[0.5], colors="black", linewidths=1.2)
    ax.scatter(
        *X.T, c=targets, cmap=colors, vmin=low, vmax=high, s=18, edgecolors="black", linewidths=0.4
    )
    from matplotlib.ticker import MaxNLocator

    ax.figure.colorbar(shown, ax=ax, label="output", ticks=MaxNLocator(6))
    ax.set(xlabel="input 1", ylabel="input 2")


def _regions(ax: Axes, net: Network, X: np.ndarray, y: np.ndarray, axes: list[np.ndarray]) -> None:
    from matplotlib.colors import to_rgb

    outputs = _on_grid(net, axes)
    labels = y.argmax(axis=1) if y.ndim == 2 and y.shape[1] > 1 else y.ravel().astype(int)
    best = outputs.argmax(axis=2)
    colors = np.array([to_rgb(f"C{k % 10}") for k in range(net.sizes[-1])])
    spread = np.ptp(outputs, axis=2, keepdims=True)
    sure = 0.15 + 0.4 * spread / (spread.max() or 1.0)  # how much its output stands out
    picture = 1 - sure * (1 - colors[best])
    box = axes[0][0], axes[0][-1], axes[1][0], axes[1][-1]
    ax.imshow(picture, extent=box, origin="lower", aspect="auto", interpolation="nearest")
    if len(np.unique(best)) > 1:
        edges = np.arange(net.sizes[-1] - 1) + 0.5
        ax.contour(*axes, best, levels=edges, colors="black", linewidths=0.8)
    for k in np.unique(labels):
        here = labels == k
        ax.scatter(
            *X[here].T,
            color=colors[k],
            s=18,
            edgecolors="black",
            linewidths=0.4,
            label=f"class {k}",
        )
    ax.legend(frameon=True, fontsize=8, loc="best")
    ax.set(xlabel="input 1", ylabel="input 2")
