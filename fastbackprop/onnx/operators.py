"""Activations in ONNX's operators: made from their formulas, and as other tools write them.

`written` turns a recorded formula into operators, `ways` lists all forms in which an activation is
recognised in a graph. Both use trees of `Op`.
"""

import functools
from typing import Any

import numpy as np

from fastbackprop.functions import ACTIVATIONS, elementwise, gated, softmaxes
from fastbackprop.functions import symbols as of
from fastbackprop.functions.symbols import Symbol, match, record, recorded
from fastbackprop.jit.words import sigmoid


class Op:
    """An operator on inputs: `Z`, numbers, parameters or other operators."""

    def __init__(self, type: str, *inputs: Any, **attributes: Any) -> None:
        self.type, self.inputs, self.attributes = type, inputs, attributes

    def with_values(self, values: dict[str, Any]) -> "Op":
        """The same with values in place of Z, P and Q."""

        def value(part: Any) -> Any:
            if isinstance(part, Op):
                return part.with_values(values)
            return values.get(part, part) if isinstance(part, str) else part

        attributes = {key: value(part) for key, part in self.attributes.items()}
        return Op(self.type, *map(value, self.inputs), **attributes)

    @property
    def size(self) -> int:
        """The number of operators."""
        return 1 + sum(part.size for part in self.inputs if isinstance(part, Op))


Z, P, Q = "z", "p", "q"  # the weighted input, and the parameters

# --- writing -------------------------------------------------------------------------------------

# Words that are one operator.
OPERATORS = {
    **{"add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div", "power": "Pow"},
    **{"negative": "Neg", "absolute": "Abs", "maximum": "Max", "minimum": "Min"},
    **{"cos": "Cos", "erf": "Erf", "exp": "Exp", "log": "Log", "sin": "Sin", "sqrt": "Sqrt"},
    **{"tanh": "Tanh", "where": "Where"},
    **{"greater": "Greater", "greater_equal": "GreaterOrEqual", "less": "Less"},
    **{"less_equal": "LessOrEqual", "equal": "Equal"},
    **{"logical_and": "And", "logical_or": "Or", "logical_not": "Not"},
}
# Others, of their parts.
COMPOSED: dict[str, Any] = {
    "expm1": lambda x: Op("Sub", Op("Exp", x), 1.0),
    "log1p": lambda x: Op("Log", Op("Add", 1.0, x)),
    "not_equal": lambda x, y: Op("Not", Op("Equal", x, y)),
    "largest": lambda x: Op("ReduceMax", x, axes=[1]),
    "total": lambda x: Op("ReduceSum", x, np.array([1])),
    "mean": lambda x: Op("ReduceMean", x, axes=[1]),
    "first": lambda x: Op("Gather", x, np.array([0]), axis=1),
}

# Operators of ONNX that are several words: written where a formula, or a part of it, is exactly
# the formula here. Marked are those that ONNX Runtime (1.32) has for float32 alone.
_mish = Op("Mul", Z, Op("Tanh", Op("Softplus", Z)))
_IDIOMS = [
    (sigmoid, Op("Sigmoid", Z), False),
    (elementwise.relu, Op("Relu", Z), False),
    (lambda z, p: np.minimum(np.maximum(z, p[0]), p[1]), Op("Clip", Z, P, Q), False),
    (elementwise.elu, Op("Elu", Z, alpha=P), True),
    (elementwise.celu, Op("Mul", P, Op("Elu", Op("Div", Z, P), alpha=1.0)), True),
    (elementwise.selu, Op("Selu", Z), True),
    (elementwise.softplus, Op("Softplus", Z), True),
    (gated.mish, _mish, True),
    (softmaxes.softmax, Op("Softmax", Z, axis=-1), False),
    (softmaxes.log_softmax, Op("LogSoftmax", Z, axis=-1), False),
]
SINGLE = {"Erf"}  # the operators above, too, have no float64 there


