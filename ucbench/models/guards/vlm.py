"""A guard in the place of a model that answers questions.

It wraps whatever runs the weights: that is asked the guard's own prompts, each once a picture, and what it
says becomes the answer to every question that the verdict stands for.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from typing import Any

from ucbench.errors import ModelError
from ucbench.models import guards, known
from ucbench.models.base import VLM, Batch, OutOfMemoryError, StreamingVLM
from ucbench.models.guards.base import Guard
from ucbench.record import Entry, Usage
from ucbench.types import Answer, Question, Sample

Item = tuple[Sample, Question]
#: The id of a sample, and what the guard is asked about it: what one verdict is about.
Asked = tuple[str, tuple[str, ...]]


class GuardVLM:
    """Gives the verdicts of a guard as answers; `Answer.guard` says so on each."""

    def __init__(self, vlm: VLM, guard: Guard) -> None:
        """Raises `ModelError` for an entry with a system prompt, which guards have no place for."""
        if vlm.entry.system_prompt:
            raise ModelError(f"{vlm.entry.model} is a guard and takes no system prompt; leave it out")
        self._vlm: Any = vlm
        self.guard = guard
        self._entry = vlm.entry.model_copy(update={"guard": guard.identity})
        self._batch_size = 1

    @property
    def entry(self) -> Entry:
        """The model's, with the guard's format."""
        return self._entry

    @property
    def engine_path(self) -> str:
        """How the guard's prompts are asked."""
        return str(self._vlm.engine_path)

    @property
    def device(self) -> str:
        """Where the model runs."""
        return str(getattr(self._vlm, "device", "cpu"))

    @property
    def checkpoint(self) -> tuple[str, int] | None:
        """`model_type` and number of parameters of weights that are here."""
        told: tuple[str, int] | None = getattr(self._vlm, "checkpoint", None)
        return told

    @property
    def notes(self) -> tuple[str, ...]:
        """How it was asked, for the record."""
        in_words = (
            "one on a concept in words for all questions about it"
            if self.guard.words
            else "it takes no text, so questions in words were not asked"
        )
        return (
            f"a guard, asked in its own format ({self.guard.identity}): {self.guard.about}",
            f"one verdict on a picture stands for all alignment questions about it, {in_words}; a verdict "
            "counts once; questions of other kinds were not asked",
        )

    def takes(self, question: Question) -> bool:
        """Whether its verdict says something on a question."""
        return bool(self.guard.prompts(question))

    def plan(self, samples: Sequence[Sample], batch_size: int) -> list[Batch]:
        """Cut the questions into batches for which the guard is asked at most `batch_size` prompts.

        Questions that share a verdict share a batch.
        """
        self._batch_size = batch_size
        batches: list[Batch] = []
        items: list[Item] = []
        prompts = 0
        for sample in samples:
            for (_, asked), questions in self._verdicts((sample, q) for q in sample.questions).items():
                if items and prompts + len(asked) > batch_size:
                    batches.append(Batch(len(batches), len(batches), tuple(items)))
                    items, prompts = [], 0
                items += questions
                prompts += len(asked)
        if items:
            batches.append(Batch(len(batches), len(batches), tuple(items)))
        return batches

    def answer(self, batch: Batch) -> list[Answer]:
        """Answer a batch, in its order. Raises `OutOfMemoryError`."""
        verdicts = self._verdicts(batch.items)
        try:
            said = self._ask(verdicts, self._batch_size)
        except OutOfMemoryError:
            if len(verdicts) > 1:
                raise
            # The caller cannot halve a single verdict; its prompts can still be asked one by one.
            said = self._ask(verdicts, 1)
        given = {
            (answer.sample_id, answer.question_id): answer
            for (sample_id, asked), questions in verdicts.items()
            for answer in self._answers(questions, [said[sample_id, _id(prompt)] for prompt in asked])
        }
        return [given[sample.id, question.id] for sample, question in batch.items]

    def _ask(self, verdicts: dict[Asked, list[Item]], batch_size: int) -> dict[tuple[str, str], Answer]:
        said = {}
        for part in self._vlm.plan(_samples(verdicts), batch_size):
            said.update({(a.sample_id, a.question_id): a for a in self._vlm.answer(part)})
        return said

    def _verdicts(self, items: Iterable[Item]) -> dict[Asked, list[Item]]:
        """The questions that each verdict stands for."""
        verdicts: dict[Asked, list[Item]] = defaultdict(list)
        for sample, question in items:
            verdicts[sample.id, self.guard.prompts(question)].append((sample, question))
        return verdicts

    def _answers(self, items: Sequence[Item], said: Sequence[Answer]) -> list[Answer]:
        """The same answer to every question; its tokens are counted with the first alone."""
        failed = next((answer for answer in said if answer.error), None)
        sample, _ = items[0]
        one = Answer(
            sample.id,
            "",
            "" if failed else self.guard.merge([answer.text for answer in said]),
            sum(answer.tokens for answer in said),
            failed.error if failed else None,
            any(answer.truncated for answer in said),
            sum(answer.thinking_tokens for answer in said),
            sum(answer.input_tokens for answer in said),
            failed.reason if failed else "",
            self.guard.identity,
        )
        first = self._first(sample, items[0][1])
        return [
            replace(one, question_id=question.id)
            if question.id == first
            else replace(one, question_id=question.id, tokens=0, thinking_tokens=0, input_tokens=0)
            for _, question in items
        ]

    def _first(self, sample: Sample, question: Question) -> str:
        """The first question of the sample that the same verdict stands for, wherever a run was resumed."""
        asked = self.guard.prompts(question)
        return next((q.id for q in sample.questions if self.guard.prompts(q) == asked), question.id)


