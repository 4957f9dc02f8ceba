"""The journal: nothing whole is lost, nothing half-written is kept, whatever byte the end falls on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ucbench.errors import StoreError
from ucbench.journal import Journal, Line, read
from ucbench.types import Answer

LINES = [
    Line(Answer(f"sample/{n}", "perception", f"Es ist “{n}”,\nsagt sie. \u2028 ", n), 0.5 * n)
    for n in range(4)
]


def written(path: Path) -> bytes:
    journal = Journal(path)
    journal.append(LINES)
    journal.close()
    return path.read_bytes()


def test_what_is_appended_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "answers-0.jsonl"
    content = written(path)
    assert read(path) == (LINES, len(content))


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 1))
def test_cut_at_any_byte_the_whole_lines_stay_and_the_rest_is_dropped(
    share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("journal") / "answers-0.jsonl"
    content = written(path)
    cut = round(share * len(content))
    path.write_bytes(content[:cut])
    whole = content[:cut].count(b"\n")
    journal = Journal(path)
    assert journal.entries == LINES[:whole]
    journal.append(LINES[whole:])
    journal.close()
    assert path.read_bytes() == content


def test_damage_before_the_end_is_told_with_its_line_and_nothing_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "answers-0.jsonl"
    lines = written(path).split(b"\n")
    lines[1] = b'{"sample_id": 3'
    path.write_bytes(b"\n".join(lines))
    before = path.read_bytes()
    with pytest.raises(StoreError, match="damaged at line 2"):
        Journal(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": "abc"},
        {"text": None},
        {"sample_id": ["x"]},
        {"error": "tired"},
        {"seconds": "long"},
        {"x": 1},
    ],
)
def test_a_line_of_the_wrong_types_is_damage(change: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "answers-0.jsonl"
    first, *rest = written(path).splitlines(keepends=True)
    path.write_bytes(json.dumps({**json.loads(first), **change}).encode() + b"\n" + b"".join(rest))
    with pytest.raises(StoreError, match="damaged at line 1"):
        read(path)


def test_a_folder_in_a_journals_place_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "answers-0.jsonl").mkdir()
    with pytest.raises(StoreError, match="move it away"):
        read(tmp_path / "answers-0.jsonl")


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="choose another with --out"):
        Journal(tmp_path / "file" / "answers-0.jsonl")
