"""An ensemble as a safetensors file: a matrix of parameters for each kind of member.

The metadata are format ("fastbackprop ensemble"), format_version, library_version, kinds, a list of
descriptions of networks as in `saved`, and members, the place of each member's kind in that list.
Tensor parameters.g has a row for each member of kind g, in their order, as of
`Network.get_parameters`; weights, float64, is there where the members have weights.
"""

import json
import os
from collections import Counter
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from fastbackprop.formats import safetensors, saved
from fastbackprop.version import __version__

MAJOR, MINOR = 1, 0


class Contents(NamedTuple):
    """What a file holds."""

    kinds: list[dict[str, Any]]  # descriptions as of `saved.architecture`
    members: list[int]  # the kind of each
    parameters: list[np.ndarray]  # of each kind, (n_members, n_parameters)
    weights: np.ndarray | None  # of the members


def write(path: str | os.PathLike[str], contents: Contents) -> None:
    """Write an ensemble, in one piece or not at all. Raises OSError."""
    metadata = {
        "format": saved.ENSEMBLE,
        "format_version": f"{MAJOR}.{MINOR}",
        "library_version": __version__,
        "kinds": json.dumps(contents.kinds),
        "members": json.dumps(contents.members),
    }
    tensors = {f"parameters.{g}": matrix for g, matrix in enumerate(contents.parameters)}
    if contents.weights is not None:
        tensors["weights"] = contents.weights
    safetensors.write(path, tensors, metadata)


class SavedEnsemble(saved.Described):
    """A file that `write` has written, checked in every detail.

    Raises OSError, and ValueError for any other file.
    """

    format, newest = saved.ENSEMBLE, (MAJOR, MINOR)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        kinds, members = self.json("kinds"), self.json("members")
        if not isinstance(kinds, list) or not kinds:
            raise self.error("its kinds are no list of descriptions")
        self.kinds = [self.checked_architecture(kind) for kind in kinds]
        if not safetensors.are_sizes(members) or {*members} != {*range(len(kinds))}:
            raise self.error("its members are no list of places of its kinds")
        self.members: list[int] = members
        expected: dict[str, tuple[tuple[int, ...], str]] = {}
        counts = Counter(members)
        for g, kind in enumerate(self.kinds):
            n = sum(m * n + n for m, n in pairwise(kind["sizes"]))
            expected[f"parameters.{g}"] = (counts[g], n), saved.CODES[kind["dtype"]]
        if "weights" in self.tensors:
            expected["weights"] = (len(members),), "<f8"
        self.refuse_others(expected, "an ensemble of these kinds")
        for name in self.tensors.keys() - expected.keys():
            raise self.error(f"the tensor {name!r} is no part of an ensemble")

    def parameters(self) -> list[np.ndarray]:
        """Those of each kind, (n_members, n_parameters)."""
        return [self.finite(f"parameters.{g}") for g in range(len(self.kinds))]

    def weights(self) -> np.ndarray | None:
        """Those of the members."""
        return self.finite("weights") if "weights" in self.tensors else None
