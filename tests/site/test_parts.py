"""The pure parts of the site: figures as text, tables, charts, sorting, loading, questions."""

from __future__ import annotations

import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucbench import board as boards
from ucbench import format
from ucbench.errors import StoreError
from ucbench.runs import Run
from ucbench.site.columns import BY_KEY, columns_of, filled, ordered
from ucbench.site.concepts import data as concept_data
from ucbench.site.data import loading
from ucbench.site.data.loading import Stores
from ucbench.site.figures import charts, heat, tables
from ucbench.site.figures.charts import Dumbbell, Reading
from ucbench.site.figures.heat import HeatModel, HeatRow, HeatSection
from ucbench.site.figures.tables import Asked, Drawn
from ucbench.site.leaderboard import findings
from ucbench.site.leaderboard.view import Filters, Scope, Table
from ucbench.site.markdown import plain
from ucbench.site.track_views import view

COLUMNS = columns_of("pictograms")
GAP = view("pictograms")


def row(model: str, **cells: Any) -> dict[str, Any]:
    return {"run_id": model, "model": model, "provenance": "measured", "rank_low": 1, "rank_high": 1} | cells


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.874, ".87"), (1.0, "1.00"), (0.0, ".00"), (-0.04, "−.04"), (-0.001, ".00"), (0.999, "1.00"),
     (None, "–"), (float("nan"), "–")],
)  # fmt: skip
def test_fraction(value: float | None, text: str) -> None:
    assert format.fraction(value) == text


def test_signs_and_intervals() -> None:
    assert format.fraction(0.59, signed=True) == "+.59"
    assert format.interval(0.84, 0.9) == ".84–.90"
    assert format.interval(-0.04, 0.1, signed=True) == "−.04 to +.10"
    assert format.interval(None, 0.9) == ""
    assert format.rank(2, 2) == "2"
    assert format.rank(1, 3) == "1–3"
    assert format.rank(None, None) == "–"
    assert [format.seconds(s) for s in (48, 185, 7800)] == ["48 s", "3 min 05 s", "2 h 10 min"]
    assert format.short_revision("a" * 40) == "aaaaaaa"
    assert format.short_revision("sha256:1be90691209045b7") == "1be9069"
    assert format.short_revision("main") == "main"


def test_adapters_of_one_model_are_told_apart_everywhere() -> None:
    """Two versions of an adapter from folders of one name, their base, and the base with a system prompt."""
    base = row("acme/vlm", temperature=0.0, image_alignment=0.4, text_alignment=0.9)
    tuned = [
        base | {"run_id": digits, "adapter": f"local:ppo@sha256:{digits}", "trained_on": "pictograms/1/train"}
        for digits in ("16deeca7090dbca3", "26309e871b8001d8")
    ]
    asked_to_care = base | {"run_id": "care", "system_prompt": "Be careful."}
    rows = [base, *tuned, asked_to_care]
    names = ["acme/vlm", "acme/vlm + local:ppo@16deeca", "acme/vlm + local:ppo@26309e8"]
    assert [tables.name(line) for line in rows] == [*names, "acme/vlm"]
    assert [line.name for line in findings.lines(rows, GAP.charts[0])] == [*names, "acme/vlm"]
    assert len({(tables.name(line), tables.identity(line)) for line in rows}) == 4
    assert tables.identity(asked_to_care) == "greedy · system prompt “Be careful.”"
    other = tables.identity(base | {"system_prompt": "Be bold, and " * 9, "template": "llava_v1"})
    assert other == "greedy · system prompt “Be bold, and Be bold, and Be bold, and…” · template llava_v1"
    assert "trained on pictograms/1/train" in tables.identity(tuned[0])
    shown = tables.board(rows, COLUMNS[:2], Drawn(COLUMNS[0].key))
    assert all(name in shown for name in names)
    assert "All 3 models" in findings.gap_sentence(rows)
    assert len(set(concept_data.labels(rows).values())) == 4
    table = Table(Scope("pictograms"), rows, COLUMNS[:2])
    for search in ("ppo@16deeca", "16deeca7090dbca3"):
        assert table.select(Filters(search)).tolist() == [False, True, False, False]
    assert format.model_name("acme/vlm", "ppo") == "acme/vlm + ppo"


