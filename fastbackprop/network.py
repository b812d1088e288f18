"""Network: what a model is, and what can be asked of it. Methods check, then call an engine."""

import contextlib
import copy
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from fastbackprop import engines, inputs
from fastbackprop.analysis import load as load_analysis
from fastbackprop.analysis import quantities as analysis
from fastbackprop.formats import saved
from fastbackprop.functions.activations import Activation
from fastbackprop.functions.costs import Cost
from fastbackprop.functions.initializers import INITIALIZERS
from fastbackprop.functions.own import Function
from fastbackprop.inputs.rows import Rows, at_hand, rows_at_once
from fastbackprop.layout import Layout, Views, aligned_zeros, read_only
from fastbackprop.optimizers import LBFGS, Optimizer
from fastbackprop.optimizers.schedules import Schedule, as_schedule
from fastbackprop.samples import COST, N_SUMS, WEIGHT, Samples
from fastbackprop.training.callbacks import Callbacks, EarlyStopping, History
from fastbackprop.training.checkpoint import Checkpoint
from fastbackprop.training.lbfgs import LBFGSTrainer
from fastbackprop.training.trainer import Control, Trainer, slices


class Gradient(NamedTuple):
    """Mean cost of a batch and its gradient, shaped as the network's weights and biases."""

    cost: float
    weights: list[np.ndarray]
    biases: list[np.ndarray]


class Trace(NamedTuple):
    """Every quantity of the derivation for a batch; C is its (weighted) mean cost.

    z[l-1], a[l] and delta[l-1] are z^l, a^l and delta^l = dC/dz^l, (n_samples, n_l); a[0] is X.
    weight_gradients[l-1] is dC/dW^l, (n_{l-1}, n_l), and bias_gradients[l-1] is dC/db^l, (n_l,).
    """

    z: list[np.ndarray]
    a: list[np.ndarray]
    delta: list[np.ndarray]
    weight_gradients: list[np.ndarray]
    bias_gradients: list[np.ndarray]
    cost: float


