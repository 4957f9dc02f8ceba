"""`ucbench site` and `ucbench demo`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ucbench.cli.align import align, align_report
from ucbench.cli.evaluate import evaluate
from ucbench.cli.options import EMBEDDED, Out, ResultsHere

app = typer.Typer()


@app.command()
def site(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the site listens.")] = 8501,
    host: Annotated[str, typer.Option(help="0.0.0.0 to be reached from other machines.")] = "localhost",
    results: ResultsHere = None,
    runs: Annotated[
        Path, typer.Option("--runs", envvar="UCBENCH_RUNS", help="Your own runs, shown on top.")
    ] = Path("runs"),
) -> None:
    """Serve the site: the committed results overlaid with your own runs."""
    from ucbench import home
    from ucbench.site.serving import server

    results = results or home.results()
    os.environ["UCBENCH_RESULTS"], os.environ["UCBENCH_RUNS"] = str(results.resolve()), str(runs.resolve())
    server.serve(port=port, host=host)


@app.command()
def demo(
    out: Out = Path("runs"),
    results: ResultsHere = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the site.")] = 8501,
    host: Annotated[str, typer.Option(help="0.0.0.0 to be reached from other machines.")] = "localhost",
    serve: Annotated[bool, typer.Option("--site/--no-site", help="Serve the site at the end.")] = True,
) -> None:
    """Evaluate the embedded model, align it with PPO, evaluate it again, build the board, serve the site.

    Everything goes into --out and, beside it, aligned/. Stopped at any moment, the same command goes on.
    """
    from ucbench import board as boards
    from ucbench import home, terminal
    from ucbench.align import settings
    from ucbench.align.output import default_folder

    results = results or home.results()
    folder = out.parent / default_folder(EMBEDDED, settings.load("ppo", "tiny"))
    evaluate(EMBEDDED, out=out)
    align(EMBEDDED, out=folder, resume=True)
    evaluate(str(folder), out=out)
    align_report(EMBEDDED, adapter=[f"ppo={folder}"], safety_prompt=False, out=out)
    terminal.print_board(boards.build([results, out], out), "pictograms", boards.RANK_KEY)
    if serve:
        terminal.say(f"the site: http://{host}:{port} (Ctrl+C ends it)")
        site(port=port, host=host, results=results, runs=out)
