"""Asking: in the background, so that no page waits for a model, and whoever leaves stops it."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal

from ucbench.errors import UcbenchError
from ucbench.models.endpoint.client import ChatClient
from ucbench.models.endpoint.failures import ChatError
from ucbench.models.endpoint.keys import Key
from ucbench.models.endpoint.messages import ChatRequest, Reply, data_uri
from ucbench.site.trial import ask as asking
from ucbench.site.trial import providers
from ucbench.site.trial.answerer import Answerer, StoppedError, packed
from ucbench.site.trial.ask import Ask, Told
from ucbench.site.trial.line import Line, Ticket
from ucbench.site.trial.models import Choice
from ucbench.site.trial.pictures import Subject
from ucbench.site.trial.providers import Allowance, Served

_LOG = logging.getLogger(__name__)

#: Seconds that a visitor may be away (a reload, a tunnel) before the place is given to the next.
GRACE = 8.0

State = Literal["waiting", "loading", "answering", "judging", "done", "left"]


@dataclass
class Desk:
    """What all visitors share: the local models, the line before them, what may be asked of providers."""

    answerer: Answerer = field(default_factory=Answerer)
    line: Line = field(default_factory=Line)
    allowance: Allowance = field(default_factory=Allowance)
    grace: float = GRACE


@cache
def desk() -> Desk:
    """That of this site."""
    return Desk()


@dataclass
class Part:
    """One model's answers, in the order of the questions; None where one has not come yet."""

    model: Choice | Served
    asks: Sequence[Ask]
    answers: list[Told | None]
    growing: str = ""
    problem: str = ""

    @property
    def told(self) -> list[Told]:
        """The answers so far."""
        return [answer for answer in self.answers if answer is not None]


@dataclass(frozen=True)
class Wish:
    """What one visitor wants: the same questions to one model or two.

    `who` is counted for questions to providers, `key` is theirs and asked for when the work starts. `agreed`
    says that the visitor let this picture go to these providers. `here` tells whether they still are.
    """

    subject: Subject
    asks: Sequence[Ask]
    models: Sequence[Choice | Served]
    judge: str = asking.RULES
    who: str = ""
    key: Callable[[], str | None] = field(default=lambda: None, repr=False)
    agreed: bool = False
    here: Callable[[], bool] = lambda: True


