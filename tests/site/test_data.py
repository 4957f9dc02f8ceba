"""Boards as columns, and what a page shows as a file."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucbench import board as boards
from ucbench.errors import StoreError
from ucbench.site import downloads
from ucbench.site.data import loading
from ucbench.site.data.board import Breakdowns, LoadedBoard

WHEN = datetime(2026, 3, 4, tzinfo=UTC)
ROWS: list[dict[str, Any]] = [
    {"model": "=HYPERLINK(1)", "score": 0.1 + 0.2, "gap": -0.25, "at": WHEN, "n": 3, "note": None},
    {"model": 'ä\n"b", c', "score": float("nan"), "gap": 0.5, "at": WHEN, "n": None, "note": "-x"},
]


def line(run: str, group: str, place: str, key: str, value: float | None) -> dict[str, Any]:
    return {"run_id": run, "group": group, "group_id": place, "key": key, "value": value, "low": value,
            "high": None}  # fmt: skip


WORDS = st.sampled_from(["a", "b", "c"])
LINES = st.lists(
    st.tuples(WORDS, WORDS, WORDS, WORDS, st.one_of(st.none(), st.floats(0, 1))),
    unique_by=lambda told: told[:4],
)


@given(LINES, st.lists(st.sampled_from(["a", "b", "c", "nobody"]), unique=True))
def test_a_matrix_holds_what_the_lines_say(told: list[Any], runs: list[str]) -> None:
    lines = [line(*one) for one in told]
    table = pa.Table.from_pylist(
        lines, schema=pa.schema([(name, pa.string()) for name in ("run_id", "group", "group_id", "key")]
                                + [(name, pa.float64()) for name in ("value", "low", "high")])
    )  # fmt: skip
    both = table if len(told) < 2 else pa.concat_tables([table[:1], table[1:]])
    found = Breakdowns(lambda: both)
    for group in "abc":
        assert set(found.keys(group)) == {one["key"] for one in lines if one["group"] == group}
        for key in "abc":
            mine = {
                (one["run_id"], one["group_id"]): one["value"]
                for one in lines
                if (one["group"], one["key"]) == (group, key) and one["run_id"] in runs
            }
            matrix = found.matrix(group, key, runs)
            assert matrix.value.shape == matrix.low.shape == (len(runs), len(matrix.ids))
            assert set(matrix.ids) == {place for _, place in mine}
            for row, run in enumerate(runs):
                for column, place in enumerate(matrix.ids):
                    assert matrix.reading(row, column).value == mine.get((run, place))
                    assert np.isnan(matrix.high[row, column])


@pytest.fixture
def board(site_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedBoard:
    monkeypatch.setenv("UCBENCH_RESULTS", str(site_store))
    monkeypatch.setenv("UCBENCH_RUNS", str(tmp_path / "runs"))
    return loading.board()


def test_scores_of_a_run_are_those_of_its_record(board: LoadedBoard, site_store: Path) -> None:
    assert not board.has_breakdown("nobody")
    checked = 0
    for path in site_store.glob("*/*/record.json"):
        record = json.loads(path.read_text())
        for group, place in boards.GROUPS.items():
            told: dict[str, dict[str, Any]] = record["scores"][place]
            assert board.has_breakdown(record["run_id"]) == bool(record["scores"]["by_concept"])
            for key in {key for scores in told.values() for key in scores}:
                found = board.scores(record["run_id"], group, key)
                assert found.keys() == {id_ for id_, scores in told.items() if key in scores}
                for id_, one in found.items():
                    assert one.value == told[id_][key]["value"]
                    assert one.low == told[id_][key]["low"]
                    checked += 1
    assert checked > 1000


def test_rows_are_found_by_run_and_track(board: LoadedBoard) -> None:
    assert board.row("nobody") is None
    for row in board.rows:
        assert board.row(row["run_id"]) is row
    of_track = board.of_track("pictograms")
    of_track.clear()  # a list of one's own
    assert board.of_track("pictograms")


def test_the_first_page_reads_no_breakdowns(
    site_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_app: Callable[..., Any]
) -> None:
    import shutil

    copy = tmp_path / "results"
    shutil.copytree(site_store, copy, ignore=lambda folder, names: names if folder != str(site_store) else ())
    # Its end, which tells the columns, is whole; what it tells of is not.
    path = copy / boards.BREAKDOWNS
    content = bytearray(path.read_bytes())
    content[4:-20_000] = bytes(len(content) - 20_004)
    path.write_bytes(bytes(content))
    monkeypatch.setenv("UCBENCH_RESULTS", str(copy))
    monkeypatch.setenv("UCBENCH_RUNS", str(tmp_path / "runs"))
    open_app()
    with pytest.raises(StoreError, match="is damaged"):
        loading.board().scores("any", "concept", "perception")


def test_a_board_outlives_its_files(site_store: Path, tmp_path: Path) -> None:
    import shutil

    for path in filter(Path.is_file, site_store.iterdir()):
        shutil.copy(path, tmp_path)
    tables = boards.load_tables(tmp_path)
    (tmp_path / boards.BREAKDOWNS).unlink()
    expected = pq.read_table(site_store / boards.BREAKDOWNS, columns=["value"])
    assert tables.breakdowns(["value"]) == expected


def test_visitors_who_come_at_once_share_one_reading(board: LoadedBoard) -> None:
    loading._load.cache_clear()
    together, found = threading.Barrier(8), []

    def come() -> None:
        together.wait()
        found.append(loading.board())

    visitors = [threading.Thread(target=come) for _ in range(8)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert len(found) == 8
    assert len({id(one.rows) for one in found}) == 1
    assert found[0].rows is not board.rows


def test_csv_quotes_what_a_spreadsheet_would_run() -> None:
    found = list(csv.DictReader(io.StringIO(downloads.csv(ROWS).decode())))
    assert [row["model"] for row in found] == ["'=HYPERLINK(1)", ROWS[1]["model"]]
    assert [row["note"] for row in found] == ["", "'-x"]
    assert float(found[0]["score"]) == ROWS[0]["score"]
    assert [row["gap"] for row in found] == ["-0.25", "0.5"]  # numbers stay numbers
    assert [row["score"] for row in found][1] == ""


def test_json_is_plain_and_complete() -> None:
    found = json.loads(downloads.as_json(ROWS))
    assert found[0] == {**ROWS[0], "at": WHEN.isoformat()}
    assert found[1] == {**ROWS[1], "score": None, "at": WHEN.isoformat()}


def test_parquet_keeps_types() -> None:
    found = pq.read_table(io.BytesIO(downloads.parquet(ROWS)))
    assert found.column("score").to_pylist() == [ROWS[0]["score"], None]
    assert found.column("n").to_pylist() == [3, None]
    assert found.column("at").to_pylist() == [WHEN, WHEN]


def test_a_board_downloads_in_every_kind(board: LoadedBoard) -> None:
    keys = [str(row["run_id"]) for row in board.rows]
    assert [row["run_id"] for row in json.loads(downloads.as_json(board.rows))] == keys
    frame = pd.read_parquet(io.BytesIO(downloads.parquet(board.rows)))
    assert frame["run_id"].tolist() == keys
    assert frame["perception"].dropna().tolist() == [
        row["perception"] for row in board.rows if row["perception"] is not None
    ]
    assert len(list(csv.DictReader(io.StringIO(downloads.csv(board.rows).decode())))) == len(keys)


def files_of_a_page() -> None:
    """The script of a page with two lines of downloads."""
    import pandas as pd

    from ucbench.site import downloads

    downloads.buttons(pd.DataFrame({"a": [1, None]}), "frame")
    downloads.buttons(list, "none", key="none")
    downloads.buttons([], "empty", key="empty")


def test_a_page_offers_three_files() -> None:
    from streamlit.testing.v1 import AppTest

    app = AppTest.from_function(files_of_a_page).run()
    assert not app.exception
    offered = app.get("download_button")
    assert [one.proto.label for one in offered] == ["CSV", "JSON", "Parquet"] * 3
    assert [one.proto.disabled for one in offered] == [False] * 6 + [True] * 3
