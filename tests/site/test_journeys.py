"""What people come for, from the first page to the answer: each journey wide and narrow, light and dark.

The fast suite goes each way once, in one look; `slow` goes all of them in every look.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from ucbench import board
from ucbench.format import fraction

#: A first page waits for the stores, the server and the browser, on a busy machine.
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(900)]

Visit = Callable[..., Any]
LOOKS = [(1440, "light"), (390, "light"), (1440, "dark"), (390, "dark")]


def looks(fast: tuple[int, str] | None = None) -> Any:
    """Every look; all but `fast` are slow."""
    return pytest.mark.parametrize(
        ("width", "scheme"),
        [look if look == fast else pytest.param(*look, marks=pytest.mark.slow) for look in LOOKS],
    )


def choose(page: Any, name: str, option: str) -> None:
    """Choose an option of a list, by its label."""
    settled(page)
    box = page.get_by_role("combobox", name=re.compile(name)).first
    wanted = page.get_by_role("option", name=option, exact=True)
    box.click()
    # Leaving a text field may take the first press: people press again.
    page.wait_for_timeout(500)
    if not wanted.is_visible():
        box.click()
    wanted.click()


def settled(page: Any) -> None:
    """Wait until what was pressed has run: a page that runs closes an open list."""
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")


def names(page: Any) -> Any:
    """The models' names in the board, in order."""
    return page.locator(".board tbody th a, .board tbody th button")


def query(page: Any) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


@looks((1440, "light"))
def test_find_the_safest_model_for_a_category(
    visit: Visit, site_store: Path, width: int, scheme: str
) -> None:
    page = visit("/", width, scheme)
    choose(page, "Category", "Violence")
    expect(page).to_have_url(re.compile("category=violence"))
    expect(page.get_by_text("for these concepts, the 10 of Violence")).to_be_visible()
    # Which one that is, the records of the store say.
    best, most = "", -1.0
    for path in site_store.glob("*/*/record.json"):
        record = json.loads(path.read_text())
        told = record["scores"]["by_category"].get("violence", {}).get("image_alignment")
        whole = record["track"]["id"] == "pictograms" and record["status"] == "complete"
        if whole and told and told["value"] > most:
            best, most = record["entry"]["model"], told["value"]
    expect(names(page).first).to_have_text(best)
    first = page.locator(".board tbody tr").first
    expect(first.locator(".rank").first).to_have_text(re.compile("^1"))
    expect(first).to_contain_text(fraction(most))
    names(page).first.click()
    expect(page.locator("h1")).to_have_text(best)
    expect(page).to_have_url(re.compile("/model.*run="))


@looks((390, "dark"))
def test_a_filtered_view_is_shared_by_its_address(
    visit: Visit, browse: Visit, site_url: str, width: int, scheme: str
) -> None:
    page = visit("/", width, scheme)
    choose(page, "Category", "Hate")
    expect(page).to_have_url(re.compile("category=hate"))
    page.get_by_role("searchbox", name="Find a model").fill("acme vlm")
    expect(page).to_have_url(re.compile("q=acme"))
    choose(page, "Sort by", "Perception")
    expect(page).to_have_url(re.compile("sort=perception"))
    expect(page.locator(".board caption")).to_contain_text("sorted by Perception")
    seen = page.locator(".board tbody").inner_text()
    assert "acme/fair-vlm" in seen
    # Somebody else, elsewhere.
    other = browse(site_url, page.url.removeprefix(site_url), width, scheme)
    expect(other.locator(".board tbody")).to_have_text(page.locator(".board tbody").text_content())
    expect(other.get_by_role("searchbox", name="Find a model")).to_have_value("acme vlm")
    assert other.locator(".board tbody").inner_text() == seen
    assert query(other) == query(page)


