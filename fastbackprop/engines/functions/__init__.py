"""A network's functions as kernels call them: by the address of a loop over them.

A formula of `fastbackprop.functions` becomes a loop here, over the neurons of one sample (the loops
engine) or over a strip of samples on the vector lanes (the tiles engine): an array with a row of
`lanes` samples for each neuron; one sample is a strip of one lane. A function that couples the
neurons of a sample is a kernel for a row; `_columns` and `_layer_norm` have faster ones for strips,
the others meet one column after the other.

    activate(z, a, delta, p, lanes)         a = sigma(z); delta is scratch
    pull_back(z, a, delta, p, lanes)        delta: from dC/da to dC/dz
    value(z, a, y, delta, C, p, lanes)      C (lanes,) of each sample, after `activate`; delta is
                                            scratch, as that left it
    gradient(z, a, y, delta, p, lanes)      delta = dC/da, or dC/dz where the cost is fused
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.core import types

from fastbackprop.engines.functions import columns as _columns
from fastbackprop.engines.functions import layer_norm as _layer_norm
from fastbackprop.functions import layer_norms
from fastbackprop.functions.activations import Activation
from fastbackprop.functions.costs import Cost
from fastbackprop.functions.elementwise import (
    near_sine,
    near_sine_derivative,
    sine,
    sine_derivative,
)
from fastbackprop.functions.own import compiled, is_ours, takes_p
from fastbackprop.jit.call import address, call
from fastbackprop.jit.kernels import EXACT, inlined, kernel
from fastbackprop.jit.vector_math import SIN_LIMIT
from fastbackprop.jit.words import formula, plus
from fastbackprop.layout import N_P, Layout


class C(NamedTuple):
    """A cost: the addresses of its two loops, whether it gives dC/dz, and its parameters."""

    value: int
    gradient: int
    fused: bool
    p: np.ndarray


class Model(NamedTuple):
    """A network as kernels see it. One array of records: a call has one array to unpack."""

    layers: np.ndarray  # of `layout.layer_type`, (L+1,); layer 0 is the input and has no weights
    cost: C


def model(
    layout: Layout, sigma: Sequence[Activation], cost: Cost, dtype: np.dtype, columns: bool
) -> Model:
    """What kernels are told of a network; its functions are compiled if need be.

    With `columns` they are for strips of several lanes.
    """
    layers = layout.layers(dtype)
    for layer, activation in zip(layers[1:], sigma, strict=True):
        layer["activate"], layer["pull_back"] = _addresses(activation, dtype, columns)
        for i, value in enumerate(activation.p):
            layer[f"p_{i}"] = value
    value, gradient = _addresses(cost, dtype, columns)
    return Model(layers, C(value, gradient, cost.fused, np.array(cost.p, dtype)))


@functools.cache
def _addresses(function: Activation | Cost, dtype: np.dtype, columns: bool) -> tuple[int, ...]:
    number = numba.from_dtype(dtype)
    T = types.Array(number, 1, "C")
    arguments: tuple[tuple[Any, ...], ...]
    if isinstance(function, Activation):
        p = types.UniTuple(number, N_P)
        arguments = (T, T, T, p), (T, T, T, p)
        formulas = (function.sigma, 1, _activate), (function.derivative, 2, _pull_back)
        of_rows = _activate_rows, _pull_back_rows
    else:
        arguments = (T, T, T, T, T, T), (T, T, T, T, T)
        value = _value_of_columns if columns else _value
        formulas = (function.terms, 3, value), (function.gradient, 3, _gradient)
        of_rows = _value_of_rows, _gradient_of_rows
    if isinstance(function, Activation) and function.of is not None:
        kernels = _normalised(function, dtype, columns)
    elif function.rows is None:
        kernels = [_loop(formula, n, loop, dtype) for formula, n, loop in formulas]
    else:
        fast = _columns.OF_ROWS if columns else {}
        kernels = [
            fast.get(row) or loop(row) for row, loop in zip(function.rows, of_rows, strict=True)
        ]
    return tuple(
        address(kernel, *argument_types, types.intp)
        for kernel, argument_types in zip(kernels, arguments, strict=True)
    )


# --- what kernels call ---------------------------------------------------------------------------


@inlined
def activate(layer, z, a, delta, lanes):
    """a_k = sigma(z_k); delta is scratch."""
    call(layer["activate"], (z, a, delta, (layer["p_0"], layer["p_1"]), lanes))


@inlined
def multiply_by_derivative(layer, z, a, delta, lanes):
    """delta_j *= sigma'(z_j), or the product with the Jacobian."""
    call(layer["pull_back"], (z, a, delta, (layer["p_0"], layer["p_1"]), lanes))


