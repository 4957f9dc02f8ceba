"""What answers earn, with the judge that comes with the project."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucbench.align import reward as rewarding
from ucbench.align import settings as presets
from ucbench.align.reward import Asked, ClassifierReward, Floats, Normaliser, Reward, Written
from ucbench.align.settings import PPOSettings, RewardSettings
from ucbench.errors import UcbenchError
from ucbench.judges import registry as judges
from ucbench.judges.base import Item, Judge
from ucbench.tracks.pictograms import Pictograms
from ucbench.types import NA, SAFE, UNSAFE, Verdict

LIMIT = 48
TEXTS = (
    "Yes, it is safe for social media.",
    "No, it is harmful and not safe to show.",
    "No.",
    "Yes, it follows the guidelines of online forums.",
    "",
    "The picture is blue.",
)
LOGS = st.floats(-80.0, 0.0)


@pytest.fixture(scope="module")
def judge() -> Judge:
    return judges.load("classifier")


@pytest.fixture(scope="module")
def samples() -> list[Asked]:
    """A picture and its first alignment question, one for each text."""
    found = Pictograms().samples("train", limit=len(TEXTS) + 1)[:-1]
    return [(sample, next(q for q in sample.questions if q.kind == "image_alignment")) for sample in found]


def written(text: str, tokens: Sequence[int] = (1, 2, 3), ended: bool = True) -> Written:
    return Written(text, tuple(tokens), ended)


class Dictated:
    """A judge whose probability of the right label is what the answer says; the rest is N/A's."""

    id, name, digest = "dictated-1", "dictated", None

    def judge(self, items: Sequence[Item]) -> list[Verdict]:
        return [self._verdict(item) for item in items]

    def _verdict(self, item: Item) -> Verdict:
        try:
            share = float(item.text)
        except ValueError:  # the question by which a reward finds out whether there are probabilities
            share = 1.0
        other = UNSAFE if item.expected == SAFE else SAFE
        probs = {item.expected: share, other: 0.0, NA: 1.0 - share}
        return Verdict(item.sample_id, item.question_id, item.expected, "dictated", self.id, probs)


def paper() -> RewardSettings:
    settings = presets.load("ppo", "paper")
    assert isinstance(settings, PPOSettings)
    return settings.reward


# Components


def test_the_classifier_is_the_log_probability_of_the_right_label(judge: Judge, samples: list[Asked]) -> None:
    component = ClassifierReward(judge)
    answers = [written(text) for text in TEXTS]
    verdicts = judge.judge(
        [Item(s.id, q.id, q.kind, q.text, text, SAFE) for (s, q), text in zip(samples, TEXTS, strict=True)]
    )
    for label in (SAFE, UNSAFE):
        found = component(samples, answers, [label] * len(TEXTS))
        for value, text, verdict in zip(found, TEXTS, verdicts, strict=True):
            if text:
                assert verdict.probs is not None
                assert value == pytest.approx(np.log(verdict.probs[label]))
            else:  # nothing to classify: the rules read it as no answer, for certain
                assert verdict.probs is None
                assert value == pytest.approx(np.log(rewarding.TINY))
    safe, unsafe = (component(samples, answers, [label] * len(TEXTS)) for label in (SAFE, UNSAFE))
    assert safe[0] > np.log(0.5) > unsafe[0]
    assert unsafe[1] > np.log(0.5) > safe[1]
    assert unsafe[2] > np.log(0.5) > safe[2]


def test_a_judge_without_probabilities_is_refused_in_one_sentence() -> None:
    with pytest.raises(UcbenchError) as caught:
        Reward(RewardSettings(), judges.load("rules"), LIMIT)
    assert str(caught.value) == (
        "the judge rules gives no probabilities of Safe and Unsafe, so it cannot reward; "
        "use classifier or classifier:official"
    )


@given(st.lists(st.tuples(st.lists(st.integers(0, 3), max_size=LIMIT), st.booleans()), min_size=1))
def test_length_end_and_repetition(answers: list[tuple[list[int], bool]]) -> None:
    made = [written("x", tokens, ended) for tokens, ended in answers]
    lengths = rewarding.length(LIMIT)([], made, [])
    unended, repeated = rewarding.unended([], made, []), rewarding.repetition([], made, [])
    for i, (tokens, ended) in enumerate(answers):
        assert lengths[i] == len(tokens) / LIMIT
        assert unended[i] == (0 if ended else 1)
        seen: set[tuple[int, ...]] = set()
        again = 0
        for place in range(len(tokens) - 2):
            trigram = tuple(tokens[place : place + 3])
            again += trigram in seen
            seen.add(trigram)
        assert repeated[i] == pytest.approx(again / max(1, len(tokens) - 2))
        assert 0 <= repeated[i] < 1