class Job:
    """The asking of one wish, in a thread of its own. Read it at any time; `leave` ends it."""

    def __init__(self, wish: Wish, shared: Desk) -> None:
        """Starts. Raises `UcbenchError` where it may not, or nobody more can wait; nothing is sent then."""
        self.wish = wish
        self.parts = [Part(model, wish.asks, [None] * len(wish.asks)) for model in wish.models]
        self.state: State = "waiting"
        self._desk = shared
        self._stopped = threading.Event()
        self._ticket: Ticket | None = None
        self._client: ChatClient | None = None
        served = [model for model in wish.models if isinstance(model, Served)]
        key = self._may_send(served)
        if len(served) < len(wish.models):
            self._ticket = shared.line.join()
        try:
            if served:
                shared.allowance.take(wish.who, len(served) * len(wish.asks))
        except UcbenchError:
            self._give_back()
            raise
        for work in (lambda: self._work(key), self._watch):
            threading.Thread(target=work, daemon=True).start()

    def _may_send(self, served: Sequence[Served]) -> Key:
        """The key for providers. Raises `UcbenchError` where nothing may be sent."""
        if not served:
            return Key()
        if self.wish.subject.private and not self.wish.agreed:
            who = " and ".join(model.who for model in served)
            raise UcbenchError(f"Your picture was not sent: agree first that {who} get it.")
        providers.router()
        key = self.wish.key()
        if not key:
            raise UcbenchError("Sign in first: models that others serve are asked for your own account.")
        return Key(key)

    @property
    def over(self) -> bool:
        """Whether nothing more comes."""
        return self.state in ("done", "left") or self._stopped.is_set()

    @property
    def place(self) -> int | None:
        """How many visitors are before this one at the local model; 0 when it is its turn."""
        ticket = self._ticket
        return ticket.place if ticket else None

    def leave(self) -> None:
        """End it: the place goes to the next, what is under way is stopped."""
        self._stopped.set()
        ticket, client = self._ticket, self._client
        if ticket is not None and ticket.place != 0:
            # Whose turn it is leaves when the model has stopped, so that the next one finds it free.
            ticket.leave()
        if client is not None:
            client.close()

    def _watch(self) -> None:
        """A visitor who is gone leaves."""
        seen = time.monotonic()
        while not self.over and not self._stopped.wait(min(1.0, self._desk.grace / 4)):
            now = time.monotonic()
            if self.wish.here():
                seen = now
            elif now - seen > self._desk.grace:
                self.leave()

    def _work(self, key: Key) -> None:
        try:
            for part in self.parts:
                if isinstance(part.model, Choice):
                    self._local(part, part.model)
            served = [part for part in self.parts if isinstance(part.model, Served)]
            if served:
                # The local model is free for the next one meanwhile.
                self._give_back()
            for part in served:
                assert isinstance(part.model, Served)
                self._served(part, part.model, key)
            if self.wish.judge != asking.RULES:
                self._judge()
            self.state = "left" if self._stopped.is_set() else "done"
        except StoppedError:
            self.state = "left"
        except Exception:
            _LOG.exception("asking a model failed")
            for part in self.parts:
                part.problem = part.problem or "This met an error of ours. Ask again."
            self.state = "done"
        finally:
            self._give_back()

    def _give_back(self) -> None:
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            ticket.leave()

    def _turn(self) -> None:
        """Wait until it is this one's turn. Raises `StoppedError` for who left."""
        if self._ticket is None:
            self._ticket = self._desk.line.join(always=True)
        while not self._ticket.wait(0.5):
            if self._stopped.is_set() or self._ticket.place is None:
                raise StoppedError

    def _local(self, part: Part, model: Choice) -> None:
        self._turn()
        self.state = "loading"
        pictures: dict[int, str] = {}
        for number, ask in enumerate(self.wish.asks):
            if id(ask.image) not in pictures:
                pictures[id(ask.image)] = packed(ask.image)
            text = ""
            pieces = self._desk.answerer.ask(
                model.source, pictures[id(ask.image)], ask.prompt, asking.MAX_NEW_TOKENS, self._stopped
            )
            try:
                with contextlib.closing(pieces):
                    for piece in pieces:
                        self.state = "answering"
                        text += piece
                        part.growing = text
            except UcbenchError as error:
                part.problem = str(error)
                part.growing = ""
                return
            # The answer is there before its beginnings go, so that nothing flickers.
            part.answers[number] = asking.judged(ask, text.strip())
            part.growing = ""

    def _served(self, part: Part, model: Served, key: Key) -> None:
        self.state = "answering"
        pictures = {id(ask.image): ask.image for ask in self.wish.asks}
        sent = {key: data_uri(image) for key, image in pictures.items()}
        requests = [
            (number, ChatRequest(ask.prompt, sent[id(ask.image)], max_tokens=asking.MAX_SERVED_TOKENS))
            for number, ask in enumerate(self.wish.asks)
        ]
        try:
            with ChatClient(model.service, providers.POLICY, key) as client:
                self._client = client
                if self._stopped.is_set():
                    raise StoppedError
                for number, outcome in client.stream(requests):
                    ask = self.wish.asks[number]
                    if self._stopped.is_set():
                        raise StoppedError
                    if isinstance(outcome, Reply):
                        part.answers[number] = asking.judged(ask, outcome.text)
                    else:
                        problem = providers.sentence(outcome, model, picture=True)
                        part.answers[number] = Told(ask, "", problem=problem)
        except ChatError as error:
            part.problem = providers.sentence(error, model, picture=True)
        finally:
            self._client = None

    def _judge(self) -> None:
        """Verdicts with probabilities in place of those by rule."""
        wanted = [
            (part, number, answer)
            for part in self.parts
            for number, answer in enumerate(part.answers)
            if answer is not None and answer.ask.judged and not answer.problem
        ]
        if not wanted:
            return
        self._turn()
        self.state = "judging"
        items = [
            replace(asking.item(answer.ask, answer.text), question_id=str(number))
            for number, (_, _, answer) in enumerate(wanted)
        ]
        try:
            verdicts = self._desk.answerer.judge(self.wish.judge, items, self._stopped)
        except UcbenchError as error:
            for part in self.parts:
                part.problem = part.problem or f"Read by the rules instead: {error}"
            return
        for (part, number, answer), verdict in zip(wanted, verdicts, strict=True):
            part.answers[number] = asking.told(answer.ask, answer.text, verdict)
