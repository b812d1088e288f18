"""Training: the methods of `Network` that change its parameters by gradient steps."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastbackprop.machine import Machine
from fastbackprop.names import names_keywords
from fastbackprop.optimizers import Optimizer
from fastbackprop.training import Dropout, EarlyStopping, History, Metrics, StepTrainer
from fastbackprop.training.dropout import as_dropout
from fastbackprop.training.fit import prepare
from fastbackprop.training.interrupted import finished, raises_interrupted
from fastbackprop.training.short_steps import ShortSteps, Unchanged
from fastbackprop.training.trainer import diverged

Function = Callable[..., Any]


class Training:
    """What `Network` inherits."""

    machine: Machine
    _rng: np.random.Generator
    _optimizer: Optimizer | None
    _n_fits = 0  # at work
    _short: "_Short | None" = None  # of `partial_fit`

    @property
    def is_training(self) -> bool:
        """Whether `fit` is at work; callbacks may ask."""
        return self._n_fits > 0

    def continue_with(self, optimizer: Optimizer | None) -> None:
        """Let `partial_fit` continue this optimizer, which has trained the network; None: none."""
        self._optimizer = optimizer

    @contextlib.contextmanager
    def in_training(self, optimizer: Optimizer | None = None) -> Iterator[None]:
        """While a training is at work, no trainer takes a step in between.

        The optimizer is the one that `partial_fit` continues.
        """
        if optimizer is not None:
            self.continue_with(optimizer)
        self._n_fits += 1
        try:
            yield
        finally:
            self._n_fits -= 1

    def take_over(self, trained: Any, optimizer: Optimizer | None = None) -> None:
        """Become what a copy of this network has become, in another process for example.

        Parameters, the generator's state and the optimizer's are taken; that of `optimizer`, where
        it is given, becomes the state of the copy's optimizer.
        """
        state = trained.__getstate__()
        self.machine.layout.unflatten(state["parameters"], self.machine.theta)
        if type(self._rng) is np.random.Generator:  # which the caller may have, too
            self._rng.bit_generator.state = state["rng"].bit_generator.state
        else:
            self._rng = state["rng"]
        self._optimizer = state["optimizer"]
        if optimizer is not None and self._optimizer is not None:
            optimizer.__setstate__(self._optimizer.__getstate__())
            self._optimizer = optimizer

    @raises_interrupted
    @names_keywords("fit")
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
        slopes: Any = None,
        slope_weight: float = 1.0,
        n_threads: int | None = None,
        missing_targets: bool = False,
    ) -> History:
        """Minimise the mean cost, from the current parameters on.

        Ctrl-C ends the training between two steps and raises `Interrupted`, a KeyboardInterrupt
        with the history so far.

        Parameters
        ----------
        X, y, sample_weight
            As for `evaluate`. Weights scale a sample's part in its minibatch's mean; a minibatch
            whose weights are all zero takes no step. Of a memory map, or what is like one, a
            minibatch at a time is read; a bad value is refused when it is read, before the step.
            Without y, X is an iterable of batches, (X, y) or (X, y, sample_weight), that begins
            anew for every epoch; a generator serves for one epoch. A bad batch is refused when it
            comes, before its step. A schedule of the learning rate that counts epochs needs batches
            with a length.
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
            way in each call. With batches also an iterable of batches, which is read once and kept
            in memory.
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
        slopes : array_like or pair, optional
            Known derivatives of the targets by the inputs (Czarnecki et al., 2017, "Sobolev
            Training for Neural Networks"), NaN where unknown: Jacobians, (n_samples, n_L, n_0),
            where n_L is 1 also (n_samples, n_0); or (directions, slopes along them), as `jet` takes
            and gives them. Half of the squared differences of each sample is added to its cost. For
            a dense X and activations as `jet_backward` needs them; not for LBFGS, batches and
            dropout.
        slope_weight : float
            Positive factor of the slopes' part of the cost.
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
        missing_targets : bool
            Whether y, also that of the validation samples, may hold NaN; see `evaluate`. Metrics
            get y as it is.

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
        Interrupted
            After Ctrl-C, unless the callback `ReturnOnInterrupt()` is there.
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
            slopes=slopes,
            slope_weight=slope_weight,
            n_threads=n_threads,
            missing_targets=missing_targets,
        )
        with self.in_training(training.optimizer):
            training.run()
        return finished(training)

    def trainer(
        self,
        optimizer: str | Optimizer = "adam",
        *,
        dropout: float | Sequence[float] | Dropout = 0.0,
        n_threads: int | None = None,
        missing_targets: bool = False,
    ) -> StepTrainer:
        """A trainer that takes steps when you ask for them: a loop of your own.

        `trainer.step(X, y)` is one step of `fit` on one minibatch, some microseconds from Python.
        `trainer.apply(gradient)` is a step with any gradient, such as one of `backward`. Arguments
        and errors as for `fit`; LBFGS takes no single steps.

        Examples
        --------
        >>> import numpy as np
        >>> import fastbackprop as fb
        >>> net = fb.Network([2, 8, 1], hidden="tanh", rng=0)
        >>> trainer, rng = net.trainer(fb.Adam(1e-2)), np.random.default_rng(0)
        >>> for _ in range(2000):
        ...     X = rng.uniform(-1, 1, (32, 2)).astype(np.float32)
        ...     cost = trainer.step(X, X[:, 0] * X[:, 1])
        >>> cost < 1e-3
        True
        """
        trainer = StepTrainer(self, optimizer, dropout, n_threads, missing_targets)
        self._optimizer = trainer.optimizer
        return trainer

    @raises_interrupted
    @names_keywords("fit")
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
        if isinstance(dropout, Dropout):
            dropout.refuse_schedule("partial_fit")
        current = self._optimizer
        if optimizer is None:
            optimizer = current or "adam"
        elif current is not None and optimizer == current.name:
            optimizer = current
        if optimizer is current is not None and n_threads in (None, 1):
            began = time.perf_counter()
            logs = self._one_step(X, y, sample_weight, batch_size, dropout, shuffle)
            if logs is not None:
                logs["seconds"] = time.perf_counter() - began
                history = History()
                history.append(logs)
                return history
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

    def _one_step(
        self, X: Any, y: Any, sample_weight: Any, batch_size: Any, dropout: Any, shuffle: Any
    ) -> dict[str, float] | None:
        """An epoch of one step with the optimizer in use, if the short way is for it."""
        assert self._optimizer is not None
        n = len(X) if type(X) is np.ndarray and X.ndim else 0
        one = batch_size is None or (type(batch_size) is int and n <= batch_size)
        if not n or not one or type(shuffle) is not bool:
            return None
        kept = self._short
        if kept is None or not (kept.unchanged(self._optimizer) and _same(kept.dropout, dropout)):
            kept = self._short = self._short_for(self._optimizer, dropout)
            if kept is None:
                return None
        try:
            cost = kept.steps.step(X, y, sample_weight, shuffle)
        except KeyboardInterrupt:
            self._short = None  # Ctrl-C may have come when its memory was lent
            raise
        if cost is None:
            return None
        if cost == np.inf:
            raise diverged("epoch 1", History())
        logs, stepper = {"cost": cost}, kept.steps.stepper
        if stepper.schedule is not None:
            logs["learning_rate"] = stepper.rate
        return logs

    def _short_for(self, optimizer: Optimizer, dropout: Any) -> "_Short | None":
        """The short steps of this optimizer, those at hand if nothing has changed."""
        machine, kept = self.machine, self._short
        optimizer.check_free_for(machine)
        stepper = optimizer.stepper(machine)
        if not ShortSteps.are_possible(machine, stepper, None):
            return None
        unchanged = Unchanged(optimizer, stepper)
        if kept is not None and kept.steps.stepper is stepper and _same(kept.dropout, dropout):
            return kept._replace(unchanged=unchanged)
        noise = as_dropout(dropout)
        rates, deviation = noise.rates(len(machine.sizes) - 1), noise.deviation()
        model = machine.engine.perturbed(machine.model, rates, deviation)
        return _Short(dropout, unchanged, ShortSteps(machine, model, stepper, self._rng))


class _Short(NamedTuple):
    """The short steps of `partial_fit`, and of which optimizer and dropout they are."""

    dropout: Any
    unchanged: Unchanged
    steps: ShortSteps


def _same(dropout: Any, other: Any) -> bool:
    """Whether two rates are the same number; of other kinds whether they are one frozen object."""
    numbers = type(dropout) is type(other) is float and dropout == other
    return numbers or (dropout is other and isinstance(dropout, Dropout))
