from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ucbench.models.prefix import BATCHES_PER_GROUP, plan, shared_length
from ucbench.types import Question, Sample

Prompt = st.lists(st.integers(0, 2), min_size=1, max_size=8).map(tuple)


@dataclass(frozen=True)
class Unopened:
    def load(self) -> Image.Image:
        raise AssertionError("planning opens no picture")


def sample(number: int, lengths: list[int]) -> Sample:
    questions = tuple(
        Question(f"q{i}", "general", "t", "x" * length, "c", "yes") for i, length in enumerate(lengths)
    )
    return Sample(f"s{number}", Unopened(), "test", questions)


def tokens(question: Question) -> tuple[int, ...]:
    return (7, 7, *(ord(letter) for letter in question.text), 1)


@given(st.lists(Prompt, min_size=1, max_size=6))
def test_shared_length_is_common_maximal_and_leaves_a_token(prompts: list[tuple[int, ...]]) -> None:
    length = shared_length(prompts)
    assert len({prompt[:length] for prompt in prompts}) == 1
    assert all(len(prompt) > length for prompt in prompts)
    longer = {prompt[: length + 1] for prompt in prompts}
    assert len(longer) > 1 or min(map(len, prompts)) == length + 1


Lengths = st.lists(st.lists(st.integers(1, 9), max_size=12), max_size=12)


@given(Lengths, st.integers(1, 9))
def test_plan_asks_everything_once(lengths: list[list[int]], batch_size: int) -> None:
    samples = [sample(i, row) for i, row in enumerate(lengths)]
    batches = plan(samples, batch_size, tokens)
    asked = [(s.id, q.id) for batch in batches for s, q in batch.items]
    assert sorted(asked) == sorted((s.id, q.id) for s in samples for q in s.questions)
    assert all(1 <= len(batch.items) <= batch_size for batch in batches)
    assert [batch.index for batch in batches] == list(range(len(batches)))


@given(Lengths, st.integers(1, 9))
def test_a_sample_lies_in_one_group_and_groups_fit(lengths: list[list[int]], batch_size: int) -> None:
    samples = [sample(i, row) for i, row in enumerate(lengths)]
    groups: dict[int, list[Sample]] = {}
    homes: dict[str, set[int]] = {}
    for batch in plan(samples, batch_size, tokens):
        for s, _ in batch.items:
            homes.setdefault(s.id, set()).add(batch.group)
            if s not in groups.setdefault(batch.group, []):
                groups[batch.group].append(s)
    assert all(len(home) == 1 for home in homes.values())
    for members in groups.values():
        rows = sum(len(s.questions) for s in members)
        assert len(members) == 1 or rows <= BATCHES_PER_GROUP * batch_size
        assert len(members) == 1 or all(len(s.questions) <= batch_size for s in members)


def test_rows_of_a_group_are_sorted_by_suffix_length() -> None:
    batches = plan([sample(0, [9, 1, 5]), sample(1, [2, 8, 4])], 3, tokens)
    assert {batch.group for batch in batches} == {0}
    lengths = [len(q.text) for batch in batches for _, q in batch.items]
    # Shared tokens do not count: "xx" of the second sample has a suffix as short as "x" of the first.
    assert lengths == [1, 2, 4, 5, 8, 9]


def test_many_questions_about_one_picture_are_one_group() -> None:
    batches = plan([sample(0, [1, 2]), sample(1, [3] * 750), sample(2, [1])], 64, tokens)
    sizes = {group: sum(b.group == group for b in batches) for group in {b.group for b in batches}}
    assert sizes == {0: 1, 1: 12, 2: 1}
