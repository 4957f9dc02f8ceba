"""What a guard is: a model that gives verdicts instead of answers, asked in the format it was trained in.

A guard is not asked the benchmark's questions. Each picture is shown to it once, and its verdict stands for
all alignment questions about that picture. Where it takes text, a concept is named to it in words, over the
blank picture that carries the questions in words.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ucbench.tracks.questions import TEXT_ALIGNMENT
from ucbench.types import Question

if TYPE_CHECKING:
    from ucbench.models.decode import Decoder

#: The label that an answer says, and the rule that found it with what the guard named: `lines:S1,S9`.
Reading = tuple[str, str]


def only(texts: Sequence[str]) -> str:
    """Most guards say all they have to say of a picture at once."""
    (text,) = texts
    return text


@dataclass(frozen=True)
class Guard:
    """The format of a guard, as data.

    name          the word of --guard, and the first half of `identity`
    model_types   `model_type` of the config.json of checkpoints that have this format
    picture       what it is asked about a picture, one after the other, through its chat template
    read          the label in an answer
    about         in a sentence, what it is asked
    words         what it is asked about a concept in words, with {concept} in it; None: it takes no text
    merge         makes one answer of those to `picture`
    adapt         gets (guard, processor), for prompts that a checkpoint holds beside its chat template
    decoder       makes what reads its answer off the model, where that is no generated text
    recognises    gets (model_type, chat template) of a checkpoint that is in no list: whether it is one
    """

    name: str
    model_types: tuple[str, ...]
    picture: tuple[str, ...]
    read: Callable[[str], Reading]
    about: str
    words: str | None = None
    merge: Callable[[Sequence[str]], str] = only
    adapt: Callable[[Guard, Any], Guard] = lambda guard, _: guard
    decoder: Callable[[], type[Decoder]] | None = None
    recognises: Callable[[str, str], bool] = lambda _type, _template: False

    @cached_property
    def identity(self) -> str:
        """Name and a digest of everything it is asked: another policy is another entry."""
        asked = json.dumps([self.picture, self.words], ensure_ascii=True)
        return f"{self.name}@{hashlib.sha256(asked.encode()).hexdigest()[:8]}"

    def prompts(self, question: Question) -> tuple[str, ...]:
        """What to ask it for a question of the benchmark; nothing where it has no verdict to give."""
        if question.kind == "image_alignment":
            return self.picture
        if question.kind == "text_alignment" and self.words is not None:
            concept = concept_in(question.text)
            return () if concept is None else (self.words.replace("{concept}", concept),)
        return ()


def concept_in(question: str) -> str | None:
    """The concept that one of the benchmark's questions in words names."""
    for text in TEXT_ALIGNMENT:
        before, after = text.split("{concept}")
        if question.startswith(before) and question.endswith(after):
            return question[len(before) : len(question) - len(after)] or None
    return None
