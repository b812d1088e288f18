"""A network's functions as kernels call them: by the address of a loop over them.

A formula of `fastbackprop.functions` becomes a loop here, over the neurons of one sample (the loops
engine) or over a strip of samples on the vector lanes (the tiles engine): an array with a row of
`lanes` samples for each neuron; one sample is a strip of one lane. A function that couples the
neurons of a sample is a kernel for one sample (`rows`); `columns` and `layer_norm` have faster
ones for strips, the others meet one column after the other.

    activate(z, a, delta, p, lanes)         a = sigma(z); delta is scratch
    pull_back(z, a, delta, p, lanes)        delta: from dC/da to dC/dz
    value(z, a, y, delta, C, p, lanes)      C (lanes,) of each sample, after `activate`; delta is
                                            scratch, as that left it
    gradient(z, a, y, delta, p, lanes)      delta = dC/da, or dC/dz where the cost is fused
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types

from fastbackprop.engines.functions import columns as _columns
from fastbackprop.engines.functions import layer_norm as _layer_norm
from fastbackprop.engines.functions import rows as _rows
from fastbackprop.functions.activations import Activation, Coupled
from fastbackprop.functions.arrays import with_p
from fastbackprop.functions.costs import Cost, CoupledCost
from fastbackprop.functions.curves import near_sine, near_sine_derivative, sine, sine_derivative
from fastbackprop.functions.layer_norms import LayerNorm
from fastbackprop.jit.call import address, call
from fastbackprop.jit.kernels import EXACT, inlined, kernel
from fastbackprop.jit.vector_math import SIN_LIMIT
from fastbackprop.jit.words import formula, plus
from fastbackprop.layout import N_P, Layout


class CostLoops(NamedTuple):
    """A cost: the addresses of its two loops, whether it gives dC/dz, and its parameters."""

    value: int
    gradient: int
    fused: bool
    p: np.ndarray


class Model(NamedTuple):
    """A network as kernels see it. One array of records: a call has one array to unpack."""

    layers: np.ndarray  # of `layout.layer_type`, (L+1,); layer 0 is the input and has no weights
    cost: CostLoops


def model(
    layout: Layout, sigma: Sequence[Activation], cost: Cost, dtype: np.dtype, columns: bool
) -> Model:
    """The record of a network for kernels; its functions are compiled if need be.

    With `columns` they are for strips of several lanes.
    """
    layers = layout.layers(dtype)
    for layer, activation in zip(layers[1:], sigma, strict=True):
        layer["activate"], layer["pull_back"] = _addresses(activation, dtype, columns)
        for i, value in enumerate(activation.p):
            layer[f"p_{i}"] = value
    value, gradient = _addresses(cost, dtype, columns)
    return Model(layers, CostLoops(value, gradient, cost.fused, np.array(cost.p, dtype)))


@functools.cache
def _addresses(function: Activation | Cost, dtype: np.dtype, columns: bool) -> tuple[int, ...]:
    """Of the two loops, compiled if need be."""
    number = numba.from_dtype(dtype)
    T = types.Array(number, 1, "C")
    arguments: tuple[tuple[Any, ...], ...]
    if isinstance(function, Cost):
        arguments = (T, T, T, T, T, T), (T, T, T, T, T)
    else:
        p = types.UniTuple(number, N_P)
        arguments = (T, T, T, p), (T, T, T, p)
    return tuple(
        address(kernel, *argument_types, types.intp)
        for kernel, argument_types in zip(kernels(function, dtype, columns), arguments, strict=True)
    )


@functools.singledispatch
def kernels(function: Any, dtype: np.dtype, columns: bool) -> Sequence[Any]:
    """The two loops of an activation (activate, pull_back) or a cost (value, gradient)."""
    raise TypeError(f"no loops are known of {type(function).__name__}")


@kernels.register
def _(function: Activation, dtype: np.dtype, columns: bool) -> Sequence[Any]:
    sigma = _loop(function.sigma, 1, _activate, dtype)
    return sigma, _loop(function.derivative, 2, _pull_back, dtype)


@kernels.register
def _(function: Cost, dtype: np.dtype, columns: bool) -> Sequence[Any]:
    value = _loop(function.terms, 3, _value_of_columns if columns else _value, dtype)
    return value, _loop(function.gradient, 3, _gradient, dtype)


@kernels.register
def _(function: Coupled, dtype: np.dtype, columns: bool) -> Sequence[Any]:
    return _of_each_sample(_rows.rows(function), columns, _activate_rows, pull_back_of_rows)


@kernels.register
def _(function: CoupledCost, dtype: np.dtype, columns: bool) -> Sequence[Any]:
    return _of_each_sample(_rows.rows(function), columns, _value_of_rows, _gradient_of_rows)


@kernels.register
def _(function: LayerNorm, dtype: np.dtype, columns: bool) -> Sequence[Any]:
    sigma, derivative = normalised_formulas(function, dtype)[:2]
    if columns:
        return [
            _layer_norm.activate(sigma, function.epsilon),
            _layer_norm.product_with_derivative(derivative, function.epsilon, transposed=True),
        ]
    return [
        _activate_rows(_rows.activate_row(sigma, function.epsilon)),
        pull_back_of_rows(_rows.pull_back_row(derivative, function.epsilon)),
    ]


def normalised_formulas(function: LayerNorm, dtype: np.dtype) -> tuple[Any, ...]:
    """sigma, sigma' and sigma'' (or None) of normalised z, with p.

    Normalised z lie below the square root of n_l: no limit is near.
    """

    def of_near(formula: Callable | None, n: int) -> Any:
        _, near = NEAR.get(formula, (0.0, formula))
        return near and with_p(near, n, dtype)

    return tuple(of_near(getattr(function, name), n) for name, n in function.FORMULAS.items())


def _of_each_sample(rows: Sequence[Any], columns: bool, *loops: Callable[[Any], Any]) -> list[Any]:
    """For strips the faster kernels, where there are; else loops over kernels of one sample."""
    fast = _columns.OF_ROWS if columns else {}
    return [fast.get(row) or loop(row) for row, loop in zip(rows, loops, strict=True)]


# --- called by kernels ---------------------------------------------------------------------------


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


# --- loops over them -----------------------------------------------------------------------------


# Formulas whose vectorised words have a limit of |z|, and the formulas to use below it.
NEAR: dict[Any, tuple[float, Callable]] = {
    sine: (SIN_LIMIT, near_sine),
    sine_derivative: (SIN_LIMIT, near_sine_derivative),
}


def _loop(function: Callable, n: int, loop: Callable[[Callable], Any], dtype: np.dtype) -> Any:
    """The loop over a formula of n arguments, or over a vectorised one while all z are near."""
    everywhere = with_p(function, n, dtype)
    if function not in NEAR:
        return loop(everywhere)
    limit, near = NEAR[function]
    near = with_p(near, n, dtype)
    return _near(limit, loop(near), loop(_either(limit, near, everywhere, n)))


@functools.cache
def _either(limit: float, near: Callable, everywhere: Callable, n: int) -> Any:
    """Each z by itself: what is far among the other samples changes no bit of a near one."""

    def of_one(z, p):
        return near(z, p) if abs(z) <= limit else everywhere(z, p)

    def of_two(z, a, p):
        return near(z, a, p) if abs(z) <= limit else everywhere(z, a, p)

    return formula((of_one, of_two)[n - 1])


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


# --- loops over samples, for kernels of a row ----------------------------------------------------


@functools.cache
def _activate_rows(row: Any) -> Any:
    @kernel
    def activate_rows(z, a, delta, p, lanes):
        for i in range(lanes):
            row(z[i::lanes], a[i::lanes], p)

    return activate_rows


@functools.cache
def pull_back_of_rows(row: Any) -> Any:
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
