"""The site in a frame of another origin: which cookies browsers are sent, uploads, signing in."""

from __future__ import annotations

import http.server
import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ucbench.site.serving import framed

TOKEN = "_streamlit_xsrf=2|a|b|1; Path=/; SameSite=None; Secure"
IN_A_FRAME = {"sec-fetch-dest": "iframe", "sec-fetch-site": "cross-site"}
IN_A_TAB = {"sec-fetch-dest": "document", "sec-fetch-site": "none"}


def cookies(asked: dict[str, str], sent: str = "") -> list[str]:
    """The cookies of an answer, as they come out of the middleware."""
    from starlette.responses import Response
    from starlette.testclient import TestClient

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await Response(headers={"set-cookie": sent} if sent else {})(scope, receive, send)

    return TestClient(framed.Framed(inner)).get("/", headers=asked).headers.get_list("set-cookie")


def test_the_cookie_against_forged_uploads_is_kept_apart_for_each_page_around_the_frame() -> None:
    assert cookies({}, TOKEN) == [f"{TOKEN}; Partitioned"]


@pytest.mark.parametrize("sent", [TOKEN.removesuffix("; Secure"), "_streamlit_user=x; Secure", "a=1"])
def test_other_cookies_stay_as_they_are(sent: str) -> None:
    assert cookies({}, sent) == [sent]


def test_a_frame_is_told_from_a_tab() -> None:
    (told,) = cookies(IN_A_FRAME)
    assert told.startswith("ucbench_framed=1;")
    assert {"Secure", "HttpOnly", "Partitioned", "SameSite=None"} <= set(told.split("; "))
    assert cookies(IN_A_TAB) == []
    (forgotten,) = cookies({**IN_A_TAB, "cookie": "ucbench_framed=1"})
    assert "Max-Age=0" in forgotten
    assert cookies({"sec-fetch-dest": "iframe", "sec-fetch-site": "same-origin"}) == []
    assert cookies({}) == []


def test_the_settings_are_for_spaces_alone() -> None:
    assert framed.settings({}) == {}
    for name in ("SPACE_ID", "SPACE_HOST"):
        assert framed.settings({name: "x"}) == {"server.xsrfCookieSameSite": "none"}


@pytest.fixture
def around() -> Iterator[Callable[[str], str]]:
    """Makes a page of another origin with a frame in it; returns its address."""
    shown = ""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f'<link rel=icon href=data:,><iframe src="{shown}" {size}></iframe>'.encode())

        def log_message(self, *_: object) -> None:
            pass

    size = "width=1200 height=2000"
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def framing(address: str) -> str:
        nonlocal shown
        shown = address
        return f"http://127.0.0.1:{server.server_port}/"

    yield framing
    server.shutdown()
    server.server_close()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.timeout(600)
def test_in_a_frame_pictures_are_uploaded_and_signing_in_opens_a_tab(
    around: Callable[[str], str], browser: Any, oidc: Any, serve_site: Callable[..., Any],
    new_port: Callable[[], int], site_store: Path, tmp_path: Path,
) -> None:  # fmt: skip
    from PIL import Image
    from playwright.sync_api import expect

    picture = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 120, 60)).save(picture, "PNG")
    port = new_port()
    settings = {
        **oidc.environment(f"localhost:{port}"),
        "UCBENCH_RESULTS": str(site_store),
        "UCBENCH_STORE": str(tmp_path / "store"),
        "UCBENCH_RESULTS_STORE": "",
        "UCBENCH_RUNS": str(tmp_path / "runs"),
    }
    with serve_site(tmp_path, settings, port):
        page = browser.new_page()
        page.goto(around(f"http://localhost:{port}/try"))
        site = page.frame_locator("iframe")
        site.get_by_role("radio", name="Your own").click(timeout=60_000)
        site.locator("input[type=file]").set_input_files(
            {"name": "mine.png", "mimeType": "image/png", "buffer": picture.getvalue()}
        )
        expect(site.get_by_alt_text("The picture you uploaded")).to_be_visible(timeout=30_000)

        # In the frame there is no button that would do nothing, but a link to a tab of its own.
        page.goto(around(f"http://localhost:{port}/submit"))
        site = page.frame_locator("iframe")
        link = site.get_by_role("link", name="Sign in, in a full tab")
        expect(link).to_be_visible(timeout=60_000)
        expect(site.get_by_role("button", name="Sign in with Hugging Face")).to_have_count(0)
        with page.context.expect_page() as opened:
            link.click()
        tab = opened.value
        tab.get_by_role("button", name="Sign in with Hugging Face").click(timeout=60_000)
        tab.get_by_role("link", name="Continue as ada").click()
        expect(tab.get_by_text("Signed in as ada")).to_be_visible(timeout=60_000)
        page.context.close()
