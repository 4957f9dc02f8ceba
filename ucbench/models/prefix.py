"""Planning which questions share what: pure functions on token ids.

group      consecutive samples whose images are encoded once and kept while the group lasts
batch      rows of one group that decode together, of similar suffix length
prefix     the tokens that all questions of a sample begin with (the image among them)
suffix     the rest of a prompt; never empty, as its last logits give the first answer token
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ucbench.models.base import Batch
from ucbench.types import Question, Sample

#: A group holds the rows of this many batches: enough for the rows of a batch to be alike in length,
#: few enough for the prefixes of a group to stay in memory.
BATCHES_PER_GROUP = 4

Tokens = tuple[int, ...]


def shared_length(prompts: Sequence[Tokens]) -> int:
    """Length of the longest common prefix that leaves every prompt at least one token."""
    shortest = min(len(prompt) for prompt in prompts) - 1
    # The first and the last in order differ earliest.
    first, last = min(prompts), max(prompts)
    for index in range(shortest):
        if first[index] != last[index]:
            return index
    return shortest


def plan(samples: Sequence[Sample], batch_size: int, tokens: Callable[[Question], Tokens]) -> list[Batch]:
    """Cut the questions of all samples into batches of at most `batch_size`.

    A sample with more questions than a batch holds is a group of its own. Depends on its arguments
    alone.
    """
    batches: list[Batch] = []
    for number, group in enumerate(_groups(samples, batch_size)):
        rows: list[tuple[int, Sample, Question]] = []
        for sample in group:
            prompts = [tokens(question) for question in sample.questions]
            shared = shared_length(prompts)
            rows += [
                (len(prompt) - shared, sample, question)
                for prompt, question in zip(prompts, sample.questions, strict=True)
            ]
        rows.sort(key=lambda row: row[0])
        for start in range(0, len(rows), batch_size):
            items = tuple((sample, question) for _, sample, question in rows[start : start + batch_size])
            batches.append(Batch(len(batches), number, items))
    return batches


def _groups(samples: Sequence[Sample], batch_size: int) -> list[list[Sample]]:
    groups: list[list[Sample]] = []
    room = 0
    for sample in samples:
        questions = len(sample.questions)
        if not questions:
            continue
        if questions > batch_size:
            groups.append([sample])
            room = 0
        elif questions <= room:
            groups[-1].append(sample)
            room -= questions
        else:
            groups.append([sample])
            room = BATCHES_PER_GROUP * batch_size - questions
    return groups
