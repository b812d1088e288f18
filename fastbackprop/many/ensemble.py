"""Ensemble: the predictions of many networks together."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from fastbackprop import inputs
from fastbackprop.formats import ensembles, saved
from fastbackprop.functions import Activation, Cost
from fastbackprop.inputs import architecture, many
from fastbackprop.many.bags import drawn_bags
from fastbackprop.many.fit import fit_many
from fastbackprop.many.parts import parts_of
from fastbackprop.network import Network
from fastbackprop.training import History

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
        Their sum is 1. `len(ensemble)` is n_networks; `ensemble[k]` is member k as a `Network`, a
        copy.
    histories : list of History
        Of the members, where `Ensemble.fit` has trained them; else empty.

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
        self._n_parameters = [network.n_parameters for network in members]
        self._kinds, self._kind_of = _kinds(members)
        self._parts = parts_of([network.machine for network in members])
        self.histories: list[History] = []

    def __len__(self) -> int:
        return len(self._n_parameters)

    def __getitem__(self, k: int) -> Network:
        """Member k as a network, with a copy of its parameters."""
        return _of_kind(self._kinds[self._kind_of[k]], self._rows()[k])

    def __iter__(self) -> Iterator[Network]:
        for g, row in zip(self._kind_of, self._rows(), strict=True):
            yield _of_kind(self._kinds[g], row)

    def __repr__(self) -> str:
        of_kinds = {kind.sizes for kind in self._kinds}
        sizes = " and ".join(str(list(sizes)) for sizes in sorted(of_kinds))
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

    @classmethod
    def fit(
        cls,
        networks: Iterable[Network],
        X: Any,
        y: Any,
        *,
        bags: str | None = None,
        rng: int | np.random.Generator | None = None,
        weights: Any = None,
        **options: Any,
    ) -> "Ensemble":
        """Train networks in place, each on all samples or on a bag of them, and make an ensemble.

        Parameters
        ----------
        networks : iterable of Network
            With seeds of their own. One that is the same for all samples makes the same member.
        X, y
            As for `fit_many`, for all networks.
        bags : None, "bootstrap" or "folds"
            None: every network sees all samples. "bootstrap": network k sees n_samples draws with
            replacement: the samples drawn, with the number of draws as a weight. "folds": the
            samples are dealt to as many folds as there are networks, and network k sees all but
            fold k.
        rng : None, int or numpy.random.Generator
            Of the bags.
        weights : array_like, (n_networks,), optional
            Of the ensemble.
        **options
            Those of `fit_many` but `rows`. `sample_weight` is (n_samples,). With bags, `validation`
            may be "left_out": the samples that the network does not see.

        Returns
        -------
        Ensemble
            With the `histories` of the members.

        Raises
        ------
        ValueError, TypeError
            For other bags, folds without a sample, a single network with folds, and as `fit_many`
            and `Ensemble` do. No network is changed then.
        Interrupted
            As `fit_many`.

        Examples
        --------
        >>> import numpy as np
        >>> import fastbackprop as fb
        >>> X = np.random.default_rng(0).normal(size=(60, 4))
        >>> networks = [fb.Network([4, 8, 1], rng=seed) for seed in range(5)]
        >>> ensemble = fb.Ensemble.fit(
        ...     networks, X, X.sum(axis=1), bags="folds", rng=0, validation="left_out", epochs=3
        ... )
        >>> [len(history.validation_cost) for history in ensemble.histories]
        [3, 3, 3, 3, 3]
        """
        chosen = many.distinct(networks, Network, "networks")
        many.shares(weights, len(chosen))
        cls(chosen)  # they fit each other
        options |= drawn_bags(bags, rng, len(chosen), X, options)
        histories = fit_many(chosen, X, y, **options)
        ensemble = cls(chosen, weights=weights)
        ensemble.histories = histories
        return ensemble

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the ensemble to a safetensors file, in one piece or not at all.

        Parameters are a matrix for each kind of member; descriptions are JSON in the metadata.
        Raises OSError, and ValueError for parameters that are not finite; what was in the file is
        still there then.
        """
        rows = self._rows()
        matrices = [
            np.array([row for row, of in zip(rows, self._kind_of, strict=True) if of == g])
            for g in range(len(self._kinds))
        ]
        file = inputs.file_of(path, np.concatenate([matrix.ravel() for matrix in matrices]))
        kinds = [saved.architecture(kind) for kind in self._kinds]
        weights = self.weights if self._weighted else None
        ensembles.write(file, ensembles.Contents(kinds, self._kind_of, matrices, weights))

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, functions: Sequence[Activation | Cost] = ()
    ) -> "Ensemble":
        """The ensemble in a file that `save` has written.

        `functions` and errors are as for `Network.load`.
        """
        file = ensembles.SavedEnsemble(inputs.file_path(path, "path"))
        own = architecture.own_functions_given(functions)
        arguments = [file.arguments_of(kind, own) for kind in file.kinds]
        rows, weights = [iter(matrix) for matrix in file.parameters()], file.weights()
        try:
            networks = [Network(**arguments[g], init="zeros", rng=0) for g in file.members]
            for network, g in zip(networks, file.members, strict=True):
                network.set_parameters(next(rows[g]))
            return cls(networks, weights=weights)
        except (ValueError, TypeError) as error:
            raise file.error(str(error)) from None

    def _rows(self) -> list[np.ndarray]:
        """The parameters of each member."""
        rows: list[Any] = [None] * len(self)
        for part in self._parts:
            for k, row in zip(part.members.tolist(), part.get(), strict=True):
                rows[k] = row
        return rows

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


def _kinds(networks: Sequence[Network]) -> tuple[list[Network], list[int]]:
    """A network of zeros for each kind of member, and the kind of each member."""
    kinds: dict[Any, int] = {}
    models, kind_of = [], []
    for network in networks:
        machine = network.machine
        key = machine.likeness, tuple(machine.sigma), machine.cost
        if key not in kinds:
            kinds[key] = len(kinds)
            models.append(_of_kind(network))
        kind_of.append(kinds[key])
    return models, kind_of


def _of_kind(network: Network, parameters: np.ndarray | None = None) -> Network:
    """Another network with this description, of zeros or with these parameters."""
    sigma = network.machine.sigma
    other = Network(
        network.sizes,
        hidden=sigma[:-1],
        output=sigma[-1],
        cost=network.machine.cost,
        init="zeros",
        dtype=network.dtype,
        rng=0,
        engine=network.engine,
    )
    if parameters is not None:
        other.set_parameters(parameters)
    return other
