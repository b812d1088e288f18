"""Network: what a model is, and what can be asked of it. Methods check, then call the machine."""

import copy
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastbackprop import engines, inputs
from fastbackprop.formats import saved
from fastbackprop.functions.activations import Activation
from fastbackprop.functions.costs import Cost
from fastbackprop.functions.initializers import INITIALIZERS
from fastbackprop.inputs import architecture
from fastbackprop.layout import Views
from fastbackprop.machine import Machine
from fastbackprop.network.analysis import Analysis
from fastbackprop.network.conversion import Conversion
from fastbackprop.network.results import Gradient, Trace
from fastbackprop.network.samples import all_at_hand, dense_samples, total_weight
from fastbackprop.optimizers import Optimizer
from fastbackprop.samples import COST, WEIGHT
from fastbackprop.training import Dropout, EarlyStopping, History, Metrics
from fastbackprop.training.fit import prepare
from fastbackprop.training.plan import samples_of

Function = Callable[..., Any]


class Network(Analysis, Conversion):
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
    init : str
        Name of an initializer, see `fastbackprop.functions.initializers.INITIALIZERS`. "auto" is
        He's normal before relu and its kin, Glorot's uniform before the others. Biases start at
        zero.
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
    weights, biases : list of ndarray
        Views: `weights[l-1]` is W^l, (n_{l-1}, n_l), `biases[l-1]` is b^l, (n_l,). Writing through
        a view, or assigning to an item of the list, changes the network.
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

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        hidden: str | Activation | Sequence[str | Activation] = "relu",
        output: str | Activation = "identity",
        cost: str | Cost = "squared_error",
        init: str = "auto",
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
        init = inputs.choice(init, ["auto", *INITIALIZERS], "init")
        self._rng = inputs.generator(rng)
        self._optimizer: Optimizer | None = None
        self.machine = Machine(sizes, sigma, checked_cost, dtype, engine)
        for W, activation in zip(self.machine.weights, sigma, strict=True):
            name = activation.initializer if init == "auto" else init
            W[...] = INITIALIZERS[name](self._rng, *W.shape)

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
        n_threads = inputs.thread_count(n_threads)
        few = self.machine.predict_few(X, out, n_threads)
        if few is not None:
            return few
        n_in, n_out, dtype = self.sizes[0], self.sizes[-1], self.dtype
        samples = inputs.inputs_alone(X, n_in, n_out, dtype)
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

    def evaluate(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Mean cost, sum_i s_i C_i / sum_i s_i.

        Parameters
        ----------
        X : array_like or sparse matrix of SciPy, (n_samples, n_0)
            Of a sparse one (CSR is not converted) only the non-zeros are looked at.
        y : array_like, (n_samples, n_L)
            For softmax with cross_entropy also integer labels, (n_samples,); where n_L is 1 also
            (n_samples,). For a cost with several outputs for each target, as many columns as there
            are targets.
        sample_weight : array_like, (n_samples,), optional
            Weights s_i >= 0, not all zero; one each where they are left out.

        Raises
        ------
        ValueError, TypeError
            For wrong shapes or dtypes, values that are not finite, labels out of range.
        """
        samples = samples_of(self.machine, X, y, sample_weight)
        cost, weight = self.machine.cost_sums(samples)
        return cost / weight

    def gradient(self, X: Any, y: Any, sample_weight: Any = None) -> Gradient:
        """Gradient of the mean cost; arguments and errors as for `evaluate`."""
        samples = samples_of(self.machine, X, y, sample_weight)
        cost, weight, vector = self.machine.gradient_sums(samples, total_weight(samples))
        layout = self.machine.layout
        return Gradient(cost / weight, list(layout.weights(vector)), list(layout.biases(vector)))

    def gradient_sums(
        self, X: Any, y: Any, sample_weight: Any = None
    ) -> tuple[float, float, np.ndarray]:
        """sum_i s_i C_i, sum_i s_i and the gradient of the first, flat, (n_parameters,).

        Data-parallel training adds these up over its parts. Arguments and errors as for `evaluate`.
        """
        samples = samples_of(self.machine, X, y, sample_weight)
        cost, weight, vector = self.machine.gradient_sums(samples, 1.0)
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

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        epochs: int = 100,
        batch_size: int | str | None = "auto",
        optimizer: str | Optimizer = "adam",
        validation: float | tuple[Any, ...] | list[Any] | None = None,
        sample_weight: Any = None,
        shuffle: bool = True,
        dropout: float | Sequence[float] | Dropout = 0.0,
        callbacks: Any = (),
        early_stopping: bool | int | EarlyStopping | None = None,
        metrics: str
        | Function
        | Iterable[str | Function]
        | Mapping[str, Function]
        | Metrics
        | None = None,
        progress: Any = None,
        n_threads: int | None = None,
    ) -> History:
        """Minimise the mean cost, from the current parameters on.

        Ctrl-C ends the training between two steps with a RuntimeWarning and the history so far.

        Parameters
        ----------
        X, y, sample_weight
            As for `evaluate`. Weights scale a sample's part in its minibatch's mean; a minibatch
            whose weights are all zero takes no step. Of a memory map, or what is like one, a
            minibatch at a time is read; a bad value is refused when it is read, before the step.
            Without y, X is an iterable of batches, (X, y) or (X, y, sample_weight), that begins
            anew for every epoch; a generator serves for one epoch. A bad batch is refused when it
            comes, before its step.
        epochs : int
            Passes over the samples.
        batch_size : int, None or "auto"
            Samples per step; the last step of an epoch takes the rest. None: all samples. "auto":
            32 for arrays, and each batch of an iterable as it comes; a number cuts batches.
        optimizer : str or Optimizer
            A name of `fastbackprop.optimizers.OPTIMIZERS` such as "adam", or an object such as
            `SGD(0.1, momentum=0.9)` or `Adam(Cosine(1e-3, epochs=50))`. An object keeps its state:
            a second `fit` with it continues where the first one ended.
        validation : pair, triple or float
            (X, y), (X, y, sample_weight), or a fraction in (0, 1) of the samples, drawn the same
            way in each call.
        shuffle : bool
            Draw a new order of the samples for every epoch from the network's generator; for
            batches, an order inside each batch.
        dropout : float, sequence of float, or Dropout
            The rate of the hidden layers, one for all or one for each; `Dropout` has rates and
            noise for the inputs too.
        callbacks : function, object or iterable of them
            A function is called (network, epoch, logs) after each epoch, counted from 1; a true
            result ends the training. Objects: `Checkpoint(path)`, `TimeBudget(seconds)`,
            `EarlyStopping()`, `ErrorFlow(X, y)`, or your own (`training.callbacks.Callbacks`).
        progress : None, True or an object like tqdm
            True shows tqdm's progress bar.
        n_threads : int or None
            Threads of the engine "tiles"; the result does not depend on it. None: chosen from the
            work. "loops" uses one thread, "numpy" those of its BLAS library.
        early_stopping : bool, int, EarlyStopping or None
            True is `EarlyStopping()`, a number is its patience in epochs.
        metrics : str, function, iterable of them, dict of functions by name, or Metrics
            "accuracy", "r2", or a function (y_true, y_pred) -> float, where y_true is labels,
            (n_samples,), or targets, (n_samples, n_L), and y_pred is a^L. They are computed after
            each epoch for the validation samples, as "validation_<name>". The training samples get
            "<name>" without validation, or with `Metrics(..., training=True)`. Only "accuracy" and
            "r2" use sample weights.

        Returns
        -------
        History
            Per epoch: cost, validation_cost, seconds, metrics; with a schedule, learning_rate.

        Raises
        ------
        ValueError, TypeError
            As for `evaluate`, before anything is changed.
        OSError
            Where the first checkpoint cannot be written, before anything is changed.
        DivergenceError
            When the cost stops being finite; the last finite parameters are kept.
        """
        training = prepare(
            self,
            X,
            y,
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            validation=validation,
            sample_weight=sample_weight,
            shuffle=shuffle,
            dropout=dropout,
            callbacks=callbacks,
            early_stopping=early_stopping,
            metrics=metrics,
            progress=progress,
            n_threads=n_threads,
        )
        self._optimizer = training.optimizer
        return training.run()

    def partial_fit(
        self,
        X: Any,
        y: Any,
        *,
        batch_size: int | None = 32,
        optimizer: str | Optimizer | None = None,
        sample_weight: Any = None,
        shuffle: bool = True,
        dropout: float | Sequence[float] | Dropout = 0.0,
        n_threads: int | None = None,
    ) -> History:
        """One more pass over these samples, with the state of the last optimizer kept.

        `optimizer` None, or the name of the one in use, continues it (Adam at first); another name
        or object takes its place. Everything else is as for `fit` with one epoch.
        """
        current = self._optimizer
        if optimizer is None:
            optimizer = current or "adam"
        elif current is not None and optimizer == current.name:
            optimizer = current
        return self.fit(
            X,
            y,
            epochs=1,
            batch_size=batch_size,
            optimizer=optimizer,
            sample_weight=sample_weight,
            shuffle=shuffle,
            dropout=dropout,
            n_threads=n_threads,
        )
