"""Links from figures to pages: an address that can be opened, shared and copied, and a click that stays here.

A plain click on such a link runs the page in the visitor's session (no reload); a click with a modifier, or
a search engine, follows the address.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

from ucbench.format import escape

#: Address of a page -> its file. The leaderboard is at the root.
PAGES = {
    "": "app_pages/leaderboard.py",
    "model": "app_pages/model.py",
    "concepts": "app_pages/concepts.py",
    "compare": "app_pages/compare.py",
    "answers": "app_pages/answers.py",
    "alignment": "app_pages/alignment.py",
    "try": "app_pages/try_a_model.py",
    "submit": "app_pages/submit.py",
    "queue": "app_pages/queue.py",
    "method": "app_pages/method.py",
    "about": "app_pages/about.py",
}
#: Where the frame finds the page that a visitor pressed in a figure.
GO = "go"


def address(page: str, **query: str | None) -> str:
    """The address of a page with its choices, relative, so that it holds behind any prefix.

    A choice that is None or empty is left out.
    """
    told = {key: value for key, value in query.items() if value}
    return (page or ".") + (f"?{urlencode(told)}" if told else "")


def link(text: str, page: str, *, title: str = "", style: str = "", **query: str | None) -> str:
    """A link for a figure (`ucbench.site.component`), as HTML; `text` is escaped here."""
    where = escape(address(page, **query))
    aside = (f' title="{escape(title)}"' if title else "") + (f' class="{escape(style)}"' if style else "")
    return f'<a href="{where}" data-go="{where}"{aside}>{escape(text)}</a>'


def target(pressed: str) -> tuple[str, dict[str, str]] | None:
    """The page file and choices that a pressed link names; None for one that is not ours."""
    page, _, query = pressed.partition("?")
    page = "" if page == "." else page
    return (PAGES[page], dict(parse_qsl(query))) if page in PAGES else None
