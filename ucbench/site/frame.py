"""What stands around every page: where a wrong address leads, and the footer."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import streamlit as st

from ucbench.errors import StoreError
from ucbench.site import footer
from ucbench.site.component import figure
from ucbench.site.data import loading
from ucbench.site.serving import head, server

_ASTRAY = "astray"


def wrong(address: str | None) -> str:
    """The last part of an address of the browser's when no page has it; else nothing."""
    name = unquote(urlsplit(address or "").path).rstrip("/").rpartition("/")[2].strip()
    return "" if name in head.PAGES or name in head.HIDDEN else name


def astray() -> str:
    """The wrong address by which the visitor came, if it was one.

    Streamlit cuts pages that it knows off the address, so it is looked at when a visit begins.
    """
    if _ASTRAY not in st.session_state:
        st.session_state[_ASTRAY] = wrong(st.context.url)
    return str(st.session_state[_ASTRAY])


def foot() -> None:
    """The footer. Without a board it tells no date."""
    try:
        as_of = loading.board().manifest.get("as_of")
    except StoreError:
        as_of = None
    figure(footer.footer(as_of=as_of, served=server.served()), key="footer")
