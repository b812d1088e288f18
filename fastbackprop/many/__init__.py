"""Many networks at once: training them together, and predicting with all of them.

| file | content |
|---|---|
| fit.py | `fit_many`: from its arguments to one `Trainer` for each network |
| turns.py | threads that take the epochs of these trainings in turns |
| lanes.py | epochs of several trainings, with their networks on the lanes of vectors |
| choice.py | which networks are faster on lanes |
| ensemble.py | `Ensemble`: predictions of many networks, files, training on bags |
| parts.py | its members, on lanes or single |
| bags.py | bootstrap samples and folds |
"""

from fastbackprop.many.ensemble import Ensemble
from fastbackprop.many.fit import fit_many

__all__ = ["Ensemble", "fit_many"]
