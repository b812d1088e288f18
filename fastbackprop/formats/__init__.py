"""Ways out of this package and into it: one file for each format.

Formats stand below `Network`: writers ask a network for its public attributes, readers return a
`dense.Dense`, of which `Network` makes itself. C and NumPy files are written from the text of the
activations' formulas; PyTorch and scikit-learn know activations by name, in a table in each file.
"""

from fastbackprop.formats.c_source import write_c
from fastbackprop.formats.numpy_source import write_numpy

__all__ = ["write_c", "write_numpy"]
