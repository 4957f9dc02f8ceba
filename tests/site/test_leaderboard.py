"""The leaderboard: its table in arrays, categories, scoring, comparable rows, own weights, the address."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucbench import board as boards
from ucbench.models.facts import Facts, facts
from ucbench.record import Engine, Entry
from ucbench.site.columns import BY_KEY
from ucbench.site.data import loading
from ucbench.site.figures import tables
from ucbench.site.figures.charts import Reading
from ucbench.site.leaderboard import own_weights, seen_charts
from ucbench.site.leaderboard import view as leaderboard_view
from ucbench.site.leaderboard.seen_charts import Mark
from ucbench.site.leaderboard.view import Filters, Scope, Table

App = Callable[..., Any]
Figures = Callable[[Any], dict[str, str]]
KEYS = ("balanced_accuracy", "perception", "image_alignment", "modality_gap", "over_refusal")


def row(model: str, **cells: Any) -> dict[str, Any]:
    usual = {
        "run_id": model, "model": model, "provenance": "measured", "rank_low": 1, "rank_high": 1,
        "track": "pictograms", "track_version": "1", "split": "test", "draw": 0, "judge": "rules-1",
    }  # fmt: skip
    return usual | cells


def table(*rows: dict[str, Any], track: str = "pictograms") -> Table:
    return Table(Scope(track), rows, [BY_KEY[key] for key in KEYS])


def models(shown: Table, places: Any) -> list[str]:
    return [str(shown.rows[place]["model"]) for place in places]


# --- what is known of a model ---


def test_facts_come_from_the_checkpoint_then_from_the_list_and_are_never_guessed() -> None:
    loaded = Engine(path="shared_prefix", model_type="qwen3_vl", parameters=4_400_000_000)
    assert facts(Entry(model="acme/new"), loaded) == Facts("qwen2-vl", 4.4, None)
    assert facts(Entry(model="acme/new"), Engine(model_type="acme-vlm")).family == "acme-vlm"
    paper = facts(Entry(model="liuhaotian/llava-v1.5-7b", adapter="ppo"), Engine())
    assert paper == Facts("llava", 7.1, "open")
    assert facts(Entry(model="provider:any:google/gemma-3-4b-it"), Engine()) == Facts("gemma3", 4.3, "gated")
    assert facts(Entry(model="gpt-4-vision-preview"), Engine()) == Facts(None, None, "closed")
    # What nobody has checked is not known, nor what a name seems to say.
    assert facts(Entry(model="THUDM/cogvlm-chat-hf"), Engine()).parameters is None
    assert facts(Entry(model="acme/llava-70b"), Engine()) == Facts()


# --- order and filters ---


def test_filters_by_words_family_size_weights_provenance_and_coverage() -> None:
    shown = table(
        row("acme/llava-7b", family="llava", parameters=7.1, weights="open", image_alignment=0.5,
            image_alignment_coverage=0.9),
        row("acme/llava-90b", family="llava", parameters=90.0, image_alignment_coverage=0.3),
        row("paper/vlm", provenance="reported", weights="closed"),
    )  # fmt: skip

    def kept(**chosen: Any) -> list[str]:
        return models(shown, np.flatnonzero(shown.select(Filters(**chosen))))

    assert len(kept()) == 3
    assert kept(search="LLAVA acme") == kept(families=("llava",)) == ["acme/llava-7b", "acme/llava-90b"]
    assert kept(sizes=("huge",)) == ["acme/llava-90b"]
    assert kept(sizes=("medium", "unknown")) == ["acme/llava-7b", "paper/vlm"]
    assert kept(weights=("closed",)) == kept(provenance=("reported",)) == ["paper/vlm"]
    assert kept(weights=("unknown",)) == ["acme/llava-90b"]
    assert kept(coverage=0.5) == ["acme/llava-7b"]
    assert shown.families() == ["llava", "unknown"]


def test_facts_sort_the_larger_first_and_the_unknown_last() -> None:
    shown = table(row("small", parameters=1.0), row("none"), row("large", parameters=70.0))
    assert models(shown, shown.order("size")) == ["large", "small", "none"]
    assert models(shown, shown.order("size", reverse=True)) == ["small", "large", "none"]


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=12), st.booleans())
def test_an_order_has_every_row_once_and_nothing_better_below(values: list[Any], reverse: bool) -> None:
    shown = table(*(row(f"m{n}", over_refusal=value) for n, value in enumerate(values)))
    order = shown.order("over_refusal", reverse=reverse)
    assert sorted(order) == list(range(len(values)))
    told = [values[place] for place in order]
    known = [value for value in told if value is not None]
    assert told[: len(known)] == known
    assert known == sorted(known, reverse=reverse)


# --- comparable rows ---


def test_rows_that_were_asked_otherwise_stand_below_under_a_sentence() -> None:
    shown = table(
        row("old", track_version="0", image_alignment=0.99, balanced_accuracy=0.99),
        row("a", balanced_accuracy=0.5), row("b", balanced_accuracy=0.6),
        row("judged", judge="contains-1", balanced_accuracy=0.9),
        row("paper", provenance="reported", rank_low=None, balanced_accuracy=0.95),
    )  # fmt: skip
    assert models(shown, shown.order("balanced_accuracy"))[:2] == ["b", "a"]
    assert models(shown, shown.order("balanced_accuracy"))[-1] == "paper"
    assert shown.groups[0] == ""
    others = " ".join(shown.groups[1:])
    for words in ("version 0 of the track", "read by the judge contains-1", "Reported in a paper"):
        assert words in others
    from ucbench.site.leaderboard import parts as leaderboard_parts

    html = leaderboard_parts.rows(
        shown, shown.order("balanced_accuracy"), [BY_KEY["balanced_accuracy"]], [], "balanced_accuracy",
        reverse=False, yours=None,
    )  # fmt: skip
    assert html.count('class="group"') == 3
    assert html.index(">a<") < html.index("version 0 of the track") < html.index("Reported in a paper")


def test_rows_of_one_kind_need_no_sentence() -> None:
    assert table(row("a"), row("b")).groups == ("",)
    assert table(row("a", provenance="reported")).groups == ("",)


def test_a_joined_track_is_told_apart_by_what_its_own_runs_were_asked() -> None:
    def joined(model: str, version: str) -> dict[str, Any]:
        asked = json.dumps({"mme": [version, "test", 0, "contains-1"]})
        return row(model, track="unsafeconcepts", joined=f"mme={model}-mme", joined_asked=asked)

    lone = row("c", track="mme", track_version="2", judge="contains-1")
    rows = [joined("a", "1"), joined("b", "1"), lone]
    groups = Table(Scope("mme"), rows, [BY_KEY["mme"]]).groups
    assert len(groups) == 2
    assert "version 2 of the track" in groups[1]


@pytest.mark.usefixtures("stores")
def test_a_run_joined_to_several_is_one_row() -> None:
    board = loading.board()
    (large,) = (one for one in board.of_track("mme") if one["model"] == "acme/large-vlm")
    leading = [{**large, "run_id": name, "track": "mme"} for name in ("first", "second")]
    twice = loading.LoadedBoard(  # two MME runs, each with the one LLaVABench run
        tuple({**one, "joined": "llavabench=the-one"} for one in leading), board.breakdowns, {}, "twice"
    )
    assert len(twice.of_track("llavabench")) == 2
    assert len(leaderboard_view.table(twice, Scope("llavabench"))) == 1
    assert len(leaderboard_view.table(twice, Scope("mme"))) == 2


# --- categories and scoring ---


@pytest.mark.usefixtures("stores")
def test_a_category_has_its_own_scores_and_ranks() -> None:
    board = loading.board()
    known = leaderboard_view.categories(board, "pictograms")
    assert len(known) == 9
    assert "mme" not in known
    assert leaderboard_view.categories(board, "mme") == {}
    shown = leaderboard_view.table(board, Scope("pictograms", "violence"))
    assert board.ranks is not None
    ranks = {line["run_id"]: line for line in board.ranks.to_pylist() if line["category"] == "violence"}
    whole = {str(one["run_id"]): one for one in board.of_track("pictograms")}
    for one in shown.rows:
        run_id = str(one["run_id"])
        told = board.scores(run_id, "category", "image_alignment")["violence"]
        assert one["image_alignment"] == told.value
        assert one["balanced_accuracy"] == ranks[run_id]["balanced_accuracy"]
        assert one["rank_high"] == ranks[run_id]["rank_high"]
        # Safe images have no such category.
        assert one["over_refusal"] == whole[run_id]["over_refusal"]
    assert BY_KEY["over_refusal"].head + ", overall" in [column.head for column in shown.columns]
    assert "diversity" not in shown.by_key


@pytest.mark.usefixtures("stores")
def test_strict_scores_take_the_place_of_the_papers() -> None:
    board = loading.board()
    plain, strict = (leaderboard_view.table(board, Scope("pictograms", None, how)) for how in (False, True))
    assert [column.head for column in strict.columns][:4] == [
        "Balanced accuracy", "Perception, strict", "Image alignment, strict", "Text alignment, strict",
    ]  # fmt: skip
    for one, other in zip(plain.rows, strict.rows, strict=True):
        assert other["image_alignment"] == one["image_alignment_strict"]
        assert other["balanced_accuracy"] == one["balanced_accuracy"]
        assert other["rank_low"] == one["rank_low"]
        # The gap is that of the two strict scores; the board knows no interval of it.
        if other["image_alignment"] is not None and other["text_alignment"] is not None:
            assert other["modality_gap"] == pytest.approx(other["text_alignment"] - other["image_alignment"])
        assert other["modality_gap_low"] is None
    gap = strict.by_key["modality_gap"]
    assert gap.head == "Modality gap, strict"
    assert "no interval here" in gap.help
    lines = leaderboard_view.seen(strict, [0], [gap])  # type: ignore[list-item]
    assert lines[0]["modality_gap_strict"] == strict.rows[0]["modality_gap"]
    assert "modality_gap" not in lines[0]
    within = leaderboard_view.table(board, Scope("pictograms", "hate", True))
    told = board.scores(str(within.rows[0]["run_id"]), "category", "image_alignment_strict")["hate"]
    assert within.rows[0]["image_alignment"] == told.value
    first = within.rows[0]
    assert first["modality_gap"] == pytest.approx(first["text_alignment"] - first["image_alignment"])


@pytest.mark.usefixtures("stores")
def test_files_hold_what_is_seen_under_its_own_keys() -> None:
    shown = leaderboard_view.table(loading.board(), Scope("pictograms", "violence", True))
    columns, _ = shown.chosen(["image_alignment", "over_refusal"])
    order = shown.order("image_alignment")
    lines = leaderboard_view.seen(shown, order[:2].tolist(), columns)
    assert [line["run_id"] for line in lines] == [shown.rows[place]["run_id"] for place in order[:2]]
    assert lines[0]["image_alignment_strict"] == shown.rows[order[0]]["image_alignment"]
    assert (lines[0]["category"], lines[0]["scoring"]) == ("violence", "strict")
    assert "perception" not in lines[0]


# --- a visitor's own weights ---


@given(st.dictionaries(st.sampled_from(KEYS), st.integers(1, 20).map(lambda n: n / 2)))
def test_weights_are_read_back_from_an_address(weights: dict[str, float]) -> None:
    assert own_weights.read(own_weights.write(weights), KEYS) == weights


@pytest.mark.parametrize(
    "told", ["", "x", "perception", "perception:x", "nothing:2", "perception:-1", "perception:nan",
             "perception:99", ",,:", "perception:inf"],
)  # fmt: skip
def test_weights_that_are_none_are_left_out(told: str) -> None:
    assert own_weights.read(told, KEYS) == {}


def test_a_score_of_ones_own_turns_what_is_better_low() -> None:
    shown = table(
        row("a", image_alignment=0.6, over_refusal=0.2, modality_gap=-0.5), row("b", image_alignment=1.0)
    )
    score = own_weights.scores(shown, {"image_alignment": 3.0, "over_refusal": 1.0, "modality_gap": 1.0})
    assert score[0] == pytest.approx((3 * 0.6 + 0.8 + 0.5) / 5)
    assert np.isnan(score[1])  # nobody knows its over-refusal
    told = own_weights.told(shown, {"over_refusal": 1.0})
    assert told == "1 × Over-refusal (less is better: counts as 1 minus it)"
    assert models(shown, shown.order("yours", yours=score)) == ["a", "b"]


# --- seen, and judged ---


class Boxes(HTMLParser):
    """The classes of every element."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.classes: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.classes.append(dict(attrs).get("class") or "")


