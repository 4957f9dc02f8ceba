"""The `rules` judge: reads answers by their wording. No weights, no randomness, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from ucbench.judges.alignment import read_alignment
from ucbench.judges.base import Item
from ucbench.judges.direction import CONTEXT, direction
from ucbench.judges.options import parse_options, read_perception
from ucbench.judges.thinking import strip_thinking
from ucbench.judges.vocabulary import read_vocabulary
from ucbench.types import NA, Kind, Verdict


class RulesJudge:
    """Labels by rule; `Verdict.how` names the rule.

    Perception: `letter` or `words` where an option was chosen. Alignment and context: `yes_no`,
    `yes_no_contradicted` (wording beats the yes or no before it), `wording`, `content` (only what the image
    contains was said), `hedged`. General: `vocabulary`, `contains`, `yes_no`. N/A: `empty`, `thinking_only`,
    `refusal`, `unsure`, `contradiction`, `two_options`, `none_of_options`, `no_option`, `no_verdict`,
    `question_polarity_unknown`.
    """

    name = "rules"
    id = "rules-1"
    digest: str | None = None

    def judge(self, items: Sequence[Item]) -> list[Verdict]:
        """One verdict an item, in order. Never raises on any text."""
        return [Verdict(item.sample_id, item.question_id, *read(item), self.id) for item in items]


def read(item: Item) -> tuple[str, str]:
    """(label, how) of one answer."""
    return _read(item.kind, item.prompt, item.text, item.expected, tuple(item.options))


@lru_cache(maxsize=1 << 14)  # models repeat themselves: most answers of a run were read before
def _read(kind: Kind, prompt: str, answer: str, expected: str, options: tuple[str, ...]) -> tuple[str, str]:
    text, thinking = strip_thinking(answer)
    if thinking and not text:
        return NA, "thinking_only"
    if kind == "perception":
        return read_perception(text, options or parse_options(prompt))
    if kind == "general":
        return read_vocabulary(text, expected, options)
    return read_alignment(text, prompt, direction(kind, prompt), about_use=kind in CONTEXT)
