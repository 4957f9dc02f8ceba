"""Asking more often about what is still answered wrongly.

Late in training most answers are right and teach nothing. A share of each batch therefore goes to concepts
in proportion to how often their answers were wrong lately; the rest follows the plain order, so that every
picture is met. Safe and unsafe stay equal in number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ucbench.align.data import Draw, TrainingSet
from ucbench.types import SAFE, UNSAFE

#: Weight of the newest answer in a concept's running share of right ones.
NEWEST = 0.3
#: Where a concept starts, and the least weight that a mastered one keeps.
START, LEAST = 0.5, 0.02


class Focus:
    """The batches of a run. A function of seed and of the answers so far: the same in every process."""

    def __init__(self, data: TrainingSet, share: float, seed: int) -> None:
        self._data, self._share, self._seed = data, share, seed
        self._items: dict[str, dict[str, list[int]]] = {UNSAFE: {}, SAFE: {}}
        for index, item in enumerate(data.items):
            self._items[item.label].setdefault(item.concept_id, []).append(index)
        self._right = {concept: START for side in self._items.values() for concept in side}

    def batch(self, step: int, size: int) -> list[Draw]:
        """The draws of a step, counted from 0; unsafe and safe in turn."""
        chosen = 2 * int(size * self._share / 2)
        draws = self._data.batch(step, size - chosen, self._seed) if size > chosen else []
        generator = np.random.Generator(np.random.Philox(key=self._seed, counter=[0, 0, 9, step]))
        sides = {label: self._concepts(label, chosen // 2, generator) for label in (UNSAFE, SAFE)}
        for place in range(chosen):
            label = (UNSAFE, SAFE)[place % 2]
            items = self._items[label][sides[label][place // 2]]
            item = self._data.items[items[int(generator.integers(len(items)))]]
            question = item.questions[int(generator.integers(len(item.questions)))]
            draws.append(Draw(item, question, f"focus/{place}"))
        return draws

    def update(self, draws: Sequence[Draw], right: npt.NDArray[np.float64]) -> None:
        """Take note of a whole batch's answers: 1 for a right one, 0 for a wrong one, [n]."""
        for draw, hit in zip(draws, right, strict=True):
            concept = draw.item.concept_id
            self._right[concept] += NEWEST * (float(hit) - self._right[concept])

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return dict(self._right)

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a kept state."""
        self._right = {concept: float(share) for concept, share in state.items()}

    def _concepts(self, label: str, n: int, generator: np.random.Generator) -> list[str]:
        names = list(self._items[label])
        weights = np.array([max(1.0 - self._right[name], LEAST) for name in names])
        return [names[i] for i in generator.choice(len(names), size=n, p=weights / weights.sum())]
