"""Every track has its words, its columns and its figures; a run's details say why to rely on it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucbench import board as boards
from ucbench.metrics.keys import KEYS
from ucbench.parity import Pair
from ucbench.record import Counts, Usage
from ucbench.runs import Run, find
from ucbench.site import details, evidence, loading, tables
from ucbench.site.charts import Reading
from ucbench.site.columns import BY_KEY, columns_of
from ucbench.site.findings import lines, sentence
from ucbench.site.loading import Agreement, Audit
from ucbench.site.shared import known_tracks, track_name
from ucbench.site.track_views import view
from ucbench.tracks import registry
from ucbench.tracks.about import ABOUT, TEST_SPLIT, about

App = Callable[..., Any]
Figures = Callable[[Any], dict[str, str]]
ELSEWHERE = ("safe", "smid", "nsfw", "mme", "llavabench")


def words(html: str) -> str:
    """What a visitor reads."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


@pytest.fixture
def board(stores: Path) -> loading.LoadedBoard:
    assert stores.is_dir()
    return loading.board()


def row(board: loading.LoadedBoard, track: str, model: str) -> Any:
    """The row of a model."""
    (found,) = (row for row in board.of_track(track) if tables.name(row) == model)
    return found


# --- words ---


def test_every_track_is_told_once_and_scored_by_known_keys() -> None:
    assert list(ABOUT) == registry.names()
    for track, told in ABOUT.items():
        assert all((told.name, told.asks, told.access, told.means)), track
        assert set(told.scores) <= KEYS.keys()
        shown = view(track)
        assert {key for chart in shown.charts for key in chart.keys} | set(shown.heat) <= KEYS.keys()
        assert set(re.findall(r"\{(\w+)\}", shown.finding)) <= {*KEYS}
        assert all(len(chart.keys) == len(chart.ends) for chart in shown.charts)
    assert about("nobody/knows").name == "nobody/knows"


def test_names_of_choices(board: loading.LoadedBoard) -> None:
    assert known_tracks(board) == [
        "pictograms", "unsafeconcepts", "unsafeconcepts@test", "contexts", "polarity", "safe", "smid", "nsfw",
        "mme", "llavabench",
    ]  # fmt: skip
    assert track_name("unsafeconcepts@test") == "UnsafeConcepts, test split only"


# --- rows ---


def test_a_joined_run_is_found_under_its_own_track(board: loading.LoadedBoard) -> None:
    large = row(board, "unsafeconcepts", "acme/large-vlm")
    assert loading.joined_runs(large).keys() == {"safe", "mme", "llavabench"}
    for track in ("safe", "mme", "llavabench"):
        assert row(board, track, "acme/large-vlm") is large
    assert {tables.name(line) for line in board.of_track("mme")} == {"acme/large-vlm"}


def test_the_test_split_stands_apart(board: loading.LoadedBoard) -> None:
    test = board.of_track("unsafeconcepts@test")
    assert {line["split"] for line in test} == {"test"}
    assert not any(line["provenance"] == "reported" for line in test)
    assert all("test split only" in tables.identity(line) for line in test)
    assert {line["ranked_among"] for line in test if line["provenance"] == "measured"} == {4}
    whole = {tables.name(line): line for line in board.of_track("unsafeconcepts")}
    tuned = whole["acme/small-vlm + local:ppo@0123456"]
    assert tables.on_test_split(tuned)
    assert "test split only" not in tables.identity(whole["acme/large-vlm"])


def test_tracks_without_a_ranking_are_no_failures(board: loading.LoadedBoard) -> None:
    for line in board.of_track("contexts"):
        assert line["unranked"] == boards.NO_RANKING
        html = tables.board([line], columns_of("contexts"), sort="image_context_safe", reverse=False,
                            caption="", ranks=False)  # fmt: skip
        assert "not ranked" not in html
        assert "Rank" not in html
        assert details.facts(line, None)[2] == ("Not ranked", None)


def test_an_empty_cell_says_why() -> None:
    line = {"run_id": "a", "model": "a", "provenance": "measured", "rank_low": 1, "rank_high": 1}
    column = BY_KEY["perception"]
    for cells, why in (
        ({}, "not asked"), ({"perception_coverage": 0.0}, "no answer with a verdict"),
        ({"provenance": "reported"}, "not reported"),
    ):  # fmt: skip
        html = tables.board([line | cells], [column], sort="x", reverse=False, caption="")
        assert f'title="{why}"' in html


# --- pages ---


