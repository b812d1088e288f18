"""The members of an ensemble in parts: those that are predicted with together, and single ones."""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbackprop.layout import aligned_zeros
from fastbackprop.machine import Machine
from fastbackprop.many import choice
from fastbackprop.samples import without_targets


class Together:
    """Members of one description, on the lanes of vectors."""

    def __init__(self, members: list[int], machines: Sequence[Machine]) -> None:
        self.members, first, lanes = np.array(members), machines[0], _lanes()
        self._lanes, self._V = lanes.make(first.model, 0, 1, first.dtype), lanes.width(first.dtype)
        groups, n = -(-len(members) // self._V), first.layout.n_parameters
        self._values = aligned_zeros(groups * n * self._V, first.dtype).reshape(groups, n, self._V)
        self.put(np.array([machine.layout.flatten(machine.theta) for machine in machines]))

    def put(self, rows: np.ndarray) -> None:
        """Set the parameters, a row for each member."""
        for g, values in enumerate(self._values):
            some = rows[g * self._V : (g + 1) * self._V]
            values[:, : len(some)] = some.T

    def get(self) -> np.ndarray:
        """The parameters, a row for each member."""
        rows = self._values.transpose(0, 2, 1).reshape(-1, self._values.shape[1])
        return rows[: len(self.members)]

    def predict(self, X: np.ndarray, n: int, first_row: np.ndarray, out: np.ndarray) -> None:
        """Fill out[k] of each member k with a^L of n rows of X, from its first row on."""
        groups, of_lanes = len(self._values), np.zeros(len(self._values) * self._V, np.int64)
        of_lanes[: len(first_row)] = first_row
        values = self._values.reshape(groups, -1)
        if len(out) == len(self.members):
            _lanes().predict(self._lanes, values, X, of_lanes, out, n)
        else:
            results = np.empty((len(self.members), *out.shape[1:]), out.dtype)
            _lanes().predict(self._lanes, values, X, of_lanes, results, n)
            out[self.members] = results


class Alone:
    """A member that is faster by itself."""

    def __init__(self, member: int, machine: Machine) -> None:
        self.members = np.array([member])
        description = machine.sizes, machine.sigma, machine.cost, machine.dtype
        self._machine = Machine(*description, machine.engine_name)
        self._machine.theta[...] = machine.theta

    def put(self, rows: np.ndarray) -> None:
        """Set the parameters, a row for each member."""
        self._machine.layout.unflatten(rows[0], self._machine.theta)

    def get(self) -> np.ndarray:
        """The parameters, a row for each member."""
        return self._machine.layout.flatten(self._machine.theta)[None]

    def predict(self, X: np.ndarray, n: int, first_row: np.ndarray, out: np.ndarray) -> None:
        """Fill out[k] of each member k with a^L of n rows of X, from its first row on."""
        rows = X[first_row[0] : first_row[0] + n]
        samples = without_targets(rows, out.shape[2], out.dtype)
        self._machine.predict(samples, out[self.members[0]])


def parts_of(machines: list[Machine]) -> list[Together | Alone]:
    """The members in parts that are predicted with together."""
    alike: dict[Any, list[int]] = {}
    for k, machine in enumerate(machines):
        own = None if machine.engine_name == "tiles" else k
        key = machine.sizes, tuple(machine.sigma), machine.engine_name, own
        alike.setdefault(key, []).append(k)
    parts: list[Together | Alone] = []
    for members in alike.values():
        together = _together(machines[members[0]], len(members))
        if together:
            some = members[:together]
            parts.append(Together(some, [machines[k] for k in some]))
        parts += [Alone(k, machines[k]) for k in members[together:]]
    return parts


def _together(machine: Machine, n: int) -> int:
    """How many of n networks like this one are faster on lanes than by themselves."""
    if machine.engine_name != "tiles":
        return 0
    return choice.together(n, machine.sizes, _lanes().width(machine.dtype), machine.dtype)


def _lanes() -> Any:
    """`engines.lanes`, which compiles: the engine "numpy" works without Numba."""
    return importlib.import_module("fastbackprop.engines.lanes")
