"""Checkpoints: a training as a file, to go on from as if nothing had happened.

The file is a saved network with more in it. The metadata's `training` holds the generator's state,
the number of steps, the states of the schedule and of the callbacks, and the history; tensors hold
the states of the optimizer, the mean of the parameters, and arrays of callbacks.
"""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from fastbackprop import inputs
from fastbackprop.formats import saved
from fastbackprop.training.callbacks import warn

PLAN, STATES, MEAN, CALLBACKS = "plan", "training.optimizer.", "training.mean", "training.callback."
REASONS = ("epochs", "callback", "early_stopping")

# Bit generators by the largest values of those parts of their state that are indices or flags.
POSITIONS: dict[type, dict[str, int]] = {
    np.random.PCG64: {"has_uint32": 1, "uinteger": 2**32 - 1},
    np.random.PCG64DXSM: {"has_uint32": 1, "uinteger": 2**32 - 1},
    np.random.MT19937: {"pos": 624},
    np.random.Philox: {"buffer_pos": 4, "has_uint32": 1, "uinteger": 2**32 - 1},
    np.random.SFC64: {"has_uint32": 1, "uinteger": 2**32 - 1},
}


class Checkpoint:
    """A callback that writes the training to a file, and continues from it.

    The file is written before the first epoch and after every epoch, in one piece or not at all.
    Where it exists, training continues from it until `epochs` in total: the same script, run again
    after a crash, ends with the bits of the run that was not interrupted. State of other callbacks
    is kept if they have `get_state` and `set_state`.

    Parameters
    ----------
    path : str or path-like
        In a folder that exists. One file belongs to one training.
    batches : int, optional
        Of an X that is an iterable of batches: the file is also written after so many batches of an
        epoch. A training that goes on from there passes over the batches that it has taken.

    Raises
    ------
    TypeError, ValueError, OSError
        For anything but the path of a file in a folder that exists, and a positive number.

    Notes
    -----
    `fit` raises OSError where the first checkpoint cannot be written, and ValueError for a file of
    another network or another training, before anything is changed. Later, when the disk is full
    for example, a RuntimeWarning says so, and the file is that of an earlier epoch. `LBFGS` has no
    checkpoint.
    """

    def __init__(self, path: str | os.PathLike[str], *, batches: int | None = None) -> None:
        self.path = inputs.file_path(path, "checkpoint")
        self.batches = None if batches is None else inputs.positive_integer(batches, "batches")

    starts_last = True  # when the other callbacks of the training are known

    def __repr__(self) -> str:
        batches = "" if self.batches is None else f", batches={self.batches}"
        return f"Checkpoint({str(self.path)!r}{batches})"

    def for_training(self, training: Any) -> "_Checkpointing":
        """The file of one training."""
        if training.no_checkpoint:
            raise ValueError(training.no_checkpoint)
        if training.rng is not None and type(training.rng.bit_generator) not in POSITIONS:
            raise ValueError(
                f"a checkpoint keeps the state of NumPy's own generators, "
                f"{', '.join(kind.__name__ for kind in POSITIONS)}; the network has a "
                f"{type(training.rng.bit_generator).__name__}"
            )
        if self.batches is not None and training.plan.samples is not None:
            raise ValueError("Checkpoint(batches=) is for an X that is an iterable of batches")
        return _Checkpointing(inputs.file_path(self.path, "checkpoint"), training, self.batches)


class _Checkpointing:
    """A checkpoint during one training. Raises ValueError for a file of another."""

    def __init__(self, path: Path, training: Any, batches: int | None) -> None:
        self.path, self.training, self._found = path, training, None
        self._batches = batches
        self.plan = _description(training)
        if os.path.lexists(path):
            self._found = _Found(path)
            self._found.check_plan(self.plan)

    def on_resume(self) -> None:
        """Go on from the file; or, where there is none, write the first.

        So whatever cannot be written is known before the first step. Raises OSError then.
        """
        if self._found is not None:
            self._found.restore(self.training)
            self._found = None
        else:
            self._write()

    def on_save(self) -> None:
        """Write the state after an epoch.

        Where that fails the training, worth more than its copy, goes on with a RuntimeWarning; the
        file of an earlier epoch is still there.
        """
        self._try_to_write(f"epoch {len(self.training.history)}")

    def on_part(self) -> None:
        """Write the state within an epoch, likewise."""
        batch = self.training.parts_taken
        if self._batches is not None and batch % self._batches == 0:
            self._try_to_write(f"batch {batch} of epoch {len(self.training.history) + 1}")

    def _try_to_write(self, when: str) -> None:
        try:
            self._write()
        except OSError as error:
            warn(f"no checkpoint of {when} in {str(self.path)!r}: {error}")

    def _write(self) -> None:
        _write(self.path, self.training, self.plan)


