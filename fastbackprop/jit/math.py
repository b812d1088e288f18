"""The meaning of the functions in `jit.words` in compiled code. Whoever compiles imports this.

Numba is told here of every formula too.
"""

import numpy as np
from numba.extending import overload, register_jitable

from fastbackprop.jit import vector_math, words
from fastbackprop.jit.vector_math import SIN_LIMIT, compile_as
from fastbackprop.jit.words import near_cos, near_sin

# LLVM by itself leaves the longer formulas as calls, and a loop around a call scalar: gelu's took
# 14 ns an element, 2 ns inlined. Numba does not inline them: it would then look for dead code and
# remove writes to an array that it does not recognise as an argument's, a field of a tuple in a
# tuple.
words.register_formulas(register_jitable(forceinline=True))

compile_as(words.plus, vector_math.plus)
compile_as(words.exp, vector_math.exp)
compile_as(words.expm1, vector_math.expm1)
compile_as(words.log, vector_math.log)
compile_as(words.log1p, vector_math.log1p)
compile_as(words.sigmoid, vector_math.sigmoid)
compile_as(words.tanh, vector_math.tanh)
compile_as(words.erf, vector_math.erf)
compile_as(words.near_sin, vector_math.sin)
compile_as(words.near_cos, vector_math.cos)


@overload(words.scalar)
def _(x):
    return lambda x: type(x)


@overload(words.where)
def _(condition, x, y):
    return lambda condition, x, y: x if condition else y


@overload(words.sin)
def _(x):
    return lambda x: near_sin(x) if abs(x) <= SIN_LIMIT else np.sin(x)


@overload(words.cos)
def _(x):
    return lambda x: near_cos(x) if abs(x) <= SIN_LIMIT else np.cos(x)
