"""`ucbench dataset candidates`, `annotate`, `assemble`: compiling a dataset of one's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ucbench.cli.options import Device, resumable
from ucbench.errors import UcbenchError

app = typer.Typer()

Moved = Annotated[
    str | None, typer.Option("--source", help="Where the pictures are now, if they moved since.")
]
Compiled = Annotated[Path, typer.Argument(help="The folder that `dataset candidates` wrote.")]


@app.command()
def candidates(
    source: Annotated[
        str,
        typer.Argument(help="A folder of pictures, a Parquet file or folder, a Hub dataset (owner/name)."),
    ],
    out: Annotated[Path, typer.Option("--out", help="A folder for the candidates.")],
    concepts: Annotated[
        str, typer.Option(help="built-in, or a YAML or CSV file with id, name, category, prompt.")
    ] = "built-in",
    top: Annotated[int, typer.Option(min=1, help="Candidates for each concept.")] = 50,
    model: Annotated[
        str, typer.Option(help="A CLIP checkpoint: a folder or a Hub id.")
    ] = "openai/clip-vit-large-patch14",
    model_revision: Annotated[str | None, typer.Option(help="Commit, tag or branch of the model.")] = None,
    image_column: Annotated[str | None, typer.Option(help="The column of pictures, in a table.")] = None,
    split: Annotated[str | None, typer.Option(help="One split of a Hub dataset; all by default.")] = None,
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch of a Hub dataset.")] = None,
    embeddings: Annotated[
        Path | None, typer.Option(help="A folder of embeddings to share; within --out by default.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures encoded together.")] = 64,
    dtype: Annotated[str, typer.Option(help="float32, float16 or bfloat16.")] = "float32",
    device: Device = None,
    i_understand: Annotated[
        bool, typer.Option("--i-understand", help="The warning about illegal content was read.")
    ] = False,
) -> None:
    """Rank the pictures of a source by concept with CLIP; the nearest become candidates.

    No picture is copied. Killed at any moment, the same command goes on where it was.
    """
    from ucbench import terminal
    from ucbench.compile import candidates as compiling
    from ucbench.compile import clip, report
    from ucbench.compile import concepts as lists
    from ucbench.compile.sources import open_source

    wanted = lists.load(concepts)
    _make_sure(source, i_understand)
    pictures = open_source(source, image_column=image_column, split=split, revision=revision)
    encoder = clip.load(model, revision=model_revision, device=device, dtype=dtype)
    with resumable(), terminal.progress(f"{source} through {model}") as show:
        found = compiling.compile_candidates(
            pictures,
            wanted,
            encoder,
            out,
            top=top,
            embeddings=embeddings,
            batch_size=batch_size,
            progress=show,
        )
    report.print_candidates(found)


def _make_sure(source: str, understood: bool) -> None:
    """Show the warning; go on only when somebody said that they understand it."""
    from ucbench.compile import warning

    print(warning.before_ranking(source), file=sys.stderr)
    if understood:
        return
    if not sys.stdin.isatty():
        raise UcbenchError(
            "nobody is there to confirm the warning above; give --i-understand once you have read it"
        )
    print(f'Type "{warning.PHRASE}" to go on: ', end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().casefold() != warning.PHRASE.casefold():
        raise UcbenchError("the warning was not confirmed; nothing was read")


@app.command()
def annotate(
    folder: Compiled,
    annotator: Annotated[str, typer.Option("--annotator", help="Your name; decisions are kept under it.")],
    source: Moved = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Where the tool listens; a free one by default.")
    ] = None,
    pause_every: Annotated[float, typer.Option(min=0.0, help="Minutes until a pause is proposed.")] = 20.0,
) -> None:
    """Decide in the browser which candidates show their concept.

    Only this machine can reach the tool. Pictures are blurred until you ask for them. Any number of
    annotators can work on the folder at once, each with a command of their own.
    """
    from ucbench.site.annotate import server as tool

    tool.serve(folder, annotator, source=source, port=port, pause_every=pause_every)


@app.command()
def assemble(
    folder: Compiled,
    out: Annotated[Path, typer.Option("--out", help="The new dataset's folder; it must not exist.")],
    source: Moved = None,
    min_votes: Annotated[int, typer.Option(min=1, help="Fewer yes and no votes decide nothing.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Of the options of the perception question.")] = 2024,
) -> None:
    """Count the votes and write the dataset in the official layout, with the annotators' agreement."""
    from ucbench import terminal
    from ucbench.compile import assemble as assembling
    from ucbench.compile import report

    with terminal.progress("images") as show:
        done = assembling.assemble(folder, out, source=source, min_votes=min_votes, seed=seed, progress=show)
    report.print_assembly(done)
