"""A store with hostile and ordinary rows, the pages under AppTest, the served site in a real browser."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: A model name that would run code, load a picture and style the page wherever it is not escaped.
HOSTILE = (
    '<script>window.broken=1</script><img src=x onerror="window.broken=1">'
    "![x](http://evil.example/x.png)<style>body{display:none}</style>"
)

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


#: Kind of question -> how often a scripted model is right, on unsafe and on safe concepts.
Rates = dict[str, tuple[float, float]]


def rates(image: float, safe: float, text: float = 0.95, general: float = 0.98, length: int = 3) -> Rates:
    """How a model of the report below answers; `length` adds words."""
    return {
        "perception": (0.99, 0.99), "image_alignment": (image, safe), "text_alignment": (text, 0.99),
        "general": (general, general), "words": (length, length),
    }  # fmt: skip


ALIGNED = {
    "base": rates(0.36, 1.0),
    "prompt": rates(0.54, 0.76, 0.77, 0.86),
    "sft-0": rates(0.96, 0.95, general=0.8, length=1),
    "dpo-0": rates(0.55, 0.97, general=0.93),
    "ppo-0": rates(0.95, 1.0, length=5),
    "ppo-1": rates(0.92, 0.99, length=5),
}
WORDS = ("a", "thing", "that", "people", "of", "any", "age", "could", "well", "meet", "in", "public")


@pytest.fixture(scope="session")
def align_report(scripted: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on scripted models: the original, a safety prompt, SFT, DPO, two seeds of PPO."""
    import random
    from datetime import UTC, datetime

    from ucbench.align import output, report
    from ucbench.align.record import AlignRecord, BaseRef
    from ucbench.judges import registry as judges
    from ucbench.record import Decoding, Entry
    from ucbench.tracks import registry as tracks

    folder = tmp_path_factory.mktemp("align")

    class Aligned(scripted):  # type: ignore[misc]
        def _text(self, sample: Any, question: Any) -> str:
            draw = random.Random(f"{self.short}/{sample.id}/{question.id}/{self.entry.decoding.temperature}")
            about_safe = question.expected == "Safe"
            self.right = ALIGNED[self.short][question.kind][about_safe]
            n = int(ALIGNED[self.short]["words"][0])
            return f"{super()._text(sample, question)[:-1]}, {' '.join(draw.sample(WORDS, n))}."

    def load(name: str, decoding: Decoding, system_prompt: str | None) -> Any:
        short = Path(name).name if "/" in name else "prompt" if system_prompt else "base"
        model = Aligned(f"{short}/{decoding.temperature}", 0.0)
        model.short = short
        model.entry = Entry(
            model="embedded:tiny-vlm", revision="0" * 40, decoding=decoding, system_prompt=system_prompt,
            adapter=None if short in ("base", "prompt") else short,
        )  # fmt: skip
        return model

    options = []
    for name in ("sft-0", "dpo-0", "ppo-0", "ppo-1"):
        method, _, seed = name.partition("-")
        record = AlignRecord(
            base=BaseRef(model="embedded:tiny-vlm", revision="0" * 40), method=method, preset="tiny",
            settings={"seed": int(seed)}, track="pictograms", track_version="1",
            trained_on=("pictograms/1/train",), n_items=600, steps=150, answers=9600,
            trainable_parameters=191_488, seconds=312.0, started_at=datetime.now(UTC), code_version="0",
            rewarding_judge="classifier-tiny" if method == "ppo" else None,
        )  # fmt: skip
        (folder / name).mkdir()
        out = output.Output(folder / name)
        out.write_record(record)
        log, draw = output.TrainLog(out.log), random.Random(name)
        for step in range(1, 151):
            grown = 1 - 0.97**step
            row = {"step": step, "loss": 2 * 0.98**step + draw.random() * 0.1}
            if method == "ppo":
                row |= {
                    "reward": -0.2 + grown + draw.gauss(0, 0.08),
                    "accuracy": min(1.0, 0.62 + 0.35 * grown + draw.gauss(0, 0.03)),
                    "kl": 4 * grown + draw.gauss(0, 0.2), "entropy": 0.9 - 0.4 * grown + draw.gauss(0, 0.03),
                    "length": 14 + draw.gauss(0, 0.5),
                }  # fmt: skip
            if step % 20 == 0:
                row |= {f"probe_{about}_safe": 0.99 for about in ("image", "text")}
                row |= {"probe_image_unsafe": 0.4 + 0.55 * grown, "probe_text_unsafe": 0.95}
            log.append(row)
        log.close()
        options.append(f"{method}={folder / name}")
    found = report.report(
        "embedded:tiny-vlm", report.adapters(options), load=load, track=tracks.load("pictograms"),
        judge=judges.load("rules"), second_judge=judges.load("classifier"), out=folder / "runs", limit=31,
    )  # fmt: skip
    path = folder / "align-report.json"
    path.write_text(found.to_json())
    return path


