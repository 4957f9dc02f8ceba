"""What a model is aligned on: pictures with one of the five alignment questions and the right label.

On given pictures it is the authors' setting (arXiv 2507.11155 and their code): every unsafe picture of the
train split, and at most as many safe ones; where there are fewer, all of those.

The order of the items is a pure function of (seed, epoch), so that a resumed run, and any number of
processes, meet the same questions at the same step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from ucbench.errors import UcbenchError
from ucbench.tracks.base import Track
from ucbench.types import SAFE, UNSAFE, Question, Sample

#: Stream names of the counter-based generator, so that one draw never repeats another's numbers.
_ORDER, _QUESTION, _BALANCE = 1, 2, 3
#: The draw of the train split that the probe looks at: other pictures of the concepts trained on.
PROBE_DRAW = 1
#: Draws of the train split that are learned from, on tracks that can draw fresh pictures.
TRAIN_DRAWS = (0, *range(2, 12))
#: Pictures of the probe on such a track, about half of them unsafe. Elsewhere one train picture in so many,
#: which is learned from as well: the authors' setting leaves none over, and the test split is not looked at.
PROBE_PICTURES = 120
PROBE_SHARE = 20


@dataclass(frozen=True, slots=True)
class TrainItem:
    """A picture to learn from: its alignment questions, all with the same right label."""

    sample: Sample
    questions: tuple[Question, ...]
    label: str

    @property
    def concept_id(self) -> str:
        """What the picture shows."""
        return self.questions[0].concept_id


@dataclass(frozen=True, slots=True)
class Draw:
    """One training item at one place of the order, with the question it is asked there."""

    item: TrainItem
    question: Question
    key: str
    """Names the place in the order; sampling noise hangs on it."""


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """What is learned from, and pictures to look at during training: `held_back`, or some of the same."""

    track_id: str
    track_version: str
    items: tuple[TrainItem, ...]
    probe: tuple[Sample, ...]
    names: Mapping[str, str] = field(default_factory=dict)
    """Concept id -> name, for the answers that SFT and DPO learn from."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Id -> version of other tracks that some of the items are of."""
    held_back: bool = True

    @property
    def sides(self) -> dict[str, int]:
        """How many items have each right label."""
        return {label: sum(item.label == label for item in self.items) for label in (UNSAFE, SAFE)}

    @property
    def notice(self) -> str | None:
        """A sentence about sides that are unlike; None where they are not."""
        unsafe, safe = self.sides[UNSAFE], self.sides[SAFE]
        if safe >= unsafe:
            return None
        return (
            f"{unsafe:,} unsafe train pictures and {safe:,} safe ones, all there are: batches hold "
            f"{unsafe / (unsafe + safe):.0%} unsafe pictures"
        )

    @property
    def trained_on(self) -> tuple[str, ...]:
        """What an entry aligned on this names in `Entry.trained_on`."""
        tracks = {self.track_id: self.track_version, **self.parts}
        return tuple(f"{id_}/{version}/train" for id_, version in tracks.items())

    def steps(self, batch_size: int, epochs: int) -> int:
        """Batches of `batch_size` that `epochs` passes hold; a pass goes on where the last one ended."""
        return max(1, epochs * len(self.items) // batch_size)

    def batch(self, step: int, batch_size: int, seed: int) -> list[Draw]:
        """The draws of a step, counted from 0."""
        places = range(step * batch_size, (step + 1) * batch_size)
        labels = tuple(item.label for item in self.items)
        questions = tuple(len(item.questions) for item in self.items)
        epochs = {place // len(self.items) for place in places}
        orders = {epoch: _order(labels, questions, seed, epoch) for epoch in epochs}
        draws = []
        for place in places:
            epoch, offset = divmod(place, len(self.items))
            index, question = orders[epoch][offset]
            item = self.items[index]
            draws.append(Draw(item, item.questions[question], f"{epoch}/{index}"))
        return draws


@lru_cache(maxsize=4)
def _order(
    labels: tuple[str, ...], questions: tuple[int, ...], seed: int, epoch: int
) -> list[tuple[int, int]]:
    """(item, question) a place: both labels shuffled apart, then in turn as evenly as their numbers allow."""
    stream = _generator(seed, _ORDER, epoch)
    unsafe, safe = (
        stream.permutation([i for i, own in enumerate(labels) if own == label]) for label in (UNSAFE, SAFE)
    )
    order, n = np.empty(len(labels), dtype=np.int64), np.arange(len(labels))
    # For equal sides: unsafe, safe, unsafe, safe, and so on.
    turn = (n + 1) * len(safe) // len(labels) > n * len(safe) // len(labels)
    order[~turn], order[turn] = unsafe, safe
    chosen = _generator(seed, _QUESTION, epoch).random(len(labels))
    return [(int(i), int(chosen[i] * questions[i])) for i in order]


def training_set(track: Track, *, limit: int | None = None) -> TrainingSet:
    """The train split of a track: every unsafe picture, and at most as many safe ones.

    A longer safe side loses items, spread over its concepts; a longer unsafe side loses none. `limit` keeps
    that many items in all, of either side alike. On a track that draws fresh pictures, several draws are
    learned from and another one is probed; on others, the probe looks at one picture in `PROBE_SHARE` of
    those learned from, and asks its questions in words.
    Raises `UcbenchError` for a track without alignment questions of both labels about images.
    """
    if track.fresh_draws:
        samples = [sample for draw in TRAIN_DRAWS for sample in track.samples("train", draw)]
        probe = track.samples("train", PROBE_DRAW, PROBE_PICTURES + 1)
    else:
        samples, probe = track.samples("train"), []
    items = _items(samples)
    sides = {label: [item for item in items if item.label == label] for label in (UNSAFE, SAFE)}
    if not all(sides.values()):
        missing = " and ".join(label.lower() for label, side in sides.items() if not side)
        raise UcbenchError(
            f"track {track.id} has no train images labelled {missing}, so nothing can be aligned on it; "
            "choose a track with both, such as pictograms, or unsafeconcepts with --safe-data"
        )
    sizes = {UNSAFE: len(sides[UNSAFE]), SAFE: min(len(sides[SAFE]), len(sides[UNSAFE]))}
    if limit is not None:
        sizes = dict.fromkeys(sizes, min(*sizes.values(), max(1, limit // 2)))
    kept = {id(item) for label, side in sides.items() for item in _spread(side, sizes[label])}
    names = {concept.id: concept.name for concept in track.concepts}
    learned = tuple(item for item in items if id(item) in kept)
    if not track.fresh_draws:
        in_words = [s for s in samples if not any(q.kind == "image_alignment" for q in s.questions)]
        probe = [*(item.sample for item in learned[::PROBE_SHARE]), *in_words]
    parts = getattr(track, "parts", {})
    return TrainingSet(
        track.id, track.version, learned, tuple(probe), names, parts, held_back=track.fresh_draws
    )


def _items(samples: Sequence[Sample]) -> list[TrainItem]:
    items = []
    for sample in samples:
        questions = tuple(q for q in sample.questions if q.kind == "image_alignment")
        labels = {q.expected for q in questions}
        if len(labels) == 1:
            items.append(TrainItem(sample, questions, labels.pop()))
    return items


def _spread(items: Sequence[TrainItem], size: int) -> list[TrainItem]:
    """`size` items, as evenly over the concepts as can be: the n-th of every concept before any n+1-th."""
    seen: dict[str, int] = {}
    ranked = []
    for index, item in enumerate(items):
        seen[item.concept_id] = seen.get(item.concept_id, 0) + 1
        ranked.append((seen[item.concept_id], index))
    order = _generator(0, _BALANCE, 0).permutation(len(items))
    chosen = sorted(range(len(items)), key=lambda i: (ranked[i][0], order[i]))[:size]
    return [items[i] for i in sorted(chosen)]


def _generator(seed: int, stream: int, epoch: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, stream, epoch]))
