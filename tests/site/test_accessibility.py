"""Every page in a real browser: it opens under its name, fits, and axe-core finds nothing serious in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from ucbench import board
from ucbench.site.serving import head

#: A first page waits for the stores, the server and the browser, on a busy machine.
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(900)]

#: Address -> the page's heading, and the title of its tab.
PAGES = {
    "/": ("Unsafe in words, safe as an image?", "Leaderboard"),
    "/concepts": ("Concept by concept", "Concepts"),
    "/concepts?concept=arson": (None, "Arson · Concepts"),
    "/compare": ("Do they differ?", "Compare"),
    "/compare?runs={0},{1}": ("Do they differ?", "acme/sharp-vlm and acme/fair-vlm · Compare"),
    "/answers": ("Answers", "Answers"),
    "/model?run={0}": ("acme/sharp-vlm", "acme/sharp-vlm · Pictograms"),
    "/alignment": ("Teaching it to object to what it sees", "Alignment"),
    "/try": ("Try a model", "Try a model"),
    "/submit": (None, "Submit"),
    "/queue": (None, "Queue"),
    "/method": ("Method", "Method"),
    "/about": ("About", "About"),
    "/nope": ("There is no page here", "Not found"),
}
#: Those that hold what the others do not hold, or hold it with other parts.
STATES = (
    "/?track=unsafeconcepts", "/?track=contexts", "/?q=nobody", "/concepts?track=mme", "/answers?q=zzz",
)  # fmt: skip
LOOKS = [(1440, "light"), (390, "dark")]
OTHER_LOOKS = [(1440, "dark"), (390, "light")]
#: What axe-core calls moderate and we do not put up with.
ALSO = ("heading-order", "page-has-heading-one", "landmark-one-main", "empty-heading")
#: What Streamlit's own markup breaks and no setting of ours can mend: rule, where, why it does no harm.
ALLOWED: tuple[tuple[str, str, str], ...] = ()


@pytest.fixture(scope="session")
def two_runs(site_store: Path) -> tuple[str, str]:
    """The runs of acme/sharp-vlm and acme/fair-vlm on pictograms."""
    rows = board.load(site_store).rows
    rows = rows[rows["track"] == "pictograms"]
    return tuple(
        rows.loc[rows["model"] == f"acme/{name}-vlm", "run_id"].iloc[0] for name in ("sharp", "fair")
    )  # type: ignore[return-value]


def violations(page: Any) -> list[str]:
    """What axe-core calls serious or critical, beyond what is allowed."""
    from axe_playwright_python.sync_playwright import Axe

    found = []
    for violation in Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]:
        if violation["impact"] not in ("serious", "critical") and violation["id"] not in ALSO:
            continue
        for node in violation["nodes"]:
            where = " ".join(map(str, node["target"]))
            if not any(rule == violation["id"] and place in where for rule, place, _ in ALLOWED):
                found.append(f"{violation['id']}: {where}: {node['html'][:160]}")
    return found


def fits(page: Any, width: int) -> None:
    page.wait_for_function(
        "width => innerWidth === width && Math.max(document.documentElement.scrollWidth,"
        " document.querySelector('.stMain').scrollWidth) <= width",
        arg=width,
    )


def looked_at(page: Any, looks: list[tuple[int, str]]) -> None:
    """In each look the page fits, and axe finds nothing once colours have faded in."""
    for width, scheme in looks:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        fits(page, width)
        for left in reversed(range(8)):
            page.wait_for_timeout(250)
            found = violations(page)
            if not found or not left:
                break
        assert found == [], f"{width} {scheme}"


def shifted(page: Any) -> float:
    """How far what is seen has jumped while the page came up: Cumulative Layout Shift."""
    found: float = page.evaluate(
        """() => new Promise(done => {
          let sum = 0
          const told = list => {
            for (const entry of list.getEntries()) sum += entry.hadRecentInput ? 0 : entry.value
          }
          new PerformanceObserver(told).observe({ type: "layout-shift", buffered: true })
          setTimeout(() => done(sum), 100)
        })"""
    )
    return found


#: They hold nothing that another page here does not hold, or have browser tests of their own.
IN_OTHERS = ("/concepts", "/compare", "/submit", "/queue")


@pytest.mark.parametrize(
    "path", [pytest.param(path, marks=pytest.mark.slow) if path in IN_OTHERS else path for path in PAGES]
)
def test_every_page_opens_fits_and_can_be_used_by_all(
    visit: Callable[..., Any], two_runs: tuple[str, str], path: str
) -> None:
    page = visit(path.format(*two_runs))
    heading, title = PAGES[path]
    expect(page.locator("h1")).to_have_count(1)
    if heading:
        expect(page.locator("h1")).to_have_text(heading)
    expect(page).to_have_title(f"{title} · {head.NAME}")
    expect(page.locator("footer")).to_contain_text("Apache-2.0")
    # A machine too busy to draw a page within seconds shows what it has.
    if page.evaluate("document.documentElement.dataset.drawn") == "whole":
        assert shifted(page) < 0.1
    looked_at(page, LOOKS)
    page.set_viewport_size({"width": 768, "height": 900})
    fits(page, 768)


@pytest.mark.slow
@pytest.mark.parametrize("path", [*PAGES, *STATES])
def test_every_page_and_state_in_every_look(
    visit: Callable[..., Any], two_runs: tuple[str, str], path: str
) -> None:
    page = visit(path.format(*two_runs))
    looked_at(page, [*LOOKS, *OTHER_LOOKS])
    for width in (768, 1024):
        page.set_viewport_size({"width": width, "height": 900})
        fits(page, width)


def test_the_first_tab_leads_past_the_navigation(visit: Callable[..., Any]) -> None:
    page = visit("/about")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/about#main-content$"))
    page.keyboard.press("Tab")
    place = page.evaluate(
        "() => { const e = document.activeElement; return [!!e.closest('header'), !!e.closest('.stMain')] }"
    )
    assert place == [False, True]


def test_all_pages_are_one_press_away(visit: Callable[..., Any]) -> None:
    page = visit("/about")
    for (width, scheme), name in zip([*LOOKS, (1024, "light")], ("Method", "About", "Method"), strict=True):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate("document.querySelector('.stMain').scrollTo(0, 0)")
        expect(page.locator(".st-key-strip")).to_be_visible(visible=width < 1200)
        expect(page.get_by_test_id("stTopNav")).to_be_visible(visible=width >= 1200)
        for about in head.PAGES.values():
            link = page.get_by_role("link", name=about.title, exact=True).locator("visible=true").first
            expect(link).to_be_in_viewport()
        page.get_by_role("link", name=name, exact=True).locator("visible=true").first.click()
        expect(page.locator("h1")).to_have_text(name)
        expect(page).to_have_title(f"{name} · ucbench")