@functools.cache
def _idioms() -> list[tuple[Symbol, Op, bool]]:
    return [(record(f, (of.Z,), (of.P, of.Q), op.type), op, single) for f, op, single in _IDIOMS]


def written(root: Symbol, dtype: np.dtype) -> Any:
    """The operators of a recorded formula. Parts that it shares are one `Op`."""
    done: dict[Symbol, Any] = {of.Z: Z, of.P: P, of.Q: Q}

    def op(node: Symbol) -> Any:
        if node not in done:
            done[node] = node.value if node.word == "number" else make(node)
        return done[node]

    def make(node: Symbol) -> Any:
        for pattern, idiom, single in _idioms():
            if single and dtype != np.float32:
                continue
            found = match(pattern, node, {})
            if found is not None:
                return idiom.with_values({symbol.word: op(part) for symbol, part in found.items()})
        parts = [op(part) for part in node.parts]
        if node.word in COMPOSED:
            return COMPOSED[node.word](*parts)
        return Op(OPERATORS[node.word], *parts)

    return op(root)


# --- reading -------------------------------------------------------------------------------------

COMMUTATIVE = {"Add", "Mul", "Max"}

_cube = Op("Mul", Z, Op("Mul", Z, Z))
_gelu_tanh = Op("Tanh", Op("Mul", (2 / np.pi) ** 0.5, Op("Add", Z, Op("Mul", 0.044715, _cube))))
_hard_sigmoid = Op("HardSigmoid", Z, alpha=1 / 6, beta=0.5)

# As other tools, and earlier versions, write activations beside the way in which they are written
# here. A product's and a sum's inputs may come in either order.
OTHER_WAYS: dict[str, list[Op]] = {
    "relu": [Op("Max", Z, 0.0)],
    "leaky_relu": [Op("LeakyRelu", Z, alpha=P), Op("PRelu", Z, P)],
    "celu": [Op("Celu", Z, alpha=P)],
    "gelu": [  # the first as PyTorch writes it
        Op("Mul", 0.5, Op("Mul", Z, Op("Add", 1.0, Op("Erf", Op("Div", Z, 2**0.5))))),
        Op("Mul", 0.5, Op("Mul", Z, Op("Add", 1.0, Op("Erf", Op("Mul", Z, 0.5**0.5))))),
        Op("Gelu", Z, approximate="none"),
    ],
    "gelu_tanh": [
        Op("Mul", 0.5, Op("Mul", Z, Op("Add", 1.0, _gelu_tanh))),
        Op("Gelu", Z, approximate="tanh"),
    ],
    "silu": [Op("Swish", Z, alpha=1.0)],
    "mish": [Op("Mish", Z)],
    "softsign": [Op("Softsign", Z)],
    "hard_sigmoid": [_hard_sigmoid],
    "hard_swish": [Op("HardSwish", Z), Op("Mul", Z, _hard_sigmoid)],
    "softmax": [Op("Softmax", Z, axis=1)],
    "log_softmax": [Op("LogSoftmax", Z, axis=1), Op("Log", Op("Softmax", Z, axis=-1))],
}

# Before an activation. Its scale is a vector of ones, and P is epsilon, in float32.
LAYER_NORM = [
    Op("LayerNormalization", Z, 1.0, *shift, axis=axis, epsilon=P)
    for shift in ([], [0.0])
    for axis in (-1, 1)
]


@functools.cache
def ways() -> list[tuple[str, Any]]:
    """The name of an activation and a form of it in operators, for all; the largest forms first.

    Exp(z) is found in Exp(-z z) too: a larger form goes before one that is a part of it. The
    identity, which every value is, comes last.
    """
    found = []
    for name, activation in ACTIVATIONS.items():
        root = recorded(activation, (of.P, of.Q)[: len(activation.p)])
        here = [written(root, np.dtype(dtype)) for dtype in ("float32", "float64")]
        found += [(name, way) for way in [*here, *OTHER_WAYS.get(name, [])]]
    return sorted(found, key=lambda way: -way[1].size if isinstance(way[1], Op) else 0)
