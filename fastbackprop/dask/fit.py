"""fit: one network on rows in partitions, spread over a cluster."""

from collections.abc import Sequence
from typing import Any

import distributed

from fastbackprop import inputs
from fastbackprop.dask.client import check_workers, connected
from fastbackprop.dask.partitions import Partitions, is_spread, sources
from fastbackprop.dask.rounds import EpochRounds, LBFGSRounds, OnCluster, StepRounds
from fastbackprop.dask.work import Partitioning, Parts, Work
from fastbackprop.machine import Machine
from fastbackprop.names import names_keywords
from fastbackprop.network import Network
from fastbackprop.numbers import shown, whole
from fastbackprop.optimizers import LBFGS, Optimizer
from fastbackprop.samples import without_targets
from fastbackprop.training import Checkpoint, Dropout, EarlyStopping, History
from fastbackprop.training.callbacks import Callbacks
from fastbackprop.training.dropout import as_dropout
from fastbackprop.training.fit import as_optimizer, ready
from fastbackprop.training.interrupted import finished, raises_interrupted
from fastbackprop.training.metrics import as_metrics
from fastbackprop.training.plan import Plan, for_targets, samples_of

SYNCS = ("step", "epoch")


@raises_interrupted
@names_keywords("fit")
def fit(
    network: Network,
    X: Any,
    y: Any = None,
    *,
    client: distributed.Client | None = None,
    sync: str | int = "epoch",
    epochs: int = 100,
    batch_size: int | str | None = "auto",
    optimizer: str | Optimizer = "adam",
    validation: Any = None,
    sample_weight: Any = None,
    shuffle: bool = True,
    dropout: float | Sequence[float] | Dropout = 0.0,
    callbacks: Any = (),
    checkpoint: Any = None,
    early_stopping: bool | int | EarlyStopping | None = None,
    metrics: Any = None,
    progress: Any = None,
    missing_targets: bool = False,
) -> History:
    """Train a network, in place, on rows that are spread over a Dask cluster.

    The rows stay where they are; parameters and sums of gradients travel. No bit of the result
    depends on the number of workers, nor on workers that are lost on the way: a RuntimeWarning
    names these, and what they held is computed again. Ctrl-C ends the tasks too.

    Parameters
    ----------
    network : Network
    X, y, sample_weight
        Dask arrays or DataFrames; or lists of futures or of delayed objects, one for each
        partition. Without y, X is `partitions(load, n)`, or a list whose parts are (X, y) or (X, y,
        sample_weight). A partition is a block of rows that one thread of a worker goes through; its
        content is as `Network.fit` takes it. Weights of classes are a dict.
    client : distributed.Client or None
        None: the current one.
    sync : {"epoch", "step"} or int
        "epoch": each partition takes the steps of an epoch on its own rows, from common parameters;
        then the mean of parameters and optimizer states, weighted by the weights of their samples,
        takes their place. McMahan et al. (2017), "Communication-Efficient Learning of Deep Networks
        from Decentralized Data". A number: after so many steps in each partition. "step": each step
        is one of all partitions, with the gradient of `batch_size` rows.
    batch_size : int, None or "auto"
        With "epoch", or a number, samples per step in each partition; "auto" is 32. With "step",
        samples of all partitions per step, of each the same share; "auto" is all. None: all.
    optimizer : str or Optimizer
        As for `Network.fit`; LBFGS with sync="step".
    validation : pair, triple or Partitions
        Arrays of this process, or partitions as X and y.
    checkpoint : path, optional
        The same as `callbacks=[Checkpoint(path)]`: the script that is run again after a crash ends
        with the bits of the run that was not interrupted.
    metrics
        As for `Network.fit`, of validation samples that are arrays of this process.
    epochs, shuffle, dropout, callbacks, early_stopping, progress, missing_targets
        As for `Network.fit`. Callbacks run in this process. `on_batch_end` is called after each
        round.

    Returns
    -------
    History
        As of `Network.fit`. With sync="epoch" a cost is the mean of the partitions' costs, each
        taken before the step of its minibatch.

    Raises
    ------
    ValueError, TypeError
        As `Network.fit`, with the number of the partition; where there is no client; for partitions
        that do not belong together. Nothing is changed then.
    RuntimeError
        For workers without fastbackprop, or with another version or vector width, before anything
        starts; for a function that loads and raises; for a partition that workers cannot hold.
    Interrupted, DivergenceError, OSError
        As `Network.fit`. After a divergence the network is as before that round.

    Notes
    -----
    The generator of partition i in an epoch is `numpy.random.default_rng([seed, i])`, where the
    seed is drawn from the network's generator, `integers(2**63)`, for each epoch. Sums are float64.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbackprop as fb
    >>> import fastbackprop.dask
    >>> from dask.distributed import Client
    >>> def load(i):
    ...     X = np.random.default_rng(i).normal(size=(500, 4))
    ...     return X, np.sin(X.sum(axis=1))
    >>> if __name__ == "__main__":
    ...     with Client(n_workers=2, threads_per_worker=1) as client:
    ...         net = fb.Network([4, 16, 1], hidden="tanh", rng=0)
    ...         history = fb.dask.fit(net, fb.dask.partitions(load, 4), epochs=5)
    """
    optimizer = as_optimizer(optimizer)
    machine = for_targets(network.machine, missing_targets)
    optimizer.check_free_for(machine)
    kind = _kind(sync, optimizer)
    data, held_out = sources(X, y, sample_weight), None
    noise, auto = as_dropout(dropout), 32 if kind is EpochRounds else None
    noise.refuse_schedule("fastbackprop.dask.fit")
    kind.check({"batch_size": batch_size, "dropout": dropout}, False)
    plan = Plan(
        epochs=inputs.positive_integer(epochs, "epochs"),
        parts=(),
        batch_size=inputs.batch_size(batch_size, auto),
        shuffle=inputs.flag(shuffle, "shuffle"),
        rates=noise.rates(network.n_layers),
        noise=noise.deviation(),
        missing_targets=missing_targets,
    )
    if validation is not None:
        if _is_local(validation):
            plan = _with_validation(plan, machine, validation, metrics)
        else:
            held_out = _of_validation(validation)
    if metrics is not None and plan.validation is None:
        raise ValueError(
            "metrics need predictions in this process: pass them with validation=(X, y), NumPy "
            "arrays, or use fastbackprop.dask.evaluate and predict after the training"
        )
    listeners = Callbacks(callbacks)
    if checkpoint is not None:
        listeners.add(Checkpoint(checkpoint))
    client = connected(client)  # after all that can be refused without one
    check_workers(client, network.engine)
    with Work(client) as work:
        listeners.add(work)
        training = kind(network, plan, optimizer, listeners)
        _place(training, work, data, held_out, sync)
        ready(training, {"early_stopping": early_stopping, "progress": progress})
        with network.in_training(optimizer):
            training.run()
    return finished(training)


