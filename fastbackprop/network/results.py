"""Named tuples that methods of `Network` return."""

from typing import NamedTuple

import numpy as np

from fastbackprop.network import notebook


class Gradient(NamedTuple):
    """Mean cost of a batch and its gradient, shaped as the network's weights and biases."""

    cost: float
    weights: list[np.ndarray]
    biases: list[np.ndarray]


class Backward(NamedTuple):
    """Of a cost whose gradient by the outputs was given: the gradients by parameters and inputs.

    parameter_gradient is (n_parameters,), in the order of `get_parameters`, summed over the
    samples; input_gradient is dC/da^0, (n_samples, n_0).
    """

    parameter_gradient: np.ndarray
    input_gradient: np.ndarray


class Jet(NamedTuple):
    """Outputs and their derivatives along directions; d2a is None where order is 1.

    a is a^L, (n_samples, n_L); da[d] and d2a[d] are its first and its second derivative along
    direction d, da and d2a (n_directions, n_samples, n_L).
    """

    a: np.ndarray
    da: np.ndarray
    d2a: np.ndarray | None


class Trace(NamedTuple):
    """Every quantity of the derivation for a batch; C is its (weighted) mean cost.

    z[l-1], a[l] and delta[l-1] are z^l, a^l and delta^l = dC/dz^l, (n_samples, n_l); a[0] is X.
    weight_gradients[l-1] is dC/dW^l, (n_{l-1}, n_l), and bias_gradients[l-1] is dC/db^l, (n_l,).
    """

    z: list[np.ndarray]
    a: list[np.ndarray]
    delta: list[np.ndarray]
    weight_gradients: list[np.ndarray]
    bias_gradients: list[np.ndarray]
    cost: float

    def _repr_html_(self) -> str:
        return notebook.of_trace(self)