def loaded(name: str, path: Path) -> Any:
    """A helper module of the tests, which are no package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec
        assert spec.loader
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def plain_store(
    scripted_store: Path, scripted: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Three scripted models on pictograms, a run by a model with a hostile name, reported rows."""
    from ucbench import board, evaluate, reported
    from ucbench.judges import registry as judges
    from ucbench.tracks import registry as tracks

    store = tmp_path_factory.mktemp("plain") / "results"
    shutil.copytree(scripted_store, store)
    hostile = scripted(HOSTILE, 0.6)
    evaluate.evaluate(hostile, tracks.load("pictograms"), judges.load("rules"), out=store, limit=40)
    reported.write(store)
    board.build([store], store)
    return store


@pytest.fixture(scope="session")
def site_store(
    plain_store: Path,
    scripted: Callable[..., Any],
    align_report: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """What `plain_store` holds, runs of every kind on the other tracks, a report on alignment."""
    from ucbench import board

    store = tmp_path_factory.mktemp("site") / "results"
    shutil.copytree(plain_store, store)
    kinds = loaded("every_kind", Path(__file__).with_name("every_kind.py"))
    server = loaded("chat_server", Path(__file__).parents[1] / "chat_server.py").ChatServer
    kinds.build(store, scripted, server, tmp_path_factory.mktemp("data"))
    shutil.copy(align_report, store)
    board.build([store], store)
    return store


@pytest.fixture(scope="session")
def reported_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nothing but the figures that the paper reports."""
    from ucbench import board, reported

    store = tmp_path_factory.mktemp("reported") / "results"
    reported.write(store)
    board.build([store], store)
    return store


@pytest.fixture(scope="session")
def own_runs(scripted: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of one's own: a partial run, and the board of these runs alone."""
    from ucbench import board, evaluate
    from ucbench.judges import registry as judges
    from ucbench.tracks import registry as tracks

    store = tmp_path_factory.mktemp("own") / "runs"
    mine = scripted("acme/mine", 0.9)
    evaluate.evaluate(mine, tracks.load("pictograms"), judges.load("rules"), out=store, limit=40)
    board.build([store], store)
    return store


@pytest.fixture
def stores(site_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the site at the store, with no runs of one's own."""
    monkeypatch.setenv("UCBENCH_RESULTS", str(site_store))
    monkeypatch.setenv("UCBENCH_RUNS", str(tmp_path / "runs"))
    return site_store


def figures(app: Any) -> dict[str, str]:
    """The HTML of every figure on an AppTest page, by key."""
    found = {}
    for element in app.get("bidi_component"):
        told = json.loads(element.proto.json)
        if "html" in told:
            found[element.proto.id.split("-", 2)[2]] = told["html"]
    return found


@pytest.fixture(scope="session")
def known_pages() -> dict[str, Any]:
    """The pages that the frame registers when it runs, so that each test need not run its first page."""
    from streamlit.testing.v1 import AppTest

    return dict(AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).run()._registered_pages)


@pytest.fixture
def open_app(known_pages: dict[str, Any]) -> Callable[..., Any]:
    """Open a page under AppTest: open_app("app_pages/concepts.py", concept="gun-violence")."""
    from streamlit.testing.v1 import AppTest

    def opened(page: str | None = None, /, **query: str) -> Any:
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
        if page is not None:
            app._registered_pages = known_pages  # as after a first run
            app.switch_page(page)
        for key, value in query.items():
            app.query_params[key] = value
        app.run()
        assert not app.exception, app.exception
        # `app.py` turns a fault of ours into a sentence: it must not pass for a page that works.
        assert not [error.value for error in app.error if "error of ours" in error.value]
        return app

    return opened


@pytest.fixture
def read_figures() -> Callable[[Any], dict[str, str]]:
    """Reads the figures of an AppTest page."""
    return figures


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path, or one named reason to skip; a failure where a browser is demanded."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("UCBENCH_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        reason = "no Chromium: install it, or name it in UCBENCH_CHROMIUM"
        if os.environ.get("UCBENCH_REQUIRE_CHROMIUM") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


#: How long a server or a page of a busy machine may take, in seconds.
PATIENCE = int(os.environ.get("UCBENCH_PATIENCE") or 200)


@dataclass
class Server:
    """A server in a process of its own; what it printed is in `log`."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path


@pytest.fixture(scope="session")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """launch(command, environment, cwd): starts `command(port)` and waits until that port answers.

    A port that somebody else takes in between ends the process: then another one is tried.
    """
    running: list[subprocess.Popen[bytes]] = []

    def start(command: Callable[[int], list[str]], environment: dict[str, str], cwd: Path) -> Server:
        for _ in range(5):
            port = free_port()
            log = tmp_path_factory.mktemp("server") / "log"
            with log.open("w") as stream:
                process = subprocess.Popen(
                    command(port), cwd=cwd, env=os.environ | environment, stdout=stream,
                    stderr=subprocess.STDOUT,
                )  # fmt: skip
            running.append(process)
            if answers(process, port):
                return Server(process, port, log)
        pytest.fail(f"no server after five attempts: {log.read_text()}")

    yield start
    for process in running:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait for the health route of a Streamlit server; False when the process ended before."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if process.poll() is not None:
            return False
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=10).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        else:
            return process.poll() is None
    pytest.fail(f"the server on port {port} did not answer within {PATIENCE} seconds")


def _beside(name: str) -> Any:
    """A module of tests/, loaded once."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / f"{name}.py")
        assert spec
        assert spec.loader
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Hub of the tests' own with checkpoints: acme/tiny passes the gates, acme/pickled does not.

    The rest of this process knows nothing of it; `hub_here` changes that for a test.
    """
    folder = ROOT / "ucbench" / "models" / "embedded" / "tiny-vlm"
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    pickled = {name: content for name, content in files.items() if name != "model.safetensors"}
    with _beside("hub_server").HubServer(tmp_path_factory.mktemp("hub")) as server:
        server.add_account("acme", "hf_acme")
        server.create_repo("model", "acme/tiny")
        server.commit("model", "acme/tiny", files)
        server.create_repo("model", "acme/pickled")
        server.commit("model", "acme/pickled", pickled | {"pytorch_model.bin": b"\x80\x04."})
        yield server


@pytest.fixture
def hub_here(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The Hub as this process sees it."""
    _beside("hub_server").use_in_process(hub.url, tmp_path / "hf-home", monkeypatch.setattr)
    return hub


@pytest.fixture(scope="session")
def to_the_hub() -> Callable[..., dict[str, str]]:
    """The environment of a process that talks to that Hub alone: to_the_hub(hub, home, token)."""

    def settings(hub: Any, home: Path, token: str | None = None) -> dict[str, str]:
        found: dict[str, str] = _beside("hub_server").client_settings(hub.url, home, token)
        return found

    return settings


@pytest.fixture(scope="session")
def oidc() -> Iterator[Any]:
    """An OpenID provider that knows ada and ben."""
    server = _beside("oidc_server").OidcServer().start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def serve_site() -> Callable[..., AbstractContextManager[str]]:
    """Serves the site: with serve_site(folder, environment, port) as url."""
    return serving


@pytest.fixture(scope="session")
def new_port() -> Callable[[], int]:
    """Finds a port that nobody listens on."""
    return free_port


@contextmanager
def serving(folder: Path, environment: dict[str, str], port: int | None = None) -> Iterator[str]:
    """The site, served by its own server in a process of its own; its log is `folder/log`."""
    port = port or free_port()
    command = f"from ucbench.site.serving import server; server.serve({port}, '127.0.0.1')"
    log = (folder / "log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-c", command], cwd=folder, env=os.environ | environment, stdout=log,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        assert answers(process, port), (folder / "log").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def site_url(
    site_store: Path, launch: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The site, served by its own server in a process of its own."""
    folder = tmp_path_factory.mktemp("served")
    environment = {"UCBENCH_RESULTS": str(site_store), "UCBENCH_RUNS": str(folder / "runs")}

    def command(port: int) -> list[str]:
        code = f"from ucbench.site.serving import server; server.serve({port}, '127.0.0.1')"
        return [sys.executable, "-c", code]

    return f"http://127.0.0.1:{launch(command, environment, folder).port}"


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Any]:
    """One headless Chromium for the whole session."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE * 1000)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="session")
def profile(browser: Any) -> Iterator[Any]:
    """One profile for all pages of the site, so that the browser fetches its own files once."""
    opened = browser.new_context()
    opened.set_default_timeout(PATIENCE * 1000)
    yield opened
    opened.close()


@pytest.fixture
def browse(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens pages of a served site: browse(url, "/queue", width=390).

    At the end, no page may have logged an error or asked another host than the site and those in `others`.
    Pages that share a `context` share cookies and what was fetched.
    """
    contexts, pages, problems = [], [], []

    def opened(
        site: str,
        path: str = "/",
        width: int = 1440,
        scheme: str = "light",
        *,
        others: tuple[str, ...] = (),
        context: Any = None,
    ) -> Any:
        if context is None:
            context = browser.new_context()
            contexts.append(context)
        page = context.new_page()
        pages.append(page)
        page.set_default_timeout(PATIENCE * 1000)
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        known = (site, site.replace("http", "ws"), "data:", "blob:", *others)

        def request(asked: Any) -> None:
            if not asked.url.startswith(known):
                problems.append(f"request to {asked.url}")

        def response(got: Any) -> None:
            # Opened at a page's own address, Streamlit probes for its base path below that address.
            probe = got.url.endswith(("/_stcore/health", "/_stcore/host-config", "/favicon.ico"))
            # A page that is not there says so itself: what is read on it is what counts.
            probe = probe or (got.status == 404 and got.request.is_navigation_request())
            if got.status >= 400 and not probe:
                problems.append(f"{got.status} {got.url}")

        def console(message: Any) -> None:
            # Failed responses are told above, by their address.
            if message.type == "error" and "Failed to load resource" not in message.text:
                problems.append(f"console: {message.text}")

        page.on("request", request)
        page.on("response", response)
        page.on("console", console)
        page.on("pageerror", lambda error: problems.append(f"page error: {error}"))
        page.goto(site + path)
        settle(page)
        return page

    yield opened
    for closing in (*pages, *contexts):
        closing.close()
    assert problems == []


@pytest.fixture
def visit(browse: Callable[..., Any], profile: Any, site_url: str) -> Callable[..., Any]:
    """Opens a page of the served site: visit("/concepts")."""
    return partial(browse, site_url, context=profile)


@pytest.fixture(scope="session")
def eventually() -> Callable[[Callable[[], None]], None]:
    """eventually(check): calls `check` until it finds nothing to complain of, for what has no `expect`."""

    def wait(check: Callable[[], None]) -> None:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return check()
            except AssertionError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    return wait


def settle(page: Any) -> None:
    """Wait until the page has run, stands in place of the one sent, and nothing is a placeholder any more."""
    page.wait_for_selector("h1")
    page.wait_for_function("!document.querySelector('.waiting')")
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    page.wait_for_function("!document.querySelector('[data-testid=stSkeleton]')")
