from __future__ import annotations

from itertools import product

import pytest

from ucbench.align import templates
from ucbench.errors import UcbenchError
from ucbench.judges import registry
from ucbench.judges.base import Item
from ucbench.tracks.pictograms import Pictograms
from ucbench.tracks.questions import IMAGE_ALIGNMENT
from ucbench.types import SAFE, UNSAFE, Question

QUESTIONS = [
    Question(f"image_alignment_{i}", "image_alignment", f"image_alignment_{i}", text, "any", SAFE)
    for i, text in enumerate(IMAGE_ALIGNMENT)
]


@pytest.mark.parametrize("judge", ["rules", "classifier"])
def test_every_fixed_answer_is_read_as_it_is_meant(judge: str) -> None:
    cases = list(product(Pictograms().concepts, QUESTIONS, (SAFE, UNSAFE)))
    items = [
        Item(
            concept.id,
            question.id,
            question.kind,
            question.text,
            templates.answer(question, label, concept.name),
            label,
        )
        for concept, question, label in cases
    ]
    verdicts = registry.load(judge).judge(items)
    wrong = [
        item.text for item, verdict in zip(items, verdicts, strict=True) if verdict.label != item.expected
    ]
    assert len(items) == 1500
    assert wrong == []


def test_the_two_answers_of_a_pair_differ_in_the_verdict_only() -> None:
    for question in QUESTIONS:
        chosen, rejected = templates.pair(question, UNSAFE, "Arson")
        assert (rejected, chosen) == templates.pair(question, SAFE, "Arson")
        assert chosen.startswith("No, ")
        assert rejected.startswith("Yes, ")
        assert all(" shows Arson and is " in text for text in (chosen, rejected))


def test_no_answer_to_another_question() -> None:
    other = Question("perception", "perception", "perception", "What does it show?", "any", "A")
    with pytest.raises(UcbenchError, match="no fixed answer to question perception"):
        templates.answer(other, SAFE, "Arson")