@pytest.mark.usefixtures("stores")
@pytest.mark.parametrize("track", [track for track in ABOUT if track != "pictograms"])
def test_a_track_shows_its_own_scores_and_says_what_it_is(
    open_app: App, read_figures: Figures, track: str
) -> None:
    app = open_app(track=track)
    shown = read_figures(app)
    told = about(track)
    assert any(told.asks in caption.value and told.access in caption.value for caption in app.caption)
    heads = re.findall(r'data-choose="sort:(\w+)"', shown["board"])
    assert heads == [key for key in told.scores if key in heads]
    assert heads[0] == told.scores[0]
    assert shown["finding"]
    assert len([key for key in shown if key.startswith("dumbbells")]) == len(view(track).charts)
    ranked = "balanced_accuracy" in told.scores
    assert ("Rank" in words(shown["board"])) == ranked
    # Joined rows have a rank, which is none of this track.
    assert ranked or 'class="best' not in shown["board"]
    if track in ELSEWHERE:
        assert "in words" not in words(shown.get("dumbbells", ""))
        assert "text" not in "".join(heads)


@pytest.mark.usefixtures("stores")
def test_contexts_and_polarity_tell_both_sides(open_app: App, read_figures: Figures) -> None:
    shown = read_figures(open_app(track="contexts"))
    assert "of unacceptable uses are objected to" in words(shown["finding"])
    assert shown["finding"].count('class="is-image"') == shown["finding"].count('class="is-text"') == 2
    assert "lowest to highest of 2 models" in shown["finding"]
    assert "as image" in shown["dumbbells"]
    assert "in words" in shown["dumbbells_1"]
    shown = read_figures(open_app(track="polarity"))
    assert "Acquiescence" in words(shown["board"])
    assert "dot image hollow" in shown["dumbbells"]
    assert "as usually asked" in shown["dumbbells"]
    assert "dot text hollow" in shown["dumbbells_1"]
    assert "Is this image safe?" in " ".join(caption.value for caption in open_app(track="polarity").caption)


@pytest.mark.usefixtures("stores")
def test_the_test_split_says_what_it_is(open_app: App, read_figures: Figures) -> None:
    app = open_app(track="unsafeconcepts@test")
    assert any(TEST_SPLIT in caption.value for caption in app.caption)
    board = read_figures(app)["board"]
    assert board.count("test split only") == board.count("<tr ") - 1 == 5
    # Beside models that were asked everything, the tuned one keeps its scores and has no rank.
    board = read_figures(open_app(track="unsafeconcepts"))["board"]
    tuned = next(part for part in board.split("<tr ") if "local:ppo" in part)
    assert "ranked there alone" in tuned
    assert "not ranked</span>" in tuned


@pytest.mark.usefixtures("stores")
def test_guards_and_imported_answers_are_marked(open_app: App, read_figures: Figures) -> None:
    shown = read_figures(open_app(track="unsafeconcepts"))
    rows = {name: part for part in shown["board"].split("<tr ")
            for name in ("picture-guard", "saved-vlm", "large-vlm") if name in part}  # fmt: skip
    assert ">guard</span>" in rows["picture-guard"]
    assert '<span class="value" title="not asked">–</span>' in rows["picture-guard"]
    assert ">imported</span>" in rows["saved-vlm"]
    assert "greedy" not in rows["saved-vlm"]
    assert 'class="tag"' not in rows["large-vlm"]
    assert "guard · " in shown["dumbbells"]
    assert "imported · " in shown["dumbbells"]


@pytest.mark.usefixtures("stores")
def test_concepts_of_every_track_or_a_sentence(open_app: App, read_figures: Figures) -> None:
    page = "app_pages/concepts.py"
    app = open_app(page, track="contexts", concept="arson")
    shown = read_figures(app)
    assert "Unacceptable use, image" in shown["heat"]
    assert {"concept_dumbbells", "concept_dumbbells_1"} <= shown.keys()
    assert shown["answers_image"].count('class="read"') == 2
    assert shown["answers_text"].count('class="read"') == 2
    assert len(app.get("image")) + len(app.get("imgs")) == 2
    app = open_app(page, track="mme")
    assert "MME does not ask about the 75 concepts" in app.info[0].value
    # A run that was cut down to the test split shows the answers to that alone; no picture is shown.
    app = open_app(page, track="unsafeconcepts@test", concept="arson")
    model = app.selectbox(key="answers_of")
    cut = next(option for option in model.proto.options if option == "acme/large-vlm")
    model.select(cut).run()
    assert read_figures(app)["answers_image"].count('class="read"') == 6
    assert not app.get("image")
    assert not app.get("imgs")
    assert any("1 of 1; the picture is not shown" in caption.value for caption in app.caption)


# --- details ---


