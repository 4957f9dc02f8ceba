"""`ucbench board ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ucbench.cli.options import split_of
from ucbench.errors import StoreError

app = typer.Typer(help="Build, check and show the board.", no_args_is_help=True)


@app.command("build")
def board_build(
    store: Annotated[list[Path] | None, typer.Argument(help="Stores to join; later ones win.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where to; the last store by default.")] = None,
    reported: Annotated[
        bool, typer.Option("--reported", help="Write the paper's own figures into the store first.")
    ] = False,
) -> None:
    """Make board.parquet and manifest.json from the runs of one store (results) or several."""
    from ucbench import board as boards
    from ucbench import reported as paper
    from ucbench import runs, terminal

    stores = store or [Path("results")]
    for folder in stores:
        if not folder.is_dir() and not reported:
            raise StoreError(f"there is no store {folder}; evaluate a model with --out {folder} first")
    target = out or stores[-1]
    if not reported and not any(any(runs.find(folder)) for folder in stores):
        raise StoreError(f"there are no runs in {', '.join(map(str, stores))}; evaluate a model first")
    if reported:
        paper.write(target)
    board = boards.build(stores, target)
    terminal.say(f"{len(board.rows)} rows in {target / boards.BOARD}")


@app.command("verify")
def board_verify(
    store: Annotated[
        list[Path] | None, typer.Argument(help="The store to check; several for a board that joins them.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Re-judge every row from its answer texts and recompute it.

    Exit 1: something differs. Exit 2: nothing differs, but a judge's weights are not here.
    """
    from ucbench import terminal
    from ucbench import verify as verifying

    checks = verifying.verify(store or [Path("results")])
    if as_json:
        print(verifying.as_json(checks))
    else:
        terminal.print_checks(checks)
    if any(check.problems for check in checks):
        raise typer.Exit(1)
    if any(check.rejudged is False for check in checks):
        raise typer.Exit(2)


@app.command("show")
def board_show(
    store: Annotated[Path, typer.Argument(help="The folder of the board.")] = Path("results"),
    track: Annotated[str | None, typer.Option(help="Only this track.")] = None,
    order: Annotated[str, typer.Option(help="A score key.")] = "balanced_accuracy",
    split: Annotated[
        str | None, typer.Option(help="test: aligned models, and others on the same items.")
    ] = None,
) -> None:
    """Print the board as a table."""
    from ucbench import board as boards
    from ucbench import terminal
    from ucbench.errors import UnknownNameError
    from ucbench.metrics.keys import KEYS

    if order not in KEYS:
        raise UnknownNameError(f"there is no score {order!r}; --order takes one of {', '.join(KEYS)}")
    terminal.print_board(boards.load(store), track, order, split_of(split))