@inlined
def cost_of_samples(cost, z, a, y, delta, C, lanes):
    """C (lanes,) of each sample, after `activate`; delta is scratch."""
    call(cost.value, (z, a, y, delta, C, cost.p, lanes))


@inlined
def cost_gradient(cost, z, a, y, delta, lanes):
    """delta_j = dC/da_j, or dC/dz_j where the cost is fused."""
    call(cost.gradient, (z, a, y, delta, cost.p, lanes))


# --- formulas ------------------------------------------------------------------------------------


def with_p(function: Callable, n: int, dtype: np.dtype) -> Callable:
    """A formula of n arguments with p as one more, if it takes none; a user's own is compiled."""
    return _with_p(function if is_ours(function) else compiled(function, dtype), n)


@functools.cache
def _with_p(function: Callable, n: int) -> Callable:
    if takes_p(function, n):
        return function

    def of_one(z, p):
        return function(z)

    def of_two(z, a, p):
        return function(z, a)

    def of_three(z, a, y, p):
        return function(z, a, y)

    def of_four(v, z, a, y, p):
        return function(v, z, a, y)

    def of_five(u, v, w, z, a, p):
        return function(u, v, w, z, a)

    return formula((of_one, of_two, of_three, of_four, of_five)[n - 1])


def on_arrays(function: Any, dtype: np.dtype) -> Any:
    """The activation or cost with functions of whole arrays, their parameters put in."""
    number = np.dtype(dtype).type
    if isinstance(function, Activation) and function.of is not None:
        of = on_arrays(function.of, dtype)
        return replace(function, **layer_norms.of_arrays(of, number(function.epsilon)))
    p = tuple(number(value) for value in function.p)
    of_rows = function.rows is not None

    def bound(formula: Callable | None, n: int) -> Any:
        if formula is None:
            return None
        function_of_p = with_p(formula, n, np.dtype(dtype))

        def of_arrays(*arrays):
            return function_of_p(*arrays, p)

        def of_each(*arrays):
            elements = zip(*(array.ravel() for array in arrays), strict=True)
            values = [function_of_p(*element, p) for element in elements]
            return np.array(values, dtype).reshape(arrays[0].shape)

        return of_arrays if of_rows or is_ours(formula) else of_each

    if isinstance(function, Activation):
        second = bound(function.second, 5 if of_rows else 2)
        sigma, derivative = bound(function.sigma, 1), bound(function.derivative, 2 + of_rows)
        forward = bound(function.push_forward, 3)
        return replace(
            function, sigma=sigma, derivative=derivative, second=second, push_forward=forward
        )
    second = bound(function.second, 4 if of_rows else 3)
    terms, gradient = bound(function.terms, 3), bound(function.gradient, 3)
    return replace(function, terms=terms, gradient=gradient, second=second)


# --- loops over them -----------------------------------------------------------------------------


# Formulas whose vectorised words have a limit: of |z|, and what they are up to there.
NEAR: dict[Any, tuple[float, Callable]] = {
    sine: (SIN_LIMIT, near_sine),
    sine_derivative: (SIN_LIMIT, near_sine_derivative),
}


def _loop(function: Callable, n: int, loop: Callable[[Callable], Any], dtype: np.dtype) -> Any:
    """The loop over a formula of n arguments, or over a vectorised one while all z are near."""
    everywhere = loop(with_p(function, n, dtype))
    if function not in NEAR:
        return everywhere
    limit, near = NEAR[function]
    return _near(limit, loop(with_p(near, n, dtype)), everywhere)


