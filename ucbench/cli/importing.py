"""`ucbench import-answers` and `ucbench questions`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ucbench.cli.options import (
    AllowIncomplete,
    Data,
    Metadata,
    Out,
    PerceptionMetadata,
    Questions,
    SafeData,
    Stream,
    check_place,
    check_text,
    split_of,
)
from ucbench.errors import UcbenchError

app = typer.Typer()

_Split = Annotated[
    str | None, typer.Option("--split", help="all, test or train; by default what the track measures on.")
]
_Draw = Annotated[int, typer.Option("--draw", min=0, max=1_000_000, help="As of `ucbench evaluate`.")]
_Limit = Annotated[int | None, typer.Option("--limit", min=1, help="As of `ucbench evaluate`.")]


@app.command("import-answers")
def import_answers(
    answers: Annotated[Path, typer.Argument(help="A folder in the authors' layout, or a table.")],
    model: Annotated[str, typer.Option(help="The name that the answers get on the board.")],
    track: Annotated[str, typer.Option(help="The track that was asked.")] = "unsafeconcepts",
    data: Data = None,
    metadata: Metadata = None,
    perception_metadata: PerceptionMetadata = None,
    questions: Questions = None,
    safe_data: SafeData = None,
    allow_incomplete: AllowIncomplete = False,
    split: _Split = None,
    draw: _Draw = 0,
    limit: _Limit = None,
    dtype: Annotated[str | None, typer.Option(help="What the model ran in, if known.")] = None,
    temperature: Annotated[float, typer.Option(min=0.0, max=100.0, help="As was asked; 0 is greedy.")] = 0.0,
    top_p: Annotated[float, typer.Option(min=0.01, max=1.0, help="As was asked.")] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="As was asked.")] = 512,
    system_prompt: Annotated[str | None, typer.Option(help="As was put before every question.")] = None,
    trained_on: Annotated[
        list[str] | None,
        typer.Option(
            "--trained-on",
            metavar="TRACK/SPLIT",
            help="What the model was trained on, e.g. unsafeconcepts/train: it is scored on the rest. Repeat "
            "it for others.",
        ),
    ] = None,
    source: Annotated[str | None, typer.Option(help="Where the answers come from, for the record.")] = None,
    judge: Annotated[
        str | None,
        typer.Option(help="rules (for a new run, if none is named), classifier, classifier:official."),
    ] = None,
    out: Out = Path("runs"),
) -> None:
    """Judge and score answers that were given elsewhere; a run of provenance `imported`.

    ANSWERS is a folder as the authors save them, <model>/<capability>/response_prompt_<i>.json with rows
    prompt, image_fname, output (the folder above, or the model's own): rows are matched by their prompt and
    picture, never by their order, and perception options are read from the prompts unless
    --perception-metadata is given.

    Or it is a table (.csv, .jsonl, .parquet) of answers to any track with the columns sample_id,
    question_id, text; and, where known, prompt (checked), error, tokens, truncated. `ucbench questions`
    writes what is to be asked.

    The official pictures are not needed: --metadata alone says what was asked. Missing, doubled and empty
    answers are reported; a run that lacks more than 1% is incomplete.
    """
    from ucbench import terminal
    from ucbench.importing import run as importing
    from ucbench.judges import registry as judges
    from ucbench.record import Decoding, Entry
    from ucbench.tracks import registry as tracks
    from ucbench.tracks.scoring import scoring
    from ucbench.tracks.sources import Sources

    for option, text in (("--model", model), ("--system-prompt", system_prompt), ("--source", source)):
        check_text(option, text)
    check_place(out)
    if not model.strip():
        raise UcbenchError("--model must name the model")
    row = tracks.row(track)
    record, report = importing.import_answers(
        answers,
        Entry(
            model=model.strip(),
            dtype=dtype,
            system_prompt=system_prompt,
            trained_on=importing.trained_on(trained_on or ()),
            decoding=Decoding(temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens),
        ),
        lambda sources: tracks.load(track, sources),
        Sources(data, metadata, perception_metadata, questions, safe_data, allow_incomplete, True),
        judges.load(judge or scoring(track).judge),
        out=out,
        part=importing.Part(split_of(split), draw, limit),
        options_from_prompts="perception_metadata" in row.takes and perception_metadata is None,
        source=source,
        keep_judge=judge is None,
    )
    terminal.print_record(record)
    for line in report.lines():
        terminal.say(line)
    terminal.say(f"written to {out / record.entry.slug / record.run_id}")


@app.command("questions")
def write_questions(
    out: Annotated[Path, typer.Option("--out", help="The table to write: .csv, .jsonl or .parquet.")],
    track: Annotated[str, typer.Option(help="Whose questions.")] = "pictograms",
    data: Data = None,
    metadata: Metadata = None,
    perception_metadata: PerceptionMetadata = None,
    questions: Questions = None,
    safe_data: SafeData = None,
    allow_incomplete: AllowIncomplete = False,
    stream: Stream = False,
    split: _Split = None,
    draw: _Draw = 0,
    limit: _Limit = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Write every picture there as PNG too, unsafe ones of the data included."),
    ] = None,
) -> None:
    """Write the questions of a track as a table, to ask them by other means.

    Columns: sample_id, question_id, image (a path with --images, else a name or the data's own path),
    prompt. Add a column text with the answers and give the table to `ucbench import-answers`.
    """
    from ucbench import evaluate as engine
    from ucbench import terminal
    from ucbench.importing import table
    from ucbench.record import Entry
    from ucbench.tracks import registry as tracks
    from ucbench.tracks.sources import Sources

    sources = Sources(
        data, metadata, perception_metadata, questions, safe_data, allow_incomplete, images is None, stream
    )
    chosen = tracks.load(track, sources)
    asked = engine.choose_split(Entry(model="any"), chosen, split_of(split))
    samples, _ = engine.choose_samples(chosen, asked, draw, limit)
    n = table.write_questions(samples, out, images)
    terminal.say(f"{n:,} questions about {len(samples):,} pictures in {out}")
