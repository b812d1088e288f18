"""Feed-forward neural networks on CPUs: the sums of backpropagation as compiled explicit loops."""

from fastbackprop import math
from fastbackprop.functions.activations import CELU, ELU, Activation, LayerNorm, LeakyReLU
from fastbackprop.functions.costs import Cost, CrossEntropy, Focal, Huber, Quantile, Tweedie
from fastbackprop.network import Gradient, Network, Trace
from fastbackprop.optimizers import (
    EMA,
    LBFGS,
    SGD,
    SWA,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Custom,
    Lion,
    NAdam,
    Optimizer,
    RAdam,
    RMSprop,
    Rprop,
)
from fastbackprop.optimizers.schedules import (
    Cosine,
    Exponential,
    OneCycle,
    Plateau,
    Polynomial,
    Schedule,
    Step,
    Warmup,
)
from fastbackprop.training.callbacks import EarlyStopping, ErrorFlow, History
from fastbackprop.training.trainer import DivergenceError

__version__ = "0.1.0"

__all__ = [
    "CELU",
    "ELU",
    "EMA",
    "LBFGS",
    "SGD",
    "SWA",
    "Activation",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Cosine",
    "Cost",
    "CrossEntropy",
    "Custom",
    "DivergenceError",
    "EarlyStopping",
    "ErrorFlow",
    "Exponential",
    "Focal",
    "Gradient",
    "History",
    "Huber",
    "LayerNorm",
    "LeakyReLU",
    "Lion",
    "NAdam",
    "Network",
    "OneCycle",
    "Optimizer",
    "Plateau",
    "Polynomial",
    "Quantile",
    "RAdam",
    "RMSprop",
    "Rprop",
    "Schedule",
    "Step",
    "Trace",
    "Tweedie",
    "Warmup",
    "math",
]
