"""What backpropagation gives beyond the gradient: errors of every sample, Jacobians, curvature.

For each engine a module with the functions below, under the same contract: arrays are checked
before they get here, `start:stop` are rows of X, and no row is looked at twice. Nothing here is
imported, or compiled, before it is asked for.

    workspace(model, dtype, n_threads, sparse)
                                    scratch memory for the calls below, `bound.work`
    errors(bound, samples, a, delta, start, stop)
                                    a^l and delta^l of each sample's own cost C_i, in row i - start
                                    of a and delta, from column layers[l]["start"] on, for the
                                    layers that lie in these arrays; delta^0 is dC_i/da^0
    outer_products(model, a, delta, out)
                                    out[i] = dC_i/dtheta without padding, (n_parameters,), from
                                    what `errors` gave
    norms(model, a, delta, out)     out[i] = ||dC_i/dtheta||, likewise
    jacobian(bound, X, out, start, stop)
                                    out[i - start] = da^L/da^0, (n_L, n_0)
    curvature(sigma, cost, dtype)   second derivatives as `products` takes them, compiled if need
                                    be; None where a function has none that this engine can use
    products(bound, curvature, samples, total, direction, start, stop)
                                    direction.product += sum_i s_i / total H_i direction.v, where
                                    H_i is the Hessian of C_i, or the Gauss-Newton matrix

The product of a Hessian and a vector v is the derivative of the gradient along v. Pearlmutter's
operator R{f} = d/dr f(theta + r v) at r = 0, applied to equations (0) to (4) line by line, needs no
differences (Pearlmutter, 1994, "Fast exact multiplication by the Hessian"). V^l is the part of v
that belongs to W^l, c^l that of b^l; R a^0 = 0; u^l = dC/da^l:

    (0')  R z^l_k = sum_j (a^{l-1}_j v^l_jk + R a^{l-1}_j w^l_jk) + c^l_k
          R a^l_k = sigma_l'(z^l_k) R z^l_k
    (1')  R delta^L_j = sigma_L'(z^L_j) R u^L_j + sigma_L''(z^L_j) R z^L_j u^L_j,
          R u^L_j = d2C/da2 R a^L_j
    (2')  R delta^l_j = sigma_l'(z^l_j) R u^l_j + sigma_l''(z^l_j) R z^l_j u^l_j,
          R u^l_j = sum_k (R delta^{l+1}_k w^{l+1}_jk + delta^{l+1}_k v^{l+1}_jk)
    (3')  R dC/dw^l_kj = R a^{l-1}_k delta^l_j + a^{l-1}_k R delta^l_j
    (4')  R dC/db^l_j = R delta^l_j

The Gauss-Newton matrix is sum_i s_i / total J^T H J, J the Jacobian of a^L (of z^L, where the cost
is fused with its activation) and H the second derivatives of C_i: what is left of these lines
without the terms that hold delta or u (Schraudolph, 2002, "Fast curvature matrix-vector products
for second-order gradient descent").
"""

from importlib import import_module
from types import ModuleType
from typing import NamedTuple

import numpy as np

from fastbackprop.engines import MODULES
from fastbackprop.jit.interrupts import deferred


class Direction(NamedTuple):
    """What a product of the Hessian is about. Vectors have no padding, (n_parameters,)."""

    v: np.ndarray
    product: np.ndarray
    gauss_newton: bool


def load(name: str) -> ModuleType:
    """The analysis of the engine of this name."""
    with deferred():
        return import_module(f"{__name__}.{MODULES[name]}")