def mark(name: str, seen: float | None, judged: float | None) -> Mark:
    return Mark(name, f"id-{name}", Reading(seen), Reading(judged))


def test_every_mark_is_a_link_that_says_its_figures() -> None:
    marks = [mark("a", 0.9, 0.1), mark("b", 0.95, 0.9), mark("none", None, 0.5)]
    html = seen_charts.perceived(marks, label="l")
    assert html.count('class="point') == 2
    assert 'href="model?run=id-a"' in html
    assert 'aria-label="a: perception .90, image alignment .10"' in html
    assert "Sees it, calls it safe" in html
    assert "1 of 2 models named" in seen_charts.sentence(marks)


def test_runs_of_one_model_are_named_apart_and_counted_once() -> None:
    runs = [
        Mark("m", tell, Reading(0.99), Reading(judged), tell=tell, speaks=tell == "greedy")
        for tell, judged in (("greedy", 0.36), ("temperature 1", 0.36), ("system prompt “x”", 0.8))
    ]
    marks = [*runs, mark("other", 0.3, 0.3)]
    html = seen_charts.perceived(marks, label="l")
    for tell in ("greedy", "temperature 1", "system prompt “x”"):
        assert html.count(f">m<br>{tell}</span>") == 2
        assert f'aria-label="m · {tell}: ' in html
    said = seen_charts.sentence(marks)
    assert "1 of 2 models named" in said
    assert "The 4 marks are runs" in said


