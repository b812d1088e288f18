"""What a notebook shows of a network and of a trace."""

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from fastbackprop import html

if TYPE_CHECKING:
    from fastbackprop.network import Network, Trace

MOST_COLUMNS = 6  # neurons of a layer in the table of a trace
MOST_LAYERS = 12  # in the drawing


def of_network(network: "Network") -> str:
    """Layers, activations, parameters and memory, with a drawing."""
    machine, sizes = network.machine, network.sizes
    names = ["input", *map(str, machine.sigma)]
    rows = [[str(0), f"{sizes[0]:,}", "input", "", ""]]
    for l, (W, sigma) in enumerate(zip(network.weights, machine.sigma, strict=True), 1):
        n = f"{W.size + W.shape[1]:,}"
        rows.append([str(l), f"{W.shape[1]:,}", escape(str(sigma)), f"{len(W)} x {W.shape[1]}", n])
    size = html.memory(network.n_parameters * network.dtype.itemsize)
    return html.block(
        "Network",
        html.drawing(sizes, names) if len(sizes) <= MOST_LAYERS else "",
        html.table(["layer", "neurons", "activation", "weights", "parameters"], rows),
        html.note(
            f"{network.n_parameters:,} parameters ({size}) of {network.dtype}; cost "
            f"{machine.cost}; engine {network.engine}"
        ),
    )


def of_trace(trace: "Trace") -> str:
    """Every quantity of the first sample, layer by layer, and the size of the gradients."""
    n, rows = len(trace.a[0]), []
    columns = min(max(a.shape[1] for a in trace.a), MOST_COLUMNS)
    for l in range(len(trace.a)):
        kinds = [("a", trace.a[l])]
        if l:
            kinds = [("z", trace.z[l - 1]), *kinds, ("delta", trace.delta[l - 1])]
        for name, values in kinds:
            first, largest = values[0], float(np.abs(values[0]).max())
            cells = [html.shaded(float(x), largest) for x in first[:MOST_COLUMNS]]
            cells += [""] * (columns - len(cells))
            more = len(first) - MOST_COLUMNS
            rows.append([f"{name}<sup>{l}</sup>", *cells, f"{more} more" if more > 0 else ""])
    gradients = [
        [f"{l}", *(f"{np.sqrt(np.mean(g * g)):.3g}" for g in (W, b))]
        for l, (W, b) in enumerate(
            zip(trace.weight_gradients, trace.bias_gradients, strict=True), 1
        )
    ]
    of_first = f"The first of {n} samples; delta is of the mean cost"
    return html.block(
        f"Trace: C = {trace.cost:.6g}",
        html.note(of_first if n > 1 else "One sample"),
        html.table(["", *(str(k) for k in range(1, columns + 1)), ""], rows),
        html.note("Root mean square of the gradients"),
        html.table(["layer", "dC/dW", "dC/db"], gradients),
    )
