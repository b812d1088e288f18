"""From the arguments of `Network.fit` to a training that is ready to run."""

from typing import Any

from fastbackprop import inputs
from fastbackprop.machine import Machine
from fastbackprop.optimizers import LBFGS, OPTIMIZERS, Optimizer
from fastbackprop.training.callbacks import Callbacks
from fastbackprop.training.checkpoint import Checkpoint
from fastbackprop.training.early_stopping import EarlyStopping
from fastbackprop.training.lbfgs import LBFGSTrainer
from fastbackprop.training.plan import Plan, make_plan
from fastbackprop.training.progress import Progress
from fastbackprop.training.slopes import Slopes, SlopesTrainer
from fastbackprop.training.trainer import Trainer


def prepare(network: Any, X: Any, y: Any, **settings: Any) -> Trainer:
    """A training with these settings, which `Network.fit` describes. No network is changed yet.

    Raises TypeError, ValueError or OSError.
    """
    machine = network.machine
    settings["epochs"] = inputs.positive_integer(settings["epochs"], "epochs")
    optimizer = _optimizer(settings["optimizer"])
    optimizer.check_free_for(machine)
    callbacks = Callbacks(settings["callbacks"])
    trainer_class = LBFGSTrainer if isinstance(optimizer, LBFGS) else Trainer
    if settings.get("slopes") is not None:
        inputs.refuse_sparse(X, "slopes take a dense one")
        trainer_class = SlopesTrainer
    batches = inputs.are_batches(X, y)
    trainer_class.check(settings, batches)
    if batches:
        checkpoints = [c for c in callbacks.having("for_training") if isinstance(c, Checkpoint)]
        inputs.refuse_for_batches(schedule=optimizer.schedule, checkpoint=checkpoints or None)
    plan = make_plan(
        machine,
        (X, y, settings["sample_weight"]),
        settings["validation"],
        settings,
        trainer_class.auto_batch_size,
    )
    stopping = settings["early_stopping"]
    if stopping is not None and stopping is not False:
        callbacks.add(_early_stopping(stopping))
    callbacks.add(Progress(settings["progress"], plan.epochs))
    trainer = trainer_class(network, plan, optimizer, callbacks)
    if isinstance(trainer, SlopesTrainer):
        trainer.slopes = _slopes(machine, plan, settings)
    callbacks.for_training(trainer)
    trainer.stepper = optimizer.stepper(machine)  # the last that can refuse
    return trainer


def _optimizer(value: Any) -> Optimizer:
    """From a name or an object."""
    if isinstance(value, Optimizer):
        return value
    if isinstance(value, type) and issubclass(value, Optimizer):
        raise TypeError(f"optimizer must be an object: pass {value.__name__}(), not the class")
    return OPTIMIZERS[inputs.choice(value, OPTIMIZERS, "optimizer")]()


def _slopes(machine: Machine, plan: Plan, settings: dict[str, Any]) -> Slopes:
    """Of the samples in the plan, which are all of them, or those that are not held out."""
    assert plan.samples is not None
    n, rows = len(plan.samples.X), None
    if isinstance(settings["validation"], float):
        assert plan.validation is not None
        n += len(plan.validation.X)
        rows, _ = inputs.split(settings["validation"], n)
    return Slopes(machine, settings["slopes"], settings["slope_weight"], n, rows)


def _early_stopping(value: Any) -> EarlyStopping:
    """From True, a patience or an `EarlyStopping`."""
    if isinstance(value, EarlyStopping):
        return value
    if value is True:
        return EarlyStopping()
    return EarlyStopping(inputs.positive_integer(value, "early_stopping"))
