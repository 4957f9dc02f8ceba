"""What a language model behind an endpoint reads: each text asked about once, and kept as it comes.

A reply of the wrong form is asked for again, with a reminder, up to `TRIES` times. A failure of the service
is never a reading: it ends the reading with one sentence, and the same command goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ucbench.errors import AccessError, StoreError, UnknownNameError

if TYPE_CHECKING:
    from ucbench.models.endpoint.client import ChatClient, Service
    from ucbench.models.endpoint.messages import ChatRequest

#: Requests for one reading before it is given up.
TRIES = 3
#: Room for reasons, and for a model that thinks before it replies.
MAX_TOKENS = 2048
#: Looked at before the variable that endpoints use.
KEY = "JUDGE_API_KEY"
#: Readings done, and all that are needed.
Progress = Callable[[int, int], None]
#: (reply, text asked about) -> what it says in the form that is kept, or None for a reply of another form.
Parse = Callable[[str, str], str | None]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text was answered with: a label, or None and why there is none.

    `why` is `unparsed`, `refused` (by the service's content filter) or `rejected` (the server does not take
    the request at all: too long, say); with a label, `retried` when an earlier reply had another form.
    """

    label: str | None
    why: str | None = None


class Reader:
    """Asks one model about texts. `name` says what a reading is called in messages.

    `counts` adds up requests, texts asked about again (`retried`), readings from the cache (`cached`), texts
    given up (`unparsed`, `refused`), and tokens. Close it to close its connections.
    """

    def __init__(
        self, service: Service, cache: Path, *, system: str, reminder: str, name: str = "readings",
        client: ChatClient | None = None,
    ) -> None:  # fmt: skip
        from ucbench.models.endpoint.client import ChatClient

        self.model = service.model
        self.counts: Counter[str] = Counter()
        self.progress: Progress | None = None
        self._system, self._reminder, self._name = system, reminder, name
        self._cache = Cache(cache)
        self._client = client or ChatClient(service)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def read(self, texts: Sequence[str], parse: Parse) -> dict[str, Reading]:
        """The reading of each text, from the cache or the service. Raises `AccessError`, `StoreError`."""
        keys = {text: hashlib.sha256(text.encode()).hexdigest() for text in texts}
        found = {t: self._cache.readings[key] for t, key in keys.items() if key in self._cache.readings}
        self.counts["cached"] += len(found)
        if self.progress:
            self.progress(len(found), len(keys))
        missing = [text for text in keys if text not in found]
        failed: list[str] = []
        for attempt in range(TRIES):
            missing = self._round(missing, attempt, parse, keys, found, failed)
        if failed:
            raise AccessError(
                f"{len(failed):,} of {len(keys):,} {self._name} failed, the first with: {failed[0]}; "
                "the others are kept, start the same command again for the rest"
            )
        return found

    def _round(
        self,
        texts: Sequence[str],
        attempt: int,
        parse: Parse,
        keys: Mapping[str, str],
        found: dict[str, Reading],
        failed: list[str],
    ) -> list[str]:
        """Ask about each text once, fill `found` and `failed`, and return those to be asked about again."""
        from ucbench.models.endpoint.failures import BadRequestError, ChatError, RefusedError, RequestError

        again: list[str] = []
        rejected: list[str] = []
        self.counts["retried"] += len(texts) if attempt else 0
        try:
            for group in self._client.groups((text, self._request(text, attempt)) for text in texts):
                fresh: dict[str, Reading] = {}
                for text, outcome in group:
                    self.counts["requests"] += 1
                    if isinstance(outcome, RefusedError):
                        found[text] = Reading(None, "refused")
                        self.counts["refused"] += 1
                    elif isinstance(outcome, BadRequestError):
                        found[text] = Reading(None, "rejected")
                        rejected.append(outcome.reason)
                    elif isinstance(outcome, RequestError):
                        failed.append(outcome.reason)
                    else:
                        self.counts["tokens_in"] += outcome.usage.input
                        self.counts["tokens_out"] += outcome.usage.output
                        label = parse(outcome.text, text)
                        if label is not None:
                            fresh[text] = Reading(label, "retried" if attempt else None)
                        elif attempt + 1 < TRIES:
                            again.append(text)
                        else:
                            found[text] = Reading(None, "unparsed")
                            self.counts["unparsed"] += 1
                self._cache.append({keys[text]: reading for text, reading in fresh.items()})
                found |= fresh
                if self.progress:
                    self.progress(len(found), len(keys))
        except ChatError as failure:
            raise AccessError(
                f"{failure.reason}; the {self._name} so far are kept, so the same command goes on from there"
            ) from failure
        # Where the server has never taken a request, it is no matter of one answer.
        if len(rejected) == len(found) > 1 and not again:
            failed += rejected
        return again

    def _request(self, text: str, attempt: int) -> ChatRequest:
        from ucbench.models.endpoint.messages import ChatRequest

        # At temperature 0 the same words would get the same reply.
        asked = text if attempt == 0 else f"{text}\n\n{self._reminder}"
        return ChatRequest(asked, system=self._system, max_tokens=MAX_TOKENS, temperature=0.0)


