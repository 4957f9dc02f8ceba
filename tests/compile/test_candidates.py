"""Ranking: the right pictures come first, each is embedded once, a kill costs little, nothing is copied."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from ucbench.compile import candidates
from ucbench.compile.clip import Encoder
from ucbench.compile.concepts import ListedConcept
from ucbench.compile.sources import Item, open_source
from ucbench.compile.store import Embedded, EmbeddingStore
from ucbench.errors import StoreError

Shape = Callable[..., bytes]
KILLED = Path(__file__).with_name("killed_candidates.py")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, shape: Shape, concepts: Any) -> Path:
    """Five pictures a concept, two copies of one of them, three files that are no pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    for concept in concepts:
        for seed in range(100, 105):
            (folder / f"{concept.id}-{seed}.png").write_bytes(shape(concept.name, seed))
    for copy in ("z1.png", "z2.png"):
        shutil.copy(folder / "red-circle-100.png", folder / copy)
    (folder / "broken.png").write_bytes(shape("red circle", 1)[:60])
    (folder / "words.jpg").write_bytes(b"no picture at all")
    (folder / "empty.png").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def compiled(
    tmp_path_factory: pytest.TempPathFactory, pictures: Path, concepts: Any, encoder: Encoder
) -> candidates.Compilation:
    out = tmp_path_factory.mktemp("compiled") / "out"
    return candidates.compile_candidates(
        open_source(str(pictures)), concepts, encoder, out, top=5, batch_size=7
    )


def test_the_pictures_of_a_concept_come_first(compiled: candidates.Compilation) -> None:
    for concept in compiled.concepts:
        found = [c for c in compiled.candidates if c.concept_id == concept.id]
        assert [c.rank for c in found] == [1, 2, 3, 4, 5]
        right = sum(c.reference.startswith(concept.id) for c in found)
        assert right >= 4, (concept.name, [c.reference for c in found])


def test_the_ranking_is_that_of_all_similarities_at_once(
    compiled: candidates.Compilation, pictures: Path, encoder: Encoder
) -> None:
    from PIL import Image

    names = sorted(p.name for p in pictures.glob("*-10?.png"))
    vectors = encoder.images([encoder.prepare(Image.open(pictures / name).convert("RGB")) for name in names])
    for concept, row in zip(
        compiled.concepts, encoder.texts([c.prompt for c in compiled.concepts]), strict=True
    ):
        best = sorted(vectors @ row, reverse=True)[:5]
        ours = [c.similarity for c in compiled.candidates if c.concept_id == concept.id]
        np.testing.assert_allclose(ours, best, atol=1e-4)


def test_duplicates_stand_once_and_unreadable_ones_are_named(
    compiled: candidates.Compilation, pictures: Path
) -> None:
    assert compiled.manifest["counts"] == {
        "pictures": 45, "distinct": 40, "duplicates": 2, "unreadable": 3
    }  # fmt: skip
    twins = [c for c in compiled.candidates if c.copies == 3]
    assert {c.reference for c in twins} == {"red-circle-100.png"}
    for candidate in compiled.candidates:
        content = (pictures / candidate.reference).read_bytes()
        assert candidate.sha256 == hashlib.sha256(content).hexdigest()
    lines = (compiled.folder / candidates.UNREADABLE).read_text().splitlines()
    named = {row["reference"]: row["problem"] for row in map(json.loads, lines)}
    assert set(named) == {"broken.png", "words.jpg", "empty.png"}
    assert all(named.values())


def test_reading_gives_back_what_was_written(compiled: candidates.Compilation) -> None:
    again = candidates.read(compiled.folder)
    assert again.concepts == compiled.concepts
    assert [(c.reference, c.rank) for c in again.candidates] == [
        (c.reference, c.rank) for c in compiled.candidates
    ]


def test_no_picture_is_copied(compiled: candidates.Compilation) -> None:
    files = {path.name for path in compiled.folder.rglob("*") if path.is_file()}
    assert {name for name in files if not name.startswith("part-")} == {
        candidates.TABLE, candidates.MANIFEST, candidates.UNREADABLE
    }  # fmt: skip
    columns = set(pq.read_schema(compiled.folder / "embeddings" / "part-000000.parquet").names)
    assert columns == {"reference", "signature", "sha256", "problem", "embedding"}


class Counting(Encoder):
    """Counts the pictures that it encodes."""

    seen = 0

    def images(self, prepared: Sequence[Any]) -> Any:
        type(self).seen += len(prepared)
        return super().images(prepared)


def counting(encoder: Encoder) -> Counting:
    Counting.seen = 0
    return Counting(encoder.name, encoder.revision, encoder.model, encoder.processor)


def test_what_is_known_is_not_embedded_again(
    pictures: Path,
    concepts: Any,
    encoder: Encoder,
    tmp_path: Path,
    shape: Shape,
) -> None:
    folder, out = tmp_path / "pictures", tmp_path / "out"
    shutil.copytree(pictures, folder)
    first = counting(encoder)
    candidates.compile_candidates(open_source(str(folder)), concepts, first, out, top=5)
    assert Counting.seen == 42
    (folder / "new.png").write_bytes(shape("red circle", 7))
    (folder / "red-circle-101.png").write_bytes(shape("red circle", 8))
    again = counting(encoder)
    found = candidates.compile_candidates(open_source(str(folder)), concepts, again, out, top=5)
    assert Counting.seen == 2
    assert found.manifest["counts"]["pictures"] == 46


