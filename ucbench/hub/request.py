"""A request: a model revision that somebody wants evaluated. `requests/<yyyy-mm>/<id>.json`."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints

from ucbench.errors import UnknownNameError
from ucbench.hub.redact import readable, redact
from ucbench.record import Frozen

State = Literal["PENDING", "RUNNING", "DONE", "FAILED", "REJECTED", "CANCELLED"]

#: Nothing follows these but a retry by the owner.
ENDED: tuple[State, ...] = ("DONE", "FAILED", "REJECTED", "CANCELLED")

FOLDER = "requests"
MAX_ATTEMPTS = 3
#: How often a submitter may let an ended request start anew.
MAX_RETRIES = 3

HubId = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?$")
]
Sha = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
RequestId = Annotated[str, StringConstraints(pattern=r"^[0-9]{8}T[0-9]{6}-[0-9a-f]{12}$")]
#: An account, a worker, a track, a licence ...: what others wrote is a name or no request.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,95}$")]


def _moment(time: datetime) -> datetime:
    """In UTC, and within what can be reckoned with."""
    if not 1970 <= time.year <= 9000:
        raise ValueError("the year is none of ours")
    return time.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_moment)]
#: Shown in terminals and on pages: no codes for them, no tokens.
Prose = Annotated[str, AfterValidator(lambda text: redact(readable(text)))]


class Claim(Frozen):
    """Who works on a request, and until when nobody else may."""

    worker: Name
    nonce: Name
    since: Moment
    until: Moment


class Request(Frozen):
    """One request and what became of it.

    `model` is what was submitted; for an adapter `base` and `base_revision` name what it stands on.
    `reason` is a code for machines (see `ucbench.hub.reasons`), `message` a sentence for the submitter,
    `log` the redacted end of the evaluation's output.
    """

    schema_version: int = 1
    id: RequestId
    model: HubId
    revision: Sha
    base: HubId | None = None
    base_revision: Sha | None = None
    dtype: Name
    track: Name
    benchmark: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+/-]{0,95}$")]
    submitter: Name
    priority: int = Field(0, ge=-(10**6), le=10**6)
    parameters: int | None = Field(None, ge=0, le=10**15)
    architecture: Annotated[str, StringConstraints(pattern=r"^\w{0,100}$")] | None = None
    licence: Name | None = None
    submitted_at: Moment
    started_at: Moment | None = None
    finished_at: Moment | None = None
    state: State = "PENDING"
    attempts: int = Field(0, ge=0, le=1000)
    retries: int = Field(0, ge=0, le=1000)
    claim: Claim | None = None
    reason: Name | None = None
    message: Prose | None = Field(None, max_length=5_000)
    log: Prose | None = Field(None, max_length=20_000)
    run_id: Name | None = None

    @property
    def key(self) -> str:
        """What makes two requests the same: model, commit, dtype, track, version of the benchmark."""
        content = [self.model.lower(), self.revision, self.dtype, self.track, self.benchmark]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    @property
    def path(self) -> str:
        """Where it lies in the store."""
        return f"{FOLDER}/{self.id[:4]}-{self.id[4:6]}/{self.id}.json"

    def to_json(self) -> bytes:
        """The canonical text of its file."""
        return (self.model_dump_json(indent=1) + "\n").encode()


def states_of(names: Iterable[str]) -> frozenset[State]:
    """The states of those names, all of them for none. Raises `UnknownNameError`."""
    known: dict[str, State] = {state: state for state in get_args(State)}
    chosen = [name.upper() for name in names]
    for name in chosen:
        if name not in known:
            raise UnknownNameError(f"there is no state {name!r}; known: {', '.join(known)}")
    return frozenset(known[name] for name in chosen or known)


def new_id(now: datetime | None = None) -> str:
    """An id that sorts by time and that nobody else has."""
    now = (now or datetime.now(UTC)).astimezone(UTC)
    return f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(6)}"