@looks()  # a model that answers takes a while: the fast suite asks one in test_browser
def test_why_a_model_fails_on_a_concept_and_what_it_says_live(visit: Visit, width: int, scheme: str) -> None:
    page = visit("/concepts", width, scheme)
    page.get_by_role("button", name="Gun violence").first.click()
    expect(page.get_by_role("heading", name="Gun violence").first).to_be_visible()
    expect(page).to_have_url(re.compile("concept=gun-violence"))
    expect(page.get_by_role("heading", name="Why does a model fail on it?")).to_be_visible()
    expect(page.get_by_text("judged safe").first).to_be_visible()
    page.get_by_role("link", name="Try it on this model").first.click()
    expect(page.locator("h1")).to_have_text("Try a model")
    expect(page).to_have_url(re.compile("about=gun-violence"))
    expect(page.get_by_role("combobox", name="Concept")).to_have_value("Gun violence")
    # That one is nowhere near; the one that is here can be asked.
    choose(page, "Model", "embedded:tiny-vlm")
    page.get_by_role("button", name=re.compile("^Ask ")).click()
    verdicts = page.locator(".verdict")
    expect(verdicts.nth(10)).to_be_visible()
    said = re.compile("^(judged safe|judged unsafe|no answer|chose .*)$")
    expect(verdicts.first).to_have_text(said)


@looks((390, "light"))
def test_two_models_are_compared_and_told_apart_or_not(visit: Visit, width: int, scheme: str) -> None:
    page = visit("/", width, scheme)
    names(page).filter(has_text="acme/sharp-vlm").first.click()
    expect(page.locator("h1")).to_have_text("acme/sharp-vlm")
    page.get_by_role("link", name="Compare with another model").click()
    expect(page.locator("h1")).to_have_text("Do they differ?")
    box = page.get_by_role("combobox", name=re.compile("Models"))
    box.click()
    box.press_sequentially("fair")
    page.get_by_role("option", name="acme/fair-vlm").first.click()
    expect(page).to_have_url(re.compile("runs=[^&]+(,|%2C)"))
    page.keyboard.press("Escape")  # the list would stay open for a third one
    # Both forms of the verdict are words, not colours.
    expect(page.locator(".finding")).to_contain_text(re.compile("separable|cannot be told apart|differ"))
    row = page.get_by_role("row", name=re.compile("Image alignment")).first
    expect(row).to_contain_text(re.compile(r"[+−]\.\d\d"))
    expect(row).to_contain_text(re.compile("separable"))


@looks((390, "light"))
def test_ticked_models_are_compared_and_nothing_jumps(visit: Visit, width: int, scheme: str) -> None:
    page = visit("/", width, scheme)
    boxes = page.locator(".board input[type=checkbox]")
    tall = "document.querySelector('.stMain').scrollHeight"
    before = page.evaluate(tall)
    # By keyboard, and by a press before the first one has been told: both count.
    boxes.nth(0).focus()
    page.keyboard.press("Space")
    boxes.nth(2).click()
    compare = page.get_by_role("link", name="Compare 2 models")
    expect(compare).to_be_visible()
    expect(page).to_have_url(re.compile("ticked=[^&]+(,|%2C)"))
    settled(page)
    if width > 1000:  # on a phone the names of the chosen take a line
        assert page.evaluate(tall) == before
    assert focused(boxes.nth(2))
    page.get_by_role("searchbox", name="Find a model").fill("nobody is called so")
    expect(page.get_by_text("No model fits this search")).to_be_visible()
    page.get_by_role("button", name="Only these").click()
    expect(page.locator(".board tbody input:checked")).to_have_count(2)
    expect(page.locator(".board tbody tr")).to_have_count(2)
    compare.click()
    expect(page.locator("h1")).to_have_text("Do they differ?")
    expect(page.locator(".compared li")).to_have_count(2)


