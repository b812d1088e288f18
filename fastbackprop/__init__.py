"""Feed-forward neural networks on CPUs: the sums of backpropagation as compiled explicit loops."""

from fastbackprop.callbacks import EarlyStopping, History
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
from fastbackprop.schedules import (
    Cosine,
    Exponential,
    OneCycle,
    Plateau,
    Polynomial,
    Schedule,
    Step,
    Warmup,
)
from fastbackprop.training import DivergenceError

__version__ = "0.1.0"

__all__ = [
    "EMA",
    "LBFGS",
    "SGD",
    "SWA",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Cosine",
    "Custom",
    "DivergenceError",
    "EarlyStopping",
    "Exponential",
    "Gradient",
    "History",
    "Lion",
    "NAdam",
    "Network",
    "OneCycle",
    "Optimizer",
    "Plateau",
    "Polynomial",
    "RAdam",
    "RMSprop",
    "Rprop",
    "Schedule",
    "Step",
    "Trace",
    "Warmup",
]
