"""A model behind a service, as the evaluation sees it."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace

from ucbench.errors import AccessError, BadImageError
from ucbench.models.base import Batch
from ucbench.models.endpoint.client import ChatClient
from ucbench.models.endpoint.costs import Prices
from ucbench.models.endpoint.failures import RefusedError, RequestError, RetriedError, TimedOutError
from ucbench.models.endpoint.messages import ChatRequest, Reply, data_uri
from ucbench.provenance import REMOTE
from ucbench.record import Entry, Usage
from ucbench.types import Answer, ErrorCode, Question, Sample

Item = tuple[Sample, Question]

#: Encoded pictures that are kept: those of the questions under way.
PICTURES = 4
#: So many questions failed one after the other, in times the concurrency, and the service is down.
GIVE_UP = 3


class EndpointVLM:
    """Asks a service. Answers come in any order; a question that fails is one typed answer."""

    engine_path = "endpoint"
    device = REMOTE

    def __init__(self, client: ChatClient, entry: Entry, prices: Prices | None = None) -> None:
        self._client = client
        self._entry = entry
        self._prices = prices or Prices()
        self._reported: dict[str, None] = {}
        self._uncounted = 0
        self._tries = self._replies = 0

    @property
    def entry(self) -> Entry:
        """Model as served, what it says its version is, and decoding."""
        return self._entry

    @property
    def notes(self) -> tuple[str, ...]:
        """How it was asked since the start of this process; no secrets."""
        service = self._client.service
        notes = [service.place, f"at most {service.concurrency} requests at once"]
        notes += self._client.capabilities.notes()
        if self._reported:
            notes.append(f"the service calls itself {', '.join(self._reported)}")
        if self._uncounted:
            notes.append(f"tokens of {self._uncounted:,} answers were not counted by the service")
        if again := self._tries - self._replies:
            notes.append(f"{again:,} requests were made again")
        return tuple(notes)

    def usage(self, input_tokens: int, output_tokens: int, thinking_tokens: int) -> Usage:
        """The tokens of all answers with their cost, where prices were given."""
        return self._prices.usage(input_tokens, output_tokens, thinking_tokens)

    def plan(self, samples: Sequence[Sample], batch_size: int) -> list[Batch]:
        """Questions in the order of the samples, so that a picture is encoded once for all of its own."""
        items = [(sample, question) for sample in samples for question in sample.questions]
        starts = range(0, len(items), batch_size)
        return [Batch(n, n, tuple(items[start : start + batch_size])) for n, start in enumerate(starts)]

    def answer(self, batch: Batch) -> list[Answer]:
        """Answer a batch, in its order."""
        come = {(a.sample_id, a.question_id): a for group in self.answer_stream(batch.items) for a in group}
        return [come[sample.id, question.id] for sample, question in batch.items]

    def answer_stream(self, items: Sequence[Item]) -> Generator[list[Answer], None, None]:
        """Ask all questions and yield the answers that have come since, until there are no more.

        Raises the client's `ServiceError` when nothing more can be asked (a key withdrawn, no quota), and
        `AccessError` when the service fails one question after the other.
        """
        broken: deque[Answer] = deque()
        in_a_row, last, enough = 0, "", GIVE_UP * self._client.service.concurrency
        for group in self._client.groups(self._requests(items, broken)):
            answers = [broken.popleft() for _ in range(len(broken))]
            for (sample, question), outcome in group:
                answers.append(self._read(sample, question, outcome))
                in_a_row = in_a_row + 1 if isinstance(outcome, RetriedError) else 0
                last = outcome.reason if isinstance(outcome, RetriedError) else ""
            yield answers
            if in_a_row >= enough:
                raise AccessError(
                    f"{self._client.service.place} failed {in_a_row} questions one after the other, the last "
                    f"with: {last}; what was answered is kept, start the same command again"
                )
        if broken:
            yield list(broken)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _requests(self, items: Sequence[Item], broken: deque[Answer]) -> Iterator[tuple[Item, ChatRequest]]:
        """The requests, made when their turn comes; questions about a bad picture go to `broken`."""
        pictures: dict[str, str | None] = {}
        plain = request_like(self._entry)
        for sample, question in items:
            if sample.id not in pictures:
                while len(pictures) >= PICTURES:
                    del pictures[next(iter(pictures))]
                try:
                    pictures[sample.id] = data_uri(sample.image.load())
                except BadImageError:
                    pictures[sample.id] = None
            image = pictures[sample.id]
            if image is None:
                broken.append(Answer(sample.id, question.id, "", 0, "bad_image"))
            else:
                yield (sample, question), replace(plain, text=question.text, image=image)

    def _read(self, sample: Sample, question: Question, outcome: Reply | RequestError) -> Answer:
        if isinstance(outcome, RequestError):
            return Answer(sample.id, question.id, "", 0, _code(outcome), reason=outcome.reason)
        self._replies += 1
        self._tries += outcome.tries
        for name in (outcome.model, outcome.fingerprint):
            if name and name != self._client.service.model and len(self._reported) < 8:
                self._reported.setdefault(name)
        used = outcome.usage
        self._uncounted += not used.counted
        return Answer(
            sample.id,
            question.id,
            outcome.text,
            used.output,
            truncated=outcome.truncated,
            thinking_tokens=used.thinking,
            input_tokens=used.input,
        )


def request_like(entry: Entry) -> ChatRequest:
    """A request with an entry's system prompt and decoding, and nothing asked."""
    decoding = entry.decoding
    return ChatRequest(
        "",
        system=entry.system_prompt,
        max_tokens=decoding.max_new_tokens,
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        seed=decoding.seed,
    )


def _code(failure: RequestError) -> ErrorCode:
    if isinstance(failure, RefusedError):
        return "provider_refusal"
    return "timeout" if isinstance(failure, TimedOutError) else "provider_error"
