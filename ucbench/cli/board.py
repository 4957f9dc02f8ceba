"""`ucbench board ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ucbench.cli.options import split_of
from ucbench.errors import StoreError
from ucbench.format import n_of

app = typer.Typer(help="Build, check and show the board.", no_args_is_help=True)


@app.command("build")
def board_build(
    store: Annotated[
        list[str] | None,
        typer.Argument(help="Stores to join, folders or hf://datasets/OWNER/NAME; later ones win."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where to; the last store by default.")] = None,
    reported: Annotated[
        bool, typer.Option("--reported", help="Write the paper's own figures into the store first.")
    ] = False,
) -> None:
    """Make board.parquet and manifest.json from the runs of one store (results) or several.

    A store on the Hub gets its board in one commit, by an account that may write to it.
    """
    from ucbench import board as boards
    from ucbench import reported as paper
    from ucbench import runs, terminal
    from ucbench.hub import results
    from ucbench.hub.store import HUB

    stores = store or ["results"]
    if stores[-1].startswith(HUB) and out is None:
        if len(stores) > 1 or reported:
            raise StoreError(
                f"{stores[-1]} gets the board of its own runs; leave out the rest, or give --out"
            )
        with terminal.progress(f"reading {stores[0]}") as show:
            changed, left_out = results.build_there(stores[0], show)
        for name, why in sorted(left_out.items()):
            terminal.say(f"note: {name} is not on the board: {why}")
        terminal.say(f"{changed:,} files changed in {stores[0]}" if changed else "nothing has changed")
        return
    with terminal.progress("reading the stores") as show, results.folders(stores, show) as folders:
        for folder in folders:
            if not folder.is_dir() and not reported:
                raise StoreError(f"there is no store {folder}; evaluate a model with --out {folder} first")
        target = out or folders[-1]
        if not reported and not any(any(runs.find(folder)) for folder in folders):
            raise StoreError(f"there are no runs in {', '.join(map(str, stores))}; evaluate a model first")
        if reported:
            paper.write(target)
        board = boards.build(folders, target)
    terminal.say(f"{n_of(len(board.rows), 'row')} in {target / boards.BOARD}")


@app.command("verify")
def board_verify(
    store: Annotated[
        list[str] | None,
        typer.Argument(
            help="The store to check, a folder or hf://datasets/OWNER/NAME; several for a board that joins "
            "them."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Re-judge every row from its answer texts and recompute it.

    Exit 1: something differs. Exit 2: nothing differs, but a judge's weights are not here.
    """
    from ucbench import terminal
    from ucbench import verify as verifying
    from ucbench.hub import results
    from ucbench.hub.store import HUB

    with (
        terminal.progress("reading the store", quiet=as_json) as show,
        results.folders(store or ["results"], show) as folders,
    ):
        checks = verifying.verify(folders)
    for address in {each for each in store or [] if each.startswith(HUB)}:
        doubtful = results.unvouched(address)
        for check in checks:
            if check.run_id in doubtful:
                check.problems.append(
                    "it says that it was measured, and no worker of the store published it so"
                )
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
    store: Annotated[
        str, typer.Argument(help="Where the board is: a folder, or hf://datasets/OWNER/NAME.")
    ] = "results",
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
    from ucbench.hub import results
    from ucbench.metrics.keys import KEYS

    if order not in KEYS:
        raise UnknownNameError(f"there is no score {order!r}; --order takes one of {', '.join(KEYS)}")
    with results.folders([store], tables_only=True) as (folder,):
        found = boards.load(folder)
    terminal.print_board(found, track, order, split_of(split))
