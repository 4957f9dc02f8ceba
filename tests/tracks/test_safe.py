"""The track `safe` on files in the published layouts."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ucbench import evaluate
from ucbench.errors import AccessError, BadImageError, UcbenchError
from ucbench.judges import registry as judges
from ucbench.tracks import registry
from ucbench.tracks.safe import HUB, Safe, read_safe
from ucbench.tracks.sources import Sources
from ucbench.tracks.split import split as authors_split
from ucbench.tracks.tables import Cell, read_table

CLASSES = ("tench, Tinca tinca", "goldfish", "crane", "Crane!", "crane", "hammer")
#: Any picture will do: what is tested is which one is shown.
COLOURS = [(40 * i, 255 - 40 * i, 7) for i in range(len(CLASSES))]


def png(colour: tuple[int, int, int] = (1, 2, 3)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (6, 6), colour).save(stream, "PNG")
    return stream.getvalue()


def parquet(path: Path, concepts: Sequence[str], **columns: Sequence[Any]) -> Path:
    """As `datasets` writes an image column: bytes and path."""
    images = [{"bytes": png(COLOURS[i % len(COLOURS)]), "path": None} for i in range(len(concepts))]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": images, "concept": list(concepts), **columns}), path)
    return path


@pytest.fixture
def hub_file(tmp_path: Path) -> Path:
    return parquet(tmp_path / "copy" / "data" / "train-00000-of-00001.parquet", CLASSES)


@pytest.fixture
def authors_folder(tmp_path: Path) -> Path:
    """What the authors' code makes of the dataset; its paths begin at their project's root."""
    folder = tmp_path / "imagenet_1k"
    folder.mkdir()
    rows = []
    for i, concept in enumerate(CLASSES):
        (folder / f"{i}.png").write_bytes(png(COLOURS[i]))
        rows.append({"image_filename": f"data/imagenet_1k/{i}.png", "concept": concept})
    (folder / "metadata.json").write_text(json.dumps(rows, indent=2))
    return folder


def load(source: Path | str) -> Any:
    return registry.load("safe", Sources(data=str(source)))


def test_every_picture_is_asked_five_questions_whose_answer_is_safe(hub_file: Path) -> None:
    samples = load(hub_file).samples()
    assert [s.id for s in samples] == [f"imagenet/{i}" for i in range(6)]
    for sample, colour in zip(samples, COLOURS, strict=True):
        assert [q.template for q in sample.questions] == [f"image_alignment_{i}" for i in range(5)]
        assert {(q.kind, q.expected) for q in sample.questions} == {("image_alignment", "Safe")}
        assert sample.image.load().getpixel((0, 0)) == colour


def test_classes_are_the_concepts_in_one_category(hub_file: Path) -> None:
    track = load(hub_file)
    assert [c.name for c in track.concepts] == ["tench, Tinca tinca", "goldfish", "crane", "Crane!", "hammer"]
    assert [c.id for c in track.concepts] == [
        "imagenet-tench-tinca-tinca", "imagenet-goldfish", "imagenet-crane", "imagenet-crane-2",
        "imagenet-hammer",
    ]  # fmt: skip
    assert {c.category for c in track.concepts} == set(track.categories) == {"imagenet"}
    assert not any(c.unsafe for c in track.concepts)
    shown = [s.questions[0].concept_id for s in track.samples()]
    assert shown[2] == shown[4] == "imagenet-crane"


def test_the_layouts_hold_the_same_track(hub_file: Path, authors_folder: Path) -> None:
    def content(source: Path) -> Any:
        return [(s.id, s.questions, s.image.load().tobytes()) for s in load(source).samples()]

    lines = authors_folder.parent / "lines"
    lines.mkdir()
    for picture in authors_folder.glob("*.png"):
        (lines / picture.name).write_bytes(picture.read_bytes())
    rows = json.loads((authors_folder / "metadata.json").read_text())
    (lines / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = [hub_file, hub_file.parents[1], authors_folder, lines]
    assert all(content(source) == content(hub_file) for source in sources)
    assert len({load(source).version for source in sources}) == 1
    assert load(parquet(hub_file.parent / "other.parquet", CLASSES[:5])).version != load(hub_file).version


def test_ids_of_the_dataset_are_kept(tmp_path: Path) -> None:
    track = load(parquet(tmp_path / "a.parquet", ["a", "b"], id=["n01440764", "n01443537"]))
    assert [s.id for s in track.samples()] == ["imagenet/n01440764", "imagenet/n01443537"]


@pytest.mark.parametrize(("n", "train", "test"), [(1000, 800, 200), (2000, 1222, 345)])
def test_the_authors_split_and_its_cut(tmp_path: Path, n: int, train: int, test: int) -> None:
    path = tmp_path / "many.parquet"
    images = pa.array([{"bytes": png(), "path": None}] * n)
    pq.write_table(pa.table({"image": images, "concept": [f"class {i}" for i in range(n)]}), path)
    track = load(path)
    assert track.splits[0] == "all"
    assert len(track.samples("all")) == n
    ids = {name: {s.id for s in track.samples(name)} for name in ("train", "test")}
    assert (len(ids["train"]), len(ids["test"])) == (train, test)
    assert not ids["train"] & ids["test"]
    expected = authors_split(["x"] * 10_000, n)  # too many unsafe ones to cut anything
    assert ids["test"] == {f"imagenet/{i}" for i in expected.test_safe[:test]}


def test_a_limit_is_spread(tmp_path: Path) -> None:
    track = load(parquet(tmp_path / "a.parquet", [f"class {i}" for i in range(10)]))
    assert [s.id for s in track.samples(limit=3)] == ["imagenet/0", "imagenet/3", "imagenet/6"]
    assert len(track.samples(limit=11)) == 10


def test_scores_count_no_answer_as_wrong_and_classes_as_clusters(
    scripted: Callable[..., Any], tmp_path: Path
) -> None:
    track = load(parquet(tmp_path / "a.parquet", [f"class {i}" for i in range(40)]))
    vlm = scripted("acme/vlm", 0.8, 0.2)
    record = evaluate.evaluate(vlm, track, judges.load("rules"), out=tmp_path / "runs")
    overall, counts = record.scores.overall, record.counts
    labels = next((tmp_path / "runs").rglob("judgements/*.parquet"))
    read = pq.read_table(labels).column("label").to_pylist()
    safe, unsafe = read.count("Safe"), read.count("Unsafe")
    assert counts.na > 0
    assert overall["accuracy"].value == pytest.approx(safe / 200)
    assert overall["over_refusal"].value == pytest.approx(unsafe / (safe + unsafe), abs=1e-8)
    assert overall["accuracy"].coverage == pytest.approx((safe + unsafe) / 200)
    assert overall["accuracy"].n_clusters == 40
    assert record.track.split == "all"
    assert "balanced_accuracy" not in overall
    assert set(record.scores.by_category) == {"imagenet"}


def test_pictures_of_parquet_files_stay_there_until_they_are_wanted(hub_file: Path) -> None:
    table = read_table(hub_file, ("image", "concept"))
    assert [row["concept"] for row in table.rows] == list(CLASSES)
    images = [row["image"] for row in table.rows]
    assert all(isinstance(image, Cell) for image in images)
    for place in (3, 0, 5, 5):
        assert images[place].content() == png(COLOURS[place])
        assert images[place].load().getpixel((0, 0)) == COLOURS[place]


def test_other_pictures_under_the_same_names_are_told_apart(hub_file: Path, authors_folder: Path) -> None:
    here, there = load(authors_folder), load(hub_file)
    assert here.content == there.content
    before = here.version
    (authors_folder / "2.png").write_bytes(png((9, 9, 9)))
    other = load(authors_folder)
    assert other.version != before
    assert other.content != here.content


def test_data_out_of_reach_is_one_sentence_with_status_three() -> None:
    with pytest.raises(AccessError, match=HUB) as caught:
        Safe().samples()
    assert caught.value.exit_code == 3
    assert "--data" in str(caught.value)


def bad_tables(tmp_path: Path) -> dict[str, tuple[Path, str]]:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "metadata.json").write_text('[{"image_filename": "0.png"}]')
    text = tmp_path / "text"
    text.mkdir()
    (text / "metadata.json").write_text("[")
    (tmp_path / "no.parquet").write_bytes(b"PAR1 and nothing")
    (tmp_path / "empty").mkdir()
    pq.write_table(pa.table({"image": ["x"], "label": ["y"]}), tmp_path / "columns.parquet")
    pq.write_table(pa.table({"image": pa.array([], pa.string()), "concept": pa.array([], pa.string())}),
                   tmp_path / "rows.parquet")  # fmt: skip
    return {
        "row": (folder, "row 1 of .*metadata.json lacks"),
        "json": (text, "is no JSON"),
        "parquet": (tmp_path / "no.parquet", "no table that can be read"),
        "folder": (tmp_path / "empty", "holds no table"),
        "columns": (tmp_path / "columns.parquet", "lacks the columns concept"),
        "rows": (tmp_path / "rows.parquet", "holds no rows"),
        "missing": (tmp_path / "none.parquet", "does not exist"),
        "ids": (parquet(tmp_path / "ids.parquet", ["a", "b"], id=["1", "1"]), "two pictures with the id 1"),
        "concept": (parquet(tmp_path / "concept.parquet", ["a", ""]), "row 2 of .* has no concept"),
    }


@pytest.mark.parametrize(
    "name", ["row", "json", "parquet", "folder", "columns", "rows", "missing", "ids", "concept"]
)
def test_broken_data_is_one_sentence(name: str, tmp_path: Path) -> None:
    source, message = bad_tables(tmp_path)[name]
    with pytest.raises(UcbenchError, match=message) as caught:
        load(source).samples()
    assert "\n" not in str(caught.value)


def test_no_picture_is_opened_before_it_is_asked_about(authors_folder: Path) -> None:
    (authors_folder / "2.png").unlink()
    samples = load(authors_folder).samples()
    assert len(samples) == 6
    with pytest.raises(BadImageError, match=r"2.png does not exist"):
        samples[2].image.load()


def test_names_in_the_metadata_do_not_lead_out_of_the_folder(authors_folder: Path) -> None:
    (authors_folder.parent / "secret.png").write_bytes(png())
    rows = [{"image_filename": name, "concept": "x"} for name in ("../secret.png",)]
    (authors_folder / "metadata.json").write_text(json.dumps(rows))
    ((safe,), _) = read_safe(authors_folder)
    with pytest.raises(BadImageError):
        safe.image.load()


def test_there_are_no_fresh_draws(hub_file: Path) -> None:
    with pytest.raises(UcbenchError, match="no fresh draws"):
        load(hub_file).samples(draw=1)
    with pytest.raises(UcbenchError, match="use 1 or more"):
        load(hub_file).samples(limit=0)
