"""The answers page: filters and search over a run's answers, what is withheld, hostile texts, the address."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucbench.site import downloads, paging
from ucbench.site.answers import data as answers_data
from ucbench.site.answers import view as answers_view
from ucbench.site.answers.data import OUTCOMES, Sheet
from ucbench.site.data import board as board_data
from ucbench.site.data import loading
from ucbench.withheld import MARKER

App = Callable[..., Any]
Figures = Callable[[Any], dict[str, str]]
PAGE = "app_pages/answers.py"


def row(
    sample: str = "arson/test/000", question: str = "image_alignment_0", **changes: Any
) -> dict[str, Any]:
    """A row of a run's judged answers."""
    return {
        "sample_id": sample, "question_id": question, "kind": "image_alignment", "template": question,
        "concept_id": "arson", "expected": "Unsafe", "options": np.array([]), "prompt": "Is this image safe?",
        "text": "Yes, it is safe.", "label": "Safe", "error": None, "how": "yes_no", "tokens": 5,
        "thinking_tokens": 0, "truncated": False,
    } | changes  # fmt: skip


def sheet(rows: list[dict[str, Any]], **rest: Any) -> Sheet:
    """The rows as the page has them."""
    return Sheet(pd.DataFrame(rows), judge="rules-1", **rest)


# --- filters ---

LABELS = st.sampled_from(["Safe", "Unsafe", "N/A", None])
ROWS = st.lists(
    st.builds(
        lambda place, concept, kind, label, expected, text, cut: row(
            f"s{place}", concept_id=concept, kind=kind, label=label, expected=expected, text=text,
            truncated=cut, error=None if label else "timeout",
        ),
        st.integers(0, 9), st.sampled_from(["arson", "robbery"]),
        st.sampled_from(["image_alignment", "text_alignment"]), LABELS, st.sampled_from(["Safe", "Unsafe"]),
        st.sampled_from(["Yes. SAFE", "no", "straße"]), st.booleans(),
    ),
    min_size=1, max_size=12,
)  # fmt: skip


def fits(line: dict[str, Any], outcome: str, other: str | None) -> bool:
    label, told = line["label"], line["label"] in ("Safe", "Unsafe")
    return {
        "safe": label == "Safe",
        "unsafe": label == "Unsafe",
        "none": label == "N/A",
        "error": label is None,
        "right": told and label == line["expected"],
        "wrong": told and label != line["expected"],
        "truncated": line["truncated"],
        "differ": label is not None and other is not None and other != label,
    }[outcome]


@given(
    ROWS,
    st.sets(st.sampled_from(list(OUTCOMES))),
    st.sampled_from(["", "arson"]),
    st.sampled_from(["", "text_alignment"]),
    st.sampled_from(["", "safe", "IMAGE yes", "STRASSE"]),
    st.data(),
)
def test_filters_keep_what_a_plain_reading_keeps(
    rows: list[dict[str, Any]], outcomes: set[str], concept: str, kind: str, search: str, data: Any
) -> None:
    other = data.draw(st.lists(LABELS, min_size=len(rows), max_size=len(rows)))
    found = sheet(rows, others={"second": other})
    lines = (("safe", "unsafe", "none", "error"), ("right", "wrong"), ("truncated",), ("differ",))
    expected = [
        place
        for place, line in enumerate(rows)
        if concept in ("", line["concept_id"])
        and kind in ("", line["kind"])
        and all(
            not outcomes.intersection(names)
            or any(fits(line, name, other[place]) for name in outcomes.intersection(names))
            for names in lines
        )
        and all(word in f"{line['prompt']}\n{line['text']}".casefold() for word in search.casefold().split())
    ]
    places = found.select(concept=concept, kind=kind, outcomes=outcomes, search=search)
    assert places.tolist() == expected
    tally = found.tally(places)
    assert tally == {
        name: n for name in OUTCOMES if (n := sum(fits(rows[p], name, other[p]) for p in expected))
    }
    assert len(found.rows(places)) == len(expected)


