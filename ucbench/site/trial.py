"""What a visitor can ask a model, and the asking: answers stream in and are judged one by one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import streamlit as st

from ucbench.errors import BadImageError, UcbenchError
from ucbench.format import concept_title
from ucbench.judges.base import Item, Judge
from ucbench.site import tables
from ucbench.site.component import figure
from ucbench.tracks import questions as stimuli
from ucbench.types import SAFE, UNSAFE, Concept, Kind

if TYPE_CHECKING:
    from PIL import Image

MODEL = "embedded:tiny-vlm"
#: The concept shown at first: one whose name nobody minds.
FIRST = "the-moon-landing-hoax"
#: Drawings for visitors come from a split of their own: no test or training picture is among them.
SPLIT = "visitor"
MAX_NEW_TOKENS = 64

#: Longer pictures are strips: scaled to what a model sees, nothing of their short side is left.
MOST_OBLONG = 50

KINDS = ("shows", "image", "words", "own")
KIND_NAMES = {
    "shows": "What does it show?",
    "image": "Is it safe, as an image? (5)",
    "words": "Is it safe, in words? (5)",
    "own": "A question of your own",
}


@dataclass(frozen=True)
class Subject:
    """What is asked about: a picture, and the concept it stands for when that is known."""

    name: str
    image: Image.Image
    concept_id: str = ""
    unsafe: bool | None = None
    options: tuple[str, ...] = ()
    right: str = ""


@dataclass(frozen=True)
class Ask:
    """A question with its picture. `judged` is False for a question that no judge can read."""

    kind: Kind
    prompt: str
    image: Image.Image
    expected: str = ""
    options: tuple[str, ...] = ()
    judged: bool = True


@cache
def concepts() -> dict[str, Concept]:
    """The concepts that have an emblem, the unsafe ones first."""
    from ucbench.tracks.pictograms import all_concepts

    return {concept.id: concept for concept in all_concepts()}


def concept_label(concept_id: str) -> str:
    """A concept in a list of unsafe and everyday ones."""
    concept = concepts()[concept_id]
    return concept_title(concept.name) + ("" if concept.unsafe else " (everyday)")


def concept_names() -> list[str]:
    """The names of all concepts, to be chosen as options."""
    return [concept_title(concept.name) for concept in concepts().values()]


def emblem(concept_id: str, number: int) -> Subject:
    """Drawing `number` of a concept's emblem with four options. Raises `UnknownNameError`."""
    from ucbench.tracks.pictograms import EmblemImage, Pictograms

    concept = concepts()[concept_id]
    asked = _perception(Pictograms())[concept_id]
    options, right = asked[number % len(asked)]
    return Subject(
        concept.name,
        EmblemImage(concept_id, SPLIT, number).load(),
        concept_id,
        concept.unsafe,
        options,
        right,
    )


@cache
def _perception(track: Any) -> dict[str, list[tuple[tuple[str, ...], str]]]:
    """The options of the track's own perception questions and the right letter, by concept."""
    found: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    for sample in track.samples("test"):
        for question in sample.questions:
            if question.kind == "perception":
                found.setdefault(question.concept_id, []).append((question.options, question.expected))
    return found


def uploaded(content: bytes, name: str) -> Subject:
    """A visitor's picture. Raises `BadImageError`, also for one that is far longer than wide."""
    from ucbench.images import read_image

    image = read_image(content)
    if max(image.size) > MOST_OBLONG * min(image.size):
        width, height = image.size
        raise BadImageError(
            f"The picture is a strip of {width:,} x {height:,} pixels; use one whose longer side is at most "
            f"{MOST_OBLONG} times the shorter."
        )
    return Subject(f"your picture {name}", image)


def preview(image: Image.Image, width: int, height: int) -> Image.Image:
    """The picture scaled into a box, neither side below one pixel."""
    scale = min(width / image.width, height / image.height)
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))


def questions(
    subject: Subject, wanted: Sequence[str], *, options: Sequence[str] = (), own: str = ""
) -> list[Ask]:
    """The questions of the chosen kinds. Raises `UcbenchError` when one lacks what it needs."""
    asks: list[Ask] = []
    expected = {None: "", True: UNSAFE, False: SAFE}[subject.unsafe]
    if "shows" in wanted:
        four = tuple(subject.options or options)
        if len(four) != 4 or len({option.strip().casefold() for option in four} - {""}) != 4:
            raise UcbenchError("Choose or type four different options for “What does it show?”.")
        asks.append(Ask("perception", stimuli.perception(four), subject.image, subject.right, four))
    if "image" in wanted:
        asks += [Ask("image_alignment", text, subject.image, expected) for text in stimuli.IMAGE_ALIGNMENT]
    if "words" in wanted and subject.concept_id:
        from ucbench.tracks.pictograms import BlankImage

        blank = BlankImage().load()
        asks += [
            Ask("text_alignment", text.format(concept=subject.name), blank, expected)
            for text in stimuli.TEXT_ALIGNMENT
        ]
    if "own" in wanted:
        if not own.strip():
            raise UcbenchError("Write your question, or leave that one out.")
        asks.append(Ask("general", own.strip(), subject.image, judged=False))
    return asks


@st.cache_resource(show_spinner="Loading the model")
def _model() -> Any:
    from ucbench.models import registry
    from ucbench.record import Decoding

    return registry.load(MODEL, decoding=Decoding(max_new_tokens=MAX_NEW_TOKENS))


@st.cache_resource(show_spinner=False)
def _judge() -> Judge:
    from ucbench.judges import registry

    return registry.load("rules")


def run(asks: Sequence[Ask]) -> list[tables.Asked]:
    """Ask one question after the other, showing each answer as it grows and then its verdict.

    Raises `UcbenchError` when the model cannot be loaded or refuses a question.
    """
    model, judge = _model(), _judge()
    done = []
    for number, ask in enumerate(asks):
        question, answer, verdict = st.columns([5, 6, 2], gap="small")
        question.caption(plain(ask.prompt.split("\n", 1)[0].strip()))
        place = answer.empty()
        text = ""
        for text in growing(model.stream(ask.image, ask.prompt)):
            place.text(text)
        asked = judged(ask, text.strip(), judge)
        done.append(asked)
        with verdict:
            figure(tables.verdict(asked), key=f"verdict_{number}")
    return done


def growing(pieces: Iterator[str]) -> Iterator[str]:
    """The answer so far, piece by piece."""
    text = ""
    for piece in pieces:
        text += piece
        yield text


def judged(ask: Ask, text: str, judge: Judge) -> tables.Asked:
    """An answer with what the judge reads in it."""
    label = tables.UNJUDGED
    if ask.judged:
        item = Item("visitor", "visitor", ask.kind, ask.prompt, text, ask.expected, ask.options)
        label = judge.judge([item])[0].label
    return tables.Asked(ask.kind, ask.prompt, text, label, ask.expected, ask.options)


def plain(text: str) -> str:
    """Outside text as Markdown that shows it letter by letter."""
    return re.sub(r"([\\`*_{}\[\]()<>#+\-.!|~$:&])", r"\\\1", text)
