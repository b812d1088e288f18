"""Ensemble: the predictions of many networks together."""

import importlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastbackprop import inputs
from fastbackprop.inputs import many
from fastbackprop.layout import aligned_zeros
from fastbackprop.machine import Machine
from fastbackprop.network import Network
from fastbackprop.samples import without_targets

BLOCK = 1 << 22  # numbers that `predict` and the others have in memory at once


class Ensemble:
    """Networks with the same numbers of inputs and outputs, for predictions of all of them.

    Their parameters are copied: training the networks later does not change the ensemble. Small
    networks of one description are predicted with together, one on each lane of the vectors, by one
    native call of one thread. Every result has the bits of `Network.predict`.

    Parameters
    ----------
    networks : iterable of Network
        Of one dtype.
    weights : array_like, (n_networks,), optional
        Weights w_k >= 0 of the members in means, spreads and quantiles; equal if left out.

    Attributes
    ----------
    dtype : numpy.dtype
    weights : ndarray, (n_networks,)
        Their sum is 1. `len(ensemble)` is n_networks.

    Raises
    ------
    ValueError, TypeError
        For an empty list, other objects, networks that do not fit each other, weights of another
        number or below 0.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbackprop as fb
    >>> ensemble = fb.Ensemble([fb.Network([4, 8, 2], rng=seed) for seed in range(5)])
    >>> X = np.zeros((3, 4))
    >>> ensemble.predict(X).shape, ensemble.each(X).shape
    ((3, 2), (5, 3, 2))
    """

    def __init__(self, networks: Iterable[Network], *, weights: Any = None) -> None:
        members = many.distinct(networks, Network, "networks")
        first = members[0]
        for k, network in enumerate(members):
            ends = network.sizes[0], network.sizes[-1], network.dtype
            expected = first.sizes[0], first.sizes[-1], first.dtype
            if ends != expected:
                raise ValueError(
                    f"all networks must have the same numbers of inputs and outputs and the same "
                    f"dtype: networks[{k}] has {ends[0]}, {ends[1]} and {ends[2]}, networks[0] "
                    f"{expected[0]}, {expected[1]} and {expected[2]}"
                )
        self.weights = many.shares(weights, len(members))
        self._weighted = weights is not None
        self.dtype: np.dtype = first.dtype
        self._n_in, self._n_out = first.sizes[0], first.sizes[-1]
        self._sizes = {network.sizes for network in members}
        self._n_parameters = [network.n_parameters for network in members]
        self._parts = _parts([network.machine for network in members])

    def __len__(self) -> int:
        return len(self._n_parameters)

    def __repr__(self) -> str:
        sizes = " and ".join(str(list(sizes)) for sizes in sorted(self._sizes))
        return f"<Ensemble of {len(self)} networks, {sizes}, {self.dtype}>"

    def predict(self, X: Any) -> np.ndarray:
        """The mean of the members' predictions, sum_k w_k a^L_k, (n_samples, n_L).

        Parameters
        ----------
        X : array_like, (n_samples, n_0)

        Raises
        ------
        ValueError, TypeError
            As `Network.predict` does; also for a sparse X.
        """
        return self._reduced(X, self._mean)

    def each(self, X: Any) -> np.ndarray:
        """The predictions of each member, (n_networks, n_samples, n_L).

        X is (n_samples, n_0), the same for all members, or (n_networks, n_samples, n_0), rows of
        its own for each. Raises as `predict` does.
        """
        K = len(self)
        if getattr(X, "ndim", 0) == 3:
            if len(X) != K:
                raise ValueError(
                    f"X with rows of its own for each member must have shape ({K}, n_samples, "
                    f"{self._n_in}); got {X.shape}"
                )
            n = X.shape[1]
            flat = inputs.matrix(np.reshape(X, (-1, X.shape[2])), self._n_in, self.dtype)
            return self._each(flat[:], n, n * np.arange(K))
        X = self._matrix(X)
        return self._each(X[:], len(X), np.zeros(K, np.int64))

    def std(self, X: Any) -> np.ndarray:
        """The spread of the members' predictions, (n_samples, n_L): their standard deviation.

        That is sqrt(sum_k w_k (a^L_k - mean)^2). Arguments and errors as for `predict`.
        """

        def spread(each: np.ndarray) -> np.ndarray:
            variance = self._mean(np.square(each - self._mean(each)))
            return np.asarray(np.sqrt(variance))

        return self._reduced(X, spread)

    def quantile(self, X: Any, q: Any) -> np.ndarray:
        """The quantile q of the members' predictions, (n_samples, n_L), or one for each of many q.

        Interpolated as by `numpy.quantile`; with weights the inverse of the weighted distribution
        function. q in [0, 1]; for a vector of them the result is (len(q), n_samples, n_L).
        Arguments and errors as for `predict`.
        """
        levels = inputs.numeric(q, np.dtype(np.float64), "q")
        if levels.ndim > 1 or levels.size == 0 or levels.min() < 0 or levels.max() > 1:
            raise ValueError(f"q must be a number in [0, 1], or a vector of such; got {q!r}")
        options: dict[str, Any] = {"axis": 0}
        if self._weighted:
            options |= {"method": "inverted_cdf", "weights": self.weights}

        def of_each(each: np.ndarray) -> np.ndarray:
            return np.asarray(np.quantile(each, levels, **options), self.dtype)

        return self._reduced(X, of_each)

    def get_parameters(self) -> np.ndarray:
        """All parameters, a row for each member as of `Network.get_parameters`: a copy.

        Returns
        -------
        ndarray, (n_networks, n_parameters)

        Raises
        ------
        ValueError
            Where members have different numbers of parameters.
        """
        matrix = np.empty((len(self), self._one_size()), self.dtype)
        for part in self._parts:
            matrix[part.members] = part.get()
        return matrix

    def set_parameters(self, matrix: Any) -> None:
        """Set all parameters from a matrix as `get_parameters` returns it.

        Raises ValueError for another shape or for values that are not finite; nothing is changed
        then.
        """
        shape = len(self), self._one_size()
        values = inputs.numeric(matrix, self.dtype, "matrix")
        if values.shape != shape:
            raise ValueError(
                f"matrix must have shape (n_networks, n_parameters) = {shape}; got {values.shape}"
            )
        for part in self._parts:
            part.put(values[part.members])

    def _one_size(self) -> int:
        if len(set(self._n_parameters)) > 1:
            raise ValueError(
                "the members have different numbers of parameters, so these are no matrix"
            )
        return int(self._n_parameters[0])

    def _matrix(self, X: Any) -> Any:
        inputs.refuse_sparse(X, "an ensemble takes a dense one")
        return inputs.matrix(X, self._n_in, self.dtype)

    def _mean(self, each: np.ndarray) -> np.ndarray:
        mean: np.ndarray = np.tensordot(self.weights.astype(self.dtype), each, 1)
        return mean

    def _each(self, X: np.ndarray, n: int, first_row: np.ndarray) -> np.ndarray:
        """Of n rows for each, from this row of X on."""
        out = np.empty((len(self), n, self._n_out), self.dtype)
        for part in self._parts:
            part.predict(X, n, first_row[part.members], out)
        return out

    def _reduced(self, X: Any, figure: Any) -> np.ndarray:
        """A figure over the members, some rows at a time."""
        X = self._matrix(X)
        some = max(1, BLOCK // (len(self) * self._n_out))
        blocks = []
        for start in range(0, len(X), some):
            rows = X[start : start + some]
            blocks.append(figure(self._each(rows, len(rows), np.zeros(len(self), np.int64))))
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=-2)


