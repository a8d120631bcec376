"""Tables for a terminal of any width: where not everything has room, whole columns go, and a line says which."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

__all__ = ["narrowed", "own_width", "print_whole"]

_ENDLESS = 100_000


def narrowed(make: Callable[[Sequence[str]], Table], spare: Sequence[str], width: int | None, more: str) -> Table:
    """``make(left_out)`` with as many of `spare`, from the first on, left out as must be for `width` cells (None: endless).

    A line below the table says what was left out, and `more`: how it can be seen. A table that is too wide even so keeps its
    own width, for `print_whole`: neither a name nor a number is ever broken.
    """
    left_out: Sequence[str] = ()
    table = make(left_out)
    while width is not None and own_width(table) > width and len(left_out) < len(spare):
        left_out = spare[: len(left_out) + 1]
        table = make(left_out)
    if left_out:
        table.caption = f"left out for want of room: {', '.join(dict.fromkeys(left_out))}; {more}"
        table.caption_justify, table.caption_style = "left", "dim"
    return table


def own_width(table: Table) -> int:
    """The cells in which it stands with nothing broken or cut short, however narrow the terminal is."""
    console = Console(width=_ENDLESS)
    return console.measure(table).maximum


def print_whole(console: Console, table: Table) -> None:
    """Print a table at its own width; in a narrower terminal its lines run over."""
    table.width = own_width(table)
    console.print(table, crop=False)
