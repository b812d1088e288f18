"""The register tile: R rows of C vectors, a Numba value that LLVM keeps in registers.

Inside a kernel a tile is made, updated and stored; it has no address. The vocabulary:

    acc = zeros(array, R, C)                    of the array's dtype
    acc = load(array, offset, stride, R, C)     R x C vectors, rows a stride apart
    acc = spread(array, offset, R, C)           R elements, each in all lanes of its row
    acc = outer_along(acc, ...)                 += the sum of N outer products, factors' depth
                                                contiguous (a row of S is walked along)
    acc = outer_across(acc, ...)                += one outer product, factor's rows contiguous
    acc = plus(x, y)                            element by element; also minus, times, over, larger
    acc = scaled(x, factor)                     every element times a number
    acc = folded(x)                             one row: the sum of all rows
    prefetch(array, offset)                     fetch a cache line that is read later
    prefetch_tile(array, offset, stride, R, C)  fetch a tile that is loaded and stored later
    store(acc, array, offset, stride)
    view(array, start, n)                       array[start : start + n]
    transpose_block(source, ...)                one V x V block, in registers
    gather_block(source, rows, ...)             the same from rows anywhere, of any length
    array = elements_at(address, like, n)       n elements of the array's dtype in memory
    array = scratch(like, n)                    n elements on the stack, of the array's dtype

Offsets and strides count elements of flat arrays; a vector has V = vector_lanes(array) of them, a
constant. Loads and stores are not checked against bounds.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

from fastbackprop.jit.numba_internals import cgutils
from fastbackprop.jit.numba_internals.arrays import array_at, array_data
from fastbackprop.jit.processor import VECTOR_BYTES as VECTOR_BYTES

_ELEMENT = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}
_INDEX = ir.IntType(64)
_LANE = ir.IntType(32)


class TileType(types.Type):
    """R x C vectors of a dtype."""

    def __init__(self, dtype: Any, R: int, C: int) -> None:
        self.dtype, self.R, self.C = dtype, R, C
        super().__init__(name=f"Tile({dtype}, {R}, {C})")


@register_model(TileType)
class _TileModel(models.PrimitiveModel):
    def __init__(self, manager, tile):
        super().__init__(manager, tile, ir.ArrayType(_vector(tile.dtype), tile.R * tile.C))


def _vector(dtype: Any) -> ir.VectorType:
    return ir.VectorType(_ELEMENT[dtype], VECTOR_BYTES * 8 // dtype.bitwidth)


def _pointer(context, builder, array_type, array, offset):
    return builder.gep(array_data(context, builder, array_type, array), [offset])


def _array(context, builder, array_type, pointer, length):
    """Numba's array, (length,), of the elements there."""
    itemsize = ir.Constant(_INDEX, array_type.dtype.bitwidth // 8)
    return array_at(context, builder, array_type, pointer, length, itemsize)


def _load_vector(builder, pointer, c, dtype):
    """Vector number c from here on."""
    vector = _vector(dtype)
    place = builder.gep(pointer, [ir.Constant(_INDEX, c * vector.count)])
    value = builder.load(builder.bitcast(place, vector.as_pointer()))
    value.align = dtype.bitwidth // 8
    return value


def _store_vector(builder, value, pointer, c, dtype):
    place = builder.gep(pointer, [ir.Constant(_INDEX, c * value.type.count)])
    store = builder.store(value, builder.bitcast(place, value.type.as_pointer()))
    store.align = dtype.bitwidth // 8


def _broadcast(builder, pointer, n, dtype):
    """Element number n from here on, in every lane."""
    value = builder.load(builder.gep(pointer, [ir.Constant(_INDEX, n)]))
    return _in_all_lanes(builder, value, dtype)


def _in_all_lanes(builder, value, dtype):
    vector = _vector(dtype)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(_LANE, 0))
    lanes = ir.Constant(ir.VectorType(_LANE, vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, undefined, lanes)


def _multiply_add(builder, dtype):
    vector = _vector(dtype)
    name = f"llvm.fmuladd.v{vector.count}f{dtype.bitwidth}"
    function_type = ir.FunctionType(vector, [vector] * 3)
    function = cgutils.get_or_insert_function(builder.module, function_type, name)
    return lambda x, y, z: builder.call(function, [x, y, z])


def _add_outer(builder, tile, acc, scalars, w):
    """acc[r, c] += scalars[r] * w[c]: a (pointer, place) for each row, a pointer to C vectors."""
    multiply_add = _multiply_add(builder, tile.dtype)
    vectors = [_load_vector(builder, w, c, tile.dtype) for c in range(tile.C)]
    for r, (pointer, place) in enumerate(scalars):
        factor = _broadcast(builder, pointer, place, tile.dtype)
        for c in range(tile.C):
            i = r * tile.C + c
            value = multiply_add(factor, vectors[c], builder.extract_value(acc, i))
            acc = builder.insert_value(acc, value, i)
    return acc


@intrinsic
def vector_lanes(typingctx, array):
    """V of the array's dtype."""

    def generate(context, builder, signature, args):
        return ir.Constant(_INDEX, _vector(array.dtype).count)

    return types.intp(array), generate


@intrinsic
def view(typingctx, array, start, n):
    """array[start : start + n] of a flat array, without the checks of Numba's slices."""

    def generate(context, builder, signature, args):
        return _array(
            context, builder, array, _pointer(context, builder, array, *args[:2]), args[2]
        )

    return array(array, types.intp, types.intp), generate


@intrinsic
def elements_at(typingctx, address, like, n):
    """n elements of the array's dtype at an address, which Python has from an array it keeps."""

    def generate(context, builder, signature, args):
        element = _ELEMENT[like.dtype].as_pointer()
        return _array(context, builder, like, builder.inttoptr(args[0], element), args[2])

    return like(types.intp, like, types.intp), generate


@intrinsic(prefer_literal=True)
def zeros(typingctx, array, R, C):
    """R rows of C vectors of the array's dtype."""
    tile = TileType(array.dtype, R.literal_value, C.literal_value)

    def generate(context, builder, signature, args):
        return ir.Constant(context.get_value_type(tile), None)

    return tile(array, R, C), generate


@intrinsic(prefer_literal=True)
def load(typingctx, array, offset, stride, R, C):
    """R rows of C vectors from array[offset + r stride]."""
    tile = TileType(array.dtype, R.literal_value, C.literal_value)

    def generate(context, builder, signature, args):
        acc = ir.Constant(context.get_value_type(tile), ir.Undefined)
        row = _pointer(context, builder, array, args[0], args[1])
        for r in range(tile.R):
            for c in range(tile.C):
                value = _load_vector(builder, row, c, tile.dtype)
                acc = builder.insert_value(acc, value, r * tile.C + c)
            row = builder.gep(row, [args[2]])
        return acc

    return tile(array, types.intp, types.intp, R, C), generate


@intrinsic(prefer_literal=True)
def spread(typingctx, array, offset, R, C):
    """array[offset + r] in all lanes of row r, for R rows of C vectors."""
    tile = TileType(array.dtype, R.literal_value, C.literal_value)

    def generate(context, builder, signature, args):
        acc = ir.Constant(context.get_value_type(tile), ir.Undefined)
        pointer = _pointer(context, builder, array, args[0], args[1])
        for r in range(tile.R):
            value = _broadcast(builder, pointer, r, tile.dtype)
            for c in range(tile.C):
                acc = builder.insert_value(acc, value, r * tile.C + c)
        return acc

    return tile(array, types.intp, R, C), generate


@intrinsic
def store(typingctx, tile, array, offset, stride):
    """The rows to array[offset + r stride]."""

    def generate(context, builder, signature, args):
        row = _pointer(context, builder, array, args[1], args[2])
        for r in range(tile.R):
            for c in range(tile.C):
                value = builder.extract_value(args[0], r * tile.C + c)
                _store_vector(builder, value, row, c, tile.dtype)
            row = builder.gep(row, [args[3]])
        return context.get_dummy_value()

    return types.void(tile, array, types.intp, types.intp), generate


@intrinsic(prefer_literal=True)
def outer_along(typingctx, tile, S, s, s_stride, W, w, w_stride, N):
    """acc[r, c] += sum_{t<N} S[s + r s_stride + t] W[w + t w_stride + c V].

    N at once: addresses within a row are then constants. Sums of one processor cycle each leave no
    cycles for computing addresses.
    """

    def generate(context, builder, signature, args):
        acc = args[0]
        rows = [_pointer(context, builder, S, args[1], args[2])]
        for _ in range(1, tile.R):
            rows.append(builder.gep(rows[-1], [args[3]]))
        w_row = _pointer(context, builder, W, args[4], args[5])
        for t in range(N.literal_value):
            acc = _add_outer(builder, tile, acc, [(row, t) for row in rows], w_row)
            w_row = builder.gep(w_row, [args[6]])
        return acc

    return tile(tile, S, types.intp, types.intp, W, types.intp, types.intp, N), generate


@intrinsic
def outer_across(typingctx, tile, S, s, W, w):
    """acc[r, c] += S[s + r] W[w + c V]."""

    def generate(context, builder, signature, args):
        column = _pointer(context, builder, S, args[1], args[2])
        w_row = _pointer(context, builder, W, args[3], args[4])
        return _add_outer(builder, tile, args[0], [(column, r) for r in range(tile.R)], w_row)

    return tile(tile, S, types.intp, W, types.intp), generate


@intrinsic(prefer_literal=True)
def scratch(typingctx, array, n):
    """n elements of the array's dtype for as long as the kernel runs, (n,): on the stack."""
    result = types.Array(array.dtype, 1, "C")

    def generate(context, builder, signature, args):
        element, length = context.get_data_type(array.dtype), ir.Constant(_INDEX, n.literal_value)
        memory = cgutils.alloca_once(builder, element, size=length)
        return _array(context, builder, result, memory, length)

    return result(array, n), generate


def _larger(builder, x, y):
    return builder.select(builder.fcmp_ordered(">", x, y), x, y)


def _elementwise(name, operation, meaning):
    """An operation on two tiles of one shape."""

    def function(typingctx, x, y):
        def generate(context, builder, signature, args):
            result = args[0]
            for i in range(x.R * x.C):
                operands = (builder.extract_value(tile, i) for tile in args)
                result = builder.insert_value(result, operation(builder, *operands), i)
            return result

        return x(x, y), generate

    function.__name__ = function.__qualname__ = name
    function.__doc__ = meaning
    return intrinsic(function)


plus = _elementwise("plus", ir.IRBuilder.fadd, "x + y.")
minus = _elementwise("minus", ir.IRBuilder.fsub, "x - y.")
times = _elementwise("times", ir.IRBuilder.fmul, "x y.")
over = _elementwise("over", ir.IRBuilder.fdiv, "x / y.")
larger = _elementwise("larger", _larger, "x where it is larger than y, else y: NaN in y stays.")


@intrinsic
def scaled(typingctx, x, factor):
    """X times a number of its dtype."""

    def generate(context, builder, signature, args):
        result, factors = args[0], _in_all_lanes(builder, args[1], x.dtype)
        for i in range(x.R * x.C):
            value = builder.fmul(builder.extract_value(args[0], i), factors)
            result = builder.insert_value(result, value, i)
        return result

    return x(x, x.dtype), generate


@intrinsic
def folded(typingctx, x):
    """The sum of the rows, in pairs."""
    row = TileType(x.dtype, 1, x.C)

    def generate(context, builder, signature, args):
        result = ir.Constant(context.get_value_type(row), ir.Undefined)
        for c in range(x.C):
            parts = [builder.extract_value(args[0], r * x.C + c) for r in range(x.R)]
            while len(parts) > 1:
                pairs = zip(parts[::2], parts[1::2], strict=True)
                parts = [builder.fadd(upper, lower) for upper, lower in pairs]
            result = builder.insert_value(result, parts[0], c)
        return result

    return row(x), generate


def _prefetch(builder, pointer, write, nearness):
    """Ask for the cache line there without waiting for it. 3 is the nearest cache."""
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    function_type = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
    options = [ir.Constant(number, value) for value in (write, nearness, 1)]
    builder.call(function, [builder.bitcast(pointer, byte), *options])


@intrinsic
def prefetch(typingctx, array, offset):
    """Fetch the cache line of array[offset] into the second cache."""

    def generate(context, builder, signature, args):
        _prefetch(builder, _pointer(context, builder, array, *args), 0, 2)
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic(prefer_literal=True)
def prefetch_tile(typingctx, array, offset, stride, R, C):
    """Fetch R rows of C vectors that are loaded and stored later."""
    tile = TileType(array.dtype, R.literal_value, C.literal_value)

    def generate(context, builder, signature, args):
        row = _pointer(context, builder, array, args[0], args[1])
        for _ in range(tile.R):
            for c in range(tile.C):
                place = ir.Constant(_INDEX, c * _vector(tile.dtype).count)
                _prefetch(builder, builder.gep(row, [place]), 1, 3)
            row = builder.gep(row, [args[2]])
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, R, C), generate