def test_another_list_shares_the_embeddings_and_needs_a_folder_of_its_own(
    compiled: candidates.Compilation, pictures: Path, concepts: Any, encoder: Encoder, tmp_path: Path
) -> None:
    source, few = open_source(str(pictures)), concepts[:2]
    before = (compiled.folder / candidates.TABLE).read_bytes()
    with pytest.raises(StoreError, match="candidates of another concepts; choose another --out"):
        candidates.compile_candidates(source, few, encoder, compiled.folder, top=5)
    with pytest.raises(StoreError, match="candidates of another top"):
        candidates.compile_candidates(source, concepts, encoder, compiled.folder, top=4)
    assert (compiled.folder / candidates.TABLE).read_bytes() == before
    counted = counting(encoder)
    found = candidates.compile_candidates(
        source, few, counted, tmp_path / "few", top=5, embeddings=compiled.folder / "embeddings"
    )
    assert Counting.seen == 0
    few_ids = {concept.id for concept in few}
    assert [(c.concept_id, c.reference) for c in found.candidates] == [
        (c.concept_id, c.reference) for c in compiled.candidates if c.concept_id in few_ids
    ]


def test_embeddings_of_another_model_are_not_mixed_in(
    compiled: candidates.Compilation, pictures: Path, concepts: Any, encoder: Encoder, tmp_path: Path
) -> None:
    other = Encoder(encoder.name, "another-commit", encoder.model, encoder.processor)
    with pytest.raises(StoreError, match="embeddings of another model"):
        candidates.compile_candidates(
            open_source(str(pictures)), concepts, other, tmp_path / "out",
            embeddings=compiled.folder / "embeddings",
        )  # fmt: skip
    assert not (tmp_path / "out" / candidates.MANIFEST).exists()


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path / "e", {"model": "m"})
    with store.writing(), pytest.raises(StoreError, match="another process is writing"), store.writing():
        pass
    with store.writing():
        pass


def test_ranking_keeps_the_order_of_the_source_where_similarities_are_equal(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path / "e", {"model": "m"})
    items = [Item(f"{i}.png", "0") for i in range(6)]
    one, two = np.array([1, 0], np.float32), np.array([0, 1], np.float32)
    rows = [Embedded(item, f"hash{i}", one if i % 2 else two) for i, item in enumerate(items)]
    # Parts come in another order than the source, and what left the source is not ranked.
    store.append([rows[5], rows[4], Embedded(Item("gone.png", "0"), "gone", one)])
    store.append(rows[:4])
    found = candidates.rank(np.array([one, two]), store, items, top=4)
    assert [[r for _, r, _ in nearest] for nearest in found.nearest] == [
        ["1.png", "3.png", "5.png", "0.png"], ["0.png", "2.png", "4.png", "1.png"],
    ]  # fmt: skip
    assert found.distinct == 6


def test_a_killed_run_goes_on_where_it_was(
    compiled: candidates.Compilation, pictures: Path, clip_folder: Path, concepts: Sequence[ListedConcept],
    tmp_path: Path,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    command = [sys.executable, str(KILLED), str(pictures), str(clip_folder), str(out)]
    running = subprocess.Popen(command)
    parts = out / "embeddings"
    for _ in range(1200):
        if running.poll() is not None or len(list(parts.glob("part-*.parquet"))) >= 2:
            break
        time.sleep(0.05)
    assert running.poll() is None, "the run ended before it could be killed"
    running.send_signal(signal.SIGKILL)
    running.wait(30)
    kept = {path.name: path.read_bytes() for path in parts.glob("part-*.parquet")}
    assert len(kept) >= 2
    assert not (out / candidates.MANIFEST).exists()
    with pytest.raises(StoreError, match="holds no candidates"):
        candidates.read(out)
    store = EmbeddingStore(
        parts, json.loads(pq.read_schema(parts / "part-000000.parquet").metadata[b"ucbench"])
    )
    known = len(store.known())
    from ucbench.compile import clip

    again = counting(clip.load(str(clip_folder), device="cpu"))
    found = candidates.compile_candidates(open_source(str(pictures)), concepts, again, out, top=5)
    assert Counting.seen <= 45 - known
    assert {name: (parts / name).read_bytes() for name in kept} == kept
    assert [(c.reference, c.rank) for c in found.candidates] == [
        (c.reference, c.rank) for c in compiled.candidates
    ]


@pytest.mark.parametrize("damage", [b"", b"PAR1 and then nothing"])
def test_a_damaged_part_is_named(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "part-000000.parquet").write_bytes(damage)
    with pytest.raises(StoreError, match=r"part-000000\.parquet is damaged; remove it"):
        EmbeddingStore(tmp_path, {"model": "m"})
