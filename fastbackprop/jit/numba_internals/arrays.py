"""Arrays as LLVM's values."""

from typing import Any

from fastbackprop.jit.numba_internals import make_array, populate_array


def array_data(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    """The pointer to an array's first element."""
    return make_array(array_type)(context, builder, array).data


def array_bytes(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    """The bytes of a contiguous array."""
    fields = make_array(array_type)(context, builder, array)
    return builder.mul(fields.nitems, fields.itemsize)


def array_at(
    context: Any, builder: Any, array_type: Any, pointer: Any, length: Any, itemsize: Any
) -> Any:
    """A contiguous array, (length,), of the elements there."""
    array = make_array(array_type)(context, builder)
    populate_array(array, pointer, [length], [itemsize], itemsize, None)
    return array._getvalue()
