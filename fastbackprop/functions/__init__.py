"""Activations, costs and initializers: formulas with their derivatives, and the registries.

A `formula` means the same for scalars in a kernel and for arrays in the loop-free engine; a
function that couples the neurons of a sample is written for arrays (n_samples, n_l). Nothing here
needs Numba: kernels are made from these texts in `fastbackprop.engines.functions`.
"""

# isort: off
# The order of the imports is the order of the registries.
from fastbackprop.functions.activations import ACTIVATIONS, Activation, Coupled
from fastbackprop.functions.costs import COSTS, Cost, CoupledCost, pair
from fastbackprop.functions.elementwise import CELU, ELU, LeakyReLU
from fastbackprop.functions import gated, curves, softmaxes
from fastbackprop.functions.layer_norms import LayerNorm
from fastbackprop.functions.distances import Huber, Quantile
from fastbackprop.functions.likelihoods import Tweedie
from fastbackprop.functions.cross_entropies import CrossEntropy, Focal
from fastbackprop.functions.initializers import INITIALIZERS, SmallOutput
# isort: on

__all__ = [
    "ACTIVATIONS",
    "CELU",
    "COSTS",
    "ELU",
    "INITIALIZERS",
    "Activation",
    "Cost",
    "Coupled",
    "CoupledCost",
    "CrossEntropy",
    "Focal",
    "Huber",
    "LayerNorm",
    "LeakyReLU",
    "Quantile",
    "SmallOutput",
    "Tweedie",
    "curves",
    "gated",
    "pair",
    "softmaxes",
]
