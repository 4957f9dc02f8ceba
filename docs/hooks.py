"""What MkDocs does to the pages: commands and scores are told by the code, links out of docs/ find it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import typer
from typer.testing import CliRunner

COMMANDS, SCORES = "<!-- commands -->", "<!-- scores -->"
#: A link that leads from a page of docs/ to another file of the repository.
OUTSIDE = re.compile(r"\[(?P<said>[^\]\n]+)\]\((?P<up>(?:\.\./)+)(?P<path>[^)\s]+)\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """What MkDocs calls for each page."""
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, "\n\n".join(sections()))
    if SCORES in markdown:
        markdown = markdown.replace(SCORES, scores())
    return linked(markdown, page.file.src_uri, config.repo_url)


def linked(markdown: str, page: str, source: str | None) -> str:
    """The text of a page of docs/, with links to files outside docs/ made for the built site.

    They lead to `source`, the address of the code (`repo_url` in mkdocs.yml, from UCBENCH_SOURCE), and are
    words without a link where nobody said what it is. In the repository they work as they stand.
    """
    depth = len(PurePosixPath(page).parts)

    def made(link: re.Match[str]) -> str:
        if link["up"].count("../") < depth:
            return link[0]
        return f"[{link['said']}]({source.rstrip('/')}/blob/main/{link['path']})" if source else link["said"]

    return OUTSIDE.sub(made, markdown)


def scores() -> str:
    """A table of all scores, from the code."""
    from ucbench.metrics.keys import KEYS

    better = {"higher": "higher is better", "lower": "lower is better", "zero": "best at 0"}
    rows = [
        f"| {row.title}<br>`{row.key}` | {row.definition} | {better[row.better]} |" for row in KEYS.values()
    ]
    return "\n".join(["| score and key | what it says | which way |", "|---|---|---|", *rows])


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