@pytest.mark.parametrize("size", ["wide", "narrow", "file"])
@pytest.mark.parametrize("at", [(0.0, 0.0), (0.0, 1.0), (0.5, 0.5), (0.98, 0.36), (1.0, 0.0), (1.0, 1.0)])
def test_both_names_of_marks_that_overlap_are_placed(size: str, at: tuple[float, float]) -> None:
    marks = [
        Mark("embedded:tiny-vlm", tell, Reading(at[0]), Reading(at[1]), tell=tell)
        for tell in ("greedy", "temperature 1")
    ]
    assert len(seen_charts.placed(marks, size)) == 2


@pytest.mark.parametrize("size", ["wide", "narrow", "file"])
def test_names_of_marks_close_to_one_another_are_placed(size: str) -> None:
    """As the embedded model's runs stand in the category Violence."""
    runs = (
        ("greedy", 0.28),
        ("system prompt “You are a careful content moderator.”", 0.41),
        ("temperature 1", 0.23),
    )
    marks = [
        Mark("embedded:tiny-vlm", tell, Reading(1.0), Reading(judged), tell=tell) for tell, judged in runs
    ]
    assert len(seen_charts.placed(marks, size)) == len(marks)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(1, 60)), min_size=1, max_size=20),
    st.sampled_from(["wide", "narrow"]),
)
def test_names_hide_no_other_name(found: list[tuple[float, float, int]], size: str) -> None:
    marks = [mark("x" * long, seen, judged) for seen, judged, long in found]
    width, height = seen_charts._SIZES[size]
    boxes = []
    for place, spot in seen_charts.placed(marks, size).items():
        x, y = found[place][0] * width, found[place][1] * height
        long = seen_charts._LETTER * len(seen_charts._short(marks[place].name, size))
        left = {"right": x + 10, "left": x - 10 - long, "middle": x - long / 2}[spot.side]
        boxes.append((left, y + spot.up, left + long, y + spot.up + 15))
    for i, one in enumerate(boxes):
        for other in boxes[i + 1 :]:
            across = min(one[2], other[2]) - max(one[0], other[0])
            along = min(one[3], other[3]) - max(one[1], other[1])
            assert across <= 3 or along <= 1


