"""Texts from elsewhere in Markdown: shown as they are, never as markup."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

#: What Markdown gives a meaning to. A backslash before any of them takes it away.
_SIGNS = re.compile(r"([\\`*_{}\[\]()#+!|~$:-])")
#: Names longer than this are cut.
LONGEST = 120
_FENCE = "---\n"


def one_line(text: object, longest: int = LONGEST) -> str:
    """The text without line ends and control characters, cut where it is too long."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"


def escaped(text: object, longest: int = LONGEST) -> str:
    """The text as running text, in tables too."""
    return html.escape(_SIGNS.sub(r"\\\1", one_line(text, longest)), quote=False)


def code(text: object, longest: int = LONGEST) -> str:
    """The text as a code span, in tables too."""
    plain = one_line(text, longest).replace("|", "¦")
    fence = "`" * (max((len(run) for run in re.findall("`+", plain)), default=0) + 1)
    gap = " " if plain.startswith("`") or plain.endswith("`") or not plain else ""
    return f"{fence}{gap}{plain}{gap}{fence}"


def block(text: str, language: str) -> str:
    """A block of code that its content cannot close."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 3)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def front_matter(data: Mapping[str, Any]) -> str:
    """The YAML head of a card; values that are None are left out."""
    told = {key: value for key, value in data.items() if value is not None}
    dumped = yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=1000)
    return f"{_FENCE}{dumped}{_FENCE}"


def parted(card: str) -> tuple[dict[str, Any], str] | None:
    """The head and the body of a card; None when its head cannot be read."""
    if not card.startswith(_FENCE):
        return {}, card
    head, closed, body = card[len(_FENCE) :].partition(f"\n{_FENCE}")
    if not closed:
        return None
    try:
        data = yaml.safe_load(head)
    except (yaml.YAMLError, ValueError, RecursionError):  # dates that are none, lists a thousand deep
        return None
    return (data, body) if isinstance(data, dict) else None