@pytest.fixture
def dialog(open_app: App, read_figures: Figures, board: loading.LoadedBoard) -> Callable[[str, str], Any]:
    """dialog(track, model): what the parts of the dialog about that row say, by key."""

    def opened(track: str, model: str) -> dict[str, str]:
        app = open_app(track=track)
        app.session_state["opened"] = row(board, track, model)["run_id"]
        app.run()
        assert not app.exception
        found = {key: words(html) for key, html in read_figures(app).items() if key.startswith("details")}
        return found | {"warnings": " ".join(warning.value for warning in app.warning)}

    return opened


def test_details_of_a_joined_row(dialog: Any) -> None:
    said = dialog("unsafeconcepts", "acme/large-vlm")
    outcomes = said["details_outcomes"]
    for name, questions in (
        ("UnsafeConcepts", "1,275"), ("Harmless pictures", "200"), ("MME", "24"), ("LLaVABench", "9"),
    ):  # fmt: skip
        assert f"{name} Questions {questions} With a verdict {questions} (all)" in outcomes
    assert "over-refusal comes from Harmless pictures" in said["details_scores"]
    assert "general ability is the mean of MME and LLaVABench" in said["details_scores"]
    assert "Over-refusal" in said["details_scores"]
    assert "Not measured for this run" in said["details_parity"]
    # Every run behind the row can be taken home.
    assert said["warnings"] == ""


def test_details_of_who_reads_the_answers(dialog: Any) -> None:
    said = dialog("unsafeconcepts", "acme/small-vlm")["details_judge_unsafeconcepts"]
    assert "read by the judge rules-1" in said
    assert "the judge contains-1 Same label" in said
    assert "2 people, models like this one Same label" in said
    assert "2 people, all models Same label" in said
    assert "details_judge_smid" not in dialog("smid", "acme/large-vlm")


def test_details_of_a_guard_on_the_test_split(dialog: Any) -> None:
    said = dialog("unsafeconcepts@test", "acme/picture-guard")
    assert TEST_SPLIT in said["details_facts"]
    assert "its verdict on a picture stands for all safety questions about it" in said["details_facts"]
    # Of 75 pictures and 75 concepts in words, not of all the pictures that it was asked about.
    assert "UnsafeConcepts Questions 750" in said["details_outcomes"]
    assert "Guard's verdicts behind them 150" in said["details_outcomes"]
    assert "details_parity" not in said


def test_details_of_a_service(dialog: Any) -> None:
    said = dialog("nsfw", "endpoint:served-vlm")
    assert "Refused by the provider 2 (.06)" in said["details_outcomes"]
    assert "System errors 0" in said["details_outcomes"]
    assert re.search(r"Tokens \d+ in, \d+ out", said["details_facts"])
    assert "at 2500 a million tokens in and 10000 out" in said["details_facts"]
    assert "How asked by a service" in said["details_facts"]
    assert "requests were made again" not in said["details_notes"]
    assert "details_parity" not in said


def test_details_of_imported_answers(dialog: Any) -> None:
    said = dialog("unsafeconcepts", "acme/saved-vlm")
    assert "imported: answered elsewhere and saved, judged and scored here" in said["details_facts"]
    assert "https://example.org/answers" in said["details_facts"]
    assert "greedy" not in said["details_facts"]
    assert "With a verdict 1,272 (over .99)" in said["details_outcomes"]
    assert "System errors 3 (under .01): missing 3" in said["details_outcomes"]
    assert "1,272 saved answers read for 1,275 questions" in said["details_notes"]


def test_details_of_fast_against_slow(dialog: Any) -> None:
    said = dialog("smid", "embedded:tiny-vlm")["details_parity"]
    for way in ("one at a time", "in batches", "picture and prompt shared"):
        assert re.search(rf"{way} Time [\d.]+ s", said)
    assert said.count("Same tokens 1.00 Verdicts flipped 0 of 4 Largest score change none") == 2
    assert "4 questions about 4 pictures in float32" in said
    assert "This run was asked picture and prompt shared." in said


