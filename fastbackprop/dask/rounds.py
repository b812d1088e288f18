"""Trainings whose steps are rounds: something of all partitions is added, in their order."""

from typing import Any

import numpy as np

from fastbackprop.dask import tasks
from fastbackprop.dask.tasks import Job, Sums
from fastbackprop.dask.work import Parts, Work
from fastbackprop.machine import Pause
from fastbackprop.samples import COST, WEIGHT, Samples
from fastbackprop.training.lbfgs import LBFGSTrainer
from fastbackprop.training.trainer import Trainer, diverged


class OnCluster(Trainer):
    """A training whose samples are in partitions.

    Attributes
    ----------
    work : Work
    parts : Parts
        The training samples.
    held_out : Parts or None
        The validation samples, unless they are in the plan.
    """

    work: Work
    parts: Parts
    held_out: Parts | None = None
    seed = 0  # of this epoch

    def _compile(self) -> None:
        """Workers do that."""

    def job(self, **changes: Any) -> Job:
        """What the tasks of a round need."""
        job = self.first_job()._replace(epoch_seed=self.seed, steps=self.stepper.steps)
        return job._replace(**changes)

    def first_job(self) -> Job:
        """What checks of partitions need: no steps are taken yet."""
        return Job(
            tasks.build(self.machine.engine_name),
            tasks.network_state(self.network),
            self.plan._replace(parts=(), validation=None, metrics=(), n_threads=1),
        )

    def set_rounds(self, sync: str | int) -> None:
        """When the partitions are known."""

    def draw(self) -> None:
        """The seed of an epoch: with a partition's number it makes that partition's generator."""
        if self.rng is not None:
            self.seed = int(self.rng.integers(2**63))

    def validate(self, pause: Pause) -> dict[str, float]:
        """As of `Trainer`; the samples may be in partitions."""
        if self.held_out is None:
            return super().validate(pause)
        sums = self.work.total(tasks.cost, self.job(), self.held_out, [], pause)
        return {"validation_cost": sums.cost / sums.weight}

    def _passes(self, pause: Pause) -> None:
        """The rounds of an epoch."""
        self.draw()
        listeners = self.callbacks.having("on_batch_end")
        for k in range(self.begin_rounds()):
            if k:
                pause()
            sums = self.one_round(k, pause)
            if not np.isfinite(sums.cost):
                raise self.divergence()
            if sums.weight > 0:
                self._keep()
                self.take(sums)
                if not self._finite():
                    self._restore()
                    raise self.divergence()
            self.sums[COST] += sums.cost
            self.sums[WEIGHT] += sums.weight
            if listeners:
                self.tell_of_batch(listeners)

    def divergence(self) -> Exception:
        """The error of this epoch."""
        return diverged(f"epoch {len(self.history) + 1}", self.history)

    def begin_rounds(self) -> int:
        """An epoch begins; the number of its rounds."""
        raise NotImplementedError

    def one_round(self, k: int, pause: Pause) -> Sums:
        """The sums of round k."""
        raise NotImplementedError

    def take(self, sums: Sums) -> None:
        """Change the network."""
        raise NotImplementedError


class StepRounds(OnCluster):
    """A round is a step with the gradient of some rows of every partition."""

    n_rounds = 1

    def set_rounds(self, sync: str | int) -> None:
        """As many as minibatches; a minibatch of all rows needs no order."""
        size, n = self.plan.batch_size, sum(facts.n for facts in self.parts.facts)
        self.n_rounds = 1 if size is None else -(-n // size)
        shuffle = self.plan.shuffle and self.n_rounds > 1
        self.plan = self.plan._replace(batch_size=None, shuffle=shuffle)
        self.rng = self.network.rng if self.plan.is_random else None

    def begin_rounds(self) -> int:
        """As many as there are minibatches."""
        self.stepper.begin_epoch(self.n_rounds)
        return self.n_rounds

    def one_round(self, k: int, pause: Pause) -> Sums:
        """The sum of the gradients: of each partition the same share of its rows."""
        columns = [[k_ * f.n // self.n_rounds for f in self.parts.facts] for k_ in (k, k + 1)]
        return self.work.total(tasks.gradient, self.job(), self.parts, columns, pause)

    def take(self, sums: Sums) -> None:
        """A step with the gradient of the mean."""
        machine, g = self.machine, sums.vector / sums.weight
        with machine.bound() as bound, np.errstate(over="ignore"):
            for _, _, update in self.stepper.turns(0, 1, 1):
                machine.layout.unflatten(g, update.g)
                machine.engine.take_step(bound, update)


class EpochRounds(OnCluster):
    """A round is some steps in each partition, from common parameters, and their mean."""

    steps_of_round: int | None = None  # None: those of an epoch

    def set_rounds(self, sync: str | int) -> None:
        """Of so many steps."""
        self.steps_of_round = None if isinstance(sync, str) else int(sync)

    def begin_rounds(self) -> int:
        """As many as the partition with the most rows needs."""
        size = self.plan.batch_size
        most = max(facts.n for facts in self.parts.facts)
        self._size = most if size is None else size
        self._steps_of_epoch = -(-most // self._size)
        self._each = min(self.steps_of_round or most, self._steps_of_epoch)
        self.stepper.begin_epoch(self._steps_of_epoch)
        return -(-self._steps_of_epoch // self._each)

    def one_round(self, k: int, pause: Pause) -> Sums:
        """The mean of parameters and states, weighted by the weights that the steps are about."""
        rows, facts = self._each * self._size, self.parts.facts
        ends = [[min(k_ * rows, f.n) for f in facts] for k_ in (k, k + 1)]
        shares = np.array(
            [
                (last - first) * f.weight / f.n if f.n else 0.0
                for first, last, f in zip(*ends, facts, strict=True)
            ]
        )
        shares /= shares.sum()
        job = self.job(optimizer=self.optimizer, steps_per_epoch=self._steps_of_epoch)
        columns = [*ends, shares.tolist()]
        return self.work.total(tasks.trained, job, self.parts, columns, pause)

    def take(self, sums: Sums) -> None:
        """The means take the place of parameters and states."""
        vectors = tasks.vectors(self)
        with np.errstate(over="ignore"):
            for vector, flat in zip(vectors, np.split(sums.vector, len(vectors)), strict=True):
                self.machine.layout.unflatten(flat, vector)
        self.stepper.steps = sums.steps


class LBFGSRounds(OnCluster, LBFGSTrainer):
    """L-BFGS, whose costs and gradients come from all partitions."""

    def _passes(self, pause: Pause) -> None:
        """An iteration."""
        if not self._part(None, pause):
            raise self.divergence()

    def mean_gradient(
        self, samples: Samples | None, x: np.ndarray, pause: Pause
    ) -> tuple[float, np.ndarray]:
        """At a trial point."""
        state = tasks.network_state(self.network, x.astype(self.machine.dtype))
        ends = [[0] * len(self.parts.facts), [facts.n for facts in self.parts.facts]]
        job = self.job(network=state)
        sums = self.work.total(tasks.gradient, job, self.parts, ends, pause)
        return sums.cost / sums.weight, sums.vector / sums.weight
