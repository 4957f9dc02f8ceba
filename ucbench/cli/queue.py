"""`ucbench queue ...`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from ucbench.cli.options import AsJson, StoreAddress

if TYPE_CHECKING:
    from ucbench.hub.queue import Queue
    from ucbench.hub.request import Request

app = typer.Typer(help="See and change the requests for evaluation.", no_args_is_help=True)

RequestName = Annotated[str, typer.Argument(metavar="REQUEST", help="The id, as `queue list` shows it.")]


def _queue(address: str) -> Queue:
    from ucbench.hub.queue import Queue
    from ucbench.hub.store import open_store

    return Queue(open_store(address))


@app.command("list")
def queue_list(
    store: StoreAddress,
    state: Annotated[
        list[str] | None, typer.Option(help="Only that state: PENDING, RUNNING, ...; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the requests: those that wait or run first, in the order in which they are taken."""
    from ucbench import terminal
    from ucbench.hub import show
    from ucbench.hub.request import states_of
    from ucbench.hub.store import not_there

    wanted = states_of(state or [])
    queue = _queue(store)
    head = queue.store.head()
    found = queue.all(head)
    waiting = [request.id for request in found if request.state == "PENDING"]
    places = {request_id: number for number, request_id in enumerate(waiting, start=1)}
    listed = [request for request in found if request.state in wanted]
    # What has ended comes last, the latest first.
    ended = sorted(
        (request for request in listed if request.finished_at), key=lambda request: request.id, reverse=True
    )
    listed = [request for request in listed if not request.finished_at] + ended
    if as_json:
        print(json.dumps([_fields(request, places.get(request.id)) for request in listed], indent=1))
    elif listed:
        show.print_requests(listed, places, f"Requests in {store}")
    else:
        empty = f"there is no store {store} yet" if not_there(store) else f"the queue of {store} is empty"
        print(f"there is no such request in {store}" if found else empty)
    for path, problem in queue.damaged(head).items():
        terminal.say(f"note: {path} is no request and is left alone ({problem})")


@app.command("show")
def queue_show(request: RequestName, store: StoreAddress, as_json: AsJson = False) -> None:
    """Everything about one request: its state, place, reason and the end of its log."""
    from ucbench.hub import show

    queue = _queue(store)
    found, place = queue.get(request), queue.place(request)
    if as_json:
        print(json.dumps(_fields(found, place), indent=1))
    else:
        show.print_request(found, place)


@app.command("cancel")
def queue_cancel(request: RequestName, store: StoreAddress) -> None:
    """Take a request of yours out of the queue; a worker that is at it stops."""
    queue = _queue(store)
    ended = queue.cancel(request, queue.store.whoami())
    print(f"request {ended.id} is {ended.state}")


@app.command("retry")
def queue_retry(request: RequestName, store: StoreAddress) -> None:
    """Let a request of yours that failed or was cancelled wait again."""
    queue = _queue(store)
    again = queue.retry(request, queue.store.whoami())
    print(f"request {again.id} is {again.state}, number {queue.place(again.id)} in the queue")


def _fields(request: Request, place: int | None) -> dict[str, object]:
    return {**request.model_dump(mode="json", exclude={"claim": {"nonce"}}), "place": place}
