"""A dense network as formats read and write it, and entries of their tables of names."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastbackprop import inputs
from fastbackprop.functions import ACTIVATIONS, Activation, LayerNorm
from fastbackprop.functions.activations import PARAMETRIC

P = "p"  # in a table: the activation's parameter


class Writable(Protocol):
    """The attributes of a network that writers use."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """n_0 ... n_L."""

    @property
    def dtype(self) -> np.dtype:
        """Of all parameters."""

    @property
    def weights(self) -> Sequence[np.ndarray]:
        """W^1 ... W^L, (n_{l-1}, n_l) each."""

    @property
    def biases(self) -> Sequence[np.ndarray]:
        """b^1 ... b^L, (n_l,) each."""

    @property
    def machine(self) -> Any:
        """With `sigma`, sigma_1 ... sigma_L, and `cost`."""

    def get_parameters(self) -> np.ndarray:
        """All of them, (n_parameters,)."""


class Share(NamedTuple):
    """A network of what is written, and its part in the output."""

    network: Writable
    weight: float


def shares(model: Any) -> list[Share]:
    """An ensemble as its members and their weights; a network as itself."""
    if not hasattr(model, "each"):
        return [Share(model, 1.0)]
    return [Share(*pair) for pair in zip(model, model.weights.tolist(), strict=True)]


def all_parameters(parts: Sequence[Share]) -> np.ndarray:
    """Those of every network, one after the other."""
    return np.concatenate([part.network.get_parameters() for part in parts])


class Dense(NamedTuple):
    """A dense network that was read: the arguments of `Network`, and (W, b) of each layer."""

    arguments: dict[str, Any]
    layers: list[tuple[np.ndarray, np.ndarray]]


def dense(
    layers: Sequence[tuple[Any, Any]],
    sigma: Sequence[str | Activation] | None,
    options: Mapping[str, Any],
    what: str,
) -> Dense:
    """The network of these (W, b), (n_{l-1}, n_l) and (n_l,), with sigma_1 ... sigma_L, checked.

    `options` are `Network`'s; the dtype is that of the first W where they say nothing else. With
    sigma None they name the activations; else they may name an output where there is none. Raises
    ValueError where the layers do not fit one another.
    """
    if not layers:
        raise ValueError(f"{what} has no linear layer")
    arguments = {"dtype": np.asarray(layers[0][0]).dtype} | dict(options)
    if sigma is not None:
        *hidden, output = sigma
        if "hidden" in arguments:
            raise ValueError(f"{what} already defines the hidden activations: leave hidden out")
        if arguments.get("output", output) != output != "identity":
            raise ValueError(
                f"{what} ends with {output}: leave output={arguments['output']!r} out, which "
                f"conflicts with it"
            )
        arguments = {"hidden": hidden, "output": output} | arguments
    elif "hidden" not in arguments and len(layers) > 1:
        raise ValueError(
            f"{what} does not say what the activations are: pass hidden=, for example hidden='relu'"
        )
    dtype = inputs.float_dtype(arguments["dtype"])
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
    return Dense({"sizes": sizes} | arguments, checked)


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
    """The table's entry for this activation. Raises ValueError with the names it has."""
    if activation.name in table and activation.is_registered:
        return table[activation.name]
    other = activation.name in ACTIVATIONS and not activation.is_registered
    whose = " of another function" if other else ""
    known = ", ".join(repr(name) for name in table if name in ACTIVATIONS)
    raise ValueError(
        f"{format} has nothing for the activation {activation.name!r}{whose}; supported are {known}"
    )
