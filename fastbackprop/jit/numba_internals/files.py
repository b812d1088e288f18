"""Machine code as the parts that a file holds, and what it depends on beside its sources."""

from typing import Any

import llvmlite

from fastbackprop.jit import numba_internals as internals


def kept(compiled: Any, linked: bool) -> tuple[Any, ...]:
    """The parts of a compiled version that make it again in another process.

    Not Numba's account of the types of all variables, which is as long as the code. LLVM's bitcode
    only of `linked` kernels: it is twice as long, and of use where callers are optimised with it.
    """
    library, fndesc = compiled.library, compiled.fndesc
    fndesc.typemap = fndesc.calltypes = None
    bitcode = library._get_module_for_linking().as_bitcode() if linked else None
    environments = tuple(compiled._find_referenced_environments())
    code = library.machine_code()
    return code, bitcode, fndesc, compiled.signature, compiled.environment, environments


def rebuilt(target_context: Any, parts: Any) -> Any:
    """The compiled version made of them."""
    code, bitcode, fndesc, signature, environment, environments = parts
    codegen = target_context.codegen()
    library = internals.Library.of(codegen, *code)
    if bitcode is not None:
        library._shared_module = llvmlite.binding.parse_bitcode(bitcode)
    entry_point = target_context.get_executable(library, fndesc, environment)
    for each in environments:
        codegen.set_env(each.env_name, each)
    return internals.compile_result(
        typing_context=target_context.typing_context,
        target_context=target_context,
        signature=signature,
        library=library,
        entry_point=entry_point,
        fndesc=fndesc,
        environment=environment,
        referenced_envs=environments,
        objectmode=False,
        lifted=(),
    )


def interpreter() -> Any:
    """What machine code knows of Python's objects: places within a function's environment."""
    return dict(getattr(internals.dynfunc, "_impl_info", {}))
