"""From the arguments of `Network.fit` to a training that is ready to run."""

from typing import Any

from fastbackprop import inputs
from fastbackprop.machine import Machine
from fastbackprop.optimizers import LBFGS, OPTIMIZERS, Optimizer
from fastbackprop.optimizers.schedules import Function, Plateau
from fastbackprop.training.callbacks import Callbacks
from fastbackprop.training.early_stopping import EarlyStopping
from fastbackprop.training.lbfgs import LBFGSTrainer
from fastbackprop.training.plan import Plan, for_targets, make_plan, samples_of
from fastbackprop.training.progress import bars
from fastbackprop.training.slopes import Slopes, SlopesTrainer
from fastbackprop.training.trainer import Trainer


def prepare(network: Any, X: Any, y: Any, **settings: Any) -> Trainer:
    """A training with these settings, which `Network.fit` describes. No network is changed yet.

    `many` also passes `rows`, numbers of the samples to train on, and a `samples_of` of its own.
    Raises TypeError, ValueError or OSError.
    """
    machine = for_targets(network.machine, settings["missing_targets"])
    settings["epochs"] = inputs.positive_integer(settings["epochs"], "epochs")
    optimizer = as_optimizer(settings["optimizer"])
    optimizer.check_free_for(machine)
    callbacks = settings["callbacks"]
    if not isinstance(callbacks, Callbacks):
        callbacks = Callbacks(callbacks)
    trainer_class = LBFGSTrainer if isinstance(optimizer, LBFGS) else Trainer
    if settings.get("slopes") is not None:
        inputs.refuse_sparse(X, "slopes take a dense one")
        trainer_class = SlopesTrainer
    batches = inputs.are_batches(X, y)
    trainer_class.check(settings, batches)
    plan = make_plan(
        machine,
        (X, y, settings["sample_weight"]),
        settings,
        trainer_class.auto_batch_size,
        settings.get("samples_of", samples_of),
    )
    if plan.samples is None and plan.n_steps is None:
        if not isinstance(optimizer.schedule, Function | Plateau):
            inputs.refuse_for_batches(schedule=optimizer.schedule)
    if plan.rows is not None and plan.samples is not None and not trainer_class.takes_rows:
        samples = inputs.take(plan.samples, plan.rows)
        plan = plan._replace(samples=samples, parts=[samples], rows=None)
    trainer = trainer_class(network, plan, optimizer, callbacks)
    if isinstance(trainer, SlopesTrainer):
        trainer.slopes = _slopes(machine, plan, settings)
    ready(trainer, settings)
    return trainer


def ready(trainer: Trainer, settings: dict[str, Any]) -> None:
    """Add the callbacks that the settings ask for, and put the optimizer to work."""
    callbacks, stopping = trainer.callbacks, settings["early_stopping"]
    if stopping is not None and stopping is not False:
        callbacks.add(_early_stopping(stopping))
    for bar in bars(settings["progress"], trainer.plan.epochs):
        callbacks.add(bar)
    callbacks.for_training(trainer)
    trainer.stepper = trainer.optimizer.stepper(trainer.machine)  # the last that can refuse


def as_optimizer(value: Any) -> Optimizer:
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
