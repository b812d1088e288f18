"""scikit-learn's MLPClassifier and MLPRegressor, trained by fastbackprop (the extra `sklearn`).

`from fastbackprop.sklearn import MLPClassifier` in place of `from sklearn.neural_network import
MLPClassifier`: parameters, methods and fitted attributes are theirs. With a `random_state` the
initial weights, the split of early stopping and the order of the samples are theirs too.
docs/scikit-learn.md has the differences and the additions.

    classifier.py, regressor.py  the two estimators
    base.py                      what they share: parameters, fit, predict
    fitting.py                   one training: prepared, run, ended
    members.py                   several networks of one estimator
    parameters.py                parameters of estimators as arguments of Network and optimizers
    data.py                      X, y and weights, checked by scikit-learn; the validation split
    callbacks.py                 scikit-learn's figures of a training, and the end of one
    search.py                    searches and cross-validations in place of scikit-learn's
    together.py, tasks.py, pool.py  how these train their networks together
    stored.py                    fitted estimators as plain state
    on_dask.py                   estimators on Dask; `fastbackprop.dask` has them
    order.py                     scikit-learn's order of the samples
"""

from fastbackprop.names import missing

try:
    import sklearn.base  # noqa: F401
    from sklearn.utils.validation import validate_data as _since_1_6  # noqa: F401
except ImportError as error:
    raise missing("this needs scikit-learn 1.6 or later", "sklearn") from error

from fastbackprop.sklearn.classifier import MLPClassifier
from fastbackprop.sklearn.regressor import MLPRegressor
from fastbackprop.sklearn.search import (
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    validation_curve,
)
from fastbackprop.sklearn.stored import TRUSTED

__all__ = [
    "TRUSTED",
    "GridSearchCV",
    "HalvingGridSearchCV",
    "HalvingRandomSearchCV",
    "MLPClassifier",
    "MLPRegressor",
    "RandomizedSearchCV",
    "cross_val_predict",
    "cross_val_score",
    "cross_validate",
    "learning_curve",
    "validation_curve",
]
