"""Outside text among Markdown."""

from __future__ import annotations

import re


def plain(text: str) -> str:
    """Outside text as Markdown that shows it letter by letter."""
    return re.sub(r"([\\`*_{}\[\]()<>#+\-.!|~$:&])", r"\\\1", text)
