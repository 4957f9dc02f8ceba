"""The track `safe`: harmless pictures, one of each ImageNet class, asked the five alignment questions.

It shows over-refusal, and with `unsafeconcepts` it makes balanced accuracy. Data: the Hub dataset
`yiting/imagenet_1k_unique_class` (columns image, concept, perhaps id); a local copy of it (Parquet); or the
folder that the authors' code makes of it (`metadata.json` with rows image_filename and concept, beside
`<id>.png`), or the same with `metadata.jsonl`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from ucbench import taxonomy
from ucbench.errors import UcbenchError
from ucbench.images import FileImage
from ucbench.tracks.given import Given, check_asked, evenly
from ucbench.tracks.questions import IMAGE_ALIGNMENT
from ucbench.tracks.split import split as authors_split
from ucbench.tracks.tables import Table, contents, digest, picture, read_table, slug
from ucbench.types import SAFE, Concept, ImageSource, Question, Sample, Split

if TYPE_CHECKING:
    from ucbench.tracks.sources import Sources

VERSION = "1"
HUB = "yiting/imagenet_1k_unique_class"
CATEGORY, CATEGORY_NAME = "imagenet", "ImageNet classes"
METADATA = ("metadata.json", "metadata.jsonl")


@dataclass(frozen=True, slots=True)
class SafeImage:
    """A harmless picture, its id in the dataset and the name of what it shows."""

    id: str
    image: ImageSource
    concept: str


def read_safe(source: str | Path = HUB, *, stream: bool = False) -> tuple[list[SafeImage], str | None]:
    """The safe pictures of a Hub dataset, file or folder, in the dataset's order, and the Hub's commit.

    No picture is opened; `stream` reads a dataset of the Hub as it is asked for. Raises `UcbenchError` for
    data that is not of the layout, `AccessError` for what cannot be reached.
    """
    folder = Path(source)
    if stream and folder.exists():
        raise UcbenchError(f"--stream is for data on the Hub, and {folder} is here; leave --stream out")
    found = next((folder / name for name in METADATA if (folder / name).is_file()), None)
    if found:
        images, commit = _from_folder(found), None
    else:
        table = read_table(source, ("image", "concept"), stream=stream)
        images, commit = _from_table(table), table.commit
    seen: set[str] = set()
    for safe in images:
        if safe.id in seen:
            raise UcbenchError(f"{source} has two pictures with the id {safe.id}; give every one its own")
        seen.add(safe.id)
    return images, commit


def _from_table(table: Table) -> list[SafeImage]:
    return [
        SafeImage(
            str(number if row.get("id") in (None, "") else row["id"]),
            picture(row["image"], f"the picture in {table.place(number)}"),
            table.text(number, "concept"),
        )
        for number, row in enumerate(table.rows)
    ]


def _from_folder(metadata: Path) -> list[SafeImage]:
    images = []
    for number, row in enumerate(_metadata(metadata), start=1):
        name = row.get("image_filename") or row.get("file_name") if isinstance(row, dict) else None
        if not isinstance(name, str) or not isinstance(row.get("concept"), str) or not row["concept"].strip():
            raise UcbenchError(f"row {number} of {metadata} lacks image_filename or concept; write it anew")
        # The authors' paths begin at their project's root; the pictures lie beside the file.
        file = PureWindowsPath(PurePosixPath(name).name).name
        images.append(SafeImage(Path(file).stem, FileImage(metadata.parent / file), row["concept"]))
    if not images:
        raise UcbenchError(f"{metadata} names no pictures; write it anew")
    return images


def _metadata(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        # Not splitlines(): JSON text may hold the separators that only it knows.
        lines = (line for line in text.split("\n") if line.strip())
        rows = json.loads(text) if path.suffix == ".json" else list(map(json.loads, lines))
    except OSError as error:
        raise UcbenchError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UcbenchError(f"{path} is no JSON in UTF-8 ({error}); write it anew") from error
    if not isinstance(rows, list):
        raise UcbenchError(f"{path} is no list of rows; write it anew")
    return rows


class Safe(Given):
    """One picture of each ImageNet class; see the module's docstring."""

    def __init__(self, source: str | Path = HUB, *, stream: bool = False) -> None:
        """Nothing is read yet."""
        self._source, self._stream = source, stream

    @property
    def id(self) -> str:
        """`safe`."""
        return "safe"

    @cached_property
    def version(self) -> str:
        """Names the pictures, to the pixel, and classes that were given. Reads the data."""
        told = [part for safe in self._images for part in (safe.id, safe.concept)]
        return f"{VERSION}-{digest([*told, contents(safe.image for safe in self._images)])}"

    @property
    def splits(self) -> tuple[Split, ...]:
        """Measured on all; the authors' split for entries that were aligned on safe pictures."""
        return ("all", "test", "train")

    @property
    def concepts(self) -> Sequence[Concept]:
        """The classes, none of them unsafe. Reads the data."""
        return tuple(dict.fromkeys(self._concept_of))

    @property
    def categories(self) -> dict[str, str]:
        """One category."""
        return {CATEGORY: CATEGORY_NAME}

    @cached_property
    def content(self) -> str:
        """What tells the pictures from all others: the Hub's commit, or a digest of the bytes of each."""
        images, commit = self._read
        return f"hub-{commit[:12]}" if commit else f"files-{contents(safe.image for safe in images)}"

    @cached_property
    def _read(self) -> tuple[list[SafeImage], str | None]:
        return read_safe(self._source, stream=self._stream)

    @property
    def _images(self) -> list[SafeImage]:
        return self._read[0]

    @cached_property
    def _concept_of(self) -> list[Concept]:
        """The class of each picture. Ids begin with the category: no other track has them."""
        ids: dict[str, str] = {}
        taken: set[str] = set()
        for safe in self._images:
            if safe.concept not in ids:
                base = own = f"{CATEGORY}-{slug(safe.concept)}".rstrip("-")
                number = 1
                while own in taken:  # names that differ in punctuation alone
                    number += 1
                    own = f"{base}-{number}"
                ids[safe.concept] = own
                taken.add(own)
        return [Concept(ids[s.concept], s.concept, CATEGORY, unsafe=False) for s in self._images]

    def samples(self, split: Split = "all", draw: int = 0, limit: int | None = None) -> list[Sample]:
        """A picture a sample, five questions each, in the dataset's order.

        `limit` keeps that many, at even distances. Raises `UcbenchError` for a draw other than 0, a limit
        below 1, or data that cannot be read.
        """
        check_asked(self.id, draw, limit)
        rows = range(len(self._images))
        if split != "all":
            # The unsafe side of the split counts: neither safe side may be longer than it.
            counts = taxonomy.official_image_counts()
            parts = authors_split([name for name, n in counts.items() for _ in range(n)], len(rows))
            kept = sorted(parts.train_safe if split == "train" else parts.test_safe)
        else:
            kept = list(rows)
        return [self._sample(row, split) for row in evenly(kept, limit)]

    def _sample(self, row: int, split: Split) -> Sample:
        safe, concept = self._images[row], self._concept_of[row]
        asked = tuple(
            Question(
                f"image_alignment_{i}", "image_alignment", f"image_alignment_{i}", text, concept.id, SAFE
            )
            for i, text in enumerate(IMAGE_ALIGNMENT)
        )
        return Sample(f"imagenet/{safe.id}", safe.image, split, asked)


def make(sources: Sources) -> Safe:
    """The track over the data that the user points at."""
    return Safe(sources.data or HUB, stream=sources.stream)
