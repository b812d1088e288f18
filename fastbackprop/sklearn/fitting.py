"""One training of an estimator: prepared, run by `Network.fit` or beside others, ended."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils import check_random_state

from fastbackprop.formats.sklearn import OUTPUT
from fastbackprop.inputs import positive_integer
from fastbackprop.network import Network
from fastbackprop.sklearn import parameters
from fastbackprop.sklearn.callbacks import Monitor, Tasks
from fastbackprop.sklearn.data import Data, split
from fastbackprop.sklearn.on_client import fit_many_of
from fastbackprop.sklearn.order import Order, first_draw, in_state
from fastbackprop.training import History, Interrupted
from fastbackprop.training.dropout import as_dropout

NOT_CONVERGED = {  # by the end of a training, as its History has it
    "epochs": "{max_iter} epochs (max_iter) did not suffice",
    "max_evaluations": "{max_fun} calls of the function (max_fun) did not suffice",
    "line_search": "lbfgs finds no lower cost along its last direction; scaling X might help",
}


class Fit:
    """A training on checked samples. It is prepared when it is made; `run` it, or `end` it.

    Attributes
    ----------
    estimator : MLP
        It has `network_`, a new one or the one to go on with.
    data : Data
        The training samples, without those that early stopping sets aside.
    monitor : Monitor
        `monitor.began` is true when the estimator has changed for good.
    arguments : dict
        Those of `Network.fit` beside the samples.

    Raises
    ------
    ValueError, TypeError
        For parameters that make no sense, or that the network to go on with does not have.
    """

    def __init__(
        self,
        estimator: Any,
        data: Data,
        held_out: Data | None = None,
        one_pass: bool = False,
        random_state: Any = None,
    ) -> None:
        self.estimator, self.one_pass = estimator, one_pass
        if random_state is None:
            random_state = check_random_state(estimator.random_state)
        architecture = _architecture(estimator, data)
        if estimator._goes_on(one_pass):
            _check_fits(estimator, architecture)
            random_state = _after_weights(*estimator._before_split)  # the same split again
        else:
            _begin(estimator, architecture, data.X.dtype, random_state)
        if held_out is None and estimator._stops_early():
            by_class = is_classifier(estimator) and architecture["sizes"][-1] == 1
            data, held_out = split(data, estimator.validation_fraction, random_state, by_class)
        n = data.n
        batch_size = estimator._samples_per_step(n)
        # Theirs is alpha / 2 ||W||^2 for the whole minibatch, whose cost is then divided by its
        # total weight; ours is added to the mean cost. The average minibatch stands for each.
        s = data.s if data.rows is None or data.s is None else data.s[data.rows]
        mean_weight = 1.0 if s is None else float(np.mean(s)) or 1.0
        penalty = estimator.alpha / (batch_size * mean_weight)
        self.data = data
        self.monitor = Monitor(estimator, n, batch_size, penalty, held_out)
        self.arguments = self._arguments(batch_size)

    def _arguments(self, batch_size: int) -> dict[str, Any]:
        estimator, held_out = self.estimator, self.monitor.held_out
        epochs = 1 if self.one_pass else estimator.max_iter
        listeners = [self.monitor, *_as_list(estimator.callbacks)]
        if not self.one_pass and getattr(estimator, "_skl_callbacks", None):
            listeners.append(Tasks(estimator, self.data, epochs))
        estimator._schedule = parameters.schedule(estimator, estimator._schedule)
        estimator._optimizer = parameters.optimizer(
            estimator, self.monitor.l2, estimator._schedule, estimator._optimizer
        )
        return {
            "epochs": epochs,
            "batch_size": None if parameters.is_lbfgs(estimator.solver) else batch_size,
            "optimizer": estimator._optimizer,
            "validation": None if held_out is None else (held_out.X, held_out.Y, held_out.s),
            "shuffle": estimator.shuffle,
            "callbacks": listeners,
            "metrics": None if held_out is None else {"score": self.monitor.score},
            "dropout": as_dropout(estimator.dropout),
            "missing_targets": estimator.missing_targets,
        }

    def run(self) -> None:
        """Train, and end."""
        estimator = self.estimator
        try:
            history = estimator._call_fit(self.data, **self.arguments)
        except Interrupted as interrupted:
            estimator.history_ = interrupted.history
            raise
        self.end(history)

    def end(self, history: History) -> None:
        """The training has come to its end."""
        estimator = self.estimator
        estimator.history_ = history
        if parameters.is_lbfgs(estimator.solver):
            self.monitor.at_the_end(estimator._cost(self.data))

    def not_converged(self) -> str | None:
        """Why scikit-learn warns after this training, if it does."""
        ended_by = self.estimator.history_.ended_by
        if self.one_pass or self.monitor.converged or ended_by not in NOT_CONVERGED:
            return None
        reason = NOT_CONVERGED[ended_by].format(**self.estimator.get_params(deep=False))
        return f"{reason}: the training has not converged yet"


def train_together(
    fits: Sequence[Fit], n_threads: int | None = None, client: Any = None
) -> list[History]:
    """Train all at once, each with the bits of its own `run`; `end` is left to do.

    With a client its cluster trains them. One that diverges says so in its history. Raises
    Interrupted, and the errors of callbacks and of the cluster.
    """
    columns = {name: [fit.arguments[name] for fit in fits] for name in fits[0].arguments}
    of_each = [fit.estimator.n_threads for fit in fits]
    if n_threads is None and None not in of_each:
        n_threads = max(of_each)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "training diverged", RuntimeWarning)
        return fit_many_of(client)(
            [fit.estimator.network_ for fit in fits],
            [fit.data.X for fit in fits],
            [fit.data.Y for fit in fits],
            rows=[fit.data.rows for fit in fits],
            sample_weight=[fit.data.s for fit in fits],
            optimizers=columns.pop("optimizer"),
            n_threads=n_threads,
            **columns,
        )


def _architecture(estimator: Any, data: Data) -> dict[str, Any]:
    """Arguments of `Network`."""
    output, cost = estimator._output_and_cost()
    n_hidden = [
        positive_integer(n, f"hidden_layer_sizes[{i}]")
        for i, n in enumerate(np.atleast_1d(estimator.hidden_layer_sizes).tolist())
    ]
    return {
        "sizes": (data.X.shape[1], *n_hidden, estimator._n_outputs(data.Y)),
        "hidden": parameters.hidden(estimator.activation),
        "output": output,
        "cost": cost,
        "engine": estimator.engine,
    }


def _check_fits(estimator: Any, architecture: dict[str, Any]) -> None:
    for name, value in architecture.items():
        if value != estimator._built[name]:
            raise ValueError(
                f"the network to go on with has {name} {estimator._built[name]}; parameters, X "
                f"and y ask for {value}. For a new one fit with warm_start=False"
            )


def _begin(estimator: Any, architecture: dict[str, Any], dtype: Any, random_state: Any) -> None:
    """A new network, with scikit-learn's initial parameters, and no history."""
    seed = estimator.random_state
    bits = None
    if isinstance(seed, Integral):  # `random_state` is new; to ask for its state takes long
        bits = np.random.PCG64(_first_draw(int(seed)))
    else:
        seed = random_state.get_state(legacy=False)
    rng = Order(random_state, bits)
    network = Network(**architecture, init="zeros", dtype=dtype, rng=rng)
    estimator._built, estimator._before_split = architecture, (seed, network.n_parameters)
    factor = 2 if architecture["hidden"] == "sigmoid" else 6
    for W, b in zip(network.weights, network.biases, strict=True):
        bound = np.sqrt(factor / sum(W.shape))
        W[...] = random_state.uniform(-bound, bound, W.shape)
        b[...] = random_state.uniform(-bound, bound, b.shape)
    estimator.network_ = network
    estimator.n_layers_, estimator.n_outputs_ = len(network.sizes), network.sizes[-1]
    estimator.out_activation_ = OUTPUT.get(network.output, network.output)
    estimator.t_ = 0
    estimator.loss_curve_ = []
    estimator.best_loss_ = None if estimator._stops_early() else np.inf
    estimator.validation_scores_ = estimator.best_validation_score_ = None
    estimator._optimizer = estimator._schedule = None


@functools.lru_cache(maxsize=64)
def _first_draw(seed: int) -> int:
    """What `Order` draws from a new generator."""
    return first_draw(np.random.RandomState(seed))


def _after_weights(seed: Any, n_parameters: int) -> np.random.RandomState:
    """A generator of this seed, or in this state, when it has drawn the initial parameters."""
    random_state = in_state(seed) if isinstance(seed, dict) else check_random_state(seed)
    random_state.random_sample(n_parameters)
    return random_state


def _as_list(callbacks: Any) -> list[Any]:
    single = callable(callbacks) or not isinstance(callbacks, Iterable)
    return [callbacks] if single else list(callbacks)
