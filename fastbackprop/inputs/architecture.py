"""What a network is made of: the sizes, activations and cost that a user passes.

This is the only file of `inputs` that loads the compiler: functions of a user's own are compiled
for the check.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from fastbackprop.functions import own as own_functions
from fastbackprop.functions.activations import ACTIVATIONS, Activation
from fastbackprop.functions.costs import COSTS, TARGETS, Cost, pair
from fastbackprop.functions.initializers import INITIALIZERS, SmallOutput
from fastbackprop.functions.layer_norms import LayerNorm
from fastbackprop.inputs.arguments import choice, positive_integer
from fastbackprop.inputs.arrays import numeric
from fastbackprop.layout import N_P
from fastbackprop.names import pass_name
from fastbackprop.numbers import as_float, is_number, shown, text


def layer_sizes(sizes: Any) -> tuple[int, ...]:
    """Neurons per layer, input first: at least two positive integers."""
    if isinstance(sizes, str) or not isinstance(sizes, Sequence | np.ndarray):
        raise TypeError(
            f"sizes must list the neurons per layer, input first, as in [64, 128, 10]; "
            f"got {shown(sizes)}"
        )
    if len(sizes) < 2:
        raise ValueError(
            f"sizes must have at least two entries, input and output layer; got {sizes!r}"
        )
    checked = tuple(positive_integer(n, f"sizes[{i}]") for i, n in enumerate(sizes))
    if sum(m * n for m, n in pairwise(checked)) > 2**40:
        raise ValueError(f"sizes {text(sizes)} ask for more weights than a machine can hold")
    return checked


def activations(
    hidden: Any, output: Any, sizes: Sequence[int], dtype: np.dtype
) -> list[Activation]:
    """sigma_1 ... sigma_L from one name or one per hidden layer, and the output's."""
    n_hidden = len(sizes) - 2
    if isinstance(hidden, str | Activation):
        hidden = [hidden] * n_hidden
    elif not isinstance(hidden, Sequence):
        raise TypeError(
            f"hidden must be an activation or a list with one per hidden layer; "
            f"got {shown(hidden)}{pass_name(hidden, ACTIVATIONS)}"
        )
    if len(hidden) != n_hidden:
        raise ValueError(
            f"hidden must be one activation, or one per hidden layer: {n_hidden} for "
            f"sizes={list(sizes)}; got {len(hidden)}"
        )
    sigma = [_activation(name, "hidden activation", dtype) for name in hidden]
    for activation in sigma:
        if activation.coupled and not activation.normalised:
            raise ValueError(
                f"{activation.name!r} is an output activation: pass it as output=, not hidden="
            )
    sigma.append(_activation(output, "output activation", dtype))
    for n, activation in zip(sizes[1:], sigma, strict=True):
        if activation.normalised and n == 1:
            raise ValueError(
                f"{activation.name!r} of a single neuron does not depend on the input: "
                f"use more neurons, or {str(activation.inner)!r}; got sizes={list(sizes)}"
            )
    if sigma[-1].coupled and sizes[-1] == 1:
        raise ValueError(
            f"output={sigma[-1].name!r} of a single neuron is always 1: "
            f"use output='sigmoid', or two output neurons"
        )
    return sigma


def _activation(value: Any, what: str, dtype: np.dtype) -> Activation:
    if not isinstance(value, Activation):
        return ACTIVATIONS[choice(value, ACTIVATIONS, what)]
    if isinstance(value, LayerNorm):
        if not value.epsilon >= np.finfo(dtype).tiny:
            raise ValueError(
                f"epsilon of LayerNorm must be at least {np.finfo(dtype).tiny} for {dtype}; "
                f"got {value.epsilon!r}"
            )
        return LayerNorm(_activation(value.inner, what, dtype), value.epsilon)
    name = value.name if value.is_registered else _own_name(value, ACTIVATIONS, "activation")
    p = _parameters(value, f"the activation {name!r}")
    if not value.is_registered:
        parts = {"sigma": (value.sigma, "z"), "derivative": (value.derivative, "z, a")}
        _own_parts(f"the activation {name!r}", parts, value, "z, a", dtype)
        choice(value.initializer, INITIALIZERS, "initializer")
    if len(p) > N_P:
        raise ValueError(f"an activation has at most {N_P} parameters; {name!r} has p={p!r}")
    return replace(value, p=p)


