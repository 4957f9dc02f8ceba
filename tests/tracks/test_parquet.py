"""Pictures in Parquet files: one at a time, in any order, with little memory."""

from __future__ import annotations

import io
import os
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ucbench.errors import UcbenchError
from ucbench.tracks.parquet import ParquetTable

ROWS, GROUP = 23, 5


def content(number: int) -> bytes:
    return random.Random(number).randbytes(50)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """23 rows in two files with row groups of five; one column is in the first file alone."""
    folder = tmp_path_factory.mktemp("parquet")
    found = []
    for n, (start, end) in enumerate(((0, 13), (13, ROWS))):
        cells = [{"bytes": content(i), "path": None} for i in range(start, end)]
        columns: dict[str, Any] = {"image": cells, "id": list(range(start, end))}
        columns |= {"more": ["x"] * (end - start)} if n == 0 else {}
        found.append(folder / f"{n}.parquet")
        pq.write_table(pa.table(columns), found[-1], row_group_size=GROUP)
    return found


class Counting(io.FileIO):
    """A file that counts how often each byte of it was read."""

    def __init__(self, path: Path, read: Counter[int]) -> None:
        super().__init__(path)
        self.counted = read

    def read(self, size: int | None = -1) -> bytes:
        start = self.tell()
        found = super().read(-1 if size is None else size) or b""
        self.counted.update(range(start, start + len(found)))
        return found


@settings(deadline=None, max_examples=30)
@given(order=st.lists(st.integers(0, ROWS - 1), max_size=40), keep=st.booleans())
def test_any_order_gives_each_row_its_own(files: list[Path], order: list[int], keep: bool) -> None:
    openers: list[Path | Callable[[], Any]] = [lambda path=path: path.open("rb") for path in files]
    table = ParquetTable("x", openers if keep else list(files), keep=keep)
    assert len(table) == ROWS
    assert [table.cell(row)["bytes"] for row in order] == [content(row) for row in order]


def test_other_columns_are_read_without_the_pictures(files: list[Path]) -> None:
    rows = ParquetTable("x", files).rows()
    assert [row["id"] for row in rows] == list(range(ROWS))
    assert [row["more"] for row in rows] == ["x"] * 13 + [None] * 10
    assert "image" not in rows[0]


def test_what_is_far_away_is_fetched_once_and_only_where_asked(tmp_path: Path) -> None:
    cells = [{"bytes": os.urandom(40_000), "path": None} for _ in range(60)]
    pq.write_table(pa.table({"image": cells}), tmp_path / "far.parquet", row_group_size=10)
    read: Counter[int] = Counter()
    table = ParquetTable("x", [lambda: Counting(tmp_path / "far.parquet", read)], keep=True)
    size = (tmp_path / "far.parquet").stat().st_size
    read.clear()  # the footer
    for row in (15, 11, 19, 15):
        assert table.cell(row) == cells[row]
    assert len(read) < size / 4
    order = random.Random(0).sample(range(60), 60)
    assert [table.cell(row) for row in order] == [cells[row] for row in order]
    assert max(read.values()) <= 2  # pages at the edge of two reads
    assert sum(read.values()) < 1.1 * size


def test_memory_holds_a_row_group_and_not_the_file(tmp_path: Path) -> None:
    """32 MB of pictures in row groups of 1 MB."""
    row = os.urandom(250_000)
    schema = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))])
    with pq.ParquetWriter(tmp_path / "a.parquet", schema, use_dictionary=False) as writer:
        for n in range(32):
            cells = [{"bytes": bytes([n, i]) + row, "path": None} for i in range(4)]
            writer.write_table(pa.table({"image": cells}, schema=schema))
    table = ParquetTable("x", [tmp_path / "a.parquet"])
    before, most = pa.total_allocated_bytes(), 0
    for place in range(len(table)):
        assert table.cell(place)["bytes"][:2] == bytes([place // 4, place % 4])
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 6_000_000


def test_threads_share_a_table(files: list[Path]) -> None:
    table = ParquetTable("x", files)
    order = [random.Random(n).randrange(ROWS) for n in range(300)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: table.cell(row)["bytes"], order))
    assert found == [content(row) for row in order]


def test_what_breaks_off_is_asked_again(files: list[Path]) -> None:
    """A connection that breaks is no damage: the same cell comes with the next question."""
    broken = False

    class Breaking(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            if broken:
                raise ConnectionResetError("cut off")
            return super().read(-1 if size is None else size) or b""

    table = ParquetTable("x", [lambda path=path: Breaking(path) for path in files], keep=True)
    assert table.cell(1)["bytes"] == content(1)
    broken = True
    assert table.cell(2)["bytes"] == content(2)  # of the same row group
    with pytest.raises(OSError, match="cut off"):
        table.cell(12)
    broken = False
    assert table.cell(12)["bytes"] == content(12)


def test_what_is_no_table_of_pictures(files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UcbenchError, match="x has no column picture; it has image, id"):
        ParquetTable("x", files, "picture")
    (tmp_path / "cut.parquet").write_bytes(files[0].read_bytes()[:-50])
    with pytest.raises(UcbenchError, match="x cannot be read as Parquet"):
        ParquetTable("x", [tmp_path / "cut.parquet"])
    damaged = bytearray(files[0].read_bytes())
    damaged[4:60] = b"\xff" * 56
    (tmp_path / "bad.parquet").write_bytes(damaged)
    table = ParquetTable("x", [tmp_path / "bad.parquet"])
    with pytest.raises(UcbenchError, match=r"x cannot be read as Parquet .*; fetch it again"):
        table.cell(0)
