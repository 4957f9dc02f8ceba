"""The command line: thin commands, each one call into the package."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ucbench.errors import StoreError, UcbenchError

if TYPE_CHECKING:
    from ucbench.models.base import VLM
    from ucbench.record import Decoding, RunRecord
    from ucbench.runs import Run

app = typer.Typer(
    help="Do vision-language models recognise unsafe content, as image and as text?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
judge_app = typer.Typer(help="Judge stored answers, compare judges.", no_args_is_help=True)
board_app = typer.Typer(help="Build, check and show the board.", no_args_is_help=True)
app.add_typer(judge_app, name="judge")
app.add_typer(board_app, name="board")

EMBEDDED = "embedded:tiny-vlm"

Out = Annotated[Path, typer.Option("--out", help="The folder that holds your runs.")]
Results = Annotated[Path, typer.Option("--results", help="The folder of published results.")]
JudgeName = Annotated[str, typer.Option("--judge", help="rules, classifier or classifier:official.")]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16, float16 or auto.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; found out by default.")]
RunName = Annotated[str, typer.Argument(help="A run folder, or the beginning of a run id within --out.")]


@app.command()
def evaluate(
    model: Annotated[
        str, typer.Argument(help="embedded:tiny-vlm, a Hub id (owner/name), a folder of a model or adapter.")
    ],
    track: Annotated[str, typer.Option(help="What is asked.")] = "pictograms",
    split: Annotated[str, typer.Option(help="test or train.")] = "test",
    draw: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="0: the board's own images; above: a fresh draw.")
    ] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only that many samples.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Answers decoded together.")] = 64,
    temperature: Annotated[float, typer.Option(min=0.0, max=100.0, help="0 is greedy.")] = 0.0,
    top_p: Annotated[float, typer.Option(min=0.01, max=1.0, help="Of sampled decoding.")] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="An answer is cut there.")] = 512,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of sampled decoding.")] = 0,
    dtype: Dtype = None,
    device: Device = None,
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch on the Hub.")] = None,
    system_prompt: Annotated[str | None, typer.Option(help="Put before every question.")] = None,
    judge: Annotated[
        str | None,
        typer.Option(help="rules (for a new run, if none is named), classifier, classifier:official."),
    ] = None,
    out: Out = Path("runs"),
) -> None:
    """Ask a model all questions of a track, judge its answers, score them.

    Killed at any moment, the same command goes on where it was. Processes of accelerate share the work.
    """
    from ucbench import evaluate as engine
    from ucbench import terminal
    from ucbench.judges import registry as judges
    from ucbench.models import registry as models
    from ucbench.record import Decoding
    from ucbench.tracks import registry as tracks
    from ucbench.world import world

    _check_text("--system-prompt", system_prompt)
    processes = world()
    decoding = Decoding(temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens, seed=seed)
    chosen_track, chosen_judge = tracks.load(track), judges.load(judge or "rules")
    vlm = models.load(
        model,
        decoding=decoding,
        dtype=dtype,
        device=device or processes.device,
        revision=revision,
        system_prompt=system_prompt,
    )
    with (
        _resumable(),
        terminal.progress(f"{model} on {track}", quiet=not processes.is_main) as show,
    ):
        record = engine.evaluate(
            vlm,
            chosen_track,
            chosen_judge,
            out=out,
            split=_split(split),
            draw=draw,
            limit=limit,
            batch_size=batch_size,
            progress=show,
            processes=processes,
            keep_judge=judge is None,
        )
    if processes.is_main:
        terminal.print_record(record)
        terminal.say(f"written to {out / record.entry.slug / record.run_id}")


@app.command()
def align(
    model: Annotated[str, typer.Argument(help="embedded:tiny-vlm, a folder, or a Hub id (owner/name).")],
    method: Annotated[str, typer.Option(help="ppo, sft, dpo, grpo or rloo.")] = "ppo",
    track: Annotated[str, typer.Option(help="Whose train split is learned from.")] = "pictograms",
    preset: Annotated[
        str | None, typer.Option(help="default, paper, or tiny (the embedded model's, when none is named).")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training items.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Stop there at the latest.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Answers behind one update.")] = None,
    micro_batch_size: Annotated[
        int | None, typer.Option(help="Answers that go through the model at once; memory and speed only.")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    kl: Annotated[float | None, typer.Option(help="Pull towards the starting model (dpo: its beta).")] = None,
    judge: Annotated[
        str | None, typer.Option(help="The judge that rewards; it must give probabilities.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of data order, adapter and sampling.")] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting of the preset, e.g. --set reward.length_bonus=0.2"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The adapter's folder; aligned/MODEL-METHOD-seedN by default.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")
    ] = False,
    merge: Annotated[
        bool, typer.Option("--merge", help="Write the whole model too, to --out/merged.")
    ] = False,
    dtype: Dtype = None,
    device: Device = None,
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch on the Hub.")] = None,
) -> None:
    """Train an adapter that judges images as the model judges words.

    Killed at any moment, the same command with --resume goes on from the last checkpoint. Processes of
    accelerate share each batch.
    """
    from ucbench import terminal
    from ucbench.align import run, settings
    from ucbench.align.output import default_folder
    from ucbench.tracks import registry as tracks
    from ucbench.world import world

    chosen = preset or ("tiny" if model == EMBEDDED else "default")
    wanted = settings.load(
        method,
        chosen,
        epochs=epochs,
        max_steps=max_steps,
        batch_size=batch_size,
        micro_batch_size=micro_batch_size,
        lr=lr,
        kl=kl,
        seed=seed,
        reward__judge=judge,
        given=settings.pairs(set_ or []),
    )
    folder = out or default_folder(model, wanted)
    processes = world()
    with (
        _resumable("add --resume to go on from the last checkpoint"),
        terminal.training(f"{method} on {track}", quiet=not processes.is_main) as show,
    ):
        record = run.align(
            model,
            tracks.load(track),
            wanted,
            preset=chosen,
            out=folder,
            resume=resume,
            merge=merge,
            dtype=dtype,
            device=device or processes.device,
            revision=revision,
            progress=show,
        )
    if processes.is_main:
        terminal.print_alignment(record)
        terminal.say(f"written to {folder}; measure it with: ucbench evaluate {folder}")


@judge_app.command("run")
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
    before = _with_answers(found)
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


@judge_app.command("agree")
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
    _with_answers(found)
    chosen = [judges.load(first), judges.load(second)]
    for judge in chosen:
        if judge.id not in found.judge_ids():
            engine.judge_answers(found, judge)
    terminal.print_agreement(found, chosen[0].id, chosen[1].id)


@board_app.command("build")
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
    from ucbench import terminal

    stores = store or [Path("results")]
    for folder in stores:
        if not folder.is_dir() and not reported:
            raise StoreError(f"there is no store {folder}; evaluate a model with --out {folder} first")
    target = out or stores[-1]
    if reported:
        paper.write(target)
    board = boards.build(stores, target)
    terminal.say(f"{len(board.rows)} rows in {target / boards.BOARD}")


@board_app.command("verify")
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


@board_app.command("show")
def board_show(
    store: Annotated[Path, typer.Argument(help="The folder of the board.")] = Path("results"),
    track: Annotated[str | None, typer.Option(help="Only this track.")] = None,
    order: Annotated[str, typer.Option(help="A score key.")] = "balanced_accuracy",
) -> None:
    """Print the board as a table."""
    from ucbench import board as boards
    from ucbench import terminal
    from ucbench.errors import UnknownNameError
    from ucbench.metrics.keys import KEYS

    if order not in KEYS:
        raise UnknownNameError(f"there is no score {order!r}; --order takes one of {', '.join(KEYS)}")
    terminal.print_board(boards.load(store), track, order)


@app.command("align-report")
def align_report(
    model: Annotated[str, typer.Argument(help="The model before alignment: its name, folder or Hub id.")],
    adapter: Annotated[
        list[str] | None,
        typer.Option(metavar="METHOD=FOLDER", help="What ucbench align wrote; repeat it for others."),
    ] = None,
    safety_prompt: Annotated[
        bool, typer.Option(help="Ask the untrained model with a careful system prompt as well.")
    ] = True,
    track: Annotated[str, typer.Option(help="What is asked, on its test split.")] = "pictograms",
    judge: JudgeName = "rules",
    second_judge: Annotated[
        str, typer.Option(help="A judge of another kind for the same answers.")
    ] = "classifier",
    limit: Annotated[int | None, typer.Option(min=1, help="Only that many samples.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Answers decoded together.")] = 64,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="An answer is cut there.")] = 512,
    dtype: Dtype = None,
    device: Device = None,
    revision: Annotated[str | None, typer.Option(help="Of the model on the Hub.")] = None,
    out: Out = Path("runs"),
) -> None:
    """Set a model, a safety prompt alone and aligned adapters side by side.

    Writes align-report.json into --out, where the site's page Alignment reads it, and the scores into each
    adapter's model card. Killed at any moment, the same command goes on where it was.
    """
    from ucbench import terminal
    from ucbench.align import card, report, tables
    from ucbench.align.report_record import REPORT
    from ucbench.files import write_text
    from ucbench.judges import registry as judges
    from ucbench.models import registry as models
    from ucbench.tracks import registry as tracks
    from ucbench.world import world

    processes = world()
    tuned = report.adapters(adapter or [])
    chosen_track, first, second = tracks.load(track), judges.load(judge), judges.load(second_judge)

    def load(name: str, decoding: Decoding, system_prompt: str | None) -> VLM:
        return models.load(
            name,
            decoding=decoding,
            dtype=dtype,
            device=device or processes.device,
            revision=revision if name == model else None,
            system_prompt=system_prompt,
        )

    with _resumable():
        found = report.report(
            model,
            tuned,
            load=load,
            track=chosen_track,
            judge=first,
            second_judge=second,
            out=out,
            safety_prompt=safety_prompt,
            limit=limit,
            batch_size=batch_size,
            max_new_tokens=max_new_tokens,
            processes=processes,
            show=lambda label: terminal.progress(label, quiet=not processes.is_main),
        )
    if processes.is_main:
        write_text(out / REPORT, found.to_json())
        for one in tuned:
            method = found.methods[one.method]
            card.refresh(one.folder, one.record, method.seeds.get(str(one.seed), method))
        tables.print_report(found)
        terminal.say(f"written to {out / REPORT}")


@app.command()
def site(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the site listens.")] = 8501,
    host: Annotated[str, typer.Option(help="0.0.0.0 to be reached from other machines.")] = "localhost",
    results: Results = Path("results"),
    runs: Annotated[Path, typer.Option("--runs", help="Your own runs, shown on top.")] = Path("runs"),
) -> None:
    """Serve the site: the committed results overlaid with your own runs."""
    from ucbench.site import server

    os.environ["UCBENCH_RESULTS"], os.environ["UCBENCH_RUNS"] = str(results.resolve()), str(runs.resolve())
    server.serve(port=port, host=host)


@app.command()
def demo(
    out: Out = Path("runs"),
    results: Results = Path("results"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the site.")] = 8501,
    host: Annotated[str, typer.Option(help="0.0.0.0 to be reached from other machines.")] = "localhost",
    serve: Annotated[bool, typer.Option("--site/--no-site", help="Serve the site at the end.")] = True,
) -> None:
    """Evaluate the embedded model, align it with PPO, evaluate it again, build the board, serve the site.

    Everything goes into --out and, beside it, aligned/. Stopped at any moment, the same command goes on.
    """
    from ucbench import board as boards
    from ucbench import terminal
    from ucbench.align import settings
    from ucbench.align.output import default_folder

    folder = out.parent / default_folder(EMBEDDED, settings.load("ppo", "tiny"))
    evaluate(EMBEDDED, out=out)
    align(EMBEDDED, out=folder, resume=True)
    evaluate(str(folder), out=out)
    align_report(EMBEDDED, adapter=[f"ppo={folder}"], safety_prompt=False, out=out)
    terminal.print_board(boards.build([results, out], out), "pictograms", boards.RANK_KEY)
    if serve:
        terminal.say(f"the site: http://{host}:{port} (Ctrl+C ends it)")
        site(port=port, host=host, results=results, runs=out)


def _check_text(option: str, text: str | None) -> None:
    try:
        (text or "").encode()
    except UnicodeEncodeError as error:
        raise UcbenchError(f"{option} is not valid UTF-8 text; write it in UTF-8") from error


@contextmanager
def _resumable(how: str = "the same command goes on from here") -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nstopped; {how}", file=sys.stderr)
        raise typer.Exit(130) from None


def _with_answers(run: Run) -> RunRecord:
    """The record of a run whose answers can be judged."""
    record = run.record()
    if record.provenance == "reported":
        raise StoreError(f"{run.folder} holds figures reported by others; there are no answers to judge")
    return record


def _split(name: str) -> Literal["train", "test"]:
    if name == "train":
        return "train"
    if name == "test":
        return "test"
    raise UcbenchError(f"there is no split {name!r}; --split takes test or train")


def main() -> None:
    """Run a command; an error that a user can act on is one sentence and an exit status."""
    try:
        app()
    except UcbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
