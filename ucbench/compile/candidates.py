"""Candidates: the pictures of a source that come nearest to each concept.

    OUT/
      candidates.parquet    concept_id, concept, category, rank, similarity, reference, sha256, copies
      candidates.json       source, model, concepts, counts: what annotating and assembling need
      unreadable.jsonl      the pictures that could not be read, by reference and problem
      embeddings/           a vector a picture, computed once

Pictures stay where they are. Method: arXiv 2507.11155 (CLIP ViT-L/14, cosine similarity, top 50).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import ucbench
from ucbench.compile.clip import Encoder, Floats
from ucbench.compile.concepts import ListedConcept
from ucbench.compile.embed import embed
from ucbench.compile.sources import Item, Source
from ucbench.compile.store import EmbeddingStore
from ucbench.errors import StoreError
from ucbench.files import atomic_path, write_text

TABLE, MANIFEST, UNREADABLE = "candidates.parquet", "candidates.json", "unreadable.jsonl"
TOP = 50


@dataclass(frozen=True, slots=True)
class Candidate:
    """A picture that may show a concept. `copies` counts the source's pictures with these same bytes."""

    concept_id: str
    concept: str
    category: str
    rank: int
    similarity: float
    reference: str
    sha256: str
    copies: int


@dataclass(frozen=True, slots=True)
class Compilation:
    """A folder of candidates, read again; `manifest` is `candidates.json`."""

    folder: Path
    manifest: dict[str, Any]
    concepts: tuple[ListedConcept, ...]
    candidates: tuple[Candidate, ...]

    @property
    def source(self) -> dict[str, Any]:
        """What `sources.reopen` takes."""
        return dict(self.manifest["source"])

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories in the order of the concepts."""
        return tuple(dict.fromkeys(concept.category for concept in self.concepts))


def compile_candidates(
    source: Source,
    concepts: Sequence[ListedConcept],
    encoder: Encoder,
    out: Path,
    *,
    top: int = TOP,
    embeddings: Path | None = None,
    batch_size: int = 64,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Compilation:
    """Embed the source, rank it by concept, write the candidates to `out`.

    The same call goes on after a kill. `embeddings` is the folder of vectors, by default within `out`.
    Raises `StoreError` when `out` holds candidates of other settings, or cannot be written.
    """
    settings: dict[str, Any] = {
        "source": source.describe(),
        "model": {"name": encoder.name, "revision": encoder.revision, "dtype": encoder.dtype},
        "concepts": [asdict(concept) for concept in concepts],
        "top": top,
    }
    _refuse_others(out, settings)
    prompts = encoder.texts([concept.prompt for concept in concepts])
    store = EmbeddingStore(
        embeddings or out / "embeddings", {"model": settings["model"], "source": settings["source"]}
    )
    embed(source, encoder, store, batch_size=batch_size, progress=progress)
    ranking = rank(prompts, store, source.items(), top)
    unreadable = ranking.problems
    counts = {
        "pictures": len(source.items()),
        "distinct": ranking.distinct,
        "duplicates": ranking.readable - ranking.distinct,
        "unreadable": len(unreadable),
    }
    found = [
        Candidate(
            concept.id, concept.name, concept.category, place, similarity, reference, sha256,
            ranking.copies[sha256],
        )
        for concept, nearest in zip(concepts, ranking.nearest, strict=True)
        for place, (similarity, reference, sha256) in enumerate(nearest, start=1)
    ]  # fmt: skip
    manifest = {**settings, "counts": counts, "code_version": ucbench.__version__}
    write_text(out / UNREADABLE, "".join(_line(reference, problem) for reference, problem in unreadable))
    write(out, manifest, found)
    return Compilation(out, manifest, tuple(concepts), tuple(found))


def write(folder: Path, manifest: dict[str, Any], found: Sequence[Candidate]) -> None:
    """Write the candidates; the manifest comes last: its presence says that the folder is complete."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            ("concept_id", pa.string()), ("concept", pa.string()), ("category", pa.string()),
            ("rank", pa.int32()), ("similarity", pa.float32()), ("reference", pa.string()),
            ("sha256", pa.string()), ("copies", pa.int32()),
        ]
    )  # fmt: skip
    table = pa.Table.from_pylist([asdict(candidate) for candidate in found], schema=schema)
    with atomic_path(folder / TABLE) as temporary:
        pq.write_table(table, temporary)
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