def test_the_total_is_what_the_formula_says(samples: list[Asked]) -> None:
    settings = RewardSettings(
        classifier=0.7, floor=4.0, length_bonus=0.3, stop_penalty=0.9, repetition_penalty=0.4, scale=2.0
    )
    answers = [written("0.9", [1] * 12, False), written("0.1", [1, 2, 3, 4]), written("0", [])]
    found = Reward(settings, Dictated(), LIMIT)(samples[:3], answers, [SAFE, UNSAFE, SAFE])
    first = 0.7 * (1 + 2 * np.log(0.9) / 4) + 0.3 * 12 / LIMIT - 0.9 - 0.4 * 9 / 10
    assert found.total == pytest.approx([2 * first, 2 * 0.7 * (1 + 2 * np.log(0.1) / 4), 2 * 0.7 * -1])
    assert list(found.right) == [True, False, False]
    assert found.components.keys() == {"classifier", "length", "unended", "repetition"}
    assert found.components["classifier"][:2] == pytest.approx(np.log([0.9, 0.1]))
    assert not found.degenerate


@pytest.mark.parametrize("preset", presets.PRESETS)
def test_every_preset_rewards_real_answers_finitely(preset: str, judge: Judge, samples: list[Asked]) -> None:
    settings = presets.load("ppo", preset)
    assert isinstance(settings, PPOSettings)
    labels = [SAFE, SAFE, UNSAFE, UNSAFE, SAFE, UNSAFE]
    found = Reward(settings.reward, judge, LIMIT)(samples, [written(text) for text in TEXTS], labels)
    assert np.isfinite(found.total).all()
    assert min(found.total[[0, 2]]) > max(found.total[[1, 3, 4]])


# Normalisers


def batches(values: Sequence[float], cuts: Sequence[int]) -> list[Floats]:
    edges = sorted({0, len(values), *(cut for cut in cuts if cut < len(values))})
    return [np.array(values[a:b]) for a, b in pairwise(edges)]


def normaliser(**settings: Any) -> Normaliser:
    return Normaliser(RewardSettings(**settings))


@given(st.lists(LOGS, min_size=1), st.floats(0.1, 50.0))
def test_the_fixed_one_maps_the_floor_and_zero_to_one_apart(values: list[float], floor: float) -> None:
    raw = np.array(values)
    found = normaliser(normaliser="fixed", floor=floor)(raw, raw)
    assert found == pytest.approx(np.interp(raw, [-floor, 0.0], [-1.0, 1.0]))


@given(st.lists(LOGS, min_size=1, max_size=40), st.lists(st.integers(1, 39), max_size=5))
def test_the_running_one_knows_mean_and_deviation_of_all_values_seen(
    values: list[float], cuts: list[int]
) -> None:
    running = normaliser(normaliser="running", floor=100.0)
    seen: list[float] = []
    for batch in batches(values, cuts):
        found = running(batch, batch)
        seen += batch.tolist()
        expected = (batch - np.mean(seen)) / max(np.std(seen), 1e-8)
        assert np.isfinite(found).all()
        if np.std(seen) > 1e-6:  # below, rounding is all there is
            assert found == pytest.approx(expected, abs=1e-6)
    state = running.state()
    assert state["n"] == len(values)
    assert state["mean"] == pytest.approx(np.mean(values), abs=1e-9)
    assert state["squares"] == pytest.approx(np.var(values) * len(values), abs=1e-6)


@given(st.lists(LOGS, min_size=1, max_size=20), st.lists(LOGS, min_size=1, max_size=20))
def test_a_restored_one_goes_on_bit_for_bit(before: list[float], after: list[float]) -> None:
    kept, fresh = (normaliser(normaliser="running") for _ in range(2))
    kept(np.array(before), np.array(before))
    fresh.restore(kept.state())
    assert (kept(np.array(after), np.array(after)) == fresh(np.array(after), np.array(after))).all()


@given(st.lists(LOGS, min_size=2, max_size=20, unique=True))
def test_min_max_spans_the_batch(values: list[float]) -> None:
    raw = np.array(values)
    found = normaliser(normaliser="batch_min_max", floor=100.0)(raw, raw)
    assert (found.min(), found.max()) == (0.0, 1.0)
    assert (np.diff(found[np.argsort(raw)]) >= 0).all()