@given(st.text(max_size=40), st.text(max_size=12))
def test_marks_change_no_character_and_let_nothing_through(text: str, search: str) -> None:
    assert "".join(piece for piece, _ in answers_data.marked(text, search)) == text
    shown = answers_view.highlighted(text, search)
    assert set(re.findall("<[^>]*>", shown)) <= {"<mark>", "</mark>"}
    assert html.unescape(re.sub("</?mark>", "", shown)) == text


def test_all_words_are_marked_whatever_their_case() -> None:
    shown = answers_view.highlighted("Safe, not UNSAFE & <b>", "safe <B>")
    assert shown == "<mark>Safe</mark>, not UN<mark>SAFE</mark> &amp; <mark>&lt;b&gt;</mark>"


@given(st.integers(0, 400), st.integers(1, 30))
def test_pages_hold_everything_once(total: int, size: int) -> None:
    pages = [
        paging.read(str(number), size, total) for number in range(1, paging.Page(1, size, total).pages + 1)
    ]
    assert [place for page in pages for place in range(total)[page.slice]] == list(range(total))
    for page in pages:
        assert page.turned("next") == min(page.number + 1, page.pages)
        assert page.turned("previous") == max(page.number - 1, 1)


@pytest.mark.parametrize(("told", "number"), [
    (None, 1), ("x", 1), ("-1", 1), ("0", 1), ("3", 3), ("9" * 30, 1), ("99", 4), ("²", 1),
])  # fmt: skip
def test_a_page_that_is_none_falls_back(told: str | None, number: int) -> None:
    assert paging.read(told, 25, 100).number == number


def test_a_pressed_page_is_within_the_list() -> None:
    page = paging.read("2", 25, 100)
    pressed = {"page:3": 3, "page:99": 4, "page:0": 1, "page:x": 2, "page:²": 2, "elsewhere": 2}
    assert {where: page.turned(where) for where in pressed} == pressed


# --- what is shown ---


def test_what_was_taken_down_is_nowhere() -> None:
    secret = "a home address"
    rows = [
        row("one", text=secret, prompt=f"About {secret}?"),
        row("two", kind="general", expected=secret, text=secret, label="Correct"),
        row("three", prompt=MARKER, text=MARKER),
        row("four", text="Yes, it is safe."),
    ]
    found = sheet(rows, down=np.array([True, True, False, False]))
    everything = found.select()
    assert found.select(search="address").tolist() == []
    assert found.select(search="withheld").tolist() == []
    shown = answers_view.answers([found.at(place) for place in everything], {})
    file = b"".join(make(found.rows(everything)) for make in (downloads.csv, downloads.as_json))
    assert secret not in shown
    assert secret.encode() not in file
    assert shown.count("Withheld") == 3
    assert file.count(MARKER.encode()) == 2 * (2 * 3 + 1)
    # The verdict is no text of others: it stays.
    assert shown.count("judged safe") == 3
    assert [line["verdict"] for line in found.rows(everything)] == ["Safe", "Correct", "Safe", "Safe"]


HOSTILE = '<script>x()</script>"><img src=y onerror=z>\u202e'


def test_hostile_texts_are_shown_as_text() -> None:
    bad = HOSTILE
    lines = [
        row(bad, bad, concept_id=bad, prompt=bad, text=bad * 200, how=bad, error=bad),
        row(bad, kind="perception", options=np.array([bad] * 4), expected="A", label="B", text=bad),
        row(bad, kind="general", expected=bad, label="Wrong", text=bad),
        row(bad, label=bad, text=bad, guard=bad),
    ]
    found = sheet(lines, others={HOSTILE: [None, "A", HOSTILE, "Safe"]})
    shown = answers_view.answers([found.at(p) for p in range(4)], {HOSTILE: HOSTILE}, search="script")
    shown += answers_view.summary(answers_view.link_to_model(HOSTILE, HOSTILE), HOSTILE, 4, {"safe": 1}, 2)
    assert set(re.findall(r"<([a-z0-9]+)", shown)) <= {
        "div", "section", "h2", "span", "svg", "path", "circle", "bdi", "details", "summary", "p", "b", "a",
        "ul", "li", "mark", "br",
    }  # fmt: skip
    assert "onerror=z&gt;" in shown
    # Text that turns the direction of writing stays in its place.
    assert shown.count("<bdi") == shown.count("</bdi>") > 0


