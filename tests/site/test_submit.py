"""The Submit page: who you are, the gates as they are made, and what became of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from ucbench.errors import UcbenchError
from ucbench.hub.gates.base import Check
from ucbench.hub.queue import Queue, Quota, QuotaError
from ucbench.hub.request import Request, new_id
from ucbench.hub.store import open_store
from ucbench.site.queue import submit_view
from ucbench.site.queue import view as queue_view
from ucbench.site.queue.submit_view import Pace, Submission, Wish

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

App = Callable[..., Any]
Figures = Callable[[Any], dict[str, str]]
Browse = Callable[..., Any]

PAGE = "app_pages/submit.py"
HOSTILE = (
    '<script>window.broken=1</script><img src=x onerror="window.broken=1">![x](http://evil.example/x.png)'
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty queue, and no sign-in."""
    address = str(tmp_path / "store")
    monkeypatch.setenv("UCBENCH_STORE", address)
    monkeypatch.setenv("UCBENCH_RUNS", str(tmp_path / "runs"))
    for name in ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "SPACE_ID", "SPACE_HOST", "UCBENCH_RESULTS_STORE"):
        monkeypatch.delenv(name, raising=False)
    return address


def send(app: Any, model: str) -> Any:
    """Fill the form in and send it."""
    app.text_input(key="submit_model").set_value(model)
    app.button[0].click().run()
    assert not app.exception, app.exception
    return app


# Without sign-in, in this process


def test_a_checkpoint_that_passes_waits_in_the_queue(
    store: str, hub_here: Any, open_app: App, read_figures: Figures
) -> None:
    app = open_app(PAGE)
    assert "submits as `local`" in app.info[0].value
    app = send(app, " acme/tiny ")
    shown = [html for key, html in read_figures(app).items() if key.startswith("check_")]
    assert len(shown) > 10
    assert all('class="check passed"' in html for html in shown)
    assert "number 1 in the queue" in app.success[0].value
    (made,) = Queue(open_store(store)).all()
    assert (made.model, made.submitter, made.state, made.track) == (
        "acme/tiny",
        "local",
        "PENDING",
        "pictograms",
    )
    assert made.revision == hub_here.head("model", "acme/tiny")

    again = send(open_app(PAGE), "acme/tiny")
    assert "was submitted before" in again.info[1].value
    assert len(Queue(open_store(store)).all()) == 1
    # What was found stays while the visitor looks around.
    app.run()
    assert "number 1 in the queue" in app.success[0].value


@pytest.mark.usefixtures("hub_here")
def test_a_gate_that_fails_says_what_to_do(store: str, open_app: App, read_figures: Figures) -> None:
    app = send(open_app(PAGE), "acme/pickled")
    shown = read_figures(app)
    failed = [html for html in shown.values() if 'class="check failed"' in html]
    assert any("safetensors" in html and 'class="advice"' in html for html in failed)
    assert "was not submitted" in app.error[0].value
    assert Queue(open_store(store)).all() == []


@pytest.mark.usefixtures("hub_here")
@pytest.mark.parametrize("model", ["", "../../etc/passwd", HOSTILE, "acme/nothing", "acme/tiny\n"])
def test_a_name_that_is_none_is_shown_as_text(
    store: str, open_app: App, read_figures: Figures, model: str
) -> None:
    app = send(open_app(PAGE), model)
    html = "".join(read_figures(app).values())
    assert "<script" not in html
    assert "<img" not in html
    for said in (*app.error, *app.success, *app.info):
        # Markdown shows what is escaped.
        assert "![x](" not in said.value
        assert not re.search(r"(?<!\\)<", said.value)
    assert len(Queue(open_store(store)).all()) == (model.strip() == "acme/tiny")


