"""The page of a model: its head, its scores, the runs beside it, its evidence, its record, its files."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from playwright.sync_api import expect

from ucbench.runs import Run
from ucbench.site.data import board as board_data
from ucbench.site.data import loading, run_files
from ucbench.site.data import run as run_data
from ucbench.site.figures import score_table, tables
from ucbench.site.figures.charts import Reading
from ucbench.site.model import record as model_record
from ucbench.site.model import runs as model_runs
from ucbench.site.model import scores as model_scores
from ucbench.site.model import view as model_view
from ucbench.site.model.scores import ByConcept
from ucbench.tracks.about import TEST_SPLIT
from ucbench.withheld import MARKER

App = Callable[..., Any]
Figures = Callable[[Any], dict[str, str]]
PAGE = "app_pages/model.py"
HOSTILE = "<script>x</script>"


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


@pytest.fixture
def page(open_app: App, read_figures: Figures, board: loading.LoadedBoard) -> Callable[[str, str], Any]:
    """page(track, model): what the parts of that row's page say, by key; warnings, and the command."""

    def opened(track: str, model: str) -> dict[str, str]:
        app = open_app(PAGE, run=row(board, track, model)["run_id"])
        found = {key: words(html) for key, html in read_figures(app).items()}
        found["warnings"] = " ".join(warning.value for warning in app.warning)
        return found | {"command": " ".join(code.value for code in app.code)}

    return opened


def line(model: str, **cells: Any) -> dict[str, Any]:
    return {"run_id": model, "model": model, "track": "pictograms", "provenance": "measured"} | cells


# --- the evidence, run by run ---


def test_a_joined_row(page: Any) -> None:
    said = page("unsafeconcepts", "acme/large-vlm")
    for name, questions in (
        ("UnsafeConcepts", "1,275"), ("Harmless pictures", "200"), ("MME", "24"), ("LLaVABench", "9"),
    ):  # fmt: skip
        assert f"{name} Questions {questions} With a verdict {questions} (all)" in said["outcomes"]
    assert "over-refusal comes from Harmless pictures" in said["scores"]
    assert "general ability is the mean of MME and LLaVABench" in said["scores"]
    assert re.search(r"Over-refusal Value \.\d\d 95% interval \.\d\d–\.\d\d Answers 200", said["scores"])
    assert re.match(r"acme/large-vlm measured 0000000 · float32 · greedy · \d+ \w+ 20\d\d Rank", said["head"])
    assert re.match(
        r"Names \.\d\d of the concepts it is shown and calls \.\d\d of the unsafe", said["finding"]
    )
    assert said["by_category"].count("gap") >= 9
    assert said["by_concept"].count("answers") == 25
    assert "Concepts 1–25 of 75" in said["pager_concepts"]
    assert "Not measured for this run" in said["parity"]
    assert "--track unsafeconcepts --data PICTURES --allow-incomplete --split all" in said["command"]
    assert said["warnings"] == ""


def test_the_page_of_a_run_that_joined_is_that_of_its_row(
    open_app: App, read_figures: Figures, board: loading.LoadedBoard
) -> None:
    large = row(board, "unsafeconcepts", "acme/large-vlm")
    joined = board_data.joined_runs(large)["safe"]
    assert "Harmless pictures" in read_figures(open_app(PAGE, run=joined))["outcomes"]


def test_who_reads_the_answers(page: Any) -> None:
    said = page("unsafeconcepts", "acme/small-vlm")["judge_unsafeconcepts"]
    assert "read by the judge rules-1" in said
    assert "the judge contains-1 Same label" in said
    assert "2 people, models like this one Same label" in said
    assert "2 people, all models Same label" in said
    assert "judge_smid" not in page("smid", "acme/large-vlm")


def test_a_guard_on_the_test_split(page: Any) -> None:
    said = page("unsafeconcepts@test", "acme/picture-guard")
    assert TEST_SPLIT in said["facts"]
    assert "its verdict on a picture stands for all safety questions about it" in said["facts"]
    # Of 75 pictures and 75 concepts in words, not of all the pictures that it was asked about.
    assert "UnsafeConcepts Questions 750" in said["outcomes"]
    assert "Guard's verdicts behind them 150" in said["outcomes"]
    assert "parity" not in said
    assert "--guard llama-guard-3-vision" in said["command"]


