"""`ucbench publish`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ucbench.cli.options import Out, ResultsAddress, resumable
from ucbench.errors import UcbenchError

if TYPE_CHECKING:
    from ucbench.hub.publish import Offer

app = typer.Typer()


@app.command()
def publish(
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN|FOLDER",
            help="A run (its folder, or the beginning of its id within --out), or a folder that `ucbench "
            "align` wrote.",
        ),
    ],
    results: ResultsAddress = None,
    store: Annotated[
        str | None,
        typer.Option("--store", envvar="UCBENCH_STORE", help="The same, where queue and results are one."),
    ] = None,
    ids_only: Annotated[
        bool, typer.Option("--ids-only", help="Of a run, ids, verdicts and scores; no texts.")
    ] = False,
    to: Annotated[str | None, typer.Option("--to", help="Of a model: its repository, OWNER/NAME.")] = None,
    merged: Annotated[
        bool, typer.Option("--merged", help="... the whole model, the adapter added to its weights.")
    ] = False,
    base: Annotated[
        str | None, typer.Option("--base", help="... where others find a base that was a folder: OWNER/NAME.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", help="... what `ucbench align-report` wrote [align-report.json in --out]."),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="... in a private repository.")] = False,
    pull_request: Annotated[
        bool, typer.Option("--pr", help="Open a pull request, even with write access.")
    ] = False,
    beta: Annotated[
        bool,
        typer.Option("--beta", help="Write .eval_results and eval.yaml too, which the Hub is trying out."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List files and sizes; nothing is sent.")
    ] = False,
    out: Out = Path("runs"),
) -> None:
    """Publish a run to a store of results, or an aligned model to a repository of its own.

    One commit publishes everything or nothing; cut off, the same command goes on. A run counts as measured
    when the store names you as a worker, else as self-reported. Without write access it becomes a pull
    request.
    """
    from ucbench import terminal
    from ucbench.hub import models
    from ucbench.hub.publish import sizes

    address = results or store
    if models.is_aligned(Path(what)):
        offer = _model(Path(what), to, merged, private, pull_request, base, report, address, beta, out)
    else:
        given = {"--to": to, "--merged": merged, "--base": base, "--report": report, "--private": private}
        if wrong := [option for option, value in given.items() if value]:
            raise UcbenchError(
                f"{wrong[0]} is for models, and {what} is none; leave it out, or check the folder"
            )
        offer = _run(what, address, ids_only, pull_request, beta, out)
    for note in offer.notes:
        terminal.say(f"note: {note}")
    with terminal.progress("reading the store") as show, resumable():
        if dry_run:
            terminal.print_changes(sizes(offer.look(show)), offer.where)
            return
        landed = offer.send(show)
    n = f"{landed.changed:,} file{'s' * (landed.changed > 1)}"
    if landed.proposed:
        what = f"{n} wait in a pull request" if landed.changed else "it is in a pull request already"
        terminal.say(f"{what}; nothing is published until a maintainer merges it: {landed.url}")
    elif landed.changed:
        terminal.say(f"{n} published: {landed.url}")
    else:
        terminal.say(f"it is there already, nothing changed: {landed.url}")


def _run(what: str, address: str | None, ids_only: bool, pull_request: bool, beta: bool, out: Path) -> Offer:
    from ucbench import runs
    from ucbench.hub.publish import offer_run
    from ucbench.hub.store import open_store

    run = runs.resolve(what, out)
    if address is None:
        raise UcbenchError(
            "no store is named to publish to; give --results hf://datasets/OWNER/NAME or a folder, or set "
            "UCBENCH_RESULTS_STORE"
        )
    return offer_run(run, open_store(address), ids_only=ids_only, pull_request=pull_request, beta=beta)


def _model(
    folder: Path,
    to: str | None,
    merged: bool,
    private: bool,
    pull_request: bool,
    base: str | None,
    report: Path | None,
    address: str | None,
    beta: bool,
    out: Path,
) -> Offer:
    from ucbench.align import report_record
    from ucbench.hub.publish import offer_model

    if to is None:
        raise UcbenchError(f"{folder} is a model; say where it goes with --to OWNER/NAME")
    path = report or out / report_record.REPORT
    found = report_record.read(path) if report or path.is_file() else None
    return offer_model(
        folder,
        to,
        merged=merged,
        private=private,
        pull_request=pull_request,
        base=base,
        report=found,
        store=address,
        beta=beta,
    )
