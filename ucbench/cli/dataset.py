"""`ucbench dataset ...`."""

from __future__ import annotations

import typer

from ucbench.cli import dataset_compile

app = typer.Typer(help="Compile a dataset of your own; split the official one.", no_args_is_help=True)
app.add_typer(dataset_compile.app)
