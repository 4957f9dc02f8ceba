"""Keys for providers stay in the server: what a sign-in writes into cookies, and what it does not."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest

from ucbench.site.serving import signin, tokens

SECRET = "hf_oauth_" + "kept" * 20


def callback(provider: str, token: str = SECRET) -> tuple[list[str], tokens.Vault]:
    """The cookies that reach the browser when Streamlit signs somebody in."""
    from starlette.responses import RedirectResponse
    from starlette.testclient import TestClient
    from streamlit.web.server.starlette import starlette_auth_routes as routes

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        response = RedirectResponse("/", 302)
        user = {"preferred_username": "ada", "provider": provider, "is_logged_in": True}
        await routes._set_auth_cookie(response, user, {"access_token": token, "id_token": "id." + "x" * 900})
        await response(scope, receive, send)

    vault = tokens.Vault()
    client = TestClient(tokens.TokensStay(inner, vault), follow_redirects=False)
    return client.get("/oauth2callback?code=1").headers.get_list("set-cookie"), vault


def readable(cookies: list[str]) -> str:
    """Everything that whoever holds the cookies can read, base64 undone."""
    found = []
    for cookie in cookies:
        found.append(cookie)
        for part in re.findall(r"[A-Za-z0-9_-]{8,}", cookie):
            found.append(base64.urlsafe_b64decode(part[: len(part) // 4 * 4]).decode("latin-1"))
    return "\n".join(found)


def of(cookies: list[str]) -> dict[str, Any]:
    return tokens._tokens(tokens._cookies([cookie.encode() for cookie in cookies]))


@pytest.mark.parametrize("token", [SECRET, SECRET * 60])  # the second is spread over several cookies
def test_the_browser_gets_a_number_for_the_key(token: str) -> None:
    cookies, vault = callback(signin.INFERENCE, token)
    assert SECRET not in readable(cookies)
    assert "xxxx" not in readable(cookies)
    assert sum(cookie.startswith("_streamlit_user_tokens") for cookie in cookies) == 1
    number = of(cookies)["access_token"]
    assert vault.token(number) == token
    assert vault.token(number + "x") is None
    cookie = next(c for c in cookies if c.startswith("_streamlit_user_tokens"))
    assert "httponly" in cookie.lower()


def test_a_plain_sign_in_keeps_no_key() -> None:
    cookies, vault = callback("default")
    assert SECRET not in readable(cookies)
    assert of(cookies) == {}
    assert repr(vault) == "Vault(0)"


def test_the_name_of_who_signed_in_is_as_it_was() -> None:
    cookies, _ = callback(signin.INFERENCE)
    said = tokens._signed_json(tokens._cookies([c.encode() for c in cookies]), "_streamlit_user")
    assert said["preferred_username"] == "ada"


def test_a_key_is_forgotten_in_time_and_by_signing_out() -> None:
    now = [0.0]
    vault = tokens.Vault(seconds=10, most=2, clock=lambda: now[0])
    first, second, third = vault.put("a"), vault.put("b"), vault.put("c")
    assert [vault.token(number) for number in (first, second, third)] == [None, "b", "c"]
    vault.drop(second)
    vault.drop("nobody")
    assert vault.token(second) is None
    now[0] = 10.0
    assert vault.token(third) is None


def test_signing_out_drops_the_key() -> None:
    from starlette.responses import RedirectResponse
    from starlette.testclient import TestClient

    cookies, vault = callback(signin.INFERENCE)
    number = of(cookies)["access_token"]
    client = TestClient(tokens.TokensStay(RedirectResponse("/", 302), vault), follow_redirects=False)
    value = next(c for c in cookies if c.startswith("_streamlit_user_tokens")).partition(";")[0]
    assert client.get("/auth/logout", headers={"cookie": value}).status_code == 302
    assert vault.token(number) is None


def test_forged_cookies_hold_nothing() -> None:
    unsigned = json.dumps({"access_token": "x"})
    assert tokens._signed_json({"_streamlit_user_tokens": unsigned}, "_streamlit_user_tokens") == {}


def test_two_sign_ins_ask_for_what_each_needs() -> None:
    found = signin.secrets({"OAUTH_CLIENT_ID": "a", "OAUTH_CLIENT_SECRET": "b"}, 8501)
    assert found is not None
    auth = found["auth"]
    assert auth["client_kwargs"]["scope"] == "openid profile"
    assert auth[signin.INFERENCE]["client_kwargs"]["scope"] == "openid profile inference-api"
    assert auth["expose_tokens"] == ["access"]
