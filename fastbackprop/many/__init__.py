"""Many networks at once: training them together.

fit.py    fit_many, from its arguments to one `Trainer` for each network
turns.py  threads that take the epochs of these trainings in turns
"""

from fastbackprop.many.fit import fit_many

__all__ = ["fit_many"]
