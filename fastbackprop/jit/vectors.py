"""More words for tiles: sums of products of vectors, and formulas of one element.

    acc = repeated(array, offset, stride, R, C) R vectors, each in all columns of its row
    acc = add_products(acc, A, ..., B, ...)     += products of R and of C vectors, lane by lane
    square_root(x)                              of each element
    chosen(on, x, y)                            x in the lanes where a vector is positive, else y

A formula with + - * / and np.sqrt, such as the rule of an optimizer, takes tiles of one shape in
place of numbers.
"""

import operator

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from fastbackprop.jit.numba_internals import cgutils
from fastbackprop.jit.tile import (
    TileType,
    _load_vector,
    _multiply_add,
    _pointer,
    minus,
    over,
    plus,
    times,
)


@intrinsic(prefer_literal=True)
def repeated(typingctx, array, offset, stride, R, C):
    """Vectors array[offset + r stride], each in all C columns of its row, for R rows."""
    tile = TileType(array.dtype, R.literal_value, C.literal_value)

    def generate(context, builder, signature, args):
        acc = ir.Constant(context.get_value_type(tile), ir.Undefined)
        row = _pointer(context, builder, array, args[0], args[1])
        for r in range(tile.R):
            value = _load_vector(builder, row, 0, tile.dtype)
            for c in range(tile.C):
                acc = builder.insert_value(acc, value, r * tile.C + c)
            row = builder.gep(row, [args[2]])
        return acc

    return tile(array, types.intp, types.intp, R, C), generate


@intrinsic
def add_products(typingctx, tile, A, a, a_stride, B, b, b_stride):
    """acc[r, c] += A[a + r a_stride] B[b + c b_stride]: products of vectors, lane by lane."""

    def generate(context, builder, signature, args):
        def vectors(array_type, array, offset, stride, n):
            pointer = _pointer(context, builder, array_type, array, offset)
            for _ in range(n):
                yield _load_vector(builder, pointer, 0, tile.dtype)
                pointer = builder.gep(pointer, [stride])

        acc, multiply_add = args[0], _multiply_add(builder, tile.dtype)
        columns = list(vectors(B, args[4], args[5], args[6], tile.C))
        for r, x in enumerate(vectors(A, args[1], args[2], args[3], tile.R)):
            for c, y in enumerate(columns):
                i = r * tile.C + c
                value = multiply_add(x, y, builder.extract_value(acc, i))
                acc = builder.insert_value(acc, value, i)
        return acc

    index = types.intp
    return tile(tile, A, index, index, B, index, index), generate


def _on_each(name, meaning, write):
    """A function of one tile."""

    def function(typingctx, x):
        def generate(context, builder, signature, args):
            result = args[0]
            for i in range(x.R * x.C):
                value = write(builder, builder.extract_value(args[0], i), x.dtype)
                result = builder.insert_value(result, value, i)
            return result

        return x(x), generate

    function.__name__ = function.__qualname__ = name
    function.__doc__ = meaning
    return intrinsic(function)


def _sqrt(builder, value, dtype):
    name = f"llvm.sqrt.v{value.type.count}f{dtype.bitwidth}"
    function_type = ir.FunctionType(value.type, [value.type])
    function = cgutils.get_or_insert_function(builder.module, function_type, name)
    return builder.call(function, [value])


square_root = _on_each("square_root", "The square root of each element.", _sqrt)


@intrinsic
def chosen(typingctx, on, x, y):
    """x in the lanes where on, a vector, is above 0, else y."""

    def generate(context, builder, signature, args):
        condition, x, y = (builder.extract_value(value, 0) for value in args)
        nothing = ir.Constant(condition.type, [0.0] * condition.type.count)
        value = builder.select(builder.fcmp_ordered(">", condition, nothing), x, y)
        return builder.insert_value(args[1], value, 0)

    return x(on, x, y), generate


def _meaning(operation, function):
    @overload(operation)
    def _(x, y):
        if isinstance(x, TileType) and x == y:
            return lambda x, y: function(x, y)
        return None


for _operation, _function in {
    operator.add: plus,
    operator.sub: minus,
    operator.mul: times,
    operator.truediv: over,
}.items():
    _meaning(_operation, _function)


@overload(np.sqrt)
def _(x):
    if isinstance(x, TileType):
        return lambda x: square_root(x)
    return None
