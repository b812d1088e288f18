"""What compiled engines do alike with rows of a and delta."""

import numpy as np

from fastbackprop.jit.kernels import kernel


@kernel(entry=True)
def outer_products(model, a, delta, out):
    """(3) and (4) of each sample by itself: a (n, ...), delta (n, ...) -> out (n, n_parameters)."""
    for i in range(out.shape[0]):
        place = 0
        for l in range(1, model.layers.shape[0]):
            m, n = model.layers[l - 1]["width"], model.layers[l]["width"]
            a_l = a[i, model.layers[l - 1]["start"] :][:m]
            delta_l = delta[i, model.layers[l]["start"] :][:n]
            for k in range(m):
                g = out[i, place : place + n]
                for j in range(n):
                    g[j] = a_l[k] * delta_l[j]
                place += n
            g = out[i, place : place + n]
            for j in range(n):
                g[j] = delta_l[j]
            place += n


@kernel(entry=True)
def norms(model, a, delta, out):
    """||dC_i/dtheta||, the root of sum_l ||delta^l||^2 (1 + ||a^{l-1}||^2) -> out (n,)."""
    for i in range(out.shape[0]):
        total = out.dtype.type(0)
        for l in range(1, model.layers.shape[0]):
            m, n = model.layers[l - 1]["width"], model.layers[l]["width"]
            a_l = a[i, model.layers[l - 1]["start"] :][:m]
            delta_l = delta[i, model.layers[l]["start"] :][:n]
            inputs, errors = out.dtype.type(1), out.dtype.type(0)
            for k in range(m):
                inputs += a_l[k] * a_l[k]
            for j in range(n):
                errors += delta_l[j] * delta_l[j]
            total += errors * inputs
        out[i] = np.sqrt(total)
