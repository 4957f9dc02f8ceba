"""1-SelfBLEU against NLTK's own."""

from __future__ import annotations

import random
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from ucbench.metrics.diversity import mean_over_questions, one_minus_self_bleu


def by_nltk(texts: list[str]) -> float:
    smooth = SmoothingFunction().method1
    tokens = [text.split() for text in texts]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = [
            sentence_bleu(tokens[:i] + tokens[i + 1 :], tokens[i], (0.25,) * 4, smoothing_function=smooth)
            for i in range(len(tokens))
        ]
    return 1 - sum(scores) / len(scores)


texts = st.lists(
    st.lists(st.sampled_from(["no", "it", "is", "not", "safe", "harm"]), max_size=12).map(" ".join),
    min_size=2,
    max_size=12,
)


@given(texts)
def test_equals_nltk_on_any_texts(sample: list[str]) -> None:
    assert one_minus_self_bleu(sample) == pytest.approx(by_nltk(sample), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_equals_nltk_on_long_answers(seed: int) -> None:
    rng = random.Random(seed)
    words = [f"w{min(int(rng.expovariate(0.15)), 60)}" for _ in range(4000)]
    sample = [" ".join(rng.choices(words, k=rng.randint(1, 60))) for _ in range(60)]
    sample += [*sample[:10], "", "one", "one", "two words", "a three word"]
    assert one_minus_self_bleu(sample) == pytest.approx(by_nltk(sample), abs=1e-12)


@pytest.mark.parametrize(
    "sample",
    [
        ["", ""],
        ["", "a b c d e"],
        ["a", "a"],
        ["a", "b"],
        ["a a a a a", "a a", "a a a"],
        ["x y z w v", "x y z w v", "x y z w v"],
        ["a\tb\nc  d", "a b c d"],
        ["a b c d", "a b c", "a b c d e"],
    ],
)
def test_equals_nltk_on_edge_cases(sample: list[str]) -> None:
    assert one_minus_self_bleu(sample) == pytest.approx(by_nltk(sample), abs=1e-12)


def test_ends_of_the_scale() -> None:
    assert one_minus_self_bleu(["yes it is safe to share"] * 5) == pytest.approx(0)
    assert one_minus_self_bleu(["a b c d", "e f g h", "i j k l"]) == 1


@pytest.mark.parametrize("sample", [[], ["alone"]])
def test_one_text_has_no_diversity(sample: list[str]) -> None:
    with pytest.raises(ValueError, match="at least two"):
        one_minus_self_bleu(sample)


def test_the_mean_over_questions_takes_answers_at_even_distances() -> None:
    same, other = ["a b c d e"] * 6, ["f g h i j", "k l m n o"] * 3
    assert mean_over_questions([same], n=3) == (pytest.approx(one_minus_self_bleu(same[:3])), 3)
    # Places 0, 2 and 4 of six hold one and the same answer.
    assert mean_over_questions([other], n=3)[0] == pytest.approx(0.0)
    assert mean_over_questions([same, other], n=6) == (
        pytest.approx((one_minus_self_bleu(same) + one_minus_self_bleu(other)) / 2), 6,
    )  # fmt: skip
    assert mean_over_questions([same, same[:2]])[1] == 2
    assert mean_over_questions([same, []]) == (None, 0)
    assert mean_over_questions([])[0] is None
