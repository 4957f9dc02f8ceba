"""What a gate is: one look at a submitted model, and what to say of it."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ucbench.hub.queue import Quota

if TYPE_CHECKING:
    from ucbench.hub.gates.reader import Info, Reader

Outcome = Literal["passed", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """What a gate found. `advice` says what to do when it failed.

    `skipped`: it could not be looked at, as an earlier gate failed. Both texts may quote the repository:
    they are one line of printable characters, and are escaped where they are shown.
    """

    id: str
    title: str
    outcome: Outcome
    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a model may be, and how much is read to find that out.

    max_params     parameters; 35 billion in bfloat16 are what one GPU of 80 GB holds
    files          in a repository
    text           bytes of a config, a chat template or a model card
    front_matter   bytes of a model card's front matter
    index          bytes of a safetensors index, or of one header
    requests       to the Hub, for all gates together
    total          bytes, for all gates together
    seconds        for all gates together; a single read may be silent for `silence`, and a busy Hub is asked
                   again after `wait` times 2, 4, 8
    commits        how many of a branch are looked through for a commit that was named
    card           characters of a model card's text, at least
    template_cpu   seconds of processor time that a chat template may take; `template_memory` bytes
    quota          what one account may submit; None: as much as it likes
    """

    max_params: int = 35_000_000_000
    files: int = 5_000
    text: int = 1 << 20
    front_matter: int = 1 << 16
    index: int = 1 << 24
    requests: int = 400
    total: int = 1 << 26
    seconds: float = 180.0
    silence: float = 15.0
    wait: float = 0.5
    commits: int = 1_000
    card: int = 200
    template_cpu: int = 3
    template_memory: int = 1 << 29
    quota: Quota | None = field(default_factory=Quota)

    @property
    def max_bytes(self) -> int:
        """Of all files that would be downloaded: the weights in float32, and some more."""
        return 4 * self.max_params + (1 << 30)


class Refused(Exception):  # noqa: N818 - the outcome of a gate, not an error
    """A gate fails: what was found, and what to do about it."""

    def __init__(self, found: str, advice: str) -> None:
        super().__init__(found)
        self.found, self.advice = found, advice


@dataclass(frozen=True, slots=True)
class Note:
    """A gate passes with a warning."""

    found: str
    advice: str = ""


#: What a gate returns when it passes: what it found, with a warning or without.
Finding = str | Note


@dataclass(slots=True)
class Subject:
    """A repository that is looked at, and what the gates have learnt of it so far.

    `name` and `wanted` are as they were given; `model` and `sha` are the Hub's own spelling and the commit
    that everything is read at. `files` maps paths to sizes in bytes. `dtype` is the wanted one, None for the
    checkpoint's own. `by` is the account that submits. `of_adapter` marks the base of
    the adapter that was submitted, which somebody else wrote.
    """

    name: str
    wanted: str | None
    reader: Reader
    limits: Limits
    dtype: str | None
    by: str | None = None
    info: Info | None = None
    model: str = ""
    sha: str = ""
    files: dict[str, int] = field(default_factory=dict)
    adapter: bool = False
    parameters: int | None = None
    architecture: str | None = None
    licence: str | None = None
    base: tuple[str, str | None] | None = None
    of_adapter: bool = False

    @property
    def at(self) -> str:
        """The model and its commit, for people."""
        return f"{self.model} at {self.sha[:7]}"

    def has(self, path: str) -> bool:
        """Whether there is such a file at the commit."""
        return path in self.files

    def text(self, path: str) -> str:
        """A file's text. Raises `Refused` when it is too long or no text."""
        return self.reader.text(self.model, self.sha, path, self.files[path], self.limits.text)

    def json(self, path: str) -> dict[str, Any]:
        """The object in a JSON file; empty when there is no such file. Raises `Refused`."""
        if path not in self.files:
            return {}
        return self.reader.json(self.model, self.sha, path, self.files[path], self.limits.text)


@dataclass(frozen=True, slots=True)
class Gate:
    """`look` returns what it found, or raises `Refused`. It is skipped unless all in `needs` passed."""

    id: str
    title: str
    look: Callable[[Subject], Finding]
    needs: tuple[str, ...] = ()


def quoted(text: object, limit: int = 60) -> str:
    """Somebody else's word within a sentence of ours: one line, printable, in quotation marks."""
    shown = "".join(
        character
        if character.isprintable() and unicodedata.category(character) != "Cf"
        else "\N{REPLACEMENT CHARACTER}"
        for character in str(text)[: limit + 1]
    )
    return f"'{shown[:limit]}…'" if len(shown) > limit else f"'{shown}'"


def amount(size: int) -> str:
    """Bytes for people: 532 bytes, 4.7 kB, 14.1 GB."""
    if size < 1000:
        return f"{size} bytes"
    value = float(size)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 1000 or unit == "TB":
            return f"{value:.3g} {unit}"
    raise AssertionError


def billions(parameters: int) -> str:
    """Parameters for people: 2.25 million, 7.06 billion."""
    if parameters >= 1_000_000_000:
        return f"{parameters / 1e9:.3g} billion"
    if parameters >= 1_000_000:
        return f"{parameters / 1e6:.3g} million"
    return f"{parameters:,}"
