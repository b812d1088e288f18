"""Feed-forward neural networks on CPUs: the sums of backpropagation as compiled explicit loops."""

from fastbackprop.callbacks import EarlyStopping, History
from fastbackprop.network import Gradient, Network, Trace
from fastbackprop.optimizers import SGD, Adam, Optimizer
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
    "SGD",
    "Adam",
    "Cosine",
    "DivergenceError",
    "EarlyStopping",
    "Exponential",
    "Gradient",
    "History",
    "Network",
    "OneCycle",
    "Optimizer",
    "Plateau",
    "Polynomial",
    "Schedule",
    "Step",
    "Trace",
    "Warmup",
]
