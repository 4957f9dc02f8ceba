"""`ucbench judge ...`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ucbench.cli.options import Device, JudgeName, Out, RunName, resumable, with_answers

if TYPE_CHECKING:
    from ucbench.judges.base import Judge

app = typer.Typer(help="Judge stored answers, compare judges, train and audit them.", no_args_is_help=True)


@contextmanager
def _judge(name: str) -> Iterator[Judge]:
    """The judge of that name; one behind an endpoint shows how far it is, and what it was asked."""
    from ucbench import terminal
    from ucbench.judges import registry

    judge = registry.load(name)
    if not hasattr(judge, "watch"):
        yield judge
        return
    with resumable(), terminal.progress(f"asking {judge.name}") as show:
        judge.watch(show)
        try:
            yield judge
        finally:
            judge.close()  # type: ignore[attr-defined]
    terminal.say(judge.note())  # type: ignore[attr-defined]


@app.command("run")
def judge_run(
    run: RunName,
    judge: JudgeName = "rules",
    out: Out = Path("runs"),
    record: Annotated[bool, typer.Option("--record", help="Make it the judge of the record.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Read every answer anew, also what this judge has read.")
    ] = False,
) -> None:
    """Judge stored answers again, without asking the model."""
    from rich.console import Console

    from ucbench import evaluate as engine
    from ucbench import runs, terminal
    from ucbench.format import model_name
    from ucbench.tracks import registry as tracks

    found = runs.resolve(run, out)
    before = with_answers(found)
    track = tracks.load(before.track.id)
    with _judge(judge) as chosen:
        engine.judge_answers(found, chosen, again=again)
        if record:
            terminal.print_record(engine.rejudge(found, chosen, track))
            return
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
    judges: Annotated[
        list[str] | None, typer.Argument(help="Two judges or more; rules and classifier by default.")
    ] = None,
    examples: Annotated[int, typer.Option(min=0, help="Show so many answers read differently.")] = 0,
    out: Out = Path("runs"),
) -> None:
    """Agreement and Cohen's kappa of every two judges on one run; judges it with each when need be."""
    from ucbench import evaluate as engine
    from ucbench import runs
    from ucbench.errors import UcbenchError
    from ucbench.judges import agreement, show

    names = list(dict.fromkeys(judges or ["rules", "classifier"]))
    if len(names) < 2:
        raise UcbenchError(f"{names[0]} alone agrees with itself; name another judge as well")
    found = runs.resolve(run, out)
    with_answers(found)
    ids = []
    for name in names:
        with _judge(name) as judge:
            engine.judge_answers(found, judge)
            ids.append(judge.id)
    frame = agreement.side_by_side(found, ids)
    if frame.empty:
        raise UcbenchError(f"no answer of {found.folder} was read by all of {', '.join(names)}")
    show.print_comparisons(agreement.compare(frame, ids))
    show.print_disagreements(agreement.disagreements(frame, ids, examples))


@app.command("train")
def judge_train(
    data: Annotated[Path, typer.Argument(help="Labelled answers: .csv or .jsonl with text, label, [group].")],
    kind: Annotated[str, typer.Option(help="alignment or perception.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder for the classifier.")],
    base: Annotated[
        str, typer.Option(help="roberta-base, a folder, a Hub id, or tiny (the project's own small shape).")
    ] = "roberta-base",
    epochs: Annotated[int, typer.Option(help="Passes over the answers at most.")] = 10,
    patience: Annotated[int, typer.Option(help="Stop after so many epochs without a better one.")] = 3,
    lr: Annotated[
        float | None, typer.Option(help="Peak learning rate; by the base's size when not given.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Answers behind one update.")] = 16,
    held_out: Annotated[float, typer.Option(help="Share of the answers that is only measured on.")] = 0.2,
    dev: Annotated[float, typer.Option(help="Share of the others that decides when to stop.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Of split, order and dropout.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on after the last whole epoch of a training cut off.")
    ] = False,
    device: Device = None,
) -> None:
    """Fit a response classifier on labelled answers; F1 and confusions on answers held out.

    Killed at any moment, the same command with --resume goes on after the last whole epoch.
    """
    from ucbench import terminal
    from ucbench.judges import show, train

    settings = train.Settings(epochs, batch_size, lr, held_out, dev, patience, seed)

    def tell(epoch: int, of: int, loss: float, f1: float) -> None:
        terminal.say(f"epoch {epoch} of {of}: loss {loss:.4f}, dev macro F1 {f1:.3f}")

    with resumable("add --resume to go on after the last whole epoch"):
        card = train.train(
            data, kind, out, base=base, settings=settings, device=device, resume=resume, report=tell
        )
    show.print_training(card, str(out))


@app.command("audit")
def judge_audit(
    run: Annotated[list[str], typer.Argument(help="Runs: folders, or beginnings of run ids within --out.")],
    n: Annotated[int, typer.Option("--n", min=1, help="Answers to draw.")] = 100,
    judge: Annotated[
        str | None, typer.Option("--judge", help="The judge to audit; that of the records by default.")
    ] = None,
    annotator: Annotated[str, typer.Option(help="Who labels; a file each.")] = "annotator-1",
    export: Annotated[
        Path | None, typer.Option("--export", help="Write a .csv to fill in, and label nothing here.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Take in a .csv that was filled in.")
    ] = None,
    report: Annotated[bool, typer.Option("--report", help="Only report on the labels there are.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
    out: Out = Path("runs"),
) -> None:
    """Draw answers for a person to label, blind to model and verdict, and report how well the judge reads.

    One key a label; quit at any time, the same command goes on. Everything lies in --out/audits.
    """
    from ucbench import evaluate as engine
    from ucbench import runs, terminal
    from ucbench.judges import audit, audit_labels, audit_report, audit_terminal, show
    from ucbench.judges.base import reference

    found = [runs.resolve(name, out) for name in run]
    records = [with_answers(one) for one in found]
    if judge is None:
        audited = audit.common_judge(records)
    else:
        with _judge(judge) as chosen:
            for one in found:
                engine.judge_answers(one, chosen)
            audited = reference(chosen)
    sample = audit.draw(found, audited, n=n, seed=seed)
    place = audit.keep(out, sample)
    if not report:
        with audit_labels.opened(sample, place, annotator) as own:
            if export:
                audit_labels.export(sample, own.given, export)
                terminal.say(
                    f"{len(sample.items):,} answers to label written to {export}; take it in with --labels"
                )
                return
            if labels:
                new, changed = audit_labels.take_in(sample, own, labels)
                terminal.say(f"{new:,} labels taken in, {changed:,} changed")
            elif not audit_terminal.label(sample, own):
                left = len(sample.items) - len(own.given)
                terminal.say(f"{left:,} answers to go; the same command goes on from here")
    given = audit_labels.read_all(sample, place)
    if given or report:
        show.print_audit(audit_report.write(sample, given, place), str(place / audit_report.REPORT))
