"""Asking in the background: turns, places given back, what never leaves, two models side by side."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from ucbench.errors import UcbenchError
from ucbench.site.trial import ask, pictures, providers, view
from ucbench.site.trial.jobs import Desk, Job, Wish
from ucbench.site.trial.line import FullError
from ucbench.site.trial.models import Choice
from ucbench.site.trial.providers import Served

Make = Callable[..., Desk]
Finish = Callable[..., Job]
TINY, ALIGNED = Choice("local:tiny", "tiny"), Choice("local:ppo", "ppo")


def wish(*models: Choice | Served, own: str = "", **rest: Any) -> Wish:
    subject = rest.pop("subject", None) or pictures.emblem("arson", 0)
    kinds = ["own"] if own else ["image", "words"]
    return Wish(subject, ask.questions(subject, kinds, own=own), models or (TINY,), **rest)


def upload() -> pictures.Subject:
    stream = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(stream, "PNG")
    return pictures.uploaded(stream.getvalue(), "red.png")


def test_a_job_asks_everything_and_judges_it(new_desk: Make, finished: Finish) -> None:
    desk = new_desk()
    job = finished(Job(wish(TINY, ALIGNED), desk))
    assert job.state == "done"
    assert [len(part.told) for part in job.parts] == [10, 10]
    assert {told.label for part in job.parts for told in part.told} == {"Unsafe"}
    assert len(desk.line) == 0


def test_a_judge_with_probabilities_says_them(new_desk: Make, finished: Finish) -> None:
    job = finished(Job(wish(judge=ask.CLASSIFIER), new_desk()))
    assert {told.why for told in job.parts[0].told} == {"Probabilities: unsafe .90, safe .10."}


def test_one_is_answered_and_the_others_know_their_place(new_desk: Make, finished: Finish) -> None:
    desk = new_desk(most=2)
    first = finished(Job(wish(own="endless"), desk), "answering")
    second, third = Job(wish(), desk), Job(wish(), desk)
    assert [job.place for job in (first, second, third)] == [0, 1, 2]
    assert "You are the third in line. 2 visitors are before you." in view.status(third)
    with pytest.raises(FullError, match="2 visitors wait"):
        Job(wish(), desk)
    second.leave()
    finished(second, "left")
    assert third.place == 1
    assert "You left the line" in view.status(second)
    first.leave()
    assert finished(third).state == "done"
    assert finished(first).state == "left"
    assert len(desk.line) == 0


def test_who_closes_the_page_gives_the_place_back(new_desk: Make, finished: Finish) -> None:
    desk, open_ = new_desk(grace=0.2), threading.Event()
    open_.set()
    gone = finished(Job(wish(own="endless", here=open_.is_set), desk), "answering")
    waiting = Job(wish(), desk)
    time.sleep(0.5)  # longer than the grace: who is here stays
    assert gone.state == "answering"
    open_.clear()
    assert finished(waiting).state == "done"
    assert finished(gone).state == "left"


def test_a_slow_answer_is_a_sentence_and_the_next_visitor_is_served(new_desk: Make, finished: Finish) -> None:
    desk = new_desk(answer=0.3, stop=0.2)
    slow, after = Job(wish(own="hangs"), desk), Job(wish(), desk)
    assert "gave no whole answer" in finished(slow).parts[0].problem
    assert finished(after).parts[0].problem == ""
    assert len(after.parts[0].told) == 10


def test_one_model_that_fails_leaves_the_other(new_desk: Make, finished: Finish) -> None:
    job = finished(Job(wish(Choice("local:absent", "absent"), TINY), new_desk()))
    assert [part.problem for part in job.parts] == ["There is no such model.", ""]
    shown = view.results(job)
    assert "absent: There is no such model." in shown
    assert "0 of 0" not in shown


@pytest.fixture
def served(chat_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """served(...): a provider that behaves so, reached as acme/seeing."""

    def start(**behaviour: Any) -> Any:
        server = chat_server(model="acme/seeing", **{"key": "hf_visitor", **behaviour})
        monkeypatch.setenv(providers.PLACE, server.url)
        return server

    return start


def asked(desk: Desk, **rest: Any) -> Job:
    rest = {"key": lambda: "hf_visitor", "who": "ada", **rest}
    return Job(wish(Served("acme/seeing"), **rest), desk)


def test_a_provider_answers_with_the_visitors_key(
    served: Callable[..., Any], new_desk: Make, finished: Finish
) -> None:
    server = served()
    job = finished(asked(new_desk()))
    assert [part.problem for part in job.parts] == [""]
    assert len(job.parts[0].told) == server.requests == 10
    assert {told.label for told in job.parts[0].told} <= {"Safe", "Unsafe"}
    assert {header["authorization"] for header in server.headers} == {"Bearer hf_visitor"}


def test_nothing_leaves_before_the_visitor_agrees(
    served: Callable[..., Any], new_desk: Make, finished: Finish
) -> None:
    server, desk = served(), new_desk()
    own = upload()
    with pytest.raises(UcbenchError, match="Your picture was not sent: agree first that Hugging Face"):
        asked(desk, subject=own, own="why?")
    with pytest.raises(UcbenchError, match="Sign in first"):
        asked(desk, key=lambda: None)
    assert server.requests == 0
    finished(asked(desk, subject=own, own="why?", agreed=True))
    assert server.requests == 1


def test_a_key_is_sent_to_no_plain_address(new_desk: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(providers.PLACE, "http://elsewhere.invalid/v1")
    with pytest.raises(UcbenchError, match="must be an https address"):
        asked(new_desk())
    monkeypatch.delenv(providers.PLACE)
    with pytest.raises(UcbenchError, match="runs offline"):
        asked(new_desk())


def test_questions_to_providers_are_counted_by_account(
    served: Callable[..., Any], new_desk: Make, finished: Finish
) -> None:
    server, desk = served(), new_desk(calls=15)
    finished(asked(desk))
    with pytest.raises(UcbenchError, match="15 questions to providers in 10 minutes"):
        asked(desk)
    assert server.requests == 10
    assert len(desk.line) == 0
    assert finished(asked(desk, who="ben")).state == "done"


def test_who_leaves_asks_no_more(served: Callable[..., Any], new_desk: Make, finished: Finish) -> None:
    server = served(holds=lambda _, __: True)
    job = asked(new_desk())
    while server.at_once < providers.AT_ONCE:
        time.sleep(0.02)
    job.leave()
    assert finished(job).state == "left"
    assert server.requests == providers.AT_ONCE


FAULTS = {
    "402": "no inference credit left (402)",
    "401": "did not accept your sign-in (401)",
    "403": "may not ask acme/seeing (403)",
    "404": "No provider serves acme/seeing for chat (404)",
    "429": "allows no more requests at the moment (429)",
    "429-quota": "no inference credit left (429)",
    "filter-400": "content filter stopped this question",
    "502": "Hugging Face failed to answer",
    "hang": "gave no answer within 0 seconds",
    "400": "did not take the request",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_goes_wrong_is_one_sentence(
    fault: str,
    served: Callable[..., Any],
    new_desk: Make,
    finished: Finish,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(providers, "SECONDS", 0.3)
    served(script=(fault,) * 8, retry_after=0.01)
    part = finished(asked(new_desk(), own="why?")).parts[0]
    said = part.problem or part.answers[0].problem  # type: ignore[union-attr]
    assert FAULTS[fault] in said
    assert said.count(". ") == 0
    assert "hf_visitor" not in said


def test_a_model_without_eyes_is_told_so(
    served: Callable[..., Any], new_desk: Make, finished: Finish
) -> None:
    served(unsupported=frozenset({"image"}))
    told = finished(asked(new_desk(), own="why?")).parts[0].answers[0]
    assert told is not None
    assert told.problem == "acme/seeing takes no pictures; choose a vision-language model."
    assert told.label is None


def test_a_long_pause_is_not_waited_for(served: Callable[..., Any], new_desk: Make, finished: Finish) -> None:
    served(script=("429",) * 4, retry_after=120)
    assert "asks to wait for long (429)" in finished(asked(new_desk(), own="why?")).parts[0].problem


def test_the_allowance_comes_back_with_time() -> None:
    now = [0.0]
    allowance = providers.Allowance(10, 60, lambda: now[0])
    allowance.take("ada", 6)
    now[0] = 30.0
    allowance.take("ada", 4)
    with pytest.raises(UcbenchError, match="try again in 1 minute"):
        allowance.take("ada", 1)
    now[0] = 61.0
    allowance.take("ada", 6)
    with pytest.raises(UcbenchError):
        allowance.take("ada", 11)


def test_providers_have_names() -> None:
    assert "novita" in providers.names()
    assert Served("acme/seeing", "novita").who == "Hugging Face and novita"
    assert Served("acme/seeing", "novita").id == "provider:novita:acme/seeing"
    for model, via in (("no id", "auto"), ("acme/seeing", "nobody"), ("acme/seeing\n", "auto")):
        with pytest.raises(UcbenchError):
            Served(model, via)