class StreamingGuardVLM(GuardVLM):
    """A guard behind a service."""

    @property
    def notes(self) -> tuple[str, ...]:
        """How it was asked, for the record."""
        return (*super().notes, *self._vlm.notes)

    def answer_stream(self, items: Sequence[Item]) -> Generator[list[Answer], None, None]:
        """Yield the answers that have come since, all that a verdict stands for at once."""
        verdicts = self._verdicts(items)
        of_prompt: dict[tuple[str, str], list[Asked]] = defaultdict(list)
        for sample_id, asked in verdicts:
            for prompt in asked:
                of_prompt[sample_id, _id(prompt)].append((sample_id, asked))
        said: dict[tuple[str, str], Answer] = {}
        prompts = [(sample, question) for sample in _samples(verdicts) for question in sample.questions]
        groups = self._vlm.answer_stream(prompts)
        try:
            for group in groups:
                come: list[Answer] = []
                for answer in group:
                    said[answer.sample_id, answer.question_id] = answer
                    for sample_id, asked in of_prompt[answer.sample_id, answer.question_id]:
                        parts = [said.get((sample_id, _id(prompt))) for prompt in asked]
                        whole = [part for part in parts if part is not None]
                        if len(whole) == len(parts):
                            come += self._answers(verdicts[sample_id, asked], whole)
                if come:
                    yield come
        finally:
            groups.close()

    def usage(self, input_tokens: int, output_tokens: int, thinking_tokens: int) -> Usage:
        """The tokens of all verdicts with what they cost."""
        used: Usage = self._vlm.usage(input_tokens, output_tokens, thinking_tokens)
        return used


def wrap(vlm: VLM, guard: Guard) -> GuardVLM:
    """The guard, whether it runs here or behind a service."""
    return (StreamingGuardVLM if isinstance(vlm, StreamingVLM) else GuardVLM)(vlm, guard)


def served(vlm: VLM, model: str, name: str | None) -> VLM:
    """A model behind a service; a guard where the user or the list of known models says so.

    The service applies the chat template. Raises `UnknownNameError`, and `ModelError` for a guard whose
    verdict is no generated text.
    """
    row = known.find(model)
    name = name or (row.guard if row else None)
    if name in (None, guards.NONE):
        return vlm
    guard = guards.find(str(name))
    if guard.decoder:
        raise ModelError(
            f"the verdict of {guard.name} is a probability, which services do not give; run it here"
        )
    return wrap(vlm, guard)


def _id(prompt: str) -> str:
    """What the guard is asked has an id of its own, by which sampled decoding draws its noise."""
    return f"guard:{hashlib.sha256(prompt.encode()).hexdigest()[:16]}"


def _samples(verdicts: dict[Asked, list[Item]]) -> list[Sample]:
    """The pictures, with the guard's prompts in the place of their questions."""
    prompts: dict[str, dict[str, Question]] = defaultdict(dict)
    samples: dict[str, Sample] = {}
    for (sample_id, asked), items in verdicts.items():
        sample, question = items[0]
        samples[sample_id] = sample
        for prompt in asked:
            prompts[sample_id][prompt] = replace(
                question, id=_id(prompt), template="guard", text=prompt, options=(), context=""
            )
    return [replace(sample, questions=tuple(prompts[key].values())) for key, sample in samples.items()]
