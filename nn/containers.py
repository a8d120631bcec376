"""Modules that hold modules: in a row, in a list, by name."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, overload

from minigrad.modes import modes
from minigrad.nn.module import Module

__all__ = ["ModuleDict", "ModuleList", "Sequential"]


class _Numbered(Module):
    """Modules under the names '0', '1', ..., with a list's ways."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        """The modules in order, also repeated ones."""
        return iter(module for module in self._modules.values() if module is not None)

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Module | Self:
        """One module, or a container of the same kind over some of them, which are shared with this one."""
        if isinstance(index, slice):
            return self._part(list(self._modules.items())[index])
        return getattr(self, self._name(index))  # type: ignore[no-any-return]  # a registered part is Any to the checker

    def __setitem__(self, index: int, module: Module) -> None:
        """Put another module in a place."""
        setattr(self, self._name(index), module)

    def __delitem__(self, index: int | slice) -> None:
        """Take modules out; numbers close up, names stay."""
        names = list(self._modules)
        for name in names[index] if isinstance(index, slice) else [self._name(index)]:
            delattr(self, name)
        self._renumber()

    def append(self, module: Module) -> Self:
        """Add one at the end."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add several at the end."""
        for module in modules:
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Self:
        """Add one before a place; the names of those behind move up."""
        order = list(self)
        order.insert(index, module)
        self._refill((str(i), m) for i, m in enumerate(order))
        return self

    def _part(self, items: list[tuple[str, Any]]) -> Self:
        return type(self)(module for _, module in items)

    def _name(self, index: int) -> str:
        at = operator.index(index)
        if not -len(self) <= at < len(self):
            raise IndexError(f"{type(self).__name__}: no module {at}, there are {len(self)}")
        return list(self._modules)[at]

    def _renumber(self) -> None:
        if all(name.isdigit() for name in self._modules):
            self._refill((str(i), m) for i, m in enumerate(self))

    def _refill(self, items: Iterable[tuple[str, Module]]) -> None:
        fresh = dict(items)
        for name in list(self._modules):
            delattr(self, name)
        for name, module in fresh.items():
            self.add_module(name, module)


class Sequential(_Numbered):
    """Modules one after the other, each taking what the one before gives: numbered, or named by an ordered mapping."""

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        """Take the modules as arguments, or one mapping of names to modules."""
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            super().__init__()
            self._refill(modules[0].items())
        else:
            super().__init__(modules)  # type: ignore[arg-type]  # a mapping among several is refused by add_module

    def forward(self, input: Any) -> Any:
        """Run the modules in order."""
        now = modes.now
        for name, module in self._modules.items():
            if module is not None:
                now.called = name  # one module may stand at several places
                input = module(input)
        return input

    def _part(self, items: list[tuple[str, Any]]) -> Self:
        return type(self)(dict(items))


class ModuleList(_Numbered):
    """A list of modules that a module finds; it has no forward of its own."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        """Take over the modules."""
        super().__init__(modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        """A list of both."""
        return ModuleList([*self, *other])


class ModuleDict(Module):
    """Modules by name, in the order in which they were added; it has no forward of its own."""

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] = ()) -> None:
        """Take over the modules."""
        super().__init__()
        self.update(modules)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._modules)

    def __contains__(self, name: str) -> bool:
        """Whether there is a module of this name."""
        return name in self._modules

    def __getitem__(self, name: str) -> Module:
        """The module of this name."""
        module = self._modules[name]
        if module is None:
            raise KeyError(name)
        return module

    def __setitem__(self, name: str, module: Module) -> None:
        """Add or replace a module."""
        self.add_module(name, module)

    def __delitem__(self, name: str) -> None:
        """Take a module out."""
        self[name]
        delattr(self, name)

    def pop(self, name: str) -> Module:
        """Take a module out and give it."""
        module = self[name]
        delattr(self, name)
        return module

    def clear(self) -> None:
        """Take all out."""
        for name in list(self._modules):
            delattr(self, name)

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._modules.keys()

    def values(self) -> Iterable[Module]:
        """The modules."""
        return [self[name] for name in self]

    def items(self) -> Iterable[tuple[str, Module]]:
        """Names and modules."""
        return [(name, self[name]) for name in self]

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add or replace several."""
        for name, module in modules.items() if isinstance(modules, Mapping) else modules:
            self[name] = module