def save(path: Path, training: Any) -> None:
    """Write the state of a training, in one piece or not at all. Raises OSError."""
    _write(path, training, _description(training))


def restore(path: Path, training: Any) -> None:
    """Put a training where it was saved. Raises ValueError, and changes nothing, for another."""
    found = _Found(path)
    found.check_plan(_description(training))
    found.restore(training)


def _description(training: Any) -> dict[str, Any]:
    """All that has to be the same for a training to go on."""
    plan, with_state = training.plan, training.callbacks.stateful()
    return saved.architecture(training.network) | {
        "n_samples": plan.n_samples,
        "n_validation": len(plan.validation.X) if plan.validation else 0,
        "batch_size": plan.batch_size,
        "shuffle": plan.shuffle,
        "dropout": [*plan.rates, plan.noise],
        "optimizer": saved.describe(training.optimizer),
        "callbacks": [saved.describe(getattr(c, "rule", c)) for c in with_state],
    }


def _write(path: Path, training: Any, description: dict[str, Any]) -> None:
    stepper, flatten = training.stepper, training.machine.layout.flatten
    tensors = {f"{STATES}{i}": flatten(state) for i, state in enumerate(stepper.states)}
    if stepper.mean.size:
        tensors[MEAN] = flatten(stepper.mean)
    entry: dict[str, Any] = {
        PLAN: description,
        "steps": stepper.steps,
        "history": list(training.history),
        "ended_by": training.history.ended_by,
    }
    if training.parts_taken:
        entry["epoch"] = [training.parts_taken, training.batch, *training.sums.tolist()]
    if training.rng is not None:
        entry["generator"] = _plain(training.rng.bit_generator.state)
    if stepper.schedule is not None:
        entry["schedule"] = stepper.schedule.get_state()
    entry["callbacks"] = []
    for i, callback in enumerate(training.callbacks.stateful()):
        state, arrays = _parts(callback)
        entry["callbacks"].append(state)
        tensors |= {f"{CALLBACKS}{i}.{name}": array for name, array in arrays.items()}
    saved.write(path, training.network, entry, tensors)


