"""`ucbench judge ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ucbench.cli.options import JudgeName, Out, RunName, with_answers

app = typer.Typer(help="Judge stored answers, compare judges.", no_args_is_help=True)


@app.command("run")
def judge_run(
    run: RunName,
    judge: JudgeName = "rules",
    out: Out = Path("runs"),
    record: Annotated[bool, typer.Option("--record", help="Make it the judge of the record.")] = False,
) -> None:
    """Judge stored answers again, without asking the model."""
    from rich.console import Console

    from ucbench import evaluate as engine
    from ucbench import runs, terminal
    from ucbench.format import model_name
    from ucbench.judges import registry as judges
    from ucbench.tracks import registry as tracks

    found, chosen = runs.resolve(run, out), judges.load(judge)
    before = with_answers(found)
    track = tracks.load(before.track.id)
    if record:
        terminal.print_record(engine.rejudge(found, chosen, track))
        return
    engine.judge_answers(found, chosen)
    judged = engine.score(before, found, chosen, track)
    model = model_name(before.entry.model, before.entry.adapter)
    Console().print(terminal.scores_table(f"{model} read by {chosen.id}", judged.scores.overall))
    terminal.say(
        f"verdicts written to {found.judgements_path(chosen.id)}; the record keeps "
        f"{before.judge.id if before.judge else 'no judge'} (--record would change that)"
    )


@app.command("agree")
def judge_agree(
    run: RunName,
    first: Annotated[str, typer.Argument(help="A judge.")] = "rules",
    second: Annotated[str, typer.Argument(help="Another judge.")] = "classifier",
    out: Out = Path("runs"),
) -> None:
    """Agreement and Cohen's kappa of two judges on one run; judges it with each when need be."""
    from ucbench import evaluate as engine
    from ucbench import runs, terminal
    from ucbench.judges import registry as judges

    found = runs.resolve(run, out)
    with_answers(found)
    chosen = [judges.load(first), judges.load(second)]
    for judge in chosen:
        if judge.id not in found.judge_ids():
            engine.judge_answers(found, judge)
    terminal.print_agreement(found, chosen[0].id, chosen[1].id)
