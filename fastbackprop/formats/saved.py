"""A network as a safetensors file: tensors weights.0, biases.0, weights.1, ..., and a description.

The metadata are strings: format ("fastbackprop"), format_version, library_version and network, the
arguments of `Network` as JSON: an activation or a cost by its name, one with other than the usual
parameters as {"name": "leaky_relu", "p": [0.2]}, a user's own as {"name": ..., "p": [], "own":
true}, whose functions no file holds, and `LayerNorm` as {"name": "layer_norm", "of": one of these,
"epsilon": 1e-05} (from version 1.2 on). A checkpoint has one more, training, and tensors
training.*.
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from fastbackprop.formats import safetensors
from fastbackprop.functions import Activation, Cost, LayerNorm, activations, costs
from fastbackprop.version import __version__

FORMAT, MAJOR, MINOR = "fastbackprop", 1, 2
ARGUMENTS = ("sizes", "hidden", "output", "cost", "dtype", "engine")
TRAINING = "training"
ENSEMBLE = "fastbackprop ensemble"  # the format of its files
READ_BY = {FORMAT: "a network: Network.load", ENSEMBLE: "an ensemble: Ensemble.load"}
CODES = {"float32": "<f4", "float64": "<f8"}


def describe(thing: Any) -> Any:
    """A function, an optimizer, ... as JSON can hold it: its name and parameters.

    Of parameters that are objects (a user's function) only the type is kept.
    """
    if thing is None or isinstance(thing, str | int | float | bool):
        return thing
    if isinstance(thing, np.number):
        return thing.item()
    if isinstance(thing, tuple | list):
        return [describe(item) for item in thing]
    described = {"name": type(thing).__name__}
    if dataclasses.is_dataclass(thing):
        fields = (field.name for field in dataclasses.fields(thing) if field.init)
        described |= {name: describe(getattr(thing, name)) for name in fields}
    return described


def architecture(network: Any) -> dict[str, Any]:
    """The arguments that `Network` is made from again."""
    sigma = network.machine.sigma
    return {
        "sizes": list(network.sizes),
        "hidden": [describe_function(activation) for activation in sigma[:-1]],
        "output": describe_function(sigma[-1]),
        "cost": describe_function(network.machine.cost),
        "dtype": str(network.dtype),
        "engine": network.engine,
    }


def describe_function(function: Activation | Cost) -> Any:
    """An activation or a cost as JSON can hold it."""
    if isinstance(function, LayerNorm):
        inner = describe_function(function.inner)
        return {"name": LAYER_NORM, "of": inner, "epsilon": function.epsilon}
    if not function.is_registered:
        return {"name": function.name, "p": list(function.p), "own": True}
    if str(function) == function.name:
        return function.name
    return {"name": function.name, "p": list(function.p)}


def function(description: Any, what: str, own: Sequence[Activation | Cost] = ()) -> Any:
    """The function of a description by `describe_function`: a name, or an object with parameters.

    Parameters
    ----------
    description
        From a file, of any kind. Anything else is returned as it is, for `Network` to refuse.
    what : {"activation", "cost"}
    own : sequence of Activation and Cost
        Where a user's own are looked up.

    Raises
    ------
    ValueError, TypeError
        For parameters that make no sense, or a user's own that is not among them.
    """
    if not isinstance(description, dict):
        return description
    if what == "activation" and set(description) == {"name", "of", "epsilon"}:
        of, epsilon = description["of"], description["epsilon"]
        if description["name"] != LAYER_NORM or (isinstance(of, dict) and "of" in of):
            return description
        return LayerNorm(function(of, what, own), epsilon)
    if not {"name", "p"} <= set(description) <= KEYS:
        return description
    name, p = description["name"], description["p"]
    kind, parametric = KINDS[what]
    if not isinstance(name, str) or not isinstance(p, list):
        return description
    if "own" not in description:
        if name not in parametric:
            raise ValueError(f"the {what} {name!r} has no parameters, and p is {p!r}")
        return parametric[name](*p)
    for candidate in own:
        if isinstance(candidate, kind) and candidate.name == name:
            return replace(candidate, p=tuple(p))
    raise ValueError(
        f"the {what} {name!r} is of the user's own making, and no file holds functions: pass "
        f"{kind.__name__}({name!r}, ...) where the file is read"
    )


def arguments(description: dict[str, Any], own: Sequence[Activation | Cost] = ()) -> dict[str, Any]:
    """The arguments of `Network` of a description by `architecture`. Raises as `function` does."""
    result = dict(description)
    if isinstance(result["hidden"], list):
        result["hidden"] = [function(hidden, "activation", own) for hidden in result["hidden"]]
    result["output"] = function(result["output"], "activation", own)
    result["cost"] = function(result["cost"], "cost", own)
    return result


KEYS, LAYER_NORM = {"name", "p", "own"}, "layer_norm"
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "activation": (Activation, activations.PARAMETRIC),
    "cost": (Cost, costs.PARAMETRIC),
}


def write(
    path: str | os.PathLike[str],
    network: Any,
    training: Any = None,
    tensors: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write a network, and for a checkpoint the state of its training. Raises OSError."""
    metadata = {
        "format": FORMAT,
        "format_version": f"{MAJOR}.{MINOR}",
        "library_version": __version__,
        "network": json.dumps(architecture(network)),
    }
    if training is not None:
        metadata[TRAINING] = json.dumps(training)
    parameters = {f"weights.{l}": W for l, W in enumerate(network.weights)}
    parameters |= {f"biases.{l}": b for l, b in enumerate(network.biases)}
    safetensors.write(path, parameters | dict(tensors or {}), metadata)


class Described(safetensors.Contents):
    """A file of this package: its kind and version are known, and entries of its metadata JSON.

    Raises OSError, and ValueError for any other file.
    """

    format, newest = FORMAT, (MAJOR, MINOR)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._check_version()

    def _check_version(self) -> None:
        said, (known, minor_known) = self.metadata.get("format"), self.newest
        if said != self.format:
            message = "it is not a file of fastbackprop: its metadata do not say so"
            raise self.error(f"it holds {READ_BY[said]} reads it" if said in READ_BY else message)
        version = self.metadata.get("format_version", "")
        major, _, minor = version.partition(".")
        digits = all(part.isascii() and part.isdigit() and len(part) < 9 for part in (major, minor))
        if not digits or int(major) < 1:
            raise self.error(f"its format_version {version!r} is none")
        if int(major) > known:
            library = self.metadata.get("library_version")
            raise self.error(
                f"its format_version {version} is newer than {known}.{minor_known}, the one known "
                f"here: it was written by fastbackprop {library}, this is {__version__}"
            )

    def json(self, name: str) -> Any:
        """An entry of the metadata."""
        try:
            return json.loads(self.metadata[name])
        except KeyError:
            raise self.error(f"its metadata have no {name!r}") from None
        except (ValueError, RecursionError) as error:
            raise self.error(f"its {name!r} is not JSON ({error})") from None

    def checked_architecture(self, described: Any) -> dict[str, Any]:
        """The description of a network, with sizes and a dtype that can be."""
        if not isinstance(described, dict) or set(described) != {*ARGUMENTS}:
            raise self.error(f"its network must be described by {', '.join(ARGUMENTS)}")
        sizes = described["sizes"]
        if not safetensors.are_sizes(sizes) or len(sizes) < 2:
            raise self.error(f"its sizes {sizes!r} are none")
        if described["dtype"] not in ("float32", "float64"):
            raise self.error(f"its dtype {described['dtype']!r} is none")
        return described

    def arguments_of(
        self, described: dict[str, Any], own: Sequence[Activation | Cost] = ()
    ) -> dict[str, Any]:
        """The arguments of `Network`; `own` has the functions of the user's own that it needs."""
        try:
            return arguments(described, own)
        except (ValueError, TypeError) as error:
            raise self.error(str(error)) from None

    def refuse_others(self, expected: Mapping[str, tuple[tuple[int, ...], str]], of: str) -> None:
        """Raise ValueError unless there are these tensors, of these shapes and dtypes."""
        for name, (shape, code) in expected.items():
            tensor, dtype = self.tensors.get(name), np.dtype(code)
            if tensor is None:
                raise self.error(f"the tensor {name!r} of {of} is missing")
            if tensor.shape != shape or tensor.dtype != dtype:
                raise self.error(
                    f"the tensor {name!r} must be {dtype} of shape {shape}; "
                    f"it is {tensor.dtype} of shape {tensor.shape}"
                )

    def finite(self, name: str) -> np.ndarray:
        """The tensor of this name, refused where it holds NaN or infinity."""
        array = self.read(name)
        if not np.isfinite(array).all():
            raise self.error(f"the tensor {name!r} holds a value that is not finite")
        return array


class Saved(Described):
    """A file that `write` has written: its `architecture`, checked against its tensors."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self.architecture = self.checked_architecture(self.json("network"))
        self._check_tensors()

    def arguments(self, own: Sequence[Activation | Cost] = ()) -> dict[str, Any]:
        """The arguments of `Network`."""
        return self.arguments_of(self.architecture, own)

    @property
    def is_checkpoint(self) -> bool:
        """Whether it holds the state of a training too."""
        return TRAINING in self.metadata

    def _check_tensors(self) -> None:
        """Those of the architecture, with its shapes and dtype; of a checkpoint, others beside."""
        sizes, code = self.architecture["sizes"], CODES[self.architecture["dtype"]]
        expected: dict[str, tuple[tuple[int, ...], str]] = {}
        for l, (n_in, n_l) in enumerate(pairwise(sizes)):
            expected[f"weights.{l}"] = (n_in, n_l), code
            expected[f"biases.{l}"] = (n_l,), code
        self.refuse_others(expected, f"a network of sizes {sizes}")
        for name in self.tensors.keys() - expected.keys():
            if not (self.is_checkpoint and name.startswith(f"{TRAINING}.")):
                raise self.error(f"the tensor {name!r} is no part of a network of sizes {sizes}")

    def parameters(self) -> np.ndarray:
        """W^1, b^1, W^2, ... as `Network.set_parameters` takes them."""
        n = len(self.architecture["sizes"]) - 1
        names = [f"{kind}.{l}" for l in range(n) for kind in ("weights", "biases")]
        return np.concatenate([self.finite(name).ravel() for name in names])
