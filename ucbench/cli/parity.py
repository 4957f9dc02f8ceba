"""`ucbench parity`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ucbench.cli.options import (
    AllowIncomplete,
    Attention,
    Data,
    Device,
    Dtype,
    MaxPixels,
    Metadata,
    Out,
    PerceptionMetadata,
    Questions,
    SafeData,
    Stream,
    Template,
    check_hardware,
    check_place,
    check_text,
    look_for_data,
    resumable,
    split_of,
)

app = typer.Typer()


@app.command()
def parity(
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
    stream: Stream = False,
    split: Annotated[str | None, typer.Option(help="As of `ucbench evaluate`.")] = None,
    n: Annotated[
        int, typer.Option("--n", min=1, help="Pictures, with all their questions; and questions in words.")
    ] = 50,
    batch_size: Annotated[int, typer.Option(min=1, help="Answers decoded together.")] = 64,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="An answer is cut there.")] = 512,
    dtype: Dtype = None,
    device: Device = None,
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch on the Hub.")] = None,
    system_prompt: Annotated[str | None, typer.Option(help="Put before every question.")] = None,
    template: Template = None,
    attention: Attention = None,
    max_pixels: MaxPixels = None,
    judge: Annotated[str | None, typer.Option(help="As of `ucbench evaluate`.")] = None,
    out: Out = Path("runs"),
) -> None:
    """Ask one at a time, in batches and with shared prefixes; compare tokens, verdicts, scores, seconds.

    Greedy decoding. What is found goes into parity.json, beside the record of the same model on the same
    track.
    """
    from ucbench import parity as comparing
    from ucbench import terminal
    from ucbench.errors import ModelError
    from ucbench.judges import registry as judges
    from ucbench.models import registry as models
    from ucbench.models.guards.vlm import GuardVLM
    from ucbench.models.local import LocalVLM
    from ucbench.record import Decoding
    from ucbench.tracks import registry as tracks
    from ucbench.tracks.scoring import scoring
    from ucbench.tracks.sources import Sources

    check_text("--system-prompt", system_prompt)
    check_hardware(dtype, device)
    check_place(out)
    sources = Sources(
        data, metadata, perception_metadata, questions, safe_data, allow_incomplete, stream=stream
    )
    chosen_track, judge_name = tracks.load(track, sources), judge or scoring(track).judge
    judges.check_name(judge_name)
    look_for_data(chosen_track)
    chosen_judge = judges.load(judge_name)
    vlm = models.load(
        model,
        decoding=Decoding(max_new_tokens=max_new_tokens),
        dtype=dtype,
        device=device,
        revision=revision,
        system_prompt=system_prompt,
        template=template,
        attention=attention,
        max_pixels=max_pixels,
    )
    if isinstance(vlm, GuardVLM):
        raise ModelError(f"{model} is a guard, and parity compares answers to questions; name another model")
    if not isinstance(vlm, LocalVLM):
        raise ModelError(f"{model} does not run here; parity is about models that this process runs")
    with (
        resumable("nothing was written"),
        terminal.progress(f"{model} on {track}, in three ways") as show,
    ):
        found, path = comparing.parity(
            vlm,
            chosen_track,
            chosen_judge,
            out=out,
            n=n,
            split=split_of(split),
            batch_size=batch_size,
            progress=show,
        )
    terminal.print_parity(found)
    terminal.say(f"written to {path}")
