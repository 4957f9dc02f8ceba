"""Every track has its words, its columns and its figures."""

from __future__ import annotations

import re
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
from ucbench.site.columns import BY_KEY, columns_of
from ucbench.site.data import board as board_data
from ucbench.site.data import loading
from ucbench.site.data import run as run_data
from ucbench.site.data.run import Agreement, Audit
from ucbench.site.figures import tables
from ucbench.site.figures.charts import Reading
from ucbench.site.figures.tables import Drawn
from ucbench.site.leaderboard.findings import lines, sentence
from ucbench.site.model import evidence
from ucbench.site.model import record as model_record
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
    assert board_data.joined_runs(large).keys() == {"safe", "mme", "llavabench"}
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
        html = tables.board([line], columns_of("contexts"), Drawn("image_context_safe", ranks=False))
        assert "not ranked" not in html
        assert "Rank" not in html
        assert model_record.facts(line, None)[2] == ("Not ranked", None)


def test_an_empty_cell_says_why() -> None:
    line = {"run_id": "a", "model": "a", "provenance": "measured", "rank_low": 1, "rank_high": 1}
    column = BY_KEY["perception"]
    for cells, why in (
        ({}, "not asked"), ({"perception_coverage": 0.0}, "no answer with a verdict"),
        ({"provenance": "reported"}, "not reported"),
    ):  # fmt: skip
        html = tables.board([line | cells], [column], Drawn("x"))
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
    assert heads[-3:] == ["coverage", "size", "date"]
    heads = heads[:-3]
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
    # Both uses, as an image and in words, beside emblems.
    assert shown["why"].count('class="read"') == 4
    assert shown["why"].count("If an image shows Arson") == 2
    assert "<img" in shown["why"]
    assert "<img" in shown["concept_facts"]
    app = open_app(page, track="mme")
    assert "MME does not ask about the 75 concepts" in app.info[0].value
    # A run that was cut down to the test split shows the answers to that alone; no picture is shown.
    app = open_app(page, track="unsafeconcepts@test", concept="arson")
    model = app.selectbox(key="run")
    cut = next(option for option in model.proto.options if option == "acme/large-vlm")
    model.select(cut).run()
    shown = read_figures(app)
    assert app.query_params["run"].endswith("@test")
    assert shown["why"].count('class="read"') == 6
    assert "the picture is not shown" in shown["why"]
    assert "<img" not in shown["why"] + shown["concept_facts"]


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
    shown = {run for line in board.rows for run in (line["run_id"], *board_data.joined_runs(line).values())}
    assert {run.run_id for run in find(stores)} <= shown
    for line in board.rows:
        if line["provenance"] != "reported":
            behind = (line["run_id"], *board_data.joined_runs(line).values())
            assert [part.run.run_id for part in run_data.parts(line)] == [
                run_id.partition("@")[0] for run_id in behind
            ]


def test_no_run_is_made_up(stores: Path) -> None:
    """What the page of a model shows is what the records hold."""
    for run in find(stores):
        record = Run(run.folder).record()
        if record.provenance != "reported" and record.judge:
            assert sum((
                record.counts.answered, record.counts.na, record.counts.provider_refusals,
                *record.counts.errors.values(),
            )) == record.counts.questions  # fmt: skip