@given(st.floats(0, 1))
def test_a_fraction_reads_back_to_two_decimals(value: float) -> None:
    assert abs(float(format.fraction(value)) - value) <= 0.005 + 1e-9


class Tags(HTMLParser):
    """Collects the elements and attributes of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}


@given(st.text(alphabet="<>\"'&=/ abconerror{}()`", max_size=40))
def test_no_outside_text_becomes_markup(text: str) -> None:
    harmless = row(
        "plain", adapter="plain", revision="plain", dtype="plain", unranked="plain", temperature=0.0
    )
    hostile = row(text, adapter=text, revision=text, dtype=text, unranked=text, temperature=0.0)
    columns = COLUMNS[:2]

    def everything(name: str, line: dict[str, Any]) -> str:
        asked = Asked("perception", name, name or "x", "A", "B", (name,) * 4)
        return (
            tables.board([line], columns, Drawn(columns[0].key, caption=name, heads={0: name or "x"}))
            + tables.answers([asked])
            + tables.facts([(name or "x", name or "x")])
            + charts.dumbbells([Dumbbell(name, Reading(0.2), Reading(0.9), name)], axis=name, label=name)
            + heat.heat_map(
                [HeatSection(name, (HeatRow(name, name, (0.5, None)),), (0.5, None))],
                [HeatModel(1, name), HeatModel(2, name)], scale="image", title=name, unit=name,
            )
        )  # fmt: skip

    ours, theirs = Tags(everything("plain", harmless)), Tags(everything(text, hostile))
    assert theirs.seen <= ours.seen
    assert theirs.attributes <= ours.attributes


def test_sorting_puts_the_better_first_and_missing_values_last() -> None:
    rows = [
        row("low", perception=0.2, modality_gap=-0.1),
        row("none", perception=None),
        row("range", perception=None, perception_low=0.9, perception_high=1.0),
        row("high", perception=0.8, modality_gap=0.5),
        row("unranked", perception=1.0, rank_low=None),
    ]

    table = Table(Scope("pictograms"), rows, [BY_KEY["perception"], BY_KEY["modality_gap"]])

    def names(key: str, reverse: bool = False) -> list[str]:
        by_array = [str(rows[place]["model"]) for place in table.order(key, reverse=reverse)]
        assert by_array == [str(line["model"]) for line in ordered(rows, key, reverse=reverse)]
        return by_array

    assert names("perception") == ["high", "low", "range", "none", "unranked"]
    assert names("perception", reverse=True) == ["low", "high", "range", "none", "unranked"]
    # A gap is best near zero, whichever sign it has.
    assert names("modality_gap")[:2] == ["low", "high"]


def test_columns_without_a_figure_are_left_out() -> None:
    rows = [row("a", perception=0.5), row("b", text_alignment=None, text_alignment_low=0.1)]
    assert [column.key for column in filled(COLUMNS, rows)] == ["perception", "text_alignment"]


def test_board_marks_the_best_group_and_rules_off_the_unranked() -> None:
    rows = [
        row("a", rank_high=2, ranked_among=3, perception=0.9, perception_low=0.8, perception_high=0.95),
        row("b", rank_low=3, rank_high=3, ranked_among=3, perception=0.1),
        row("c", rank_low=None, rank_high=None, unranked="partial run of 40 samples"),
    ]
    html = tables.board(rows, (BY_KEY["perception"],), Drawn("perception", caption="all"))
    first, second, third = html.split("<tr ")[2:]
    assert "best" in first
    assert "1–2" in first
    assert ".80–.95" in first
    assert "best" not in second
    assert "split" in second
    assert "not ranked: partial run of 40 samples" in third
    assert 'aria-sort="descending"' in html


def test_dumbbell_draws_gap_interval_and_range() -> None:
    full = charts.dumbbells(
        [Dumbbell("m", Reading(0.38, 0.3, 0.46), Reading(0.97, 0.95, 0.99))], axis="share", label="l"
    )
    assert "left:38.00%" in full
    assert 'class="join" style="left:38.00%;width:59.00%"' in full
    assert "+.59" in full
    assert "as image .38 (.30–.46), in words .97 (.95–.99)" in full
    ranged = charts.dumbbells([Dumbbell("m", Reading(None, 0.14, 0.7), Reading(0.9))], axis="s", label="l")
    assert 'class="range image" style="left:14.00%;width:56.00%"' in ranged
    assert "join" not in ranged


def test_heat_map_tints_by_value_and_by_the_side_of_a_gap() -> None:
    assert "var(--image) 55%" in heat.tint(1.0, "image")
    assert "var(--text) 28%" in heat.tint(0.5, "gap")
    assert "var(--image) 28%" in heat.tint(-0.5, "gap")
    assert heat.tint(None, "ink") == "--cell:transparent"


@pytest.mark.parametrize(
    ("label", "expected", "words"),
    [("Unsafe", "Unsafe", ["judged unsafe"]), ("Safe", "Unsafe", ["judged safe", "expected unsafe"]),
     ("N/A", "Unsafe", ["no answer"]), ("B", "B", ["chose B, right"]),
     ("C", "B", ["chose C, wrong", "right is B"]),
     ("Correct", "blue", ["correct"]), ("Wrong", "blue", ["wrong", "right is blue"]),
     (tables.UNJUDGED, "", ["not judged"]), (None, "Safe", ["system error: timeout"])],
)  # fmt: skip
def test_a_verdict_has_word_and_shape(label: str | None, expected: str, words: list[str]) -> None:
    asked = Asked("k", "q", "a", label, expected, error=None if label else "timeout")
    html = tables.verdict(asked)
    assert "<svg" in html
    assert all(word in html for word in words)


def test_verdicts_differ_in_shape() -> None:
    shapes = {
        tables.verdict(Asked("k", "q", "a", label, "")).split("<svg")[1].split("</svg>")[0]
        for label in ("Safe", "Unsafe", "N/A")
    }
    assert len(shapes) == 3


def test_findings_speak_of_one_and_of_several_models() -> None:
    tiny = row("tiny", perception=0.99, image_alignment=0.38, text_alignment=0.97)
    other = row("other", image_alignment=0.9, text_alignment=0.8, rank_low=2)
    one = findings.gap_sentence([tiny])
    assert all(part in one for part in ("tiny", ".99", ".38", ".97"))
    several = findings.gap_sentence([tiny, other])
    assert "1 of 2 models" in several
    assert "leads the board" in several
    sampled = tiny | {"run_id": "sampled", "temperature": 1.0, "text_alignment": 0.5}
    # A model counts once, by its first run, and is said to be that one.
    again = findings.gap_sentence([tiny | {"temperature": 0.0}, sampled])
    assert again.replace("tiny (greedy)", "tiny") == one
    both = findings.gap_sentence([tiny | {"temperature": 0.0}, sampled, other])
    assert "1 of 2 models" in both
    assert "tiny (greedy)</span> goes from" in both
    assert findings.gap_sentence([row("nothing")]) == ""


def test_runs_of_one_model_are_told_apart_by_what_they_do_not_share() -> None:
    greedy = row("m", run_id="1111111aaa", dtype="float32", temperature=0.0)
    sampled, asked = greedy | {"temperature": 1.0}, greedy | {"system_prompt": "Be careful."}
    assert findings.apart([greedy, row("other"), sampled]) == ["greedy", "", "temperature 1"]
    assert findings.apart([greedy, asked]) == ["greedy", "system prompt “Be careful.”"]
    assert findings.apart([greedy, greedy | {"run_id": "2222222bbb"}]) == [
        "greedy · run 1111111", "greedy · run 2222222",
    ]  # fmt: skip
    assert [line["run_id"] for line in findings.speaking([sampled, greedy, row("other")])] == [
        "1111111aaa", "other",
    ]  # fmt: skip


def test_what_cannot_be_ranked_has_no_say_in_the_finding() -> None:
    scores = {"image_alignment": 0.4, "text_alignment": 0.9, "rank_low": None}
    whole = row("whole", status="complete", image_alignment=0.5, text_alignment=0.9)
    aside = [
        row("cut", status="partial", unranked="partial run of 2 samples", **scores),
        row("failed", status="incomplete", unranked="more than 1% of the answers failed", **scores),
        row("train", status="complete", unranked="asked on the training split", **scores),
        row("fresh", status="complete", unranked="fresh draw 3, not the board's own images", **scores),
    ]
    assert findings.gap_sentence([whole, *aside]) == findings.gap_sentence([whole])
    # Nor do their figures pass for figures of the paper.
    assert findings.gap_sentence(aside) == ""
    paper = row("paper", provenance="reported", unranked="reported, not measured here", **scores)
    assert findings.gap_sentence([*aside, paper]) == findings.gap_sentence([paper])


def test_runs_in_part_are_drawn_only_where_nothing_is_whole() -> None:
    scores = {"image_alignment": 0.4, "text_alignment": 0.9}
    whole = row("whole", status="complete", **scores)
    train = row("train", status="complete", unranked="asked on the training split", **scores)
    part = row("cut", status="partial", dtype="float32", unranked="partial run of 2 samples", **scores)
    paper = row("paper", provenance="reported", status="complete", unranked="reported", **scores)
    lines = findings.lines([whole, part, train], GAP.charts[0])
    assert [(line.name, line.note) for line in lines] == [
        ("whole", ""), ("train", "asked on the training split"),
    ]  # fmt: skip
    lines = findings.lines([part, paper], GAP.charts[0])
    assert [(line.name, line.note) for line in lines] == [
        ("cut", "float32 · partial run of 2 samples"), ("paper", "reported"),
    ]  # fmt: skip


def test_rows_with_the_same_reported_ranges_share_a_line() -> None:
    ranges = {
        "provenance": "reported", "image_alignment_low": 0.14, "image_alignment_high": 0.7,
        "text_alignment_low": 0.81, "text_alignment_high": 0.95,
    }  # fmt: skip
    rows = [row("a", **ranges), row("b", **ranges), row("c", **ranges, image_alignment=0.37)]
    lines = findings.lines(rows, GAP.charts[0])
    assert [line.name for line in lines] == ["2 models", "c"]


def test_a_run_is_looked_for_within_the_stores_only(site_store: Path, tmp_path: Path) -> None:
    stores = Stores(site_store, tmp_path / "runs")
    record = next(site_store.glob("*/*/record.json"))
    entry, run_id = record.parent.parent.name, record.parent.name
    assert stores.run(entry, run_id) is not None
    assert stores.run(f"../{site_store.name}/{entry}", run_id) is not None  # leads back in
    inside, outside = tmp_path / "store", tmp_path / "other" / "run"
    inside.mkdir()
    shutil.copytree(record.parent, outside)
    assert Run(inside / "../other/run").exists()
    assert Stores(inside, inside).run("../other", "run") is None


def models(board: loading.LoadedBoard) -> set[str]:
    return {str(line["model"]) for line in board.rows}


@pytest.fixture
def with_own_runs(
    plain_store: Path, own_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """The site pointed at copies of the published results and of a store of one's own."""
    results, runs = tmp_path / "results", tmp_path / "runs"
    shutil.copytree(plain_store, results)
    shutil.copytree(own_runs, runs)
    monkeypatch.setenv("UCBENCH_RESULTS", str(results))
    monkeypatch.setenv("UCBENCH_RUNS", str(runs))
    return results, runs