def _kind(sync: Any, optimizer: Optimizer) -> type[OnCluster]:
    """The training for `sync`. Raises TypeError or ValueError."""
    if isinstance(sync, str):
        inputs.choice(sync, SYNCS, "sync")
    else:
        whole(sync, "sync", must="be 'step', 'epoch' or a positive number of steps")
    if isinstance(optimizer, LBFGS):
        if sync != "step":
            raise ValueError("LBFGS takes all rows for each iteration: pass sync='step'")
        return LBFGSRounds
    return StepRounds if sync == "step" else EpochRounds


def _place(
    training: OnCluster, work: Work, data: list[Any], held_out: list[Any] | None, sync: Any
) -> None:
    """Give a training its partitions, when all are checked."""
    plan, job = training.plan, training.first_job()
    training.work, training.parts = work, Parts(work, job, data)
    if held_out is not None:
        training.held_out = Parts(work, job, held_out)
    training.parts.look(work.on_pause)
    rows = tuple(facts.n for facts in training.parts.facts)
    if training.held_out is not None:
        with inputs.naming("validation"):
            training.held_out.look(work.on_pause)
        n = sum(facts.n for facts in training.held_out.facts)
        machine = training.machine
        placeholder = without_targets(range(n), machine.sizes[-1], machine.dtype)
        training.plan = plan = plan._replace(validation=placeholder)
    work.rule = Partitioning(rows, sync, plan.batch_size)
    training.set_rounds(sync)


def _with_validation(plan: Plan, machine: Machine, validation: Any, metrics: Any) -> Plan:
    """The plan with validation samples of this process."""
    with inputs.naming("validation"):
        samples = samples_of(machine, *validation)
    chosen = as_metrics(metrics, len(samples.labels) > 0, machine.cost)
    return plan._replace(validation=samples, metrics=chosen)


def _of_validation(validation: Any) -> list[tuple[Any, ...]]:
    if isinstance(validation, Partitions):
        return sources(validation)
    with inputs.naming("validation"):
        return sources(*validation)


def _is_local(validation: Any) -> bool:
    """Whether its arrays are in this process. Raises TypeError or ValueError."""
    if isinstance(validation, Partitions):
        return False
    if not isinstance(validation, tuple | list) or len(validation) not in (2, 3):
        raise TypeError(
            f"validation must be (X, y), (X, y, sample_weight) or partitions(load, n); "
            f"got {shown(validation)}"
        )
    return not is_spread(validation[0])
