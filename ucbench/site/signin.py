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
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: The identity where no sign-in is set up.
LOCAL = "local"
#: Where people sign in unless OPENID_PROVIDER_URL says otherwise.
PROVIDER = "https://huggingface.co"

_NEEDED = ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
#: How the server's process tells the pages that the secrets below were given to Streamlit.
_CALLBACK = "/oauth2callback"
_COOKIE = b"_streamlit_user="


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
    return {
        "auth": {
            "redirect_uri": f"{origin(environment, port)}{_CALLBACK}",
            "cookie_secret": hmac.new(client_secret.encode(), b"ucbench cookies", hashlib.sha256).hexdigest(),
            "client_id": environment["OAUTH_CLIENT_ID"],
            "client_secret": client_secret,
            "server_metadata_url": f"{provider.rstrip('/')}/.well-known/openid-configuration",
            "client_kwargs": {"scope": "openid profile"},
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


def full_tab() -> str | None:
    """The address of the Submit page outside the frame that a Space is shown in; None elsewhere."""
    host = os.environ.get("SPACE_HOST")
    return f"{origin(os.environ, 0)}/submit" if host else None


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


class BackToSubmit:
    """Whoever returns from the provider lands on the Submit page, where they left; told if it failed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Change where the answer to the provider's return leads to."""
        if scope["type"] != "http" or not scope["path"].endswith(_CALLBACK):
            await self._app(scope, receive, send)
            return

        async def changed(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in (302, 303, 307):
                message["headers"] = _redirected(message["headers"])
            await send(message)

        await self._app(scope, receive, changed)


def _redirected(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    signed_in = any(
        name == b"set-cookie" and value.startswith(_COOKIE) and b"Max-Age=0" not in value
        for name, value in headers
    )
    page = b"submit" if signed_in else b"submit?signin=refused"
    return [
        (name, value + page if name == b"location" and value.endswith(b"/") else value)
        for name, value in headers
    ]
