"""scikit-learn's MLPClassifier."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from fastbackprop.commands import require
from fastbackprop.commands.work import (
    ADAM_RATE,
    BETA_1,
    BETA_2,
    EPSILON,
    NOT_INSTALLED,
    SGD_RATE,
    System,
    Unavailable,
    Work,
    flat,
    repeated,
)

# Its Adam adds epsilon to sqrt(v) before the bias correction. In the first steps that is a larger
# share of the gradient: 2e-2 over 18 steps has been seen, in either dtype, and 5e-7 with an epsilon
# of 1e-12.
ADAM_TOLERANCE = 5e-2


def _classifier(work: Work) -> Any:
    """An MLPClassifier that knows its classes and has the initial weights."""
    if work.activation == "gelu":
        raise Unavailable("has no gelu")
    if work.sizes[-1] == 2:
        raise Unavailable("has one output, not two, for two classes")
    classifier = require("sklearn.neural_network", NOT_INSTALLED).MLPClassifier(
        work.sizes[1:-1],
        activation=work.activation,
        solver=work.optimizer,
        alpha=0,
        momentum=0,
        nesterovs_momentum=False,
        learning_rate_init=SGD_RATE if work.optimizer == "sgd" else ADAM_RATE,
        beta_1=BETA_1,
        beta_2=BETA_2,
        epsilon=EPSILON,
        batch_size=work.batch_size,
        shuffle=False,
    )
    first = [values[: work.batch_size] for values in work.data]
    classifier.partial_fit(*first, classes=np.arange(work.sizes[-1]))
    _set_weights(classifier, work)
    return classifier


def _set_weights(classifier: Any, work: Work) -> None:
    present = zip(classifier.coefs_, classifier.intercepts_, strict=True)
    for arrays, starts in zip(present, work.layers, strict=True):
        for values, start in zip(arrays, starts, strict=True):
            values[...] = start


def train(work: Work) -> System:
    """`partial_fit`: one epoch from the present weights."""
    classifier = _classifier(work)

    def reset() -> None:
        _set_weights(classifier, work)
        vars(classifier).pop("_optimizer", None)  # it holds Adam's moments

    def result() -> np.ndarray:
        return flat(zip(classifier.coefs_, classifier.intercepts_, strict=True))

    tolerance = ADAM_TOLERANCE if work.optimizer == "adam" else 0.0
    return System(partial(classifier.partial_fit, *work.data), result, reset, tolerance)


def one_of_many(work: Work) -> System:
    """`partial_fit` of the first network: the others take as long, one after the other."""
    system = train(replace(work, task="train", networks=1))
    return replace(system, share=1 / work.networks)


def predict(work: Work) -> System:
    """`predict_proba`."""
    return repeated(work, partial(_classifier(work).predict_proba, work.data[0]))
