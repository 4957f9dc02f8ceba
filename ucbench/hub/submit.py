"""Submitting a model: the gates, then a place in the queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ucbench.errors import AccessError, StoreError, UcbenchError
from ucbench.hub.gates import Check, Limits, gates, request_of
from ucbench.hub.queue import Queue, Quota
from ucbench.hub.request import Request
from ucbench.hub.store import HUB, OfflineError, Store

if TYPE_CHECKING:
    from huggingface_hub import HfApi


class GateError(UcbenchError):
    """Gates failed; `checks` holds all of them, the passed ones too."""

    exit_code = 1

    def __init__(self, model: str, checks: list[Check]) -> None:
        self.checks = checks
        failed = [check for check in checks if check.outcome == "failed"]
        told = f"{len(failed)} checks failed" if len(failed) > 1 else "a check failed"
        first = failed[0]
        super().__init__(
            f"{model!r} was not submitted: {told} ({first.title}: {first.found}; {first.advice})"
        )


def prepare(
    model: str,
    revision: str | None = None,
    *,
    dtype: str | None = None,
    track: str = "pictograms",
    submitter: str,
    api: HfApi,
    queue: Queue | None = None,
    limits: Limits | None = None,
    show: Callable[[Check], object] = lambda _check: None,
) -> Request:
    """The request for a model that passes all gates; `show` gets each check as it is made.

    Nothing is written. See `gates` for the arguments. Raises `GateError`, and `AccessError` when the Hub
    cannot be reached.
    """
    looking = gates(
        model, revision, dtype=dtype, track=track, api=api, queue=queue, limits=limits, submitter=submitter
    )
    checks: list[Check] = []
    while True:
        try:
            check = next(looking)
        except StopIteration as end:
            if end.value is None:
                raise GateError(model, checks) from None
            return request_of(end.value, track=track, submitter=submitter)
        checks.append(check)
        show(check)


def submit(queue: Queue, request: Request, *, quota: Quota | None = None) -> Request:
    """Put a prepared request into the queue.

    Duplicates and quota are looked at once more, in the commit itself: two that pass the gates together do
    not both get in. Raises `DuplicateError`, `QuotaError`, `ForbiddenError` when the store is not ours to
    write to (see `propose`), and what the store raises.
    """
    return queue.add(request, quota=quota)


def propose(store: Store, request: Request, api: HfApi) -> str:
    """Open a pull request that adds a request to a store that is not ours to write to; returns its address.

    One that is open already for the same stands. Raises `AccessError`, naming the other way, when that is
    not allowed either.
    """
    from ucbench.hub.repository import Repository

    other = AccessError(
        f"{store.address} takes neither commits nor pull requests from {request.submitter}; submit "
        f"{request.model} with the form of the board's site"
    )
    if not store.address.startswith(HUB):
        raise other
    hub = Repository("dataset", store.address.removeprefix(HUB), api=api)
    # The same asked for twice is one pull request.
    title = f"Submit {request.model} at {request.revision[:12]} ({request.dtype}, {request.track})"
    text = f"`{request.model}` at `{request.revision}`, track {request.track}."
    try:
        return hub.propose_once({request.path: request.to_json()}, title, text).url
    except OfflineError:
        raise
    except (AccessError, StoreError) as error:
        raise other from error
