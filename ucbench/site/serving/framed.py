"""The site in a frame of another origin, as the Hub shows a Space.

Cookies of a framed page are a third party's. Browsers that block those (Chrome's private windows always do)
keep one that is `Partitioned`: apart for each page that the site is framed by, so that it can follow nobody
from one to the next. Two things need such a cookie:

- uploads, which carry a token in a cookie and in a header, so that no other page can forge one. Streamlit
  sends that cookie with `SameSite=None`, but has no setting for the rest;
- the pages, to know that they are framed: no provider lets people sign in inside a frame, and Streamlit's
  button for it does nothing there. A partitioned cookie that is set in the frame is not sent outside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_TOKEN = b"_streamlit_xsrf="
_FRAMED = "ucbench_framed"
_ATTRIBUTES = "; Path=/; HttpOnly; SameSite=None; Secure; Partitioned"
_SET = f"{_FRAMED}=1{_ATTRIBUTES}".encode()
_UNSET = f"{_FRAMED}=; Max-Age=0{_ATTRIBUTES}".encode()


def on_a_space(environment: Mapping[str, str]) -> bool:
    """Whether the site is a Space of the Hub, which may be framed."""
    return bool(environment.get("SPACE_ID") or environment.get("SPACE_HOST"))


def settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Streamlit's settings for a frame; none elsewhere, where its cookie must work without HTTPS."""
    return {"server.xsrfCookieSameSite": "none"} if on_a_space(environment) else {}


def here() -> bool:
    """Whether this visitor is known to see the page in a frame."""
    import streamlit as st

    return st.context.cookies.get(_FRAMED) == "1"


class Framed:
    """Cookies that work in a frame, and one that tells a frame from a tab."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Change the headers of the answer, and nothing else."""
        asked = dict(scope["headers"]) if scope["type"] == "http" else {}
        told = _seen_in(asked)

        async def changed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [_partitioned(name, value) for name, value in message.get("headers", [])]
                message["headers"] = headers + ([(b"set-cookie", told)] if told else [])
            await send(message)

        await self._app(scope, receive, changed)


def _partitioned(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    # Without Secure, browsers would drop a cookie that is partitioned.
    for_frames = name.lower() == b"set-cookie" and value.startswith(_TOKEN) and b"; Secure" in value
    return name, value + b"; Partitioned" if for_frames else value


def _seen_in(asked: Mapping[bytes, bytes]) -> bytes | None:
    """The cookie that a page's answer takes along, by what the browser says the page is for."""
    purpose, site = asked.get(b"sec-fetch-dest"), asked.get(b"sec-fetch-site")
    if purpose == b"iframe" and site == b"cross-site":
        return _SET
    # A browser that knows nothing of partitions sends the frame's cookie in a tab too.
    if purpose == b"document" and _FRAMED.encode() in asked.get(b"cookie", b""):
        return _UNSET
    return None
