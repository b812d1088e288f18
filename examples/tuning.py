"""Hyper-parameters by Optuna, a batch of trials at a time.

Optuna's sampler is asked for a batch of trials; the networks of all trials and folds are trained
together by `fb.fit_many`, and the sampler is told the scores. `constant_liar` keeps the trials of a
batch apart. Run it with `python examples/tuning.py` (it needs Optuna and scikit-learn); it prints
the best trials, and the time of the same trials one after the other.
"""

import time

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from sklearn.datasets import load_breast_cancer

import fastbackprop as fb

SPACE = {
    "width": IntDistribution(4, 16, step=4),
    "activation": CategoricalDistribution(["relu", "tanh", "gelu"]),
    "rate": FloatDistribution(1e-3, 1e-1, log=True),
    "beta": FloatDistribution(0.5, 0.95),
}
FOLDS = 5


def data():
    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    return X.astype(np.float32), y


def network(parameters, X):
    sizes = [X.shape[1], parameters["width"], 1]
    activation = parameters["activation"]
    return fb.Network(sizes, hidden=activation, output="sigmoid", cost="cross_entropy", rng=0)


def optimizer(parameters):
    return fb.Adam(parameters["rate"], betas=(parameters["beta"], 0.999))


def folds(X):
    """Training and validation rows of each."""
    fold = np.random.default_rng(0).permutation(len(X)) % FOLDS
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(FOLDS)]


def scores(batch, X, y, epochs):
    """The mean accuracy over the folds, for each dict of parameters."""
    jobs = [(parameters, *rows) for parameters in batch for rows in folds(X)]
    histories = fb.fit_many(
        [network(parameters, X) for parameters, *_ in jobs],
        X,
        y,
        rows=[train for _, train, _ in jobs],
        validation=[(X[test], y[test]) for *_, test in jobs],
        optimizers=[optimizer(parameters) for parameters, *_ in jobs],
        metrics="accuracy",
        epochs=epochs,
        batch_size=32,
    )
    last = [history["validation_accuracy"][-1] for history in histories]
    return np.reshape(last, (len(batch), FOLDS)).mean(axis=1)


def score_alone(parameters, X, y, epochs):
    """The same for one dict, by `fit` of each network."""
    last = []
    for train, test in folds(X):
        history = network(parameters, X).fit(
            X[train],
            y[train],
            validation=(X[test], y[test]),
            optimizer=optimizer(parameters),
            metrics="accuracy",
            epochs=epochs,
            batch_size=32,
        )
        last.append(history["validation_accuracy"][-1])
    return np.mean(last)


def search(X, y, n_batches, batch_size, epochs):
    """The study, and the seconds that the trainings took."""
    sampler = optuna.samplers.TPESampler(seed=0, constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    seconds = 0.0
    for _ in range(n_batches):
        trials = [study.ask(SPACE) for _ in range(batch_size)]
        began = time.perf_counter()
        values = scores([trial.params for trial in trials], X, y, epochs)
        seconds += time.perf_counter() - began
        for trial, value in zip(trials, values, strict=True):
            study.tell(trial, value)
    return study, seconds


def main():
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    X, y = data()
    epochs = 20
    search(X[:100], y[:100], 1, 2, 1)  # compiles
    study, together = search(X, y, 4, 16, epochs)
    for trial in sorted(study.trials, key=lambda trial: -trial.value)[:5]:
        print(f"{trial.value:.4f}  {trial.params}")
    began = time.perf_counter()
    for trial in study.trials:
        assert score_alone(trial.params, X, y, epochs) == trial.value  # the same bits
    alone = time.perf_counter() - began
    print(f"{len(study.trials)} trials of {FOLDS} folds: {together:.1f} s in batches of 16")
    print(f"{alone:.1f} s by fit of each network")


if __name__ == "__main__":
    main()
