"""Each page under AppTest: choices, filters, empty and damaged boards."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

App = Callable[..., Any]
Figures = Callable[[Any], dict[str, str]]


@pytest.mark.usefixtures("stores")
def test_the_leaderboard_shows_every_row_of_the_track(open_app: App, read_figures: Figures) -> None:
    app = open_app()
    board = read_figures(app)["board"]
    for model in ("acme/sharp-vlm", "acme/fair-vlm", "acme/shy-vlm"):
        assert model in board
    assert "llava" not in board
    assert "more strictly" in read_figures(app)["finding"]


@pytest.fixture
def reported_only(reported_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UCBENCH_RESULTS", str(reported_store))
    monkeypatch.setenv("UCBENCH_RUNS", str(tmp_path / "runs"))


@pytest.mark.usefixtures("reported_only")
def test_reported_rows_are_italic_and_never_ranked(open_app: App, read_figures: Figures) -> None:
    app = open_app(track="unsafeconcepts")
    board = read_figures(app)["board"]
    assert board.count("<tr ") - 1 == board.count('class="reported"') == 11
    assert ".14–.70" in board
    assert "that the paper reports" in read_figures(app)["finding"]


@pytest.mark.usefixtures("stores")
def test_search_and_sort_change_the_board_and_the_address(open_app: App, read_figures: Figures) -> None:
    app = open_app()
    app.text_input(key="text:q").set_value("ACME fair").run()
    board = read_figures(app)["board"]
    assert "acme/fair-vlm" in board
    assert "acme/sharp-vlm" not in board
    app.selectbox(key="sort").set_value("perception").run()
    assert app.query_params["sort"] == "perception"
    app.text_input(key="text:q").set_value("nobody").run()
    assert "board" not in read_figures(app)
    assert "No model fits" in app.info[0].value


@pytest.mark.usefixtures("stores")
def test_coverage_filter_drops_the_model_that_declines(open_app: App, read_figures: Figures) -> None:
    app = open_app()
    app.slider(key="coverage").set_value(0.5).run()
    board = read_figures(app)["board"]
    assert "acme/sharp-vlm" in board
    assert "acme/shy-vlm" not in board


@pytest.mark.usefixtures("stores")
def test_an_unknown_value_in_the_address_counts_as_the_default(open_app: App) -> None:
    app = open_app(track="<script>", sort="nothing")
    assert app.session_state["track"] == "pictograms"
    assert "track" not in app.query_params
    assert "sort" not in app.query_params


@pytest.mark.usefixtures("stores")
def test_a_hostile_name_is_escaped_on_every_page(open_app: App, read_figures: Figures) -> None:
    for page, query in ((None, {}), ("app_pages/concepts.py", {"concept": "arson"})):
        app = open_app(page, **query)
        html = "".join(read_figures(app).values())
        assert "&lt;script&gt;" in html
        assert "<script" not in html
        # The only pictures are the emblems, which stand in the page itself.
        assert html.count("<img") == html.count('<img src="data:image/png;base64,')
        # Markdown would load the picture in the name.
        assert not any("evil.example" in element.value for element in (*app.markdown, *app.caption))


@pytest.mark.usefixtures("stores")
def test_a_concept_in_the_address_opens_with_its_answers(open_app: App, read_figures: Figures) -> None:
    app = open_app("app_pages/concepts.py", concept="gun-violence")
    assert any(heading.value == "Gun violence" for heading in app.header)
    shown = read_figures(app)
    # One answer on what is seen, three on the image, two in words, of the model that fails most.
    assert shown["why"].count('class="read"') == 6
    assert "If an image shows Gun violence" in shown["why"]
    assert "expected unsafe" in shown["why"]
    assert 'class="chosen"' in shown["heat"]


@pytest.mark.usefixtures("stores")
def test_category_filter_and_held_out_mark(open_app: App, read_figures: Figures) -> None:
    app = open_app("app_pages/concepts.py", category="hate", concept="celtic-cross")
    heat = read_figures(app)["heat"]
    assert heat.count("<section>") == 1
    assert "held out" in heat
    assert "Held out" in read_figures(app)["concept_facts"]


@pytest.mark.usefixtures("reported_only")
def test_a_track_without_scores_by_concept_says_so(open_app: App, read_figures: Figures) -> None:
    app = open_app("app_pages/concepts.py", track="unsafeconcepts")
    assert "No scores by concept" in app.info[0].value
    assert "heat" not in read_figures(app)


def test_without_a_board_every_page_works(
    open_app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UCBENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("UCBENCH_RUNS", str(tmp_path / "runs"))
    for page in (None, "app_pages/concepts.py"):
        app = open_app(page)
        assert "There is no board in results/ yet" in app.warning[0].value
    for page in ("app_pages/try_a_model.py", "app_pages/about.py"):
        assert not open_app(page).warning


@pytest.mark.parametrize("name", ["board.parquet", "breakdowns.parquet", "manifest.json"])
def test_a_damaged_board_is_one_sentence(
    open_app: App, plain_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    copy = tmp_path / "results"
    shutil.copytree(plain_store, copy)
    (copy / name).write_bytes(b"not what it was")
    monkeypatch.setenv("UCBENCH_RESULTS", str(copy))
    monkeypatch.setenv("UCBENCH_RUNS", str(tmp_path / "runs"))
    app = open_app()
    assert [warning.value for warning in app.warning] == [
        "The board in results/ is damaged; make it anew with `ucbench board build`."
    ]


def rename_a_column(table: Any) -> Any:
    return table.rename_columns(["x" if name == "status" else name for name in table.column_names])


def scores_as_text(table: Any) -> Any:
    import pyarrow as pa

    place = table.column_names.index("image_alignment")
    return table.set_column(place, "image_alignment", pa.array(["high"] * len(table)))


@pytest.mark.parametrize("spoil", [rename_a_column, scores_as_text])
def test_a_board_of_other_columns_is_one_sentence(
    open_app: App,
    plain_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[..., Any],
) -> None:
    import pyarrow.parquet as pq

    copy = tmp_path / "results"
    shutil.copytree(plain_store, copy)
    pq.write_table(spoil(pq.read_table(copy / "board.parquet")), copy / "board.parquet")
    monkeypatch.setenv("UCBENCH_RESULTS", str(copy))
    monkeypatch.setenv("UCBENCH_RUNS", str(tmp_path / "runs"))
    for page in (None, "app_pages/concepts.py"):
        assert [warning.value for warning in open_app(page).warning] == [
            "The board in results/ is damaged; make it anew with `ucbench board build`."
        ]


def test_damaged_own_runs_are_told_above_the_results(
    open_app: App, read_figures: Figures, plain_store: Path, own_runs: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    copy = tmp_path / "runs"
    shutil.copytree(own_runs, copy)
    monkeypatch.setenv("UCBENCH_RESULTS", str(plain_store))
    monkeypatch.setenv("UCBENCH_RUNS", str(copy))
    app = open_app()
    assert not app.warning
    board = read_figures(app)["board"]
    assert "acme/mine" in board
    assert "acme/sharp-vlm" in board
    next(copy.glob("*/*/record.json")).write_text("{}")
    app = open_app()
    assert len(app.warning) == 1
    assert "Your own runs are not shown" in app.warning[0].value
    assert "acme/sharp-vlm" in read_figures(app)["board"]


@pytest.mark.usefixtures("stores")
def test_a_fault_of_ours_is_a_sentence_and_a_line_in_the_log(
    open_app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = open_app()

    def broken(_: object) -> str:
        raise ZeroDivisionError("nobody thought of this")

    monkeypatch.setattr("ucbench.site.leaderboard.charts.finding", broken)
    app.run()
    assert not app.exception
    assert [error.value for error in app.error] == [
        "This page met an error of ours. Load it again; the other pages work."
    ]
    assert any(record.exc_info and "a page failed" in record.message for record in caplog.records)


def test_answers_that_are_damaged_leave_the_scores(
    open_app: App, read_figures: Figures, plain_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "results"
    shutil.copytree(plain_store, copy)
    for path in copy.rglob("answers.parquet"):
        path.write_bytes(b"cut")
    monkeypatch.setenv("UCBENCH_RESULTS", str(copy))
    monkeypatch.setenv("UCBENCH_RUNS", str(tmp_path / "runs"))
    app = open_app("app_pages/concepts.py", concept="arson")
    assert "is damaged" in app.warning[0].value
    assert "heat" in read_figures(app)
