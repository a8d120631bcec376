"""Module: parameters, buffers and other modules under names, and a forward pass over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np

from minigrad.core import TensorBase
from minigrad.modes import modes
from minigrad.nn.hooks import Hooks, RemovableHandle
from minigrad.nn.parameter import Parameter
from minigrad.nn.scope import enter, structure_changed
from minigrad.nn.state import IncompatibleKeys, load_state
from minigrad.tensor import Tensor

__all__ = ["Module"]


class Module:
    """What models and their layers are made of.

    Attributes that are Parameters or Modules are registered by assignment, under the attribute's name; buffers, which
    belong to the state but are not learned, by `register_buffer`. A subclass calls ``super().__init__()`` first and
    defines `forward`; calling the module runs it, with hooks, and tells the recorded graph the module's dotted path.
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _transient: set[str]
    _pre_hooks: Hooks
    _hooks: Hooks

    def __init__(self) -> None:
        """Start without parameters, in training mode."""
        self.__dict__.update(
            training=True,
            _parameters={},
            _buffers={},
            _modules={},
            _transient=set(),  # names of buffers that are not part of the state
            _pre_hooks=Hooks(),
            _hooks=Hooks(),
        )

    # -------------------------------------------------------------------------------------------- running

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module calculates; a subclass says."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the hooks and `forward`."""
        now = modes.now
        scope, paths = now.scope, now.paths
        try:
            enter(self, now)
            if self._pre_hooks.by_number:
                args = self._pre_hooks.before(self, args)
            output = self.forward(*args, **kwargs)
            return self._hooks.after(self, args, output) if self._hooks.by_number else output
        finally:
            now.scope, now.paths, now.called = scope, paths, None

    def register_forward_pre_hook(self, hook: Callable[[Any, tuple[Any, ...]], Any]) -> RemovableHandle:
        """Call ``hook(module, args)`` before each forward; what it returns, if anything, replaces the arguments."""
        return self._pre_hooks.add(hook)

    def register_forward_hook(self, hook: Callable[[Any, tuple[Any, ...], Any], Any]) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after each forward; what it returns, if anything, replaces the output."""
        return self._hooks.add(hook)

    # -------------------------------------------------------------------------------------------- registering

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under a name; None keeps the name for one that is absent (a layer without bias)."""
        self._register(self._parameters, name, param, Parameter)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is not learned; it belongs to the state dict if it is `persistent`."""
        self._register(self._buffers, name, tensor, TensorBase)
        (self._transient.discard if persistent else self._transient.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child under a name."""
        self._register(self._modules, name, module, Module)
        structure_changed()

    register_module = add_module

    def _register(self, room: dict[str, Any], name: str, part: Any, kind: type) -> None:
        if part is not None and not isinstance(part, kind):
            raise TypeError(f"{type(self).__name__}: {name!r} is a {type(part).__name__}, not a {kind.__name__} or None")
        if name not in room and (name in self.__dict__ or self._room_of(name) is not None):
            raise KeyError(f"{type(self).__name__} has an attribute {name!r} already")
        self._check_name(name)
        room[name] = part

    def _check_name(self, name: str) -> None:
        if not name or "." in name:
            raise KeyError(f"{type(self).__name__}: {name!r} can't name a part: names are not empty and have no dot")
        if hasattr(type(self), name):
            raise KeyError(
                f"{type(self).__name__}: {name!r} is an attribute of the class, which would hide a part of that name"
            )

    def _room_of(self, name: str) -> dict[str, Any] | None:
        """The dictionary that holds this name, if it is a registered part's."""
        rooms: tuple[dict[str, Any], ...] = (self._parameters, self._buffers, self._modules)
        return next((room for room in rooms if name in room), None)

    def __setattr__(self, name: str, value: Any) -> None:
        """Register Parameters and Modules; keep registered names for what belongs there; set anything else plainly."""
        part = isinstance(value, (Parameter, Module))
        if "_modules" not in self.__dict__:
            if part:
                raise AttributeError(f"{type(self).__name__}.__init__ must call super().__init__() before it sets {name!r}")
            object.__setattr__(self, name, value)
            return
        room = self._room_of(name)
        if part:
            self._check_name(name)
            target: dict[str, Any] = self._parameters if isinstance(value, Parameter) else self._modules
            if room is not target and (room is not None or name in self.__dict__):
                delattr(self, name)
            target[name] = value
        elif room is None:
            object.__setattr__(self, name, value)
            return
        elif value is None or (room is self._buffers and isinstance(value, TensorBase)):
            room[name] = value
        else:
            kind = "parameter" if room is self._parameters else "buffer" if room is self._buffers else "module"
            raise TypeError(f"{type(self).__name__}.{name} is a {kind}; it can't be set to a {type(value).__name__}")
        if room is self._modules or isinstance(value, Module):
            structure_changed()

    def __getattr__(self, name: str) -> Any:
        """A registered part; called where ordinary attributes have no such name."""
        parts = self.__dict__
        for room in ("_parameters", "_buffers", "_modules"):
            try:  # the usual case, a layer's weight, costs as little as can be
                return parts[room][name]
            except KeyError:
                continue
        hint = "" if "_modules" in parts else "; does its __init__ call super().__init__()?"
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{hint}")

    def __delattr__(self, name: str) -> None:
        """Drop a part or an ordinary attribute."""
        room = self._room_of(name)
        if room is None:
            object.__delattr__(self, name)
            return
        del room[name]
        self._transient.discard(name)
        structure_changed()

    def __dir__(self) -> Iterable[str]:
        """Parts too, for an editor's completion."""
        return [*super().__dir__(), *self._parameters, *self._buffers, *self._modules]

    # -------------------------------------------------------------------------------------------- walking

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly within, each once."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """The modules directly within, each once."""
        return (module for _, module in self.named_children())

    def named_modules(self, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """This module and all within, with dotted paths; each once (under its first path) unless told otherwise."""
        seen: set[int] = set()
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            path, module = stack.pop()
            if remove_duplicate and id(module) in seen:
                continue
            seen.add(id(module))
            yield path, module
            within = [(f"{path}.{name}" if path else name, m) for name, m in module._modules.items() if m is not None]
            stack.extend(reversed(within))

    def modules(self) -> Iterator[Module]:
        """This module and all within, each once."""
        return (module for _, module in self.named_modules())

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """The parameters with dotted names; a shared one once, under its first name, unless told otherwise."""
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, each once: what an optimiser takes."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The buffers with dotted names."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers, each once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def _named(self, room: str, prefix: str, recurse: bool, remove_duplicate: bool) -> Iterator[tuple[str, Any]]:
        modules = self.named_modules(prefix, remove_duplicate) if recurse else iter([(prefix, self)])
        seen: set[int] = set()
        for path, module in modules:
            for name, part in getattr(module, room).items():
                if part is None or (remove_duplicate and id(part) in seen):
                    continue
                seen.add(id(part))
                yield f"{path}.{name}" if path else name, part

    def get_submodule(self, target: str) -> Module:
        """The module at a dotted path ('' is this one). Raises AttributeError, naming where the path breaks off."""
        module = self
        for depth, name in enumerate(target.split(".") if target else ()):
            found = module._modules.get(name)
            if found is None:
                at = ".".join(target.split(".")[:depth]) or type(self).__name__
                raise AttributeError(f"get_submodule({target!r}): {at} has no module {name!r}, only {list(module._modules)}")
            module = found
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter with a dotted name. Raises AttributeError where there is none."""
        path, _, name = target.rpartition(".")
        found = self.get_submodule(path)._parameters.get(name)
        if found is None:
            raise AttributeError(f"get_parameter({target!r}): there is no such parameter")
        return found

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call ``fn(module)`` for every module within, children first, then for this one."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # -------------------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Tensor]:
        """Parameters and persistent buffers by dotted name, sharing memory with the module; a shared one under each name."""
        state: dict[str, Tensor] = {}
        for path, module in self.named_modules(remove_duplicate=False):
            lead = f"{path}." if path else ""
            for name, part in (*module._parameters.items(), *module._buffers.items()):
                if part is not None and name not in module._transient:
                    state[lead + name] = part.detach()
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Take over numbers (tensors or arrays by dotted name), converted to the type that each part has.

        Raises StateDictError, before anything is changed, that lists all missing, unexpected and mis-shaped keys; without
        `strict` only mis-shaped ones are errors, the others are returned. Raises TypeError for what is no dictionary.
        """
        return load_state(type(self).__name__, self.state_dict(), state_dict, strict)

    # -------------------------------------------------------------------------------------------- switching

    def train(self, mode: bool = True) -> Self:
        """Set training mode, here and within: dropout drops, batch norm uses and follows the batch."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Leave training mode."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Switch gradients for all parameters, to freeze a part of a model."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop all gradients, or set them to 0."""
        for parameter in self.parameters():
            if set_to_none or parameter.grad is None:
                parameter.grad = None
            else:
                parameter.grad = Tensor(np.zeros_like(parameter.grad.array))

    def to(self, dtype: Any) -> Self:
        """Convert parameters, their gradients and buffers of floating point; the parameters stay the same objects."""
        wanted = np.dtype(dtype)
        if wanted.kind != "f":
            raise TypeError(f"{type(self).__name__}.to: {wanted} is not a type of floating point")
        for part in (*self.parameters(), *self.buffers()):
            if part.dtype.kind == "f" and part.dtype != wanted:
                part.array = part.array.astype(wanted)
                part.touched()  # a graph recorded with the old numbers must not be walked
                part.grad = None if part.grad is None else part.grad.detach().to(wanted)
        return self

    def double(self) -> Self:
        """Convert to float64."""
        return self.to(np.float64)

    def float(self) -> Self:
        """Convert to float32."""
        return self.to(np.float32)

    # -------------------------------------------------------------------------------------------- showing

    def extra_repr(self) -> str:
        """The settings shown in the brackets; a subclass says."""
        return ""

    def __repr__(self) -> str:
        """The tree of modules, one a line."""
        extra = self.extra_repr()
        lines = [f"({name}): {str(module).replace(chr(10), chr(10) + '  ')}" for name, module in self._modules.items()]
        if not lines:
            return f"{type(self).__name__}({extra})"
        return "\n  ".join([f"{type(self).__name__}({extra}", *lines]) + "\n)"
