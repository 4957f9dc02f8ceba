"""`ucbench dataset ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ucbench.cli import dataset_compile

app = typer.Typer(help="Compile a dataset of your own; split the official one.", no_args_is_help=True)
app.add_typer(dataset_compile.app)


@app.command()
def split(
    metadata: Annotated[Path, typer.Option("--metadata", help="The authors' metadata.jsonl, or your own.")],
    out: Annotated[Path, typer.Option("--out", help="A folder for train.jsonl and test.jsonl.")],
) -> None:
    """Write the authors' train and test split: rows as in the metadata, in the authors' order."""
    from ucbench import terminal
    from ucbench.compile.split import write_split

    written = write_split(metadata, out)
    terminal.say(f"{written.n_train:,} rows in {written.train}, {written.n_test:,} in {written.test}")
