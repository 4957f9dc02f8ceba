"""The track `llavabench`: LLaVA-Bench (in the wild), 60 open questions about 24 pictures (Liu et al. 2023).

A model that judges rates each answer beside a reference answer (`ucbench.judges.rating`). Data, always given
by the user: the TSV that VLMEvalKit uses (columns index, image, question, gpt4_ans, caption, category),
Parquet of the same columns, or the original folder: `questions.jsonl`, `answers_gpt4.jsonl`, `context.jsonl`
and `images/`.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from ucbench.errors import UcbenchError
from ucbench.images import FileImage
from ucbench.tracks.general.asked import AskedOfPictures
from ucbench.tracks.tables import read_table, slug
from ucbench.types import Concept, ImageSource, Question, Sample, Split

if TYPE_CHECKING:
    from ucbench.tracks.sources import Sources

QUESTIONS, REFERENCES, CONTEXTS = "questions.jsonl", "answers_gpt4.jsonl", "context.jsonl"
#: Category in the data -> its name for people.
CATEGORIES = {"conv": "Conversation", "detail": "Detailed description", "complex": "Complex reasoning"}


@dataclass(frozen=True, slots=True)
class Open:
    """One question; `context` describes the picture in words, for a judge that does not see it."""

    category: str
    key: str
    image: ImageSource
    text: str
    reference: str
    context: str


def read_llavabench(source: str | Path) -> list[Open]:
    """The questions of a table or of the original folder, in their order; no picture is opened.

    Raises `UcbenchError` for data that is not of the layout.
    """
    folder = Path(source)
    if (folder / QUESTIONS).is_file():
        return _from_folder(folder)
    table = read_table(source, ("image", "question", "gpt4_ans", "caption", "category"), split="test")
    # VLMEvalKit's table repeats a picture in full for each of its questions, under one `image_path`.
    named = "image_path" in table.rows[0]
    return [
        Open(
            table.text(number, "category"),
            table.text(number, "image_path") if named else str(table.rows[target].get("index", target)),
            image,
            table.text(number, "question"),
            table.text(number, "gpt4_ans"),
            table.text(number, "caption"),
        )
        for number, (target, image) in enumerate(table.pictures())
    ]


def _from_folder(folder: Path) -> list[Open]:
    references = {_field(row, "question_id"): row for row in _rows(folder / REFERENCES)}
    contexts = {_field(row, "image"): row for row in _rows(folder / CONTEXTS)}
    found = []
    for row in _rows(folder / QUESTIONS):
        number, image = _field(row, "question_id"), _field(row, "image")
        if number not in references:
            raise UcbenchError(f"{folder / REFERENCES} has no answer to question {number}; fetch it again")
        if image not in contexts:
            raise UcbenchError(f"{folder / CONTEXTS} says nothing of picture {image}; fetch it again")
        file = PureWindowsPath(PurePosixPath(image).name).name
        found.append(
            Open(
                _field(row, "category").removeprefix("llava_bench_"),
                image,
                FileImage(folder / "images" / file),
                _field(row, "text"),
                _field(references[number], "text"),
                _field(contexts[image], "caption"),
            )
        )
    if not found:
        raise UcbenchError(f"{folder / QUESTIONS} holds no questions; fetch it again")
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    """JSON lines, each with its place under the key `place`."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UcbenchError(f"{path} is not UTF-8 text; fetch it again") from error
    except OSError as error:
        raise UcbenchError(f"cannot read {path}: {error.strerror}; fetch it again") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        place = f"line {number} of {path}"
        try:
            row = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError) as error:
            raise UcbenchError(f"{place} is broken JSON; fetch the file again") from error
        if row is not None:
            if not isinstance(row, dict):
                raise UcbenchError(f"{place} is no object; fetch the file again")
            rows.append({**row, "place": place})
    return rows


def _field(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    # Early copies of the files keep the caption of a picture as a list of sentences.
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        value = "\n".join(value)
    text = str(value) if isinstance(value, str | int) else ""
    if not text.strip():
        raise UcbenchError(f"{row['place']} has no {name}; fetch the file again")
    return text


class LlavaBench(AskedOfPictures[Open]):
    """Open questions with reference answers; see the module's docstring."""

    id, name = "llavabench", "LLaVABench"

    @property
    def categories(self) -> dict[str, str]:
        """One category."""
        return {"llavabench": "LLaVABench"}

    def read(self, source: str | Path) -> list[Open]:
        """A table, or the original folder."""
        return read_llavabench(source)

    def told(self, question: Open) -> tuple[str, ...]:
        """Its category, its picture's key, and its words."""
        return (question.category, question.key, question.text, question.reference, question.context)

    def picture(self, question: Open) -> Hashable:
        """Its key."""
        return question.key

    def concept(self, category: str) -> Concept:
        """Its kind of question."""
        name = CATEGORIES.get(category, category)
        return Concept(f"llavabench-{slug(category)}", name, "llavabench", unsafe=False)

    def sample(self, questions: Sequence[Open], split: Split) -> Sample:
        """A picture with its open questions."""
        asked = tuple(
            Question(
                f"open_{i}", "rated", f"open_{slug(q.category)}", q.text, self.concept(q.category).id,
                q.reference, context=q.context,
            )
            for i, q in enumerate(questions)
        )  # fmt: skip
        return Sample(f"llavabench/{questions[0].key}", questions[0].image, split, asked)


def make(sources: Sources) -> LlavaBench:
    """The track over the data that the user points at."""
    return LlavaBench(sources.data)
