"""Checkpoints: a training as a file, to go on from as if nothing had happened.

The file is a saved network with more in it: in the metadata's `training` the generator's state, the
number of steps, the state of the schedule and of the early stopping, and the history; in
tensors the states of the optimizer and the best parameters so far.
"""

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from fastbackprop.formats import saved
from fastbackprop.training.callbacks import History

PLAN, STATES, MEAN, BEST = "plan", "training.optimizer.", "training.mean", "training.best"
REASONS = ("epochs", "callback", "early_stopping")


class Checkpoint:
    """The file of one training.

    Parameters
    ----------
    path : Path
        Where it is, or will be.
    network : Network
    plan : dict
        What must be the same for the bits to be: as JSON can hold it.

    Raises
    ------
    ValueError
        For a file that is not a checkpoint, or one of another network or plan.
    """

    def __init__(self, path: Path, network: Any, plan: dict[str, Any]) -> None:
        self.path, self.plan, self._found = path, saved.architecture(network) | plan, None
        if os.path.lexists(path):
            self._found = _Found(path)
            self._found.check_plan(self.plan)

    def begin(self, trainer: Any, network: Any, history: History) -> None:
        """Go on from the file; or, where there is none, write the first.

        So whatever cannot be written is known before the first step. Raises OSError then.
        """
        if self._found is not None:
            self._found.restore(trainer, network, history)
            self._found = None
        else:
            self._write(trainer, network, history)

    def update(self, trainer: Any, network: Any, history: History) -> None:
        """Write the state after an epoch.

        Where that fails the training, worth more than its copy, goes on with a RuntimeWarning; the
        file of an earlier epoch is still there.
        """
        try:
            self._write(trainer, network, history)
        except OSError as error:
            message = f"no checkpoint of epoch {len(history)} in {str(self.path)!r}: {error}"
            warnings.warn(message, RuntimeWarning, stacklevel=4)

    def _write(self, trainer: Any, network: Any, history: History) -> None:
        control, flatten = trainer.control, network._layout.flatten
        states, mean = trainer.stepper.states, trainer.stepper.mean
        tensors = {f"{STATES}{i}": flatten(state) for i, state in enumerate(states)}
        if mean.size:
            tensors[MEAN] = flatten(mean)
        training: dict[str, Any] = {
            PLAN: self.plan,
            "steps": trainer.stepper.steps,
            "history": list(history),
            "ended_by": history.ended_by,
        }
        if trainer.rng is not None:
            training["generator"] = _plain(trainer.rng.bit_generator.state)
        if control.schedule is not None:
            training["schedule"] = control.schedule.get_state()
        if control.stopping is not None:
            training["best"], training["waited"] = control.stopping.best, control.stopping.waited
            if control.stopping.parameters is not None:
                tensors[BEST] = flatten(control.stopping.parameters)
        saved.write(self.path, network, training, tensors)


class _Found(saved.Saved):
    """A checkpoint that is there."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if not self.is_checkpoint:
            raise self.error(
                "it is a saved network, not a checkpoint: pass another path to checkpoint=, or "
                "Network.load it"
            )
        self.training = self.json(saved.TRAINING)
        if not isinstance(self.training, dict) or not isinstance(self.training.get(PLAN), dict):
            raise self.error("its training has no plan")

    def check_plan(self, plan: dict[str, Any]) -> None:
        """Raise ValueError, with the differences, for the checkpoint of another plan."""
        theirs = self.training[PLAN]
        differences = [
            f"{name} {theirs.get(name)!r}, not {plan.get(name)!r}"
            for name in sorted({*theirs, *plan})
            if theirs.get(name) != plan.get(name)
        ]
        if differences:
            raise ValueError(
                f"the checkpoint {str(self.path)!r} is of another training, with "
                f"{'; '.join(differences)}. Repeat the call that wrote it, or pass another path"
            )

    def restore(self, trainer: Any, network: Any, history: History) -> None:
        """Put everything where it was. All is checked first: ValueError, and nothing is changed."""
        control, training = trainer.control, self.training
        states, mean = trainer.stepper.states, trainer.stepper.mean
        flat_states = [self._vector(f"{STATES}{i}", network) for i in range(len(states))]
        flat_mean = self._vector(MEAN, network) if mean.size else None
        parameters = self.parameters()
        best = self._vector(BEST, network) if BEST in self.tensors else None
        rows, steps, ended_by = (training.get(n) for n in ("history", "steps", "ended_by"))
        if type(steps) is not int or not 0 <= steps < 2**63 or ended_by not in REASONS:
            raise self.error("its steps, or what ended it, is missing")
        if not isinstance(rows, list) or not all(_is_row(row) for row in rows):
            raise self.error("its history is not one")
        stopping, schedule, rng = control.stopping, control.schedule, trainer.rng
        value, waited = training.get("best"), training.get("waited", 0)
        if type(waited) is not int or not isinstance(value, float | None):
            raise self.error("its state of the early stopping is not one")
        if rng is not None:
            self._set_generator(type(rng.bit_generator)(), "a trial")
        if schedule is not None:
            try:
                schedule.set_state(training.get("schedule", {}))
            except (ValueError, AttributeError) as error:
                raise self.error(str(error)) from None
        network.set_parameters(parameters)
        if rng is not None:
            self._set_generator(rng.bit_generator, "the network's generator")
        if stopping is not None:
            stopping.best, stopping.waited = value, waited
            if best is not None:
                stopping.parameters = np.zeros_like(trainer.theta)
                network._layout.unflatten(best, stopping.parameters)
        for flat, state in zip(flat_states, states, strict=True):
            network._layout.unflatten(flat, state)
        if flat_mean is not None:
            network._layout.unflatten(flat_mean, mean)
        trainer.stepper.update.t[0] = steps
        for row in rows:
            history.append(row)
        history.ended_by = ended_by

    def _vector(self, name: str, network: Any) -> np.ndarray:
        tensor = self.tensors.get(name)
        if tensor is None or tensor.shape != (network.n_parameters,):
            raise self.error(f"the tensor {name!r}, ({network.n_parameters},), is missing")
        return self.finite(name)

    def _set_generator(self, bits: np.random.BitGenerator, whose: str) -> None:
        try:
            bits.state = self.training.get("generator")
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            name = type(bits).__name__
            raise self.error(f"its generator is no {name}, as the network's ({error})") from None


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and "cost" in row and all(type(x) is float for x in row.values())


def _plain(state: Any) -> Any:
    """The state of a bit generator, where arrays may be, as JSON can hold it."""
    if isinstance(state, dict):
        return {name: _plain(value) for name, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray | np.generic) else state
