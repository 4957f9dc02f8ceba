"""`ucbench align` and `ucbench align-report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ucbench.cli.options import (
    EMBEDDED,
    AllowIncomplete,
    Data,
    Device,
    Dtype,
    JudgeName,
    Metadata,
    Out,
    PerceptionMetadata,
    SafeData,
    Stream,
    check_hardware,
    check_place,
    look_for_data,
    resumable,
)

if TYPE_CHECKING:
    from ucbench.models.base import VLM
    from ucbench.record import Decoding

app = typer.Typer()


@app.command()
def align(
    model: Annotated[str, typer.Argument(help="embedded:tiny-vlm, a folder, or a Hub id (owner/name).")],
    method: Annotated[str, typer.Option(help="ppo, sft, dpo, grpo or rloo.")] = "ppo",
    track: Annotated[str, typer.Option(help="Whose train split is learned from.")] = "pictograms",
    data: Data = None,
    metadata: Metadata = None,
    perception_metadata: PerceptionMetadata = None,
    safe_data: SafeData = None,
    allow_incomplete: AllowIncomplete = False,
    stream: Stream = False,
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
    from ucbench.judges import registry as judges
    from ucbench.tracks import registry as tracks
    from ucbench.tracks.sources import Sources
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
    check_hardware(dtype, device)
    check_place(folder)
    if not isinstance(wanted, settings.SFTSettings | settings.DPOSettings):
        judges.check_name(wanted.reward.judge, rewarding=True)
    sources = Sources(data, metadata, perception_metadata, None, safe_data, allow_incomplete, stream=stream)
    chosen_track = tracks.load(track, sources)
    processes = world()
    look_for_data(chosen_track, quiet=not processes.is_main)
    with (
        resumable("add --resume to go on from the last checkpoint"),
        terminal.training(f"{method} on {track}", quiet=not processes.is_main) as show,
    ):
        record = run.align(
            model,
            chosen_track,
            wanted,
            preset=chosen,
            out=folder,
            resume=resume,
            merge=merge,
            dtype=dtype,
            device=device or processes.device,
            revision=revision,
            progress=show,
            say=terminal.say,
        )
    if processes.is_main:
        terminal.print_alignment(record)
        terminal.say(f"written to {folder}; measure it with: ucbench evaluate {folder}")


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
    data: Data = None,
    metadata: Metadata = None,
    perception_metadata: PerceptionMetadata = None,
    safe_data: SafeData = None,
    allow_incomplete: AllowIncomplete = False,
    stream: Stream = False,
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
    from ucbench.align import report, tables
    from ucbench.align.report_record import REPORT
    from ucbench.files import write_text
    from ucbench.hub.cards import model as card
    from ucbench.judges import registry as judges
    from ucbench.models import registry as models
    from ucbench.tracks import registry as tracks
    from ucbench.tracks.sources import Sources
    from ucbench.world import world

    check_hardware(dtype, device)
    check_place(out)
    for name in (judge, second_judge):
        judges.check_name(name)
    processes = world()
    tuned = report.adapters(adapter or [])
    sources = Sources(data, metadata, perception_metadata, None, safe_data, allow_incomplete, stream=stream)
    chosen_track = tracks.load(track, sources)
    look_for_data(chosen_track, quiet=not processes.is_main)
    first, second = judges.load(judge), judges.load(second_judge)

    def load(name: str, decoding: Decoding, system_prompt: str | None) -> VLM:
        return models.load(
            name,
            decoding=decoding,
            dtype=dtype,
            device=device or processes.device,
            revision=revision if name == model else None,
            system_prompt=system_prompt,
        )

    with resumable():
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
