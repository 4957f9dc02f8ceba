"""`ucbench evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ucbench.cli.options import (
    AllowIncomplete,
    Attention,
    Data,
    Device,
    Dtype,
    Guard,
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
from ucbench.errors import UcbenchError

if TYPE_CHECKING:
    from ucbench.models.base import VLM
    from ucbench.models.endpoint.client import Service

app = typer.Typer()


@app.command()
def evaluate(
    model: Annotated[
        str | None,
        typer.Argument(help="embedded:tiny-vlm, a Hub id (owner/name), a folder of a model or adapter."),
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Ask an OpenAI-compatible server instead: its base URL, ending in /v1.")
    ] = None,
    provider: Annotated[
        str | None, typer.Option(help="Ask an inference provider of the Hub instead: auto, or its name.")
    ] = None,
    model_id: Annotated[
        str | None, typer.Option("--model", help="Of --endpoint or --provider: the model's id there.")
    ] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="... requests at once [8].")] = None,
    timeout: Annotated[float | None, typer.Option(min=0.1, help="... seconds for one reply [300].")] = None,
    key_env: Annotated[
        str | None,
        typer.Option(
            help="... the environment variable that holds the key [OPENAI_API_KEY, if set; HF_TOKEN for "
            "providers]."
        ),
    ] = None,
    price_input: Annotated[float | None, typer.Option(help="... price of a million input tokens.")] = None,
    price_output: Annotated[float | None, typer.Option(help="... price of a million output tokens.")] = None,
    track: Annotated[str, typer.Option(help="What is asked.")] = "pictograms",
    data: Data = None,
    metadata: Metadata = None,
    perception_metadata: PerceptionMetadata = None,
    questions: Questions = None,
    safe_data: SafeData = None,
    allow_incomplete: AllowIncomplete = False,
    stream: Stream = False,
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
    base_revision: Annotated[
        str | None,
        typer.Option("--base-revision", help="... of an adapter's base, where the adapter names no commit."),
    ] = None,
    system_prompt: Annotated[str | None, typer.Option(help="Put before every question.")] = None,
    template: Template = None,
    attention: Attention = None,
    max_pixels: MaxPixels = None,
    guard: Guard = None,
    judge: Annotated[
        str | None,
        typer.Option(help="rules (for a new run, if none is named), classifier, classifier:official."),
    ] = None,
    out: Out = Path("runs"),
) -> None:
    """Ask a model all questions of a track, judge its answers, score them.

    Killed at any moment, the same command goes on where it was. Processes of accelerate share the work.
    A model behind a server is asked with --endpoint URL --model ID, or --provider auto --model OWNER/NAME.
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
    check_hardware(dtype, device)
    check_place(out)
    processes = world()
    decoding = Decoding(temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens, seed=seed)
    sources = Sources(
        data, metadata, perception_metadata, questions, safe_data, allow_incomplete, stream=stream
    )
    chosen_track, judge_name = tracks.load(track, sources), judge or scoring(track).judge
    judges.check_name(judge_name)
    look_for_data(chosen_track, quiet=not processes.is_main)
    chosen_judge = judges.load(judge_name)
    remote = {"--concurrency": concurrency, "--timeout": timeout, "--key-env": key_env,
              "--price-input": price_input, "--price-output": price_output}  # fmt: skip
    service = _service(
        model, endpoint, provider, model_id, remote,
        {"--dtype": dtype, "--device": device, "--revision": revision, "--base-revision": base_revision,
         "--template": template, "--attention": attention, "--max-pixels": max_pixels},
    )  # fmt: skip
    if device == "auto" and processes.size > 1:
        raise UcbenchError(
            "--device auto spreads one model over all GPUs; start it without accelerate launch"
        )
    vlm: VLM
    if service is not None:
        from ucbench.models.endpoint import load as endpoints
        from ucbench.models.endpoint.costs import Prices
        from ucbench.models.guards import vlm as guards

        prices = Prices(price_input, price_output)
        vlm = endpoints.load(service, decoding=decoding, system_prompt=system_prompt, prices=prices)
        vlm = guards.served(vlm, service.model, guard)
    else:
        vlm = models.load(
            str(model),
            decoding=decoding,
            dtype=dtype,
            device=device or processes.device,
            revision=revision,
            base_revision=base_revision,
            system_prompt=system_prompt,
            template=template,
            attention=attention,
            max_pixels=max_pixels,
            guard=guard,
        )
    with (
        resumable(),
        terminal.progress(f"{vlm.entry.model} on {track}", quiet=not processes.is_main) as show,
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


def _service(
    model: str | None,
    endpoint: str | None,
    provider: str | None,
    model_id: str | None,
    remote: dict[str, Any],
    local: dict[str, Any],
) -> Service | None:
    """The service that the options name, None for a model on this machine.

    `remote` are the options of services alone, `local` those of local models alone. Raises
    `UcbenchError` for options that do not belong together.
    """
    given = [option for option, value in {"--model": model_id, **remote}.items() if value is not None]
    if endpoint is None and provider is None:
        if given:
            raise UcbenchError(
                f"{given[0]} is for models behind --endpoint or --provider; name one, or leave it out"
            )
        if model is None:
            raise UcbenchError(
                "no model is named; give one such as embedded:tiny-vlm, or --endpoint URL --model ID"
            )
        return None
    where = "--endpoint" if endpoint is not None else "--provider"
    if endpoint is not None and provider is not None:
        raise UcbenchError("--endpoint and --provider are two ways to reach a model; give one of them")
    if model is not None:
        raise UcbenchError(f"{model} is a model for this machine; with {where} name the model by --model ID")
    if model_id is None:
        raise UcbenchError(f"{where} needs --model ID, the name under which the model is served there")
    for option, value in local.items():
        if value is not None:
            raise UcbenchError(f"{option} is for models on this machine; leave it out with {where}")
    from ucbench.models.endpoint.client import Service

    changes = {"timeout": remote["--timeout"], "concurrency": remote["--concurrency"]}
    return Service(
        model_id,
        endpoint=endpoint,
        provider=provider,
        key_env=remote["--key-env"],
        **{name: value for name, value in changes.items() if value is not None},
    )
