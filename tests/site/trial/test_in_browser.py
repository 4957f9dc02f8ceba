"""Try a model in real browsers: one's own account at a provider, two visitors and a model that hangs."""

from __future__ import annotations

import base64
import importlib.util
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parents[2]


@dataclass
class Served:
    """A site whose visitors sign in at `oidc` and whose providers are `chat`."""

    url: str
    log: Path
    chat: Any
    oidc: Any

    def model_processes(self) -> list[int]:
        """The processes that hold this site's models."""
        port = self.url.rpartition(":")[2]
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().decode()
                parent = re.search(r"PPid:\s+(\d+)", (folder / "status").read_text())
                above = Path(f"/proc/{parent[1]}/cmdline").read_bytes().decode() if parent else ""
            except OSError:
                continue  # it ended meanwhile
            if "ucbench.site.trial.child" in words and f"serve({port}" in above:
                found.append(int(folder.name))
        return found


@pytest.fixture(scope="module")
def served(
    serve_site: Callable[..., Any],
    new_port: Callable[[], int],
    oidc: Any,
    reported_store: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    """The site, with sign-in and a provider."""
    if "chat_server" not in sys.modules:
        spec = importlib.util.spec_from_file_location("chat_server", TESTS / "chat_server.py")
        assert spec
        assert spec.loader
        module = sys.modules["chat_server"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    folder, port = tmp_path_factory.mktemp("trial"), new_port()
    with sys.modules["chat_server"].ChatServer(model="acme/seeing") as chat:
        environment = oidc.environment(f"127.0.0.1:{port}") | {
            "UCBENCH_RESULTS": str(reported_store),
            "UCBENCH_RUNS": str(folder / "runs"),
            "UCBENCH_INFERENCE_URL": chat.url,
        }
        with serve_site(folder, environment, port) as url:
            yield Served(url, folder / "log", chat, oidc)


def test_a_visitor_asks_with_their_own_account_and_the_key_stays_in_the_server(
    served: Served, browse: Callable[..., Any], browser: Any
) -> None:
    context = browser.new_context()
    page = browse(
        served.url, "/try?about=arson&model=acme/seeing&questions=image", others=(served.oidc.url,),
        context=context,
    )  # fmt: skip
    sent: list[str] = []

    def heard(socket: Any) -> None:
        for event in ("framesent", "framereceived"):
            socket.on(
                event, lambda frame: sent.append(frame.decode("latin-1") if type(frame) is bytes else frame)
            )

    page.on("websocket", heard)
    page.on("request", lambda request: sent.append(request.url))
    page.get_by_text("Sign in to ask models that others serve").wait_for()
    page.get_by_role("button", name="Sign in with Hugging Face").click()
    page.get_by_role("link", name="Continue as ada").click()
    # Back where they left, with every choice.
    page.get_by_text("Asked for the account").wait_for()
    choices = dict(pair.split("=") for pair in page.url.partition("?")[2].split("&"))
    assert choices == {"about": "arson", "model": "provider", "id": "acme%2Fseeing", "questions": "image"}
    page.get_by_role("button", name="Ask 5 questions").click()
    page.locator(".qa .verdict").nth(4).wait_for()

    (key,) = {header["authorization"].removeprefix("Bearer ") for header in served.chat.headers}
    assert served.oidc.issued[key] == "openid profile inference-api"
    cookies = {cookie["name"]: cookie["value"] for cookie in context.cookies()}
    assert "_streamlit_user_tokens" in cookies
    everything = [*cookies.values(), *sent, page.content(), page.url, served.log.read_text()]
    for text in everything:
        undone = [
            base64.urlsafe_b64decode(part[: len(part) // 4 * 4]).decode("latin-1")
            for part in re.findall(r"[A-Za-z0-9_-]{16,}", text[:200_000])
        ]
        assert key not in text
        assert not any(key in part for part in undone)
    assert any("_stcore" in text for text in sent)

    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="ucbench").or_(page.locator("h1")).first.wait_for()
    context.close()


@pytest.mark.slow
def test_a_model_that_hangs_holds_up_nobody_but_those_who_wait_for_it(
    served: Served, browse: Callable[..., Any], eventually: Callable[..., None]
) -> None:
    first = browse(served.url, "/try?about=arson")
    first.get_by_role("button", name="Ask 11 questions").click()
    while not (held := served.model_processes()):
        time.sleep(0.02)
    os.kill(held[0], signal.SIGSTOP)

    second = browse(served.url, "/try?about=gun-violence")
    second.get_by_role("button", name="Ask 11 questions").click()
    second.get_by_text("You are the second in line. One visitor is before you.").wait_for()
    # Their other pages answer meanwhile.
    third = browse(served.url, "/about")
    assert third.locator("h1").inner_text() == "About"
    second.get_by_role("button", name="Leave the line").click()
    second.get_by_text("You left the line; nothing was asked.").wait_for()
    second.get_by_role("button", name="Ask 11 questions").click()
    second.get_by_text("You are the second in line.").wait_for()

    first.close()
    # The place is free: what hung is ended, and another process loads the model for who is next.
    second.get_by_text("The model is being loaded").wait_for()

    def ended() -> None:
        assert held[0] not in served.model_processes()
        assert served.model_processes()

    eventually(ended)
    second.get_by_role("button", name="Stop").click()
    second.get_by_text("nothing was asked").or_(second.get_by_text("Stopped after")).wait_for()