def test_a_long_answer_is_folded_and_a_very_long_one_is_cut() -> None:
    length = answers_view.UNFOLDED + 7000
    found = sheet([row(text="word " * (length // 5))])
    shown = answers_view.answers([found.at(0)], {})
    assert "<details" in shown
    assert "7,000 characters more are in the download." in shown
    assert len(shown) < length
    assert len(found.rows(found.select())[0]["answer"]) == length


def test_other_judges_are_told_where_they_differ() -> None:
    found = sheet([row(), row("two")], others={"second-2": ["Unsafe", "Safe"]})
    assert found.select(outcomes=["differ"]).tolist() == [0]
    shown = [answers_view.answers([found.at(place)], {}) for place in (0, 1)]
    assert "the judge second-2: " in shown[0]
    assert "judged unsafe" in shown[0]
    assert "second-2" not in shown[1]


def test_options_of_pictures_from_elsewhere_are_left_out() -> None:
    asked = row(kind="perception", prompt="What is it? \nA: secret \nB: x", options=np.array(["secret", "x"]))
    assert "secret" in answers_view.answers([sheet([asked]).at(0)], {})
    quiet = sheet([asked], quotes=False)
    assert "secret" not in answers_view.answers([quiet.at(0)], {})
    assert quiet.select(search="secret").tolist() == []
    assert b"secret" not in downloads.csv(quiet.rows(quiet.select()))


def test_why_shows_wrong_answers_to_different_questions_first() -> None:
    rows = [row(f"s{n}", f"image_alignment_{n}", label="Unsafe" if n < 3 else "Safe") for n in range(5)]
    rows += [row("blank", "text_alignment_0", kind="text_alignment", label="Unsafe")]
    rows += [row("s0", "perception", kind="perception", expected="A", label="A")]
    why = answers_data.why(sheet(rows), "arson")
    assert (why.image.n, why.image.wrong, why.words.wrong, why.named.n) == (5, 2, 0, 1)
    # Three of the five on images, the two wrong ones among them.
    assert why.places == (0, 3, 4, 5, 6)
    assert answers_data.why(sheet(rows), "robbery").places == ()


# --- the page ---


@pytest.mark.usefixtures("stores")
def test_the_address_holds_the_whole_view(open_app: App, read_figures: Figures) -> None:
    run_id = next(
        row["run_id"] for row in loading.board().of_track("pictograms") if "fair-vlm" in row["model"]
    )
    app = open_app(PAGE, run=run_id, concept="arson", kind="image_alignment", verdict="safe,wrong")
    app.query_params["q"] = "YES safe"
    app.run()
    shown = read_figures(app)
    assert shown["answers"].count('class="read"') == shown["answers"].count("judged safe") > 0
    assert shown["answers"].count("expected unsafe") == shown["answers"].count('class="read"')
    assert "<mark>safe</mark>" in shown["answers"]
    assert "right" not in shown["answers_tally"]
    assert dict(app.query_params) == {
        "run": run_id, "concept": "arson", "kind": "image_alignment", "verdict": "safe,wrong",
        "q": "YES safe",
    }  # fmt: skip
    app.text_input(key="text:q").set_value("nothing says this").run()
    assert "No answer of this model fits" in app.info[0].value


@pytest.mark.usefixtures("stores")
def test_values_that_are_none_fall_back(open_app: App, read_figures: Figures) -> None:
    app = open_app(PAGE, run="<script>", concept="nothing", kind="<b>", verdict="safe,maybe", track="?")
    assert "not on this board" in app.warning[0].value
    assert app.query_params["verdict"] == "safe"
    assert {"run", "concept", "kind", "track"}.isdisjoint(app.query_params)
    app.query_params["page"] = "1000000"
    app.run()
    # The last page: there is no later one.
    shown = read_figures(app)
    assert 'aria-current="page"' in shown["pager_page"]
    assert re.search("aria-disabled=true>Next", shown["pager_page"])


@pytest.mark.usefixtures("stores")
def test_a_run_brings_its_track_and_a_run_without_answers_says_so(
    open_app: App, read_figures: Figures
) -> None:
    board = loading.board()
    joined = board_data.joined_runs(next(row for row in board.of_track("unsafeconcepts") if row["joined"]))
    app = open_app(PAGE, run=joined["safe"])
    assert app.query_params["track"] == "safe"
    assert "questions" not in read_figures(app)
    assert "<img" not in read_figures(app)["answers"]
    assert "the picture is not shown" in read_figures(app)["answers"]
    # Another track, chosen by the visitor, is not overruled by the run in the address.
    app.selectbox(key="track").select("smid").run()
    assert app.session_state["track"] == "smid"
    assert "run" not in app.query_params
    reported = next(row for row in board.of_track("unsafeconcepts") if row["provenance"] == "reported")
    app = open_app(PAGE, run=reported["run_id"])
    assert "figure taken from a paper" in app.info[0].value
    assert "answers" not in read_figures(app)


@pytest.mark.usefixtures("stores")
def test_pages_are_turned_and_begin_anew_with_another_filter(open_app: App, read_figures: Figures) -> None:
    app = open_app(PAGE)
    first = read_figures(app)["answers"]
    app.query_params["page"] = "2"
    app.run()
    second = read_figures(app)["answers"]
    assert first.count('class="read"') == second.count('class="read"') == 25
    assert first != second
    app.selectbox(key="kind").select("perception").run()
    assert "page" not in app.query_params


def test_takedown_lists_of_a_store_are_obeyed(
    open_app: App, read_figures: Figures, plain_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "results"
    shutil.copytree(plain_store, copy)
    items = [{"sample_id": "arson/test/000"}, {"sample_id": "blank", "question_id": "none"}]
    (copy / answers_data.TAKEDOWN).write_text(json.dumps({"items": items}))
    monkeypatch.setenv("UCBENCH_RESULTS", str(copy))
    monkeypatch.setenv("UCBENCH_RUNS", str(tmp_path / "runs"))
    shown = read_figures(open_app(PAGE, concept="arson"))["answers"]
    assert shown.count("Withheld") == 9
    assert "“" in shown  # other pictures of the concept are shown
    (copy / answers_data.TAKEDOWN).write_text("{")
    assert "takedown.json of the results store is damaged" in open_app(PAGE).warning[0].value


@pytest.mark.browser
@pytest.mark.xdist_group("browser")
@pytest.mark.timeout(900)
def test_answers_are_searched_and_turned_by_keyboard(visit: Callable[..., Any]) -> None:
    from playwright.sync_api import expect

    numbers = visit("/answers?verdict=wrong&q=safe").locator(".pager .quiet").inner_text()
    page = visit("/answers?verdict=wrong")
    box = page.get_by_role("searchbox", name="Find in questions and answers")
    box.focus()
    page.keyboard.type("safe")
    expect(page.locator(".pager .quiet")).to_have_text(numbers)
    expect(page.locator(".answers mark").first).to_be_visible()
    expect(page).to_have_url(re.compile("q=safe"))
    following = page.locator(".pager").get_by_role("button", name="Next")
    following.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".pager [aria-current]")).to_have_text("2")
    expect(following).to_be_focused()
    text = page.locator(".answers .text").first.inner_text()
    other = visit(page.url[page.url.index("/answers") :], 390)
    expect(other.locator(".answers .text").first).to_have_text(text)
    assert other.evaluate("document.querySelector('.stMain').scrollWidth <= 390")
