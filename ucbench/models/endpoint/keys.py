"""Keys come from the environment and go into one request header, nowhere else."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from ucbench.errors import AccessError

#: Looked at when no other variable is named.
OPENAI_KEY, HUB_KEY = "OPENAI_API_KEY", "HF_TOKEN"


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """A secret that does not print itself; empty when the endpoint needs none."""

    value: str = ""

    def __repr__(self) -> str:
        """Whether there is one."""
        return f"Key({'set' if self.value else 'none'})"


def read(name: str, *, required: bool) -> Key:
    """The key in an environment variable. Raises `AccessError` when it must be there and is not."""
    value = os.environ.get(name, "").strip()
    if not value and required:
        raise AccessError(f"the environment variable {name} holds no key; export it and start again")
    if not value.isascii() or not value.isprintable():
        raise AccessError(f"the environment variable {name} holds characters that no key has; set it anew")
    return Key(value)


def public_url(url: str) -> str:
    """The address without user, password, query and fragment: what may be written down."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


def redacted(text: str, *secrets: str, limit: int = 300) -> str:
    """`text` as one line of at most `limit` characters in which no secret appears."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "[key]")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def secrets_of(url: str) -> tuple[str, ...]:
    """What must not be written down of an address: its user and password, its query."""
    parts = urlsplit(url)
    found = (parts.netloc.rpartition("@")[0], parts.password or "", parts.query)
    return tuple(part for part in found if part)
