"""The page Alignment: its charts as pure functions, and the page with all kinds of reports and none."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucbench.align import report_record as records
from ucbench.align.report_record import AlignReport
from ucbench.site.alignment import charts, view
from ucbench.site.alignment.charts import Cell, Change, Head, Line, Panel, Spot, Trace
from ucbench.site.figures.charts import Reading

PAGE = "app_pages/alignment.py"
App = Callable[..., Any]
Figures = Callable[[Any], dict[str, str]]


@pytest.fixture(scope="session")
def whole(align_report: Path) -> AlignReport:
    return records.read(align_report)


def words(html: str) -> str:
    """What a visitor reads."""
    return " ".join(re.sub(r"<[^>]+>", "", html).split())


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[str, ...]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, tuple(name for name, _ in attrs)))


@given(st.text(alphabet="<>\"'&=/ abconerror{}()`", min_size=1, max_size=30))
def test_no_outside_text_becomes_markup(text: str) -> None:
    def everything(name: str) -> str:
        row = dict.fromkeys(("concept", "prompt", "before", "after"), name)
        line = Line(name, name, (Cell(Reading(0.5), text=name),))
        traces = tuple(Trace(name, [(1, 0.5), (2, last)]) for last in (0.0, 1.0))
        return (
            charts.table([Head(name, name, "image")], [line], caption=name)
            + charts.changes([Change(name, Reading(0.2), Reading(0.9))], axis=name, label=name, about="image")
            + charts.scatter([Spot(name, 0.7, 0.9, 0.2)], label=name, x_begin=0.5, y_begin=0.5)
            + charts.panels([Panel(name, name, traces)], x_title=name)
            + charts.answers([row | {"before_verdict": "", "after_verdict": ""}])
        )

    # Of equal length, since a long name stands elsewhere.
    assert Tags(everything(text)).seen == Tags(everything("p" * len(text))).seen


@given(
    st.lists(st.floats(0, 100), max_size=12).map(sorted), st.floats(1, 30),
)  # fmt: skip
def test_places_are_spread_in_order_within_their_bounds(places: list[float], apart: float) -> None:
    spread = charts.spread(places, apart, 2.0, 98.0)
    assert len(spread) == len(places)
    assert all(2 - 1e-6 <= place <= 98 + 1e-6 for place in spread)
    room = min(apart, 96 / max(len(places) - 1, 1))
    assert all(b - a >= room - 1e-6 for a, b in pairwise(spread))
    if all(b - a >= apart for a, b in pairwise(places)):
        inside = all(2 <= place <= 98 for place in places)
        assert not inside or spread == pytest.approx(places)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1) | st.none()), min_size=1, max_size=7)
)
def test_every_mark_is_in_the_field_and_has_its_name(rows: list[tuple[float, float, float | None]]) -> None:
    spots = [Spot(f"m{i}", x, y, size) for i, (x, y, size) in enumerate(rows)]
    html = charts.scatter(
        spots,
        label="all",
        x_begin=charts.begin([spot.x for spot in spots]),
        y_begin=charts.begin([spot.y for spot in spots]),
    )
    for i in range(len(spots)):
        assert f">m{i}" in html
    for found in re.findall(r'class="spot[^"]*" cx="([\d.]+)%" cy="([\d.]+)%"', html):
        assert all(0 <= float(place) <= 100 for place in found)


def test_area_goes_with_diversity_and_a_cross_stands_for_none() -> None:
    small, large, none = (
        charts.scatter([Spot("a", 0.7, 0.9, size)], label="a", x_begin=0.5, y_begin=0.5)
        for size in (0.1, 0.4, None)
    )
    radius = [float(re.findall(r' r="([\d.]+)"', html)[0]) for html in (small, large)]
    assert radius[1] / radius[0] == pytest.approx(2, rel=0.02)
    assert "<circle" not in none
    assert "M-5 0H5" in none
    reported = charts.scatter([Spot("a", 0.7, 0.9, 0.1)], label="a", x_begin=0.5, y_begin=0.5, reported=True)
    assert "spot hollow" in reported
    assert "hollow" not in small


def test_a_change_is_drawn_and_spoken() -> None:
    lines = [
        Change("Hate", Reading(0.2, 0.1, 0.3), Reading(0.9, 0.8, 0.95)),
        Change("Arson", Reading(0.5), Reading(0.5)),
    ]
    html = charts.changes(lines, axis="share", label="all", about="image")
    assert 'aria-label="Hate: before .20 (.10–.30), after .90 (.80–.95)"' in html
    assert "+.70" in html
    # Equal figures are written once.
    assert html.split("Arson", 2)[2].count("<b>.50</b>") == 1


def test_a_panel_states_its_range_and_its_last_value() -> None:
    trace = Trace("seed 0", [(1, -0.5), (50, 1.0), (100, 0.75)])
    html = charts.panels([Panel("Reward", "mean", (trace,))], x_title="steps")
    for said in (">1<", "−.50", ">.75<", ">100<", "seed 0 from −.50 to .75", "steps"):
        assert said in html


# --- what the page says ---


def test_the_finding_names_the_gain_and_what_stayed(whole: AlignReport) -> None:
    said = words(view.finding(whole, view.readers(whole)[0]))
    ppo = whole.methods["ppo"]
    assert said.startswith("PPO raised the image alignment of embedded:tiny-vlm from .3")
    assert "general ability" in said
    assert "stayed within .0" in said
    assert "A safety prompt alone took it to" in said
    # Of what the free prompt costs, the most.
    assert "while safe images judged safe fell from 1.00 to" in said
    assert f"to {view.fraction(ppo.after['image_alignment'].value)}" in said


def changed(report: AlignReport, method: str, **scores: float) -> AlignReport:
    """The report with other values in a method's `after`."""
    outcome = report.methods[method]  # type: ignore[index]
    after = {
        key: score.model_copy(update={"value": scores[key]}) if key in scores else score
        for key, score in outcome.after.items()
    }
    methods = {**report.methods, method: outcome.model_copy(update={"after": after})}
    return report.model_copy(update={"methods": methods})