def test_a_board_of_own_runs_alone_does_not_hide_the_results(with_own_runs: tuple[Path, Path]) -> None:
    results, runs = with_own_runs
    before = (runs / "manifest.json").read_bytes()
    shown = loading.board()
    assert {"acme/mine", "acme/sharp-vlm", "gpt-4-vision-preview"} <= models(shown)
    assert shown.note == ""
    assert loading.board() is shown
    assert (runs / "manifest.json").read_bytes() == before
    # The board in memory and the same board in the folder are one and the same.
    boards.build([results, runs], runs)
    from_disk = loading.board()
    assert from_disk is not shown
    assert loading.public_rows(from_disk.rows) == loading.public_rows(shown.rows)
    runs = [str(row["run_id"]) for row in shown.rows]
    assert from_disk.breakdowns.runs_by_concept() == shown.breakdowns.runs_by_concept()
    for key in shown.breakdowns.keys("concept"):
        old, new = (board.matrix("concept", key, runs) for board in (shown, from_disk))
        assert new.ids == old.ids
        np.testing.assert_array_equal(new.low, old.low)
    # A run that came later makes that board a stale one.
    shutil.rmtree(next(results.glob("acme-sharp-vlm/*")))
    assert "acme/sharp-vlm" not in models(loading.board())