def read(folder: Path) -> Compilation:
    """The candidates in a folder. Raises `StoreError` when there are none or they are damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if folder.is_file():
        raise StoreError(
            f"{folder} is a file; give the folder that `ucbench dataset candidates` wrote, the one with "
            f"{MANIFEST} in it"
        )
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        concepts = tuple(ListedConcept(**row) for row in manifest["concepts"])
        rows = pq.read_table(folder / TABLE).to_pylist()
        found = tuple(Candidate(**row) for row in rows)
        manifest["source"]["name"]
    except FileNotFoundError as error:
        raise StoreError(
            f"{folder} holds no candidates; make them with `ucbench dataset candidates SOURCE --out {folder}`"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise StoreError(f"the candidates in {folder} are damaged; compile them again elsewhere") from error
    known = {concept.id for concept in concepts}
    if any(candidate.concept_id not in known for candidate in found):
        raise StoreError(
            f"{folder / TABLE} and {MANIFEST} are of different concepts; compile them again elsewhere"
        )
    return Compilation(folder, manifest, concepts, found)


@dataclass(frozen=True, slots=True)
class Ranking:
    """For each concept (similarity, reference, sha256), nearest first, and what was counted on the way."""

    nearest: list[list[tuple[float, str, str]]]
    copies: dict[str, int]
    problems: list[tuple[str, str]]
    readable: int

    @property
    def distinct(self) -> int:
        """Pictures after exact duplicates were collapsed."""
        return len(self.copies)


def rank(prompts: Floats, store: EmbeddingStore, items: Sequence[Item], top: int) -> Ranking:
    """The `top` pictures nearest to each prompt [concepts, d], by cosine similarity.

    Of pictures with the same bytes the first of the source stands for all. Equal similarities keep the
    source's order. Parts are ranked one by one, so that memory does not grow with the source.
    """
    order = {item: number for number, item in enumerate(items)}
    first: dict[str, int] = {}
    copies: dict[str, int] = {}
    for part in store.parts():
        for item, sha256 in zip(part.items, part.sha256, strict=True):
            if (place := order.get(item)) is not None:
                copies[sha256] = copies.get(sha256, 0) + 1
                first[sha256] = min(first.get(sha256, place), place)
    best = [(np.empty(0, np.float32), np.empty(0, np.int64)) for _ in prompts]
    hashes = {place: sha256 for sha256, place in first.items()}
    for part in store.parts():
        places = np.array([order.get(item, -1) for item in part.items])
        kept = np.array([place in hashes for place in places])
        if kept.any():
            similarity = prompts @ part.embeddings[kept].T
            best = [_nearest(*old, new, places[kept], top) for old, new in zip(best, similarity, strict=True)]
    known = store.known()
    return Ranking(
        [
            [
                (value, items[place].reference, hashes[place])
                for value, place in zip(similarity.tolist(), places.tolist(), strict=True)
            ]
            for similarity, places in best
        ],
        copies,
        [(item.reference, problem) for item in items if (problem := known.get(item))],
        sum(copies.values()),
    )


def _nearest(
    old: Floats, old_places: npt.NDArray[np.int64], new: Floats, places: npt.NDArray[np.int64], top: int
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """The best of two lists of similarities with their places."""
    similarity, place = np.concatenate([old, new]), np.concatenate([old_places, places])
    kept = np.lexsort((place, -similarity))[:top]
    return similarity[kept], place[kept]


def _refuse_others(out: Path, settings: dict[str, Any]) -> None:
    """Candidates that are there are written again only when they are the same ones."""
    if not (out / MANIFEST).exists():
        return
    there = read(out).manifest
    for key, value in settings.items():
        if there.get(key) != json.loads(json.dumps(value)):
            raise StoreError(
                f"{out} holds candidates of another {key}; choose another --out "
                f"(--embeddings {out / 'embeddings'} saves embedding the same source again)"
            )


def _line(reference: str, problem: str) -> str:
    return json.dumps({"reference": reference, "problem": problem}, ensure_ascii=False) + "\n"