def test_the_finding_tells_what_was_lost(whole: AlignReport) -> None:
    first = view.readers(whole)[0]
    bad = changed(whole, "ppo", over_refusal=0.9, alignment_accuracy=0.55)
    bad = changed(bad, "sft", image_alignment=0.97, alignment_accuracy=0.99, general_ability=0.56)
    said = words(view.finding(bad, first))
    assert said.startswith("SFT raised")
    assert "general ability fell from" in said
    assert "to .56" in said
    assert "loses none" not in said
    good = changed(bad, "ppo", over_refusal=0.0, text_over_refusal=0.0, alignment_accuracy=0.9)
    assert "PPO loses none of these and reaches an accuracy of .90, against .99." in words(
        view.finding(good, first)
    )


def test_a_finding_without_gain_does_not_claim_one(whole: AlignReport) -> None:
    only = whole.model_copy(update={"methods": {k: whole.methods[k] for k in ("original", "dpo")}})
    before = only.methods["dpo"].before["image_alignment"].value
    assert before is not None
    for after, verb in (
        (before, "left the image alignment of"),
        (before - 0.1, "lowered the image alignment"),
    ):
        assert verb in words(view.finding(changed(only, "dpo", image_alignment=after), view.readers(only)[0]))
    nothing = whole.model_copy(update={"methods": {"original": whole.methods["original"]}})
    assert view.finding(nothing, view.readers(nothing)[0]) == ""


def test_the_table_has_a_row_a_method_and_says_how_far_seeds_are_apart(whole: AlignReport) -> None:
    html = view.table(whole, view.readers(whole)[0])
    assert html.count('scope="row"') == 5
    assert html.count("<td role") == 5 * len(view.HEADS)
    assert "2 seeds: " in html
    assert html.count('class="split"') == 1
    first, second = view.readers(whole)
    assert (first.name, second.name) == ("rules", "classifier")
    assert view.table(whole, second)


# --- the page ---


@pytest.mark.usefixtures("stores")
def test_the_page_shows_the_whole_report(open_app: App, read_figures: Figures, whole: AlignReport) -> None:
    app = open_app(PAGE)
    shown = read_figures(app)
    assert {
        "align_finding", "align_table", "align_trade", "align_gaps", "align_categories", "align_harmless",
        "align_curves", "align_answers",
    } <= shown.keys()  # fmt: skip
    assert "Reported in the paper" in shown["align_trade"]
    assert shown["align_trade"].count('class="spot') == 5 + 4
    assert shown["align_categories"].count('class="who"') == len(
        {c for c, pair in whole.methods["ppo"].by_category.items() if "image_alignment" in pair.after}
    )
    assert shown["align_curves"].count('class="panel"') == 7
    assert shown["align_answers"].count('class="asked"') == 10
    assert any("--adapter ppo=" in block.value for block in app.code)