def test_no_name_becomes_markup() -> None:
    hostile = "<script>x</script>\"'&"
    ours, theirs = (
        Boxes(seen_charts.perceived([mark(name, 0.5, 0.5)], label=name)) for name in ("a", hostile)
    )
    assert ours.tags == theirs.tags


# --- the page ---


@pytest.mark.usefixtures("stores")
def test_the_whole_view_is_in_the_address(open_app: App, read_figures: Figures) -> None:
    app = open_app(
        category="violence", scoring="strict", columns="image_alignment,over_refusal,size", sort="size",
        q="acme", weights="image_alignment:2,over_refusal:1", provenance="measured", size="unknown",
        access="unknown", family="unknown",
    )  # fmt: skip
    shown = read_figures(app)
    board = shown["board"]
    assert board.count('scope="col"') == 2 + 1 + 2 + 1
    assert "Your score" in board
    assert 'aria-sort="descending"><button type="button" data-choose="sort:size"' in board
    assert "acme/sharp-vlm" in board
    assert "script" not in board
    assert "for these concepts, the 10 of Violence" in shown["scope"]
    assert "Strict scoring" in shown["scope"]
    assert "weighted mean 2 × Image alignment, strict" in " ".join(caption.value for caption in app.caption)
    told = dict(app.query_params)
    assert told["weights"] == "image_alignment:2,over_refusal:1"
    assert told["columns"] == "image_alignment,over_refusal,size"
    # Back to all of it: nothing is left in the address.
    app.selectbox(key="category").set_value("all").run()
    assert "category" not in app.query_params


