"""A random search whose networks are trained together, beside scikit-learn's own search.

Three ways to evaluate the same candidates on five folds, each with two jobs: the search of
`fastbackprop.sklearn`; scikit-learn's search around the same estimator, which must find the same
scores; and scikit-learn's search around scikit-learn's estimator. Run it with
`python examples/searches.py 200`, the number of candidates. It prints the milliseconds of a fit,
the minimum of three runs in turns, and how many times faster the first way is.
"""

import sys
import time
import warnings

import numpy as np
from sklearn import model_selection, neural_network
from sklearn.datasets import load_digits, make_classification
from sklearn.exceptions import ConvergenceWarning

from fastbackprop import sklearn as ours

FOLDS, EPOCHS = 5, 30


def problems():
    """X, y and the widths of the hidden layer."""
    X, y = load_digits(return_X_y=True)
    yield "digits, hidden 32 to 128", X / 16, y, np.arange(32, 129)
    X, y = make_classification(1000, 10, n_informative=6, random_state=0)
    yield "1,000 x 10, hidden 8 to 16", X, y, np.arange(8, 17)


def search(way, X, y, widths, n_candidates, n_jobs=2):
    searches, estimators = way
    candidates = {
        "hidden_layer_sizes": widths,
        "alpha": np.logspace(-5, -1, 20),
        "learning_rate_init": np.logspace(-3, -1, 20),
    }
    estimator = estimators.MLPClassifier(max_iter=EPOCHS, random_state=0)
    options = {"n_iter": n_candidates, "cv": FOLDS, "random_state": 0, "refit": False}
    return searches.RandomizedSearchCV(estimator, candidates, n_jobs=n_jobs, **options).fit(X, y)


WAYS = {
    "together": (ours, ours),
    "scikit-learn's search": (model_selection, ours),
    "theirs": (model_selection, neural_network),
}


def measured(X, y, widths, n_candidates, repetitions=3):
    """Seconds of each way; the first two must agree."""
    seconds, scores = dict.fromkeys(WAYS, np.inf), {}
    for way in WAYS.values():
        search(way, X, y, widths, 2)  # compiles, and starts processes
    for _ in range(repetitions):
        for name, way in WAYS.items():
            began = time.perf_counter()
            scores[name] = search(way, X, y, widths, n_candidates).cv_results_["mean_test_score"]
            seconds[name] = min(seconds[name], time.perf_counter() - began)
    np.testing.assert_array_equal(scores["together"], scores["scikit-learn's search"])
    return seconds


def main():
    warnings.simplefilter("ignore", ConvergenceWarning)
    n_candidates = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    for problem, X, y, widths in problems():
        seconds = measured(X, y, widths, n_candidates)
        print(f"{problem}: {n_candidates} candidates, {FOLDS} folds, {EPOCHS} epochs")
        for name, spent in seconds.items():
            each = spent / (n_candidates * FOLDS) * 1e3
            print(f"  {name:22} {each:7.1f} ms a fit  {spent / seconds['together']:5.2f}")


if __name__ == "__main__":
    main()
