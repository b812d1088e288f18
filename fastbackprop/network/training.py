"""Training: the methods of `Network` that change its parameters by gradient steps."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fastbackprop.names import names_keywords
from fastbackprop.optimizers import Optimizer
from fastbackprop.training import Dropout, EarlyStopping, History, Metrics
from fastbackprop.training.fit import prepare
from fastbackprop.training.interrupted import finished, raises_interrupted

Function = Callable[..., Any]


class Training:
    """What `Network` inherits."""

    _optimizer: Optimizer | None

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
        n_threads: int | None = None,
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
            comes, before its step. The learning rate may then be a function of the step or
            `Plateau`.
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
            n_threads=n_threads,
        )
        self._optimizer = training.optimizer
        training.run()
        return finished(training)

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
