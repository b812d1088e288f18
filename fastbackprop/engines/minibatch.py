"""Samples, and the end of a minibatch, inside compiled engines."""

import numpy as np

from fastbackprop.engines.rules import step
from fastbackprop.jit.kernels import EXACT, inlined, kernel
from fastbackprop.samples import COST, MINIBATCH_COST, WEIGHT


@inlined
def is_sparse(samples):
    """Whether X is sparse."""
    return samples.spans.shape[0] > 0


@inlined
def target(samples, i, y):
    """y (n_L,): the target of sample i; labels become one-hot."""
    if samples.labels.shape[0] > 0:
        for k in range(y.shape[0]):
            y[k] = 0
        y[samples.labels[i]] = 1
    else:
        for k in range(y.shape[0]):
            y[k] = samples.Y[i, k]


@inlined
def weight(samples, i):
    """s_i."""
    return samples.s[i] if samples.s.shape[0] > 0 else 1.0


@kernel(linked=True, fastmath=EXACT)
def sum_of_weights(s, order, first, last):
    """sum_i s_i of samples order[first:last], one after the other."""
    total = 0.0
    for i in range(first, last):
        total += s[order[i]]
    return total


@inlined
def minibatch(samples, order, batch_size, place):
    """(first, last, sum of s_i) of the minibatch order[first:last] that contains the place."""
    first = place // batch_size * batch_size
    last = min(first + batch_size, order.shape[0])
    total = float(last - first)
    if samples.s.shape[0] > 0:
        total = sum_of_weights(samples.s, order, first, last)
    return first, last, total


@inlined
def end_minibatch(bound, update, sums, sum_of_weights):
    """Take the step, unless all weights are zero; False, and no step, if the cost is not finite."""
    finite = np.isfinite(sums[MINIBATCH_COST])
    if finite:
        sums[COST] += sums[MINIBATCH_COST]
        sums[WEIGHT] += sum_of_weights
        if sum_of_weights > 0:
            step(bound.model.layers, bound.theta, update)
    return finite
