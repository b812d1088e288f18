"""Feed-forward neural networks on CPUs: the sums of backpropagation as compiled explicit loops."""

from fastbackprop.callbacks import History
from fastbackprop.network import Gradient, Network, Trace
from fastbackprop.optimizers import SGD, Adam, Optimizer
from fastbackprop.training import DivergenceError

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Adam",
    "DivergenceError",
    "Gradient",
    "History",
    "Network",
    "Optimizer",
    "Trace",
]
