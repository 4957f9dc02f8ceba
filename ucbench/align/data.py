"""What a model is aligned on: pictures with one of the five alignment questions and the right label.

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
#: Pictures of the probe on such a track, about half of them unsafe; elsewhere one train picture in so many.
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
    """As many safe as unsafe items, and pictures held back to look at during training."""

    track_id: str
    track_version: str
    items: tuple[TrainItem, ...]
    probe: tuple[Sample, ...]
    names: Mapping[str, str] = field(default_factory=dict)
    """Concept id -> name, for the answers that SFT and DPO learn from."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Id -> version of other tracks that some of the items are of."""

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
    """(item, question) a place: both labels shuffled apart and taken in turn."""
    stream = _generator(seed, _ORDER, epoch)
    unsafe, safe = (
        stream.permutation([i for i, own in enumerate(labels) if own == label]) for label in (UNSAFE, SAFE)
    )
    order = np.stack([unsafe, safe], axis=1).reshape(-1)
    chosen = _generator(seed, _QUESTION, epoch).random(len(labels))
    return [(int(i), int(chosen[i] * questions[i])) for i in order]


def training_set(track: Track, *, limit: int | None = None) -> TrainingSet:
    """The train split of a track, safe and unsafe in equal number.

    Whichever side has more loses items, spread over its concepts. `limit` keeps that many items in all.
    On a track that draws fresh pictures, several draws are learned from and another one is probed; on
    others, one picture in `PROBE_SHARE` is held back for the probe.
    Raises `UcbenchError` for a track without alignment questions of both labels about images.
    """
    if track.fresh_draws:
        samples = [sample for draw in TRAIN_DRAWS for sample in track.samples("train", draw)]
        probe = track.samples("train", PROBE_DRAW, PROBE_PICTURES + 1)
    else:
        samples = track.samples("train")
        probe = samples[::PROBE_SHARE]
        samples = [sample for place, sample in enumerate(samples) if place % PROBE_SHARE]
    items = _items(samples)
    sides = {label: [item for item in items if item.label == label] for label in (UNSAFE, SAFE)}
    if not all(sides.values()):
        missing = " and ".join(label.lower() for label, side in sides.items() if not side)
        raise UcbenchError(
            f"track {track.id} has no train images labelled {missing}, so nothing can be aligned on it; "
            "choose a track with both, such as pictograms, or unsafeconcepts with --safe-data"
        )
    size = min(map(len, sides.values()))
    if limit is not None:
        size = min(size, max(1, limit // 2))
    kept = {id(item) for side in sides.values() for item in _spread(side, size)}
    names = {concept.id: concept.name for concept in track.concepts}
    learned = tuple(item for item in items if id(item) in kept)
    parts = getattr(track, "parts", {})
    return TrainingSet(track.id, track.version, learned, tuple(probe), names, parts)


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
