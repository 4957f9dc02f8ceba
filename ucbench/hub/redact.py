"""Text that others may read: no secrets, no terminal codes, and only its end where it is long."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

MARK = "[redacted]"

#: Names of environment variables whose values are secrets.
_SECRET_NAME = re.compile(r"(?:TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)
#: Shorter values are words or numbers that a log needs.
_MIN_SECRET = 6

_PATTERNS = (
    # Tokens of the Hub, but not the names of its own Python functions and packages.
    re.compile(r"hf_(?!(?:hub|transfer|xet)(?![A-Za-z0-9]))[A-Za-z0-9]+"),
    re.compile(r"(?<=Bearer )[^\s'\"]+", re.IGNORECASE),
    re.compile(r"(?<=://)[^\s/@]+(?=@)"),
)

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
#: Control characters but tab and line feed, and those that turn the direction of text round.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def redact(text: str, *, environ: Mapping[str, str] | None = None, also: Iterable[str] = ()) -> str:
    """The text without secrets: tokens of the Hub, credentials, values of secret variables, and `also`."""
    named = environ if environ is not None else os.environ
    secrets = {value for name, value in named.items() if _SECRET_NAME.search(name)}
    secrets = {value.strip() for value in (*secrets, *also)}
    # The longest first: one may be the beginning of another.
    for value in sorted(secrets, key=len, reverse=True):
        if len(value) >= _MIN_SECRET:
            text = text.replace(value, MARK)
    for pattern in _PATTERNS:
        text = pattern.sub(MARK, text)
    return text


def readable(text: str) -> str:
    """The text as a terminal would leave it: no colours, no overwritten progress, no control characters."""
    text = _ANSI.sub("", text.replace("\r\n", "\n"))
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    text = _CONTROL.sub("", "\n".join(line.rstrip() for line in lines))
    # A lone surrogate cannot be written down as UTF-8.
    return text.encode("utf-8", "replace").decode("utf-8")


def tail(text: str, limit: int = 4000, *, also: Iterable[str] = ()) -> str:
    """The end of a log for others to read: readable, redacted, at most `limit` characters."""
    cleaned = redact(readable(text), also=also).strip("\n")
    if len(cleaned) <= limit:
        return cleaned
    cut = cleaned[-limit:]
    # From the beginning of a line, unless one line is nearly all there is.
    _, feed, rest = cut.partition("\n")
    return rest if feed and len(rest) > limit // 2 else cut


def tail_of_file(path: Path, limit: int = 4000, *, also: Iterable[str] = ()) -> str:
    """`tail` of a log file of any size; empty when there is none."""
    window = 16 * limit
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - window))
            content = stream.read(window).decode("utf-8", "replace")
    except OSError:
        return ""
    if size > window:
        # The cut may go through a secret, which then would not be known as one: begin behind it.
        rest = content.partition("\n")[2]
        content = rest if len(rest) > window // 2 else content[window // 2 :]
    return tail(content, limit, also=also)
