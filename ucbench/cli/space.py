"""`ucbench space`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The site as a Space of the Hub.", no_args_is_help=True)


@app.callback()
def space() -> None:
    """The site as a Space of the Hub."""


@app.command()
def push(
    repo: Annotated[str, typer.Option("--repo", help="The Space, OWNER/NAME.")],
    requests: Annotated[
        str | None, typer.Option("--requests", help="The dataset of the queue [OWNER/NAME-requests].")
    ] = None,
    results: Annotated[
        str | None, typer.Option("--results", help="The dataset of the results [OWNER/NAME-results].")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="What is made new is private.")] = False,
    root: Annotated[Path, typer.Option("--root", help="The clone to push.")] = Path(),
) -> None:
    """Create or update the Space, its datasets and its variables; then say what is left to do by hand.

    Pushing again changes only what is different. Needs a token that may write (`hf auth login`).
    """
    from ucbench import terminal
    from ucbench.hub import space as spaces

    pushed = spaces.push(spaces.plan(repo, requests, results, private=private), root, terminal.say)
    if not pushed.done:
        terminal.say("everything is there already, nothing changed")
    terminal.say(f"the Space: {pushed.url}")
    for number, line in enumerate(pushed.by_hand, 1):
        terminal.say(f"{'left to do by hand: ' if number == 1 else '                    '}{number}. {line}")
