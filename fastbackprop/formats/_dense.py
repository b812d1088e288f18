"""What all formats share: a table's entry for an activation, and a network from layers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastbackprop import inputs
from fastbackprop.functions.activations import ACTIVATIONS, PARAMETRIC, Activation, LayerNorm
from fastbackprop.network import Network

P = "p"  # in a table: the activation's parameter


def activation(name: str, p: Sequence[float] = ()) -> str | Activation:
    """The registered activation of this name with these parameters."""
    usual = ACTIVATIONS[name].p
    if np.allclose(p, usual, rtol=1e-6, atol=0):  # some formats keep them in float32
        return name
    return PARAMETRIC[name](*(float(value) for value in p))


def layer_norm(of: str | Activation, epsilon: float) -> Activation:
    """`LayerNorm`, of an epsilon that some formats keep in float32."""
    shortest = float(str(np.float32(epsilon)))
    return LayerNorm(of, shortest if np.isclose(epsilon, shortest, rtol=1e-7, atol=0) else epsilon)


def entry(table: Mapping[str, Any], activation: Activation, format: str) -> Any:
    """What the table has for this activation. Raises ValueError with what it knows."""
    if activation.name in table and activation.is_registered:
        return table[activation.name]
    other = activation.name in ACTIVATIONS and not activation.is_registered
    whose = " of another function" if other else ""
    known = ", ".join(repr(name) for name in table if name in ACTIVATIONS)
    raise ValueError(
        f"{format} has nothing for the activation {activation.name!r}{whose}; it has {known}"
    )


def sigmas(network: Network) -> list[Activation]:
    """sigma_1 ... sigma_L."""
    return network.machine.sigma


def network(
    layers: Sequence[tuple[Any, Any]],
    sigma: Sequence[str | Activation] | None,
    options: Mapping[str, Any],
    what: str,
) -> Network:
    """A network of these (W, b), (n_{l-1}, n_l) and (n_l,), with sigma_1 ... sigma_L.

    `options` are `Network`'s; the dtype is that of the first W where they say nothing else. With
    sigma None they name the activations; else they may name an output where there is none. Raises
    ValueError where the layers do not fit one another.
    """
    if not layers:
        raise ValueError(f"{what} has no linear layer")
    options = {"dtype": np.asarray(layers[0][0]).dtype} | dict(options)
    if sigma is not None:
        *hidden, output = sigma
        if "hidden" in options:
            raise ValueError(f"hidden is what {what} says it is: leave it out")
        if options.get("output", output) != output != "identity":
            raise ValueError(
                f"{what} ends with {output}: leave output={options['output']!r} out, which would "
                f"take its place"
            )
        options = {"hidden": hidden, "output": output} | options
    elif "hidden" not in options and len(layers) > 1:
        raise ValueError(f"{what} does not say what the activations are: pass hidden='relu', say")
    dtype = inputs.float_dtype(options["dtype"])
    sizes = [len(layers[0][0])]
    checked = []
    for l, (W, b) in enumerate(layers, 1):
        W = inputs.numeric(W, dtype, f"W^{l} of {what}")
        b = inputs.numeric(b, dtype, f"b^{l} of {what}")
        if W.ndim != 2 or b.shape != W.shape[1:] or len(W) != sizes[-1]:
            raise ValueError(
                f"layer {l} of {what} must map {sizes[-1]} neurons: W of shape ({sizes[-1]}, n), "
                f"b of shape (n,); got {W.shape} and {b.shape}"
            )
        sizes.append(W.shape[1])
        checked.append((W, b))
    net = Network(sizes, **options)
    for l, (W, b) in enumerate(checked):
        net.weights[l], net.biases[l] = W, b
    return net
