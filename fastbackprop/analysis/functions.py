"""Second derivatives as kernels call them: by address, as in `engines.functions`.

push_forward(z, a, Ra, p, lanes)                Ra: from R z to R a, the product with da/dz
second(z, a, u, Rz, Ra, Rdelta, p, lanes)       Rdelta_j += sigma''(z_j) R z_j u_j, u = dC/da; Rz is
                                                scratch from there on
cost(z, a, y, Rz, Ra, Rdelta, p, lanes)         Rdelta_j = d2C/da2 R a_j, or d2C/dz2 R z_j where
the cost is fused
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types

from fastbackprop.engines.functions import kernels, normalised_formulas, pull_back_of_rows
from fastbackprop.engines.functions import layer_norm as _layer_norm
from fastbackprop.engines.functions import rows as _rows
from fastbackprop.functions.activations import Activation, Coupled
from fastbackprop.functions.arrays import with_p
from fastbackprop.functions.costs import Cost, CoupledCost
from fastbackprop.functions.layer_norms import LayerNorm
from fastbackprop.jit.call import address, call
from fastbackprop.jit.kernels import EXACT, inlined, kernel
from fastbackprop.layout import N_P


class Moved(NamedTuple):
    """R z, R a and R delta of a layer: how these move along the direction."""

    z: np.ndarray
    a: np.ndarray
    delta: np.ndarray


class Curvature(NamedTuple):
    """Addresses: of each layer's two loops, (L + 1,), and of the cost's."""

    push_forward: np.ndarray
    second: np.ndarray
    cost: int


def curvature(
    sigma: Sequence[Activation], cost: Cost, dtype: np.dtype, columns: bool
) -> Curvature | None:
    """None where a function that couples the neurons of a sample has no kernel for one sample.

    Functions that have one have a symmetric matrix da/dz, the same back and forward, or are a
    `LayerNorm`.
    """
    functions: list[Activation | Cost] = [*sigma, cost]
    coupled = [f for f in functions if isinstance(f, Coupled | CoupledCost)]
    if any(_rows.second_row(f) is None for f in coupled):
        return None
    pairs = [(0, 0), *(_of_layer(activation, dtype, columns) for activation in sigma)]
    push_forward, second = np.array(pairs, np.int64).T.copy()
    return Curvature(push_forward, second, _of_cost(cost, dtype))


@functools.cache
def _of_layer(activation: Activation, dtype: np.dtype, columns: bool) -> tuple[int, int]:
    T, p = _types(dtype)
    forward, second = _kernels(activation, dtype, columns)
    push_forward = address(forward, T, T, T, p, types.intp)
    if second is None:  # of no use but to Gauss-Newton products
        return push_forward, 0
    return push_forward, address(second, T, T, T, T, T, T, p, types.intp)


@functools.singledispatch
def _kernels(activation: Any, dtype: np.dtype, columns: bool) -> tuple[Any, Any]:
    """push_forward and second, or None."""
    raise TypeError(f"no loops are known of {type(activation).__name__}")


@_kernels.register
def _(activation: Activation, dtype: np.dtype, columns: bool) -> tuple[Any, Any]:
    forward, second = kernels(activation, dtype, columns)[1], activation.second
    return forward, second and _second(with_p(second, 2, dtype))


@_kernels.register
def _(activation: Coupled, dtype: np.dtype, columns: bool) -> tuple[Any, Any]:
    forward = kernels(activation, dtype, columns)[1]
    return forward, activation.second and _second_of_rows(_rows.second_row(activation))


@_kernels.register
def _(activation: LayerNorm, dtype: np.dtype, columns: bool) -> tuple[Any, Any]:
    epsilon = activation.epsilon
    _, derivative, second = normalised_formulas(activation, dtype)
    if columns:
        forward = _layer_norm.product_with_derivative(derivative, epsilon, transposed=False)
        return forward, second and _layer_norm.second(derivative, second, epsilon)
    forward = pull_back_of_rows(_rows.push_forward_row(derivative, epsilon))
    return forward, second and _second_of_rows(_rows.second_row_of(derivative, second, epsilon))


@functools.cache
def _of_cost(cost: Cost, dtype: np.dtype) -> int:
    if isinstance(cost, CoupledCost):
        loop = _second_of_rows(_rows.second_row(cost))
    else:
        assert cost.second is not None
        loop = _second_of_cost(with_p(cost.second, 3, dtype), cost.fused)
    T, _ = _types(dtype)
    return address(loop, T, T, T, T, T, T, T, types.intp)


def _types(dtype: np.dtype) -> tuple[Any, Any]:
    number = numba.from_dtype(dtype)
    return types.Array(number, 1, "C"), types.UniTuple(number, N_P)


# --- called by kernels ---------------------------------------------------------------------------


@inlined
def push_forward(address, layer, z, a, Rz, Ra, lanes):
    """R a_k = sigma'(z_k) R z_k, or the product with the Jacobian."""
    for k in range(Rz.shape[0]):
        Ra[k] = Rz[k]
    call(address, (z, a, Ra, (layer["p_0"], layer["p_1"]), lanes))


@inlined
def add_second(address, layer, z, a, u, R, lanes):
    """R delta_j += sigma''(z_j) R z_j u_j."""
    call(address, (z, a, u, R.z, R.a, R.delta, (layer["p_0"], layer["p_1"]), lanes))


@inlined
def cost_second(address, cost, z, a, y, R, lanes):
    """R delta_j = d2C/da2 R a_j, or d2C/dz2 R z_j where the cost is fused."""
    call(address, (z, a, y, R.z, R.a, R.delta, cost.p, lanes))


# --- loops ---------------------------------------------------------------------------------------


@functools.cache
def _second(second: Callable) -> Any:
    @kernel(fastmath=EXACT)
    def second_of_each(z, a, u, Rz, Ra, Rdelta, p, lanes):
        for j in range(z.shape[0]):
            Rdelta[j] += second(z[j], a[j], p) * Rz[j] * u[j]

    return second_of_each


@functools.cache
def _second_of_rows(row: Any) -> Any:
    @kernel
    def second_of_rows(z, a, x, Rz, Ra, Rdelta, p, lanes):  # x is u, or y of a cost
        for i in range(lanes):
            row(
                z[i::lanes],
                a[i::lanes],
                x[i::lanes],
                Rz[i::lanes],
                Ra[i::lanes],
                Rdelta[i::lanes],
                p,
            )

    return second_of_rows


@functools.cache
def _second_of_cost(second: Callable, fused: bool) -> Any:
    @kernel(fastmath=EXACT)
    def second_of_cost(z, a, y, Rz, Ra, Rdelta, p, lanes):
        along = Rz if fused else Ra
        for j in range(z.shape[0]):
            Rdelta[j] = second(z[j], a[j], y[j], p) * along[j]

    return second_of_cost
