"""From a given gradient by the outputs to the gradients by parameters and inputs."""

from typing import Any

import numpy as np

from fastbackprop import inputs
from fastbackprop.machine import Machine
from fastbackprop.network.results import Backward
from fastbackprop.samples import without_targets


def backward(
    machine: Machine, X: Any, output_gradient: Any, out: Any, n_threads: int | None
) -> Backward:
    """See `Network.backward`; the machine has the cost `GIVEN`."""
    if type(X) is np.ndarray and X.ndim == 2:
        flat, below = _arrays(machine, X, output_gradient, out)
        few = machine.few_gradient(X, output_gradient, None, 1.0, flat, below, n_threads)
        if few is not None:
            return Backward(flat, below)
    inputs.refuse_sparse(X, "dC/da^0 is to be dense")
    X = inputs.matrix(X, machine.sizes[0], machine.dtype)
    shape = len(X), machine.sizes[-1]
    G = inputs.output_gradient(output_gradient, shape, machine.dtype)
    flat, below = _arrays(machine, X, G, out)
    if machine.few_gradient(X, G, None, 1.0, flat, below, n_threads) is None:
        samples = without_targets(X, shape[1], machine.dtype)._replace(Y=G)
        gradient = machine.gradient_sums(samples, 1.0, n_threads, below)[2]
        flat[:] = machine.layout.flatten(gradient)
    return Backward(flat, below)


def _arrays(machine: Machine, X: Any, G: Any, out: Any) -> list[np.ndarray]:
    """The arrays to fill: those that were passed, checked, or new ones."""
    shapes: list[tuple[int, ...]] = [(machine.layout.n_parameters,), (len(X), machine.sizes[0])]
    if out is None:
        return [np.empty(shape, machine.dtype) for shape in shapes]
    arrays = inputs.outputs(out, shapes, machine.dtype)
    for array in arrays:
        inputs.check_apart(array, X=X, output_gradient=G, parameters=machine.theta)
    return arrays
