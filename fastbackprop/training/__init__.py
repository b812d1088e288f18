"""What `Network.fit` does: epochs of minibatches, callbacks, early stopping, checkpoints."""

from fastbackprop.training.callbacks import TimeBudget
from fastbackprop.training.checkpoint import Checkpoint
from fastbackprop.training.dropout import Dropout
from fastbackprop.training.early_stopping import EarlyStopping
from fastbackprop.training.error_flow import ErrorFlow
from fastbackprop.training.history import History
from fastbackprop.training.interrupted import Interrupted, ReturnOnInterrupt
from fastbackprop.training.metrics import Metrics
from fastbackprop.training.minimize import minimize
from fastbackprop.training.step_trainer import StepTrainer
from fastbackprop.training.trainer import DivergenceError

__all__ = [
    "Checkpoint",
    "DivergenceError",
    "Dropout",
    "EarlyStopping",
    "ErrorFlow",
    "History",
    "Interrupted",
    "Metrics",
    "ReturnOnInterrupt",
    "StepTrainer",
    "TimeBudget",
    "minimize",
]