def test_a_current_board_that_is_cut_is_made_anew_in_memory(with_own_runs: tuple[Path, Path]) -> None:
    results, runs = with_own_runs
    boards.build([results, runs], runs)
    (runs / "board.parquet").write_bytes(b"cut")
    assert {"acme/mine", "acme/sharp-vlm"} <= models(loading.board())


def test_a_manifest_without_runs_hides_nothing(with_own_runs: tuple[Path, Path]) -> None:
    _, runs = with_own_runs
    for folder in runs.iterdir():
        if folder.is_dir():
            shutil.rmtree(folder)
    assert "acme/sharp-vlm" in models(loading.board())


def test_damaged_own_runs_leave_the_results_and_a_note(with_own_runs: tuple[Path, Path]) -> None:
    results, runs = with_own_runs
    next(runs.glob("*/*/record.json")).write_text("{}")
    shown = loading.board()
    assert "acme/sharp-vlm" in models(shown)
    assert "acme/mine" not in models(shown)
    assert shown.note.startswith("Your own runs are not shown, because a run in results/ or runs/ is damaged")
    (results / "manifest.json").unlink()
    with pytest.raises(StoreError, match="Your own runs are not shown"):
        loading.board()


@pytest.mark.usefixtures("stores")
def test_a_board_built_anew_is_read_anew(site_store: Path) -> None:
    board = loading.board()
    assert loading.board() is board
    manifest = site_store / "manifest.json"
    before = manifest.read_text()
    try:
        manifest.write_text(before + "\n")
        assert loading.board() is not board
    finally:
        manifest.write_text(before)


@pytest.mark.parametrize("host", ["no such host.invalid", "203.0.113.7"])
def test_an_address_that_cannot_be_served_is_one_sentence(host: str, tmp_path: Path) -> None:
    # In a process of its own: a server leaves its settings behind.
    command = (
        "from ucbench.errors import UcbenchError\nfrom ucbench.site.serving import server\n"
        f"try:\n    server.serve(8655, {host!r})\nexcept UcbenchError as error:\n    print('said:', error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert f"said: cannot serve the site at {host}:8655: " in done.stdout
    assert "Traceback" not in done.stderr


@given(st.text(max_size=60))
def test_plain_text_holds_no_markdown(text: str) -> None:
    shown = plain(text)
    assert shown.replace("\\", "") == text.replace("\\", "")
    assert not any(f"]{c}" in shown for c in "([")
