"""`ucbench evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ucbench.cli.options import (
    AllowIncomplete,
    Data,
    Device,
    Dtype,
    Metadata,
    Out,
    PerceptionMetadata,
    Questions,
    SafeData,
    check_text,
    resumable,
    split_of,
)

app = typer.Typer()


@app.command()
def evaluate(
    model: Annotated[
        str, typer.Argument(help="embedded:tiny-vlm, a Hub id (owner/name), a folder of a model or adapter.")
    ],
    track: Annotated[str, typer.Option(help="What is asked.")] = "pictograms",
    data: Data = None,
    metadata: Metadata = None,
    perception_metadata: PerceptionMetadata = None,
    questions: Questions = None,
    safe_data: SafeData = None,
    allow_incomplete: AllowIncomplete = False,
    split: Annotated[
        str | None, typer.Option(help="all, test or train; by default the one that fits track and model.")
    ] = None,
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
    from ucbench.tracks.scoring import scoring
    from ucbench.tracks.sources import Sources
    from ucbench.world import world

    check_text("--system-prompt", system_prompt)
    processes = world()
    decoding = Decoding(temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens, seed=seed)
    sources = Sources(data, metadata, perception_metadata, questions, safe_data, allow_incomplete)
    chosen_track, chosen_judge = tracks.load(track, sources), judges.load(judge or scoring(track).judge)
    vlm = models.load(
        model,
        decoding=decoding,
        dtype=dtype,
        device=device or processes.device,
        revision=revision,
        system_prompt=system_prompt,
    )
    with (
        resumable(),
        terminal.progress(f"{model} on {track}", quiet=not processes.is_main) as show,
    ):
        record = engine.evaluate(
            vlm,
            chosen_track,
            chosen_judge,
            out=out,
            split=split_of(split),
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
