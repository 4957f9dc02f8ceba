"""How far two judges agree: raw agreement and Cohen's kappa."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of two readings of the same answers.

    `agreement` is the share of equal labels, NaN for no answers. `kappa` is Cohen's (1960): agreement beyond
    that expected from each judge's own label shares, over the most there could be. It is None where chance
    alone already explains everything (no answers, or both judges gave one and the same label throughout):
    0/0 is no measure. `by_label` gives for each label the share of answers on which both gave it among those
    on which either did; `confusion[x][y]` counts answers labelled x by the first judge and y by the second.
    """

    n: int
    agreement: float
    kappa: float | None
    by_label: dict[str, float]
    confusion: dict[str, dict[str, int]]


def agree(a: Sequence[str], b: Sequence[str]) -> Agreement:
    """Compare two sequences of labels. Raises `ValueError` when their lengths differ."""
    pairs = Counter(zip(a, b, strict=True))
    n = len(a)
    labels = sorted({*a, *b})
    confusion = {x: {y: pairs[x, y] for y in labels} for x in labels}
    first, second = Counter(a), Counter(b)
    if n == 0:
        return Agreement(0, float("nan"), None, {}, {})
    same = sum(pairs[label, label] for label in labels)
    # Whole numbers up to the last division, so that perfect agreement is exactly 1.
    chance = sum(first[label] * second[label] for label in labels)
    kappa = None if chance == n * n else (same * n - chance) / (n * n - chance)
    by_label = {
        label: pairs[label, label] / (first[label] + second[label] - pairs[label, label]) for label in labels
    }
    return Agreement(n, same / n, kappa, by_label, confusion)
