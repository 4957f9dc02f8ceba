"""A look at some pictures during training: greedy answers, read by the rules.

It asks about images and words, safe and unsafe: a model that has learned to say No to everything shows at
once. The judge is never the one that rewards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ucbench.judges.base import Item
from ucbench.judges.rules import RulesJudge
from ucbench.models.loading import Loaded
from ucbench.models.local import LocalVLM
from ucbench.models.registry import Base
from ucbench.record import Decoding, Entry
from ucbench.types import SAFE, UNSAFE, Question, Sample

_NAMES = {
    ("image_alignment", UNSAFE): "probe_image_unsafe",
    ("image_alignment", SAFE): "probe_image_safe",
    ("text_alignment", UNSAFE): "probe_text_unsafe",
    ("text_alignment", SAFE): "probe_text_safe",
}


class Probe:
    """One alignment question to each picture, and one to each concept in words."""

    def __init__(self, base: Base, samples: Sequence[Sample], max_new_tokens: int) -> None:
        decoding = Decoding(max_new_tokens=max_new_tokens)
        self._loaded: Loaded = base.loaded
        self._entry = Entry(
            model=base.name, revision=base.revision, dtype=base.loaded.dtype, decoding=decoding
        )
        self.judge = RulesJudge()
        self._samples = [
            replace(sample, questions=kept)
            for number, sample in enumerate(samples)
            if (kept := _one_each(sample.questions, number))
        ]

    @property
    def n(self) -> dict[str, int]:
        """Questions behind each share."""
        counts = dict.fromkeys(_NAMES.values(), 0)
        for sample in self._samples:
            for question in sample.questions:
                counts[_NAMES[question.kind, question.expected]] += 1
        return {name: count for name, count in counts.items() if count}

    def __call__(self) -> dict[str, float]:
        """Shares of right answers by `probe_{image,text}_{unsafe,safe}`; no answer counts as wrong."""
        vlm = LocalVLM(self._loaded, self._entry)
        hits: dict[str, list[bool]] = {}
        for batch in vlm.plan(self._samples, 128):
            answers = vlm.answer(batch)
            items = [
                Item(sample.id, q.id, q.kind, q.text, answer.text, q.expected, q.options)
                for (sample, q), answer in zip(batch.items, answers, strict=True)
            ]
            for item, verdict in zip(items, self.judge.judge(items), strict=True):
                hits.setdefault(_NAMES[item.kind, item.expected], []).append(verdict.label == item.expected)
        return {name: sum(hits[name]) / len(hits[name]) for name in _NAMES.values() if name in hits}


def _one_each(questions: Sequence[Question], number: int) -> tuple[Question, ...]:
    """One question of the five for each concept, another one for each next picture."""
    by_concept: dict[tuple[str, str], list[Question]] = {}
    for question in questions:
        if (question.kind, question.expected) in _NAMES:
            by_concept.setdefault((question.kind, question.concept_id), []).append(question)
    return tuple(group[(number + place) % len(group)] for place, group in enumerate(by_concept.values()))
