"""Calls by address.

The activations and the cost of a network, an optimiser's rule and others reach kernels as numbers:
each is compiled by itself when first used, and the code that calls it once for all of them, a
user's own included.
"""

from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbackprop.jit.kernels import in_python
from fastbackprop.jit.numba_internals import call_code, code_address, is_linked

_python_functions: list[Callable] = []
_callbacks: dict[Any, Any] = {}  # of kernels that are plain Numba functions


def address(function: Any, *argument_types: Any) -> int:
    """The number by which `call` finds a kernel (without result) for arguments of these types."""
    if numba.config.DISABLE_JIT:
        if function not in _python_functions:
            _python_functions.append(function)
        return _python_functions.index(function)
    if is_linked():
        function.compile(argument_types)
    if is_linked():  # still, after the first compilation
        return code_address(function, argument_types)
    key = function, argument_types
    if key not in _callbacks:
        compiled = numba.cfunc(types.void(*argument_types), **function.plain_options)
        _callbacks[key] = compiled(function.py_func)
    return int(_callbacks[key].address)


@in_python(lambda address, arguments: _python_functions[address](*arguments))
@intrinsic
def call(typing_context, address, arguments):
    """Call the kernel with this address."""
    argument_types = [types.unliteral(type_) for type_ in arguments.types]

    def generate(context, builder, signature, args):
        number, values = args
        values = [
            context.cast(builder, builder.extract_value(values, i), given, expected)
            for i, (given, expected) in enumerate(zip(arguments.types, argument_types, strict=True))
        ]
        if is_linked():
            call_code(context, builder, number, argument_types, values)
        else:
            result, *parts = map(context.get_value_type, (types.none, *argument_types))
            function = builder.inttoptr(number, ir.FunctionType(result, parts).as_pointer())
            builder.call(function, values)
        return context.get_dummy_value()

    return types.void(types.int64, arguments), generate
