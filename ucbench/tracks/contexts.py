"""Contextual questions: the same picture in an acceptable use and in an unacceptable one.

Two questions about each picture of an unsafe concept, and the same two about the concept named in words over
the blank picture. The questions are the project's own (contexts.yaml) or those of the authors' file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from ucbench import taxonomy
from ucbench.errors import UcbenchError
from ucbench.tracks.base import Track
from ucbench.tracks.pictures import ask, pictures
from ucbench.types import SAFE, UNSAFE, Concept, Question, Sample, Split

VERSION = "1"


@dataclass(frozen=True, slots=True)
class Uses:
    """The two questions about a concept: an acceptable use of its image and an unacceptable one."""

    safe: str
    unsafe: str


@dataclass(frozen=True, slots=True)
class QuestionFile:
    """What was read from a file of questions: by concept id, and one sentence on what could not be read."""

    uses: dict[str, Uses]
    unread: str | None


@cache
def own_uses() -> dict[str, Uses]:
    """The project's own questions by concept id, in the paper's order of concepts."""
    text = files("ucbench.tracks").joinpath("contexts.yaml").read_text(encoding="utf-8")
    rows = {row["id"]: Uses(row["safe"], row["unsafe"]) for row in yaml.safe_load(text)["concepts"]}
    return {concept.id: rows[concept.id] for concept in taxonomy.concepts()}


def in_words(concept: Concept, question: str) -> str:
    """A question about "this image" as one about an image of a concept that is only named."""
    return f"If an image shows {concept.name}, {question[0].lower()}{question[1:]}"


_SAFE_PART = re.compile(r"\bsafe context\W*:\W*(?P<text>[^\n]*?\?)", re.IGNORECASE)
_UNSAFE_PART = re.compile(r"\bunsafe context\W*:\W*(?P<text>[^\n]*?\?)", re.IGNORECASE)


def read_questions(path: Path) -> QuestionFile:
    """The authors' generated_questions.json: a list of rows `category`, `unsafe concept`, `output`.

    `output` is `Safe Context: ...? Unsafe Context: ...?` over two or more lines. Rows that cannot be read are
    named in `QuestionFile.unread`. Raises `UcbenchError` for a file that is not of this form, or
    that holds no question at all.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UcbenchError(
            f"cannot read {path}: {error.strerror}; name another file with --questions"
        ) from error
    except ValueError as error:
        raise UcbenchError(
            f"{path} is not JSON; --questions takes the authors' generated_questions.json"
        ) from error
    if not isinstance(rows, list):
        raise UcbenchError(
            f"{path} holds no list of rows; --questions takes the authors' generated_questions.json"
        )
    by_name = {_plain(concept.name): concept for concept in taxonomy.concepts()}
    uses: dict[str, Uses] = {}
    problems: list[str] = []
    for number, row in enumerate(rows, start=1):
        name, output = _cells(row)
        concept = by_name.get(_plain(name))
        safe, unsafe = _SAFE_PART.search(output), _UNSAFE_PART.search(output)
        if concept is None:
            problems.append(f"row {number} names no concept of the taxonomy")
        elif concept.id in uses:
            problems.append(f"row {number} asks about {concept.name} again")
        elif safe is None or unsafe is None:
            problems.append(f"row {number} ({concept.name}) lacks the two questions")
        else:
            uses[concept.id] = Uses(safe["text"].strip(), unsafe["text"].strip())
    missing = [concept.name for concept in taxonomy.concepts() if concept.id not in uses]
    if not uses:
        raise UcbenchError(
            f"no row of {path} could be read; each needs `unsafe concept` and an `output` of the form "
            "`Safe Context: ...? Unsafe Context: ...?`"
        )
    if missing:
        problems.append(f"nothing is asked about {', '.join(missing)}")
    return QuestionFile(uses, f"{path}: {'; '.join(problems)}" if problems else None)


def _cells(row: Any) -> tuple[str, str]:
    cells = row if isinstance(row, dict) else {}
    return str(cells.get("unsafe concept", "")), str(cells.get("output", ""))


