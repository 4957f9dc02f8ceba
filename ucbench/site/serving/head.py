"""What a page is called: in the browser's tab, in a search engine's list, in the preview of a shared link.

Streamlit sends one and the same `index.html` for every address. Where the site runs on a server of its own
(`ucbench.site.serving.server`) the routes here send it with the page's own title, description and preview,
and with status 404 for an address that leads nowhere. The tab's title is set by the page as well, once it
runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from ucbench import taxonomy
from ucbench.format import escape
from ucbench.site import links, theme
from ucbench.site.assets import static
from ucbench.site.serving import preload, prerender
from ucbench.tracks.about import ABOUT

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

NAME = "ucbench"


@dataclass(frozen=True, slots=True)
class About:
    """A page's name in the navigation, and the sentence that stands for it elsewhere."""

    title: str
    description: str


#: Address -> page, in the order of the navigation.
PAGES: dict[str, About] = {
    "": About(
        "Leaderboard",
        "Which vision-language models recognise 75 unsafe concepts, and judge them the same as an image and "
        "in words? Every score with its interval.",
    ),
    "concepts": About(
        "Concepts", "Each of 75 unsafe concepts: which models object to it as an image and in words."
    ),
    "compare": About(
        "Compare", "Two to four models side by side: where they differ, and whether the data can tell."
    ),
    "answers": About("Answers", "Every answer behind the scores: what was asked, what the model said."),
    "alignment": About(
        "Alignment", "What training did to a model that objects in words and not to what it sees."
    ),
    "try": About("Try a model", "Ask a model the benchmark's questions, live, and read its verdict."),
    "submit": About("Submit", "Submit a checkpoint from the Hub to be evaluated."),
    "queue": About("Queue", "What became of each submission."),
    "method": About(
        "Method", "How each score, interval and rank is computed, with examples worked out in full."
    ),
    "about": About(
        "About", "What ucbench measures and what it cannot say; data access, citation, changes, feeds."
    ),
}
#: Reached from elsewhere than the navigation.
HIDDEN: dict[str, About] = {
    "model": About("Model", "One model: its scores by category and concept, its evidence, its answers."),
}
#: Where people come back to from signing in: Streamlit's own, and no page.
_SIGNED_IN = "oauth2callback"
MISSING = About("Not found", "There is no page at this address.")


def title(*parts: str) -> str:
    """`Arson · Concepts · ucbench`; empty parts are left out."""
    return " · ".join([*(part for part in parts if part), NAME])


def entitle(*parts: str) -> None:
    """Name the browser's tab after what the page shows: entitle("Arson", "Concepts")."""
    import streamlit as st

    st.set_page_config(page_title=title(*parts))


#: Page -> what in its address names a concept.
_CONCEPT = {"concepts": "concept", "answers": "concept", "try": "about"}


def canonical(address: str, query: Mapping[str, str]) -> str:
    """A page's address without what makes no other page of it, for search engines: concept and track stay."""
    told = {key: query[key] for key in (_CONCEPT.get(address, ""), "track") if query.get(key)}
    known = {concept.id for concept in taxonomy.concepts()} | (ABOUT.keys() - {next(iter(ABOUT))})
    return links.address(address, **{key: value for key, value in told.items() if value in known})


def subject(address: str, query: Mapping[str, str]) -> str:
    """What a page is about, as far as its address says: a concept's name, or nothing."""
    wanted = _CONCEPT.get(address)
    names = {concept.id: concept.name for concept in taxonomy.concepts()}
    name = names.get(query.get(wanted, ""), "") if wanted else ""
    return name[:1].upper() + name[1:]


@cache
def _index() -> str:
    return files("streamlit").joinpath("static", "index.html").read_text(encoding="utf-8")


