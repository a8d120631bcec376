"""The house's rules, held by the code itself: who may import whom, how long a file may be, that importing is cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: From the ground up. A module may import from its own level's earlier modules and from any level above it in this list.
LEVELS = [
    {"minigrad.errors", "minigrad.kernel_cache", "minigrad.kernel_compiler", "minigrad.kernel_threads", "minigrad.jit"},
    {"minigrad.kernels"},
    {"minigrad.modes", "minigrad.graph", "minigrad.random"},
    {"minigrad.core"},
    {"minigrad.anomaly", "minigrad.plans", "minigrad.unrolled"},
    {"minigrad.pullback"},
    {"minigrad.op"},
    {"minigrad.ops"},
    {"minigrad.tensor"},
    {"minigrad.creation"},
    {"minigrad"},
    {"minigrad.optim", "minigrad.utils", "minigrad.io"},
    {"minigrad.nn"},
    {"minigrad.checks", "minigrad.viz"},
    {"minigrad.grading"},
    {"minigrad.zoo"},
    {"minigrad.bench"},
    {"minigrad.cli"},
    {"minigrad.__main__"},
]


def modules():
    for top, name in (("minigrad", "minigrad"), ("nn", "minigrad.nn"), ("zoo", "minigrad.zoo"), ("viz", "minigrad.viz")):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = [name, *path.relative_to(ROOT / top).with_suffix("").parts]
            yield ".".join(part for part in parts if part != "__init__"), path


MODULES = dict(modules())


def level(module):
    best = max((room for rooms in LEVELS for room in rooms if module == room or module.startswith(room + ".")), key=len)
    if best == "minigrad" and module != "minigrad":
        raise AssertionError(f"{module} has no place in LEVELS")
    return next(i for i, rooms in enumerate(LEVELS) if best in rooms)


def typing_only(tree):
    """The statements under ``if TYPE_CHECKING``: they name the finished Tensor for the type checker and never run."""
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    return {id(inner) for block in blocks for inner in ast.walk(block)}


def imports(path):
    tree = ast.parse(path.read_text())
    skipped = typing_only(tree)
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node
            for alias in node.names:
                if f"{node.module}.{alias.name}" in MODULES:
                    yield f"{node.module}.{alias.name}", node


def edges():
    for module, path in MODULES.items():
        for target, _ in imports(path):
            if target in MODULES and target != module:
                yield module, target


def test_imports_point_down_only():
    wrong = [(a, b) for a, b in edges() if level(b) > level(a) and b != "minigrad"]
    assert not wrong, wrong


def test_there_is_no_import_circle():
    graph = {}
    for a, b in edges():
        if b != "minigrad":  # the facade is imported before any of its rooms
            graph.setdefault(a, set()).add(b)
    done, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            path.append(module)
            for target in sorted(graph.get(module, ())):
                visit(target)
            path.pop()
            done.add(module)

    for module in sorted(graph):
        visit(module)


def test_no_import_of_our_own_is_hidden_in_a_function():
    hidden = []
    for module, path in MODULES.items():
        tree = ast.parse(path.read_text())
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("minigrad"):
                        hidden.append((module, node.lineno))
                    if isinstance(node, ast.Import) and any(a.name.startswith("minigrad") for a in node.names):
                        hidden.append((module, node.lineno))
    assert not hidden, hidden


def test_only_jit_knows_numba():
    guilty = [m for m, path in MODULES.items() if any(t.split(".")[0] in ("numba", "llvmlite") for t, _ in imports(path))]
    assert guilty == []  # jit itself imports it late, by name
    text = {m for m, path in MODULES.items() if '"numba"' in path.read_text()}
    assert "minigrad.jit" in text


@pytest.mark.parametrize("module", sorted(MODULES))
def test_files_stay_short(module):
    assert len(MODULES[module].read_text().splitlines()) <= 400


def test_importing_is_cheap_and_leaves_numba_alone():
    code = (
        "import sys, minigrad; "
        "heavy = {'numba', 'scipy', 'matplotlib', 'rich', 'torch', 'graphviz', 'pygraphviz'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_every_operation_is_reached_from_the_facade_and_documented():
    import minigrad as mg
    from minigrad.ops import activation, arithmetic, conv, loss, movement, norm, pool, reduce

    for family in (activation, arithmetic, conv, loss, movement, norm, pool, reduce):
        for name in family.__all__:
            assert getattr(mg, name).__doc__, name


def test_a_small_layer_needs_no_numba():
    """Where a student's code is locked in, nothing may be loaded late."""
    code = (
        "import sys, minigrad as mg, minigrad.nn as nn; nn.Linear(6, 3)(mg.randn(4, 6)).tanh().sum().backward(); "
        "assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