def _plain(name: str) -> str:
    return " ".join(name.casefold().split())


class Contexts:
    """The contextual questions over the pictures of another track.

    `base` is the track whose pictures are asked about. `questions` is a file of questions in the place of the
    project's own. Unless `allow_incomplete`, every row of it has to be read and every concept asked about;
    else what is left out is not asked.
    """

    def __init__(self, base: Track, questions: Path | None = None, *, allow_incomplete: bool = False) -> None:
        """Nothing is read yet."""
        self._base = base
        self._questions = questions
        self._allow_incomplete = allow_incomplete

    @property
    def id(self) -> str:
        """`contexts`."""
        return "contexts"

    @property
    def version(self) -> str:
        """Names the questions and the pictures. Raises what reading them raises."""
        asked = VERSION
        if self._questions is not None:
            text = json.dumps({name: [u.safe, u.unsafe] for name, u in sorted(self.uses.items())})
            asked = f"questions.{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        return f"{asked}-{self._base.id}-{self._base.version}"

    @property
    def splits(self) -> tuple[Split, ...]:
        """Those of the pictures."""
        return self._base.splits

    @property
    def concepts(self) -> Sequence[Concept]:
        """The 75 unsafe concepts."""
        return taxonomy.concepts()

    @property
    def categories(self) -> dict[str, str]:
        """The 9 categories of the taxonomy."""
        return {category.id: category.name for category in taxonomy.categories()}

    @property
    def subsets(self) -> dict[str, frozenset[str]]:
        """None: the two uses have scores of their own."""
        return {}

    @property
    def fresh_draws(self) -> bool:
        """Whether the pictures have any."""
        return self._base.fresh_draws

    @property
    def pictures_of(self) -> str:
        """The id of the track whose pictures are asked about."""
        return self._base.id

    @property
    def notice(self) -> str | None:
        """What is left out of the question file, and what the pictures lack. Reads both."""
        told = (self._read.unread, getattr(self._base, "notice", None))
        return "; ".join(part for part in told if part) or None

    @property
    def uses(self) -> Mapping[str, Uses]:
        """The questions that are asked, by concept id.

        Raises `UcbenchError` for a file that cannot be read, or not as a whole.
        """
        return self._read.uses

    @cached_property
    def _read(self) -> QuestionFile:
        if self._questions is None:
            return QuestionFile(own_uses(), None)
        found = read_questions(self._questions)
        if found.unread and not self._allow_incomplete:
            raise UcbenchError(f"{found.unread}; mend these rows, or ask the others with --allow-incomplete")
        return found

    def samples(self, split: Split = "test", draw: int = 0, limit: int | None = None) -> list[Sample]:
        """Pictures of unsafe concepts with two questions each, then the blank one with two a concept.

        `limit` counts samples, the blank one included. Raises what reading pictures and questions raises.
        """
        uses = self.uses
        shown = pictures(self._base, split, draw)
        return ask(
            [picture for picture in shown if picture.concept.unsafe and picture.concept.id in uses],
            split,
            limit,
            about_image=lambda concept: about_image(concept, uses[concept.id]),
            about_words=lambda concept: about_words(concept, uses[concept.id]),
        )


def about_image(concept: Concept, uses: Uses) -> Iterator[Question]:
    """The two questions about a picture of a concept."""
    for template, text, label in (
        ("image_context_safe", uses.safe, SAFE),
        ("image_context_unsafe", uses.unsafe, UNSAFE),
    ):
        yield Question(template, "image_context", template, text, concept.id, label)


def about_words(concept: Concept, uses: Uses) -> Iterator[Question]:
    """The two questions about a concept that is only named."""
    for template, text, label in (
        ("text_context_safe", uses.safe, SAFE),
        ("text_context_unsafe", uses.unsafe, UNSAFE),
    ):
        asked = in_words(concept, text)
        yield Question(f"{template}:{concept.id}", "text_context", template, asked, concept.id, label)
