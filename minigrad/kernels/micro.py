"""Micro-kernels made machine code: written as LLVM instructions, kept in the cache of compiled kernels from process to process.

Compiling one takes some 30 ms, finding it again one. Numba lends its code generator, which knows the machine; its compiler
is not needed, since the instructions are there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from minigrad.jit import late
from minigrad.kernel_cache import KernelFiles

__all__ = ["machine_code"]


def machine_code(name: str, arguments: int, write: Callable[[Any, Any], None]) -> int:
    """The address of a function of so many whole numbers, in which ``write(builder, arguments)`` writes the instructions.

    The name must say everything that decides what is written. The address stays good for the life of the process.
    """
    with late("numba.core.compiler_lock").global_compiler_lock:
        codegen = late("numba.core.registry").cpu_target.target_context.codegen()
        files, key = _files(), (name, codegen.magic_tuple())
        found = files.load(key) if files else None
        if found is None:
            library = _compiled(codegen, name, arguments, write)
            if files:
                files.save(key, library.serialize_using_object_code())
        else:
            library = codegen.unserialize_library(found)
        _keep.append(library)
        return int(library.get_pointer_to_function(name))


_keep: list[Any] = []


def _compiled(codegen: Any, name: str, arguments: int, write: Callable[[Any, Any], None]) -> Any:
    ir = late("llvmlite.ir")
    library = codegen.create_library(name)
    library.enable_object_caching()
    module = library.create_ir_module(name)
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * arguments)
    function = ir.Function(module, kind, name)
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    _wide_vectors(function)
    write(builder, function.args)
    builder.ret_void()
    library.add_ir_module(module)
    library.finalize()
    return library


def _wide_vectors(function: Any) -> None:
    """LLVM splits 512-bit vectors in two on many machines unless a function asks for them whole."""
    wish = '"prefer-vector-width"="512"'
    function.attributes._known = function.attributes._known | {wish}  # llvmlite lists only attributes without a value
    function.attributes.add(wish)


@functools.cache
def _files() -> KernelFiles | None:
    """Beside the kernels that numba compiles; None where there is no writable place (they say so)."""
    try:
        return KernelFiles(late("numba.core.caching").FunctionCache(machine_code)._cache_path, "micro")
    except RuntimeError:  # numba: "no locator available"
        return None