class Network:
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
        self._sizes = inputs.layer_sizes(sizes)
        self._dtype = inputs.float_dtype(dtype)
        self._sigma = inputs.activations(hidden, output, self._sizes, self._dtype)
        self._cost = inputs.cost(cost, self._sigma[-1], self._dtype)
        self._cost.n_targets(self._sizes[-1])  # that there is such a number
        self._engine_name = inputs.choice(engine, engines.ENGINES, "engine")
        init = inputs.choice(init, ["auto", *INITIALIZERS], "init")
        self._rng = inputs.generator(rng)
        self._optimizer: Optimizer | None = None
        self._build()
        for W, activation in zip(self._weights, self._sigma, strict=True):
            name = activation.initializer if init == "auto" else init
            W[...] = INITIALIZERS[name](self._rng, *W.shape)

    def _build(self) -> None:
        """Engine, layout and a parameter vector of zeros, from the description alone."""
        self._engine = engines.load(self._engine_name)
        # Scratch of earlier calls, by the module that made it, for how many threads and what X.
        self._idle: dict[Any, list[Any]] = {}
        self._idle_rows: list[np.ndarray] = []
        self._row_shape = (1, self._sizes[0])
        few = getattr(self._engine, "few", None)
        self._few = few(self._sizes) if few else 0
        strides = [self._engine.stride(n, self._dtype) for n in self._sizes]
        self._layout = Layout(self._sizes, strides)
        self._theta = aligned_zeros(self._layout.length, self._dtype)
        self._weights = self._layout.weights(self._theta)
        self._biases = self._layout.biases(self._theta)

    @functools.cached_property
    def _model(self) -> Any:
        """The network as its engine takes it: on first use, when functions may be compiled."""
        return self._engine.model(self._layout, self._sigma, self._cost, self._dtype)

    @functools.cached_property
    def _analysis(self) -> Any:
        """What the engine has for `fastbackprop.analysis.quantities`."""
        return load_analysis(self._engine_name)

    @functools.cached_property
    def _curvature(self) -> Any:
        """Second derivatives, compiled if need be."""
        return self._analysis.curvature(self._sigma, self._cost, self._dtype)

    # --- what it is -------------------------------------------------------------------------------

    @property
    def machine(self) -> Any:
        """The network bound to its engine, for other modules of the package."""
        return SimpleNamespace(
            sizes=self._sizes,
            sigma=self._sigma,
            cost=self._cost,
            dtype=self._dtype,
            layout=self._layout,
            theta=self._theta,
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        return self._sizes

    @property
    def n_layers(self) -> int:
        return len(self._sizes) - 1

    @property
    def n_parameters(self) -> int:
        return self._layout.n_parameters

    @property
    def dtype(self) -> np.dtype:
        return self._dtype

    @property
    def engine(self) -> str:
        return self._engine_name

    @property
    def hidden(self) -> tuple[str, ...]:
        return tuple(activation.name for activation in self._sigma[:-1])

    @property
    def output(self) -> str:
        return self._sigma[-1].name

    @property
    def cost(self) -> str:
        return self._cost.name

    @property
    def weights(self) -> Views:
        return self._weights

    @property
    def biases(self) -> Views:
        return self._biases

    def get_parameters(self) -> np.ndarray:
        """W^1, b^1, W^2, b^2, ... in C order: a copy, (n_parameters,)."""
        return self._layout.flatten(self._theta)

    def set_parameters(self, vector: Any) -> None:
        """Set all parameters from a vector as `get_parameters` returns it.

        Raises ValueError for another shape or for values that are not finite.
        """
        flat = inputs.parameters(vector, self.n_parameters, self._dtype, "vector")
        self._layout.unflatten(flat, self._theta)

    def __repr__(self) -> str:
        layers = [str(self._sizes[0])]
        for n, activation in zip(self._sizes[1:], self._sigma, strict=True):
            layers.append(f"{n} {activation}")
        return (
            f"<Network {' -> '.join(layers)}; {self._cost}, {self.dtype}, "
            f"engine {self.engine!r}, {self.n_parameters:,} parameters>"
        )

    def __getstate__(self) -> dict[str, Any]:
        names = ("_sizes", "_sigma", "_cost", "_dtype", "_engine_name", "_rng", "_optimizer")
        return {name: getattr(self, name) for name in names} | {"parameters": self.get_parameters()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        parameters = state.pop("parameters")
        self.__dict__.update(state)
        self._build()
        self._layout.unflatten(parameters, self._theta)

    def __copy__(self) -> "Network":
        return copy.deepcopy(self)  # a copy that shared the generator would not be another network

    # --- forward ----------------------------------------------------------------------------------

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
        few = self._predict_few(X, out, n_threads)
        if few is not None:
            return few
        n_in, n_out = self._sizes[0], self._sizes[-1]
        samples = inputs.inputs_alone(X, n_in, n_out, self._dtype)
        n = len(samples.X)
        shape = (n, n_out)
        if out is None:
            out = np.empty(shape, self._dtype)
        else:
            inputs.check_output(out, shape, self._dtype)
            if np.may_share_memory(out, self._theta):
                raise ValueError("out must not be a part of the network's own parameters")
            source = samples.X.source if isinstance(samples.X, Rows) else samples.X
            if np.may_share_memory(out, source):
                samples = samples._replace(X=read_only(samples.X[:].copy()))
            if np.may_share_memory(out, samples.values):
                samples = samples._replace(values=read_only(samples.values.copy()))
            if np.may_share_memory(out, samples.columns):
                samples = samples._replace(columns=read_only(samples.columns.copy()))
        if n_threads is None:
            n_threads = self._engine.threads(self._model, None, n, samples.inputs_per_sample)
        filled = np.asarray(out)
        with self._workspace(n_threads, samples.is_sparse) as work:
            for block, start, stop, offset in self._at_hand(samples):
                rows = filled[offset : offset + stop]
                self._engine.predict(self._model, self._theta, block, rows, work, start, stop)
        return out

    def _predict_few(self, X: Any, out: Any, n_threads: int | None) -> np.ndarray | None:
        """a^L of few rows that need no conversion, or None: then the long way will do, or say why.

        Control and simulation ask for a row, or some, a million times. The checks of `inputs` take
        several times as long as the answer; these leave nothing out.
        """
        dtype, theta = self._dtype, self._theta
        if type(X) is not np.ndarray or X.dtype != dtype or not self._few:
            return None
        one = X.shape == self._row_shape
        if not one:
            if n_threads not in (None, 1) or X.ndim != 2 or X.shape[1] != self._sizes[0]:
                return None
            if not 0 < len(X) <= self._few:
                return None
        if not X.flags.carray:
            return None
        shape = (len(X), self._sizes[-1])
        if out is None:
            out = np.empty(shape, dtype)
        elif (
            type(out) is not np.ndarray
            or out.dtype != dtype
            or out.shape != shape
            or not out.flags.carray
            or (out.base is not None and np.may_share_memory(out, theta))
            or (not one and np.may_share_memory(out, X))
        ):
            return None
        if one:
            try:
                neurons = self._idle_rows.pop()
            except IndexError:
                neurons = np.zeros((3, max(self._layout.strides)), dtype)
            done = self._engine.predict_row(self._model.layers, theta, X, out, neurons)
            self._idle_rows.append(neurons)
        else:
            with self._workspace() as work:
                done = self._engine.predict_rows(self._model.layers, theta, X, out, work)
        return out if done else None

    @contextlib.contextmanager
    def _workspace(
        self, n_threads: int = 1, sparse: bool = False, module: Any = None
    ) -> Iterator[Any]:
        """Scratch that no other call uses at the same time, of an earlier call where there is one.

        To zero it anew would take longer than a row takes through a small network. It is that of
        the engine, unless another `module` makes it.
        """
        module = module or self._engine
        idle = self._idle.setdefault((module, n_threads, sparse), [])
        try:
            work = idle.pop()  # one step for the interpreter: no other thread gets the same
        except IndexError:
            work = module.workspace(self._model, self._dtype, n_threads, sparse)
        try:
            yield work
        finally:
            idle.append(work)

    def activations(self, X: Any) -> list[np.ndarray]:
        """a^0 ... a^L, (n_samples, n_l) each; a^0 is a copy of X, which is dense.

        Raises as `predict` does.
        """
        inputs.refuse_sparse(X, "a^0 is to be dense")
        X = inputs.matrix(X, self._sizes[0], self._dtype)
        a: list[np.ndarray] = self._engine.activations(self._model, self._theta, X[:])
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
        samples = self._samples(X, y, sample_weight)
        sums = np.zeros(N_SUMS)
        with self._workspace(1, samples.is_sparse) as work:
            for block, start, stop, _ in self._at_hand(samples):
                self._engine.cost_sum(self._model, self._theta, block, sums, work, start, stop)
        return float(sums[COST] / sums[WEIGHT])

    # --- backward ---------------------------------------------------------------------------------

    def gradient(self, X: Any, y: Any, sample_weight: Any = None) -> Gradient:
        """Gradient of the mean cost; arguments and errors as for `evaluate`."""
        samples = self._samples(X, y, sample_weight)
        sums, vector = self._gradient_sums(samples, _total_weight(samples))
        weights, biases = self._layout.weights(vector), self._layout.biases(vector)
        return Gradient(float(sums[COST] / sums[WEIGHT]), list(weights), list(biases))

    def gradient_sums(
        self, X: Any, y: Any, sample_weight: Any = None
    ) -> tuple[float, float, np.ndarray]:
        """sum_i s_i C_i, sum_i s_i and the gradient of the first, flat, (n_parameters,).

        What data-parallel training adds up over its parts. Arguments and errors as for `evaluate`.
        """
        sums, vector = self._gradient_sums(self._samples(X, y, sample_weight), 1.0)
        return float(sums[COST]), float(sums[WEIGHT]), self._layout.flatten(vector)

    def trace(self, X: Any, y: Any, sample_weight: Any = None) -> Trace:
        """Every quantity of the derivation, by its name; arguments and errors as for `evaluate`.

        X is dense.
        """
        samples = _all_at_hand(self._dense_samples(X, y, sample_weight))
        total = _total_weight(samples)
        sums, vector = np.zeros(N_SUMS), aligned_zeros(self._theta.size, self._dtype)
        z, a, delta = self._engine.trace(self._model, self._theta, samples, total, vector, sums)
        weights, biases = self._layout.weights(vector), self._layout.biases(vector)
        cost = float(sums[COST] / sums[WEIGHT])
        return Trace(z, a, delta, list(weights), list(biases), cost)

    # --- analysis ---------------------------------------------------------------------------------

    def sample_gradients(self, X: Any, y: Any, out: np.ndarray | None = None) -> np.ndarray:
        """dC_i/dtheta of each sample's own cost, a row for each.

        Parameters
        ----------
        X, y
            As for `evaluate`.
        out : ndarray, (n_samples, n_parameters), optional
            Filled and returned; of the network's dtype, C-contiguous. Fresh memory takes longer to
            come by than the gradients.

        Returns
        -------
        ndarray, (n_samples, n_parameters), of the network's dtype
            In the order of `get_parameters`. Their mean is `gradient`.

        Raises
        ------
        ValueError, TypeError
            As `evaluate` does; `out` is untouched then.
        """
        samples = self._dense_samples(X, y)
        shape = (len(samples.X), self.n_parameters)
        if out is None:
            out = np.empty(shape, self._dtype)
        else:
            inputs.check_output(out, shape, self._dtype)
            inputs.check_apart(out, parameters=self._theta, X=samples.X, y=samples.Y)
        analysis.sample_gradients(self, samples, out)
        return out

    def sample_gradient_norms(self, X: Any, y: Any) -> np.ndarray:
        """||dC_i/dtheta|| of each sample's own cost, (n_samples,), without the gradients.

        The gradient of a layer's weights is an outer product, so the square is the sum over the
        layers of ||delta^l||^2 (1 + ||a^{l-1}||^2) (Goodfellow, 2015, "Efficient per-example
        gradient computations"). Arguments and errors as for `evaluate`.
        """
        return analysis.sample_gradient_norms(self, self._dense_samples(X, y))

    def error_sizes(self, X: Any, y: Any) -> np.ndarray:
        """How large the errors are: the root mean square of delta^l = dC_i/dz^l, layer by layer.

        Over the samples and the neurons of a layer; (L,), float64. Arguments and errors as for
        `evaluate`. `fastbackprop.ErrorFlow` records it during a training.
        """
        return analysis.error_sizes(self, self._dense_samples(X, y))

    def input_gradient(self, X: Any, y: Any) -> np.ndarray:
        """dC_i/da^0 of each sample's own cost, (n_samples, n_0): (2) once more, without sigma'.

        Arguments and errors as for `evaluate`.
        """
        return analysis.input_gradient(self, self._dense_samples(X, y))

    def jacobian(self, X: Any) -> np.ndarray:
        """da^L/da^0 at each row of X, (n_samples, n_L, n_0): (2) from each output by itself.

        Raises as `predict` does.
        """
        return analysis.jacobian(self, inputs.matrix(X, self._sizes[0], self._dtype))

    def hessian_vector_product(
        self, X: Any, y: Any, v: Any, sample_weight: Any = None
    ) -> np.ndarray:
        """H v, where H is the matrix of second derivatives of the mean cost. Exact.

        By Pearlmutter's R-operator, at the price of some two or three gradients (Pearlmutter, 1994,
        "Fast exact multiplication by the Hessian"); `fastbackprop.analysis` has the
        equations. The second derivative of relu is 0, at its kink too.

        Parameters
        ----------
        X, y, sample_weight
            As for `evaluate`.
        v : array_like, (n_parameters,)
            In the order of `get_parameters`.

        Returns
        -------
        ndarray, (n_parameters,), of the network's dtype

        Raises
        ------
        ValueError, TypeError
            As `evaluate` does; for a v of another shape or with values that are not finite; for an
            activation or a cost without a second derivative.
        """
        return self._product(X, y, v, sample_weight, gauss_newton=False)

    def gauss_newton_vector_product(
        self, X: Any, y: Any, v: Any, sample_weight: Any = None
    ) -> np.ndarray:
        """G v, where G is the Gauss-Newton matrix, the mean of J_i^T H_i J_i.

        J_i is da^L/dtheta and H_i the second derivatives of C_i by a^L; where the cost belongs to
        the output (cross_entropy), both are of z^L, and G is Fisher's information matrix. It has no
        negative eigenvalue if the cost is convex (Schraudolph, 2002, "Fast curvature matrix-vector
        products for second-order gradient descent"). Arguments and errors as for
        `hessian_vector_product`; activations need no second derivative.
        """
        return self._product(X, y, v, sample_weight, gauss_newton=True)

    def _product(
        self, X: Any, y: Any, v: Any, sample_weight: Any, gauss_newton: bool
    ) -> np.ndarray:
        inputs.have_second_derivatives([] if gauss_newton else self._sigma, self._cost)
        direction = inputs.parameters(v, self.n_parameters, self._dtype, "v")
        samples = self._dense_samples(X, y, sample_weight)
        return analysis.product(self, samples, _total_weight(samples), direction, gauss_newton)

    def check_gradient(
        self, X: Any, y: Any, sample_weight: Any = None, *, max_parameters: int = 1000
    ) -> float:
        """Largest error of the gradient against central differences, in float64.

        Relative to the largest entry of the gradient; around 1e-10 for a correct gradient. Of a
        larger network, `max_parameters` parameters are drawn and checked. Differences are of fourth
        order with a step of 1e-3; where they disagree, smaller steps and one-sided differences are
        tried too, for the cost may have a kink (relu) nearby or right there. Arguments and errors
        as for `evaluate`.
        """
        max_parameters = inputs.positive_integer(max_parameters, "max_parameters")
        twin = self._in_float64()
        samples = _all_at_hand(twin._samples(X, y, sample_weight))
        samples = samples._replace(s=read_only(samples.s / _total_weight(samples)))
        theta = twin.get_parameters()
        gradient = twin._layout.flatten(twin._gradient_sums(samples, 1.0)[1])
        checked = np.arange(theta.size)
        if theta.size > max_parameters:
            checked = np.random.default_rng(0).choice(theta.size, max_parameters, replace=False)

        def cost_at(p: int, step: float) -> float:
            moved = theta.copy()
            moved[p] += step
            twin.set_parameters(moved)
            sums = np.zeros(N_SUMS)
            n = len(samples.X)
            with twin._workspace(1, samples.is_sparse) as work:
                twin._engine.cost_sum(twin._model, twin._theta, samples, sums, work, 0, n)
            return float(sums[COST])

        largest = np.abs(gradient).max()
        scale = largest if largest > 0 else 1.0
        error = max(_difference(cost_at, p, gradient[p]) for p in checked.tolist())
        return float(error / scale)

    def _in_float64(self) -> "Network":
        twin = object.__new__(Network)
        twin.__setstate__(self.__getstate__() | {"_dtype": np.dtype(np.float64)})
        return twin

    def _gradient_sums(self, samples: Samples, total: float) -> tuple[np.ndarray, np.ndarray]:
        sums, gradient = np.zeros(N_SUMS), aligned_zeros(self._theta.size, self._dtype)
        with self._workspace(1, samples.is_sparse) as work:
            for block, start, stop, _ in self._at_hand(samples):
                self._engine.gradient_sums(
                    self._model, self._theta, block, total, gradient, sums, work, start, stop
                )
        return sums, gradient

    def _dense_samples(self, X: Any, y: Any, sample_weight: Any = None) -> Samples:
        inputs.refuse_sparse(X, "only predictions, costs, gradients and training take that")
        return self._samples(X, y, sample_weight)

    def _samples(self, X: Any, y: Any, sample_weight: Any = None) -> Samples:
        n_in, n_out = self._sizes[0], self._sizes[-1]
        return inputs.samples(X, y, sample_weight, n_in, n_out, self._dtype, self._cost)

    def _at_hand(self, samples: Samples) -> Iterator[tuple[Samples, int, int, int]]:
        """All samples, some tens of milliseconds at a time; see `inputs.rows.at_hand`."""
        n, tile = len(samples.X), self._engine.row_tile(self._model)
        return at_hand(samples, slices(n, n, tile, self._theta.size, rows_at_once(samples)))

    # --- files ------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to a safetensors file, in one piece or not at all.

        Its parameters, unpadded, are the tensors weights.0, biases.0, weights.1, ...; its
        description, JSON, the metadata. Not the generator, nor an optimizer's state, nor the code
        of functions of your own: `load` has to be given these.

        Raises OSError where that fails, and ValueError where a parameter is not finite; what was in
        the file is still there then.
        """
        saved.write(inputs.file_of(path, self._theta), self)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        rng: int | np.random.Generator | None = None,
        engine: str | None = None,
        functions: Sequence[Activation | Cost] = (),
    ) -> "Network":
        """The network in a file that `save`, or `fit` with `checkpoint=`, has written.

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
        arguments = file.arguments(inputs.own_functions_given(functions))
        if engine is not None:
            arguments["engine"] = engine
            inputs.choice(engine, engines.ENGINES, "engine")
        rng, parameters = inputs.generator(rng), file.parameters()
        try:
            network = cls(**arguments, init="zeros", rng=rng)
        except (ValueError, TypeError) as error:
            raise file.error(str(error)) from None
        network._layout.unflatten(parameters, network._theta)
        return network

    # --- training ---------------------------------------------------------------------------------

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
        callbacks: Function | Iterable[Any] = (),
        progress: Any = None,
        n_threads: int | None = None,
        schedule: Schedule | Callable[[int], float] | None = None,
        early_stopping: bool | int | EarlyStopping | None = None,
        metrics: str | Function | Iterable[str | Function] | Mapping[str, Function] | None = None,
        training_metrics: bool = False,
        time_budget: float | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        dropout: float | Sequence[float] = 0.0,
        input_dropout: float = 0.0,
        input_noise: float = 0.0,
    ) -> History:
        """Minimise the mean cost, from the current parameters on.

        Ctrl-C ends the training between two steps with a RuntimeWarning and the history so far.

        Parameters
        ----------
        X, y, sample_weight
            As for `evaluate`. Weights scale a sample's part in its minibatch's mean; a minibatch
            whose weights are all zero takes no step. Of a memory map, or what is like one, a
            minibatch at a time is read; a bad value is refused when it is read, before the step.
            With y left out, X is an iterable of batches, (X, y) or (X, y, sample_weight), that
            begins anew for every epoch: not a generator, unless there is one epoch. A bad batch is
            refused when it comes, before its step.
        epochs : int
            Passes over the samples.
        batch_size : int, None or "auto"
            Samples per step; the last step of an epoch takes what is left. None: all of them.
            "auto": 32; of an iterable, each batch is a step as it comes, while a number cuts it.
        optimizer : str or Optimizer
            A name out of `fastbackprop.optimizers.OPTIMIZERS`, "sgd" or "adam" among them, or an
            object such as `SGD(0.1, momentum=0.9)`, which keeps its state: a second `fit` with the
            same object continues where the first one ended.
        validation : pair, triple or float
            (X, y), (X, y, sample_weight), or a fraction in (0, 1) of the samples, drawn the same
            way in each call.
        shuffle : bool
            Draw a new order of the samples for every epoch from the network's generator; of an
            iterable, an order inside each batch.
        callbacks : function, object or iterable of them
            See `fastbackprop.training.callbacks.Callbacks`: a function is called (network, epoch,
            logs) after each epoch, epochs count from 1; a true result ends the training.
        progress : None, True or an object like tqdm
            True shows tqdm's progress bar.
        n_threads : int or None
            Threads of the tiles engine; no bit of the result depends on it. None: as many as the
            work is worth. The other engines take no notice: "loops" has one thread, "numpy" those
            of its BLAS.
        schedule : Schedule, function or None
            Maps a step, counted from 0 by the optimizer, to a factor of its learning rate; see
            `fastbackprop.optimizers.schedules`.
        early_stopping : bool, int, EarlyStopping or None
            True is `EarlyStopping()`, a number is its patience in epochs.
        metrics : str, function, iterable of them, or dict of functions by name
            "accuracy", "r2", or a function (y_true, y_pred) -> float, where y_true is labels,
            (n_samples,), or targets, (n_samples, n_L), and y_pred is a^L. After each epoch, of the
            validation samples, as "validation_<name>"; of the training samples, as "<name>", where
            there is no validation or `training_metrics` is True. Only those with names know of
            sample weights.
        time_budget : float or None
            Seconds of this call, compilation not counted, after which it ends between two steps.
        checkpoint : path or None
            Written before the first epoch and after every epoch, in one piece or not at all. Where
            the file exists, training goes on from it until `epochs` in total: the same script, run
            again after a crash, ends with the bits of the run that was not interrupted. What
            callbacks keep for themselves is not in it. `LBFGS` has none.
        dropout : float or sequence of float
            The part of the activations of the hidden layers that each step, for each sample, takes
            as zero, one rate or one for each hidden layer; the others are divided by 1 minus it
            (Srivastava et al., 2014). Only here: predictions and validation use all of them.
        input_dropout : float
            The same for the inputs.
        input_noise : float
            Standard deviation of normal noise that is added to the inputs in each step; X is dense.

        Returns
        -------
        History
            Per epoch: cost, validation_cost, seconds; with a schedule, learning_rate; metrics.

        Raises
        ------
        ValueError, TypeError
            As for `evaluate`, before anything is changed.
        OSError
            Where a checkpoint cannot be written, before anything is changed. Later, when the disk
            is full, it is a RuntimeWarning, and the file is that of an earlier epoch.
        DivergenceError
            When the cost stops being finite; the last finite parameters are kept.
        """
        epochs = inputs.positive_integer(epochs, "epochs")
        rule = inputs.optimizer(optimizer)
        rule.check_free_for(self)
        rates = inputs.dropout_rates(dropout, input_dropout, self.n_layers)
        noise = inputs.deviation(input_noise, "input_noise")
        trainer_class = LBFGSTrainer if isinstance(rule, LBFGS) else Trainer
        trainer_class.check(
            batches=X if inputs.are_batches(X, y) else None,
            batch_size=None if isinstance(batch_size, str) else batch_size,
            schedule=schedule,
            checkpoint=checkpoint,
            dropout=rates if any(rates) else None,
            input_noise=noise or None,
        )

        def check(X: Any, y: Any, sample_weight: Any = None) -> Samples:
            if noise:
                inputs.refuse_sparse(X, "input_noise would make it dense")
            return self._samples(X, y, sample_weight)

        parts: Iterable[Samples]
        known: Samples | None = None  # all samples, unless they come in batches
        if inputs.are_batches(X, y):
            inputs.refuse_for_batches(
                schedule=schedule,
                checkpoint=checkpoint,
                training_metrics=training_metrics,
                metrics=metrics if validation is None else None,
            )
            parts, held_out = self._batches(X, epochs, sample_weight, validation, check)
        else:
            known, held_out = self._training_samples(check(X, y, sample_weight), validation)
            parts = [known]
        rows = inputs.batch_size(batch_size, trainer_class.auto_batch_size if known else None)
        shuffle = inputs.flag(shuffle, "shuffle")
        rng = self._rng if shuffle or any(rates) or noise else None
        n_threads = inputs.thread_count(n_threads)
        looked_at = known or held_out
        has_labels = looked_at is not None and len(looked_at.labels) > 0
        measures = inputs.metrics(metrics, has_labels, self._cost)
        of_training = inputs.flag(training_metrics, "training_metrics") or held_out is None
        of_training = of_training and known is not None
        control = Control(
            schedule=as_schedule(schedule),
            metrics=measures,
            training_metrics=of_training,
            stopping=inputs.early_stopping(
                early_stopping, measures, held_out is not None, of_training
            ),
            time_budget=inputs.seconds(time_budget, "time_budget"),
            shuffle=shuffle,
            dropout=rates,
            noise=noise,
        )
        listeners = Callbacks(callbacks, progress, epochs)
        if checkpoint is not None:
            plan = {
                "n_samples": len(known.X) if known else 0,
                "n_validation": len(held_out.X) if held_out else 0,
                "batch_size": rows,
                "shuffle": shuffle,
                "dropout": [*rates, noise],
                "optimizer": saved.describe(rule),
                "schedule": saved.describe(control.schedule),
                "early_stopping": saved.describe(control.stopping and control.stopping.rule),
            }
            path = inputs.file_path(checkpoint, "checkpoint")
            control = control._replace(checkpoint=Checkpoint(path, self, plan))
        stepper = rule.stepper(self, self._theta)  # the last that can refuse
        self._optimizer = rule
        with contextlib.ExitStack() as borrowed:
            trainer = trainer_class(
                self._engine,
                self._model,
                self._theta,
                parts,
                held_out,
                stepper,
                rows,
                rng,
                n_threads,
                lambda *key: borrowed.enter_context(self._workspace(*key)),
                control,
            )
            return trainer.run(self, epochs, listeners)

    def partial_fit(
        self,
        X: Any,
        y: Any,
        *,
        batch_size: int | None = 32,
        optimizer: str | Optimizer | None = None,
        sample_weight: Any = None,
        shuffle: bool = True,
        n_threads: int | None = None,
        dropout: float | Sequence[float] = 0.0,
        input_dropout: float = 0.0,
        input_noise: float = 0.0,
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
            n_threads=n_threads,
            dropout=dropout,
            input_dropout=input_dropout,
            input_noise=input_noise,
        )

    def _training_samples(
        self, samples: Samples, validation: Any
    ) -> tuple[Samples, Samples | None]:
        if validation is None or isinstance(validation, tuple | list):
            return samples, self._validation_samples(validation)
        train, held_out = inputs.split(validation, len(samples.X))
        return inputs.take(samples, train), inputs.take(samples, held_out)

    def _batches(
        self,
        batches: Any,
        epochs: int,
        sample_weight: Any,
        validation: Any,
        check: Callable[..., Samples],
    ) -> tuple[inputs.Batches, Samples | None]:
        if sample_weight is not None:
            raise ValueError("of batches, each has its own weights: (X, y, sample_weight)")
        if not (validation is None or isinstance(validation, tuple | list)):
            raise ValueError(
                f"validation beside batches must be (X, y) or (X, y, sample_weight); "
                f"got {validation!r}"
            )
        return inputs.Batches(batches, epochs, check), self._validation_samples(validation)

    def _validation_samples(self, validation: Any) -> Samples | None:
        if validation is None:
            return None
        if len(validation) not in (2, 3):
            raise ValueError(
                f"validation must be (X, y), (X, y, sample_weight) or a fraction; "
                f"got {len(validation)} items"
            )
        with inputs.naming("validation"):
            return self._samples(*validation)

    @classmethod
    def _from_dense(cls, dense: Any) -> "Network":
        """The network of a `formats.dense.Dense`."""
        network = cls(**dense.arguments)
        for l, (W, b) in enumerate(dense.layers):
            network.weights[l], network.biases[l] = W, b
        return network

    # --- elsewhere --------------------------------------------------------------------------------

    def as_njit(self) -> Any:
        """A function for a user's own `@njit` code: `f(x, out)`, one row in, one row out.

        `f(x, out)` fills out, (n_L,), with a^L for x, (n_0,); `f.jvp(x, v, out, out_v)` also fills
        out_v, (n_L,), with the product of the Jacobian da^L/dx and v, (n_0,). All are float arrays;
        the arithmetic is of the network's dtype. `out` may be `x`. Both work in Python too, and in
        compiled code under their names or as `f.jvp`. Shapes are not checked, as nothing is in
        compiled code. Nothing is allocated, nothing shared: threads may call them together.

        The parameters are a copy, made now, that lives as long as the process: later training does
        not change the function, and its values are no part of what Numba keeps on disk (of a
        function with `cache=True` that calls it, Numba warns that it cannot be cached). Each call
        of `as_njit` compiles anew, one or two seconds.

        Raises
        ------
        ValueError
            Where a row of all neurons does not fit a thread's stack (some 6,000 neurons of float64
            in all), or for an activation that couples a row and is not the package's own.

        Examples
        --------
        >>> import numba, numpy as np, fastbackprop as fb
        >>> f = fb.Network([2, 8, 2], hidden="tanh", rng=0).as_njit()
        >>> @numba.njit
        ... def euler(x, h, steps):
        ...     slope = np.empty(2)
        ...     for _ in range(steps):
        ...         f(x, slope)
        ...         x = x + h * slope
        ...     return x
        >>> euler(np.ones(2), 0.01, 100).shape
        (2,)
        """
        from fastbackprop.formats.compiled import as_njit

        return as_njit(self)

    def as_cfunc(self, kind: str = "row") -> Any:
        """A C callback: Numba's CFunc, with `.address`, `.ctypes` and `.cffi`.

        The parameters are a copy, as for `as_njit`. The callback lives as long as the process, so
        that C code may keep its address.

        Parameters
        ----------
        kind : {"row", "quad", "filter"}
            "row": `void f(double *x, double *out)`, x (n_0,) and out (n_L,). "quad": `double f(int
            n, double *x)`, for `scipy.integrate.quad` and `nquad`; where n is not n_0 it returns
            NaN. "filter": `int f(double *x, intptr_t n, double *out, void *user_data)`, for
            `scipy.ndimage.generic_filter`; where n is not n_0 it returns 0, an error to SciPy.
            The last two need n_L = 1. SciPy takes `scipy.LowLevelCallable(f.ctypes)`.

        Raises
        ------
        ValueError
            For another kind, or several outputs where one is needed; and as `as_njit` does.
        """
        from fastbackprop.formats.compiled import as_cfunc

        return as_cfunc(self, kind)

    @classmethod
    def from_torch(cls, source: Any, **options: Any) -> "Network":
        """A network with the layers and parameters of PyTorch's.

        Parameters
        ----------
        source : torch.nn.Sequential, mapping, str or path-like
            Linear layers, each followed by at most one activation (Sequentials inside are opened,
            Dropout, Identity and Flatten passed over); or a state dict, of tensors or arrays, with
            the layers in their order; or a .safetensors file of one, whose order is that of the
            names (2 before 10). PyTorch is not needed for the last two.
        **options
            `Network`'s. A state dict needs `hidden`, and `output` where it is not "identity". A
            module that ends with logits, as for PyTorch's losses, may be given its `output`.

        Returns
        -------
        Network
            Of the dtype of the first layer (float32 for half precision) unless `dtype` is given.

        Raises
        ------
        ImportError
            Without PyTorch, for a module.
        TypeError, ValueError
            For what is no such network; the message names the module or the tensor.
        """
        from fastbackprop.formats.torch import from_torch

        return cls._from_dense(from_torch(source, options))

    def to_torch(self) -> Any:
        """A torch.nn.Sequential of Linear and activations, with a copy of the parameters.

        Of the network's dtype. An output of softmax or sigmoid is a module too: leave it out
        (`module[:-1]`) before PyTorch's CrossEntropyLoss or BCEWithLogitsLoss. Raises ImportError
        without PyTorch, ValueError for an activation that it lacks.
        """
        from fastbackprop.formats.torch import to_torch

        return to_torch(self)

    @classmethod
    def from_sklearn(cls, estimator: Any, **options: Any) -> "Network":
        """A network with the layers and parameters of a fitted MLPClassifier or MLPRegressor.

        `predict` gives what `predict_proba` or `predict` of theirs does; a classifier of two
        classes has one sigmoid output, the probability of `estimator.classes_[1]`. `options` are
        `Network`'s; the cost is cross_entropy for a classifier, else squared_error, unless given.
        Raises TypeError for anything else or before `fit`.
        """
        from fastbackprop.formats.sklearn import from_sklearn

        return cls._from_dense(from_sklearn(estimator, options))

    def to_sklearn(self, classes: Any = None) -> Any:
        """A fitted scikit-learn estimator with a copy of the parameters.

        An MLPClassifier where the output is softmax or sigmoid (several sigmoids: of several labels
        at once), else an MLPRegressor. It predicts, scores, and goes on with `partial_fit`.

        Parameters
        ----------
        classes : array_like, (n_L,), optional
            The labels of the outputs, ascending; 0 ... n_L - 1 where they are left out. One sigmoid
            is the probability of the second of two.

        Raises
        ------
        ImportError
            Without scikit-learn (the extra `sklearn`).
        ValueError
            For activations that scikit-learn lacks, several in one network, or unfit classes.
        """
        from fastbackprop.formats.sklearn import to_sklearn

        return to_sklearn(self, classes)


def _all_at_hand(samples: Samples) -> Samples:
    n = len(samples.X)
    return next(at_hand(samples, iter([(0, n)])))[0]


def _total_weight(samples: Samples) -> float:
    return float(samples.s.sum()) if len(samples.s) else float(len(samples.X))


def _difference(cost_at: Callable[[int, float], float], p: int, derivative: float) -> float:
    """Smallest distance of the derivative from a difference quotient."""
    smallest, here = np.inf, cost_at(p, 0.0)
    for h in (1e-3, 1e-4, 1e-5, 1e-6):
        below, above = cost_at(p, -h), cost_at(p, h)
        far_below, far_above = cost_at(p, -2 * h), cost_at(p, 2 * h)
        central = (8 * (above - below) - (far_above - far_below)) / (12 * h)
        right = (4 * above - far_above - 3 * here) / (2 * h)
        left = (3 * here - 4 * below + far_below) / (2 * h)
        smallest = min([smallest, *(abs(q - derivative) for q in (central, right, left))])
        if smallest < 1e-9 * abs(derivative):
            break
    return smallest
