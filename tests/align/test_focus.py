"""Which concepts are asked about: in proportion to wrong answers, the same everywhere, both labels equal."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from ucbench.align.data import TrainingSet
from ucbench.align.focus import Focus
from ucbench.types import SAFE, UNSAFE


def test_without_focus_the_order_is_the_plain_one(data: TrainingSet) -> None:
    focus = Focus(data, 0.0, 3)
    assert focus.batch(5, 16) == data.batch(5, 16, 3)


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_labels_stay_equal_and_keys_apart(data: TrainingSet, share: float) -> None:
    focus = Focus(data, share, 0)
    for step in range(3):
        draws = focus.batch(step, 32)
        assert len(draws) == 32
        assert [draw.item.label for draw in draws] == [UNSAFE, SAFE] * 16
        assert len({draw.key for draw in draws}) == 32
        assert all(draw.question in draw.item.questions for draw in draws)
        plain = 32 - 2 * int(32 * share / 2)
        assert draws[:plain] == (data.batch(step, plain, 0) if plain else [])


def test_wrong_answers_are_asked_about_again(data: TrainingSet) -> None:
    focus = Focus(data, 1.0, 0)
    hard = {"assaults", "robbery"}
    for step in range(60):
        draws = focus.batch(step, 64)
        right = np.array([float(draw.item.concept_id not in hard) for draw in draws])
        focus.update(draws, right)
    asked = Counter(
        draw.item.concept_id
        for step in range(60, 80)
        for draw in focus.batch(step, 64)
        if draw.item.label == UNSAFE
    )
    assert sum(asked[concept] for concept in hard) > 0.4 * asked.total()
    assert len(asked) > 20  # what is mastered is asked now and then


def test_a_restored_focus_goes_on_as_it_would_have(data: TrainingSet) -> None:
    whole, resumed = Focus(data, 0.5, 7), Focus(data, 0.5, 7)
    for step in range(4):
        draws = whole.batch(step, 16)
        whole.update(draws, np.array([float(i % 3 == 0) for i in range(16)]))
    resumed.restore(whole.state())
    assert resumed.batch(4, 16) == whole.batch(4, 16)
    assert whole.batch(4, 16) != Focus(data, 0.5, 7).batch(4, 16)
