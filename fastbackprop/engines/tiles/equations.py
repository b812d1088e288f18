"""The same equations on register tiles, strips of samples at a time, by a team of threads.

Letters are those of the derivation. The three sums, over j in (0), over k in (2) and over the
samples i in (3), are one kind of product, a sum of outer products of a column and a row of vectors:

    (0)  Z[k, i]     += W[j, k] A[j, i]            rows k, lanes i
    (2)  P[j, i]     += W[j, k] Delta[k, i]        rows j, lanes i
    (3)  G[j, k]     += A[j, i] Delta'[i, k]       rows j, lanes k

Z, A and Delta have neurons as rows and samples on the vector lanes: no width of a layer wastes any
lanes there, softmax and costs are vectorised whatever n_L, and W is never transposed. They lie in
memory as strips of one or two vectors of samples, a strip after the other, so every product reads
its vectors one behind the other. Delta' is the same as Delta with neurons on the lanes, as (3)
needs it. Rows come in multiples of ROW_UNIT and strips in whole vectors: no loop has a remainder.

A row tile of samples goes through all layers and back strip by strip; the threads of a team own
strips. Then they own rows of G, which they sum over the strips and use for the update at once.

A sparse X has products of its own for layer 1, in `_sparse`.
"""

from fastbackprop.engines.functions import cost_gradient, multiply_by_derivative
from fastbackprop.engines.tiles.product import (
    ROW_UNIT,
    UNROLL,
    Matrix,
    column_sums_1,
    column_sums_2,
    panel,
    product_across,
    product_along,
    sums_over_samples,
    up,
)
from fastbackprop.engines.tiles.task import flat
from fastbackprop.jit.kernels import inlined, kernel
from fastbackprop.jit.tile import vector_lanes


@inlined
def weighted_input(W, b, A, Z, n_in, n_l, own):
    """(0)  z^l_ki = sum_j w^l_jk a^{l-1}_ji + b^l_k"""
    product_across(W, b, A, Z, n_in, up(n_l, ROW_UNIT), own)


@inlined
def output_error(sigma, cost, z, a, y, delta, lanes):
    """(1)  delta^L_ji = dC/da^L_ji sigma_L'(z^L_ji)"""
    cost_gradient(cost, z, a, y, delta, lanes)
    if not cost.fused:
        multiply_by_derivative(sigma, z, a, delta, lanes)


@inlined
def hidden_error(layer, next, W_next, Delta_next, here, none, own):
    """(2)  delta^l_ji = sigma_l'(z^l_ji) sum_k w^{l+1}_jk delta^{l+1}_ki

    `layer` and `next` are the records of layers l and l + 1, `here` the strips of layer l.
    """
    n_l, sigma = layer["width"], layer
    depth, rows = up(next["width"], UNROLL), up(n_l, ROW_UNIT)
    product_along(W_next, none, Delta_next, here.Delta, depth, rows, own)
    for s in range(own.first, own.last):
        z, a, delta = flat(here.Z, s, n_l), flat(here.A, s, n_l), flat(here.Delta, s, n_l)
        multiply_by_derivative(sigma, z, a, delta, own.lanes)


@inlined
def weight_gradient(A, Delta_rows, into, n, n_l, first, last):
    """(3)  dC/dw^l_jk = sum_i a^{l-1}_ji delta^l_ik, for rows j of first ... last"""
    sums_over_samples(A, Delta_rows, into, up(n, UNROLL), n_l, first, last)


@kernel
def bias_gradient(Delta_rows, n, g, fresh):
    """(4)  dC/db^l_k = sum_i delta^l_ik, added to g (n_l,) unless that is `fresh`."""
    V = vector_lanes(g)
    for k in range(0, Delta_rows.width, 2 * V):
        D, g_k = panel(Delta_rows, k), Matrix(g, k, 0)
        if D.stride == V:
            column_sums_1(D, g_k, fresh, up(n, ROW_UNIT))
        else:
            column_sums_2(D, g_k, fresh, up(n, ROW_UNIT))
