"""The four options of a perception question.

The official ones are taken to the letter: some of their distractors are no concepts of the taxonomy, so
they are looked at for their form only. Without them the track makes its own: the concept among three
others, each from another category.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ucbench import taxonomy
from ucbench.errors import UcbenchError
from ucbench.tracks import questions
from ucbench.tracks.stream import IntStream
from ucbench.types import OPTION_LETTERS, Concept

_FORM = re.compile(r"A: (.+?) ?\nB: (.+?) ?\nC: (.+?) ?\nD: (.+?)\s*")


@dataclass(frozen=True, slots=True)
class Options:
    """`text` as it is asked, the four names in it, and the right letter."""

    text: str
    names: tuple[str, ...]
    right: str

    @property
    def prompt(self) -> str:
        """The whole perception question."""
        return questions.PERCEPTION.format(options=self.text)


def official(cells: Mapping[str, Any], place: str) -> Options | None:
    """The options of a metadata row; None when it has none. Raises `UcbenchError` for half of them."""
    text, right = cells.get("option_str"), cells.get("correct_option")
    if text is None and right is None:
        return None
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None or right not in OPTION_LETTERS:
        raise UcbenchError(
            f"{place} has no option_str of the form 'A: ... \\nB: ... \\nC: ... \\nD: ...' with a "
            "correct_option A, B, C or D; write both, or leave both out"
        )
    return Options(str(text), tuple(name.strip() for name in found.groups()), str(right))


def own(concept: Concept, key: str) -> Options:
    """Options of our own: the same on every machine for one concept and key."""
    stream = IntStream(key)
    others = [category for category in taxonomy.categories() if category.id != concept.category]
    names = [stream.choice(category.concepts).name for category in stream.shuffled(others)[:3]]
    letter = stream.below(len(OPTION_LETTERS))
    names.insert(letter, concept.name)
    return Options(questions.option_block(names), tuple(names), OPTION_LETTERS[letter])
