"""The leaderboard as it is sent: the figures of the live page at the same places, and without scripts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from ucbench.site.leaderboard import parts
from ucbench.site.serving import head, prerender

HOME = "https://x.example"


def rows(html: str) -> list[str]:
    """The text of each row of a board."""
    body = html[html.index('<table class="board') :].split("<tbody", 1)[1].split("</tbody>")[0]
    return [" ".join(unescape(re.sub("<[^>]+>", " ", row)).split()) for row in body.split("<tr")[1:]]


@pytest.mark.usefixtures("stores")
def test_what_is_sent_is_what_the_live_page_says(
    open_app: Callable[..., Any], read_figures: Callable[[Any], dict[str, str]]
) -> None:
    sent = head.index("", {}, home=HOME)
    live = read_figures(open_app())
    assert rows(sent) == rows(live["board"])[: prerender.ROWS]
    assert len(rows(sent)) > 1
    for figure in ("finding", "scope", "dumbbells"):
        assert live[figure] in sent
    assert f"<h1>{parts.TITLE}</h1>" in sent
    assert ":orange[" not in sent
    assert "no such thing" not in sent


@pytest.mark.usefixtures("stores")
def test_an_address_with_choices_of_its_own_gets_bars() -> None:
    usual = head.index("", {}, home=HOME)
    assert 'class="sent"' in usual
    for query in ({"track": "pictograms", "__theme": "dark"}, {"track": "", "utm_source": "x"}):
        assert head.index("", query, home=HOME) == usual
    for query in ({"q": "x"}, {"sort": "perception"}, {"track": "nothing"}, {"track": "<script>"}):
        page = head.index("", query, home=HOME)
        assert 'class="sent"' not in page
        assert page.count("<i></i>") == 8
    assert 'class="sent"' not in head.index("concepts", {}, home=HOME)


@pytest.mark.usefixtures("stores")
def test_without_a_board_bars_are_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UCBENCH_RESULTS", str(tmp_path / "none"))
    monkeypatch.setenv("UCBENCH_RUNS", str(tmp_path / "none either"))
    page = head.index("", {}, home=HOME)
    assert 'class="sent"' not in page
    assert "<h1>Leaderboard" in page, "whoever runs no scripts reads what the page is about"


@pytest.fixture
def plain(browser: Any) -> Iterator[Any]:
    """A browser that runs no scripts."""
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1440, "height": 900})
    yield context
    context.close()


def test_the_board_is_read_without_scripts(plain: Any, site_url: str) -> None:
    page = plain.new_page()
    page.goto(site_url)
    table = page.locator(".board")
    assert table.is_visible()
    assert table.locator("tbody tr").count() > 1
    link = table.locator("tbody a").first
    assert link.get_attribute("href").startswith("model?run=")
    link.click()
    page.wait_for_url("**/model?run=*")
    page.goto(site_url)
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Method").click()
    page.wait_for_url("**/method")
    assert page.get_by_role("heading", name="Method").is_visible()
    assert not page.get_by_text("Loading").is_visible()
    page.goto(site_url)
    page.get_by_role("link", name="UnsafeConcepts", exact=True).click()
    page.wait_for_url("**/?track=unsafeconcepts")
    assert page.locator(".board tbody tr").count() > 1
    assert not page.locator(".choices").is_visible(), "nothing that cannot be used"


@pytest.fixture
def waiting(browser: Any, site_url: str) -> Iterator[tuple[Any, Callable[[], None]]]:
    """A page whose scripts have not come yet, and what lets them come."""
    context = browser.new_context(viewport={"width": 1440, "height": 700})
    page, held = context.new_page(), []
    page.route("**/static/js/index.*.js", lambda route: held.append(route))
    page.goto(site_url, wait_until="commit")
    page.wait_for_selector(".sent .board")

    def release() -> None:
        for route in held:
            route.continue_()

    yield page, release
    context.close()


def test_what_was_sent_stays_until_the_page_is_there_and_where_it_was_read(waiting: Any) -> None:
    page, release = waiting
    page.wait_for_timeout(9_000)  # beyond the time after which bars give way to what there is
    assert page.locator(".sent .board").is_visible()
    page.evaluate("window.scrollTo(0, 400)")
    release()
    page.wait_for_function("!document.querySelector('.waiting')", timeout=100_000)
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollTop") == 400


def test_links_of_what_was_sent_are_followed_by_keyboard(waiting: Any) -> None:
    page, _ = waiting
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main-content"
    focused = "document.querySelector('.sent').shadowRoot.activeElement?.textContent"
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "Leaderboard"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/concepts", wait_until="commit")


PLACES = """() => {
  const roots = [document, ...[...document.querySelectorAll("*")].map((e) => e.shadowRoot).filter(Boolean)]
  const found = {}
  for (const what of ["h1", ".finding", ".dumbbells", ".board", ".board tbody th"]) {
    const element = roots.map((root) => root.querySelector(what)).find(Boolean)
    const box = element.getBoundingClientRect()
    found[what] = [box.x, box.y, box.width]
  }
  return found
}"""


@pytest.mark.parametrize(
    "width", [1220, 390, *(pytest.param(n, marks=pytest.mark.slow) for n in (1440, 700))]
)
def test_nothing_jumps_when_the_live_page_takes_its_place(
    browse: Callable[..., Any], browser: Any, site_url: str, width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900})
    waiting = context.new_page()
    waiting.route("**/static/js/**", lambda route: route.abort())
    waiting.goto(site_url)
    waiting.wait_for_selector(".sent .board")
    waiting.evaluate("document.fonts.ready")
    before = waiting.evaluate(PLACES)
    context.close()
    after = browse(site_url, "/", width=width).evaluate(PLACES)
    for what, place in before.items():
        assert place == pytest.approx(after[what], abs=2.0), what
