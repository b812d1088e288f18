"""New Axes, and the colours of all plots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastbackprop.names import missing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRAINING, VALIDATION = "#1f5fa8", "#d1622b"
POSITIVE, NEGATIVE = TRAINING, VALIDATION


def new_axes(width: float = 6.4, height: float = 4.8) -> Axes:
    """The Axes of a new figure of this size in inches. Raises ImportError without matplotlib."""
    try:
        from matplotlib import pyplot
    except ModuleNotFoundError as error:
        raise missing("plotting needs matplotlib", "plot") from error
    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]