@looks((1440, "light"))
def test_the_file_holds_the_numbers_of_the_page(visit: Visit, width: int, scheme: str) -> None:
    page = visit("/?q=acme", width, scheme)
    expect(names(page).first).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV", exact=True).first.click()
    assert download.value.suggested_filename.endswith(".csv")
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"))))
    shown = page.locator(".board tbody tr")
    expect(shown).to_have_count(len(rows))
    for place, row in enumerate(rows):
        line = shown.nth(place)
        expect(line).to_contain_text(row["model"])
        for key in ("image_alignment", "text_alignment", "over_refusal"):
            expect(line).to_contain_text(fraction(float(row[key])) if row[key] else "–")


def focused(locator: Any) -> bool:
    return bool(locator.evaluate("e => e === e.getRootNode().activeElement"))


def tab_to(page: Any, locator: Any, *, most: int = 120, key: str = "Tab") -> None:
    """Press Tab until the focus is there, and see that it shows."""
    locator.wait_for()
    for _ in range(most):
        page.keyboard.press(key)
        if focused(locator):
            break
    assert focused(locator), f"Tab does not reach {locator}"
    shows = """e => {
      for (let at = e, up = 0; at && up < 4; at = at.parentElement, up++) {
        const s = getComputedStyle(at)
        if (s.outlineStyle !== "none" && parseFloat(s.outlineWidth) > 0) return true
        if (s.boxShadow !== "none") return true
        if (e.matches('input') && parseFloat(s.borderTopWidth) > 0) return true
      }
      return false
    }"""
    assert locator.evaluate(shows), f"the focus on {locator} cannot be seen"


@looks((1440, "light"))
def test_from_the_board_to_a_comparison_by_keyboard_alone(visit: Visit, width: int, scheme: str) -> None:
    page = visit("/", width, scheme)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")

    tab_to(page, page.get_by_role("combobox", name=re.compile("Category")).first)
    page.keyboard.type("Decep")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("category=deception"))

    if width > 1000:  # on a phone the heads of columns are not shown
        head = page.locator(".board thead button").filter(has_text="Over-refusal")
        tab_to(page, head)
        page.keyboard.press("Enter")
        expect(page.locator(".board th[aria-sort]")).to_contain_text("Over-refusal")
        expect(page).to_have_url(re.compile("sort=over_refusal"))
        # What was pressed keeps the focus, though the table was drawn anew.
        assert focused(page.locator(".board thead button").filter(has_text="Over-refusal"))

    name = names(page).filter(has_text="acme/sharp-vlm").first
    tab_to(page, name)
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("acme/sharp-vlm")

    tab_to(page, page.get_by_role("link", name="Compare with another model"))
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Do they differ?")
    tab_to(page, page.get_by_role("combobox", name=re.compile("Models")))
    page.keyboard.type("fair")
    expect(page.get_by_role("option", name="acme/fair-vlm").first).to_be_visible()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("runs=[^&]+(,|%2C)"))
    expect(page.locator(".finding")).to_be_visible()


@looks()
def test_a_concept_and_a_question_of_ones_own_by_keyboard_alone(
    visit: Visit, width: int, scheme: str
) -> None:
    page = visit("/concepts", width, scheme)
    cell = page.get_by_role("button", name="Knife attacks").first
    tab_to(page, cell)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Knife attacks").first).to_be_visible()
    expect(page).to_have_url(re.compile("concept=knife-attacks"))
    # The concept stands above the map.
    tab_to(page, page.get_by_role("link", name="Try it on this model").first, key="Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Try a model")
    expect(page).to_have_url(re.compile("about=knife-attacks"))
    tab_to(page, page.get_by_role("combobox", name="Model"))
    page.keyboard.type("tiny")
    page.keyboard.press("Enter")
    ask = page.get_by_role("button", name=re.compile("^Ask "))
    tab_to(page, ask)
    page.keyboard.press("Enter")
    expect(page.locator(".verdict").first).to_be_visible()


def test_the_store_has_what_the_journeys_need(site_store: Path) -> None:
    rows = board.load(site_store).rows
    models = set(rows.loc[rows["track"] == "pictograms", "model"])
    assert {"acme/sharp-vlm", "acme/fair-vlm"} <= models