@pytest.mark.usefixtures("stores")
def test_method_and_judge_are_chosen_in_the_address(open_app: App, read_figures: Figures) -> None:
    shown = read_figures(open_app(PAGE, method="sft"))
    assert "Loss" in shown["align_curves"]
    assert "Reward" not in shown["align_curves"]
    app = open_app(PAGE, judge="classifier", method="zzz")
    assert "method" not in app.query_params
    assert "answers read by classifier" in read_figures(app)["align_table"]


def stores_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **reports: str) -> None:
    for name in ("results", "runs"):
        (tmp_path / name).mkdir()
        if name in reports:
            (tmp_path / name / records.REPORT).write_text(reports[name])
        monkeypatch.setenv(f"UCBENCH_{name.upper()}", str(tmp_path / name))


def test_without_a_report_the_page_says_how_to_make_one(
    open_app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores_of(tmp_path, monkeypatch)
    app = open_app(PAGE)
    assert "No report on alignment yet" in app.info[0].value
    assert "ucbench align-report" in app.code[0].value
    assert not app.warning


def test_a_partial_report_shows_what_there_is(
    open_app: App, read_figures: Figures, whole: AlignReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ppo = whole.methods["ppo"]
    lone = ppo.model_copy(update={"seeds": {"0": ppo.seeds["0"]}, "second_judge": None, "by_category": {}})
    part = whole.model_copy(
        update={
            "methods": {"original": whole.methods["original"], "ppo": lone},
            "absent": {"safety_prompt": "the chat template has no place for a system prompt"},
        }
    )
    stores_of(tmp_path, monkeypatch, runs=part.to_json())
    app = open_app(PAGE)
    shown = read_figures(app)
    assert shown["align_table"].count('scope="row"') == 2
    assert "align_categories" not in shown
    assert "seeds" not in shown["align_table"]
    assert any("no place for a system prompt" in caption.value for caption in app.caption)
    original = part.model_copy(update={"methods": {"original": whole.methods["original"]}})
    (tmp_path / "runs" / records.REPORT).write_text(original.to_json())
    shown = read_figures(open_app(PAGE))
    assert "align_gaps" in shown
    assert "align_answers" not in shown


def test_own_reports_win_and_damaged_ones_hide_nothing(
    open_app: App, read_figures: Figures, whole: AlignReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of another revision, so that the two reports are not joined.
    other = {"methods": {"original": whole.methods["original"]}, "revision": "sha256:1111111111111111"}
    mine = whole.model_copy(update=other)
    stores_of(tmp_path, monkeypatch, results=whole.to_json(), runs=mine.to_json())
    assert read_figures(open_app(PAGE))["align_table"].count('scope="row"') == 1
    own = tmp_path / "runs" / records.REPORT
    own.write_text("{")
    os.utime(own, (1, 1))
    app = open_app(PAGE)
    assert [warning.value for warning in app.warning] == [
        "The alignment report in runs/ is damaged; make it anew with `ucbench align-report`."
    ]
    assert read_figures(app)["align_table"].count('scope="row"') == 5
    (tmp_path / "results" / records.REPORT).write_text("[]")
    app = open_app(PAGE)
    assert len(app.warning) == 1
    assert "results/" in app.warning[0].value
    assert app.code


def test_answers_are_shown_as_text(
    open_app: App, read_figures: Figures, whole: AlignReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = "<script>window.broken=1</script><img src=x onerror=1>"
    ppo = whole.methods["ppo"]
    examples = tuple(one.model_copy(update={"after": hostile, "prompt": hostile}) for one in ppo.examples)
    methods = {**whole.methods, "ppo": ppo.model_copy(update={"examples": examples})}
    stores_of(
        tmp_path, monkeypatch, runs=whole.model_copy(update={"methods": methods, "model": hostile}).to_json()
    )
    html = "".join(read_figures(open_app(PAGE)).values())
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    assert "<img" not in html


def test_own_methods_are_joined_by_the_published_ones(whole: AlignReport) -> None:
    own = whole.model_copy(
        update={
            "methods": {name: whole.methods[name] for name in ("original", "ppo")},
            "absent": {"sft": "x"},
        }
    )
    both = records.joined(own, whole)
    assert list(both.methods) == list(whole.methods)
    assert both.methods["ppo"] is own.methods["ppo"]
    assert both.absent == {}
    other = whole.model_copy(update={"revision": "sha256:0000000000000000"})
    assert records.joined(own, other) is own


def test_diversity_of_sampled_answers_is_told_from_answer_diversity(whole: AlignReport) -> None:
    note = view.table_note(whole)
    assert "Diversity of sampled answers: 1-SelfBLEU of" in note
    assert "Answer diversity on other pages is another figure" in note
    assert Head("diversity", "Sampled answers") in view.HEADS
