"""Pictures of a training, with matplotlib (the extra `plot`): Axes in, Axes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fastbackprop.callbacks import History

TRAINING, VALIDATION = "#1f5fa8", "#d1622b"


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
