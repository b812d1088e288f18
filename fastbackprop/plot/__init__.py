"""Plots of networks and trainings with matplotlib (the extra `plot`). All return the Axes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbackprop.plot.axes import TRAINING, VALIDATION
from fastbackprop.plot.axes import new_axes as _new_axes
from fastbackprop.plot.networks import decision, network

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fastbackprop.network import Network
    from fastbackprop.training import ErrorFlow, History

__all__ = [
    "activations",
    "compare",
    "decision",
    "error_flow",
    "history",
    "network",
    "weights",
]

# Okabe and Ito's colours, which colour-blind eyes tell apart; the first is for the first system.
COLORS = ("#0072b2", "#56b4e9", "#009e73", "#d55e00", "#e69f00", "#cc79a7", "#222222")
MARKERS = "os^DvPX"


def history(history: History, ax: Axes | None = None) -> Axes:
    """Plot the learning curve: mean cost of training and validation samples after each epoch.

    Parameters
    ----------
    history : History
        The result of `Network.fit`.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; those of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = _new_axes() if ax is None else ax
    curves = [
        ("training", history.cost, TRAINING),
        ("validation", history.validation_cost, VALIDATION),
    ]
    for label, cost, color in curves:
        if len(cost) > 0:
            epochs = np.arange(1, len(cost) + 1)
            marker = "o" if len(cost) == 1 else None
            ax.plot(epochs, cost, color=color, linewidth=1.8, marker=marker, label=label)
    costs = [x for _, cost, _ in curves for x in cost if np.isfinite(x)]
    if costs and min(costs) > 0 and max(costs) > 10 * min(costs):
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter("{x:g}")
    else:  # over less than a power of ten a logarithmic axis has no ticks
        ax.yaxis.set_major_formatter("{x:.6g}")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("epoch")
    ax.set_ylabel("mean cost")
    ax.grid(color="0.9")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    return ax


# --- layers --------------------------------------------------------------------------------------

BINS = 80


def weights(net: Network, ax: Axes | None = None) -> Axes:
    """Plot a histogram of the weights of each layer, the first layer on top.

    Parameters
    ----------
    net : Network
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; those of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        All histograms have the same height, whatever the number of weights. Mean and standard
        deviation are beside each.
    """
    layers = []
    for l, W in enumerate(net.weights, 1):
        note = f"{_short(W.mean())} ± {_short(W.std(), sign=False)}"
        layers.append((f"$W^{{{l}}}$", f"{W.shape[0]} x {W.shape[1]}", W.ravel(), note))
    return _ridges(layers, "weight", ax)


def activations(net: Network, X: Any, ax: Axes | None = None) -> Axes:
    """Plot a histogram of the activations a^l of each layer, for all rows of X.

    Parameters
    ----------
    net : Network
    X : array_like, (n_samples, n_0)
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; those of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        Mean and standard deviation are beside each histogram. It leaves out exact zeros (silent
        units of relu), which would dwarf the rest; their share is beside it too.
    """
    layers = []
    for l, a in enumerate(net.activations(X)[1:], 1):
        note = f"{_short(a.mean())} ± {_short(a.std(), sign=False)}"
        zero = np.mean(a == 0)
        note += f"\n{zero:.0%} are zero" if zero > 0 else ""
        name = [*net.hidden, net.output][l - 1]
        layers.append((f"$a^{{{l}}}$", f"{a.shape[1]} {name}", a[a != 0], note))
    return _ridges(layers, "activation", ax)


