"""The gates before the queue, a file each: what a model is refused for, and what to do about it.

Everything is read from the repository at one commit, without loading any of it: no weights, no code.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ucbench.hub.gates import (
    adapter,
    architecture,
    card,
    name,
    options,
    queued,
    repository,
    template,
    weights,
)
from ucbench.hub.gates.base import Check, Finding, Gate, Limits, Note, Outcome, Refused, Subject
from ucbench.hub.gates.reader import Reader
from ucbench.hub.queue import Queue
from ucbench.hub.request import Request, new_id

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["Check", "Facts", "Limits", "Outcome", "benchmark_of", "gates", "request_of"]

_NAME = Gate("name", "Name", name.look)
#: Of every repository, a base model's too.
_REPOSITORY = (
    Gate("repository", "Repository", repository.look_at_repository, ("name",)),
    Gate("revision", "Commit", repository.look_at_revision, ("repository",)),
    Gate("access", "Access", repository.look_at_access, ("repository",)),
)
_FILES = (
    Gate("format", "Weights as safetensors", weights.look_at_format, ("revision", "access")),
    Gate("code", "Code", architecture.look_at_code, ("revision", "access")),
)
_WHOLE = (
    Gate("architecture", "Architecture", architecture.look_at_architecture, ("revision", "access")),
    Gate("processor", "Processor", architecture.look_at_processor, ("revision", "access")),
    Gate("size", "Size", weights.look_at_size, ("format",)),
    Gate("template", "Chat template", template.look, ("revision", "access")),
)
_CARD = Gate("card", "Licence and card", card.look, ("revision", "access"))
_ADAPTER = (
    Gate("adapter", "Adapter", adapter.look, ("revision", "access")),
    Gate("size", "Size", weights.look_at_size, ("format",)),
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a request says of a model whose gates are all passed."""

    model: str
    revision: str
    dtype: str
    parameters: int
    architecture: str
    licence: str | None
    base: str | None = None
    base_revision: str | None = None


@dataclass(slots=True)
class _Seen:
    """The outcomes so far; whether a gate can be looked at depends on them."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def run(self, gate: Gate, subject: Subject, prefix: str = "") -> Check:
        return self.look(
            prefix + gate.id,
            f"{'Base model: ' if prefix else ''}{gate.title}",
            lambda: gate.look(subject),
            tuple(prefix + need for need in gate.needs),
        )

    def look(self, key: str, title: str, look: Callable[[], Finding], needs: tuple[str, ...] = ()) -> Check:
        missing = [need for need in needs if self.outcomes.get(need) not in ("passed", "warning")]
        if missing:
            check = Check(key, title, "skipped", "not looked at, as it builds on what failed above")
        else:
            try:
                found = look()
            except Refused as refused:
                check = Check(key, title, "failed", _line(refused.found), _line(refused.advice))
            else:
                if isinstance(found, Note):
                    check = Check(key, title, "warning", _line(found.found), _line(found.advice))
                else:
                    check = Check(key, title, "passed", _line(found))
        self.outcomes[key] = check.outcome
        return check

    @property
    def passed(self) -> bool:
        return all(outcome in ("passed", "warning") for outcome in self.outcomes.values())


def gates(
    model: str,
    revision: str | None = None,
    *,
    dtype: str | None = None,
    track: str = "pictograms",
    api: HfApi,
    queue: Queue | None = None,
    limits: Limits | None = None,
    submitter: str | None = None,
) -> Generator[Check, None, Facts | None]:
    """Look at a model, a check at a time; the generator returns the facts, or None when a gate failed.

    `api` names the Hub and the token to read with; take `HfApi(token=False)` where others look through
    yours. `dtype` None or `auto` is the checkpoint's own. Without a queue, nobody looks for duplicates and
    quota. Raises `AccessError` when the Hub cannot be reached.
    """
    limits = limits or Limits()
    seen = _Seen()
    reader = Reader(api, limits)
    given = None if dtype == options.OWN else dtype
    subject = Subject(model, revision, reader, limits, given, by=submitter)

    yield seen.look("options", "Track and dtype", lambda: options.look(track, dtype))
    yield seen.run(_NAME, subject)
    for gate in (*_REPOSITORY, *_FILES):
        yield seen.run(gate, subject)
    base = None
    if subject.adapter:
        for gate in _ADAPTER:
            yield seen.run(gate, subject)
        base = yield from _base(seen, subject)
    else:
        for gate in _WHOLE:
            yield seen.run(gate, subject)
    yield seen.run(_CARD, subject)

    facts = _facts(subject, base) if seen.passed else None
    if queue is not None:
        if facts is None:
            # The key is the commit's, whatever failed at it.
            yield seen.look("duplicate", "Not submitted before", lambda: "", ("never",))
        else:
            asked = request_of(facts, track=track, submitter=submitter or "local")
            yield seen.look("duplicate", "Not submitted before", lambda: queued.look_for_same(queue, asked))
        yield seen.look(
            "quota", "Quota", lambda: queued.look_at_quota(queue, submitter or "local", limits.quota)
        )
    return facts if seen.passed else None


def _base(seen: _Seen, subject: Subject) -> Generator[Check, None, Subject | None]:
    """The gates of an adapter's base model."""
    if subject.base is None:
        return None
    named, revision = subject.base
    base = replace(
        subject, name=named, wanted=revision, info=None, model="", sha="", files={}, adapter=False,
        parameters=None, base=None, of_adapter=True,
    )  # fmt: skip
    seen.outcomes["base-name"] = "passed"  # the adapter's gate looked at it
    for gate in _REPOSITORY:
        yield seen.run(gate, base, "base-")
    if base.adapter:
        yield seen.look("base-whole", "Base model: whole", lambda: _refuse_stack(base))
        return None
    for gate in (*_FILES, *_WHOLE, _CARD):
        yield seen.run(gate, base, "base-")
    yield seen.look(
        "fit", "Adapter fits its base", lambda: adapter.look_at_fit(subject, base), ("format", "base-format")
    )
    return base


def _refuse_stack(base: Subject) -> Finding:
    raise Refused(
        f"{base.model} is an adapter itself", "merge it into its own base model first, and name that one"
    )


def _facts(subject: Subject, base: Subject | None) -> Facts:
    whole = base or subject
    assert subject.parameters is not None
    assert whole.parameters is not None
    return Facts(
        model=subject.model,
        revision=subject.sha,
        dtype=whole.dtype or "float32",
        parameters=whole.parameters + (subject.parameters if base else 0),
        architecture=whole.architecture or "",
        licence=subject.licence,
        base=base.model if base else None,
        base_revision=base.sha if base else None,
    )


def request_of(facts: Facts, *, track: str, submitter: str, time: datetime | None = None) -> Request:
    """The request that asks for the evaluation of a model."""
    time = time or datetime.now(UTC)
    return Request(
        id=new_id(time),
        model=facts.model,
        revision=facts.revision,
        base=facts.base,
        base_revision=facts.base_revision,
        dtype=facts.dtype,
        track=track,
        benchmark=benchmark_of(track),
        submitter=submitter,
        parameters=facts.parameters,
        architecture=facts.architecture,
        licence=facts.licence,
        submitted_at=time,
    )


def benchmark_of(track: str) -> str:
    """The suite that a track belongs to with its version, as a request names it."""
    from ucbench.tracks.suites import suite_of

    suite = suite_of(track)
    return f"{suite.id}/{suite.version}"


def _line(text: str, limit: int = 500) -> str:
    shown = " ".join(text.split())
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shown)
    return f"{shown[: limit - 1]}…" if len(shown) > limit else shown
