"""A kernel's parallel loops as functions of their own, and the one call that hands each thread its share of the turns.

Numba has parallel loops, too, but compiles each of them with a machinery that takes a second or more, beside the same loop
for one thread. Here ``for i in prange(n): ...`` becomes ``loop(begin, end, ...)``, which is compiled once and called by
all threads; what starts them is numba's own ``parallel_for``, whichever of its schedulers (OpenMP, TBB, workqueue) there is.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import textwrap
import types
from collections.abc import Callable
from typing import Any

__all__ = ["in_parallel", "launcher", "outlined"]


def outlined(function: Callable[..., Any]) -> tuple[types.CodeType, dict[str, types.CodeType]]:
    """The code of a function with its parallel loops taken out, and that of each loop.

    The function takes two arguments more, before its own: the address of what starts threads (0: nothing does) and how many
    there are. A loop takes where its turns begin and end, and the variables of the function that it reads. What it assigns
    is its own, in each thread. Its globals are the function's, `in_parallel`, and the loops by their names.
    """
    source = textwrap.dedent(inspect.getsource(function))
    tree = ast.increment_lineno(ast.parse(source), function.__code__.co_firstlineno - 1)
    taken = _Taken(function)
    made = taken.visit(tree.body[0])
    made.decorator_list = []
    made.args.args[:0] = [ast.arg("launch_"), ast.arg("threads_")]
    module = ast.fix_missing_locations(ast.Module([made, *taken.loops], []))
    codes = compile(module, function.__code__.co_filename, "exec", dont_inherit=True).co_consts
    own, *loops = [code for code in codes if isinstance(code, types.CodeType)]
    return own, {code.co_name: code for code in loops}


class _Taken(ast.NodeTransformer):
    """Puts a call in the place of each parallel loop, and keeps the loops as functions."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.name, self.variables = function.__name__, set(function.__code__.co_varnames)
        self.loops: list[ast.stmt] = []

    def visit_For(self, node: ast.For) -> ast.AST:
        if not (isinstance(node.iter, ast.Call) and ast.unparse(node.iter.func) == "prange"):
            return self.generic_visit(node)
        names = [n for part in (node.target, *node.body) for n in ast.walk(part) if isinstance(n, ast.Name)]
        assigned = {n.id for n in names if isinstance(n.ctx, ast.Store)}
        given = list(dict.fromkeys(n.id for n in names if n.id in self.variables and n.id not in assigned))
        count, name = ast.unparse(node.iter.args[0]), f"{self.name}_loop{len(self.loops)}"
        call = _statement(f"in_parallel({name}, launch_, threads_, {count}, ({', '.join([*given, ''])}))", node)
        loop: Any = _statement(
            f"def {name}({', '.join(['begin_', 'end_', *given])}):\n for _ in range(begin_, end_): pass", node
        )
        loop.body[0].target, loop.body[0].body = node.target, node.body
        self.loops.append(loop)
        return call


def _statement(text: str, place: ast.AST) -> ast.stmt:
    """A statement that stands, for whoever debugs, in this place."""
    made = ast.parse(text).body[0]
    for node in ast.walk(made):
        ast.copy_location(node, place)
    return made


def launcher() -> int:
    """The address of numba's ``parallel_for``, its threads having been started."""
    importlib.import_module("numba.np.ufunc.parallel")._launch_threads()
    return int(importlib.import_module("llvmlite.binding").address_of_symbol("numba_parallel_for"))


@functools.cache
def in_parallel() -> Any:
    """``in_parallel(loop, launch, threads, count, arguments)`` in a compiled function: ``loop(begin, end, *arguments)``
    for parts of ``range(count)`` that lie side by side, one for each thread; for all of it in one where `launch` is 0.

    An error in a thread is raised again by whoever called, once all are done.
    """
    numba_types, cgutils = importlib.import_module("numba").types, importlib.import_module("numba.core.cgutils")
    word = numba_types.intp

    def compiled(loop: Any, given: Any) -> Any:
        return loop.dispatcher.overloads[word, word, *given.types]

    def typing(context: Any, loop: Any, launch: Any, threads: Any, count: Any, given: Any) -> Any:
        loop.get_call_type(context, (word, word, *given.types), {})
        return numba_types.void(loop, word, word, word, given), codegen

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        made = compiled(signature.args[0], signature.args[4])
        context.add_linking_libs((made.library,))
        _, launch, threads, count, arguments = values
        _start(context, builder, made.fndesc, launch, threads, count, cgutils.unpack_tuple(builder, arguments))
        return context.get_dummy_value()

    return importlib.import_module("numba.extending").intrinsic(typing)


