"""A spec from a file: `checks.toml`, or `checks.py` with a `SPEC`."""

from __future__ import annotations

import difflib
import importlib.util
import math
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from minigrad.errors import MinigradError
from minigrad.grading.ready import READY
from minigrad.grading.spec import KINDS, PARTS, SHOWN, VALUES, VISIBILITIES, Check, Draw, Spec, SpecError

__all__ = ["load_spec"]


def load_spec(path: str | Path) -> Spec:
    """Read a teacher's spec. Raises SpecError, one line with file, table, key and what would fit, and OSError as reading does.

    A ``.toml`` is data. A ``.py`` is the teacher's own code and runs in this process; it leaves a `Spec` in `SPEC`.
    """
    path = Path(path)
    if path.suffix == ".py":
        return _from_python(path)
    if path.suffix != ".toml":
        raise SpecError(f"{path}: a spec is a .toml or a .py file")
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: not TOML: {error}") from error
    return _spec(table, path)


def _spec(table: Mapping[str, Any], path: Path) -> Spec:
    reader = _Reader(str(path), table)
    reader.only((*_SPEC, "check"))
    entries = table.get("check", [])
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise SpecError(f"{path}: there is no [[check]] in it; each check is a table of its own")
    values = {_SPEC[key][0]: reader.value(key, *_SPEC[key][1:]) for key in _SPEC if key in table}
    checks = tuple(_check(entry, number, path) for number, entry in enumerate(entries, 1))
    try:
        return Spec(checks, path=path, **values)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None


def _check(entry: Mapping[str, Any], number: int, path: Path) -> Check:
    name = entry.get("name") or entry.get("ready") or entry.get("forward") or entry.get("function")
    reader = _Reader(f"{path}: check {number}" + (f" ({name})" if isinstance(name, str) else ""), entry)
    reader.only((*_CHECK, "ready", "name", "arguments", "settings", "make", "reference", "hidden"))
    values: dict[str, Any] = {}
    if "ready" in entry:
        values |= READY[reader.value("ready", *_one_of(READY))]
    values |= {_CHECK[key][0]: reader.value(key, *_CHECK[key][1:]) for key in _CHECK if key in entry}
    if entry.get("hidden"):
        values["visibility"] = "hidden"
    for key in ("arguments", "settings", "make"):
        if key in entry:
            values[key] = dict(values.get(key, {})) | reader.arguments(key)
    if "reference" in entry:
        values["reference"] = _reference(reader, path)
    if "function" not in values:
        raise reader.refused(
            "forward", "missing: name the pair's functions with forward and backward, or say function or ready"
        )
    values.setdefault("kind", "pair")
    values["name"] = reader.value("name", *_TEXT) if "name" in entry else str(name)
    for given in values.get("gradients") or ():
        if values["kind"] in ("pair", "loss", "function") and given not in values.get("arguments", {}):
            raise reader.refused("gradients", f"{given!r} is not among the arguments: {', '.join(values.get('arguments', {}))}")
    try:
        return Check(**values)
    except SpecError as error:
        raise SpecError(f"{reader.where}: {error}") from None


class _Reader:
    """One table of the file: reads values, and says where and what is wrong with one."""

    def __init__(self, where: str, table: Mapping[str, Any]) -> None:
        self.where, self.table = where, table

    def refused(self, key: str, problem: str) -> SpecError:
        return SpecError(f"{self.where}: {key}: {problem}")

    def only(self, known: Iterable[str]) -> None:
        known = list(known)
        for key in self.table:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(known))}"
                raise self.refused(key, f"unknown{hint}")

    def value(self, key: str, fits: Callable[[Any], bool], what: str) -> Any:
        found = self.table[key]
        if not fits(found):
            raise self.refused(key, f"{found!r} is not {what}")
        return tuple(found) if isinstance(found, list) else found

    def arguments(self, key: str) -> dict[str, Any]:
        table = self.table[key]
        if not isinstance(table, dict):
            raise self.refused(key, f"{table!r} is not a table of names and shapes or values")
        return {name: self._argument(f"{key}.{name}", value) for name, value in table.items()}

    def _argument(self, key: str, value: Any) -> Any:
        if isinstance(value, list):
            return Draw(self._shape(key, value))
        if not isinstance(value, dict):
            return value
        if set(value) == {"value"}:
            return value["value"]
        if "shape" not in value:
            return {name: self._argument(f"{key}.{name}", inner) for name, inner in value.items()}
        inner = _Reader(f"{self.where}: {key}", value)
        inner.only(("shape", "values", "low", "high"))
        chosen = {k: inner.value(k, *_DRAW[k]) for k in _DRAW if k in value}
        draw = Draw(self._shape(key, value["shape"]), **chosen)
        if draw.values == "integers" and not (draw.low or 0) < (2 if draw.high is None else draw.high):
            raise self.refused(key, "integers from low up to but not including high: low must be the smaller")
        return draw

    def _shape(self, key: str, value: Any) -> tuple[int, ...]:
        if not isinstance(value, list) or not all(type(n) is int and n >= 0 for n in value):
            raise self.refused(
                key, f"{value!r} is not a shape such as [4, 3]; a list that is passed as it is goes in {{ value = [...] }}"
            )
        if math.prod(value) > 1_000_000:
            raise self.refused(key, f"{value} has more than a million elements")
        return tuple(value)