def cost(value: Any, output: Activation, dtype: np.dtype) -> Cost:
    """The cost, from a name or an object, that goes with the output activation."""
    if not isinstance(value, Cost):
        return pair(choice(value, COSTS, "cost"), output)
    if value.is_registered:
        of_output, p = pair(value.name, output), _parameters(value, f"the cost {value.name!r}")
        return replace(of_output, p=p, outputs_per_target=value.outputs_per_target)
    name = _own_name(value, COSTS, "cost")
    p = _parameters(value, f"the cost {name!r}")
    parts = {"terms": (value.terms, "z, a, y"), "gradient": (value.gradient, "z, a, y")}
    _own_parts(f"the cost {name!r}", parts, value, "z, a, y", dtype)
    choice(value.targets, TARGETS, "kind of targets")
    if value.output not in (None, output.name):
        raise ValueError(
            f"cost={name!r} goes with output={value.output!r}; got output={output.name!r}"
        )
    return replace(value, p=p)


def initializer(value: Any) -> tuple[Any, float]:
    """An initializer's name, "auto" or a function, and a factor of the last layer's weights."""
    name, scale = (value.init, value.scale) if isinstance(value, SmallOutput) else (value, 1.0)
    if name == "small":
        raise ValueError(
            "unknown init 'small': pass SmallOutput() for small weights in the last layer"
        )
    return name if callable(name) else choice(name, ["auto", *INITIALIZERS], "init"), scale


def initial_weights(init: Any, name: str, rng: np.random.Generator, W: np.ndarray) -> None:
    """Fill the weights of a layer; `name` is the initializer of its activation.

    Raises ValueError or TypeError where a function of the user's returns anything but numbers of
    this shape.
    """
    if not callable(init):
        W[...] = INITIALIZERS[name if init == "auto" else init](rng, *W.shape)
        return
    values = numeric(init(rng, *W.shape), W.dtype, "weights that init returns")
    if values.shape != W.shape:
        raise ValueError(
            f"init must return weights of shape (n_in, n_out) = {W.shape}; got {values.shape}"
        )
    W[...] = values


def _own_name(function: Activation | Cost, known: Mapping[str, Any], what: str) -> str:
    """The name of a user's own activation or cost, which is none of ours."""
    name = function.name
    if not isinstance(name, str) or not name:
        raise TypeError(f"the name of an {what} must be a string; got {shown(name)}")
    if name in known:
        raise ValueError(f"{name!r} is the name of a built-in {what}: give yours another")
    return name


def _parameters(function: Activation | Cost, what: str) -> tuple[float, ...]:
    """`p` as Python's floats, which JSON can hold."""
    p = function.p
    if not isinstance(p, tuple) or not all(map(is_number, p)):
        raise TypeError(f"p of {what} must be a tuple of numbers; got {shown(p)}")
    return tuple(as_float(x, f"p[{i}] of {what}") for i, x in enumerate(p))


def _own_parts(
    what: str,
    parts: Mapping[str, tuple[Any, str]],
    function: Activation | Cost,
    words: str,
    dtype: np.dtype,
) -> None:
    if not function.coupled:
        further = {part: (getattr(function, part, None), words) for part in ("second", "third")}
        for part, (formula, arguments) in {**parts, **further}.items():
            if formula is not None:
                own_functions.check(formula, f"{part} of {what}", arguments, dtype, function.p)


def have_second_derivatives(sigma: Sequence[Activation], cost: Cost) -> None:
    """Raise ValueError for one that has none."""
    functions: list[tuple[str, Activation | Cost]] = [("activation", f) for f in sigma]
    for what, function in [*functions, ("cost", cost)]:
        if not function.has_second:
            raise ValueError(
                f"the {what} {function.name!r} has no second derivative, which this product needs: "
                f"give it one with `second`"
            )


def own_functions_given(functions: Any) -> list[Activation | Cost]:
    """A list of activations and costs. Raises TypeError for anything else."""
    if isinstance(functions, str) or not isinstance(functions, Iterable):
        raise TypeError(
            f"functions must be a list of Activation and Cost objects; got {shown(functions)}"
        )
    given = list(functions)
    for function in given:
        if not isinstance(function, Activation | Cost):
            raise TypeError(
                f"functions must be a list of Activation and Cost objects; one is {shown(function)}"
            )
    return given