class _Found(saved.Saved):
    """A checkpoint that is there."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if not self.is_checkpoint:
            raise self.error(
                "it is a saved network, not a checkpoint: pass another path to Checkpoint, or "
                "Network.load it"
            )
        self.entry = self.json(saved.TRAINING)
        if not isinstance(self.entry, dict) or not isinstance(self.entry.get(PLAN), dict):
            raise self.error("the plan of its training is missing")

    def check_plan(self, plan: dict[str, Any]) -> None:
        """Raise ValueError, with the differences, for the checkpoint of another plan."""
        theirs = self.entry[PLAN]
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

    def restore(self, training: Any) -> None:
        """Put everything where it was. All is checked first: ValueError, and nothing is changed."""
        entry, machine, stepper = self.entry, training.machine, training.stepper
        rng = training.rng
        flat_states = [self._vector(f"{STATES}{i}", machine) for i in range(len(stepper.states))]
        flat_mean = self._vector(MEAN, machine) if stepper.mean.size else None
        parameters, history, begun = self.parameters(), self._history(), self._begun(training)
        if rng is not None:
            self._check_generator(rng.bit_generator)
        self._restore_callbacks(training.callbacks.stateful())
        if stepper.schedule is not None:
            try:
                stepper.schedule.set_state(entry.get("schedule", {}))
            except (ValueError, AttributeError) as error:
                raise self.error(str(error)) from None
        training.network.set_parameters(parameters)
        if rng is not None:
            rng.bit_generator.state = entry["generator"]
        for flat, state in zip(flat_states, stepper.states, strict=True):
            machine.layout.unflatten(flat, state)
        if flat_mean is not None:
            machine.layout.unflatten(flat_mean, stepper.mean)
        steps, rows, ended_by = history
        stepper.steps = steps
        for row in rows:
            training.history.append(row)
        training.history.ended_by = ended_by
        training.parts_taken, training.batch, *training.sums[:] = begun

    def _history(self) -> tuple[int, list[dict[str, float]], str]:
        """Steps, the figures of the epochs, and what ended them."""
        rows, steps, ended_by = (self.entry.get(n) for n in ("history", "steps", "ended_by"))
        if type(steps) is not int or not 0 <= steps < 2**53 or ended_by not in REASONS:
            raise self.error("its step count, or the reason why it ended, is missing or invalid")
        if not isinstance(rows, list) or not all(_is_row(row) for row in rows):
            raise self.error("its history is not valid")
        return steps, rows, ended_by

    def _begun(self, training: Any) -> list[Any]:
        """Batches and steps of an epoch that has begun, and their sums."""
        begun = self.entry.get("epoch", [0, 0, *[0.0] * len(training.sums)])
        kinds = [int, int, *[float] * len(training.sums)]
        if not isinstance(begun, list) or [type(item) for item in begun] != kinds:
            raise self.error("the part of an epoch that it was written in is not valid")
        if min(begun[:2]) < 0 or max(begun[:2]) >= 2**53 or not np.isfinite(begun[2:]).all():
            raise self.error("the part of an epoch that it was written in is not valid")
        return begun

    def _restore_callbacks(self, callbacks: list[Any]) -> None:
        states = self.entry.get("callbacks")
        if not isinstance(states, list) or len(states) != len(callbacks):
            raise self.error("its states of callbacks are not those of this training")
        for i, (callback, state) in enumerate(zip(callbacks, states, strict=True)):
            if not isinstance(state, dict):
                raise self.error("its states of callbacks are not those of this training")
            prefix = f"{CALLBACKS}{i}."
            names = [name for name in self.tensors if name.startswith(prefix)]
            arrays = {name.removeprefix(prefix): self.read(name) for name in names}
            try:
                callback.set_state(state | arrays)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise self.error(str(error)) from None

    def _vector(self, name: str, machine: Any) -> np.ndarray:
        """A state: not all of them are finite, as where the square of a gradient overflowed."""
        tensor, shape = self.tensors.get(name), (machine.layout.n_parameters,)
        if tensor is None or tensor.shape != shape or tensor.dtype != machine.dtype:
            raise self.error(f"the tensor {name!r}, {shape} of {machine.dtype}, is missing")
        return self.read(name)

    def _check_generator(self, bits: np.random.BitGenerator) -> None:
        """NumPy does not check every part of a state, and trusts its positions."""
        kind, state = type(bits), self.entry.get("generator")
        usual = _plain(kind(0).state)
        if not _is_state(state, usual, POSITIONS[kind]):
            raise self.error(f"its generator is no {kind.__name__}, as the network's")
        try:
            kind(0).state = state
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise self.error(f"its generator is no {kind.__name__} ({error})") from None


def _parts(callback: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What JSON can hold of a callback's state, and the arrays. Raises TypeError."""
    whole = callback.get_state()
    if not isinstance(whole, dict):
        raise TypeError(f"get_state() of a callback must return a dict; got {whole!r}")
    arrays = {name: x for name, x in whole.items() if isinstance(x, np.ndarray)}
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise TypeError(f"the array {name!r} of a callback's state is of {array.dtype}")
    return {name: x for name, x in whole.items() if name not in arrays}, arrays


def _is_state(state: Any, usual: Any, positions: dict[str, int], name: str = "") -> bool:
    """Whether the state of a bit generator has the parts of the usual one."""
    if isinstance(usual, dict):
        same = isinstance(state, dict) and state.keys() == usual.keys()
        return same and all(_is_state(state[n], usual[n], positions, n) for n in usual)
    if isinstance(usual, list):
        same = isinstance(state, list) and len(state) == len(usual)
        return same and all(map(_is_state, state, usual, [positions] * len(usual)))
    if isinstance(usual, str):
        return bool(state == usual)
    return type(state) is int and 0 <= state <= positions.get(name, math.inf)


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and "cost" in row and all(type(x) is float for x in row.values())


def _plain(state: Any) -> Any:
    """The state of a bit generator, where arrays may be, as JSON can hold it."""
    if isinstance(state, dict):
        return {name: _plain(value) for name, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray | np.generic) else state
