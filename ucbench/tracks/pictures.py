"""The pictures of one track, for tracks that ask other questions about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ucbench.errors import UcbenchError
from ucbench.tracks.base import Track
from ucbench.tracks.pictograms import BLANK_ID, BlankImage
from ucbench.types import Concept, ImageSource, Kind, Question, Sample, Split

#: Kinds of question that are asked over the blank picture.
_IN_WORDS: tuple[Kind, ...] = ("text_alignment", "text_alignment_turned", "text_context")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture under the id that its own track gives it, and the concept it shows."""

    sample_id: str
    image: ImageSource
    concept: Concept


def pictures(track: Track, split: Split, draw: int) -> list[Picture]:
    """The pictures of a split, in the track's order. Raises what `track.samples` raises."""
    concepts = {concept.id: concept for concept in track.concepts}
    found = []
    for sample in track.samples(split, draw):
        shown = {question.concept_id for question in sample.questions if question.kind not in _IN_WORDS}
        found += [Picture(sample.id, sample.image, concepts[name]) for name in sorted(shown)]
    return found


def ask(
    found: Sequence[Picture],
    split: Split,
    limit: int | None,
    *,
    about_image: Callable[[Concept], Iterable[Question]],
    about_words: Callable[[Concept], Iterable[Question]],
) -> list[Sample]:
    """The pictures with other questions each, then the blank one with those in words about all concepts kept.

    `limit` keeps that many samples, the blank one included. Raises `UcbenchError` for a limit below 1.
    """
    if limit is not None and limit < 1:
        raise UcbenchError(f"a limit of {limit} samples leaves nothing to ask; use 1 or more")
    kept = found if limit is None else spread(found, max(1, limit - 1))
    samples = [Sample(p.sample_id, p.image, split, tuple(about_image(p.concept))) for p in kept]
    if limit is None or limit > 1:
        # Unsafe concepts and others in turn, as the pictures come.
        named = dict.fromkeys(picture.concept for picture in kept)
        asked = tuple(question for concept in named for question in about_words(concept))
        samples.append(Sample(BLANK_ID, BlankImage(), split, asked))
    return samples


def spread(found: Sequence[Picture], n: int) -> list[Picture]:
    """`n` of the pictures, half of them unsafe where there are both kinds, spread evenly over the concepts.

    Whole rounds of one picture a concept first; the rest goes to concepts at even distances. The order is
    kept, and fewer than `n` come back only where there are no more.
    """
    sides = [[p for p in found if p.concept.unsafe], [p for p in found if not p.concept.unsafe]]
    first = min(len(sides[0]), max(n - n // 2, n - len(sides[1])))
    kept = {id(p) for side, m in zip(sides, (first, n - first), strict=True) for p in _rounds(side, m)}
    return [p for p in found if id(p) in kept]


def _rounds(side: Sequence[Picture], n: int) -> list[Picture]:
    rounds: list[list[Picture]] = []
    seen: dict[str, int] = {}
    for picture in side:
        turn = seen[picture.concept.id] = seen.get(picture.concept.id, -1) + 1
        rounds += [[]] if turn == len(rounds) else []
        rounds[turn].append(picture)
    kept: list[Picture] = []
    for members in rounds:
        left = min(n - len(kept), len(members))
        kept += [members[i * len(members) // left] for i in range(left)]
    return kept
