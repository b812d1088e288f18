"""The same without a loop over samples or neurons: NumPy matrix expressions.

Capital letters stack the samples of a batch as rows. RZ is R Z, U is dC/dA.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fastbackprop.analysis import Direction
from fastbackprop.engines import loopfree
from fastbackprop.engines.bound import Bound
from fastbackprop.engines.loopfree import Arrays, Model, Parts, factors, quiet, row_tiles, rows_of
from fastbackprop.functions.activations import Activation
from fastbackprop.functions.arrays import on_arrays
from fastbackprop.functions.costs import Cost
from fastbackprop.samples import Samples

# --- the equations -------------------------------------------------------------------------------


def r_weighted_input(A, RA, W, V, c) -> np.ndarray:
    """(0')  R Z^l = A^{l-1} V^l + R A^{l-1} W^l + c^l; RA is None for R A^0 = 0"""
    return A @ V + c if RA is None else A @ V + RA @ W + c


def r_activation(sigma: Activation, RZ, Z, A) -> np.ndarray:
    """(0')  R A^l = sigma_l'(Z^l) (.) R Z^l"""
    return sigma.push_forward(RZ, Z, A)


def r_error(sigma: Activation, RU, U, RZ, RA, Z, A) -> np.ndarray:
    """(1'), (2')  R Delta^l = R U^l (.) sigma_l'(Z^l) + U^l (.) sigma_l''(Z^l) (.) R Z^l

    U is None in Gauss-Newton products, which have no such term.
    """
    first = sigma.pull_back(RU, Z, A)
    return first if U is None else first + sigma.second_product(U, RZ, RA, Z, A)


def r_output_gradient(cost: Cost, RZ, RA, Z, A, Y) -> np.ndarray:
    """(1')  R U^L = d2C/dA2 R A^L, or d2C/dZ2 R Z^L where the cost is fused"""
    return cost.second_product(RZ if cost.fused else RA, Z, A, Y)


# --- the contract --------------------------------------------------------------------------------


class Curvature(NamedTuple):
    """The functions of arrays, with their second derivatives."""

    sigma: list[Activation]
    cost: Cost


def curvature(sigma: Sequence[Activation], cost: Cost, dtype: np.dtype) -> Curvature:
    """Nothing is compiled."""
    return Curvature([on_arrays(f, dtype) for f in sigma], on_arrays(cost, dtype))


def workspace(model: Model, dtype: np.dtype, n_threads: int = 1, sparse: bool = False) -> None:
    """NumPy allocates as it goes."""


@quiet
def errors(bound: Bound, samples: Samples, a, delta, start: int, stop: int) -> None:
    """a^l and delta^l of each sample, as far as the arrays go."""
    model, parts = bound.model, Parts(bound)
    for rows in row_tiles(model, start, stop):
        X, Y, _ = rows_of(samples, rows, parts.n_in)
        Z, A = loopfree.forward(parts.W, parts.b, parts.sigma, X)
        Delta = loopfree.backward(parts.W, parts.sigma, parts.cost, Z, A, Y, X.dtype.type(1))
        Delta.insert(0, Delta[0] @ parts.W[0].T)
        there = slice(rows.start - start, rows.stop - start)
        for array, of_layers in ((a, A), (delta, Delta)):
            for layer, values in zip(model.layers, of_layers, strict=True):
                columns = slice(layer["start"], layer["start"] + layer["width"])
                if columns.stop <= array.shape[1]:
                    array[there, columns] = values


def outer_products(model: Model, a: np.ndarray, delta: np.ndarray, out: np.ndarray) -> None:
    """(3) and (4) of each sample by itself."""
    position = 0
    for before, layer in pairwise(model.layers):
        m, n = before["width"], layer["width"]
        a_l = a[:, before["start"] : before["start"] + m]
        delta_l = delta[:, layer["start"] : layer["start"] + n]
        weights = out[:, position : position + m * n].reshape(len(out), m, n)
        np.multiply(a_l[:, :, None], delta_l[:, None, :], out=weights)
        out[:, position + m * n : position + m * n + n] = delta_l
        position += m * n + n


def norms(model: Model, a: np.ndarray, delta: np.ndarray, out: np.ndarray) -> None:
    """The root of sum_l ||delta^l||^2 (1 + ||a^{l-1}||^2)."""
    out[:] = 0
    for before, layer in pairwise(model.layers):
        a_l = a[:, before["start"] : before["start"] + before["width"]]
        delta_l = delta[:, layer["start"] : layer["start"] + layer["width"]]
        inputs, errors = (np.einsum("ij,ij->i", rows, rows) for rows in (a_l, delta_l))
        out += errors * (1 + inputs)
    np.sqrt(out, out=out)


@quiet
def jacobian(bound: Bound, X: np.ndarray, out, start: int, stop: int) -> None:
    """For each output k, (2) from dC/da^L = e_k down to layer 0."""
    parts = Parts(bound)
    for rows in row_tiles(bound.model, start, stop):
        Z, A = loopfree.forward(parts.W, parts.b, parts.sigma, X[rows])
        for k in range(out.shape[1]):
            D = np.zeros_like(A[-1])
            D[:, k] = 1
            for l in range(len(Z), 0, -1):
                D = parts.sigma[l - 1].pull_back(D, Z[l - 1], A[l]) @ parts.W[l - 1].T
            out[rows.start - start : rows.stop - start, k] = D


@quiet
def products(
    bound: Bound,
    curvature: Curvature,
    samples: Samples,
    total: float,
    direction: Direction,
    start: int,
    stop: int,
) -> None:
    """(0) to (4) and (0') to (4'), a tile of rows after the other."""
    parts, gauss_newton = Parts(bound), direction.gauss_newton
    V, c = parts.layout.weights(direction.v), parts.layout.biases(direction.v)
    G, g = parts.layout.weights(direction.product), parts.layout.biases(direction.product)
    sigma, cost = curvature
    for rows in row_tiles(bound.model, start, stop):
        X, Y, s = rows_of(samples, rows, parts.n_in)
        factor = factors(s, total, X.dtype)
        Z, A = loopfree.forward(parts.W, parts.b, parts.sigma, X)
        RZ: Arrays = []
        RA: list = [None]
        for l, sigma_l in enumerate(sigma):
            RZ.append(r_weighted_input(A[l], RA[l], parts.W[l], V[l], c[l]))
            RA.append(r_activation(sigma_l, RZ[l], Z[l], A[l + 1]))
        U = None if gauss_newton else cost.gradient(Z[-1], A[-1], Y) * factor
        RU = r_output_gradient(cost, RZ[-1], RA[-1], Z[-1], A[-1], Y) * factor
        for l in range(len(Z) - 1, -1, -1):
            if l == len(Z) - 1 and cost.fused:  # U and RU are those of z^L
                Delta, RDelta = U, RU
            else:
                RDelta = r_error(sigma[l], RU, U, RZ[l], RA[l + 1], Z[l], A[l + 1])
                Delta = None if U is None else sigma[l].pull_back(U, Z[l], A[l + 1])
            G[l] += A[l].T @ RDelta
            g[l] += RDelta.sum(axis=0)
            RU = RDelta @ parts.W[l].T
            if Delta is not None:
                if RA[l] is not None:
                    G[l] += RA[l].T @ Delta
                RU += Delta @ V[l].T
                U = Delta @ parts.W[l].T