def index(address: str, query: Mapping[str, str], *, home: str) -> str:
    """Streamlit's page for one address, with a title, a description and a preview of its own.

    `home` is where the site is, as `https://host`. The address and query come from outside: none of
    them is written into the page but in the form that is known here.
    """
    about = {**PAGES, **HIDDEN}.get(address, MISSING)
    named, described = escape(title(subject(address, query), about.title)), escape(about.description)
    site = escape(home)
    head = (
        f'<title>{named}</title><meta name="description" content="{described}">'
        f'<meta property="og:site_name" content="{NAME}"><meta property="og:type" content="website">'
        f'<meta property="og:title" content="{named}"><meta property="og:description" content="{described}">'
        f'<meta property="og:image" content="{site}/preview.png">'
        '<meta property="og:image:width" content="1200"><meta property="og:image:height" content="630">'
        '<meta name="twitter:card" content="summary_large_image">'
        f'<link rel="alternate" type="application/rss+xml" title="{NAME}" href="{site}/feed.xml">'
        f'<link rel="alternate" type="application/feed+json" title="{NAME}" href="{site}/feed.json">'
        f"<style>{prerender.font(_index())}{static('waiting.css')}</style><script>{static('waiting.js')}</script>"
        f"{preload.links()}"
    )
    if about is MISSING:
        head += '<meta name="robots" content="noindex">'
    elif address in PAGES:
        where = canonical(address, query).removeprefix(".")
        head += f'<link rel="canonical" href="{site}/{escape(where)}">'
    sent = "" if address else prerender.leaderboard(query)
    words = (
        f'<noscript><div class="plain"><h1>{named}</h1><p>{described}</p><p>This page needs JavaScript. '
        'The <a href=".">leaderboard</a> can be read without, and all numbers are at '
        '<a href="api/v1/board.json">api/v1/board.json</a>.</p></div></noscript>'
    )
    words = "" if sent else words
    page = re.sub(r"<title>.*?</title>", lambda _: head, _index(), count=1, flags=re.DOTALL)
    page = re.sub(r"<noscript>.*?</noscript>", lambda _: words, page, count=1, flags=re.DOTALL)
    # Streamlit adds its rules to the head as it goes: ours stand after them, in the body.
    return page.replace('<div id="root">', f'{theme.STYLE}{_SKIP}{_waiting(sent)}<div id="root">', 1)


#: The first thing that the Tab key reaches; `CONTENT` marks where it leads.
_SKIP = '<a class="skip" href="#main-content">Skip to the content</a>'
CONTENT = '<span id="main-content" tabindex="-1"></span>'


def _waiting(sent: str) -> str:
    """What is seen until the page is drawn: the page as it is sent, or bars."""
    return (
        '<div class="waiting" id="main-content" tabindex="-1"><span role="status">Loading</span>'
        f"{sent or '<i></i>' * 8}</div>"
    )


def home(request: Request) -> str:
    """The address of the site as visitors know it, as `https://host`."""
    host = os.environ.get("SPACE_HOST")
    return f"https://{host}" if host else f"{request.url.scheme}://{request.url.netloc}"


def page(request: Request) -> Response:
    """The page of an address; status 404 where there is none, so that nobody keeps a dead link."""
    from starlette.responses import HTMLResponse

    address = request.path_params.get("address", "")
    known = address in PAGES or address in HIDDEN
    return HTMLResponse(
        index(address, request.query_params, home=home(request)),
        status_code=200 if known else 404,
        headers={"Cache-Control": "no-cache"},
    )


def beneath(request: Request) -> Response:
    """Nothing lies beneath a page; what Streamlit would send for it could not find its own scripts."""
    from starlette.responses import HTMLResponse

    up = "../" * request.path_params["rest"].count("/") + "../"
    return HTMLResponse(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title(MISSING.title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"></head>'
        '<body style="font: 1.125rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto; '
        f'padding: 0 1rem"><h1>{MISSING.title}</h1><p>{MISSING.description} '
        f'<a href="{up}" style="color: inherit">To the leaderboard</a></p></body></html>',
        status_code=404,
    )


def routes() -> list[BaseRoute]:
    """The routes of pages. They let pass files and the way back from signing in: Streamlit's."""
    from starlette.middleware import Middleware
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.routing import Match, Route
    from starlette.types import Scope

    from ucbench.site.serving.preview import preview

    class Page(Route):
        def matches(self, scope: Scope) -> tuple[Match, Scope]:
            match, child = super().matches(scope)
            address = child.get("path_params", {}).get("address", "")
            theirs = "." in address or address == _SIGNED_IN
            if "rest" in child.get("path_params", {}):  # Streamlit's own, and a page with a slash behind it
                theirs = address not in {**PAGES, **HIDDEN} or not child["path_params"]["rest"]
            return (Match.NONE, {}) if theirs else (match, child)

    packed = Middleware(GZipMiddleware)
    return [
        Route("/preview.png", preview),
        Page("/", page, middleware=[packed]),
        Page("/{address}", page, middleware=[packed]),
        Page("/{address}/{rest:path}", beneath),
    ]
