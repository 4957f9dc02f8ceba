"""Pictures joined with what they show, compared with the published counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ucbench import taxonomy
from ucbench.errors import UcbenchError
from ucbench.tracks.sources import Sources
from ucbench.tracks.unsafeconcepts import metadata
from ucbench.tracks.unsafeconcepts.metadata import Row
from ucbench.tracks.unsafeconcepts.pictures import Found, find, unseen

if TYPE_CHECKING:
    from ucbench.types import ImageSource

#: How many differences a sentence names.
NAMED = 4


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows in the metadata's order, each with its picture. `differs` says how it is not the official set.

    `identity` is that of the pictures (see `Found.identity`), which is found out when it is called.
    """

    rows: tuple[Row, ...]
    pictures: Mapping[str, ImageSource]
    differs: str | None
    identity: Callable[[], str | None]

    @property
    def official_options(self) -> bool:
        """Whether the perception options are the authors'."""
        return all(row.options is not None for row in self.rows)


def load(sources: Sources) -> Dataset:
    """Find the pictures, join them with the metadata, and count.

    What each picture shows is said by the metadata that the user names, else by that beside the pictures,
    else by columns of the dataset. Raises `UcbenchError` for data that cannot be joined and, unless
    `allow_incomplete`, for counts that differ from the published ones; `AccessError` for data out of reach.
    """
    metadata_file = sources.metadata or sources.perception_metadata
    if sources.without_pictures and sources.data is None and metadata_file is not None:
        found = unseen(metadata_file.name, [row.id for row in metadata.read_rows(metadata_file)])
    else:
        found = find(sources.data, stream=sources.stream)
    rows = _rows(found, sources)
    perception = sources.perception_metadata or found.perception
    if perception is not None:
        rows = metadata.join_options(rows, perception)
    kept = [row for row in rows if row.id in found.pictures]
    if not kept:
        raise UcbenchError(
            f"none of the {len(rows):,} pictures that the metadata names is in {found.name}; its first is "
            f"{rows[0].id}, and {found.name} begins with {next(iter(found.pictures), 'nothing')}"
        )
    differs = _differences(kept, rows, found)
    if differs and not sources.allow_incomplete:
        raise UcbenchError(
            f"{found.name} is not the official set: {differs}; fetch it again, or measure on what there is "
            "with --allow-incomplete"
        )
    ids = [row.id for row in kept]
    return Dataset(
        tuple(kept), {id_: found.pictures[id_] for id_ in ids}, differs, lambda: found.identity(ids)
    )


def _rows(found: Found, sources: Sources) -> list[Row]:
    named: Path | None = sources.metadata or found.metadata
    if named is None and not (found.rows and metadata.has_concepts(found.rows[0])):
        # The larger file says what the smaller one says.
        named = sources.perception_metadata or found.perception
    if named is not None:
        return metadata.read_rows(named)
    if not (found.rows and metadata.has_concepts(found.rows[0])):
        raise UcbenchError(
            f"{found.name} does not say what its pictures show; name the authors' {metadata.METADATA} with "
            "--metadata"
        )
    return [
        metadata.make_row(id_, cells, f"row {number} of {found.name}")
        for number, (id_, cells) in enumerate(zip(found.pictures, found.rows, strict=True), start=1)
    ]


def _differences(kept: Sequence[Row], named: Sequence[Row], found: Found) -> str | None:
    """What differs from the published 1,567 pictures of 75 concepts in 9 categories; None for nothing."""
    official = taxonomy.official_image_counts()
    counts = Counter(row.concept.id for row in kept)
    names = {concept.id: concept.name for concept in taxonomy.concepts()}
    wrong = [f"{names[id_]} {counts[id_]} instead of {n}" for id_, n in official.items() if counts[id_] != n]
    told = []
    if wrong:
        categories = len({row.concept.category for row in kept})
        told.append(
            f"it has {len(kept):,} pictures of {len(counts)} concepts in {categories} categories instead of "
            f"{sum(official.values()):,} of {len(official)} in {len(taxonomy.categories())} ({_some(wrong)})"
        )
    if missing := [row.id for row in named if row.id not in found.pictures]:
        told.append(f"pictures are missing that the metadata names ({_some(missing)})")
    if told and (extra := sorted(found.pictures.keys() - {row.id for row in named})):
        told.append(f"pictures are there that the metadata does not name ({_some(extra)})")
    return ", and ".join(told) or None


def _some(things: Sequence[str]) -> str:
    more = f" and {len(things) - NAMED:,} more" if len(things) > NAMED else ""
    return ", ".join(things[:NAMED]) + more