class Cache:
    """Readings in an append-only file of JSON lines; lines that a kill cut short are passed over.

    Several processes may append to one file: each line is one write. Raises `StoreError`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.readings: dict[str, Reading] = {}
        try:
            content = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror}; move it away") from error
        for line in content.split(b"\n"):
            try:
                row = json.loads(line)
                self.readings[str(row["key"])] = Reading(row["label"], row["why"])
            except (ValueError, TypeError, KeyError):
                continue
        #: A line cut short must not swallow the next one.
        self._begin = b"\n" if content and not content.endswith(b"\n") else b""

    def append(self, fresh: dict[str, Reading]) -> None:
        """Keep readings; they are on the disk when it returns."""
        if not fresh:
            return
        lines = [
            self._begin
            + json.dumps({"key": key, "label": reading.label, "why": reading.why}).encode()
            + b"\n"
            for key, reading in fresh.items()
        ]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                for line in lines:
                    os.write(handle, line)
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise StoreError(
                f"cannot write {self.path}: {error.strerror}; mend that, or name a folder in UCBENCH_CACHE"
            ) from error
        self._begin = b""
        self.readings |= fresh


def judge_id(kind: str, model: str, version: int, content: Sequence[object]) -> str:
    """The id of a judge `kind`: its model, the version of its prompt, and a digest of all that it is told."""
    slug = re.sub(r"[^a-z0-9.]+", "-", model.lower()).strip("-.")[:60]
    digest = hashlib.sha256(json.dumps([model, *content]).encode()).hexdigest()[:8]
    return f"{kind}-{slug}-prompt{version}-{digest}"


def service(kind: str, name: str) -> Service:
    """Where the model of a judge `kind:name` is; the names, keys and errors are those of `load`."""
    from ucbench.models.endpoint.client import Service

    # An address may hold an @ of its own, behind a user and password, which no message repeats.
    found = re.fullmatch(r"(.+?)@(https?://[^\s/]\S*|hf(?::\S+)?)", name)
    if found is None:
        raise UnknownNameError(
            f"the judge {kind}:{name.partition('@')[0]} says not where its model is; write {kind}:MODEL@URL "
            f"with the base URL of an OpenAI-compatible endpoint, or {kind}:MODEL@hf"
        )
    model, place = found[1], found[2]
    variable = KEY if os.environ.get(KEY) else None
    if place.startswith("http"):
        return Service(model=model, endpoint=place, key_env=variable)
    return Service(model=model, provider=place.partition(":")[2] or "auto", key_env=variable)


def cache_folder() -> Path:
    """Where readings are kept: in UCBENCH_CACHE, else the user's folder for caches."""
    own = os.environ.get("UCBENCH_CACHE")
    base = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ucbench"
    return base / "judges"
