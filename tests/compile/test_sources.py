"""Folders and Parquet files as sources: what is found, in which order, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ucbench.compile.sources import open_source, reopen
from ucbench.errors import BadImageError, StoreError, UcbenchError, UnknownNameError

Shape = Callable[..., bytes]


def test_a_folder_is_walked_in_order_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b/2.PNG", "b/1.jpg", "a.webp", ".hidden/3.png", ".4.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "c").symlink_to(tmp_path / "b", target_is_directory=True)
    source = open_source(str(tmp_path))
    references = [item.reference for item in source.items()]
    assert references == ["a.webp", "b/1.jpg", "b/2.PNG"]
    assert [content for _, content in source.scan(references)] == [name.encode() for name in references]
    assert [i.reference for i in reopen(source.describe()).items()] == references


def test_a_changed_file_has_another_signature(tmp_path: Path, shape: Shape) -> None:
    (tmp_path / "a.png").write_bytes(shape("red circle"))
    before = open_source(str(tmp_path)).items()
    (tmp_path / "a.png").write_bytes(shape("red circle", 1) + b" ")
    assert open_source(str(tmp_path)).items() != before


@pytest.mark.parametrize("reference", ["../secret.png", "/etc/passwd", "a/../../secret.png"])
def test_no_reference_leads_out_of_the_folder(tmp_path: Path, reference: str) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"a")
    with pytest.raises(BadImageError, match="leads out of"):
        open_source(str(tmp_path / "in")).read(reference)


def test_a_name_that_is_no_text_is_unreadable_and_not_fatal(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(str(tmp_path)) + b"/\xff.png")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    source = open_source(str(tmp_path))
    (item,) = source.items()
    item.reference.encode()
    ((_, content),) = source.scan([item.reference])
    assert isinstance(content, BadImageError)


def table(path: Path, cells: list[Any], kind: pa.DataType, column: str = "image", rows: int = 3) -> None:
    pq.write_table(
        pa.table({column: pa.array(cells, kind), "label": [0] * len(cells)}), path, row_group_size=rows
    )


STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def test_parquet_holds_bytes_or_what_the_hub_writes(tmp_path: Path) -> None:
    contents = [b"%d" % i for i in range(8)]
    table(tmp_path / "a.parquet", contents, pa.large_binary())
    table(tmp_path / "b.parquet", [{"bytes": c, "path": None} for c in contents], STRUCT)
    source = open_source(str(tmp_path))
    references = [item.reference for item in source.items()]
    assert references == [f"{name}.parquet#{row}" for name in "ab" for row in range(8)]
    assert [content for _, content in source.scan(references)] == contents * 2
    alone = open_source(str(tmp_path / "b.parquet"))
    assert alone.read("b.parquet#5") == b"5"


def test_empty_cells_are_problems_of_their_row_alone(tmp_path: Path) -> None:
    table(
        tmp_path / "t.parquet",
        [{"bytes": None, "path": "x.png"}, None, {"bytes": b"1", "path": None}],
        STRUCT,
    )
    source = open_source(str(tmp_path / "t.parquet"))
    problems = [content for _, content in source.scan([i.reference for i in source.items()])]
    assert [isinstance(p, BadImageError) for p in problems] == [True, True, False]
    with pytest.raises(BadImageError, match="has no row"):
        source.read("t.parquet#9")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("rows") / "t.parquet"
    table(path, [b"%d" % i for i in range(40)], pa.binary(), rows=17)
    return open_source(str(path))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(st.integers(0, 39), max_size=30))
def test_rows_in_any_order_are_the_rows_asked_for(rows: Any, asked: list[int]) -> None:
    found = list(rows.scan([f"t.parquet#{row}" for row in asked]))
    assert [content for _, content in found] == [b"%d" % row for row in asked]


def test_the_column_of_pictures_is_found_or_asked_for(tmp_path: Path) -> None:
    both = pa.table({"left": pa.array([b"l"]), "right": pa.array([b"r"])})
    pq.write_table(both, tmp_path / "t.parquet")
    with pytest.raises(UcbenchError, match=r"left, right.*--image-column"):
        open_source(str(tmp_path))
    with pytest.raises(UcbenchError, match="no column 'label'"):
        open_source(str(tmp_path), image_column="label")
    source = open_source(str(tmp_path), image_column="right")
    assert source.read("t.parquet#0") == b"r"
    assert reopen(source.describe()).read("t.parquet#0") == b"r"


def test_what_is_no_source_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="there is no"):
        open_source(str(tmp_path / "none"))
    with pytest.raises(UcbenchError, match="holds no picture"):
        open_source(str(tmp_path))
    (tmp_path / "a.png").write_bytes(b"a")
    with pytest.raises(UcbenchError, match="is no Parquet file"):
        open_source(str(tmp_path / "a.png"))
    with pytest.raises(UcbenchError, match="datasets of the Hub"):
        open_source(str(tmp_path), split="train")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 cut short")
    with pytest.raises(UcbenchError, match="pictures and Parquet files"):
        open_source(str(tmp_path))
    with pytest.raises(StoreError, match="cannot be read as Parquet"):
        open_source(str(tmp_path / "t.parquet"))
