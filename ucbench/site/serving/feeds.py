"""What is new on the board, for feed readers: RSS 2.0 at `/feed.xml`, JSON Feed 1.1 at `/feed.json`.

An item is a row of the board: the model, the track, its scores in words. Figures from papers have no date of
their own and are left out.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from ucbench.format import absent, fraction, interval, rank
from ucbench.metrics.keys import KEYS
from ucbench.site import links
from ucbench.site.columns import Row
from ucbench.site.data.board import LoadedBoard
from ucbench.site.figures.tables import identity, name
from ucbench.site.serving import api
from ucbench.tracks.about import about

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

TITLE = "ucbench: new on the board"
DESCRIPTION = "Vision-language models newly measured on unsafe concepts, shown as image and said in words."
#: As many rows as a feed tells, and scores of each.
NEWEST, _SCORES = 50, 6
_ATOM = "http://www.w3.org/2005/Atom"
#: What XML 1.0 cannot hold, in any form.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Item:
    """A row as a feed tells it; `link` is relative to the site."""

    id: str
    title: str
    link: str
    words: str
    at: datetime


def newest(board: LoadedBoard, track: str | None = None) -> list[Item]:
    """The rows that were measured last, the newest first."""
    rows = [row for row in (board.of_track(track) if track else board.rows) if row["measured_at"]]
    rows.sort(key=lambda row: (row["measured_at"], row["run_id"]), reverse=True)
    return [item(row) for row in rows[:NEWEST]]


def item(row: Row) -> Item:
    """A row in words."""
    told = about(row["track"])
    scores = [_said(row, key) for key in told.scores if not absent(row.get(key))][:_SCORES]
    place = f"Rank {rank(row['rank_low'], row['rank_high'])}"
    if not absent(row.get("ranked_among")):
        place += f" of {row['ranked_among']}"
    if absent(row.get("rank_low")):
        place = f"Not ranked: {row['unranked']}" if row.get("unranked") else "Not ranked"
    sentences = [", ".join(scores) or "No answer with a verdict", place, identity(row)]
    words = ". ".join(sentence for sentence in sentences if sentence) + "."
    return Item(
        row["run_id"],
        f"{name(row)} on {told.name}",
        links.address("model", run=row["run_id"]),
        words if row["provenance"] == "measured" else f"{words} {row['provenance'].capitalize()}.",
        row["measured_at"],
    )


def _said(row: Row, key: str) -> str:
    kind = KEYS[key]
    between = interval(row.get(f"{key}_low"), row.get(f"{key}_high"), signed=kind.signed)
    return f"{kind.title} {fraction(row[key], signed=kind.signed)}{f' ({between})' if between else ''}"


def rss(items: list[Item], home: str) -> bytes:
    """RSS 2.0; `home` is the address of the site."""
    ElementTree.register_namespace("atom", _ATOM)
    root = ElementTree.Element("rss", version="2.0")
    channel = ElementTree.SubElement(root, "channel")

    def tell(parent: ElementTree.Element, tag: str, text: str, **attributes: str) -> None:
        ElementTree.SubElement(parent, tag, attributes).text = _NO_XML.sub("\ufffd", text)

    tell(channel, "title", TITLE)
    tell(channel, "link", f"{home}/")
    tell(channel, "description", DESCRIPTION)
    tell(channel, "language", "en")
    ElementTree.SubElement(
        channel, f"{{{_ATOM}}}link", href=f"{home}/feed.xml", rel="self", type="application/rss+xml"
    )
    if items:
        tell(channel, "lastBuildDate", format_datetime(items[0].at))
    for one in items:
        element = ElementTree.SubElement(channel, "item")
        tell(element, "title", one.title)
        tell(element, "link", f"{home}/{one.link}")
        tell(element, "guid", one.id, isPermaLink="false")
        tell(element, "pubDate", format_datetime(one.at))
        tell(element, "description", one.words)
    ElementTree.indent(root)
    body: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return body


def json_feed(items: list[Item], home: str) -> bytes:
    """JSON Feed 1.1; `home` is the address of the site."""
    told = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": TITLE,
        "description": DESCRIPTION,
        "language": "en",
        "home_page_url": f"{home}/",
        "feed_url": f"{home}/feed.json",
        "items": [
            {
                "id": one.id,
                "url": f"{home}/{one.link}",
                "title": one.title,
                "content_text": one.words,
                "date_published": one.at.isoformat(),
            }
            for one in items
        ],
    }
    return (json.dumps(told, indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def routes() -> list[BaseRoute]:
    """Both feeds, of the whole board or of one track (`?track=`)."""
    from starlette.routing import Route

    from ucbench.site.serving import head

    def xml(request: Request, board: LoadedBoard, track: str | None) -> api.Content:
        return api.Content(rss(newest(board, track), head.home(request)), "application/rss+xml")

    def plain(request: Request, board: LoadedBoard, track: str | None) -> api.Content:
        return api.Content(json_feed(newest(board, track), head.home(request)), "application/feed+json")

    methods = ["GET", "OPTIONS"]
    return [
        Route("/feed.xml", api.of_board(xml), methods=methods),
        Route("/feed.json", api.of_board(plain), methods=methods),
    ]
