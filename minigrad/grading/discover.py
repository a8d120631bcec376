"""What there is to check in a file without a spec: found in its syntax tree, so that nothing of it runs here."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minigrad.errors import MinigradError
from minigrad.grading.guess import Guess, Unknown, guess_arguments
from minigrad.grading.ready import ready_for
from minigrad.grading.spec import Check, Draw, Spec

__all__ = ["Discovery", "DiscoveryError", "discover"]

_MOST_SOURCE = 2 << 20
_ADVICE = "say which in its docstring, such as 'x: input, shape (N, D)', or write a spec"


class DiscoveryError(MinigradError):
    """A file in which nothing can be found to check, with the reason."""


class Discovery:
    """The checks that were found, and remarks on what could not be checked."""

    def __init__(self, tree: ast.Module) -> None:
        """Look through a module's syntax tree."""
        self.functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
        self.classes = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}
        self.checks: list[Check] = []
        self.remarks: list[str] = []
        #: Checks whose shapes come from names alone: an exception may then be the guess's fault.
        self.guessed: set[str] = set()
        for forward, backward in self._pairs():
            self._pair(forward, backward)
        for function in self.functions.values():
            if _is_loss(function) and not any(check.function == function.name for check in self.checks):
                self._add(function.name, "loss", function, 0)
        for found in self.classes.values():
            self._class(found)

    def spec(self, title: object, wanted: str | None, **settings: Any) -> Spec:
        """The checks as a spec that shows every number; `wanted` keeps those of one function or class.

        Raises DiscoveryError, in which `title` stands for the file, where there is nothing to check.
        """
        checks = [c for c in self.checks if wanted is None or wanted in (c.name, c.function, c.backward, _stem(c.function))]
        if not checks:
            there = ", ".join(c.name for c in self.checks)
            remark = next((r for r in self.remarks if wanted is not None and r.split()[0].rstrip(":") == wanted), None)
            if remark is not None:
                raise DiscoveryError(f"can't check {wanted!r}: {remark}")
            if wanted is not None:
                raise DiscoveryError(f"nothing called {wanted!r} to check; there is: {there or 'nothing'}")
            remark = f" ({'; '.join(self.remarks)})" if self.remarks else ""
            known = "no x_forward with its x_backward, no x_loss, no class with forward and backward"
            raise DiscoveryError(f"nothing to check in {title}: {known}{remark}")
        return Spec(tuple(checks), "gradient check", shown="numbers", marked=False, **settings)

    def _pairs(self) -> Iterator[tuple[str, str]]:
        for name in self.functions:
            partner = re.sub(r"(^|_)forward(_|$)", r"\1backward\2", name)
            if partner != name and partner in self.functions:
                yield name, partner
            elif partner != name:
                self.remarks.append(f"{name} has no {partner}")
        for name in self.functions:  # a second backward for the same forward, such as batchnorm_backward_alt
            found = re.fullmatch(r"(.*_)?backward(_\w+)", name)
            forward = f"{found[1] or ''}forward" if found else ""
            if found and forward in self.functions and f"{forward}{found[2]}" not in self.functions:
                yield forward, name

    def _pair(self, forward: str, backward: str) -> None:
        function = self.functions[forward]
        ready = ready_for(forward, [a.arg for a in function.args.args])
        name = forward if all(check.name != forward for check in self.checks) else backward
        if ready is not None:
            self.checks.append(Check(name, forward, "pair", backward, ready["arguments"], verify=ready.get("verify")))
            return
        self._add(forward, "pair", function, 0, backward=backward, name=name)

    def _add(self, called: str, kind: str, function: ast.FunctionDef, skip: int, about: str = "", **more: Any) -> None:
        name = more.pop("name", called)
        ready = ready_for(called, [a.arg for a in function.args.args]) if kind == "loss" else None
        try:
            guess = Guess(ready["arguments"]) if ready else guess_arguments(function, skip, about or called, kind == "loss")
        except Unknown as parameter:
            self.remarks.append(f"{called}: the shape of {parameter} can't be guessed; {_ADVICE}")
            return
        if not any(isinstance(value, Draw) and value.checked for value in guess.arguments.values()):
            self.remarks.append(f"{called}: no array among its arguments; {_ADVICE}")
            return
        if guess.by_name_only:
            self.guessed.add(name)
        self.checks.append(Check(name, called, kind, arguments=guess.arguments, **more))

    def _class(self, found: ast.ClassDef) -> None:
        methods = {n.name: n for n in found.body if isinstance(n, ast.FunctionDef)}
        bases = {ast.unparse(base).rpartition(".")[2] for base in found.bases}
        if "forward" in methods and "backward" in methods:
            static = any(ast.unparse(d) in ("staticmethod", "classmethod") for d in methods["forward"].decorator_list)
            self._add(
                found.name, "function" if static else "layer", methods["forward"], 1, **self._made(found, methods, static)
            )
        elif "forward" in methods and "Module" in bases:
            self._add(found.name, "module", methods["forward"], 1, **self._made(found, methods, False))
        elif "loss" in methods and len(methods["loss"].args.args) > 1:
            advice = "its sizes belong into a spec, with kind = 'model', or into mg.check_grads(model, None, (X, y))"
            self.remarks.append(f"{found.name} has a loss, and was not checked: {advice}")

    def _made(self, found: ast.ClassDef, methods: dict[str, ast.FunctionDef], static: bool) -> dict[str, Any]:
        """Arguments for the class itself, where its `__init__` asks for some."""
        if static or "__init__" not in methods:
            return {"about": found.name}
        try:
            make = guess_arguments(methods["__init__"], 1, found.name).arguments
        except Unknown:
            make = {}
        return {"make": {k: v for k, v in make.items() if not isinstance(v, Draw)}, "about": found.name}


def discover(path: Path) -> Discovery:
    """Look through a file. Raises DiscoveryError where it is no Python, naming line and reason, and OSError as reading does."""
    source = path.read_bytes()
    if len(source) > _MOST_SOURCE:
        raise DiscoveryError(f"{path}: {len(source) >> 20} MiB are too much for a file of code")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # an escape that is none is the student's own affair
            warnings.simplefilter("ignore", DeprecationWarning)
            return Discovery(ast.parse(source, str(path)))
    except SyntaxError as error:
        raise DiscoveryError(f"{path}:{error.lineno or 1}: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise DiscoveryError(f"{path}: not Python: {error}") from error


def _stem(name: str) -> str:
    return re.sub(r"_?forward_?", "", name)


def _is_loss(function: ast.FunctionDef) -> bool:
    """Whether it is named a loss and gives more than one thing."""
    if "loss" not in function.name.lower().split("_"):
        return False
    returned = [n.value for n in ast.walk(function) if isinstance(n, ast.Return)]
    return any(isinstance(value, ast.Tuple) and len(value.elts) > 1 for value in returned)
