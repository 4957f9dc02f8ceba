"""`ucbench doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from ucbench.cli.options import AsJson

app = typer.Typer()


@app.command()
def doctor(
    offline: Annotated[bool, typer.Option("--offline", help="Leave out what asks the Hub.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check Python, packages, GPU, disk, Hub, token, data, stores; say what each lack means.

    Ends with status 1 when nothing will work.
    """
    import json
    from dataclasses import asdict

    from ucbench import doctor as examiner
    from ucbench import terminal

    found = []
    for check in examiner.examine(offline=offline):
        found.append(check)
        if not as_json:
            terminal.print_check(check)
    if as_json:
        print(json.dumps([asdict(check) for check in found], indent=1))
    if any(check.outcome == "broken" for check in found):
        raise typer.Exit(1)
