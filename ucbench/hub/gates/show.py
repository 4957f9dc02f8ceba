"""Checks in the terminal: a tick each, as they are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ucbench.hub.gates.base import Check

if TYPE_CHECKING:
    from rich.console import Console

#: Outcome -> (mark, the same in plain letters, style).
_MARKS = {
    "passed": ("\N{CHECK MARK}", "ok", "green"),
    "warning": ("!", "!", "yellow"),
    "failed": ("\N{MULTIPLICATION X}", "NO", "bold red"),
    "skipped": ("-", "-", "dim"),
}
_TITLE_WIDTH = 24


@contextmanager
def ticks(console: Console) -> Iterator[Callable[[Check], None]]:
    """Prints each check it is called with, with a sign of life in between."""
    from rich.table import Table
    from rich.text import Text

    plain = not (console.encoding or "").lower().startswith("utf")

    def show(check: Check) -> None:
        mark, word, style = _MARKS[check.outcome]
        row = Table.grid(padding=(0, 1))
        row.add_column(width=2, no_wrap=True)
        row.add_column(width=_TITLE_WIDTH, overflow="fold")
        row.add_column(overflow="fold")
        # Text, not markup: what was found quotes the repository.
        found = Text(check.found, style="dim" if check.outcome == "skipped" else "")
        if check.advice:
            found.append(
                f"\nWhat to do: {check.advice}", style="bold" if check.outcome == "failed" else "dim"
            )
        row.add_row(Text(word if plain else mark, style=style), Text(check.title), found)
        console.print(row)

    with console.status("looking at the repository"):
        yield show
