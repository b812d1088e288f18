"""Activations and costs as functions of whole arrays, and formulas that all take p."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fastbackprop.functions.layer_norms import LayerNorm, of_arrays
from fastbackprop.functions.own import compiled, is_ours, takes_p
from fastbackprop.jit.words import formula, scalar, where


def with_p(function: Callable[..., Any], n: int, dtype: np.dtype) -> Callable[..., Any]:
    """A formula of numbers with p as one argument more; a user's own is compiled."""
    return and_p(function if is_ours(function) else compiled(function, dtype), n)


@functools.cache
def and_p(function: Callable[..., Any], n: int) -> Callable[..., Any]:
    """A function of n arguments with p as one more, if it takes none."""
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


@functools.cache
def of_known(function: Callable[..., Any]) -> Callable[..., Any]:
    """A formula of (z, a, y, p) that is zero where y is NaN: there is no target."""

    def of_three(z, a, y, p):
        return where(y == y, function(z, a, y, p), scalar(a)(0))

    return formula(of_three)


def on_arrays(function: Any, dtype: Any) -> Any:
    """The activation or cost with functions of whole arrays, their parameters put in.

    Of a `LayerNorm` a `Coupled` one; of others the same kind.
    """
    dtype = np.dtype(dtype)
    if isinstance(function, LayerNorm):
        return of_arrays(on_arrays(function.of, dtype), dtype.type(function.epsilon), function.name)
    p = tuple(dtype.type(value) for value in function.p)

    def bound(formula: Callable[..., Any], n: int) -> Callable[..., Any]:
        function_of_p = and_p(formula, n) if function.coupled else with_p(formula, n, dtype)
        if getattr(function, "missing", False):
            function_of_p = of_known(function_of_p)

        def of_arrays(*arrays):
            return function_of_p(*arrays, p)

        def of_each(*arrays):
            elements = zip(*(array.ravel() for array in arrays), strict=True)
            values = [function_of_p(*element, p) for element in elements]
            return np.array(values, dtype).reshape(arrays[0].shape)

        return of_arrays if function.coupled or is_ours(formula) else of_each

    formulas = {name: (getattr(function, name), n) for name, n in function.FORMULAS.items()}
    return replace(function, **{name: f and bound(f, n) for name, (f, n) in formulas.items()})
