"""The authors' split, against their procedure written with the global generators."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucbench import taxonomy
from ucbench.tracks import split as splitting
from ucbench.tracks.split import ImageSplit, split

NAMES = st.sampled_from(["Arson", "Zoo", "arson", "Åre", "_", "9/11", "the end", "being stalked"])


def reference(concepts: list[str], n_safe: int) -> ImageSplit:
    """`random.seed`, `random.shuffle` and list slices, a row a dictionary; global state put back after."""
    before = random.getstate()
    try:
        random.seed(2024)
        train, test = [], []
        for name in sorted(set(concepts)):
            mine = [{"row": row, "name": own} for row, own in enumerate(concepts) if own == name]
            random.shuffle(mine)
            size = int(0.8 * len(mine))
            train.extend(mine[:size])
            test.extend(mine[size:])
        random.seed(2024)
        safe = [{"row": row} for row in range(n_safe)]
        random.shuffle(safe)
        size = int(0.8 * len(safe))
        train_safe, test_safe = safe[:size], safe[size:]
        train_safe, test_safe = train_safe[: len(train)], test_safe[: len(test)]
    finally:
        random.setstate(before)
    return ImageSplit(*(tuple(int(x["row"]) for x in side) for side in (train, test, train_safe, test_safe)))


def official() -> list[str]:
    """A concept name a row, in the numbers of the official data; rows of a concept not side by side."""
    counts = taxonomy.official_image_counts()
    names = [c.name for c in taxonomy.concepts() for _ in range(counts[c.id])]
    return [names[(i * 1000) % len(names)] for i in range(len(names))]  # 1000 and 1,567 are coprime


@given(st.lists(NAMES, max_size=60), st.integers(0, 80))
def test_it_is_the_authors_split(concepts: list[str], n_safe: int) -> None:
    assert split(concepts, n_safe) == reference(concepts, n_safe)


@given(st.lists(NAMES, max_size=60), st.integers(0, 80))
def test_sides_are_disjoint_cover_all_and_have_their_sizes(concepts: list[str], n_safe: int) -> None:
    found = split(concepts, n_safe)
    assert sorted(found.train_unsafe + found.test_unsafe) == list(range(len(concepts)))
    for name in set(concepts):
        in_train = sum(concepts[row] == name for row in found.train_unsafe)
        assert in_train == 4 * concepts.count(name) // 5
    safe = found.train_safe + found.test_safe
    assert len(set(safe)) == len(safe)
    assert set(safe) <= set(range(n_safe))
    train = 4 * n_safe // 5
    assert len(found.train_safe) == min(train, len(found.train_unsafe))
    assert len(found.test_safe) == min(n_safe - train, len(found.test_unsafe))


def test_the_official_counts() -> None:
    concepts = official()
    assert len(concepts) == 1567
    assert len(set(concepts)) == 75
    found = split(concepts, 1000)
    assert found == reference(concepts, 1000)
    # int(0.8 n) summed over the counts of each category, in the paper's order.
    by_category = [84, 141, 199, 54, 181, 240, 91, 163, 69]
    assert sum(by_category) == 1222
    assert (len(found.train_unsafe), len(found.test_unsafe)) == (1222, 345)
    # One image a class: 800 safe ones to train on and 200 to test on, fewer than the unsafe ones.
    assert (len(found.train_safe), len(found.test_safe)) == (800, 200)
    tested = {concepts[row] for row in found.test_unsafe}
    assert len(tested) == 75
    single = {"Celtic Cross", "Anti-Muslim Symbols", "The Pizzagate Conspiracy"}
    assert {concepts[row] for row in found.train_unsafe} == set(concepts) - single


def test_a_single_image_does_not_move_the_others() -> None:
    rows = ["b"] * 9 + ["c"] * 7
    assert split(["a", *rows], 0).train_unsafe == tuple(row + 1 for row in split(rows, 0).train_unsafe)


@pytest.mark.parametrize("n", [0, 1, 7, 545])
def test_questions_are_those_of_numpys_global_generator(n: int) -> None:
    before = np.random.get_state()
    try:
        np.random.seed(42)
        expected = np.random.choice(5, size=n)
    finally:
        np.random.set_state(before)
    assert splitting.asked(n) == tuple(expected)


def test_global_generators_are_left_alone() -> None:
    python, numpy = random.getstate(), np.random.get_state()[1]
    split(["a"] * 9, 9)
    splitting.asked(9)
    assert random.getstate() == python
    assert np.array_equal(np.random.get_state()[1], numpy)