def test_a_hub_that_is_away_is_said_in_a_sentence(
    store: str, open_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    app = send(open_app(PAGE), "acme/tiny")
    assert "was not submitted" in app.error[0].value
    assert Queue(open_store(store)).all() == []


@pytest.mark.parametrize(
    ("environment", "said"),
    [({"SPACE_HOST": "acme-board.hf.space"}, "not set up on this Space"),
     ({"OAUTH_CLIENT_ID": "a"}, "OAUTH_CLIENT_SECRET is missing")],
)  # fmt: skip
def test_a_closed_form_takes_nothing(
    store: str, open_app: App, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    app = open_app(PAGE)
    assert said in app.warning[0].value
    assert app.button[0].disabled
    # A press that the browser should not have let through.
    with pytest.raises(UcbenchError, match="Sign in"):
        list(Submission(Wish("acme/tiny", None, "auto", "pictograms")).run(store, None))
    assert Queue(open_store(store)).all() == []


def test_without_a_store_the_page_says_how_to_get_one(
    store: str, open_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store
    monkeypatch.delenv("UCBENCH_STORE")
    assert "UCBENCH_STORE" in open_app(PAGE).info[0].value


def test_whoever_may_sign_in_is_asked_to(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamlit.testing.v1 import AppTest

    assert store
    monkeypatch.setenv("SPACE_HOST", "acme-board.hf.space")
    app = AppTest.from_file(str(Path(__file__).parents[2] / "app.py"), default_timeout=120)
    app.secrets["auth"] = {"redirect_uri": "https://acme-board.hf.space/oauth2callback"}
    app.run()
    app.switch_page(PAGE).run()
    assert [button.label for button in app.button] == ["Sign in with Hugging Face", "Check and submit"]
    assert app.button[1].disabled
    # Within the frame of a Space, cookies of a sign-in are not kept.
    (link,) = app.get("link_button")
    assert (link.proto.label, link.proto.url) == ("Open in a full tab", "https://acme-board.hf.space/submit")
    app.switch_page("app_pages/queue.py").run()
    assert not app.toggle
    assert [link.proto.label for link in app.get("page_link")][-2] == "Sign in to change requests of yours"


def test_interrupted_checks_are_no_submission(store: str, hub_here: Any, open_app: App) -> None:
    submission = Submission(Wish("acme/tiny", None, "auto", "pictograms"))
    checks = submission.run(store, "local")
    next(checks)
    checks.close()  # type: ignore[attr-defined]
    assert hub_here
    app = open_app(PAGE)
    app.session_state["submission"] = submission
    app.run()
    assert "were interrupted" in app.warning[0].value
    assert not app.success
    assert Queue(open_store(store)).all() == []


# Its parts


@pytest.mark.parametrize("outcome", ["passed", "warning", "failed", "skipped"])
def test_a_check_is_told_by_word_as_well_as_shape_and_escaped(outcome: Any) -> None:
    html = submit_view.check(Check("x", "Licence", outcome, HOSTILE, HOSTILE))
    assert submit_view._WORDS[outcome] in html
    assert "<script" not in html
    assert "<img" not in html


def test_the_quota_is_counted_from_the_queue() -> None:
    now = datetime.now(UTC)

    def made(submitter: str, state: str, hours: float) -> Request:
        return Request(
            id=new_id(), model="a/b", revision="0" * 40, dtype="float32", track="pictograms",
            benchmark="pictograms/1", submitter=submitter, submitted_at=now - timedelta(hours=hours),
            state=state,
        )  # fmt: skip

    listing = queue_view.Listing(
        (
            made("Ada", "PENDING", 1),
            made("ada", "RUNNING", 30),
            made("ada", "FAILED", 2),
            made("ben", "PENDING", 1),
        )
    )
    used = submit_view.used(listing, "ada", now)
    assert (used.unfinished, used.recent) == (2, 2)
    assert used.sentence(Quota(5, 20)) == "2 of 5 unfinished requests, 2 of 20 in 24 hours"


def test_an_account_is_checked_for_once_at_a_time_and_not_too_often() -> None:
    time = [0.0]
    pace = Pace(most=2, seconds=60.0, clock=lambda: time[0])
    pace.begin("ada")
    with pytest.raises(QuotaError, match="checked already"):
        pace.begin("ADA")
    pace.begin("ben")
    pace.end("ada")
    pace.begin("ada")
    pace.end("ada")
    with pytest.raises(QuotaError, match="try again in 1 minute"):
        pace.begin("ada")
    time[0] = 60.0
    pace.begin("ada")


def test_a_full_quota_asks_the_hub_nothing(store: str, hub_here: Any) -> None:
    queue = Queue(open_store(store))
    for n in range(Quota().unfinished):
        queue.add(
            Request(
                id=new_id(),
                model=f"a/b{n}",
                revision="0" * 40,
                dtype="float32",
                track="pictograms",
                benchmark="pictograms/1",
                submitter="ada",
                submitted_at=datetime.now(UTC),
            )
        )
    asked = len(hub_here.requests)
    with pytest.raises(QuotaError, match="unfinished"):
        list(Submission(Wish("acme/tiny", None, "auto", "pictograms")).run(store, "ada"))
    assert len(hub_here.requests) == asked


# Signed in, in a browser


@pytest.fixture(scope="module")
def signed_site(
    hub: Any,
    oidc: Any,
    serve_site: Callable[..., Any],
    new_port: Callable[[], int],
    to_the_hub: Callable[..., dict[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, Path]]:
    """The site with sign-in, over a queue in a folder: its address and that folder."""
    folder = tmp_path_factory.mktemp("signed")
    port = new_port()
    environment = {
        **to_the_hub(hub, folder / "hf-home"),
        **oidc.environment(f"127.0.0.1:{port}"),
        "UCBENCH_STORE": str(folder / "store"),
        "UCBENCH_RUNS": str(folder / "runs"),
    }
    with serve_site(folder, environment, port) as url:
        yield url, folder


@pytest.fixture
def sign_in(browse: Browse, signed_site: tuple[str, Path], oidc: Any) -> Callable[..., Any]:
    """Signs an account in on the Submit page: sign_in("ada")."""

    def signed(name: str, **how: Any) -> Any:
        page = browse(signed_site[0], "/submit", others=(oidc.url,), **how)
        page.get_by_role("button", name="Sign in with Hugging Face").click()
        page.get_by_role("link", name=f"Continue as {name}").click()
        expect(page.get_by_text(f"Signed in as {name}")).to_be_visible()
        return page

    return signed


def test_from_sign_in_to_the_queue_and_out(
    sign_in: Callable[..., Any], signed_site: tuple[str, Path], oidc: Any
) -> None:
    url, folder = signed_site
    page = sign_in("ada")
    expect(page).to_have_url(f"{url}/submit")
    page.get_by_role("textbox", name="Model").fill("acme/tiny")
    page.get_by_role("button", name="Check and submit").click()
    # Each gate's tick as it is made, and then the place.
    expect(page.get_by_text("Weights as safetensors")).to_be_visible()
    expect(page.get_by_text("acme/tiny was submitted. It is number 1 in the queue.")).to_be_visible()
    page.get_by_role("link", name="See it in the queue").click()
    expect(page).to_have_url(re.compile("/queue\\?request="))
    item = page.get_by_role("listitem").filter(has_text="acme/tiny")
    expect(item).to_contain_text("by ada")
    expect(item).to_contain_text("next")
    (made,) = Queue(open_store(str(folder / "store"))).all()
    assert made.submitter == "ada"

    # Another account sees it, has no button for it, and is refused when it makes one.
    other = sign_in("ben")
    other.get_by_role("link", name="Queue").locator("visible=true").click()
    item = other.get_by_role("listitem").filter(has_text="acme/tiny")
    expect(item).to_contain_text("by ada")
    expect(item.get_by_role("button")).to_have_count(0)
    item.evaluate(
        "(e, id) => { const forged = document.createElement('button');"
        " forged.dataset.choose = 'cancel:' + id; e.append(forged); forged.click() }",
        made.id,
    )
    expect(other.get_by_text("ben cannot change it")).to_be_visible()
    assert Queue(open_store(str(folder / "store"))).get(made.id).state == "PENDING"

    # Its owner may: asked once, then done, then undone.
    item = page.get_by_role("listitem").filter(has_text="acme/tiny")
    item.get_by_role("button", name="Cancel").click()
    item.get_by_role("button", name="Yes, cancel").click()
    expect(page.get_by_text("acme/tiny was cancelled.")).to_be_visible()
    expect(item).to_contain_text("Cancelled")
    item.get_by_role("button", name="Try again").click()
    expect(item).to_contain_text("Waiting")
    # What the owner did shows on the other's page by itself.
    expect(other.get_by_role("listitem").filter(has_text="acme/tiny")).to_contain_text("Waiting")

    # No secret reached a page or the log.
    assert oidc.client_secret not in page.content()
    log = (folder / "log").read_text()
    assert oidc.client_secret not in log
    assert "cookie_secret" not in log

    page.get_by_role("link", name="Submit").locator("visible=true").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Unsafe in words, safe as an image?")).to_be_visible()
    page.goto(f"{url}/submit")
    expect(page.get_by_role("button", name="Sign in with Hugging Face")).to_be_visible()
    expect(page.get_by_role("button", name="Check and submit")).to_be_disabled()


def test_a_refused_or_forged_sign_in_says_so(
    browse: Browse, signed_site: tuple[str, Path], oidc: Any
) -> None:
    url, _ = signed_site
    page = browse(url, "/submit", others=(oidc.url,))
    page.get_by_role("button", name="Sign in with Hugging Face").click()
    page.get_by_role("link", name="Refuse").click()
    expect(page.get_by_text("Signing in did not work.")).to_be_visible()
    oidc.forge = True
    try:
        page.get_by_role("button", name="Sign in with Hugging Face").click()
        page.get_by_role("link", name="Continue as ada").click()
        expect(page.get_by_text("Signing in did not work.")).to_be_visible()
    finally:
        oidc.forge = False


def test_nothing_that_a_visitor_sends_names_them(
    browser: Any, browse: Browse, signed_site: tuple[str, Path], oidc: Any
) -> None:
    """Neither parameters, nor headers, nor a cookie that was not signed here."""
    url, _ = signed_site
    context = browser.new_context(
        extra_http_headers={"X-Forwarded-User": "ada", "X-User": "ada", "Remote-User": "ada"}
    )
    forged = (
        '{"is_logged_in": true, "preferred_username": "ada", "origin": "' + url + '", "provider": "default"}'
    )
    context.add_cookies([{"name": "_streamlit_user", "value": forged.replace('"', "%22"), "url": url}])
    page = browse(url, "/submit?name=ada&user=ada&submitter=ada", others=(oidc.url,), context=context)
    expect(page.get_by_role("button", name="Sign in with Hugging Face")).to_be_visible()
    expect(page.get_by_text("Signed in as")).to_have_count(0)
    context.close()
