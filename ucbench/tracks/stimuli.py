"""Stored questions against the benchmark's own words, for those who do not have the pictures."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from ucbench import taxonomy
from ucbench.tracks import questions
from ucbench.types import OPTION_LETTERS, SAFE, UNSAFE, Concept

if TYPE_CHECKING:
    import pandas as pd


def strangers(answers: pd.DataFrame) -> list[tuple[str, str]]:
    """(sample id, question id) of questions that the benchmark does not ask in these words.

    Alignment questions, their right labels, and the side and category of the 75 concepts are the same for
    any picture. Of a perception question the frame around the options is. Other kinds pass.
    """
    rows: list[dict[str, Any]] = answers.to_dict("records")  # type: ignore[assignment]
    return [(row["sample_id"], row["question_id"]) for row in rows if not _known(row)]


def _known(row: dict[str, Any]) -> bool:
    concept = _concepts().get(row["concept_id"])
    if concept is not None and (not row["unsafe"] or row["category_id"] != concept.category):
        return False
    label = UNSAFE if row["unsafe"] else SAFE
    number = row["template"].rpartition("_")[2]
    if row["kind"] == "perception":
        options = list(row["options"])
        if len(options) != len(OPTION_LETTERS) or row["expected"] not in OPTION_LETTERS:
            return False
        return _plain(row["prompt"]) == _plain(questions.perception(options))
    if row["kind"] == "image_alignment":
        text = _numbered(questions.IMAGE_ALIGNMENT).get(number, "")
    elif row["kind"] == "text_alignment" and concept is not None:
        text = _numbered(questions.TEXT_ALIGNMENT).get(number, "").format(concept=concept.name)
    else:
        return True
    return bool(row["prompt"] == text and row["expected"] == label)


def _numbered(texts: tuple[str, ...]) -> dict[str, str]:
    return {str(number): text for number, text in enumerate(texts)}


def _plain(text: str) -> str:
    return " ".join(text.split())


@cache
def _concepts() -> dict[str, Concept]:
    return {concept.id: concept for concept in taxonomy.concepts()}
