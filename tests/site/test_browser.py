"""The served site in headless Chromium: what a visitor sees and does."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from playwright.sync_api import expect

#: A first page waits for the stores, the server and the browser, on a busy machine.
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(900)]


def test_a_column_head_sorts_and_sorts_back(visit: Callable[..., Any]) -> None:
    page = visit("/")

    first = page.locator(".board tbody th a").first
    head = page.get_by_role("button", name="Over-refusal")
    expect(first).to_have_text("acme/sharp-vlm")
    head.click()
    expect(page.locator("th[aria-sort=ascending]")).to_contain_text("Over-refusal")
    expect(page).to_have_url(re.compile("sort=over_refusal"))
    expect(first).to_have_text("acme/sharp-vlm")
    head.click()
    expect(page.locator("th[aria-sort=descending]")).to_contain_text("Over-refusal")
    expect(first).to_have_text("acme/fair-vlm")


def test_one_step_back_from_a_link_is_the_view_that_was_left(visit: Callable[..., Any]) -> None:
    for left, link, name in (
        ("/?category=violence", ".board tbody th a", "Unsafe in words, safe as an image?"),
        ("/concepts?concept=arson", "a:has-text('All answers about it')", "Concept by concept"),
    ):
        page = visit(left)
        entries = page.evaluate("history.length")
        page.locator(link).first.click()
        expect(page.get_by_role("heading", level=1, name=name)).to_have_count(0)
        assert page.evaluate("history.length") == entries + 1
        page.go_back()
        expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()
        expect(page).to_have_url(re.compile(re.escape(left) + "$"))


def test_search_narrows_the_board_and_goes_into_the_address(visit: Callable[..., Any]) -> None:
    page = visit("/")
    page.get_by_role("searchbox", name="Find a model").fill("fair")
    page.wait_for_function("document.title && location.search.includes('q=fair')")
    page.wait_for_selector("caption:has-text('1 of 1 row that fits, of 4')", state="attached")
    page.get_by_role("searchbox", name="Find a model").fill("nobody")
    page.get_by_text("No model fits this search and these filters.").wait_for()


def test_filter_by_provenance_leaves_nothing_of_another(visit: Callable[..., Any]) -> None:
    page = visit("/?track=unsafeconcepts")
    page.wait_for_selector(".board tr.reported")
    expect(page.locator(".board tr.reported")).to_have_count(11)
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("button", name="imported", exact=True).click()
    expect(page.locator(".board tr.reported")).to_have_count(0)
    expect(page.locator(".board tbody tr")).to_have_count(1)
    expect(page.locator(".board tbody th a")).to_have_text("acme/saved-vlm")
    expect(page.locator(".board .tag")).to_have_text("imported")


def test_a_concept_is_picked_in_the_heat_map(visit: Callable[..., Any]) -> None:
    page = visit("/concepts")
    page.get_by_role("button", name="Gun violence").click()
    page.get_by_role("heading", name="Gun violence").first.wait_for()
    page.wait_for_function("location.search.includes('concept=gun-violence')")
    page.locator(".qa .verdict").first.wait_for()
    page.get_by_alt_text("The abstract emblem that stands for Gun violence").wait_for()
    expect(page.locator(".heat tr.chosen")).to_have_css("display", "table-row")
    # A model's name that would run code is shown as text.
    page.get_by_text("<script>window.broken=1</script>", exact=False).first.wait_for()
    assert page.evaluate("window.broken") is None


def test_colours_of_image_and_text_follow_the_theme(visit: Callable[..., Any]) -> None:
    colours = {
        "light": {"image": "rgb(0, 114, 178)", "text": "rgb(213, 94, 0)"},
        "dark": {"image": "rgb(90, 180, 232)", "text": "rgb(242, 142, 75)"},
    }
    page = visit("/")
    for scheme, marks in colours.items():
        page.emulate_media(color_scheme=scheme)
        for mark, colour in marks.items():
            expect(page.locator(f".plot .dot.{mark}").first).to_have_css("background-color", colour)
    page.get_by_text("<script>window.broken=1</script>", exact=False).first.wait_for()
    assert page.evaluate("window.broken") is None


def test_the_model_is_asked_its_verdict_read_and_what_is_no_picture_refused(
    visit: Callable[..., Any], eventually: Callable[..., None]
) -> None:
    page = visit("/try?about=arson&judge=classifier")
    can_be_read(page, eventually)
    page.get_by_role("button", name="Is it safe, as an image? (5)").click()
    page.get_by_role("button", name="Ask 6 questions").click()
    # Said in words, the embedded model objects, and the classifier, which reads last, is sure of it.
    sure = page.locator(".why").filter(has_text=re.compile(r"Probabilities: unsafe (\.[5-9]|1)"))
    expect(sure.nth(2)).to_be_visible()
    # What was shown while the answers grew makes room for the table.
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    judged = re.compile("^(judged safe|judged unsafe|no answer)$")
    expect(page.locator(".verdict")).to_have_text([re.compile("^chose "), *[judged] * 5])
    assert page.locator(".verdict.unsafe").count() >= 3
    page.get_by_role("radio", name="Your own").click()
    page.locator("input[type=file]").set_input_files(
        {"name": "notes.png", "mimeType": "image/png", "buffer": b"these are words"}
    )
    page.get_by_text("is not a picture of a known format").wait_for()


def can_be_read(page: Any, eventually: Callable[..., None]) -> None:
    """The button to ask has contrast in light and dark."""

    def luminance(channels: list[int]) -> float:
        parts = [channel / 255 for channel in channels]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    button = page.get_by_role("button", name="Ask 11 questions")
    expect(button).to_be_enabled()

    def contrast() -> None:
        colours = button.evaluate(
            "e => [getComputedStyle(e.querySelector('p')).color, getComputedStyle(e).backgroundColor]"
        )
        seen, behind = (luminance([int(n) for n in re.findall(r"[\d]+", colour)[:3]]) for colour in colours)
        assert (max(seen, behind) + 0.05) / (min(seen, behind) + 0.05) >= 4.5

    inks = {"light": "rgb(27, 30, 36)", "dark": "rgb(237, 235, 230)"}
    for scheme, ink in inks.items():
        page.emulate_media(color_scheme=scheme)
        expect(page.locator("h1")).to_have_css("color", ink)
        eventually(contrast)  # colours fade in: it is what they come to that counts


def test_names_in_the_trade_off_hide_nothing(
    visit: Callable[..., Any], eventually: Callable[..., None]
) -> None:
    page = visit("/alignment")
    marks = page.locator(".scatter .name, .scatter .spot")
    expect(marks).to_have_count(2 * (5 + 4))

    def apart(width: int) -> None:
        assert page.evaluate("innerWidth") == width
        boxes = marks.evaluate_all(
            "found => found.map(e => { const b = e.getBoundingClientRect();"
            " return [e.closest('.scatter').className, b.left, b.top, b.right, b.bottom] })"
        )
        for i, (figure, left, top, right, bottom) in enumerate(boxes):
            assert 0 <= left < right <= width
            for other, *edges in boxes[i + 1 :]:
                across = min(right, edges[2]) - max(left, edges[0])
                along = min(bottom, edges[3]) - max(top, edges[1])
                assert figure != other or across <= 2 or along <= 3

    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        eventually(partial(apart, width))


def test_the_method_and_the_judge_go_into_the_address(visit: Callable[..., Any]) -> None:
    page = visit("/alignment?method=dpo")
    page.get_by_text("rewarded by").wait_for(state="detached")
    page.get_by_role("radio", name="PPO").or_(
        page.get_by_role("button", name="PPO", exact=True)
    ).first.click()
    page.get_by_text("rewarded by").wait_for()
    page.wait_for_function("!location.search.includes('method')")
    page.get_by_role("radio", name="classifier").or_(
        page.get_by_role("button", name="classifier")
    ).first.click()
    page.wait_for_function("location.search.includes('judge=classifier')")


def test_a_track_is_chosen_and_stays_chosen_on_the_next_page(visit: Callable[..., Any]) -> None:
    page = visit("/")
    page.get_by_role("combobox", name=re.compile("Track")).click()
    page.get_by_role("option", name="Contexts", exact=True).click()
    expect(page).to_have_url(re.compile("track=contexts"))
    expect(page.get_by_role("heading", name="How often is an acceptable use allowed?")).to_be_visible()
    expect(page.locator(".board thead th")).to_have_text(
        [
            "Model", "Unacceptable use, image", "Unacceptable use, text", "Acceptable use, image",
            "Acceptable use, text", "Coverage", "Size", "Date",
        ]
    )  # fmt: skip
    page.get_by_role("link", name="Concepts").first.click()
    expect(page.get_by_role("heading", name="Concept by concept")).to_be_visible()
    expect(page.get_by_role("combobox", name=re.compile("Track"))).to_have_value("Contexts")