def _ridges(layers: list[tuple[str, str, np.ndarray, str]], what: str, ax: Axes | None) -> Axes:
    """A histogram for each (name, description, values, note), one below the other."""
    ax = _new_axes() if ax is None else ax
    everything = np.concatenate([values for _, _, values, _ in layers])
    low, high = (everything.min(), everything.max()) if everything.size else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BINS + 1)
    for place, (_, _, values, note) in enumerate(layers):
        y, color = -place, _depth_color(place, len(layers))
        ax.axhline(y, color="0.85", linewidth=0.8, zorder=1)
        if values.size:
            counts = np.histogram(values, edges)[0]
            heights = 0.86 * counts / counts.max()
            ax.stairs(heights + y, edges, baseline=y, fill=True, color=color, alpha=0.35, zorder=2)
            ax.stairs(heights + y, edges, baseline=y, color=color, linewidth=1.3, zorder=3)
        ax.annotate(
            note,
            (1.01, y + 0.04),
            xycoords=("axes fraction", "data"),
            va="bottom",
            fontsize=9,
            color="0.35",
            annotation_clip=False,
        )
    if low < 0 < high:
        ax.axvline(0, color="0.75", linewidth=0.8, linestyle=(0, (3, 3)), zorder=1)
    ax.set_yticks([-place for place in range(len(layers))])
    ax.set_yticklabels(
        [f"{name}\n{description}" for name, description, _, _ in layers], va="bottom"
    )
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(-len(layers) + 0.85, 1)
    ax.set_xlabel(what)
    ax.spines[["top", "right", "left"]].set_visible(False)
    return ax


def _short(x: float, sign: bool = True) -> str:
    """Two significant digits, with a real minus."""
    text = f"{x:.2g}"
    return text.replace("-", "\u2212") if sign else text


def _depth_color(place: int, n: int) -> Any:
    """From light to dark with the depth of a layer."""
    from matplotlib import colormaps

    return colormaps["viridis_r"](0.18 + 0.72 * place / max(n - 1, 1))


def error_flow(flow: ErrorFlow, ax: Axes | None = None) -> Axes:
    """Plot the size of the errors delta^l over the epochs, a line for each layer.

    Lines far apart are gradients that vanish (the first layer below the last) or explode (above).

    Parameters
    ----------
    flow : ErrorFlow
        After it was a callback of `Network.fit`.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; those of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        Epoch 0 is before the training.
    """
    ax = _new_axes() if ax is None else ax
    sizes = np.array(flow.sizes)
    if not sizes.size:
        raise ValueError("the ErrorFlow has seen no training: pass it to fit(callbacks=...)")
    epochs, n_layers = np.arange(len(sizes)), sizes.shape[1]
    ends = []
    for l in range(n_layers):
        color, size = _depth_color(l, n_layers), np.where(sizes[:, l] > 0, sizes[:, l], np.nan)
        marker = "o" if len(sizes) == 1 else None
        ax.plot(epochs, size, color=color, linewidth=1.8, marker=marker)
        seen = size[np.isfinite(size)]
        if seen.size:
            ends.append((seen[-1], f"$\\delta^{{{l + 1}}}$", color))
    ax.set_yscale("log")
    ends.sort(key=lambda end: end[0])
    low, high = np.log(ax.get_ylim())
    heights = _spread(np.log([size for size, _, _ in ends]), 0.055 * (high - low))
    for (size, name, color), height in zip(ends, heights, strict=True):
        ax.annotate(
            name,
            (epochs[-1], size),
            (1.04, (height - low) / (high - low)),
            textcoords="axes fraction",
            va="center",
            color=color,
            fontsize=12,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.8, "shrinkA": 2},
        )
    ax.set_ylim(np.exp(low), np.exp(high))
    ax.set_xlim(epochs[0] - 0.01 * len(sizes), epochs[-1])
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("epoch")
    ax.set_ylabel("root mean square of the errors")
    ax.grid(color="0.92")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _spread(heights: np.ndarray, apart: float) -> np.ndarray:
    """Increasing heights, moved as little as possible to be this far apart: isotonic regression."""
    n, steps = len(heights), apart * np.arange(len(heights))
    moved = heights - steps
    for i in range(n):
        means = [[(heights - steps)[a:b].mean() for b in range(i + 1, n + 1)] for a in range(i + 1)]
        moved[i] = max(map(min, means))
    spread: np.ndarray = moved + steps
    return spread


# --- systems -------------------------------------------------------------------------------------


STEPS = ("train", "many")  # tasks of `python -m fastbackprop compare`


