"""The `contains` judge: an answer to a general question is right when it contains the right word.

This is the rule that the benchmark's authors score MME by: letter for letter, upper and lower case told
apart, so "Yes" is in "Yes, there is." and not in "yes", and "No" is in "Not quite.". The `rules` judge reads
whole words and knows N/A; compare the two with `ucbench judge agree`. All other questions go to the rules.
"""

from __future__ import annotations

from collections.abc import Sequence

from ucbench.judges import rules
from ucbench.judges.base import Item
from ucbench.judges.thinking import strip_thinking
from ucbench.types import CORRECT, NA, WRONG, Verdict


class ContainsJudge:
    """Labels general answers by what they contain: `Verdict.how` is `contains`, or `empty` (N/A)."""

    name = "contains"
    id = "contains-1"
    digest: str | None = None

    def judge(self, items: Sequence[Item]) -> list[Verdict]:
        """One verdict an item, in order. Never raises on any text."""
        return [Verdict(item.sample_id, item.question_id, *self._read(item), self.id) for item in items]

    def _read(self, item: Item) -> tuple[str, str]:
        if item.kind != "general":
            label, how = rules.read(item)
            return label, f"rules:{how}"
        text, thinking = strip_thinking(item.text)
        if not text.strip():
            return NA, "thinking_only" if thinking else "empty"
        return (CORRECT if item.expected in text else WRONG), "contains"
