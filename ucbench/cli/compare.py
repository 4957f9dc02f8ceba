"""`ucbench compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ucbench.cli.options import AsJson, Out

app = typer.Typer()


@app.command()
def compare(
    run_a: Annotated[str, typer.Argument(help="A run folder, or the beginning of a run id within --out.")],
    run_b: Annotated[str, typer.Argument(help="The one that is set against it.")],
    by_concept: Annotated[
        str | None, typer.Option(help="Also the concepts on which this score differs most.")
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="So many concepts.")] = 10,
    as_json: AsJson = False,
    out: Out = Path("runs"),
) -> None:
    """Paired differences of two runs over the questions both were asked, B minus A, with 95% intervals.

    Both must be of one track, version and judge. Which differences are more than chance is told by Holm's
    method over all scores shown.
    """
    from ucbench import comparison, runs, terminal
    from ucbench.cli.options import with_answers
    from ucbench.joined import Part
    from ucbench.metrics.keys import lookup

    within = () if by_concept is None else (lookup(by_concept).key,)
    a, b = ((Part(run, with_answers(run)),) for run in (runs.resolve(run_a, out), runs.resolve(run_b, out)))
    found = comparison.compare(a, b, within=within)
    if as_json:
        print(comparison.as_json(found, a[0].record, b[0].record))
    else:
        terminal.print_comparison(found, a[0].record, b[0].record, most)
