"""`ucbench models`."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def models(
    paper: Annotated[bool, typer.Option("--paper", help="Only the eight models of the paper.")] = False,
    families: Annotated[
        bool, typer.Option("--families", help="The families, and how each is asked, instead of models.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """List known models: how each runs, what it needs, which the paper measured.

    Other checkpoints run too: any of a known family, and any that AutoModelForImageTextToText loads.
    """
    from ucbench import terminal
    from ucbench.models import listing

    if families:
        rows = listing.families()
        if as_json:
            print(listing.as_json(rows))
        else:
            terminal.print_families(rows)
        return
    known = listing.models(paper_only=paper)
    if as_json:
        print(listing.as_json(known))
    else:
        terminal.print_models(known)
