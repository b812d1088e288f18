"""ONNX: networks to files that other runtimes run, and dense networks of other tools from theirs.

Activations are written from the text of their formulas, with ONNX's own operators where there are:
`operators` has them.
"""

from fastbackprop.onnx.export import export, model
from fastbackprop.onnx.load import load

__all__ = ["export", "load", "model"]