class _Together:
    """Members of one description, on the lanes of vectors."""

    def __init__(self, members: list[int], machines: Sequence[Machine]) -> None:
        self.members, first, lanes = np.array(members), machines[0], _lanes()
        self._lanes, self._V = lanes.make(first.model, 0, 1, first.dtype), lanes.width(first.dtype)
        groups, n = -(-len(members) // self._V), first.layout.n_parameters
        self._values = aligned_zeros(groups * n * self._V, first.dtype).reshape(groups, n, self._V)
        self.put(np.array([machine.layout.flatten(machine.theta) for machine in machines]))

    def put(self, rows: np.ndarray) -> None:
        for g, values in enumerate(self._values):
            some = rows[g * self._V : (g + 1) * self._V]
            values[:, : len(some)] = some.T

    def get(self) -> np.ndarray:
        rows = self._values.transpose(0, 2, 1).reshape(-1, self._values.shape[1])
        return rows[: len(self.members)]

    def predict(self, X: np.ndarray, n: int, first_row: np.ndarray, out: np.ndarray) -> None:
        groups, of_lanes = len(self._values), np.zeros(len(self._values) * self._V, np.int64)
        of_lanes[: len(first_row)] = first_row
        values = self._values.reshape(groups, -1)
        if len(out) == len(self.members):
            _lanes().predict(self._lanes, values, X, of_lanes, out, n)
        else:
            results = np.empty((len(self.members), *out.shape[1:]), out.dtype)
            _lanes().predict(self._lanes, values, X, of_lanes, results, n)
            out[self.members] = results


class _Alone:
    """A member that is faster by itself."""

    def __init__(self, member: int, machine: Machine) -> None:
        self.members = np.array([member])
        description = machine.sizes, machine.sigma, machine.cost, machine.dtype
        self._machine = Machine(*description, machine.engine_name)
        self._machine.theta[...] = machine.theta

    def put(self, rows: np.ndarray) -> None:
        self._machine.layout.unflatten(rows[0], self._machine.theta)

    def get(self) -> np.ndarray:
        return self._machine.layout.flatten(self._machine.theta)[None]

    def predict(self, X: np.ndarray, n: int, first_row: np.ndarray, out: np.ndarray) -> None:
        rows = X[first_row[0] : first_row[0] + n]
        samples = without_targets(rows, out.shape[2], out.dtype)
        self._machine.predict(samples, out[self.members[0]])


def _parts(machines: list[Machine]) -> list[_Together | _Alone]:
    """The members in parts that are predicted with together."""
    alike: dict[Any, list[int]] = {}
    for k, machine in enumerate(machines):
        own = None if machine.engine_name == "tiles" else k
        key = machine.sizes, tuple(machine.sigma), machine.engine_name, own
        alike.setdefault(key, []).append(k)
    parts: list[_Together | _Alone] = []
    for members in alike.values():
        together = _together(machines[members[0]], len(members))
        if together:
            some = members[:together]
            parts.append(_Together(some, [machines[k] for k in some]))
        parts += [_Alone(k, machines[k]) for k in members[together:]]
    return parts


def _together(machine: Machine, n: int) -> int:
    """How many of n networks like this one are faster on lanes than by themselves."""
    if machine.engine_name != "tiles":
        return 0
    width = _lanes().width(machine.dtype)
    fewest = _lanes().fewest(machine.layout.n_parameters, machine.dtype)
    if fewest > width:
        return 0
    rest: int = n % width
    return n if rest == 0 or rest >= fewest else n - rest


def _lanes() -> Any:
    """`engines.lanes`, which compiles: the engine "numpy" works without Numba."""
    return importlib.import_module("fastbackprop.engines.lanes")
