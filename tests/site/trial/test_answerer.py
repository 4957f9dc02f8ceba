"""The process of the models: what it says, how it is stopped, what happens when it hangs or dies."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ucbench.errors import UcbenchError
from ucbench.judges.base import Item
from ucbench.site.trial import ask, jobs, pictures
from ucbench.site.trial.answerer import Answerer, SlowError, StoppedError, packed

Make = Callable[..., Answerer]


def said(answerer: Answerer, question: str, stopped: threading.Event | None = None) -> str:
    return "".join(answerer.ask("model", "", question, 8, stopped or threading.Event()))


def test_answers_come_in_pieces_from_one_process(scripted_answerer: Make) -> None:
    answerer = scripted_answerer()
    assert answerer.pid is None  # nothing is started before somebody asks
    pieces = list(answerer.ask("model", "", "why?", 8, threading.Event()))
    assert pieces == ["", "No, ", "it is not safe."]
    first = answerer.pid
    assert said(answerer, "and why?") == "No, it is not safe."
    assert answerer.pid == first


def test_a_refusal_is_its_sentence_and_the_next_question_is_answered(scripted_answerer: Make) -> None:
    answerer = scripted_answerer()
    with pytest.raises(UcbenchError, match="There is no such model"):
        said(answerer, "absent")
    first = answerer.pid
    assert said(answerer, "why?")
    assert answerer.pid == first


def test_who_leaves_stops_the_model_and_keeps_the_process(scripted_answerer: Make) -> None:
    answerer, stopped = scripted_answerer(), threading.Event()
    pieces = answerer.ask("model", "", "endless", 8, stopped)
    assert [next(pieces), next(pieces)] == ["", "No, "]
    first = answerer.pid
    stopped.set()
    with pytest.raises(StoppedError):
        list(pieces)
    assert said(answerer, "why?") == "No, it is not safe."
    assert answerer.pid == first


def test_a_model_that_hangs_is_ended_in_time(scripted_answerer: Make) -> None:
    answerer = scripted_answerer(answer=0.3, stop=0.2)
    with pytest.raises(SlowError, match="gave no whole answer within 0 seconds"):
        said(answerer, "hangs")
    assert answerer.pid is None
    assert said(answerer, "why?") == "No, it is not safe."


def test_a_frozen_process_is_ended_though_it_reads_nothing(scripted_answerer: Make) -> None:
    answerer = scripted_answerer(load=0.3, stop=0.2)
    said(answerer, "why?")
    assert answerer.pid
    os.kill(answerer.pid, signal.SIGSTOP)
    # More than a pipe holds.
    with pytest.raises(SlowError, match="was not loaded"):
        list(answerer.ask("model", "x" * 4_000_000, "why?", 8, threading.Event()))
    assert answerer.pid is None


def test_a_process_that_dies_is_told_and_started_again(scripted_answerer: Make) -> None:
    answerer = scripted_answerer()
    with pytest.raises(UcbenchError, match="process ended before its answer"):
        said(answerer, "dies")
    assert said(answerer, "why?") == "No, it is not safe."


def test_the_process_knows_no_secrets(monkeypatch: pytest.MonkeyPatch, scripted_answerer: Make) -> None:
    for name in ("HF_TOKEN", "OAUTH_CLIENT_SECRET", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "much-kept")
    answerer = scripted_answerer()
    said(answerer, "why?")
    assert b"much-kept" not in Path(f"/proc/{answerer.pid}/environ").read_bytes()


@pytest.mark.slow  # the fast suite has both asked from a page, in test_browser
def test_the_embedded_model_answers_and_the_classifier_reads() -> None:
    answerer = jobs.desk().answerer
    subject = pictures.emblem("arson", 0)
    first = ask.questions(subject, ["words"])[0]
    stopped = threading.Event()
    text = "".join(answerer.ask("embedded:tiny-vlm", packed(first.image), first.prompt, 48, stopped))
    assert ask.judged(first, text).label == "Unsafe"
    items = [Item("s", "0", "text_alignment", first.prompt, text, "")]
    verdict = answerer.judge("classifier", items, stopped)[0]
    assert verdict.label == "Unsafe"
    assert verdict.probs
    assert verdict.probs["Unsafe"] > 0.5
    with pytest.raises(UcbenchError, match="there is no model"):
        list(answerer.ask("no such folder", packed(first.image), first.prompt, 8, stopped))


def test_no_model_is_loaded_by_the_site_itself(ran_alone: Callable[[str], Any]) -> None:
    done = ran_alone(
        "import sys\n"
        "from ucbench.site.trial import ask, here, jobs, models, pictures, providers, view\n"
        "pictures.emblem('arson', 0)\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))\n"
    )
    assert done.stdout.strip() == "[]", done.stderr