def _transposed(builder, rows):
    """The V rows of a V x V block as its columns: log2(V) stages of shuffles."""
    V = len(rows)
    rows, half = list(rows), V // 2
    while half:  # exchange the off-diagonal quarters of every 2 half x 2 half block
        for r in (r for r in range(V) if not r & half):
            upper, lower = rows[r], rows[r + half]
            first = [lane if not lane & half else V + lane - half for lane in range(V)]
            second = [lane + half if not lane & half else V + lane for lane in range(V)]
            rows[r] = _shuffle(builder, upper, lower, first)
            rows[r + half] = _shuffle(builder, upper, lower, second)
        half //= 2
    return rows


def _shuffle(builder, x, y, lanes):
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(_LANE, len(lanes)), lanes))


def _store_rows(builder, rows, pointer, stride, dtype):
    for row in rows:
        _store_vector(builder, row, pointer, 0, dtype)
        pointer = builder.gep(pointer, [stride])


@intrinsic
def transpose_block(typingctx, S, s, s_stride, D, d, d_stride):
    """D[d + c d_stride + r] = S[s + r s_stride + c] for r, c < V."""
    dtype = S.dtype

    def generate(context, builder, signature, args):
        pointer = _pointer(context, builder, S, args[0], args[1])
        rows = []
        for _ in range(_vector(dtype).count):
            rows.append(_load_vector(builder, pointer, 0, dtype))
            pointer = builder.gep(pointer, [args[2]])
        target = _pointer(context, builder, D, args[3], args[4])
        _store_rows(builder, _transposed(builder, rows), target, args[5], dtype)
        return context.get_dummy_value()

    index = types.intp
    return types.void(S, index, index, D, index, index), generate