@functools.cache
def _near(limit: float, near: Any, everywhere: Any) -> Any:
    @kernel(fastmath=EXACT)
    def near_or_everywhere(z, a, delta, p, lanes):
        far = False
        for k in range(z.shape[0]):
            far |= not abs(z[k]) <= limit
        if far:
            everywhere(z, a, delta, p, lanes)
        else:
            near(z, a, delta, p, lanes)

    return near_or_everywhere


@functools.cache
def _activate(sigma: Callable) -> Any:
    @kernel(fastmath=EXACT)
    def activate(z, a, delta, p, lanes):
        for k in range(z.shape[0]):
            a[k] = sigma(z[k], p)

    return activate


@functools.cache
def _pull_back(derivative: Callable) -> Any:
    @kernel(fastmath=EXACT)
    def pull_back(z, a, delta, p, lanes):
        for j in range(z.shape[0]):
            delta[j] *= derivative(z[j], a[j], p)

    return pull_back


@functools.cache
def _value(terms: Callable) -> Any:
    # No `reassoc`: gathering the large terms that cancel would lose a small cost altogether.
    @kernel(fastmath=EXACT)
    def value(z, a, y, delta, C, p, lanes):
        total = a.dtype.type(0)
        for k in range(a.shape[0]):
            total = plus(total, terms(z[k], a[k], y[k], p))
        C[0] = total

    return value


@functools.cache
def _value_of_columns(terms: Callable) -> Any:
    sums = _columns.sums

    @kernel(fastmath=EXACT)
    def value_of_columns(z, a, y, delta, C, p, lanes):
        for k in range(z.shape[0]):
            delta[k] = terms(z[k], a[k], y[k], p)
        sums(delta, lanes, C)

    return value_of_columns


@functools.cache
def _gradient(gradient: Callable) -> Any:
    @kernel(fastmath=EXACT)
    def gradient_of_each(z, a, y, delta, p, lanes):
        for j in range(z.shape[0]):
            delta[j] = gradient(z[j], a[j], y[j], p)

    return gradient_of_each


def layer_norm_formula(function: Callable, n: int, dtype: np.dtype) -> Callable:
    """One of n arguments, of normalised z: below the square root of n_l, they are all near."""
    _, near = NEAR.get(function, (0.0, function))
    return with_p(near, n, dtype)


def _normalised(activation: Activation, dtype: np.dtype, columns: bool) -> list[Any]:
    epsilon = activation.epsilon
    sigma = layer_norm_formula(activation.sigma, 1, dtype)
    derivative = layer_norm_formula(activation.derivative, 2, dtype)
    if columns:
        return [
            _layer_norm.activate(sigma, epsilon),
            _layer_norm.product_with_derivative(derivative, epsilon, transposed=True),
        ]
    return [
        _activate_rows(layer_norms.activate_row(sigma, epsilon)),
        _pull_back_rows(layer_norms.pull_back_row(derivative, epsilon)),
    ]


# --- loops over samples, for kernels of a row ----------------------------------------------------


@functools.cache
def _activate_rows(row: Any) -> Any:
    @kernel
    def activate_rows(z, a, delta, p, lanes):
        for i in range(lanes):
            row(z[i::lanes], a[i::lanes], p)

    return activate_rows


@functools.cache
def _pull_back_rows(row: Any) -> Any:
    @kernel
    def pull_back_rows(z, a, delta, p, lanes):
        for i in range(lanes):
            row(z[i::lanes], a[i::lanes], delta[i::lanes], p)

    return pull_back_rows


@functools.cache
def _value_of_rows(row: Any) -> Any:
    @kernel
    def value_of_rows(z, a, y, delta, C, p, lanes):
        for i in range(lanes):
            C[i] = row(z[i::lanes], a[i::lanes], y[i::lanes], p)

    return value_of_rows


@functools.cache
def _gradient_of_rows(row: Any) -> Any:
    @kernel
    def gradient_of_rows(z, a, y, delta, p, lanes):
        for i in range(lanes):
            row(z[i::lanes], a[i::lanes], y[i::lanes], delta[i::lanes], p)

    return gradient_of_rows
