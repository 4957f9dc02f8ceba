"""Annotators' files: append-only, whole after a kill, safe with many writers, named safely."""

from __future__ import annotations

import json
import multiprocessing
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucbench.compile import annotations
from ucbench.compile.annotations import Annotations, AnnotatorFile, Vote, file_name, read_all, read_file
from ucbench.errors import StoreError, UcbenchError

KEY, OTHER = ("red-circle", "a" * 64), ("red-circle", "b" * 64)


def test_decisions_come_back_in_their_order(tmp_path: Path) -> None:
    file = AnnotatorFile(tmp_path, "Ann")
    assert file.read() == Annotations("Ann")
    assert not file.path.exists()
    file.decide(KEY, "yes", 1.234)
    file.decide(OTHER, "withhold", 2)
    file.leave_out(["Hate"])
    found = AnnotatorFile(tmp_path, " ann ").read()
    assert found.votes == {KEY: Vote("yes", 1.23), OTHER: Vote("withhold", 2.0)}
    assert (found.annotator, found.leave_out, found.last) == ("Ann", ("Hate",), OTHER)
    assert found.withheld == {OTHER[1]}
    file.decide(KEY, "no", 1)
    assert file.read().last == KEY
    file.undo(KEY)
    assert file.read().votes == {OTHER: Vote("withhold", 2.0)}


def test_the_file_only_ever_grows(tmp_path: Path) -> None:
    file = AnnotatorFile(tmp_path, "Ann")
    file.decide(KEY, "yes", 1)
    before = file.path.read_bytes()
    file.undo(KEY)
    file.decide(KEY, "no", 1)
    assert file.path.read_bytes().startswith(before)
    assert json.loads(before.splitlines()[0])["annotator"] == "Ann"


@pytest.mark.parametrize("left", [b'{"concept": "red-ci', b'{"concept": "red-circle"}', b"\x00" * 40])
def test_a_half_written_line_is_dropped(tmp_path: Path, left: bytes) -> None:
    file = AnnotatorFile(tmp_path, "Ann")
    file.decide(KEY, "yes", 1)
    whole = file.path.read_bytes()
    with file.path.open("ab") as stream:
        stream.write(left)
    assert list(file.read().votes) == [KEY]
    file.decide(OTHER, "no", 1)
    assert file.path.read_bytes().startswith(whole + b"{")
    assert list(file.read().votes) == [KEY, OTHER]


@pytest.mark.parametrize(
    "line", ["{}", "nonsense", '{"concept": "c", "sha256": "s", "decision": "maybe", "seconds": 1}']
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    file = AnnotatorFile(tmp_path, "Ann")
    file.decide(KEY, "yes", 1)
    with file.path.open("a") as stream:
        stream.write(line + "\n")
    file.decide(OTHER, "yes", 1)
    with pytest.raises(StoreError, match="damaged at line 3"):
        read_file(file.path)


def write_many(folder: Path, annotator: str, start: int) -> None:
    file = AnnotatorFile(folder, annotator)
    for number in range(start, start + 60):
        file.decide(("red-circle", f"{number:064d}"), "yes", 0.5)


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    """Two windows of one annotator and two other annotators write at once."""
    context = multiprocessing.get_context("fork")
    work = [("Ann", 0), ("Ann", 60), ("Bo", 0), ("Cy", 0)]
    writers = [context.Process(target=write_many, args=(tmp_path, *one)) for one in work]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert {a.annotator: len(a.votes) for a in read_all(tmp_path)} == {"Ann": 120, "Bo": 60, "Cy": 60}


def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = AnnotatorFile(tmp_path, "Ann")
    file.decide(KEY, "yes", 1)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(annotations.os, "write", full)
        with pytest.raises(StoreError, match="No space left on device; what was decided before is kept"):
            file.decide(OTHER, "yes", 1)
    assert list(file.read().votes) == [KEY]


@given(name=st.text(max_size=70))
def test_any_name_is_one_safe_file_or_refused(name: str) -> None:
    try:
        found = file_name(name)
    except UcbenchError:
        kept = unicodedata.normalize("NFKC", name).strip()
        assert not kept or len(kept) > 60 or not kept.isprintable()
        return
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*\.jsonl", found)
    assert file_name(f"  {name.strip()} ") == found


@pytest.mark.parametrize(
    ("name", "found"),
    [("Ann", "ann.jsonl"), ("Ann  Bee", "ann-bee.jsonl"), ("ann_bee", "ann-bee.jsonl"), ("007", "007.jsonl")],
)
def test_plain_names_stay_plain(name: str, found: str) -> None:
    assert file_name(name) == found


def test_different_people_get_different_files() -> None:
    names = ["Zoe", "Zoë", "李", "王", "../../etc/passwd", "etc passwd", "a/b", "a.b", "a b"]
    assert len({file_name(name) for name in names}) == len(names)


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "x" * 61, "\x00"])
def test_names_that_cannot_be_used_are_refused(name: str) -> None:
    with pytest.raises(UcbenchError, match="--annotator takes a name"):
        file_name(name)
