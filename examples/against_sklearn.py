"""Cross-validated score and time of `fastbackprop.sklearn` and scikit-learn.

Both use their default settings behind a StandardScaler, the same folds and seeds, and one thread.
The script prints the table of docs/scikit-learn.md. Run it with
`python examples/against_sklearn.py`; it takes several minutes, most of them in scikit-learn.
"""

import warnings
from time import perf_counter

import numpy as np
from sklearn import datasets, neural_network
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_limits

from fastbackprop import sklearn as ours

DATA = {
    "digits": ("MLPClassifier", datasets.load_digits),
    "breast_cancer": ("MLPClassifier", datasets.load_breast_cancer),
    "wine": ("MLPClassifier", datasets.load_wine),
    "diabetes": ("MLPRegressor", datasets.load_diabetes),
    "diabetes, targets scaled": ("MLPRegressor", datasets.load_diabetes),
}
SEEDS = range(5)
FOLDS = 5


def models(kind, **options):
    """Systems by name, as functions of the seed."""
    options = {"n_threads": 1} | options
    in_float32 = FunctionTransformer(np.float32)
    return {
        "scikit-learn": lambda seed: make_pipeline(
            StandardScaler(), getattr(neural_network, kind)(random_state=seed)
        ),
        "fastbackprop": lambda seed: make_pipeline(
            StandardScaler(), getattr(ours, kind)(random_state=seed, **options)
        ),
        "fastbackprop, float32": lambda seed: make_pipeline(
            StandardScaler(), in_float32, getattr(ours, kind)(random_state=seed, **options)
        ),
    }


def cross_validated(data, seeds=SEEDS, folds=FOLDS, **options):
    """For each system: scores and seconds per fit, (2, seeds, folds)."""
    kind, load = DATA[data]
    X, y = load(return_X_y=True)
    if data.endswith("targets scaled"):
        y = (y - y.mean()) / y.std()
    splitter = StratifiedKFold if kind == "MLPClassifier" else KFold
    systems = models(kind, **options)
    results = {name: np.zeros((2, len(seeds), folds)) for name in systems}
    for name in systems:
        systems[name](0).fit(X, y)  # compiles
    for i, seed in enumerate(seeds):
        split = splitter(folds, shuffle=True, random_state=seed).split(X, y)
        for k, (train, test) in enumerate(split):
            for name in systems:  # in turns: other work on the machine affects all systems alike
                model = systems[name](seed)
                began = perf_counter()
                model.fit(X[train], y[train])
                seconds = perf_counter() - began
                results[name][:, i, k] = model.score(X[test], y[test]), seconds
    return results


def main():
    warnings.simplefilter("ignore", ConvergenceWarning)  # 200 epochs are the default of both
    systems = "scikit-learn | fastbackprop"
    print(f"| data | score: {systems} | seconds: {systems} | in float32 |\n|{'---|' * 6}")
    for data in DATA:
        with threadpool_limits(1):
            theirs, ours_, in_float32 = cross_validated(data).values()
        scores = [scores.mean(axis=1) for scores, _ in (theirs, ours_)]
        cells = [f"{of_seeds.mean():.4f} ± {of_seeds.std(ddof=1):.4f}" for of_seeds in scores]
        first, *others = (np.median(seconds) for _, seconds in (theirs, ours_, in_float32))
        cells.append(f"{first:.3f}")
        cells += [f"{second:.3f} ({first / second:.1f}x)" for second in others]
        print(f"| {data} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
