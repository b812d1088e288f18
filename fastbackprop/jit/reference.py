"""Named tuples in memory, passed from kernel to kernel as one pointer.

Numba passes a tuple of arrays as some hundred numbers, one argument each, at every call.
"""

from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import infer_getattr, intrinsic, lower_getattr_generic, models, register_model

from fastbackprop.jit.kernels import in_python
from fastbackprop.jit.numba_internals import AttributeTemplate, as_dtype, cgutils
from fastbackprop.jit.numba_internals.arrays import array_bytes, array_data


class ReferenceType(types.Type):
    """The type of a reference to a named tuple."""

    def __init__(self, to: types.BaseNamedTuple) -> None:
        self.to = to
        super().__init__(name=f"Reference({to})")

    def place(self, field: str) -> int:
        """The number of the field of this name."""
        return self.to.fields.index(field)


@register_model(ReferenceType)
class _ReferenceModel(models.PrimitiveModel):
    def __init__(self, manager, reference):
        super().__init__(manager, reference, manager[reference.to].get_data_type().as_pointer())


@infer_getattr
class _ReferenceAttribute(AttributeTemplate):
    key = ReferenceType

    def generic_resolve(self, reference, name):
        if name not in reference.to.fields:
            return None
        field = reference.to[reference.place(name)]
        return ReferenceType(field) if isinstance(field, types.BaseNamedTuple) else field


@lower_getattr_generic(ReferenceType)
def _get_field(context, builder, reference, pointer, name):
    place = reference.place(name)
    field, at = reference.to[place], cgutils.gep_inbounds(builder, pointer, 0, place)
    if isinstance(field, types.BaseNamedTuple):
        return at
    model = context.data_model_manager[field]
    return model.from_data(builder, _loaded(builder, at, model.get_data_type()))


def _loaded(builder, pointer, type_):
    """A value from memory, number by number: LLVM drops the unused ones."""
    if not isinstance(type_, ir.Aggregate):
        return builder.load(pointer)
    value = ir.Constant(type_, ir.Undefined)
    for i, element in enumerate(type_.elements):
        at = cgutils.gep_inbounds(builder, pointer, 0, i)
        value = builder.insert_value(value, _loaded(builder, at, element), i)
    return value


def _store(builder, value, pointer):
    if not isinstance(value.type, ir.Aggregate):
        builder.store(value, pointer)
        return
    for i in range(len(value.type.elements)):
        at = cgutils.gep_inbounds(builder, pointer, 0, i)
        _store(builder, builder.extract_value(value, i), at)


@in_python(lambda value: value)
@intrinsic
def reference(typing_context, value):
    """A reference to a copy of a named tuple, valid for as long as the call that made it.

    It has the tuple's fields; fields that are named tuples are references too.
    """

    def generate(context, builder, signature, args):
        data = context.data_model_manager[value].as_data(builder, args[0])
        pointer = cgutils.alloca_once(builder, data.type)
        _store(builder, data, pointer)
        return pointer

    return ReferenceType(value)(value), generate


@in_python(lambda value: value)
@intrinsic
def referred(typing_context, reference):
    """The named tuple that a reference refers to."""

    def generate(context, builder, signature, args):
        model = context.data_model_manager[reference.to]
        return model.from_data(builder, _loaded(builder, args[0], model.get_data_type()))

    return reference.to(reference), generate


def reference_type(value: Any) -> ReferenceType:
    """The type of a reference to a tuple of this kind."""
    return ReferenceType(numba.typeof(value))


# --- tuples that outlive the call that made them --------------------------------------------------
# Numba takes some microseconds to read a tuple of arrays from Python, and next to nothing for one
# array. So a tuple that many calls share is stored in an array once. The array's dtype tells which
# tuple it is, and Python has to keep the arrays of the tuple alive.


@intrinsic
def stored(typing_context, memory, value):
    """Store a named tuple in an array, unless it is too short; the bytes needed."""

    def generate(context, builder, signature, args):
        data = context.data_model_manager[value].as_data(builder, args[1])
        size = ir.Constant(ir.IntType(64), context.get_abi_sizeof(data.type))
        space = array_bytes(context, builder, memory, args[0])
        with builder.if_then(builder.icmp_signed(">=", space, size)):
            start = array_data(context, builder, memory, args[0])
            _store(builder, data, builder.bitcast(start, data.type.as_pointer()))
        return size

    return types.int64(memory, value), generate


def reference_in(type_of: Callable[[Any], ReferenceType]) -> Any:
    """An intrinsic, array -> a reference to the tuple in it; `type_of` its dtype is the type."""

    @intrinsic
    def reference_in_array(typing_context, memory):
        type_ = type_of(as_dtype(memory.dtype))

        def generate(context, builder, signature, args):
            data = array_data(context, builder, memory, args[0])
            return builder.bitcast(data, context.get_value_type(type_))

        return type_(memory), generate

    return reference_in_array


def setter(field: str) -> Any:
    """An intrinsic, (reference, value): the field of this name becomes the value."""

    @intrinsic
    def set_field(typing_context, reference, value):
        place = reference.place(field)

        def generate(context, builder, signature, args):
            data = context.data_model_manager[value].as_data(builder, args[1])
            _store(builder, data, cgutils.gep_inbounds(builder, args[0], 0, place))
            return context.get_dummy_value()

        return types.void(reference, value), generate

    return set_field
