"""Visitors' keys for providers stay in the memory of the server.

Streamlit writes the access token of a sign-in into a cookie, signed but readable, for thirty days. Here the
cookie gets a random number instead, and the token stays in this process: it is in no cookie, page, address
or log, and is forgotten when the visitor signs out, after some hours, and with the process.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any

from ucbench.site.serving.signin import INFERENCE

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_USER, _TOKENS = "_streamlit_user", "_streamlit_user_tokens"
_CALLBACK, _LOGOUT = "/oauth2callback", "/auth/logout"


class Vault:
    """Tokens by random numbers. The oldest make room."""

    def __init__(
        self, seconds: float = 8 * 3600.0, most: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`seconds` is how long the Hub lets such a token live by default."""
        self._seconds, self._most, self._clock = seconds, most, clock
        self._kept: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        """How many; no tokens."""
        return f"Vault({len(self._kept)})"

    def put(self, token: str) -> str:
        """Keep a token; returns its number."""
        number = secrets.token_urlsafe(24)
        with self._lock:
            self._kept[number] = token, self._clock() + self._seconds
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return number

    def token(self, number: str) -> str | None:
        """The token, while it is kept."""
        with self._lock:
            token, until = self._kept.get(number, ("", 0.0))
            if until <= self._clock():
                self._kept.pop(number, None)
                return None
            return token or None

    def drop(self, number: str) -> None:
        """Forget a token."""
        with self._lock:
            self._kept.pop(number, None)


#: That of this process.
VAULT = Vault()


def of_visitor() -> str | None:
    """The key of the visitor of this page; None for who has not signed in for it, or too long ago."""
    import streamlit as st

    if not st.user.get("is_logged_in"):
        return None
    number = st.user.tokens.get("access")
    return VAULT.token(number) if isinstance(number, str) else None


class TokensStay:
    """Takes tokens out of the answers on their way to the browser."""

    def __init__(self, app: ASGIApp, vault: Vault = VAULT) -> None:
        self._app = app
        self._vault = vault

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Change the cookies of a sign-in; forget the token of who signs out."""
        path = scope["path"] if scope["type"] == "http" else ""
        if path.endswith(_LOGOUT):
            said = _cookies([value for name, value in scope["headers"] if name == b"cookie"])
            self._vault.drop(_tokens(said).get("access_token", ""))
        if not path.endswith(_CALLBACK):
            await self._app(scope, receive, send)
            return

        async def changed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = self._without_tokens(message["headers"])
            await send(message)

        await self._app(scope, receive, changed)

    def _without_tokens(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """The same headers; the tokens' cookie holds a number, or nothing for a sign-in without inference."""
        from streamlit.web.server.server_util import get_cookie_secret
        from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

        said = _cookies([value for name, value in headers if name == b"set-cookie"])
        token = _tokens(said).get("access_token")
        kept: dict[str, str] = {}
        if isinstance(token, str) and token and _signed_json(said, _USER).get("provider") == INFERENCE:
            kept["access_token"] = self._vault.put(token)
        signed = create_signed_value(get_cookie_secret(), _TOKENS, json.dumps(kept))
        found, written = [], False
        for name, value in headers:
            cookie = value.partition(b"=")[0].decode("latin-1") if name == b"set-cookie" else ""
            if not cookie.startswith(_TOKENS) or b"Max-Age=0" in value or b"max-age=0" in value:
                found.append((name, value))
            elif not written:
                # One cookie in place of however many the token was spread over.
                attributes = value.partition(b";")[2]
                found.append((name, f"{_TOKENS}=".encode() + signed + b";" + attributes))
                written = True
        return found


def _cookies(headers: list[bytes]) -> dict[str, str]:
    found: dict[str, str] = {}
    for header in headers:
        try:
            found |= {name: morsel.value for name, morsel in SimpleCookie(header.decode("latin-1")).items()}
        except CookieError:
            continue
    return found


def _tokens(cookies: Mapping[str, str]) -> dict[str, Any]:
    return _signed_json(cookies, _TOKENS)


def _signed_json(cookies: Mapping[str, str], name: str) -> dict[str, Any]:
    """What Streamlit signed into a cookie, or into the several that it was spread over; {} if nothing."""
    from streamlit.auth_util import get_cookie_with_chunks
    from streamlit.web.server.server_util import get_cookie_secret
    from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value

    def one(part: str) -> bytes | None:
        value = cookies.get(part)
        return decode_signed_value(get_cookie_secret(), part, value.encode("latin-1")) if value else None

    try:
        content = json.loads(get_cookie_with_chunks(one, name) or b"{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
