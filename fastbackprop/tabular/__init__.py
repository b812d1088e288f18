"""Estimators for tables: a frame goes in, a calibrated model comes out (the extra `tabular`).

classifier.py, regressor.py  TabularClassifier, TabularRegressor
base.py                      what they share
frames.py                    frames, matrices and sparse matrices as columns
plan.py                      which features each column gives
features.py                  features, with NumPy alone
preprocessor.py              a plan as a transformer of scikit-learn
folds.py, recipe.py          folds; sizes, epochs and rates
groups.py, budget.py         networks trained together; what fits into a time
blend.py, intervals.py       calibration; conformal intervals
importance.py, export.py     permutation importances; ONNX and NumPy files
"""

from fastbackprop.names import missing

try:
    import pandas as _pandas  # noqa: F401
    from sklearn.utils.validation import validate_data as _since_1_6  # noqa: F401
except ImportError as error:
    raise missing("this needs scikit-learn 1.6 or later and pandas", "tabular") from error

from fastbackprop.tabular.classifier import TabularClassifier
from fastbackprop.tabular.preprocessor import Preprocessor
from fastbackprop.tabular.regressor import TabularRegressor

__all__ = ["Preprocessor", "TabularClassifier", "TabularRegressor"]