@intrinsic
def gather_block(typingctx, S, s, s_stride, rows, n, D, d, d_stride):
    """D[d + c d_stride + r] = S[s + rows[r] s_stride + c] for r < V, c < n; 0 for n <= c < V.

    Nothing behind the n elements of a row is read. S may have any number of dimensions.
    """
    dtype = S.dtype

    def generate(context, builder, signature, args):
        vector = _vector(dtype)
        V, width = vector.count, _INDEX
        numbers = ir.Constant(ir.VectorType(width, V), list(range(V)))
        undefined = ir.Constant(ir.VectorType(width, V), ir.Undefined)
        n = builder.insert_element(undefined, args[4], ir.Constant(_LANE, 0))
        n = _shuffle(builder, n, undefined, [0] * V)
        mask = builder.icmp_signed("<", numbers, n)
        zeros = ir.Constant(vector, [0.0] * V)
        source = _pointer(context, builder, S, args[0], args[1])
        row = _pointer(context, builder, rows, args[3], ir.Constant(_INDEX, 0))
        block = []
        for r in range(V):
            start = builder.load(builder.gep(row, [ir.Constant(_INDEX, r)]))
            pointer = builder.gep(source, [builder.mul(start, args[2])])
            block.append(_masked_load(builder, pointer, mask, zeros, dtype))
        target = _pointer(context, builder, D, args[5], args[6])
        _store_rows(builder, _transposed(builder, block), target, args[7], dtype)
        return context.get_dummy_value()

    index = types.intp
    return types.void(S, index, index, rows, index, D, index, index), generate


def _masked_load(builder, pointer, mask, otherwise, dtype):
    vector = otherwise.type
    pointer = builder.bitcast(pointer, vector.as_pointer())
    align = ir.Constant(ir.IntType(32), dtype.bitwidth // 8)
    arguments = [pointer, align, mask, otherwise]
    name = f"llvm.masked.load.v{vector.count}f{dtype.bitwidth}.p0"
    function_type = ir.FunctionType(vector, [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(builder.module, function_type, name)
    return builder.call(function, arguments)
