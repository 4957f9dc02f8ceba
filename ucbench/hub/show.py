"""Requests in the terminal: a table, or everything about one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ucbench.format import MISSING, seconds, short_revision
from ucbench.hub.request import Request
from ucbench.terminal import new_table


def print_requests(requests: Sequence[Request], places: dict[str, int], title: str) -> None:
    """A request a row; under its model the id, the commit, the submitter and what became of it.

    `places` are those of requests that wait.
    """
    from rich.console import Console
    from rich.markup import escape

    table = new_table(escape(title))
    table.add_column("state", no_wrap=True)
    table.add_column("model", overflow="fold")
    table.add_column("track", overflow="fold")
    table.add_column("submitted", no_wrap=True)
    for request in requests:
        who = f"{short_revision(request.revision)}, {request.dtype}, by {request.submitter}"
        about = "\n".join(line for line in (request.id, who, _outcome(request)) if line)
        place = f" #{places[request.id]}" if request.id in places else ""
        table.add_row(
            request.state + place,
            f"{escape(request.model)}\n[dim]{escape(about)}[/dim]",
            escape(request.track),
            f"{request.submitted_at:%Y-%m-%d %H:%M}",
        )
    Console().print(table)


def _outcome(request: Request) -> str:
    if request.state == "RUNNING" and request.claim:
        return f"on {request.claim.worker}, attempt {request.attempts}"
    if request.state == "DONE":
        return f"run {request.run_id}"
    return request.reason or ""


def print_request(request: Request, place: int | None) -> None:
    """Everything that is known of a request, and the end of its log."""
    state = request.state if place is None else f"{request.state}, number {place} in the queue"
    rows: list[tuple[str, str | None]] = [
        ("request", request.id),
        ("state", state),
        ("model", f"{request.model} at {request.revision}"),
        ("base", f"{request.base} at {request.base_revision}" if request.base else None),
        ("dtype", request.dtype),
        ("track", f"{request.track} ({request.benchmark})"),
        ("submitter", request.submitter),
        ("priority", str(request.priority)),
        ("submitted", _time(request.submitted_at)),
        ("started", _time(request.started_at)),
        ("finished", _time(request.finished_at)),
        ("took", _took(request)),
        ("attempts", str(request.attempts)),
        ("worker", request.claim.worker if request.claim else None),
        ("until", _time(request.claim.until) if request.claim else None),
        ("run", request.run_id),
        ("reason", request.reason),
        ("message", request.message),
    ]
    for name, text in rows:
        if text is not None:
            print(f"{name:<10} {text}")
    if request.log:
        print(f"log\n{request.log}")


def _time(moment: datetime | None) -> str | None:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else None


def _took(request: Request) -> str | None:
    if not request.started_at or not request.finished_at or request.finished_at < request.started_at:
        return None
    taken = seconds((request.finished_at - request.started_at).total_seconds())
    return None if taken == MISSING else taken
