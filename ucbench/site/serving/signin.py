"""Who is visiting: an account of the Hub that signed in, or `local` where no sign-in is set up.

A Space with `hf_oauth: true` gives OAUTH_CLIENT_ID, OAUTH_CLIENT_SECRET, OPENID_PROVIDER_URL and SPACE_HOST;
Streamlit's own sign-in is told of them in memory. The identity is the name in the provider's signed token,
kept in a signed cookie: nothing else that a visitor sends names anybody.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from ucbench.site import links

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: The identity where no sign-in is set up.
LOCAL = "local"
#: Where people sign in unless OPENID_PROVIDER_URL says otherwise.
PROVIDER = "https://huggingface.co"

#: The sign-in that also lets this site ask providers for the account: its name for Streamlit, its scope.
INFERENCE, _INFERENCE_SCOPE = "inference", "openid profile inference-api"

_NEEDED = ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
#: How the server's process tells the pages that the secrets below were given to Streamlit.
_CALLBACK, _LOGIN = "/oauth2callback", "/auth/login"
_COOKIE = b"_streamlit_user="
#: The page to come back to, while somebody signs in.
_BACK = "ucbench_back"
_LONGEST_BACK = 1000
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Visitor:
    """A visitor as the server knows them.

    `account` has signed in; `anonymous` may; `local` stands for everybody where there is no sign-in;
    `closed` means that nobody can be told apart here though they must, and `note` says why.
    """

    how: Literal["account", "anonymous", "local", "closed"]
    name: str | None = None
    note: str = ""


def secrets(environment: Mapping[str, str], port: int) -> dict[str, dict[str, Any]] | None:
    """Streamlit's `auth` secrets from the environment; None where no sign-in is set up there.

    The key of the cookies is derived from the client secret: those who signed in stay so over a restart.
    """
    if lacking(environment) or not environment.get(_NEEDED[0]):
        return None
    client_secret = environment["OAUTH_CLIENT_SECRET"]
    provider = environment.get("OPENID_PROVIDER_URL") or PROVIDER
    client = {
        "client_id": environment["OAUTH_CLIENT_ID"],
        "client_secret": client_secret,
        "server_metadata_url": f"{provider.rstrip('/')}/.well-known/openid-configuration",
    }
    return {
        "auth": {
            "redirect_uri": f"{origin(environment, port)}{_CALLBACK}",
            "cookie_secret": hmac.new(client_secret.encode(), b"ucbench cookies", hashlib.sha256).hexdigest(),
            **client,
            "client_kwargs": {"scope": "openid profile"},
            # What the pages are given is a number to the key, see `ucbench.site.serving.tokens`.
            "expose_tokens": ["access"],
            INFERENCE: {**client, "client_kwargs": {"scope": _INFERENCE_SCOPE}},
        }
    }


def origin(environment: Mapping[str, str], port: int) -> str:
    """The address that browsers know the site by."""
    host = environment.get("SPACE_HOST") or f"localhost:{port}"
    name = host.rpartition(":")[0] or host
    return f"{'http' if name in ('localhost', '127.0.0.1') else 'https'}://{host}"


def lacking(environment: Mapping[str, str]) -> list[str]:
    """The variables that are missing where some of those for the sign-in are set."""
    missing = [name for name in _NEEDED if not environment.get(name)]
    return missing if len(missing) < len(_NEEDED) else []


def full_tab(page: str = "submit") -> str | None:
    """The address of a page outside the frame that a Space is shown in; None elsewhere."""
    host = os.environ.get("SPACE_HOST")
    return f"{origin(os.environ, 0)}/{page}" if host else None


def at_home() -> bool:
    """Whether only people at this very machine can be visitors: then its own key may be used for them.

    Without sign-in, listening on this machine alone, and asked by that name and past no proxy.
    """
    import streamlit as st

    if visitor().how != "local" or st.get_option("server.address") not in _LOOPBACK:
        return False
    headers = {name.lower(): value for name, value in st.context.headers.items()}
    if any(name == "forwarded" or name.startswith(("x-forwarded", "x-real")) for name in headers):
        return False
    host = urlsplit(f"//{headers.get('host', 'localhost')}").hostname
    return host in _LOOPBACK


def visitor() -> Visitor:
    """The visitor of this page."""
    import streamlit as st

    if st.get_option("server.trustedUserHeaders"):
        # Whoever reaches the site past the proxy could name themselves in such a header.
        return Visitor("closed", note="This site takes names from request headers, which anybody can set.")
    if not (st.secrets.load_if_toml_exists() and "auth" in st.secrets):
        return _without_sign_in(os.environ)
    if not st.user.get("is_logged_in"):
        return Visitor("anonymous")
    name = st.user.get("preferred_username")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.lower() == LOCAL:
        return Visitor("closed", note="The provider gave no account name that can be used here.")
    return Visitor("account", name)


def _without_sign_in(environment: Mapping[str, str]) -> Visitor:
    missing = lacking(environment)
    if missing:
        return Visitor("closed", note=f"Sign-in is half set up here: {', '.join(missing)} is missing.")
    if environment.get(_NEEDED[0]):
        return Visitor("closed", note="Sign-in works only when the site is started with `ucbench site`.")
    if environment.get("SPACE_ID") or environment.get("SPACE_HOST"):
        # Everybody on the internet would be one and the same.
        return Visitor("closed", note="Sign-in is not set up on this Space (`hf_oauth: true`).")
    return Visitor("local", LOCAL)


class BackToPage:
    """Whoever returns from the provider lands on the page where they left, told if it failed.

    The page is read off the `Referer` when they leave, and kept in a cookie meanwhile; without one it is
    Submit. Only pages of this site count.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Change where the answer to the provider's return leads to."""
        path = scope["path"] if scope["type"] == "http" else ""
        if not path.endswith((_CALLBACK, _LOGIN)):
            await self._app(scope, receive, send)
            return
        asked = dict(scope["headers"])

        async def changed(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in (302, 303, 307):
                if path.endswith(_LOGIN):
                    message["headers"] = [*message["headers"], _remembered(asked)]
                else:
                    message["headers"] = _redirected(message["headers"], _back(asked))
            await send(message)

        await self._app(scope, receive, changed)


def _remembered(headers: Mapping[bytes, bytes]) -> tuple[bytes, bytes]:
    """The cookie with the page that somebody leaves to sign in."""
    came_from = urlsplit(headers.get(b"referer", b"").decode("latin-1"))
    told = f"{came_from.path.rpartition('/')[2]}?{came_from.query}"
    kept = quote(told, safe="") if len(told) <= _LONGEST_BACK else ""
    return b"set-cookie", f"{_BACK}={kept}; Path=/; Max-Age=900; HttpOnly; SameSite=Lax".encode()


def _back(headers: Mapping[bytes, bytes]) -> tuple[str, dict[str, str]]:
    """The page and choices in that cookie, as far as they are ours."""
    try:
        morsel = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1")).get(_BACK)
    except CookieError:
        morsel = None
    page, _, query = unquote(morsel.value if morsel else "").partition("?")
    if page not in links.PAGES or not page:
        return "submit", {}
    return page, {name: value for name, value in parse_qsl(query) if name != "signin"}


def _redirected(
    headers: list[tuple[bytes, bytes]], back: tuple[str, dict[str, str]]
) -> list[tuple[bytes, bytes]]:
    signed_in = any(
        name == b"set-cookie" and value.startswith(_COOKIE) and b"Max-Age=0" not in value
        for name, value in headers
    )
    page, query = back
    told = urlencode(query if signed_in else {**query, "signin": "refused"})
    where = f"{page}?{told}" if told else page
    return [
        (name, value + where.encode() if name == b"location" and value.endswith(b"/") else value)
        for name, value in headers
    ]
