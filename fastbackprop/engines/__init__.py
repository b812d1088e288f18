"""Engines: three ways to compute the same quantities, one contract.

An engine is a module with these functions. Arrays are checked, C-contiguous and of the network's
dtype before they get here; an engine never checks and never raises. `bound` is a network at work,
`minibatches` a training's samples: see `bound.py`. `start:stop` are rows of X (for `train`: places
in `order`), so the caller decides how long a call takes; inside a minibatch it cuts only at
multiples of `row_tile(model)`, which keeps every sum in one order.

    model(layout, sigma, cost, dtype)
                                    a network as the calls below take it: `layers`, of
                                    `layout.layer_type`, and the functions, compiled if need be
    perturbed(model, dropout, noise)
                                    the model with these rates for a^0 ... a^{L-1} and this
                                    deviation of noise on a^0; the same model where all are zero
    rule(formula, n_states, dtype)  `Update.rule`, compiled if need be
    completion(dtype)               `Update.completion`, likewise
    stride(width, dtype)            length, padding included, of a row of so many elements
    row_tile(model)                 samples that are taken through the layers together
    threads(model, batch_size, n_samples, inputs_per_sample)
                                    how many threads a call is worth that takes so many samples
                                    forward, three for one with its way back, in steps of batch_size
                                    samples, or None; of a sparse X only the non-zeros are inputs
    workspace(model, dtype, n_threads, sparse)
                                    scratch memory for the calls below, which use so many threads;
                                    no result depends on their number. For samples with a sparse X,
                                    of which no row is ever dense, or without
    predict(bound, samples, out, start, stop)
                                    out[i] = a^L
    cost_sum(bound, samples, sums, start, stop)
                                    sums[COST] += sum_i s_i C_i, sums[WEIGHT] += sum_i s_i
    gradient_sums(bound, samples, total, into, sums, start, stop)
                                    the same, into.by_theta += sum_i s_i / total dC_i/dtheta, and
                                    into.by_X[i] = s_i / total dC_i/da^0, for a dense X; either may
                                    be left out
    train(bound, minibatches, update, sums, start, stop)
                                    the steps of minibatches.order[start:stop], with the dropout
                                    and noise of bound.model; returns `stop`, or, where a
                                    minibatch's cost is not finite, the place where that minibatch
                                    starts, before its step
    take_step(bound, update)        the step with the gradient in update.g, in one thread
    trace(model, theta, samples, total, gradient)
                                    as gradient_sums for all samples; returns the sums and lists
                                    z (L), a (L + 1), delta (L) of arrays (n_samples, n_l)
    activations(model, theta, X)    list a (L + 1)
    few(sizes)                      largest batch of predictions for the short ways, which check
                                    their samples themselves; 0 for an engine that has none
    short                           a module with the short ways of costs, gradients and steps, as
                                    `tiles.short`, or None
    orders                          a module that draws orders of samples, or None: NumPy does
    predict_row(layers, theta, X, out, neurons)
                                    the short way for a single row: False, and nothing done, where
                                    it is not finite; neurons (3, largest stride) is scratch
    predict_rows(layers, theta, X, out, work)
                                    the short way for at most `few(sizes)` rows
"""

import sys
from importlib import import_module
from types import ModuleType

from fastbackprop.jit.availability import import_error, jit_disabled
from fastbackprop.jit.interrupts import deferred

MODULES = {"tiles": "tiles", "loops": "loops", "numpy": "loopfree"}
if jit_disabled():  # a register tile exists in compiled code only
    del MODULES["tiles"]
ENGINES = tuple(MODULES)


def load(name: str) -> ModuleType:
    """The engine of this name.

    Raises ImportError if it compiles and Numba cannot be imported, or is too new for it.
    """
    if name != "numpy" and import_error() is not None:
        raise ImportError(
            f"engine={name!r} needs Numba, which cannot be imported ({import_error()}); "
            f"engine='numpy' works without it"
        )
    if name == "tiles":
        from fastbackprop.jit.numba_internals import missing_for_tiles

        if missing_for_tiles():
            raise ImportError(
                f"engine='tiles' needs {missing_for_tiles()}, and this version of Numba has none; "
                f"engine='loops' works without"
            )
    module = f"{__name__}.{MODULES[name]}"
    if module in sys.modules:  # nothing of Numba is imported any more
        return import_module(module)
    with deferred():
        return import_module(module)
