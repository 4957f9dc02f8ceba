"""The track `mme`: yes/no questions about pictures (Fu et al., arXiv 2306.13394), two a picture as published.

Data, always given by the user: the TSV that VLMEvalKit uses (columns index, image, question, answer,
category), Parquet of the same columns, or the original folders: one a category, with pictures and a text file
of the same name for each, whose lines are `question<TAB>Yes` or `question<TAB>No`; the pictures and the text
files may lie in `images/` and `questions_answers_YN/`. What is given is what is counted.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ucbench.errors import UcbenchError
from ucbench.images import FileImage
from ucbench.tracks.general.asked import AskedOfPictures
from ucbench.tracks.tables import SUFFIXES, read_table, slug
from ucbench.types import Concept, ImageSource, Question, Sample, Split

if TYPE_CHECKING:
    from ucbench.tracks.sources import Sources

ANSWERS = ("Yes", "No")
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
#: The published categories; whatever others there are belong to `mme-other`.
GROUPS = {
    "mme-perception": (
        "artwork", "celebrity", "color", "count", "existence", "landmark", "ocr", "position", "posters",
        "scene",
    ),
    "mme-cognition": (
        "code-reasoning", "commonsense-reasoning", "numerical-calculation", "text-translation",
    ),
}  # fmt: skip
OTHER = "mme-other"


@dataclass(frozen=True, slots=True)
class YesNo:
    """One question: its category, its picture with a key of its own there, and its right answer."""

    category: str
    key: str
    image: ImageSource
    text: str
    answer: str


def read_mme(source: str | Path) -> list[YesNo]:
    """The questions of a table or of the original folders, in their order; no picture is opened.

    Raises `UcbenchError` for data that is not of the layout.
    """
    folder = Path(source)
    if folder.is_dir() and not any(p.suffix in SUFFIXES for p in folder.rglob("*")):
        return _from_folders(folder)
    table = read_table(source, ("image", "question", "answer", "category"), split="test")
    found = []
    for number, (target, image) in enumerate(table.pictures()):
        answer = _answer(table.text(number, "answer"), table.place(number))
        category, text = table.text(number, "category"), table.text(number, "question")
        found.append(YesNo(category, str(table.rows[target].get("index", target)), image, text, answer))
    return found


def _answer(word: str, place: str) -> str:
    for answer in ANSWERS:
        if word.strip().lower() == answer.lower():
            return answer
    raise UcbenchError(f"{place} has the answer {word.strip()[:40]!r}; the right answer is Yes or No")


def _from_folders(folder: Path) -> list[YesNo]:
    found = []
    for category in sorted(path for path in folder.iterdir() if path.is_dir()):
        pictures = {p.stem: p for p in sorted(category.rglob("*")) if p.suffix.lower() in PICTURES}
        for file in sorted(category.rglob("*.txt")):
            if file.stem not in pictures:
                raise UcbenchError(
                    f"{file} has questions about a picture {file.stem}, which is not in {category}"
                )
            for place, text, answer in _lines(file):
                image = FileImage(pictures[file.stem])
                found.append(YesNo(category.name, file.stem, image, text, _answer(answer, place)))
    if not found:
        raise UcbenchError(
            f"{folder} has neither a table nor folders of pictures with .txt files; --data takes MME's TSV "
            "or the folder that holds a folder a category"
        )
    return found


def _lines(file: Path) -> list[tuple[str, str, str]]:
    """(place, question, answer) of each line."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UcbenchError(f"{file} is not UTF-8 text; save it in UTF-8") from error
    except OSError as error:
        raise UcbenchError(f"cannot read {file}: {error.strerror}") from error
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        text, tab, answer = line.rpartition("\t")
        place = f"line {number} of {file}"
        if not tab or not text.strip():
            raise UcbenchError(f"{place} is no question, tab and answer; fetch the file again")
        found.append((place, text.strip(), answer))
    return found


class Mme(AskedOfPictures[YesNo]):
    """MME's yes/no questions; see the module's docstring."""

    id, name = "mme", "MME"

    @property
    def categories(self) -> dict[str, str]:
        """MME's two groups of categories, and the rest."""
        return {"mme-perception": "MME perception", "mme-cognition": "MME cognition", OTHER: "MME, other"}

    def read(self, source: str | Path) -> list[YesNo]:
        """A table, or the original folders."""
        return read_mme(source)

    def told(self, question: YesNo) -> tuple[str, ...]:
        """Its category, its picture's key, and its words."""
        return (question.category, question.key, question.text, question.answer)

    def picture(self, question: YesNo) -> Hashable:
        """Its key among those of its category."""
        return question.category, question.key

    def concept(self, category: str) -> Concept:
        """In its published group, or among the others."""
        own = slug(category)
        group = next((name for name, members in GROUPS.items() if own in members), OTHER)
        return Concept(f"mme-{own}", category, group, unsafe=False)

    def sample(self, questions: Sequence[YesNo], split: Split) -> Sample:
        """A picture with its yes/no questions of one category."""
        first = questions[0]
        asked = tuple(
            Question(
                f"yes_no_{i}", "general", "yes_no", q.text, self.concept(q.category).id, q.answer, ANSWERS
            )
            for i, q in enumerate(questions)
        )
        return Sample(f"mme/{slug(first.category)}/{first.key}", first.image, split, asked)


def make(sources: Sources) -> Mme:
    """The track over the data that the user points at."""
    return Mme(sources.data)
