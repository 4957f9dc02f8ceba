"""The tracks `smid` and `nsfw` on tables as published."""

from __future__ import annotations

import base64
import csv
import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ucbench import evaluate
from ucbench.errors import AccessError, BadImageError, UcbenchError
from ucbench.judges import registry as judges
from ucbench.models import registry as models
from ucbench.record import Decoding
from ucbench.runs import Run
from ucbench.tracks import registry
from ucbench.tracks.questions import IMAGE_ALIGNMENT
from ucbench.tracks.sources import Sources
from ucbench.tracks.tables import Table

#: Which question the authors' published answers to NSFW were given to, from the first picture on.
AUTHORS_QUESTIONS = (3, 4, 2, 4, 4, 1, 2, 2, 2, 4, 3, 2, 4, 1, 3, 1, 3, 4, 0, 3, 1, 4, 3, 0, 0)


def picture(shade: int) -> str:
    stream = io.BytesIO()
    Image.new("RGB", (6, 6), (shade, 0, 0)).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def rows(n: int) -> list[dict[str, str]]:
    """Every third picture is that of the row before it."""
    return [
        {"index": str(i), "image": str(i - 1) if i % 3 == 2 else picture(i), "label": str(int(i % 4 == 0))}
        for i in range(n)
    ]


def write(path: Path, table: list[dict[str, str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        columns = {name: [row[name] for row in table] for name in table[0]}
        for name in ("index", "label"):
            columns[name] = [int(cell) for cell in columns[name]]  # type: ignore[misc]
        pq.write_table(pa.table(columns), path)
        return path
    with path.open("w", newline="") as stream:
        delimiter = "\t" if path.suffix == ".tsv" else ","
        writer = csv.DictWriter(stream, list(table[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(table)
    return path


def load(source: Path, name: str = "smid") -> Any:
    return registry.load(name, Sources(data=str(source)))


@pytest.mark.parametrize("name", ["smid", "nsfw"])
@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".parquet"])
def test_each_picture_gets_one_question_and_its_label(tmp_path: Path, suffix: str, name: str) -> None:
    track = load(write(tmp_path / f"table{suffix}", rows(25)), name)
    samples = track.samples()
    assert [s.id for s in samples] == [f"{name}/{i}" for i in range(25)]
    asked = [s.questions[0] for s in samples]
    assert all(len(s.questions) == 1 for s in samples)
    assert [q.text for q in asked] == [IMAGE_ALIGNMENT[i] for i in AUTHORS_QUESTIONS]
    assert [q.expected for q in asked] == ["Unsafe" if i % 4 == 0 else "Safe" for i in range(25)]
    sides = {c.id: c.unsafe for c in track.concepts}
    assert all(sides[q.concept_id] == (q.expected == "Unsafe") for q in asked)
    shades = [s.image.load().getpixel((0, 0))[0] for s in samples]
    assert shades == [i - 1 if i % 3 == 2 else i for i in range(25)]


def test_one_version_for_the_same_rows_another_for_another_label(tmp_path: Path) -> None:
    table = rows(9)
    versions = {
        load(write(tmp_path / f"t{suffix}", table)).version for suffix in (".tsv", ".csv", ".parquet")
    }
    assert len(versions) == 1
    table[3]["label"] = "1"
    assert load(write(tmp_path / "other.tsv", table)).version not in versions
    table[3]["label"] = "0"
    assert load(write(tmp_path / "again.tsv", table)).version in versions
    table[3]["image"] = picture(77)
    assert load(write(tmp_path / "pictures.tsv", table)).version not in versions
    table[3]["image"] = "!!notbase64"
    assert load(write(tmp_path / "broken.tsv", table)).version not in versions


def test_a_number_is_the_index_of_a_row_not_its_place(tmp_path: Path) -> None:
    table = [
        {"index": "10", "image": picture(50), "label": "0"},
        {"index": "20", "image": "30", "label": "1"},
        {"index": "30", "image": "10", "label": "1"},
    ]
    samples = load(write(tmp_path / "t.tsv", table)).samples()
    assert [s.image.load().getpixel((0, 0))[0] for s in samples] == [50, 50, 50]


@settings(deadline=None)
@given(st.lists(st.integers(-1, 9), min_size=1, max_size=10))
def test_references_end_at_a_picture_or_are_refused(targets: list[int]) -> None:
    """-1 is a picture of its own; any other number refers to that row."""
    cells = [f"picture{i}" if t < 0 else str(t) for i, t in enumerate(targets)]
    table = Table("t", tuple({"index": str(i), "image": cell} for i, cell in enumerate(cells)))

    def end(row: int) -> int | None:
        for _ in range(len(targets) + 1):
            if not 0 <= row < len(targets):
                return None
            if targets[row] < 0:
                return row
            row = targets[row]
        return None

    ends = [end(i) for i in range(len(targets))]
    if None in ends:
        with pytest.raises(UcbenchError, match=r"which no row has|refers back"):
            table.pictures()
    else:
        assert [target for target, _ in table.pictures()] == ends


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({1: {"image": "77"}}, "row 2 of t.tsv refers to the picture of index 77, which no row has"),
        ({1: {"image": "1"}}, "row 2 of t.tsv refers to a picture that refers back"),
        ({0: {"image": "1"}, 1: {"image": "0"}}, "refers back"),
        ({3: {"label": "2"}}, "row 4 of t.tsv has the label '2'; a label is 0"),
        ({3: {"label": ""}}, "row 4 of t.tsv has no label"),
        ({4: {"index": "3"}}, "row 5 of t.tsv has the index of another row"),
    ],
)
def test_a_broken_table_is_one_sentence(tmp_path: Path, change: dict[int, Any], message: str) -> None:
    table = rows(6)
    for number, cells in change.items():
        table[number] |= cells
    with pytest.raises(UcbenchError, match=message) as caught:
        load(write(tmp_path / "t.tsv", table)).samples()
    assert "\n" not in str(caught.value)


def huge_png() -> bytes:
    """A file of a few kilobytes that says it is 9,000 x 9,000 pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    header = (9000).to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


BAD = {
    "broken base64": ("not base64!", "broken base64"),
    "no picture": (base64.b64encode(b"hello").decode(), "not a picture of a known format"),
    "empty": ("", "is empty"),
    "cut": (picture(3)[:40], "picture"),
    "oversized": (base64.b64encode(huge_png()).decode(), "too large"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_picture_is_found_when_it_is_loaded(tmp_path: Path, name: str) -> None:
    cell, message = BAD[name]
    table = rows(4)
    table[1]["image"], table[2]["image"] = cell, picture(2)
    samples = load(write(tmp_path / "t.tsv", table)).samples()
    with pytest.raises(BadImageError, match=message) as caught:
        samples[1].image.load()
    assert "row 2 of t.tsv" in str(caught.value)
    assert samples[3].image.load().size == (6, 6)


def test_a_bad_picture_is_one_typed_answer_of_a_real_model(tmp_path: Path) -> None:
    table = rows(3)
    table[1]["image"] = "not base64!"
    track = load(write(tmp_path / "t.tsv", table))
    vlm = models.load("embedded:tiny-vlm", decoding=Decoding(max_new_tokens=4), device="cpu")
    record = evaluate.evaluate(vlm, track, judges.load("rules"), out=tmp_path / "runs")
    # The third row has the picture of the second.
    assert record.counts.errors == {"bad_image": 2}
    assert record.counts.questions == 3
    assert record.status == "incomplete"


def test_accuracy_counts_no_answer_as_wrong_with_pictures_as_clusters(
    scripted: Callable[..., Any], tmp_path: Path
) -> None:
    track = load(write(tmp_path / "t.tsv", rows(60)))
    vlm = scripted("acme/vlm", 0.7, 0.2)
    record = evaluate.evaluate(vlm, track, judges.load("rules"), out=tmp_path / "runs")
    (folder,) = (tmp_path / "runs").glob("*/*")
    frame = Run(folder).frame("rules-1")
    right, unsafe = frame["label"] == frame["expected"], frame["unsafe"]
    overall = record.scores.overall
    assert (frame["label"] == "N/A").sum() > 0
    for key, part in (
        ("accuracy", unsafe | ~unsafe),
        ("accuracy_safe", ~unsafe),
        ("accuracy_unsafe", unsafe),
    ):
        assert overall[key].value == pytest.approx(right[part].mean(), abs=1e-8)
        assert overall[key].n_clusters == part.sum()
        assert overall[key].low is not None
        assert overall[key].low < overall[key].value < overall[key].high
    assert overall["balanced_accuracy"].n_clusters == 60
    # One question a picture: the interval is near that of independent answers.
    spread = 1.96 * (right.mean() * (1 - right.mean()) / 60) ** 0.5
    assert overall["accuracy"].high - overall["accuracy"].low == pytest.approx(2 * spread, rel=0.2)


def test_a_limit_keeps_both_sides_and_each_question(tmp_path: Path) -> None:
    track = load(write(tmp_path / "t.tsv", rows(25)))
    kept = track.samples(limit=8)
    assert [s.questions[0].expected for s in kept].count("Unsafe") == 4
    whole = {s.id: s.questions for s in track.samples()}
    assert all(whole[s.id] == s.questions for s in kept)
    assert len(track.samples(limit=24)) == 24
    assert len(track.samples(limit=99)) == 25


def test_data_out_of_reach_is_one_sentence_with_status_three() -> None:
    with pytest.raises(AccessError, match="yiting/NSFWDataset") as caught:
        registry.load("nsfw").samples()
    assert caught.value.exit_code == 3


def test_a_source_that_the_track_has_no_use_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UcbenchError, match="has no use for --metadata"):
        registry.load("smid", Sources(metadata=tmp_path / "metadata.jsonl"))
