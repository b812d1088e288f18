"""What Numba knows of the functions that a user has compiled with it."""

import re
from typing import Any

from numba import types

from fastbackprop.jit.numba_internals import is_linked


def can_raise(function: Any, argument_types: Any) -> bool:
    """Whether a version of a `numba.njit` function could end by an exception.

    Numba's functions return a status, and LLVM's optimiser knows where it is always 0. If the
    function cannot be found in LLVM's text, the answer is True. Kernels that are not linked
    survive exceptions, so there the answer is False.
    """
    if not is_linked():
        return False
    compiled = function.overloads[argument_types]
    name = re.escape(compiled.fndesc.llvm_func_name)
    text = compiled.library.get_llvm_str()
    body = re.search(rf'^define [^\n]*@"?{name}"?\(.*?^}}', text, re.MULTILINE | re.DOTALL)
    return body is None or {*re.findall(r"ret i32 (\S+)", body[0])} != {"0"}


def variable_types(function: Any) -> set[Any] | None:
    """Numba's types of the variables of a `numba.njit` function, in all versions of numbers so far.

    None where they are not known: machine code from a disk has none.
    """
    found: set[Any] = set()
    for argument_types, compiled in function.overloads.items():
        if any(isinstance(type_, types.Buffer) for type_ in argument_types):
            continue
        typemap = getattr(compiled.type_annotation, "typemap", None)
        if typemap is None:
            return None
        found.update(typemap.values())
    return found
