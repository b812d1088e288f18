"""Optimisers: a rule for one element of every vector (parameters, gradient, states) each.

A rule is a formula in the coefficients c of a step. The coefficients are a second formula, of the
hyperparameters h and the steps t, an array: NumPy computes those of many steps at once, in float64,
and kernels only look them up. Rules, defaults and order of operations are PyTorch's. To add an
optimizer: its block (rule, coefficients, class) in the file of its family, and its place in
`OPTIMIZERS`.
"""

from fastbackprop.optimizers.adam import Adam, Adamax, AdamW, NAdam, RAdam
from fastbackprop.optimizers.adaptive import Adadelta, Adagrad, RMSprop
from fastbackprop.optimizers.averaging import EMA, SWA
from fastbackprop.optimizers.base import Optimizer
from fastbackprop.optimizers.custom import Custom
from fastbackprop.optimizers.lbfgs import LBFGS
from fastbackprop.optimizers.sgd import SGD
from fastbackprop.optimizers.signs import Lion, Rprop

__all__ = [
    "EMA",
    "LBFGS",
    "OPTIMIZERS",
    "SGD",
    "SWA",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Custom",
    "Lion",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
]

OPTIMIZERS: dict[str, type[Optimizer]] = {
    optimizer.name: optimizer
    for optimizer in (
        *(SGD, Adam, AdamW, NAdam, RAdam, Adamax, Lion),
        *(RMSprop, Adagrad, Adadelta, Rprop, LBFGS),
    )
}
