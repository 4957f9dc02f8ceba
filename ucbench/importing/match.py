"""Saved answers at the questions they belong to: by what was asked about which picture, never by order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from ucbench.errors import UcbenchError
from ucbench.importing import authors, table
from ucbench.judges.options import parse_options
from ucbench.metrics.parts import TEXT_KINDS
from ucbench.types import Answer, Question, Sample

Key = tuple[str, str]
#: How many examples of a finding are named.
EXAMPLES = 3
#: What an answer that was saved as an empty text counts as, and one that is not there.
EMPTY: Final = "model_error"
MISSING: Final = "missing"


@dataclass(frozen=True, slots=True)
class Given:
    """A saved answer at its question. `place` says where it was saved, `empty` that its text was."""

    place: str
    answer: Answer
    empty: bool

    @property
    def key(self) -> Key:
        """Sample id and question id."""
        return self.answer.sample_id, self.answer.question_id


@dataclass(slots=True)
class Finding:
    """How often something was found, and the first few places."""

    n: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str) -> None:
        """Count one more."""
        self.n += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(example)

    def __str__(self) -> str:
        """`12 (perception on images/3.png, ...)`."""
        more = ", ..." if self.n > len(self.examples) else ""
        return f"{self.n:,} (" + ", ".join(self.examples) + more + ")"


@dataclass(slots=True)
class Report:
    """What was found in the saved answers, for people and for the record's notes."""

    rows: int = 0
    questions: int = 0
    missing: dict[str, Finding] = field(default_factory=dict)
    empty: Finding = field(default_factory=Finding)
    doubled: Finding = field(default_factory=Finding)
    differing: Finding = field(default_factory=Finding)
    outside: Finding = field(default_factory=Finding)
    options_read: int = 0
    options_own: Finding = field(default_factory=Finding)
    not_read: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """One line a finding; what was not found is not told."""
        lines = [f"{self.rows:,} saved answers read for {self.questions:,} questions"]
        lines += [f"without an answer, {kind}: {found}" for kind, found in self.missing.items()]
        told = (
            (self.empty, "saved as an empty text, counted as failed"),
            (self.doubled, "saved twice with the same text, counted once"),
            (self.differing, "saved twice with different texts, the first that is not empty is kept"),
            (self.outside, "about pictures outside the split, left out"),
        )
        lines += [f"{what}: {found}" for found, what in told if found.n]
        if self.options_read:
            lines.append(f"perception options taken from the prompts: {self.options_read:,}")
        if self.options_own.n:
            lines.append(
                "perception options of our own, seeded, as no prompt was saved for the picture: "
                f"{self.options_own}"
            )
        if self.not_read:
            some = ", ".join(self.not_read[:EXAMPLES]) + (", ..." if len(self.not_read) > EXAMPLES else "")
            lines.append(f"files of no known kind, not read: {len(self.not_read):,} ({some})")
        return lines


class Index:
    """The questions of some samples, to be found by prompt and picture.

    A picture is known by its sample's id, with or without folders before and the ending behind, as far as
    that names one picture only. Questions in words are known by their prompt alone.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._pictures: dict[str, Sample | None] = {}
        self._asked: dict[tuple[str, str], Question] = {}
        self._in_words: dict[str, list[tuple[Sample, Question]]] = {}
        self._keys: dict[Key, Question] = {}
        for sample in samples:
            for name in _names(sample.id):
                if self._pictures.setdefault(name, sample) is not sample:
                    self._pictures[name] = None
            for question in sample.questions:
                prompt = plain(question.text)
                self._keys[sample.id, question.id] = question
                self._asked[sample.id, prompt] = question
                if question.kind in TEXT_KINDS:
                    self._in_words.setdefault(prompt, []).append((sample, question))
        self._pictures |= {sample.id: sample for sample in samples}

    def by_id(self, sample_id: str, question_id: str) -> Question | None:
        """The question of these ids."""
        return self._keys.get((sample_id, question_id))

    def picture(self, image: str | None) -> Sample | None:
        """The sample that an image's name stands for."""
        for name in _names(image or ""):
            if (found := self._pictures.get(name)) is not None:
                return found
        return None

    def find(self, prompt: str, image: str | None) -> tuple[Sample, Question] | None:
        """The question with this prompt about this picture.

        A question in words is found without a picture or with a blank one.
        """
        asked = plain(prompt)
        sample = self.picture(image)
        if sample is not None:
            question = self._asked.get((sample.id, asked))
            return None if question is None else (sample, question)
        in_words = self._in_words.get(asked, [])
        if len(in_words) == 1 and (not image or "blank" in _file_name(image)):
            return in_words[0]
        return None


def plain(prompt: str) -> str:
    """A prompt for comparing: white space counts for nothing."""
    return " ".join(prompt.split())