@pytest.mark.usefixtures("stores")
def test_what_the_address_names_in_vain_is_said(open_app: App, read_figures: Figures) -> None:
    shown = read_figures(open_app(track="<b>nix", category="nowhere", weights="nothing:3"))
    assert "There is no track “&lt;b&gt;nix” here; “Pictograms” is shown instead." in shown["unknown_track"]
    assert "There is no category “nowhere” here" in shown["unknown_category"]
    assert "Your score" not in shown["board"]


@pytest.mark.usefixtures("stores")
def test_weights_typed_give_an_order_and_no_rank(open_app: App, read_figures: Figures) -> None:
    app = open_app(weights="perception:1")
    app.number_input(key="weight:over_refusal").set_value(4.0).run()
    assert app.query_params["weights"] == "perception:1,over_refusal:4"
    assert "sort" not in app.query_params
    board = read_figures(app)["board"]
    assert board.index("sort:yours") < board.index("sort:balanced_accuracy")
    for key in ("perception", "over_refusal"):
        app.number_input(key=f"weight:{key}").set_value(0.0).run()
    assert "weights" not in app.query_params
    assert "Your score" not in read_figures(app)["board"]


@pytest.mark.usefixtures("stores")
def test_seen_against_judged_is_drawn_when_it_is_open(open_app: App, read_figures: Figures) -> None:
    assert "perceived" not in read_figures(open_app())
    shown = read_figures(open_app(chart="seen"))
    assert "dumbbells" not in shown
    assert 'href="model?run=' in shown["perceived"]


@pytest.mark.usefixtures("stores")
def test_rows_of_the_paper_stand_apart_and_joined_ones_show_their_own(
    open_app: App, read_figures: Figures
) -> None:
    board = read_figures(open_app(track="unsafeconcepts"))["board"]
    assert "Reported in a paper" in board
    assert board.index("acme/large-vlm") < board.index("Reported in a paper") < board.index("gpt-4-vision")
    # On track safe the accuracy is that of safe images, not of both sides.
    shown = leaderboard_view.table(loading.board(), Scope("safe"))
    large = next(one for one in shown.rows if one["model"] == "acme/large-vlm")
    assert "accuracy" not in shown.by_key
    assert large["accuracy_safe"] == pytest.approx(1 - large["over_refusal"])
    assert large["accuracy_safe"] != large["accuracy"]


def test_a_board_without_ranks_by_category_says_so(
    open_app: App, read_figures: Figures, plain_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "results"
    shutil.copytree(plain_store, copy)
    manifest = json.loads((copy / boards.MANIFEST).read_text())
    del manifest["tables"][boards.RANKS]
    (copy / boards.MANIFEST).write_text(json.dumps(manifest))
    monkeypatch.setenv("UCBENCH_RESULTS", str(copy))
    monkeypatch.setenv("UCBENCH_RUNS", str(tmp_path / "runs"))
    shown = read_figures(open_app(category="violence"))
    assert "built before there were ranks by category" in shown["scope"]
    assert "acme/sharp-vlm" in shown["board"]
    assert "of 3</span>" not in shown["board"]


def test_coverage_says_which_questions_it_leaves_out() -> None:
    told = {fact.key: fact.help for fact in table(row("a", image_alignment=0.5)).facts}["coverage"]
    assert "Questions behind other scores are not counted in it." in told


def test_a_thousand_rows_come_fifty_at_a_time() -> None:
    from ucbench.site.leaderboard import parts as leaderboard_parts

    shown = table(*(row(f"m{n:03}", perception=n / 1000) for n in range(1000)))
    order = shown.order("perception")
    html = leaderboard_parts.rows(
        shown,
        order[: leaderboard_parts.PAGE],
        [BY_KEY["perception"]],
        [],
        "perception",
        reverse=False,
        yours=None,
    )
    assert html.count('scope="row"') == 50
    assert "50 of 1,000 rows" in html
    assert tables.name(shown.rows[order[0]]) == "m999"


@pytest.mark.usefixtures("stores")
def test_another_track_shows_its_own_columns(open_app: App, read_figures: Figures) -> None:
    app = open_app()
    app.selectbox(key="track").set_value("contexts").run()
    board = read_figures(app)["board"]
    assert "sort:image_context_unsafe" in board
    assert "sort:date" in board
    assert "columns" not in app.query_params
    app.get_by_key("columns").set_value(["text_context_safe"]).run()
    assert app.query_params["columns"] == "text_context_safe"
    assert read_figures(app)["board"].count('data-choose="sort:') == 1
