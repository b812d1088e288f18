"""Many networks at once: training them together, and predicting with all of them.

| file | content |
|---|---|
| fit.py | `fit_many`: from its arguments to one `Trainer` for each network |
| turns.py | threads that take the epochs of these trainings in turns |
| lanes.py | an epoch of several trainings, with their networks on the lanes of vectors |
| ensemble.py | `Ensemble`: predictions of many networks |
"""

from fastbackprop.many.ensemble import Ensemble
from fastbackprop.many.fit import fit_many

__all__ = ["Ensemble", "fit_many"]
