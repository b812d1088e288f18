"""Feed-forward neural networks on CPUs: the sums of backpropagation as compiled explicit loops."""

import sys
from typing import TYPE_CHECKING, Any

from fastbackprop import math
from fastbackprop.explanation import Explanation, explain
from fastbackprop.functions import (
    CELU,
    ELU,
    Activation,
    Cost,
    CrossEntropy,
    Focal,
    Huber,
    LayerNorm,
    LeakyReLU,
    Quantile,
    SmallOutput,
    Tweedie,
)
from fastbackprop.many import Ensemble, fit_many
from fastbackprop.names import unknown_attribute
from fastbackprop.network import Backward, Gradient, Jet, Network, Trace
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
from fastbackprop.training import (
    Checkpoint,
    DivergenceError,
    Dropout,
    EarlyStopping,
    ErrorFlow,
    History,
    Interrupted,
    Metrics,
    ReturnOnInterrupt,
    StepTrainer,
    TimeBudget,
    minimize,
)
from fastbackprop.version import __version__ as __version__

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
    "Backward",
    "Checkpoint",
    "Cosine",
    "Cost",
    "CrossEntropy",
    "Custom",
    "DivergenceError",
    "Dropout",
    "EarlyStopping",
    "Ensemble",
    "ErrorFlow",
    "Explanation",
    "Exponential",
    "Focal",
    "Gradient",
    "History",
    "Huber",
    "Interrupted",
    "Jet",
    "LayerNorm",
    "LeakyReLU",
    "Lion",
    "Metrics",
    "NAdam",
    "Network",
    "OneCycle",
    "Optimizer",
    "Plateau",
    "Polynomial",
    "Quantile",
    "RAdam",
    "RMSprop",
    "ReturnOnInterrupt",
    "Rprop",
    "Schedule",
    "SmallOutput",
    "Step",
    "StepTrainer",
    "TimeBudget",
    "Trace",
    "Tweedie",
    "Warmup",
    "explain",
    "fit_many",
    "math",
    "minimize",
]

if not TYPE_CHECKING:  # or no checker would find a wrong name

    def __getattr__(name: str) -> Any:
        raise unknown_attribute(sys.modules[__name__], name, __name__)
