"""The leaderboard as it is sent: what it says can be read before any script has run, and without one.

The same functions draw it that draw the live page, which takes its place. Of the table the first rows are
sent, enough for a screen; an address with choices of its own gets bars to wait by.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from ucbench.errors import StoreError
from ucbench.format import count, escape
from ucbench.site import links, theme
from ucbench.site.assets import static

if TYPE_CHECKING:
    from ucbench.site.data.board import LoadedBoard

_HARMLESS = {"track", "fbclid", "gclid", "ref"}
_ADDED = ("__", "utm_")
#: Rows of the table that are sent.
ROWS = 10
_SHEETS = ("figure.css", "leaderboard.css")
_COLOURED = re.compile(r":(blue|orange)\[([^\]]*)\]")
_CAPITAL = re.compile("[A-Z]")
_COLOURS = (
    "textColor", "grayTextColor", "borderColor", "backgroundColor", "secondaryBackgroundColor",
    "blueColor", "blueTextColor", "orangeColor", "orangeTextColor", "greenTextColor", "violetTextColor",
)  # fmt: skip
_FONT = re.compile(r"\./static/media/SourceSansVF-Upright[^\"]*")
_SIGN = theme.wordmark_in("var(--ink)", "var(--image)", "var(--text)")
_ABOUT = {"blue": "image", "orange": "text"}


def leaderboard(query: Mapping[str, str]) -> str:
    """The leaderboard that an address asks for, as HTML; empty where it is not one that everybody gets.

    An address may choose the track; what others add to addresses that they share or frame chooses nothing.
    """
    from ucbench.site.data import loading
    from ucbench.site.shared import known_tracks

    if not all(name in _HARMLESS or name.startswith(_ADDED) for name in query):
        return ""
    try:
        board = loading.board()
    except StoreError:
        return ""
    tracks = known_tracks(board)
    track = query.get("track") or tracks[0]
    return _of(board, track) if track in tracks else ""


@lru_cache(maxsize=16)
def _of(board: LoadedBoard, track: str) -> str:
    from ucbench.site.leaderboard import charts, parts
    from ucbench.site.leaderboard.view import Scope, table
    from ucbench.site.shared import known_tracks, track_words

    shown = table(board, Scope(track))
    if not shown.rows:
        return ""
    sort = shown.columns[0].key
    columns, facts = shown.chosen(())
    order = shown.order(sort)
    rows = parts.rows(
        shown, order[:ROWS], columns, facts, sort, reverse=False, yours=None, mine=parts.Chosen()
    )
    lede = _COLOURED.sub(lambda m: f'<b class="is-{_ABOUT[m[1]]}">{m[2]}</b>', escape(parts.LEDE))
    more = len(order) - ROWS
    sent = [
        f'<div class="sign">{_SIGN}</div><nav aria-label="Pages">{_pages()}</nav>',
        f'<h1>{escape(parts.TITLE)}</h1><p class="lede">{lede}</p>',
        f'<div class="choices">{_choices(board, track)}</div>',
        _plain(known_tracks(board)),
        f'<p class="about">{escape(track_words(track))}</p>',
        parts.scope_words(board, shown),
        charts.finding_of(shown),
        '<div class="room"></div>',
        *(
            f"<h2>{escape(chart.title)}</h2>{html}"
            + (f'<p class="few">{escape(told)}</p>' if (told := charts.left_out(n)) else "")
            + '<div class="room file"></div>'
            for chart, html, n in charts.dumbbells(shown)
        ),
        f'<h2>All scores</h2><div class="room controls"></div>{rows}',
        f'<p class="quiet">{count(more)} more on the page.</p>' if more > 0 else "",
    ]
    return (
        f'<div class="sent"><template shadowrootmode="open"><style>{_rules()}</style>'
        f'<div class="uc">{"".join(sent)}</div></template></div>'
    )


def _choices(board: LoadedBoard, track: str) -> str:
    """A frame for each choice of what is shown; those with a name above it are `named`."""
    from ucbench.site.leaderboard.parts import both_ways
    from ucbench.site.leaderboard.view import categories
    from ucbench.site.shared import SIDE_BY_SIDE, known_tracks

    frames = [
        ("track named" if len(known_tracks(board)) > SIDE_BY_SIDE else "track", True),
        ("category named", bool(categories(board, track))),
        ("scoring named", both_ways(track)),
    ]
    return "".join(f'<i class="{style}"></i>' for style, there in frames if there)


@cache
def _rules() -> str:
    """The rules of its figures, and the colours of both themes that they follow, by Streamlit's names."""
    import streamlit as st

    def colour(theme: str, name: str) -> str:
        return str(st.get_option(f"theme.{theme}.{name}"))

    names = {name: f"--st-{_CAPITAL.sub(lambda m: f'-{m[0].lower()}', name)}" for name in _COLOURS}
    colours = "".join(
        f"{css}:light-dark({colour('light', name)},{colour('dark', name)});" for name, css in names.items()
    )
    return f":host{{{colours}}}" + "".join(map(static, (*_SHEETS, "sent.css")))


def font(index: str) -> str:
    """The rule for the font of all text, which Streamlit's page `index` asks for and names when it runs."""
    found = _FONT.search(index)
    return f'@font-face{{font-family:"Source Sans";font-weight:200 900;src:url({found[0]})}}' if found else ""


def _pages() -> str:
    from ucbench.site.serving.head import PAGES

    return "".join(
        f'<a href="{links.address(address)}" data-label="{escape(about.title)}">{escape(about.title)}</a>'
        for address, about in PAGES.items()
    )


def _plain(tracks: Sequence[str]) -> str:
    """What is told where no scripts run: the tracks as links, and what is missing."""
    from ucbench.site.shared import track_name

    named = ", ".join(links.link(track_name(track), "", track=track) for track in tracks)
    return (
        f'<p class="plain">Tracks: {named}. Choices, charts of other scores and the other pages need '
        'JavaScript; all numbers are at <a href="api/v1/board.json">api/v1/board.json</a>.</p>'
    )
