"""Ways out of this package and into it: one file for each format, one table of functions in each.

A table says how the format writes each activation, under the activation's name: to add one is one
line. What a format lacks is refused with a list of what it has.
"""

from fastbackprop.formats.c_source import write_c
from fastbackprop.formats.numpy_source import write_numpy

__all__ = ["write_c", "write_numpy"]
