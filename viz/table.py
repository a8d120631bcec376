"""The table of a model, as text and as HTML. What stands in it is counted in `count`."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from minigrad.viz.columns import narrowed, print_whole
from minigrad.viz.labels import amount, byte_size, compact, exact, shape_text
from minigrad.viz.palette import DARK, INK

__all__ = ["Row", "Summary"]


@dataclass(frozen=True, slots=True)
class Row:
    """One module's call, or what a container computes between its modules.

    `kind` is the module's class, or the operations' names. `shape` is the output's.
    `output` and `kept` are bytes: of the output, and of what is kept for the backward pass.
    `shared` says that the parameters were counted in an earlier row.
    """

    name: str
    kind: str
    settings: str
    shape: tuple[int, ...]
    parameters: int
    macs: int
    flops: int
    output: int
    kept: int
    shared: bool = False


@dataclass(frozen=True)
class Summary:
    """Rows and totals; prints itself as a table, shows itself in a notebook."""

    name: str
    inputs: tuple[tuple[int, ...], ...]
    rows: tuple[Row, ...]
    parameters: int
    trainable: int
    parameter_bytes: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one forward pass over the whole batch."""
        return sum(row.macs for row in self.rows)

    @property
    def flops(self) -> int:
        """Floating-point operations of one forward pass over the whole batch."""
        return sum(row.flops for row in self.rows)

    @property
    def output(self) -> int:
        """Bytes of all outputs together."""
        return sum(row.output for row in self.rows)

    @property
    def kept(self) -> int:
        """Bytes that the backward pass keeps alive, parameters left out."""
        return sum(row.kept for row in self.rows)

    def table(self, width: int | None = None) -> Table:
        """The table for a terminal, as rich draws it: in `width` cells, for which columns go, or as wide as it needs."""
        return narrowed(self._made, _SPARE, width, "a wider terminal shows them, and so does a file or a pipe")

    def _made(self, left_out: Sequence[str]) -> Table:
        shapes = ", ".join(shape_text(shape) for shape in self.inputs)
        title = f"{self.name}, input {shapes}"
        padding = (0, 1, 0, 0) if left_out else (0, 1)
        table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", show_footer=True, padding=padding)
        kept = [i for i, (name, _) in enumerate(_columns(self)) if (name or _CLASS) not in left_out]
        for i in kept:
            name, footer = _columns(self)[i]
            table.add_column(name, footer=footer, justify="right" if i > 1 else "left", no_wrap=True)
        for row in self.rows:
            cells = _cells(row, settings=_SETTINGS not in left_out)
            table.add_row(*(Text(cells[i]) for i in kept))
        return table

    def text(self, width: int | None = None) -> str:
        """The table and its totals as plain text, in `width` cells, for which columns are left out, or as wide as it needs."""
        out = io.StringIO()
        self.print(Console(file=out, width=width or 200, color_system=None, highlight=False), width)
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines())

    def print(self, console: Console, width: int | None = None) -> None:
        """Print the table, as `table` makes it, and its totals."""
        print_whole(console, self.table(width))
        for line in self.totals():
            console.print(line, soft_wrap=width is None)

    def totals(self) -> list[str]:
        """The lines below the table."""
        frozen = self.parameters - self.trainable
        return [
            f"parameters   {exact(self.parameters)}" + (f", of them {exact(frozen)} frozen" if frozen else ""),
            f"forward      {amount(self.macs)} MACs, {amount(self.flops)} FLOPs",
            f"memory       {byte_size(self.parameter_bytes)} parameters, {byte_size(self.output)} outputs, "
            f"{byte_size(self.kept)} kept for the backward pass",
        ]

    def html(self) -> str:
        """A page of its own: one file, no script, light or dark as the reader's system is."""
        head = "".join(f"<th>{html.escape(name)}</th>" for name, _ in _columns(self))
        foot = "".join(f"<td>{html.escape(text)}</td>" for _, text in _columns(self))
        body = "\n".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(row)) + "</tr>" for row in self.rows
        )
        lines = "<br>\n".join(html.escape(line) for line in self.totals())
        shapes = ", ".join(shape_text(shape) for shape in self.inputs)
        title = html.escape(f"{self.name}, input {shapes}")
        return (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            f"<title>{title}</title>\n<style>{_STYLE}</style></head>\n"
            f"<body><h1>{title}</h1>\n<div><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody>\n"
            f"<tfoot><tr>{foot}</tr></tfoot></table></div>\n<p>{lines}</p></body></html>\n"
        )

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return self.html()


_STYLE = f"""
body{{font:14px/1.45 system-ui,Helvetica,Arial,sans-serif;margin:2em;color:{INK.text};background:{INK.paper}}}
h1{{font-size:1.25em}} table{{border-collapse:collapse}}
td,th{{padding:.25em .8em;text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}}
td:nth-child(2){{white-space:normal;min-width:13em}} div{{overflow-x:auto}}
td:nth-child(-n+2),th:nth-child(-n+2){{text-align:left}} thead th{{border-bottom:2px solid {INK.frame}}}
tbody td{{border-bottom:1px solid {INK.frame}}} tfoot td{{font-weight:bold}} p{{color:{INK.soft};white-space:pre-line}}
@media (prefers-color-scheme:dark){{body{{color:{DARK[INK.text]};background:{DARK[INK.paper]}}}
thead th,tbody td{{border-color:{DARK[INK.frame]}}} p{{color:{DARK[INK.soft]}}}}}
"""


#: What the second column is called where it is left out; it has no head.
_CLASS, _SETTINGS = "class", "settings"

#: What a narrow terminal does without, the first first.
_SPARE = (_SETTINGS, "output", "kept", "MACs", _CLASS, "parameters")


def _columns(table: Summary) -> list[tuple[str, str]]:
    return [
        ("layer", "total"),
        ("", ""),
        ("output shape", ""),
        ("parameters", exact(table.parameters)),
        ("MACs", amount(table.macs)),
        ("output", byte_size(table.output)),
        ("kept", byte_size(table.kept)),
    ]


def _cells(row: Row, settings: bool = True) -> tuple[str, ...]:
    parameters = exact(row.parameters) if row.parameters else "shared" if row.shared else ""
    return (
        row.name,
        f"{row.kind}({compact(row.settings)})" if row.settings and settings else row.kind,
        shape_text(row.shape),
        parameters,
        amount(row.macs) if row.macs else "",
        byte_size(row.output),
        byte_size(row.kept) if row.kept else "",
    )
