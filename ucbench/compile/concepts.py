"""The concepts a dataset is compiled for: the built-in 75, or any list in a YAML or CSV file."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ucbench import taxonomy
from ucbench.errors import UcbenchError

BUILT_IN = "built-in"
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class ListedConcept:
    """A concept to look for. `category` is a name for people; `prompt` is the text that CLIP compares."""

    id: str
    name: str
    category: str
    prompt: str


def load(source: str) -> tuple[ListedConcept, ...]:
    """The concepts of `built-in` or of a file, in their order.

    A file is CSV with a header, or YAML: a list of rows, or a mapping with such a list under `concepts`.
    A row has `name` and `category`; `id` (a slug, by default of the name) and `prompt` (by default the
    name) are optional. Raises `UcbenchError` for what is no such list, with the row that is wrong.
    """
    if source == BUILT_IN:
        names = {category.id: category.name for category in taxonomy.categories()}
        return tuple(ListedConcept(c.id, c.name, names[c.category], c.name) for c in taxonomy.concepts())
    path = Path(source)
    found = parse(_rows(path), str(path))
    if not found:
        raise UcbenchError(f"{path} lists no concept; give at least one row with name and category")
    return found


def parse(rows: Iterable[Any], name: str) -> tuple[ListedConcept, ...]:
    """Concepts from rows of a list called `name`. Raises `UcbenchError`."""
    found = tuple(_concept(row, f"{name}, concept {number}") for number, row in enumerate(rows, start=1))
    for field in ("id", "name"):
        counts = Counter(getattr(concept, field) for concept in found)
        if twice := [value for value, n in counts.items() if n > 1]:
            raise UcbenchError(
                f"{name} has the {field} {twice[0]!r} more than once; each {field} stands for one concept"
            )
    return found


def slug(name: str) -> str:
    """`Drug/Alcohol abuse` -> `drug-alcohol-abuse`; empty when nothing of the name is ASCII."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def elsewhere(concept: ListedConcept, concepts: Sequence[ListedConcept]) -> list[ListedConcept]:
    """The concepts of other categories: those that can be distractors of `concept`."""
    return [other for other in concepts if other.category != concept.category]


def _rows(path: Path) -> Sequence[Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UcbenchError(
            f"there is no file {path}; --concepts takes {BUILT_IN} or a YAML or CSV file"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UcbenchError(f"cannot read {path} as UTF-8 text; save the list anew") from error
    if path.suffix.lower() == ".csv":
        # What stands beyond the header's columns is no part of a concept.
        return [{k: v for k, v in row.items() if k} for row in csv.DictReader(text.splitlines())]
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise UcbenchError(f"{path} is neither YAML nor CSV; name it .yaml or .csv")
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UcbenchError(f"{path} is no YAML: {' '.join(str(error).split())}; mend it") from error
    rows = content.get("concepts") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise UcbenchError(
            f"{path} holds no list of concepts; write one row for each, with name and category"
        )
    return rows


def _concept(row: Any, where: str) -> ListedConcept:
    if not isinstance(row, Mapping):
        raise UcbenchError(f"{where} is no row of fields; it takes id, name, category, prompt")
    unknown = {str(key) for key in row} - {"id", "name", "category", "prompt"}
    if unknown:
        raise UcbenchError(f"{where} has a field {min(unknown)!r}; it takes id, name, category, prompt")
    fields = {key: _line(row.get(key), f"{where}, {key}") for key in ("id", "name", "category", "prompt")}
    for key in ("name", "category"):
        if not fields[key]:
            raise UcbenchError(f"{where} has no {key}; give it one")
    id_ = fields["id"] or slug(fields["name"])
    if not _ID.fullmatch(id_):
        raise UcbenchError(f"{where} has no usable id ({id_!r}); give it one of a-z, 0-9 and hyphens")
    return ListedConcept(id_, fields["name"], fields["category"], fields["prompt"] or fields["name"])


def _line(value: Any, where: str) -> str:
    """A text of one line, trimmed; empty for an absent one."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UcbenchError(f"{where} is no text; write it in quotes")
    text = str(value).strip()
    if not text.isprintable():
        raise UcbenchError(f"{where} has a character that cannot be printed; keep to one line of text")
    return text
