"""Functions that are written out for a number of inputs, from a template: loops over one or two things cost more than they do.

An operation on small arrays is mostly Python. With a loop over its inputs, and a list for each thing that is asked of them,
that takes twice as long as written out, with a variable for each (see benchmarks/README.md).

A template is Python with a few signs:

    a@ = x@.array           a line with @ stands once for each input: ``a0 = x0.array``, ``a1 = x1.array``
    forward(a* **params)    a* stands for all of them, each with its comma: ``forward(a0, a1, **params)``
    out = result[0]  #: many    a line with such words stands only where all of them are among the conditions that hold

Where some inputs differ there are other signs instead of @, each with the inputs for which its lines stand. For any number
of inputs (`cat` has as many as it is given) the same template becomes a loop: variables are lists, @ an index.
What has been written can be read: a traceback and a debugger show its lines.
"""

from __future__ import annotations

import itertools
import linecache
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["function", "looped", "unrolled"]

_numbers = itertools.count(1)
_ALL = re.compile(r"\b([a-z])\*(?!\*)")
_WORDS = re.compile(r"  #: (?P<words>[a-z ]+)$")


def unrolled(template: str, count: int, signs: Mapping[str, Iterable[int]], conditions: Collection[str]) -> str:
    """The template's lines for so many inputs, and for each sign those for which its lines stand."""
    return "\n".join(_written_out(_chosen(template, conditions), count, signs))


def looped(template: str, conditions: Collection[str]) -> str:
    """The template's lines for any number of inputs, of which there is one kind: other signs than @ stand for none."""
    return "\n".join(_looped(_chosen(template, conditions)))


def _chosen(template: str, conditions: Collection[str]) -> Iterator[str]:
    for line in template.strip().splitlines():
        found = _WORDS.search(line)
        if found is None or set(found["words"].split()) <= set(conditions):
            yield _WORDS.sub("", line)


def _sign(line: str) -> str:
    """The sign in a line, or none."""
    return next((sign for sign in "@~$" if sign in line), "")


def _written_out(lines: Iterable[str], count: int, signs: Mapping[str, Iterable[int]]) -> Iterator[str]:
    for sign, block in itertools.groupby(lines, _sign):
        some = [_ALL.sub(lambda m: " ".join(f"{m[1]}{i}," for i in range(count)), line) for line in block]
        for i in signs[sign] if sign else [0]:
            yield from (line.replace(sign, str(i)) if sign else line for line in some)


def _looped(lines: Iterable[str]) -> Iterator[str]:
    for sign, block in itertools.groupby(lines, _sign):
        some = [_ALL.sub(r"*\1,", line) for line in block]
        if sign == "@":
            indent = some[0][: len(some[0]) - len(some[0].lstrip())]
            for name in sorted(set(re.findall(r"([a-z])@ = ", "\n".join(some)))):
                yield f"{indent}{name} = [None] * len(x)"
            yield f"{indent}for i in range(len(x)):"
            yield from ("    " + line.replace("@", "[i]") for line in some)
        elif not sign:
            yield from some


def function(name: str, source: str, known: Mapping[str, Any], whose: str = "") -> Any:
    """The function of this name in the source, which sees nothing but `known`. Profilers show `whose` it is beside its name."""
    # In the package's folder, so that whoever looks for the user's line leaves it out; numbered, since names may come again.
    file = str(Path(__file__).parent / f"<{name} {whose} {next(_numbers)}>")
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    names = dict(known)
    exec(compile(source, file, "exec", dont_inherit=True), names)  # written here, from templates of this package
    return names[name]
