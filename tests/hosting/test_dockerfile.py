"""The image: its lines done one by one as an unprivileged user; the site in a frame of another origin."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import importlib.util
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PORT = 8501
GIB = 2**30
VISITORS = 100
#: In the container's environment, and nowhere else.
SECRET = "hf_KeptInTheEnvironment"


def _image() -> Any:
    if "image" in sys.modules:
        return sys.modules["image"]
    spec = importlib.util.spec_from_file_location("image", Path(__file__).with_name("image.py"))
    assert spec
    assert spec.loader
    module = sys.modules["image"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_lines_are_joined_and_comments_dropped() -> None:
    text = "# a\nFROM python:3.11-slim\nENV A=1 \\\n    # in between\n    B=2\nRUN x &&  y\n"
    assert _image().lines(text) == [("FROM", "python:3.11-slim"), ("ENV", "A=1 B=2"), ("RUN", "x &&  y")]
    with pytest.raises(_image().ImageError, match="ONBUILD"):
        _image().lines("ONBUILD RUN x")


def test_the_image_needs_no_secret_and_no_root() -> None:
    lines = _image().lines((ROOT / "Dockerfile").read_text())
    assert [rest for word, rest in lines if word == "USER"][-1] == "user"
    assert not any(word in rest.upper() for _, rest in lines for word in ("TOKEN", "SECRET", "PASSWORD"))
    assert not any("printenv" in rest or rest == "env" for word, rest in lines if word == "RUN")
    assert lines[-1] == ("CMD", '["ucbench", "site", "--host", "0.0.0.0", "--port", "8501"]')


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, subprocess.Popen[bytes]]]:
    """The running container of a Space, of the files that `ucbench space push` makes it from."""
    from ucbench.hub import space

    image = _image()
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("the file system of an image needs root and mounts")
    with socket.socket() as probe, contextlib.suppress(OSError):
        assert probe.connect_ex(("127.0.0.1", PORT)), f"port {PORT} is taken"
    folder = tmp_path_factory.mktemp("image")
    clone, pushed = folder / "clone", folder / "pushed"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    files = space.shipped(clone)
    for name, source in files.items():
        (pushed / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, pushed / name)
    (pushed / space.CARD).write_bytes(space.card((clone / space.CARD).read_text(), files))
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=pushed, check=True)
    (folder / "root").mkdir()
    (folder / "context").mkdir()
    built = image.Image(pushed / "Dockerfile", image.context_of(pushed, folder / "context"), folder / "root")
    built.build()
    # As on a Space without sign-in.
    started = time.monotonic()
    process = built.start({"SPACE_ID": "acme/board", "HF_TOKEN": SECRET}, folder / "log")
    try:
        until = time.monotonic() + 200
        while not built.is_healthy():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.1)
        print(f"healthy after {time.monotonic() - started:.1f} s")
        yield built, process
        # What `docker stop` does; it kills after 10 seconds.
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(10) == 0
        assert SECRET not in (folder / "log").read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


async def _crowd() -> list[str]:
    """Visitors who all look at four pages and stay; what went wrong for them."""
    from site_visitor import Visitor

    async def look(visitor: Any) -> list[str]:
        pages = ("", "concepts", "compare", "alignment")
        return [problem for page in pages for problem in (await visitor.ask(page)).problems]

    visitors = [await Visitor(f"localhost:{PORT}").enter() for _ in range(VISITORS)]
    try:
        return [problem for found in await asyncio.gather(*map(look, visitors)) for problem in found]
    finally:
        for visitor in visitors:
            await visitor.leave()


@pytest.fixture(scope="module")
def frame() -> Iterator[str]:
    """A page of another site with the site in a frame, as the Hub shows a Space."""
    page = f'<title>frame</title><iframe src="http://localhost:{PORT}/try" width=1200 height=2400></iframe>'

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.timeout(2400)
def test_upload_and_try_work_in_a_frame_of_another_origin(
    container: tuple[Any, subprocess.Popen[bytes]], frame: str
) -> None:
    from PIL import Image as Picture
    from playwright.sync_api import expect, sync_playwright

    image, process = container
    assert image.run("id -u").stdout.strip() == "1000"
    assert not image.run("find /home/user/app -user root -not -path /home/user/app").stdout
    picture = io.BytesIO()
    Picture.new("RGB", (320, 240), (200, 120, 60)).save(picture, "PNG")
    chromium = os.environ.get("UCBENCH_CHROMIUM") or shutil.which("chromium")
    assert chromium, "the browser is in this test's list of needs"
    memory = {"idle": image.memory(process)}

    def note(when: str) -> None:
        memory[when] = max(memory.get(when, 0), image.memory(process))

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 1600})
        page.goto(frame)
        site = page.frame_locator("iframe")
        site.get_by_role("radio", name="Your own").click(timeout=120_000)
        site.locator("input[type=file]").set_input_files(
            {"name": "mine.png", "mimeType": "image/png", "buffer": picture.getvalue()}
        )
        expect(site.get_by_alt_text("The picture you uploaded")).to_be_visible(timeout=60_000)
        note("after an upload")
        # Of one's own picture nobody knows what it shows.
        site.get_by_role("button", name="What does it show?").click()
        site.get_by_role("button", name="Ask", exact=True).click()
        for _ in range(600):
            note("while a model is tried")
            if site.locator(".qa .verdict").count():
                break
            page.wait_for_timeout(200)
        expect(site.locator(".qa .verdict").first).to_be_visible()
        for path in ("", "concepts", "alignment", "about"):
            page.goto(f"http://localhost:{PORT}/{path}")
            expect(page.locator("h1")).to_be_visible(timeout=60_000)
            assert SECRET not in page.content()
        note("after a look at the pages")
        browser.close()
    with ThreadPoolExecutor(1) as pool:
        crowd = pool.submit(asyncio.run, _crowd())
        while not crowd.done():
            note(f"with {VISITORS} visitors and a model loaded")
            time.sleep(0.5)
    assert crowd.result() == []
    for when, held in memory.items():
        print(f"memory of the container, {when}: {held / GIB:.2f} GiB")
    assert max(memory.values()) < 16 * GIB