def _reference(reader: _Reader, path: Path) -> Callable[..., Any]:
    text = reader.value("reference", lambda t: isinstance(t, str) and ".py:" in t, "FILE.py:NAME")
    file, _, name = text.rpartition(":")
    there = path.parent / file
    if not there.is_file():
        raise reader.refused("reference", f"there is no file {there}")
    module = _imported(there)
    found: Callable[..., Any] | None = getattr(module, name, None)
    if not callable(found):
        raise reader.refused("reference", f"{there} has no function {name!r}")
    return found


def _from_python(path: Path) -> Spec:
    spec = getattr(_imported(path), "SPEC", None)
    if not isinstance(spec, Spec):
        raise SpecError(f"{path}: SPEC must be a minigrad.grading.Spec, got {type(spec).__name__}")
    return Spec(**{**vars(spec), "path": path})


def _imported(path: Path) -> Any:
    if not path.is_file():
        raise SpecError(f"{path}: no such file")
    found = importlib.util.spec_from_file_location(f"_teacher_{path.stem}", path)
    if found is None or found.loader is None:
        raise SpecError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except MinigradError as error:
        raise SpecError(f"{path}: {error}") from error
    except Exception as error:  # whatever the teacher's own file raises
        raise SpecError(f"{path} can't be imported: {type(error).__name__}: {error}") from error
    return module


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _one_of(known: Iterable[str]) -> tuple[Callable[[Any], bool], str]:
    known = list(known)
    return lambda v: isinstance(v, str) and v in known, f"one of {', '.join(known)}"


_TEXT = (lambda v: isinstance(v, str) and bool(v.strip()), "a text")
_NAME = (lambda v: isinstance(v, str) and v.isidentifier(), "a name in Python")
_FLAG = (lambda v: isinstance(v, bool), "true or false")
_ABOVE = (lambda v: _is_number(v) and v > 0, "a number above 0")
_FROM_0 = (lambda v: _is_number(v) and v >= 0, "a number from 0 on")
_WHOLE = (lambda v: type(v) is int and v >= 0, "a whole number from 0 on")
_COUNT = (lambda v: type(v) is int and v >= 1, "a whole number from 1 on")
_NAMES = (lambda v: isinstance(v, list) and v != [] and all(isinstance(n, str) for n in v), "a list of names")
_NUMBER = (_is_number, "a number")

#: Key in the file: field, what fits, and how that is called.
_SPEC: dict[str, tuple[Any, ...]] = {
    "title": ("title", *_TEXT),
    "file": ("file", *_TEXT),
    "seed": ("seed", *_WHOLE),
    "timeout": ("timeout", *_ABOVE),
    "memory": ("memory", lambda v: type(v) is int and v >= 256, "a whole number of MiB from 256 on"),
    "show": ("shown", *_one_of(SHOWN)),
    "all_or_nothing": ("all_or_nothing", *_FLAG),
}
_CHECK: dict[str, tuple[Any, ...]] = {
    "forward": ("function", *_NAME),
    "function": ("function", *_NAME),
    "backward": ("backward", *_NAME),
    "kind": ("kind", *_one_of(KINDS)),
    "gradients": ("gradients", *_NAMES),
    "part": ("part", *_one_of(PARTS)),
    "points": ("points", *_FROM_0),
    "partial": ("partial", *_FLAG),
    "visibility": ("visibility", *_one_of(VISIBILITIES)),
    "mode": ("mode", *_one_of(("full", "fast", "sample"))),
    "samples": ("samples", *_COUNT),
    "rtol": ("rtol", *_ABOVE),
    "atol": ("atol", *_ABOVE),
    "timeout": ("timeout", *_ABOVE),
}
_DRAW: dict[str, tuple[Any, ...]] = {"values": _one_of(VALUES), "low": _NUMBER, "high": _NUMBER}
