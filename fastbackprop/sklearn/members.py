"""Several networks of one estimator: the members of `MLPClassifier(n_networks=8)`.

Each member is an estimator of its own with one network, and a seed drawn from `random_state`. They
are trained together, and `Ensemble` takes the mean of their outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from fastbackprop.many import Ensemble
from fastbackprop.sklearn.data import Data
from fastbackprop.sklearn.fitting import Fit, train_together
from fastbackprop.training import History, Interrupted
from fastbackprop.training.trainer import diverged

OF_SAMPLES = ("n_features_in_", "feature_names_in_", "classes_", "_label_binarizer")
OF_ONE = (
    *("network_", "history_", "loss_curve_", "best_loss_", "validation_scores_"),
    *("best_validation_score_", "_built", "_before_split", "_optimizer", "_schedule"),
)
OF_SEVERAL = ("estimators_", "ensemble_")


def prepared(
    estimator: Any,
    data: Data,
    held_out: Data | None = None,
    one_pass: bool = False,
    random_state: Any = None,
) -> list[Fit]:
    """The trainings of an estimator on checked samples, one for each network.

    Arguments and errors as of `Fit`.
    """
    if random_state is None:
        random_state = check_random_state(estimator.random_state)
    if estimator._goes_on(one_pass):
        _check_number(estimator)
    else:
        several = estimator.n_networks > 1
        for name in OF_ONE if several else OF_SEVERAL:
            vars(estimator).pop(name, None)
        if several:
            estimator.estimators_ = _new(estimator, random_state)
    if estimator.n_networks == 1:
        return [Fit(estimator, data, held_out, one_pass, random_state)]
    changed = estimator.get_params(deep=False)
    del changed["n_networks"], changed["random_state"]
    for member in estimator.estimators_:
        vars(member).update(changed)
    return [Fit(member, data, held_out, one_pass) for member in estimator.estimators_]


def train(estimator: Any, fits: Sequence[Fit]) -> str | None:
    """Run the trainings of one estimator; returns why they have not converged, if so.

    Raises Interrupted, DivergenceError, and the errors of callbacks.
    """
    if estimator.n_networks == 1:
        fits[0].run()
        return fits[0].not_converged()
    try:
        histories = train_together(fits, estimator.n_threads)
    except Interrupted as interrupted:
        for fit, history in zip(fits, interrupted.history, strict=True):
            fit.estimator.history_ = history
        raise
    finally:
        estimator.ensemble_ = ensemble(estimator)
    return ended(estimator, fits, histories)


def ended(estimator: Any, fits: Sequence[Fit], histories: Sequence[History]) -> str | None:
    """The trainings of an estimator have come to their end.

    Returns why they have not converged, if so. Raises DivergenceError.
    """
    for k, (fit, history) in enumerate(zip(fits, histories, strict=True)):
        if history.ended_by == "divergence":
            member = f" of estimators_[{k}]" if estimator.n_networks > 1 else ""
            raise diverged(f"epoch {len(history) + 1}{member}", history)
        fit.end(history)
    reasons = [reason for fit in fits if (reason := fit.not_converged())]
    if estimator.n_networks > 1:
        members = estimator.estimators_
        for name in ("n_layers_", "n_outputs_", "out_activation_", "t_"):
            setattr(estimator, name, getattr(members[0], name))
        estimator.n_iter_ = max(member.n_iter_ for member in members)
        estimator.loss_ = float(np.mean([member.loss_ for member in members]))
        estimator.ensemble_ = ensemble(estimator)
    return reasons[0] if reasons else None


def ensemble(estimator: Any) -> Ensemble:
    """The mean of the members."""
    return Ensemble([member.network_ for member in estimator.estimators_])


def _new(estimator: Any, random_state: np.random.RandomState) -> list[Any]:
    parameters = estimator.get_params(deep=False) | {"n_networks": 1}
    learned = {name: vars(estimator)[name] for name in OF_SAMPLES if name in vars(estimator)}
    members = []
    for seed in random_state.randint(2**31 - 1, size=estimator.n_networks).tolist():
        member = type(estimator)(**parameters | {"random_state": seed})
        vars(member).update(learned)
        members.append(member)
    return members


def _check_number(estimator: Any) -> None:
    n = len(vars(estimator).get("estimators_", "1"))
    if n != estimator.n_networks:
        raise ValueError(
            f"the training to go on with has {n} networks; n_networks asks for "
            f"{estimator.n_networks}. For new ones fit with warm_start=False"
        )
