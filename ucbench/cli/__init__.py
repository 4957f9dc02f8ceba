"""The command line: thin commands, each one call into the package; a file a group."""

from __future__ import annotations

import sys

import typer

from ucbench.cli import (
    align,
    board,
    compare,
    dataset,
    doctor,
    evaluate,
    importing,
    judge,
    models,
    parity,
    publish,
    queue,
    site,
    space,
    submit,
    worker,
)
from ucbench.errors import UcbenchError

app = typer.Typer(
    help="Do vision-language models recognise unsafe content, as image and as text?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Plain help: within 80 columns the other kind cuts the names of options.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for commands in (
    evaluate, models, importing, parity, compare, align, publish, submit, worker, site, doctor,
):  # fmt: skip
    app.add_typer(commands.app)
app.add_typer(judge.app, name="judge")
app.add_typer(board.app, name="board")
app.add_typer(dataset.app, name="dataset")
app.add_typer(queue.app, name="queue")
app.add_typer(space.app, name="space")


def main() -> None:
    """Run a command; an error that a user can act on is one sentence and an exit status."""
    try:
        app()
    except UcbenchError as error:
        from ucbench.hub.redact import readable, redact

        # It may quote what others wrote, or what was typed in a wrong place.
        print(f"error: {redact(readable(str(error)))}", file=sys.stderr)
        sys.exit(error.exit_code)