@pytest.mark.parametrize("kind", ["fixed", "running", "batch_min_max"])
@pytest.mark.parametrize("texts", [["0.3"], ["0.3"] * 4, ["0.001", "0.0001", "0"]])
def test_batches_with_nothing_to_compare_are_finite_and_flagged(
    kind: Any, texts: list[str], samples: list[Asked]
) -> None:
    """One answer, all equal, and all below the floor."""
    answers = [written(text, range(i)) for i, text in enumerate(texts)]
    settings = RewardSettings(normaliser=kind)
    found = Reward(settings, Dictated(), LIMIT)(samples[: len(texts)], answers, [SAFE] * len(texts))
    assert found.degenerate
    assert np.isfinite(found.total).all()
    if kind != "fixed":
        assert found.total == pytest.approx(np.zeros(len(texts)), abs=1e-6)


# Laws

ANSWERS = st.tuples(st.floats(0.0, 1.0), st.integers(0, LIMIT))


@given(
    st.lists(ANSWERS, min_size=2, max_size=6),
    st.sampled_from(["fixed", "running", "batch_min_max"]),
    st.floats(0.0, 10.0),
    st.booleans(),
)
def test_a_bounded_bonus_never_puts_a_wrong_answer_above_a_right_one(
    answers: list[tuple[float, int]], kind: Any, bonus: float, ended: bool
) -> None:
    settings = RewardSettings(normaliser=kind, length_bonus=bonus, stop_penalty=1.0)
    made = [written(str(share), range(n), ended) for share, n in answers]
    asked = Pictograms().samples("train", limit=1)[0]
    n = len(answers)
    found = Reward(settings, Dictated(), LIMIT)([(asked, asked.questions[1])] * n, made, [UNSAFE] * n)
    assert list(found.right) == [np.log(max(share, rewarding.TINY)) > np.log(0.5) for share, _ in answers]
    if found.right.any() and not found.right.all():
        assert found.total[found.right].min() >= found.total[~found.right].max()


def test_the_papers_bonus_puts_a_long_wrong_answer_above_a_short_right_one(samples: list[Asked]) -> None:
    answers = [written("0.99", range(10)), written("0.01", range(300))]
    right, wrong = Reward(paper(), Dictated(), 512)(samples[:2], answers, [SAFE, SAFE]).total
    assert right == pytest.approx(10 * (1 + 4 * 10 / 512))
    assert wrong == pytest.approx(10 * (0 + 4 * 300 / 512))
    assert wrong > right
    bounded = paper().model_copy(update={"length_bonus_bounded": True})
    right, wrong = Reward(bounded, Dictated(), 512)(samples[:2], answers, [SAFE, SAFE]).total
    assert right > wrong


@pytest.mark.parametrize("kind", ["fixed", "running", "batch_min_max"])
def test_two_processes_reward_as_one(kind: Any, judge: Judge, samples: list[Asked]) -> None:
    settings = RewardSettings(normaliser=kind, length_bonus=0.2)
    answers = [written(text, range(i)) for i, text in enumerate(TEXTS)]
    labels = [question.expected for _, question in samples]
    raw = ClassifierReward(judge)(samples, answers, labels)
    one, *two = (Reward(settings, judge, LIMIT) for _ in range(3))
    for _ in range(2):  # a second batch, on top of the running state
        alone = one(samples, answers, labels)
        shares = [
            process(samples[part], answers[part], labels[part], lambda _own: raw)
            for process, part in zip(two, (slice(0, 3), slice(3, 6)), strict=True)
        ]
        assert np.concatenate([share.total for share in shares]) == pytest.approx(alone.total, abs=1e-9)
        assert {share.degenerate for share in shares} == {alone.degenerate}
    assert one.normaliser.state() == two[0].normaliser.state() == two[1].normaliser.state()


def test_margins_of_unfinished_answers() -> None:
    reward = Reward(RewardSettings(scale=2.0), judges.load("classifier"), 48)
    sample = Pictograms().samples(limit=2)[0]
    question = next(q for q in sample.questions if q.kind == "image_alignment")
    texts = ["", "No, this image is not suitable for social media."]
    (unsafe,) = reward.margins([(sample, question)], [texts], [UNSAFE])
    (safe,) = reward.margins([(sample, question)], [texts], [SAFE])
    assert unsafe[0] == 0.0
    assert unsafe[1] > 1.9
    assert safe.tolist() == [-value for value in unsafe]
    assert [len(m) for m in reward.margins([(sample, question)] * 2, [[], texts[1:]], [SAFE, SAFE])] == [0, 1]
