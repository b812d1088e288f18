"""Network: what a model is, and what can be asked of it. Methods check, then call the machine."""

import copy
import os
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from fastbackprop import engines, inputs
from fastbackprop.formats import saved
from fastbackprop.functions.activations import Activation
from fastbackprop.functions.costs import Cost
from fastbackprop.functions.distances import GIVEN
from fastbackprop.functions.initializers import Initializer, SmallOutput
from fastbackprop.inputs import architecture
from fastbackprop.layout import Views
from fastbackprop.machine import Machine
from fastbackprop.names import names_keywords, unknown_attribute
from fastbackprop.network import notebook
from fastbackprop.network.analysis import Analysis
from fastbackprop.network.backward import backward as _backward
from fastbackprop.network.conversion import Conversion
from fastbackprop.network.jets import Jets
from fastbackprop.network.results import Backward, Gradient, Trace
from fastbackprop.network.samples import all_at_hand, dense_samples, total_weight
from fastbackprop.network.training import Training
from fastbackprop.optimizers import Optimizer
from fastbackprop.samples import COST, WEIGHT, Samples
from fastbackprop.training.plan import for_targets, samples_of


class Network(Training, Analysis, Jets, Conversion):
    """A feed-forward network and its training by backpropagation.

    Parameters
    ----------
    sizes : sequence of int
        Neurons per layer, input first: [n_0, ..., n_L].
    hidden : str, Activation or sequence of these
        Activation of the hidden layers, one or one per layer: a name of
        `fastbackprop.functions.activations.ACTIVATIONS`, one with parameters such as
        `LeakyReLU(0.2)`, or `Activation(name, sigma, derivative)` of your own; any of them after
        layer normalisation, `LayerNorm("relu")`.
    output : str or Activation
        Activation of the last layer.
    cost : str or Cost
        A name of `fastbackprop.functions.costs.COSTS`, one with parameters such as `Huber(2.0)`, or
        `Cost(name, terms, gradient)` of your own. Of one sample: "squared_error" is 1/2 sum_k (a_k
        - y_k)^2; "cross_entropy" with softmax -sum_k y_k log a_k, with sigmoid -sum_k [y_k log a_k
        + (1 - y_k) log(1 - a_k)]. A batch's cost is the mean over its samples, weighted where there
        are weights.
    init : str, function or SmallOutput
        Name of an initializer, see `fastbackprop.functions.initializers.INITIALIZERS`. "auto" is
        He's normal before relu and its kin, Glorot's uniform before the others. Biases start at
        zero. A function (generator, n_in, n_out) returns the weights of each layer, (n_in, n_out).
        `SmallOutput()` has small weights in the last layer.
    dtype : {"float32", "float64"}
        Of parameters and of all arithmetic.
    rng : None, int or numpy.random.Generator
        For the initial weights, and after that for shuffling.
    engine : {"tiles", "loops", "numpy"}
        "tiles": the loops on register tiles, the fastest; "loops": the derivation index by index;
        "numpy": the loop-free comparison. All compute the same quantities, equal to rounding.
        Where NUMBA_DISABLE_JIT is set there are no tiles, and "loops" is the default.

    Attributes
    ----------
    weights, biases : tuple of ndarray
        Views: `weights[l-1]` is W^l, (n_{l-1}, n_l), `biases[l-1]` is b^l, (n_l,). Writing through
        a view, or assigning to an item, changes the network.
    sizes, n_layers, n_parameters, dtype, engine, hidden, output, cost
        As constructed; `n_layers` is L.
    machine : fastbackprop.machine.Machine
        The network bound to its engine, for the modules of this package.

    Raises
    ------
    ValueError, TypeError
        For arguments that make no sense, with what was expected.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbackprop as fb
    >>> X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> y = np.array([0, 1, 1, 0])
    >>> net = fb.Network([2, 8, 1], hidden="tanh", output="sigmoid", cost="cross_entropy", rng=0)
    >>> history = net.fit(X, y, epochs=500, optimizer=fb.Adam(learning_rate=0.05))
    >>> net.predict(X).round().ravel().astype(int)
    array([0, 1, 1, 0])
    """

    @names_keywords("Network")
    def __init__(
        self,
        sizes: Sequence[int],
        *,
        hidden: str | Activation | Sequence[str | Activation] = "relu",
        output: str | Activation = "identity",
        cost: str | Cost = "squared_error",
        init: str | Initializer | SmallOutput = "auto",
        dtype: DTypeLike = "float32",
        rng: int | np.random.Generator | None = None,
        engine: str = engines.ENGINES[0],
    ) -> None:
        sizes = architecture.layer_sizes(sizes)
        dtype = inputs.float_dtype(dtype)
        sigma = architecture.activations(hidden, output, sizes, dtype)
        checked_cost = architecture.cost(cost, sigma[-1], dtype)
        checked_cost.n_targets(sizes[-1])  # that there is such a number
        engine = inputs.choice(engine, engines.ENGINES, "engine")
        init, scale = architecture.initializer(init)
        self._rng = inputs.generator(rng)
        self._optimizer: Optimizer | None = None
        self.machine = Machine(sizes, sigma, checked_cost, dtype, engine)
        for W, activation in zip(self.machine.weights, sigma, strict=True):
            architecture.initial_weights(init, activation.initializer, self._rng, W)
        if scale != 1:
            self.machine.weights[-1][...] *= scale

    if not TYPE_CHECKING:  # or no checker would find a wrong name

        def __getattr__(self, name: str) -> Any:
            raise unknown_attribute(self, name, "Network")

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.machine.sizes

    @property
    def n_layers(self) -> int:
        return len(self.machine.sizes) - 1

    @property
    def n_parameters(self) -> int:
        return self.machine.layout.n_parameters

    @property
    def dtype(self) -> np.dtype:
        return self.machine.dtype

    @property
    def engine(self) -> str:
        return self.machine.engine_name

    @property
    def hidden(self) -> tuple[str, ...]:
        return tuple(activation.name for activation in self.machine.sigma[:-1])

    @property
    def output(self) -> str:
        return self.machine.sigma[-1].name

    @property
    def cost(self) -> str:
        return self.machine.cost.name

    @property
    def weights(self) -> Views:
        return self.machine.weights

    @property
    def biases(self) -> Views:
        return self.machine.biases

    @property
    def rng(self) -> np.random.Generator:
        return self._rng

    def get_parameters(self) -> np.ndarray:
        """W^1, b^1, W^2, b^2, ... in C order: a copy, (n_parameters,)."""
        return self.machine.layout.flatten(self.machine.theta)

    def set_parameters(self, vector: Any) -> None:
        """Set all parameters from a vector as `get_parameters` returns it.

        Raises ValueError for another shape or for values that are not finite.
        """
        flat = inputs.parameters(vector, self.n_parameters, self.dtype, "vector")
        self.machine.layout.unflatten(flat, self.machine.theta)

    def __repr__(self) -> str:
        layers = [str(self.sizes[0])]
        for n, activation in zip(self.sizes[1:], self.machine.sigma, strict=True):
            layers.append(f"{n} {activation}")
        return (
            f"<Network {' -> '.join(layers)}; {self.machine.cost}, {self.dtype}, "
            f"engine {self.engine!r}, {self.n_parameters:,} parameters>"
        )

    def _repr_html_(self) -> str:
        return notebook.of_network(self)

    def __getstate__(self) -> dict[str, Any]:
        machine = self.machine
        description = machine.sizes, machine.sigma, machine.cost, machine.dtype, self.engine
        return {
            "description": description,
            "parameters": self.get_parameters(),
            "rng": self._rng,
            "optimizer": self._optimizer,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._rng, self._optimizer = state["rng"], state["optimizer"]
        self.machine = Machine(*state["description"])
        self.machine.layout.unflatten(state["parameters"], self.machine.theta)

    def __copy__(self) -> "Network":
        return copy.deepcopy(self)  # a copy that shared the generator would not be another network

    def predict(
        self, X: Any, out: np.ndarray | None = None, *, n_threads: int | None = None
    ) -> np.ndarray:
        """a^L for every row of X.

        Parameters
        ----------
        X : array_like or sparse matrix of SciPy, (n_samples, n_0)
            No rows give no rows. Or an iterable of batches, X, (X, y) or (X, y, sample_weight),
            but a list: the result is of all their rows.
        out : ndarray, (n_samples, n_L), optional
            Filled and returned; of the network's dtype, C-contiguous.
        n_threads : int or None
            As for `fit`.

        Returns
        -------
        ndarray, (n_samples, n_L), of the network's dtype

        Raises
        ------
        ValueError, TypeError
            For a wrong shape or dtype, or values that are not finite; `out` is untouched then.
        """
        if n_threads is not None:  # one row takes less time than a call of a function
            n_threads = inputs.thread_count(n_threads)
        few = self.machine.predict_few(X, out, n_threads)
        if few is not None:
            return few
        n_in, n_out, dtype = self.sizes[0], self.sizes[-1], self.dtype
        if out is None and inputs.are_streamed(X):
            parts = [self.predict(part, n_threads=n_threads) for part in inputs.inputs_of(X)]
            return np.concatenate(parts) if parts else np.empty((0, n_out), dtype)
        samples = inputs.inputs_alone(X, n_in, n_out, dtype, least=0)
        shape = (len(samples.X), n_out)
        if out is None:
            out = np.empty(shape, dtype)
        else:
            inputs.check_output(out, shape, dtype)
            if np.may_share_memory(out, self.machine.theta):
                raise ValueError("out must not be a part of the network's own parameters")
            samples = inputs.apart_from(out, samples)
        self.machine.predict(samples, np.asarray(out), n_threads)
        return out

    def activations(self, X: Any) -> list[np.ndarray]:
        """a^0 ... a^L, (n_samples, n_l) each; a^0 is a copy of X, which is dense.

        Raises as `predict` does.
        """
        inputs.refuse_sparse(X, "a^0 is to be dense")
        X = inputs.matrix(X, self.sizes[0], self.dtype)
        machine = self.machine
        a: list[np.ndarray] = machine.engine.activations(machine.model, machine.theta, X[:])
        return a

    def evaluate(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        missing_targets: bool = False,
        n_threads: int | None = None,
    ) -> float:
        """Mean cost, sum_i s_i C_i / sum_i s_i.

        Parameters
        ----------
        X : array_like or sparse matrix of SciPy, (n_samples, n_0)
            Of a sparse one (CSR is not converted) only the non-zeros are looked at. Without y, an
            iterable of batches, (X, y) or (X, y, sample_weight).
        y : array_like, (n_samples, n_L)
            For softmax with cross_entropy also integer labels, (n_samples,); where n_L is 1 also
            (n_samples,). For a cost with several outputs for each target, as many columns as there
            are targets.
        sample_weight : array_like, (n_samples,), dict or "balanced", optional
            Weights s_i >= 0, not all zero; one each where they are left out. Of classes, where y
            is labels or one column of 0 and 1: a dict of weights by label, or "balanced", n /
            (number of classes * samples of the class).
        missing_targets : bool
            Whether y may hold NaN: such an output has no term in its sample's cost. The mean is
            over samples, as always, however many of their targets are known; samples of which none
            is known are left out. For costs that have one term for each output.
        n_threads : int or None
            As for `fit`.

        Raises
        ------
        ValueError, TypeError
            For wrong shapes or dtypes, values that are not finite, labels out of range.
        """
        n_threads = inputs.thread_count(n_threads)
        machine = for_targets(self.machine, missing_targets)
        few = machine.few_cost(X, y, sample_weight, n_threads)
        if few is not None:
            return few
        parts: Iterable[Samples] = inputs.Batches(X, 1, partial(samples_of, machine))
        if not inputs.are_batches(X, y):
            parts = [samples_of(machine, X, y, sample_weight)]
        cost = weight = 0.0
        for samples in parts:
            cost_of_part, weight_of_part = machine.cost_sums(samples, n_threads)
            cost, weight = cost + cost_of_part, weight + weight_of_part
        return cost / weight

    def gradient(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        missing_targets: bool = False,
        n_threads: int | None = None,
    ) -> Gradient:
        """Gradient of the mean cost; arguments and errors as for `evaluate`."""
        n_threads = inputs.thread_count(n_threads)
        machine = for_targets(self.machine, missing_targets)
        flat = np.empty(machine.layout.n_parameters, machine.dtype)
        mean = machine.few_gradient(X, y, sample_weight, None, flat, machine.no_rows, n_threads)
        if mean is None:
            samples = samples_of(machine, X, y, sample_weight)
            total = total_weight(samples)
            cost, weight, vector = machine.gradient_sums(samples, total, n_threads)
            mean, flat = cost / weight, machine.layout.flatten(vector)
        return Gradient(mean, *machine.parts(flat))

    def backward(
        self, X: Any, output_gradient: Any, out: Any = None, *, n_threads: int | None = None
    ) -> Backward:
        """Backpropagate dC/da^L of a cost of your own: equations (2) to (4) from a given error.

        With it any cost can be trained that you can differentiate by the outputs, also one across
        samples, and networks that feed each other: the input gradient of one is the output gradient
        of the other. `trainer.apply` takes a step with the parameter gradient.

        Parameters
        ----------
        X : array_like, (n_samples, n_0)
        output_gradient : array_like, (n_samples, n_L)
            dC/da^L of each sample; where n_L is 1 also (n_samples,). Of a mean, with its 1 / n.
        out : pair of ndarray or None, optional
            (n_parameters,) and (n_samples, n_0) to fill and return; of the network's dtype,
            C-contiguous.
        n_threads : int or None
            As for `fit`.

        Returns
        -------
        Backward
            parameter_gradient, (n_parameters,), summed over the samples; input_gradient,
            (n_samples, n_0).

        Raises
        ------
        ValueError, TypeError
            For wrong shapes or dtypes, or values that are not finite; `out` is untouched then.
        """
        n_threads = inputs.thread_count(n_threads)
        return _backward(self.machine.with_cost(GIVEN), X, output_gradient, out, n_threads)

    def gradient_sums(
        self, X: Any, y: Any, sample_weight: Any = None, *, n_threads: int | None = None
    ) -> tuple[float, float, np.ndarray]:
        """sum_i s_i C_i, sum_i s_i and the gradient of the first, flat, (n_parameters,).

        Data-parallel training adds these up over its parts. Arguments and errors as for `evaluate`.
        """
        n_threads = inputs.thread_count(n_threads)
        samples = samples_of(self.machine, X, y, sample_weight)
        cost, weight, vector = self.machine.gradient_sums(samples, 1.0, n_threads)
        return cost, weight, self.machine.layout.flatten(vector)

    def trace(self, X: Any, y: Any, sample_weight: Any = None) -> Trace:
        """Every quantity of the derivation, by its name; arguments and errors as for `evaluate`.

        X is dense.
        """
        machine = self.machine
        samples = all_at_hand(dense_samples(machine, X, y, sample_weight))
        total, vector = total_weight(samples), machine.vector()
        sums, z, a, delta = machine.engine.trace(
            machine.model, machine.theta, samples, total, vector
        )
        weights, biases = machine.layout.weights(vector), machine.layout.biases(vector)
        cost = float(sums[COST] / sums[WEIGHT])
        return Trace(z, a, delta, list(weights), list(biases), cost)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to a safetensors file, in one piece or not at all.

        Its parameters, unpadded, are the tensors weights.0, biases.0, weights.1, ...; its
        description, JSON, the metadata. Not the generator, nor an optimizer's state, nor the code
        of functions of your own: `load` has to be given these.

        Raises OSError where that fails, and ValueError where a parameter is not finite; what was in
        the file is still there then.
        """
        saved.write(inputs.file_of(path, self.machine.theta), self)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        rng: int | np.random.Generator | None = None,
        engine: str | None = None,
        functions: Sequence[Activation | Cost] = (),
    ) -> "Network":
        """The network in a file that `save`, or a `Checkpoint`, has written.

        Parameters
        ----------
        path : path
        rng : None, int or numpy.random.Generator
            For shuffling from now on.
        engine : str or None
            In place of the saved network's.
        functions : sequence of Activation and Cost
            Those of your own that the network has, which no file can hold: found by their names.

        Raises
        ------
        OSError
            Where the file cannot be read.
        ValueError
            For anything but a file of a network that is whole and correct in every detail, and for
            one of a newer major version of the format. It is all checked before the network is
            made; no file can run code.
        """
        file = saved.Saved(inputs.file_path(path, "path"))
        arguments = file.arguments(architecture.own_functions_given(functions))
        if engine is not None:
            arguments["engine"] = engine
            inputs.choice(engine, engines.ENGINES, "engine")
        rng, parameters = inputs.generator(rng), file.parameters()
        try:
            network = cls(**arguments, init="zeros", rng=rng)
        except (ValueError, TypeError) as error:
            raise file.error(str(error)) from None
        network.machine.layout.unflatten(parameters, network.machine.theta)
        return network
