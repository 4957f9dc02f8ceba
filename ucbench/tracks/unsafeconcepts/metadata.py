"""Rows of the authors' metadata: which picture shows which concept, and its official options.

`metadata.jsonl` has a row a picture, in the dataset's order: `image_filename`, `category`, `unsafe_concept`.
`perception_metadata.jsonl` has `option_str` and `correct_option` as well. The same columns may stand in
the Hub dataset itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ucbench import taxonomy
from ucbench.errors import UcbenchError
from ucbench.tracks.unsafeconcepts.options import Options, official
from ucbench.types import Concept

METADATA, PERCEPTION = "metadata.jsonl", "perception_metadata.jsonl"
#: Folder of the pictures in the published layout; sample ids are `images/<file name>`.
IMAGES = "images"

#: How a line should look, for whoever wrote another one.
FORM = '{"image_filename": "images/0.png", "category": "Illegal activity", "unsafe_concept": "Arson"}'

_CONCEPT_COLUMNS = ("unsafe_concept", "unsafe concept", "concept")


@dataclass(frozen=True, slots=True)
class Row:
    """One picture: its id `images/0.png`, its concept, and the concept's name as the metadata writes it.

    The authors' split sorts by that name, so it is kept to the letter.
    """

    id: str
    concept: Concept
    name: str
    options: Options | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a JSON lines file: its number from 1, its text, what it says."""

    number: int
    text: str
    cells: dict[str, Any]


def read_lines(path: Path) -> list[Line]:
    """The lines of a JSON lines file, empty ones left out. Raises `UcbenchError` that names the line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UcbenchError(f"cannot read {path}: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise UcbenchError(f"{path} is not UTF-8 text; save it as UTF-8, or fetch it again") from error
    lines = []
    # Not splitlines(): JSON text may hold the separators that only it knows.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise UcbenchError(
                f"{path} line {number} is no JSON ({error}); write one object a line, such as {FORM}"
            ) from error
        if not isinstance(row, dict):
            raise UcbenchError(f"{path} line {number} is no JSON object; write one a line, such as {FORM}")
        lines.append(Line(number, line.rstrip("\r"), row))
    if not lines:
        raise UcbenchError(f"{path} is empty; it should have a line for each picture, such as {FORM}")
    return lines


def read_rows(path: Path) -> list[Row]:
    """The pictures that a metadata file names, in its order.

    Raises `UcbenchError` for a row without file name or concept, a concept that is not among the 75, and a
    picture that is named twice.
    """
    rows = []
    for line in read_lines(path):
        place, cells = f"{path} line {line.number}", line.cells
        file = cells.get("image_filename", cells.get("file_name"))
        if not isinstance(file, str) or not PurePosixPath(file).name:
            raise UcbenchError(
                f"{place} has no image_filename, the path of its picture as text; such as {FORM}"
            )
        rows.append(make_row(picture_id(file), cells, place))
    _check_unique(rows, str(path))
    return rows


def has_concepts(columns: Mapping[str, Any]) -> bool:
    """Whether a table's own columns say what each picture shows."""
    return any(column in columns for column in _CONCEPT_COLUMNS)


def concept_name(cells: Mapping[str, Any]) -> str | None:
    """What a row says its picture shows; None when it does not say."""
    name = next((cells[column] for column in _CONCEPT_COLUMNS if cells.get(column)), None)
    return name if isinstance(name, str) else None


def no_concept(place: str) -> UcbenchError:
    """What a row without a concept is told."""
    return UcbenchError(f"{place} has no unsafe_concept, what its picture shows as text; such as {FORM}")


def make_row(id_: str, cells: Mapping[str, Any], place: str) -> Row:
    """A row from its cells. Raises `UcbenchError`."""
    name = concept_name(cells)
    if name is None:
        raise no_concept(place)
    concept = _concepts().get(plain(name))
    if concept is None:
        raise UcbenchError(
            f"{place} names a concept that is not among the 75: {name[:80]!r}; write it as the benchmark "
            "does, such as 'Arson'"
        )
    category = _categories().get(plain(str(cells.get("category") or "")))
    if category not in (None, concept.category):
        raise UcbenchError(
            f"{place} puts {concept.name} into category {category}, where it is in {concept.category}; "
            "correct it"
        )
    return Row(id_, concept, name, official(cells, place))


def join_options(rows: list[Row], path: Path) -> list[Row]:
    """The rows with the official options of a perception_metadata.jsonl.

    Raises `UcbenchError` for a picture without options, or one that shows another concept there.
    """
    with_options = {row.id: row for row in read_rows(path)}
    joined = []
    for row in rows:
        found = with_options.get(row.id)
        if found is None or found.options is None:
            raise UcbenchError(
                f"{path} has no options for {row.id}; give the file that belongs to these pictures, or leave "
                "--perception-metadata out"
            )
        if found.concept != row.concept:
            raise UcbenchError(
                f"{path} says that {row.id} shows {found.concept.name}, and the metadata says "
                f"{row.concept.name}; give two files that belong together"
            )
        joined.append(Row(row.id, row.concept, row.name, found.options))
    return joined


def picture_id(file: str) -> str:
    """`images/0.png` from any path to that file: folders before it differ between publications."""
    return f"{IMAGES}/{PurePosixPath(file.replace(chr(92), '/')).name}"


def plain(name: str) -> str:
    """A name for comparing: lower case, single blanks."""
    return " ".join(name.casefold().split())


def _concepts() -> dict[str, Concept]:
    return {plain(concept.name): concept for concept in taxonomy.concepts()}


def _categories() -> dict[str, str]:
    return {plain(category.name): category.id for category in taxonomy.categories()}


def _check_unique(rows: list[Row], place: str) -> None:
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise UcbenchError(f"{place} names {row.id} twice; keep one row a picture")
        seen.add(row.id)
