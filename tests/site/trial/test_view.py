"""The answers as HTML: what is escaped, what stands side by side, what is said while they come."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

from ucbench.site.trial import ask, pictures, view
from ucbench.site.trial.ask import Told
from ucbench.site.trial.jobs import Part
from ucbench.site.trial.models import Choice
from ucbench.types import SAFE

HOSTILE = '<script>window.broken=1</script><img src=x onerror="window.broken=1">'


def job(*names: str, kinds: tuple[str, ...] = ("shows", "image", "words", "own"), came: int = 99) -> Any:
    """A job whose models said something hostile to the first `came` questions."""
    subject = pictures.emblem("arson", 0)
    asks = ask.questions(subject, kinds, own=HOSTILE)
    told = [Told(one, HOSTILE, SAFE, "By rule: its yes or no.") for one in asks]
    answers: list[Told | None] = [answer if n < came else None for n, answer in enumerate(told)]
    parts = [Part(Choice(f"local:{name}", "/secret/path"), asks, list(answers), HOSTILE) for name in names]
    over = came >= len(asks)
    wish = SimpleNamespace(subject=subject)
    return SimpleNamespace(wish=wish, parts=parts, over=over, state="done" if over else "answering", place=0)


def test_nothing_from_outside_is_markup() -> None:
    for found in (job(HOSTILE), job(HOSTILE, "b"), job(HOSTILE, came=3), job("a", HOSTILE, came=0)):
        found.parts[0].problem = HOSTILE
        shown = view.results(found) + view.status(found)
        assert "<script" not in shown
        assert "<img" not in shown
        assert "/secret/path" not in shown


def test_image_and_words_stand_side_by_side() -> None:
    shown = view.results(job("tiny"))
    cells = re.findall(r'<span class="moment">(.*?)</span>', shown)
    assert [re.sub("<[^>]*>", "", cell) for cell in cells] == ["As an image", "In words"] * 5
    assert shown.count('class="qa"') == 1  # what it shows, and the visitor's own question
    assert shown.count("By rule: its yes or no.") == 12


def test_two_models_answer_the_same_questions_in_a_line() -> None:
    shown = view.results(job("base", "ppo"))
    cells = re.findall(r'<span class="moment">(.*?)</span>', shown)
    assert cells == ["base", "ppo"] * 12
    first = shown.index("Both judge the picture unsafe in 0 of 5 answers.")
    assert first < shown.index("base: Safe as an image")


def test_the_answer_under_way_grows_and_the_next_wait() -> None:
    found = job("tiny", kinds=("image",), came=2)
    found.parts[0].growing = "No, it"
    shown = view.results(found)
    assert shown.count("“No, it") == 1
    assert shown.count(">…<") == 2
    assert "2 of 5 answers." in view.status(found)
    assert view.sums(found.wish.subject, found.parts, over=False) == []


def test_the_right_option_is_shown_only_once_it_was_answered() -> None:
    assert "class=right" not in view.results(job("tiny", kinds=("shows",), came=0))
    assert view.results(job("tiny", kinds=("shows",))).count("class=right") == 1


def test_the_gallery_tells_which_is_chosen() -> None:
    concepts = pictures.shelf(pictures.concepts()["arson"].category)
    shown = view.gallery(concepts, "arson")
    assert shown.count("<button") == len(concepts)
    assert shown.count('aria-pressed="true"') == 1
    assert 'data-choose="arson" aria-pressed="true"' in shown
