"""Who a visitor is: Streamlit's secrets from the environment, the way back from the provider."""

from __future__ import annotations

from typing import Any

import pytest

from ucbench.site.serving import signin

SPACE = {"OAUTH_CLIENT_ID": "client", "OAUTH_CLIENT_SECRET": "much-kept", "SPACE_HOST": "acme-board.hf.space"}


def test_a_space_gives_all_that_streamlit_needs() -> None:
    found = signin.secrets(SPACE | {"OPENID_PROVIDER_URL": "https://provider.example/"}, 8501)
    assert found is not None
    auth = found["auth"]
    assert auth["redirect_uri"] == "https://acme-board.hf.space/oauth2callback"
    assert auth["server_metadata_url"] == "https://provider.example/.well-known/openid-configuration"
    assert auth["client_kwargs"] == {"scope": "openid profile"}
    again = signin.secrets(SPACE, 8501)
    assert again is not None
    # Cookies outlive a restart, and say nothing of the secret they are signed with.
    assert again["auth"]["cookie_secret"] == auth["cookie_secret"]
    assert "much-kept" not in auth["cookie_secret"]
    other = signin.secrets(SPACE | {"OAUTH_CLIENT_SECRET": "another"}, 8501)
    assert other is not None
    assert other["auth"]["cookie_secret"] != auth["cookie_secret"]


@pytest.mark.parametrize(
    ("host", "address"),
    [
        (None, "http://localhost:8600"),
        ("127.0.0.1:8600", "http://127.0.0.1:8600"),
        ("localhost:1", "http://localhost:1"),
        ("localhost.evil.example", "https://localhost.evil.example"),
        ("acme-board.hf.space", "https://acme-board.hf.space"),
    ],
)
def test_only_this_machine_is_served_without_tls(host: str | None, address: str) -> None:
    assert signin.origin({"SPACE_HOST": host} if host else {}, 8600) == address


def test_half_a_setup_is_none_and_names_what_is_missing() -> None:
    half = {"OAUTH_CLIENT_ID": "client"}
    assert signin.secrets(half, 8501) is None
    assert signin.lacking(half) == ["OAUTH_CLIENT_SECRET"]
    assert signin.lacking({}) == signin.lacking(SPACE) == []
    assert signin.secrets({}, 8501) is None


@pytest.mark.parametrize(
    ("environment", "how"),
    [
        ({}, "local"),
        ({"OAUTH_CLIENT_SECRET": "much-kept"}, "closed"),
        ({"OAUTH_CLIENT_ID": "a", "OAUTH_CLIENT_SECRET": "b"}, "closed"),
        ({"SPACE_ID": "acme/board"}, "closed"),
        ({"SPACE_HOST": "acme-board.hf.space"}, "closed"),
    ],
)
def test_everybody_is_local_only_where_no_sign_in_was_meant(
    environment: dict[str, str], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "SPACE_ID", "SPACE_HOST"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = signin.visitor()
    assert found.how == how
    assert found.name == ("local" if how == "local" else None)
    assert "much-kept" not in found.note


def test_names_in_headers_close_the_form() -> None:
    from streamlit import config

    before = config.get_option("server.trustedUserHeaders")
    config.set_option("server.trustedUserHeaders", {"X-User": "preferred_username"})
    try:
        assert signin.visitor().how == "closed"
    finally:
        config.set_option("server.trustedUserHeaders", before)


def _through(path: str, status: int, headers: list[tuple[str, str]]) -> Any:
    """The answer of an inner application with those headers, as it comes out of the middleware."""
    from starlette.responses import Response
    from starlette.testclient import TestClient

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        response = Response(status_code=status)
        for name, value in headers:
            response.headers.append(name, value)
        await response(scope, receive, send)

    client = TestClient(signin.BackToPage(inner), follow_redirects=False)
    return client.get(path)


@pytest.mark.parametrize(
    ("cookies", "location"),
    [
        (["_streamlit_user=signed; Path=/"], "/submit"),
        ([], "/submit?signin=refused"),
        (['_streamlit_user=""; Max-Age=0; Path=/'], "/submit?signin=refused"),
        (["_streamlit_xsrf=1; Path=/"], "/submit?signin=refused"),
    ],
)
def test_whoever_comes_back_lands_where_they_left(cookies: list[str], location: str) -> None:
    headers = [("location", "/"), *(("set-cookie", cookie) for cookie in cookies)]
    answer = _through("/oauth2callback?code=1", 302, headers)
    assert answer.headers["location"] == location


@pytest.mark.parametrize(("path", "status"), [("/auth/logout", 302), ("/oauth2callback", 400)])
def test_nothing_else_is_led_elsewhere(path: str, status: int) -> None:
    assert _through(path, status, [("location", "/")]).headers["location"] == "/"