def test_a_service(page: Any) -> None:
    said = page("nsfw", "endpoint:served-vlm")
    assert "Refused by the provider 2 (.06)" in said["outcomes"]
    assert "System errors 0" in said["outcomes"]
    assert re.search(r"Tokens \d+ in, \d+ out", said["facts"])
    assert "at 2500 a million tokens in and 10000 out" in said["facts"]
    assert "How asked by a service" in said["facts"]
    assert "requests were made again" not in said["notes"]
    assert "parity" not in said
    assert said["command"].startswith("ucbench evaluate --endpoint URL --model served-vlm --track nsfw")
    assert "URL is the address" in said["needs"]


def test_imported_answers(page: Any) -> None:
    said = page("unsafeconcepts", "acme/saved-vlm")
    assert "imported: answered elsewhere and saved, judged and scored here" in said["facts"]
    assert "https://example.org/answers" in said["facts"]
    assert "greedy" not in said["facts"]
    assert "With a verdict 1,272 (over .99)" in said["outcomes"]
    assert "System errors 3 (under .01): missing 3" in said["outcomes"]
    assert "1,272 saved answers read for 1,275 questions" in said["notes"]
    assert said["command"].startswith("ucbench import-answers answers.parquet --model acme/saved-vlm")


def test_fast_against_slow(page: Any) -> None:
    said = page("smid", "embedded:tiny-vlm")["parity"]
    for way in ("one at a time", "in batches", "picture and prompt shared"):
        assert re.search(rf"{way} Time [\d.]+ s", said)
    assert said.count("Same tokens 1.00 Verdicts flipped 0 of 4 Largest score change none") == 2
    assert "4 questions about 4 pictures in float32" in said
    assert "This run was asked picture and prompt shared." in said