def compare(figures: Mapping[str, Any], ax: Axes | None = None) -> Axes:
    """Plot the time of a training step over its number of operations, a line for each system.

    Parameters
    ----------
    figures : mapping
        The JSON that `python -m fastbackprop compare --json FILE` writes. The plot has relu with
        SGD if that was measured, else the first functions that were, in the first dtype. Of
        `compare --many` it has the smallest number of networks.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on; those of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = _new_axes() if ax is None else ax
    done = [r for r in figures["results"] if r["task"] in STEPS and r["reason"] is None]
    networks = min((r.get("networks", 1) for r in done), default=1)
    done = [r for r in done if r.get("networks", 1) == networks]
    kinds = {(r["activation"], r["optimizer"], r["dtype"]): None for r in done}
    ax.set(xscale="log", yscale="log")
    if not kinds:
        return ax
    activation, optimizer, dtype = kind = min(kinds, key=lambda k: k[:2] != ("relu", "sgd"))
    lines: dict[str, list[tuple[float, float]]] = {}
    for r in done:
        if (r["activation"], r["optimizer"], r["dtype"]) == kind:
            lines.setdefault(r["system"], []).append((r["flops"], r["seconds"] * 1e6))
    ends = []
    for n, (system, points) in reversed(list(enumerate(lines.items()))):
        x, y = np.array(sorted(points)).T
        color, first = COLORS[n % len(COLORS)], n == 0
        style = {"linewidth": 2.6 if first else 1.3, "markersize": 5.5 if first else 4.5}
        ax.plot(x, y, color=color, marker=MARKERS[n % len(MARKERS)], label=system, **style)
        ends.append((system, y[0], color, first))
    x = np.array(sorted({x for points in lines.values() for x, _ in points}))
    peak = figures["peak_gflops"][dtype] * 1e3  # operations in a microsecond
    ax.plot(x, x / peak, color="0.45", linewidth=0.8, linestyle=(0, (4, 3)), label="peak", zorder=1)
    ends.append(("measured peak", x[0] / peak, "0.45", False))
    _label_left_ends(ax, x, ends)

    threads = figures["threads"]
    several = "one thread" if threads == 1 else f"{threads} threads"
    name = {"sgd": "SGD", "adam": "Adam"}[optimizer]
    of = f" of each of {networks} networks" if networks > 1 else ""
    title = f"Time of a training step{of}: {activation}, {name}, {dtype}, {several}"
    ax.set_title(title, loc="left", fontsize=11)
    ax.set_xlabel("floating-point operations in a step")
    ax.set_ylabel("microseconds")
    ax.grid(color="0.92")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _label_left_ends(
    ax: Axes, x: np.ndarray, ends: Iterable[tuple[str, float, str, bool]], apart: float = 1.75
) -> None:
    """Name each line beside its first point, names at least a factor `apart` from each other."""
    ends = sorted(ends, key=lambda end: end[1])
    heights = _spread(np.log([y for _, y, _, _ in ends]), np.log(apart))
    left, right = x[0], x[-1]
    for (name, y, color, bold), height in zip(ends, np.exp(heights), strict=True):
        ax.plot([left / 1.9, left / 1.1], [height, y], color=color, linewidth=0.8)
        ax.annotate(
            name,
            (left / 2, height),
            ha="right",
            va="center",
            fontsize=9,
            color=color if bold else "0.2",
            fontweight="bold" if bold else "normal",
        )
    decades = max(np.log10(right / left), 1.0)
    ticks = 10.0 ** np.arange(16)
    ax.set_xticks([tick for tick in ticks if left / 2 <= tick <= right * 2])
    ax.set_xlim(left / 10 ** (0.58 * decades), right * 10 ** (0.05 * decades))
    ax.xaxis.set_major_formatter(_operations)
    ax.tick_params(labelsize=9)
    ax.yaxis.set_major_formatter(lambda y, position: f"{y:,.0f}" if y >= 1 else f"{y:g}")
    ax.minorticks_off()


def _operations(n: float, position: int | None = None) -> str:
    """1e7 is 10 MFLOP."""
    power = min(int(np.log10(n) + 1e-9) // 3, 4)
    return f"{n / 1000**power:g} {('', 'k', 'M', 'G', 'T')[power]}FLOP"