def test_what_is_damaged_is_told_beside_what_is_not(
    dialog: Any, site_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(site_store, copy)
    monkeypatch.setenv("UCBENCH_RESULTS", str(copy))
    next(copy.glob("embedded-*/*/parity.json")).write_text("{}")
    (report,) = copy.glob("audits/*/report.json")
    report.write_text(json.dumps({"runs": ["x"]} | {"judge": []}))
    said = dialog("smid", "embedded:tiny-vlm")
    assert "measure it again with `ucbench parity`" in said["warnings"]
    assert "details_scores" in said
    report.write_text("[")
    assert f"The audit in copy/audits/{report.parent.name} is damaged" in dialog("smid", "acme/large-vlm")[
        "warnings"
    ]  # fmt: skip


# --- the parts as pure functions ---


HOSTILE = "<script>x</script>"


def test_no_outside_text_becomes_markup() -> None:
    agreed = [Agreement(HOSTILE, 3, 0.5, Reading(0.1, 0.0, 0.2))]
    audits = [Audit(HOSTILE, HOSTILE, Reading(0.5, 0.4, 0.6), 3, Reading(0.5, 0.4, 0.6), 3, 1)]
    for html in (
        evidence.judges(HOSTILE, agreed, audits),
        tables.listed([HOSTILE]),
        tables.heading(HOSTILE),
        tables.grid([(HOSTILE, [HOSTILE])], heads=[HOSTILE], caption=HOSTILE, corner=HOSTILE, cards=True),
    ):
        assert "<script" not in html
        assert "&lt;script&gt;" in html


@given(st.integers(1, 10**6), st.data())
def test_a_share_is_never_rounded_to_none_or_all(of: int, data: st.DataObject) -> None:
    n = data.draw(st.integers(0, of))
    html = words(evidence._share(n, of))
    assert html.startswith(f"{n:,}")
    assert ("(all)" in html) == (n == of)
    assert "(.00)" not in html
    assert "(1.00)" not in html


def test_tokens_and_cost() -> None:
    usage = Usage(input_tokens=1200, output_tokens=300, thinking_tokens=40)
    assert evidence.tokens(usage) == "1,200 in, 300 out, 40 of them spent thinking"
    assert evidence.cost(usage) == ""
    assert evidence.tokens(None) == evidence.tokens(Usage()) == ""
    paid = usage.model_copy(update={"price_input": 2.5, "price_output": 10.0, "cost": 0.006})
    assert evidence.cost(paid) == "under .01 at 2.5 a million tokens in and 10 out"


def test_the_largest_change_of_a_score_has_its_sign() -> None:
    def pair(**changes: float | None) -> Pair:
        return Pair(
            first="a", second="b", n=4, identical=3, token_agreement=0.9, flips=1, score_changes=changes,
            differences=(),
        )  # fmt: skip

    assert evidence.largest_change(pair(perception=0.02, image_alignment=-0.25)) == "−.25, image alignment"
    assert evidence.largest_change(pair(perception=0.0, image_alignment=None)) == "none"
    assert evidence.largest_change(pair(perception=0.0001)) == "under .01, perception"


def test_errors_are_told_by_kind() -> None:
    counts = Counts(
        questions=100, answered=90, na=4, provider_refusals=1, errors={"timeout": 3, "missing": 2},
        truncated=7,
    )  # fmt: skip
    told = evidence._outcomes(counts)
    assert told["System errors"] == "5 (.05): missing 2, timeout 3"
    assert (told["No verdict in the answer"], told["Refused by the provider"]) == ("4 (.04)", "1 (.01)")
    assert told["Cut at the token limit"] == "7"


def test_a_finding_needs_every_one_of_its_scores() -> None:
    line = {"run_id": "a", "model": "a", "provenance": "measured", "unranked": boards.NO_RANKING}
    assert sentence([line], view("mme")) == ""
    assert words(sentence([line | {"mme": 0.5}], view("mme"))) == (
        ".50 of the yes/no questions are answered rightly."
    )
    partial = line | {"mme": 0.9, "unranked": "partial run of 2 samples", "status": "partial"}
    assert ".90" not in sentence([line | {"mme": 0.5}, partial], view("mme"))
    (chart,) = view("mme").charts
    assert [drawn.name for drawn in lines([line | {"mme": 0.5}, partial, line], chart)] == ["a"]


def test_every_run_of_the_store_is_on_the_board(stores: Path, board: loading.LoadedBoard) -> None:
    shown = {run for line in board.rows for run in (line["run_id"], *loading.joined_runs(line).values())}
    assert {run.run_id for run in find(stores)} <= shown
    for line in board.rows:
        if line["provenance"] != "reported":
            assert [part.run.run_id for part in loading.parts(line)] == [
                run_id.partition("@")[0] for run_id in (line["run_id"], *loading.joined_runs(line).values())
            ]


def test_no_run_is_made_up(stores: Path) -> None:
    """What the details show is what the records hold."""
    for run in find(stores):
        record = Run(run.folder).record()
        if record.provenance != "reported" and record.judge:
            assert sum((
                record.counts.answered, record.counts.na, record.counts.provider_refusals,
                *record.counts.errors.values(),
            )) == record.counts.questions  # fmt: skip
