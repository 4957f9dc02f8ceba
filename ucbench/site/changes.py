"""The project's changelog as the page About shows it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from ucbench.home import home

FILE = home() / "CHANGELOG.md"


@cache
def releases(path: Path = FILE) -> tuple[tuple[str, str], ...]:
    """(name, Markdown) of each release, the newest first; empty where the file was not installed."""
    if not path.is_file():
        return ()
    parts = re.split(r"^## \[([^\]]+)\](.*)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return tuple(
        (f"{name}{rest}".strip(), re.sub(r"^### (.+)$", r"**\1**", body, flags=re.MULTILINE).strip())
        for name, rest, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    )