def test_what_is_damaged_is_told_beside_what_is_not(
    page: Any, site_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(site_store, copy)
    monkeypatch.setenv("UCBENCH_RESULTS", str(copy))
    next(copy.glob("embedded-*/*/parity.json")).write_text("{}")
    (report,) = copy.glob("audits/*/report.json")
    report.write_text(json.dumps({"runs": ["x"]} | {"judge": []}))
    said = page("smid", "embedded:tiny-vlm")
    assert "measure it again with `ucbench parity`" in said["warnings"]
    assert "scores" in said
    report.write_text("[")
    assert f"The audit in copy/audits/{report.parent.name} is damaged" in page("smid", "acme/large-vlm")[
        "warnings"
    ]  # fmt: skip


# --- the aligned model, and figures of others ---


def test_an_aligned_model_stands_beside_its_base(page: Any) -> None:
    said = page("unsafeconcepts", "acme/small-vlm + local:ppo@0123456")
    changed = said["alignment"]
    assert changed.startswith("Before is acme/small-vlm , asked the same questions.")
    assert re.search(
        r"Image alignment Before \.\d\d After \.\d\d \+\.\d\d \+\.\d\d to \+\.\d\d separable", changed
    )
    # The base was asked everything, the aligned model the test split: that is what counts.
    assert "Both were asked 825 questions of UnsafeConcepts" in changed
    assert "Concepts whose images are judged most differently" in changed
    assert "adapter" not in page("unsafeconcepts", "acme/small-vlm").get("alignment", "")
    assert "adapter local:ppo@0123456" in page("unsafeconcepts", "acme/small-vlm")["runs"]


def test_reported_figures_have_few_of_these(page: Any, open_app: App, board: loading.LoadedBoard) -> None:
    said = page("unsafeconcepts", "liuhaotian/llava-v1.5-7b + ppo")
    assert not {"outcomes", "by_concept", "by_category", "parity"} & said.keys()
    assert "Coverage" not in said["scores"]
    assert "a paired comparison needs the answers behind them" in said["alignment"]
    assert "General ability Before .71 After .69" in said["alignment"]
    assert "arXiv 2507.11155" in said["source"]
    assert said["command"] == ""
    app = open_app(PAGE, run=row(board, "unsafeconcepts", "liuhaotian/llava-v1.5-7b")["run_id"])
    assert "taken from a paper" in app.info[0].value


@pytest.mark.usefixtures("stores")
def test_an_unknown_run_leads_to_a_search(open_app: App, read_figures: Figures) -> None:
    app = open_app(PAGE, run="nothing")
    assert "no run of this id" in app.info[0].value
    assert "embedded:tiny-vlm" in read_figures(app)["found"]
    app.text_input(key="text:q").set_value("LARGE acme").run()
    assert read_figures(app)["found"].count("<li>") == 5  # a track each
    app.text_input(key="text:q").set_value("nobody").run()
    assert "No model fits" in app.info[1].value
    assert not open_app(PAGE).info


@pytest.mark.usefixtures("stores")
def test_order_and_page_of_the_concepts_live_in_the_address(
    open_app: App, read_figures: Figures, board: loading.LoadedBoard
) -> None:
    run_id = row(board, "pictograms", "acme/fair-vlm")["run_id"]
    first = read_figures(open_app(PAGE, run=run_id))["by_concept"]
    app = open_app(PAGE, run=run_id, sort="modality_gap")
    app.query_params["page"] = "3"
    app.run()
    last = read_figures(app)["by_concept"]
    told = re.findall(r'class="">([^<]+)</span></td><td role="cell" class="aside"', last)
    gaps = [abs(float(gap.replace("−", "-"))) for gap in told]
    assert len(gaps) == 25
    assert first != last
    assert gaps == sorted(gaps, reverse=True)
    assert 'data-go="answers?run=' in last
    assert app.query_params["sort"] == "modality_gap"
    assert "sort" not in open_app(PAGE, run=run_id, sort="nothing").query_params


def test_a_hostile_name_stays_text(open_app: App, read_figures: Figures, board: loading.LoadedBoard) -> None:
    (hostile,) = (row for row in board.rows if "<script>" in row["model"])
    app = open_app(PAGE, run=hostile["run_id"])
    html = "".join(read_figures(app).values())
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    assert "<img" not in html
    assert not any("evil.example" in element.value for element in (*app.markdown, *app.caption, *app.title))


# --- files ---


def test_published_answers_go_home_without_what_was_taken_down(
    board: loading.LoadedBoard, stores: Path
) -> None:
    part = run_data.parts(row(board, "pictograms", "acme/fair-vlm"))[0]
    found = {file.label: file for file in run_files.files_of(part)}
    assert list(found) == ["record.json", "answers.parquet", "verdicts of rules-1"]
    assert json.loads(found["record.json"].make())["run_id"] == part.run.run_id
    whole = found["answers.parquet"].make()
    assert whole == (part.run.folder / "answers.parquet").read_bytes()
    assert "image" not in pq.read_schema(part.run.folder / "answers.parquet").names
    sample = part.run.answers()["sample_id"].iloc[0]
    takedown = stores / "takedown.json"
    takedown.write_text(json.dumps({"items": [{"sample_id": sample}]}))
    try:
        cut = stores.parent / "cut" / part.run.run_id
        cut.mkdir(parents=True)
        (cut / "answers.parquet").write_bytes(found["answers.parquet"].make())
        answers = Run(cut).answers()
    finally:
        takedown.unlink()
    mine = answers["sample_id"] == sample
    assert set(answers.loc[mine, "text"]) == set(answers.loc[mine, "prompt"]) == {MARKER}
    assert MARKER not in set(answers.loc[~mine, "text"])


def test_answers_that_nobody_published_stay_where_they_are(
    own_runs: Path, plain_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UCBENCH_RESULTS", str(plain_store))
    monkeypatch.setenv("UCBENCH_RUNS", str(own_runs))
    (mine,) = (row for row in loading.board().rows if row["model"] == "acme/mine")
    assert [file.label for file in run_files.files_of(run_data.parts(mine)[0])] == ["record.json"]


# --- the parts as pure functions ---


def test_a_sentence_says_what_is_known() -> None:
    whole = line("a", perception=0.98, image_alignment=0.38, text_alignment=0.95, over_refusal=0.1)
    assert words(model_view.sentence(whole)) == (
        "Names .98 of the concepts it is shown and calls .62 of the unsafe images safe; said in words, it "
        "objects to .95 . It calls .10 of the safe images unsafe."
    )
    assert words(model_view.sentence(line("a", text_alignment=0.95))) == (
        "Told in words, it objects to .95 of the concepts."
    )
    assert model_view.sentence(line("a")) == ""
    assert "of the yes/no questions" in model_view.sentence(line("a", track="mme", mme=0.5))


def test_what_differs_between_two_runs() -> None:
    one = line("a", revision="a" * 40, dtype="float32", temperature=0.0, system_prompt=None)
    assert model_runs.what_differs(one, one) == "run again"
    other = one | {"revision": "b" * 40, "temperature": 0.7, "system_prompt": "Be careful.", "dtype": None}
    assert model_runs.what_differs(one, other) == (
        "revision bbbbbbb; no number format; temperature 0.7; with another system prompt"
    )


def test_the_hardest_come_first_and_the_unknown_last() -> None:
    def concept(name: str, image: float | None, gap: float | None) -> ByConcept:
        return ByConcept(name, name, "c", (Reading(image), Reading(gap)))

    found = [
        concept("a", 0.5, -0.9),
        concept("b", None, None),
        concept("c", 0.1, 0.2),
        concept("d", 0.5, 0.1),
    ]

    def names(place: int, key: str) -> str:
        return "".join(one.id for one in model_scores.hardest_first(found, place, key))

    assert names(0, "image_alignment") == "cadb"
    assert names(1, "modality_gap") == "acdb"


def test_no_outside_text_becomes_markup() -> None:
    texts = ("track", "adapter", "unranked", "provenance", "judge", "revision", "source")
    hostile = line(HOSTILE, image_alignment=0.5, **dict.fromkeys(texts, HOSTILE))
    twin = hostile | {"run_id": HOSTILE + "2", "judge": HOSTILE + "2"}
    pair = score_table.Pair(HOSTILE, Reading(0.1), Reading(0.2), group=HOSTILE, key="perception")
    for html in (
        model_view.heading(hostile),
        model_runs.runs_table(hostile, [twin]),
        model_view.listed([hostile]),
        tables.facts(model_record.facts(hostile, None)),
        score_table.differences([pair], heads=(HOSTILE,) * 3, caption=HOSTILE, end=1.0),
        score_table.side_by_side([("perception", [Reading(0.1)])], heads=[HOSTILE], caption=HOSTILE),
        score_table.scores([score_table.Line("perception", Reading(0.1))], caption=HOSTILE),
        score_table.concepts([], heads=[HOSTILE] * 5, ends=("image", "text"), caption=HOSTILE),
    ):
        assert "<script" not in html
        assert "&lt;script&gt;" in html


# --- in a browser ---


@pytest.mark.browser
@pytest.mark.xdist_group("browser")
@pytest.mark.timeout(900)
def test_from_the_board_to_a_model_and_to_its_record(
    visit: Callable[..., Any], eventually: Callable[..., None]
) -> None:
    shown = visit("/?track=unsafeconcepts")
    shown.get_by_role("link", name="acme/large-vlm", exact=True).first.click()
    expect(shown).to_have_url(re.compile(r"/model\?run=[0-9a-f]{16}$"))
    expect(shown.locator("h1")).to_have_text("acme/large-vlm")
    expect(shown).to_have_title(re.compile("^acme/large-vlm"))
    expect(shown.get_by_role("heading", name="Reproduce it")).to_be_visible()
    shown.set_viewport_size({"width": 390, "height": 900})
    expect(shown.locator(".scores tbody tr").first).to_have_css("display", "grid")

    def fits() -> None:
        ends = shown.locator(".scores, .by-concept, .grid, dl, .dumbbells").evaluate_all(
            "found => found.map(e => e.getBoundingClientRect().right)"
        )
        assert ends
        assert max(ends) <= 390

    eventually(fits)
    with shown.expect_download() as download:
        shown.get_by_role("button", name="record.json").last.click()
    assert download.value.suggested_filename.endswith(".json")
