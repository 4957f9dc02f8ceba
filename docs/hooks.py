"""Fills reference/cli.md with the help of every command, as the terminal shows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from typer.testing import CliRunner

MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """What MkDocs calls for each page."""
    return markdown.replace(MARK, "\n\n".join(sections())) if MARK in markdown else markdown


def sections() -> list[str]:
    """A section a command: heading, and its help at 80 columns."""
    from ucbench.cli import app

    return list(_sections(app, typer.main.get_command(app), []))


def _sections(app: typer.Typer, command: Any, path: list[str]) -> Iterator[str]:
    told = CliRunner().invoke(app, [*path, "--help"], prog_name="ucbench", env={"COLUMNS": "80"})
    heading = "##" if len(path) < 2 else "###"
    yield f"{heading} `{' '.join(['ucbench', *path])}`\n\n```text\n{told.stdout.strip()}\n```"
    for name, child in sorted(getattr(command, "commands", {}).items()):
        yield from _sections(app, child, [*path, name])
