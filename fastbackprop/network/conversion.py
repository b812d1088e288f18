"""The methods of `Network` that lead to other libraries and back."""

from typing import TYPE_CHECKING, Any, cast

from fastbackprop.formats.dense import Dense

if TYPE_CHECKING:
    from fastbackprop.network import Network


class Conversion:
    """Networks as compiled functions, and as models of PyTorch and scikit-learn."""

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

        return as_njit(cast("Network", self))

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

        return as_cfunc(cast("Network", self), kind)

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

        return cls.from_dense(from_torch(source, options))

    def to_torch(self) -> Any:
        """A torch.nn.Sequential of Linear and activations, with a copy of the parameters.

        Of the network's dtype. An output of softmax or sigmoid is a module too: leave it out
        (`module[:-1]`) before PyTorch's CrossEntropyLoss or BCEWithLogitsLoss. Raises ImportError
        without PyTorch, ValueError for an activation that it lacks.
        """
        from fastbackprop.formats.torch import to_torch

        return to_torch(cast("Network", self))

    @classmethod
    def from_sklearn(cls, estimator: Any, **options: Any) -> "Network":
        """A network with the layers and parameters of a fitted MLPClassifier or MLPRegressor.

        `predict` gives what `predict_proba` or `predict` of theirs does; a classifier of two
        classes has one sigmoid output, the probability of `estimator.classes_[1]`. `options` are
        `Network`'s; the cost is cross_entropy for a classifier, else squared_error, unless given.
        Raises TypeError for anything else or before `fit`.
        """
        from fastbackprop.formats.sklearn import from_sklearn

        return cls.from_dense(from_sklearn(estimator, options))

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

        return to_sklearn(cast("Network", self), classes)

    @classmethod
    def from_dense(cls, dense: Dense) -> "Network":
        """The network that a reader of a format has described."""
        network: Network = cls(**dense.arguments)  # type: ignore[assignment]
        weights, biases = network.weights, network.biases
        for l, (W, b) in enumerate(dense.layers):
            weights[l], biases[l] = W, b
        return network