def _names(image: str) -> list[str]:
    """Names of a picture, the most telling first: `UnsafeConcepts/images/0.png`, `images/0.png`, ..., `0`."""
    parts = [part for part in PurePosixPath(image.replace("\\", "/")).parts if part not in ("/", ".")]
    paths = ["/".join(parts[start:]) for start in range(len(parts))]
    return [name for path in paths for name in dict.fromkeys((path, _without_ending(path)))]


def _without_ending(path: str) -> str:
    return path[: -len(suffix)] if (suffix := PurePosixPath(path).suffix) else path


def _file_name(image: str) -> str:
    return PurePosixPath(image.replace("\\", "/")).name.lower()


def match_authors(
    rows: Iterable[authors.Row], index: Index, whole: Callable[[], Index], report: Report
) -> list[Given]:
    """Put rows of the authors' layout at the questions of `index`.

    Rows that belong to the `whole` track only, not to `index`, are left out and counted. Raises
    `UcbenchError` for a row that asks nothing the track asks.
    """
    given = []
    for row in rows:
        report.rows += 1
        found = index.find(row.prompt, row.image)
        if found is None:
            if whole().find(row.prompt, row.image) is None:
                raise UcbenchError(_stray(row, whole()))
            report.outside.add(row.place)
            continue
        sample, question = found
        empty = not row.text.strip()
        answer = Answer(sample.id, question.id, "" if empty else row.text, 0, EMPTY if empty else None)
        given.append(Given(row.place, answer, empty))
    return given


def _stray(row: authors.Row, whole: Index) -> str:
    """Why a row belongs to no question. Options are not quoted: they may name what nobody should read."""
    if whole.picture(row.image) is not None and parse_options(row.prompt):
        return (
            f"{row.place} asks about {row.image} with other options than the track does; leave out "
            "--perception-metadata to take the options from the prompts, or give the file they were made from"
        )
    about = f"about {row.image}" if row.image else "without a picture"
    asked = row.prompt.strip().splitlines()[0][:120]
    return (
        f"{row.place} asks {about}, {asked!r}, which is no question of this track: "
        "its picture or concept is unknown, or the answers are those of another benchmark"
    )


def match_table(
    rows: Iterable[table.Row], index: Index, whole: Callable[[], Index], report: Report
) -> list[Given]:
    """Put rows of a plain table at the questions of `index`; as `match_authors` for the rest."""
    given = []
    for row in rows:
        report.rows += 1
        question = index.by_id(row.sample_id, row.question_id)
        if question is None:
            if whole().by_id(row.sample_id, row.question_id) is None:
                raise UcbenchError(
                    f"{row.place} answers {row.question_id} on {row.sample_id}, which this track does not "
                    "ask; `ucbench questions` writes what it asks"
                )
            report.outside.add(row.place)
            continue
        if row.prompt is not None and plain(row.prompt) != plain(question.text):
            raise UcbenchError(
                f"{row.place} has another prompt for {row.question_id} on {row.sample_id} than the track; "
                "ask the questions of this version, as `ucbench questions` writes them"
            )
        empty = row.error is None and not row.text.strip()
        error = EMPTY if empty else row.error
        text = "" if error else row.text
        answer = Answer(row.sample_id, row.question_id, text, row.tokens, error, row.truncated)
        given.append(Given(row.place, answer, empty))
    return given


def settle(samples: Sequence[Sample], given: Iterable[Given], report: Report) -> dict[Key, Answer]:
    """One answer a question: of several, the first that is not empty; of none, the error `missing`."""
    kept: dict[Key, Given] = {}
    for item in given:
        first = kept.setdefault(item.key, item)
        if first is item:
            continue
        same = first.answer.text == item.answer.text
        (report.doubled if same else report.differing).add(item.place)
        if first.answer.error and not item.answer.error:
            kept[item.key] = item
    answers: dict[Key, Answer] = {}
    for sample in samples:
        for question in sample.questions:
            report.questions += 1
            key = (sample.id, question.id)
            if key in kept:
                answers[key] = kept[key].answer
                if kept[key].empty:
                    report.empty.add(kept[key].place)
            else:
                answers[key] = Answer(*key, "", 0, MISSING)
                report.missing.setdefault(question.kind, Finding()).add(f"{question.id} on {sample.id}")
    return answers


def digest(samples: Sequence[Sample], answers: dict[Key, Answer]) -> str:
    """`sha256:` and 16 hex digits over questions and answers; what was never answered is left out."""
    total = hashlib.sha256()
    for sample in samples:
        for question in sample.questions:
            answer = answers[sample.id, question.id]
            if answer.error != MISSING:
                fields = (sample.id, question.id, question.text, answer.text, answer.error, answer.truncated)
                total.update(json.dumps(fields).encode())
    return f"sha256:{total.hexdigest()[:16]}"
