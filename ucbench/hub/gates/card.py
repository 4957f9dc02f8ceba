"""Is there a licence, and a card that says what the model is?"""

from __future__ import annotations

import re
from typing import Any

import yaml

from ucbench.hub.gates.base import Finding, Note, Refused, Subject, amount, quoted

CARD = "README.md"
#: No real front matter nests deeper, or has more entries.
_DEPTH, _NODES = 20, 5_000
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}")
_HOW = "write `license: apache-2.0` (or yours) into the front matter of README.md, between two lines of ---"


class BombError(ValueError):
    """Front matter that would take much time or memory to read."""


class PlainLoader(yaml.BaseLoader):
    """YAML of texts, lists and mappings: no tags, no anchors (of which bombs are made), no depths."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose one node. Raises `BombError`."""
        self._nodes += 1
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise BombError("it uses anchors and aliases")
        if getattr(event, "tag", None) not in (None, "!"):
            raise BombError("it uses tags")
        if self._depth >= _DEPTH:
            raise BombError(f"it is nested deeper than {_DEPTH} levels")
        if self._nodes > _NODES:
            raise BombError(f"it has more than {_NODES:,} entries")
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


def look(subject: Subject) -> Finding:
    """The gate. What is wrong with the card of an adapter's base is a warning, as others wrote it."""
    try:
        return _look(subject)
    except Refused as refused:
        if subject.of_adapter:
            return Note(refused.found)
        raise


def _look(subject: Subject) -> Finding:
    if not subject.has(CARD):
        raise Refused(
            "it has no model card",
            "add a README.md with the licence in its front matter, and say what the model is and is for",
        )
    front, text = split(subject.text(CARD), subject.limits.front_matter)
    subject.licence = licence(front)
    length = len(" ".join(_COMMENT.sub("", text).split()))
    if length < subject.limits.card:
        raise Refused(
            f"its model card says little: {length} characters, and {subject.limits.card} is the least",
            "write what the model is, what it was trained on and what it is for",
        )
    found = f"licence {subject.licence}, a card of {length:,} characters"
    if subject.licence == "unknown":
        return Note(found, _HOW)
    return found


def split(card: str, limit: int) -> tuple[dict[str, Any], str]:
    """(front matter, text) of a model card. Raises `Refused` for front matter that cannot be read safely."""
    lines = card.lstrip("\ufeff \t\r\n")
    if not re.match(r"---[ \t]*\r?\n", lines):
        return {}, card
    opening = lines.index("\n") + 1
    closing = re.compile(r"^---[ \t]*\r?$", re.MULTILINE).search(lines, opening)
    if closing is None:
        raise Refused("the front matter of its model card does not end", _HOW)
    text = lines[opening : closing.start()]
    if len(text.encode()) > limit:
        size = amount(len(text.encode()))
        raise Refused(
            f"the front matter of its model card has {size}, and {amount(limit)} is the most",
            "keep the licence, tags and base model there, and put the rest into the text",
        )
    try:
        found = yaml.load(text, PlainLoader)
    except BombError as error:
        raise Refused(
            f"the front matter of its model card is refused: {error}", "write it out plainly"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise Refused("the front matter of its model card is no valid YAML", _HOW) from None
    return (found if isinstance(found, dict) else {}), lines[closing.end() :]


def licence(front: dict[str, Any]) -> str:
    """The licence that front matter names. Raises `Refused` when it names none."""
    named = front.get("license")
    if isinstance(named, list) and named:
        named = named[0]
    if named == "other":
        named = front.get("license_name") or named
    if not isinstance(named, str) or not named.strip():
        raise Refused("its model card names no licence", _HOW)
    if not _LICENCE.fullmatch(named.strip()):
        raise Refused(f"{quoted(named)} is no licence's short name", _HOW)
    return named.strip()
