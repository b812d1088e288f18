"""Pictures of trainings, with matplotlib (the extra `plot`): Axes in, Axes out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fastbackprop.callbacks import History

TRAINING, VALIDATION = "#1f5fa8", "#d1622b"

# Okabe and Ito's colours, which colour-blind eyes tell apart; the first is for the first system.
COLORS = ("#0072b2", "#56b4e9", "#009e73", "#d55e00", "#e69f00", "#cc79a7", "#222222")
MARKERS = "os^DvPX"


def _new_axes() -> Axes:
    try:
        from matplotlib import pyplot
    except ModuleNotFoundError as error:
        raise ImportError('plotting needs matplotlib: pip install "fastbackprop[plot]"') from error
    return pyplot.subplots(layout="constrained")[1]


def history(history: History, ax: Axes | None = None) -> Axes:
    """Plot the learning curve: mean cost after each epoch, of the training and the validation data.

    Parameters
    ----------
    history : what `Network.fit` returned
    ax : matplotlib Axes to draw on; a new figure's where there is none

    Returns
    -------
    The Axes.
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
    if len(history.cost) > 0 and min(history.cost) > 0:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter("{x:g}")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("epoch")
    ax.set_ylabel("mean cost")
    ax.grid(color="0.9")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    return ax


def compare(figures: Mapping[str, Any], ax: Axes | None = None) -> Axes:
    """Plot the time of a training step over the operations it takes, a line for each system.

    Parameters
    ----------
    figures : what `python -m fastbackprop compare --json FILE` wrote, parsed. Drawn are relu with
        SGD where that was measured, else the first functions that were, in the first dtype.
    ax : matplotlib Axes to draw on; a new figure's where there is none

    Returns
    -------
    The Axes.
    """
    ax = _new_axes() if ax is None else ax
    done = [r for r in figures["results"] if r["task"] == "train" and r["reason"] is None]
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
    title = f"Time of a training step: {activation}, {name}, {dtype}, {several}"
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
    heights = np.log([y for _, y, _, _ in ends])
    # What is pushed up by the names below it, and down by those above, meets in the middle.
    steps = np.log(apart) * np.arange(len(ends))
    up = np.maximum.accumulate(heights - steps) + steps
    down = np.minimum.accumulate((heights - steps)[::-1])[::-1] + steps
    left, right = x[0], x[-1]
    for (name, y, color, bold), height in zip(ends, np.exp((up + down) / 2), strict=True):
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