def _start(context: Any, builder: Any, loop: Any, launch: Any, threads: Any, count: Any, arguments: Any) -> None:
    """Write down for all threads what they need, start them, look for errors."""
    ir, cgutils = importlib.import_module("llvmlite.ir"), importlib.import_module("numba.core.cgutils")
    status, error, word = _status_types()
    shared = ir.LiteralStructType([status, error, word, word, *(value.type for value in arguments)])
    share = _share(context, builder.module, loop, shared)
    one, none = ir.Constant(word, 1), ir.Constant(word, 0)

    alone = builder.or_(builder.icmp_signed("==", launch, none), builder.icmp_signed("<=", count, one))
    fewer = builder.select(builder.icmp_signed("<", count, threads), count, threads)
    parts = builder.select(alone, one, fewer)
    data = cgutils.alloca_once(builder, shared)
    for i, value in enumerate((ir.Constant(status, 0), ir.Constant(error, None), count, parts, *arguments)):
        builder.store(value, cgutils.gep_inbounds(builder, data, 0, i))
    place, size, step = (cgutils.alloca_once(builder, kind) for kind in (cgutils.voidptr_t, word, word))
    data_address = builder.bitcast(data, cgutils.voidptr_t)
    builder.store(data_address, place)
    builder.store(parts, size)
    builder.store(one, step)
    what = [place, size, step, data_address]
    with builder.if_else(builder.icmp_signed("==", parts, one)) as (by_itself, by_threads):
        with by_itself:
            builder.call(share, what)
        with by_threads:
            kinds = [share.type, *(value.type for value in what), word, word, word]
            start = builder.inttoptr(launch, ir.FunctionType(ir.VoidType(), kinds).as_pointer())
            builder.call(start, [share, *what, none, one, threads])  # no inner dimension, one array
    code, reason = (builder.load(cgutils.gep_inbounds(builder, data, 0, i)) for i in (0, 1))
    ended = context.call_conv._get_return_status(builder, code, reason)
    with cgutils.if_unlikely(builder, ended.is_error):
        context.call_conv.return_status_propagate(builder, ended)


def _share(context: Any, module: Any, loop: Any, shared: Any) -> Any:
    """What each thread is called with, which has the form of a generalised ufunc's loop, ``(places, sizes, steps, data)``:
    some of the parts into which the turns are divided. The first part's number is how far the place lies behind the data.
    """
    ir, cgutils = importlib.import_module("llvmlite.ir"), importlib.import_module("numba.core.cgutils")
    word = _status_types()[2]
    kinds = [cgutils.voidptr_t.as_pointer(), word.as_pointer(), word.as_pointer(), cgutils.voidptr_t]
    share = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), module.get_unique_name("share"))
    share.linkage = "internal"
    builder = ir.IRBuilder(share.append_basic_block("entry"))
    places, sizes, _, data = share.args
    first = builder.sub(builder.ptrtoint(builder.load(places), word), builder.ptrtoint(data, word))
    known = builder.bitcast(data, shared.as_pointer())
    field = [cgutils.gep_inbounds(builder, known, 0, i) for i in range(len(shared.elements))]
    count, parts, *arguments = (builder.load(place) for place in field[2:])
    begin, end = (builder.sdiv(builder.mul(count, part), parts) for part in (first, builder.add(first, builder.load(sizes))))
    callee = context.declare_function(module, loop)
    ended, _ = context.call_conv.call_function(builder, callee, loop.restype, loop.argtypes, [begin, end, *arguments])
    with cgutils.if_unlikely(builder, ended.is_error):
        nothing = ir.Constant(ended.code.type, 0)
        was_first = builder.extract_value(builder.cmpxchg(field[0], nothing, ended.code, "monotonic", "monotonic"), 1)
        with builder.if_then(was_first):
            builder.store(ended.excinfoptr, field[1])
    builder.ret_void()
    return share


def _status_types() -> tuple[Any, Any, Any]:
    """A status, what it says of an error, and a whole number."""
    convention, ir = importlib.import_module("numba.core.callconv"), importlib.import_module("llvmlite.ir")
    return convention.errcode_t, convention.excinfo_ptr_t, ir.IntType(64)
