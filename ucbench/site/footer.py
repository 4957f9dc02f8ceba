"""The foot of every page: version, age of the data, licence, source, content note, feeds."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime

from ucbench import __version__
from ucbench.format import escape
from ucbench.site import links

CONTENT_NOTE = "Pages name unsafe concepts and quote answers about them. No unsafe picture is shown."
#: What the site's own server answers beside the pages.
FEEDS = {"RSS": "feed.xml", "JSON feed": "feed.json", "API": "api/v1/board.json"}


def listed(pairs: Iterable[tuple[str, str]]) -> str:
    """Links and what they lead to, one under the other; the links are HTML, the words are escaped here."""
    return (
        '<dl class="pages">'
        + "".join(f"<dt>{link}</dt><dd>{escape(words)}</dd>" for link, words in pairs)
        + "</dl>"
    )


def source_address() -> str | None:
    """Where the code of this site can be read: UCBENCH_SOURCE, or the Space it runs in; None elsewhere."""
    given, space = os.environ.get("UCBENCH_SOURCE", ""), os.environ.get("SPACE_ID")
    if given.startswith(("https://", "http://")):
        return given
    return f"https://huggingface.co/spaces/{space}/tree/main" if space else None


def day(as_of: str | None) -> str:
    """`21 Nov 2026` from a time in ISO 8601; empty where there is none."""
    if not as_of:
        return ""
    try:
        at = datetime.fromisoformat(as_of)
    except ValueError:
        return ""
    return f"{at.day} {at:%b %Y}"


def footer(*, as_of: str | None, served: bool) -> str:
    """HTML of the footer. `served`: whether the feeds and the API are there to be linked."""
    source = source_address()
    parts = [
        f"ucbench {escape(__version__)}",
        f"data as of {day(as_of)}" if day(as_of) else "",
        "Apache-2.0",
        f'<a href="{escape(source)}" rel="noopener">Source</a>' if source else "",
        links.link("Method", "method"),
        links.link("Cite", "about"),
        *(f'<a href="{where}">{name}</a>' for name, where in FEEDS.items() if served),
    ]
    line = "".join(f"<span>{part}</span>" for part in parts if part)
    return f'<footer><p class="line">{line}</p><p>{CONTENT_NOTE}</p></footer>'
