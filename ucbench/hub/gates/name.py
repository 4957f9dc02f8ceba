"""Is the name one that the Hub can have? Looked at before anything is made of it."""

from __future__ import annotations

import re
import unicodedata

from pydantic import TypeAdapter, ValidationError

from ucbench.hub.gates.base import Finding, Refused, Subject, quoted
from ucbench.hub.request import HubId

_ID: TypeAdapter[str] = TypeAdapter(HubId)
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
_EXAMPLE = "give owner/name as on the model's page, such as llava-hf/llava-1.5-7b-hf"


def look(subject: Subject) -> Finding:
    """The gate. Raises `Refused`."""
    check_id(subject.name)
    if subject.wanted is not None:
        check_revision(subject.wanted)
    return subject.name


def check_id(name: str) -> None:
    """Raises `Refused` for what is no id of a model on the Hub, `owner/name`."""
    if foreign := next((character for character in name if not character.isascii()), None):
        known = unicodedata.name(foreign, f"U+{ord(foreign):04X}")
        raise Refused(
            f"{quoted(name)} holds the character {known}, which no id of the Hub has; it may only look like "
            "a letter",
            "type the id anew",
        )
    if name.startswith("embedded:"):
        raise Refused(f"{quoted(name)} comes with ucbench and is not on the Hub", _EXAMPLE)
    if name.startswith(("/", "./", "../", "~", "local:")) or "\\" in name:
        raise Refused(
            f"{quoted(name)} is a folder of this machine",
            "push it to the Hub (`hf upload owner/name FOLDER`) and submit that",
        )
    try:
        _ID.validate_python(name)
    except ValidationError:
        raise Refused(f"{quoted(name)} is no id of a model on the Hub", _EXAMPLE) from None
    if "/" not in name:
        raise Refused(f"{quoted(name)} names no owner", _EXAMPLE)
    # Rules of the Hub itself, which keep a name from meaning something in a path or in git.
    parts = name.split("/")
    if "--" in name or ".." in name or any(part.endswith((".", "-", ".git", ".ipynb")) for part in parts):
        raise Refused(f"{quoted(name)} is no id of a model on the Hub", _EXAMPLE)


def check_revision(revision: str) -> None:
    """Raises `Refused` for what is no name of a branch, tag or commit that can be submitted."""
    if revision.startswith("refs/"):
        raise Refused(
            f"{quoted(revision)} is no branch or tag of the owner's: anybody may open a pull request",
            "submit a branch, a tag or a commit of the main branch",
        )
    if ".." in revision or not _REVISION.fullmatch(revision):
        raise Refused(f"{quoted(revision)} is no revision", "give a branch, a tag or a commit's full hash")
