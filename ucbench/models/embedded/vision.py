"""First stage: the vision tower learns to tell emblems apart, with classification heads that are thrown away.

The heads read INDIVIDUAL patches, a few random ones a picture, rather than their mean: the language model
sees sixteen separate tokens, so each should come to know the whole emblem.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ucbench.models.embedded.optimiser import Optimisers
from ucbench.tracks import emblems
from ucbench.tracks.pictograms import EmblemImage, all_concepts, design

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration

#: The split name of the pictures that training draws; it meets neither `train` nor `test`.
PRETRAIN = "pretrain"

#: Head -> (number of classes, weight in the loss).
HEADS: dict[str, tuple[int, float]] = {
    "concept": (150, 1.0),
    "badge": (len(emblems.BADGES), 1.0),
    "mark": (len(emblems.MARKS), 1.0),
    "bars": (2, 1.0),
    "colour": (len(emblems.COLOURS), 0.3),
    "background": (len(emblems.BACKGROUNDS), 1.0),
    "dots": (len(emblems.NUMBERS), 1.0),
}
PATCHES_READ = 4


@dataclass(frozen=True)
class Drawn:
    """Pictures and what is on them: pixels (n, 64, 64, 3) uint8, a class (n,) for each head."""

    pixels: NDArray[np.uint8]
    classes: dict[str, NDArray[np.int64]]


def draw(first: int, per_concept: int) -> Drawn:
    """Draw `per_concept` pictures of each of the 150 concepts from index `first` on."""
    concepts = all_concepts()
    places = [(c.id, first + i) for i in range(per_concept) for c in concepts]
    pixels = np.stack([np.asarray(EmblemImage(concept, PRETRAIN, i).load()) for concept, i in places])
    number = {c.id: i for i, c in enumerate(concepts)}
    rows = []
    for concept_id, index in places:
        d, s = design(concept_id), EmblemImage(concept_id, PRETRAIN, index).scene
        rows.append((
            number[concept_id], list(emblems.BADGES).index(d.badge), list(emblems.MARKS).index(d.mark),
            int(d.bars), list(emblems.COLOURS).index(s.colour),
            list(emblems.BACKGROUNDS).index(s.background), s.dots,
        ))  # fmt: skip
    columns = np.array(rows, dtype=np.int64).T
    return Drawn(pixels, dict(zip(HEADS, columns, strict=True)))


def to_model_input(pixels: NDArray[np.uint8]) -> Tensor:
    """(n, 64, 64, 3) uint8 -> (n, 3, 64, 64) float in [-1, 1], as the processor does."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def patch_features(model: LlavaForConditionalGeneration, pixels: Tensor) -> Tensor:
    """(n, 3, 64, 64) -> the vision tower's patch tokens (n, 16, 128), before the projector."""
    hidden: Tensor = model.model.vision_tower(pixels).last_hidden_state
    return hidden[:, 1:]


@torch.no_grad()
def encode(model: LlavaForConditionalGeneration, pixels: NDArray[np.uint8], batch: int = 500) -> Tensor:
    """The patch tokens of many pictures, (n, 16, 128)."""
    parts: Sequence[Tensor] = [
        patch_features(model, to_model_input(pixels[i : i + batch])) for i in range(0, len(pixels), batch)
    ]
    return torch.cat(list(parts))


def train_vision(
    model: LlavaForConditionalGeneration,
    generator: torch.Generator,
    per_concept: int = 170,
    batch: int = 128,
    epochs: int = 3,
) -> float:
    """Train the tower in place; returns the concept accuracy of a patch on fresh pictures."""
    drawn = draw(0, per_concept)
    tower = model.model.vision_tower
    width = tower.config.hidden_size
    heads = nn.ModuleDict({name: nn.Linear(width, classes) for name, (classes, _) in HEADS.items()})
    n = len(drawn.pixels)
    steps = n // batch * epochs
    optimisers = Optimisers([*tower.named_parameters(), *heads.named_parameters()], steps)
    targets = {name: torch.from_numpy(values) for name, values in drawn.classes.items()}
    step = 0
    for _ in range(epochs):
        order = torch.randperm(n, generator=generator)
        for start in range(0, n - batch + 1, batch):
            rows = order[start : start + batch]
            features = patch_features(model, to_model_input(drawn.pixels[rows.numpy()]))
            picked = torch.randint(features.shape[1], (batch, PATCHES_READ), generator=generator)
            read = features.gather(1, picked[:, :, None].expand(-1, -1, width))
            loss = torch.zeros(())
            for name, (_, weight) in HEADS.items():
                logits = heads[name](read).flatten(0, 1)
                loss = loss + weight * nn.functional.cross_entropy(
                    logits, targets[name][rows].repeat_interleave(PATCHES_READ)
                )
            optimisers.step(loss)
            step += 1
            if step % 50 == 0:
                print(f"vision {step}/{steps} loss {loss.item():.3f}", flush=True)
    fresh = draw(per_concept, 4)
    with torch.no_grad():
        guess = heads["concept"](encode(model, fresh.pixels)).argmax(-1)
    return float((guess == torch.from_numpy(fresh.classes["concept"])[:, None]).float().mean())
