"""minimize: SciPy's minimisers for a function of a network that the caller writes."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastbackprop import inputs
from fastbackprop.machine import Pause
from fastbackprop.numbers import as_float, shown
from fastbackprop.optimizers import LBFGS
from fastbackprop.samples import Samples
from fastbackprop.training.callbacks import Callbacks
from fastbackprop.training.history import History
from fastbackprop.training.interrupted import finished
from fastbackprop.training.lbfgs import (
    NO_COST,
    Evaluation,
    Minimization,
    Minimizer,
    no_checkpoint_of,
    scipy_minimize,
)
from fastbackprop.training.plan import Plan
from fastbackprop.training.progress import bars

METHODS = ("L-BFGS-B", "BFGS", "CG")

Function = Callable[[Any], tuple[float, np.ndarray]]


def minimize(
    network: Any,
    function: Function,
    method: str = "L-BFGS-B",
    *,
    iterations: int = 1000,
    options: Mapping[str, Any] | None = None,
    callbacks: Any = (),
    progress: Any = None,
) -> History:
    """Minimise any function of a network's parameters, from the current ones on.

    For costs that are no sum over samples, such as the residual of a differential equation, after
    or in place of Adam. Each iteration of SciPy is an epoch of the history. The network stands at
    an accepted point whenever a callback is called, and in the end, also after Ctrl-C or an
    exception of the function. Networks of float64 are best: the last steps need the digits.

    Parameters
    ----------
    network : Network
    function : callable
        function(network) -> (value, gradient): a number and its gradient by the parameters,
        (n_parameters,), in the order of `get_parameters`. It computes them with the network that
        it gets, whose parameters are those of a trial point, and does not change it. `backward`
        gives gradients. Where one is not finite the line search turns back.
    method : {"L-BFGS-B", "BFGS", "CG"}
        Of `scipy.optimize.minimize`. "BFGS" has a matrix of n_parameters^2.
    iterations : int
        At most.
    options : mapping, optional
        SciPy's options of the method, such as {"maxcor": 50, "gtol": 1e-9}, but for "maxiter".
    callbacks, progress
        As for `Network.fit`; no Checkpoint.

    Returns
    -------
    History
        `cost` is the value before each iteration. `ended_by` is "converged", "max_evaluations" or
        "line_search", SciPy's reasons; or one of those of `fit`.

    Raises
    ------
    TypeError, ValueError
        For arguments that make no sense, also for what the function returns.
    DivergenceError
        Where the value is not finite at the start.
    ImportError
        Without SciPy.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbackprop as fb
    >>> net = fb.Network([1, 8, 1], hidden="tanh", dtype="float64", rng=0)
    >>> x = np.linspace(-1, 1, 20).reshape(-1, 1)
    >>> def function(net):
    ...     error = net.predict(x) - x**2
    ...     gradient = net.backward(x, 2 * error / len(x)).parameter_gradient
    ...     return np.mean(error**2), gradient
    >>> history = fb.minimize(net, function)
    >>> function(net)[0] < 1e-5
    True
    """
    scipy_minimize()
    if not hasattr(network, "machine"):
        raise TypeError(f"network must be a Network; got {shown(network)}")
    if not callable(function):
        raise TypeError(f"function must be a function of the network; got {shown(function)}")
    inputs.choice(method, METHODS, "method")
    options = {} if options is None else dict(options)
    if "maxiter" in options:
        raise ValueError("options must not contain 'maxiter': pass iterations=")
    plan = Plan(
        epochs=inputs.positive_integer(iterations, "iterations"),
        parts=[None],  # type: ignore[list-item] # the function has its own samples
    )
    listeners = Callbacks(callbacks)
    for bar in bars(progress, plan.epochs):
        listeners.add(bar)
    training = _Training(network, plan, LBFGS(), listeners)
    listeners.for_training(training)
    training.stepper = training.optimizer.stepper(network.machine)
    training.function, training.method, training.options = function, method, options
    with network.in_training():
        training.run()
    return finished(training)


class _Training(Minimization):
    """One call of `minimize`."""

    no_checkpoint = no_checkpoint_of("minimize")
    function: Function
    method: str
    options: dict[str, Any]

    def minimizer(self, x: np.ndarray) -> Minimizer:
        return Minimizer(x, self.method, self.options)

    def evaluate(self, samples: Samples | None, x: np.ndarray, pause: Pause) -> Evaluation:
        """The user's function at the trial point; the network is back at the accepted one then."""
        theta, layout = self.machine.theta, self.machine.layout
        accepted = theta.copy()
        try:
            layout.unflatten(x, theta)
            result = self.function(self.network)
        finally:
            theta[:] = accepted
        pause()
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise TypeError(f"function must return (value, gradient); it returned {shown(result)}")
        value = result[0].item() if isinstance(result[0], np.ndarray | np.generic) else result[0]
        value, g = as_float(value, "the value of function"), np.asarray(result[1], np.float64)
        if g.shape != x.shape:
            raise ValueError(
                f"the gradient of function must have shape (n_parameters,) = {x.shape}; "
                f"got {g.shape}"
            )
        if not np.isfinite(value) or not np.isfinite(g).all():
            return np.inf, (NO_COST, np.zeros_like(g))
        return value, (value, g)

    def _compile(self) -> None:
        """Nothing: the function decides which calls there are."""
