"""`ucbench submit`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ucbench.cli.options import AsJson, StoreAddress

if TYPE_CHECKING:
    from ucbench.hub.gates import Check
    from ucbench.hub.request import Request

app = typer.Typer()


@app.command()
def submit(
    model: Annotated[str, typer.Argument(help="Its id on the Hub, owner/name; a LoRA adapter's as well.")],
    store: StoreAddress,
    revision: Annotated[
        str | None, typer.Option(help="A branch, tag or commit; the newest commit of main by default.")
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="bfloat16, float16, float32, or auto: the checkpoint's own.")
    ] = "auto",
    track: Annotated[str, typer.Option(help="What it is asked.")] = "pictograms",
    max_params: Annotated[
        float, typer.Option(min=0, help="Refuse models of more than so many billion parameters.")
    ] = 35.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look at it; nothing is written.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask the board to evaluate a model of the Hub.

    The repository is looked at first; nothing of it is loaded or run.

    Exit 1: a check failed. Each one that did says what to do.
    """
    from huggingface_hub import HfApi
    from rich.console import Console

    from ucbench import terminal
    from ucbench.hub import submit as submitting
    from ucbench.hub.gates.base import Limits
    from ucbench.hub.gates.show import ticks
    from ucbench.hub.queue import Queue, Quota
    from ucbench.hub.store import HUB, ForbiddenError, open_store

    # In a folder of one's own there is nobody to leave room for.
    quota = Quota() if store.startswith(HUB) else None
    limits = Limits(max_params=_count(max_params), quota=quota)
    api, queue = HfApi(), Queue(open_store(store))
    submitter = queue.store.whoami()
    checks: list[Check] = []
    with ticks(Console(quiet=as_json)) as tick:

        def show(check: Check) -> None:
            checks.append(check)
            tick(check)

        try:
            request = submitting.prepare(
                model, revision, dtype=dtype, track=track, submitter=submitter, api=api, queue=queue,
                limits=limits, show=show,
            )  # fmt: skip
        except submitting.GateError as error:
            if as_json:
                _print(checks, None)
            else:
                n = sum(check.outcome == "failed" for check in error.checks)
                terminal.say(f"not submitted: {n} {'check' if n == 1 else 'checks'} failed")
            raise typer.Exit(1) from None

    place, opened = None, None
    if not dry_run:
        try:
            submitting.submit(queue, request, quota=quota)
            place = queue.place(request.id)
        except ForbiddenError:
            opened = submitting.propose(queue.store, request, api)
    if as_json:
        _print(checks, request, place, opened)
        return
    what = f"{request.model} at {request.revision[:12]} ({request.dtype}, track {request.track})"
    if dry_run:
        print(f"{what} can be submitted; nothing was written")
    elif opened:
        print(f"{what} waits for a maintainer of {store} to merge {opened}")
    else:
        where = f"is number {place} in the queue" if place else "is in the queue"
        print(f"{what} {where}, as request {request.id}")
        print(f"see what becomes of it: ucbench queue show {request.id} --store {store}")


def _count(billions: float) -> int:
    from ucbench.errors import UcbenchError

    if not 0 < billions < 1e6:
        raise UcbenchError(f"--max-params {billions:g} is no number of billions of parameters; try 35")
    return round(billions * 1e9)


def _print(
    checks: list[Check], request: Request | None, place: int | None = None, opened: str | None = None
) -> None:
    fields = None if request is None else request.model_dump(mode="json")
    told = {"checks": [asdict(check) for check in checks], "request": fields}
    print(json.dumps({**told, "place": place, "pull_request": opened}, indent=1))
