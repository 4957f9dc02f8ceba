"""The authors' 80/20 split of `unsafeconcepts`, image for image, and the question of each test image.

Source: TrustAIRLab/SaferVLM (MIT), the code of arXiv 2507.11155. Python's `random` is seeded with 2024 and
shuffles the rows of one concept after the other, so where an image falls depends on the row counts of all
concepts before its own. A generator of our own gives the same numbers and leaves the global one alone.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ucbench.tracks.questions import IMAGE_ALIGNMENT

SEED = 2024
TRAIN_SHARE = 0.8
QUESTION_SEED = 42


@dataclass(frozen=True, slots=True)
class ImageSplit:
    """Row numbers from 0, in the authors' order; unsafe rows and safe images are counted apart."""

    train_unsafe: tuple[int, ...]
    test_unsafe: tuple[int, ...]
    train_safe: tuple[int, ...]
    test_safe: tuple[int, ...]


def split(concepts: Sequence[str], n_safe: int) -> ImageSplit:
    """Split unsafe images, given by the concept name of each row, and `n_safe` safe ones.

    Of a concept's n rows int(0.8 n) train, so a single one is for testing. Neither safe side is longer
    than the unsafe one; it is shorter where there are too few safe images.
    """
    rows: dict[str, list[int]] = {}
    for row, concept in enumerate(concepts):
        rows.setdefault(concept, []).append(row)
    generator = random.Random(SEED)
    train: list[int] = []
    test: list[int] = []
    for concept in sorted(rows):  # by code point, as the seed's numbers are dealt out in this order
        first, rest = _shuffled(generator, rows[concept])
        train += first
        test += rest
    train_safe, test_safe = _shuffled(random.Random(SEED), list(range(n_safe)))
    return ImageSplit(
        tuple(train), tuple(test), tuple(train_safe[: len(train)]), tuple(test_safe[: len(test)])
    )


def _shuffled(generator: random.Random, rows: list[int]) -> tuple[list[int], list[int]]:
    generator.shuffle(rows)  # draws nothing for a single row
    size = int(TRAIN_SHARE * len(rows))
    return rows[:size], rows[size:]


def asked(n: int) -> tuple[int, ...]:
    """Which of the five alignment questions each of n test images gets, unsafe images first."""
    return tuple(np.random.RandomState(QUESTION_SEED).choice(len(IMAGE_ALIGNMENT), size=n).tolist())
