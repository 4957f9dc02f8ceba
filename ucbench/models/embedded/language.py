"""Second stage: projector and language model learn the corpus over the frozen vision tower.

The tower's patch tokens are computed once. Sequences are padded on the right, where causal attention needs
no mask, and logits are computed at answer tokens only.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ucbench.models.embedded import corpus as corpora
from ucbench.models.embedded.architecture import EOS, IMAGE, IMAGE_TOKENS, prompt_text
from ucbench.models.embedded.optimiser import Optimisers
from ucbench.models.embedded.vision import PRETRAIN, encode
from ucbench.tracks import emblems
from ucbench.tracks.pictograms import EmblemImage, all_concepts

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

#: Tokens of a batch, padding included.
BATCH_TOKENS = 2200
KEY_WEIGHT = 3.0
#: Pictures drawn for the vision stage lie below this index.
FIRST_INDEX = 1000
N_BLANKS = 200


@dataclass(frozen=True)
class Pictures:
    """The pictures of this stage: what is on each, and its patch tokens (n, 16, 128)."""

    pictures: list[corpora.Picture]
    blanks: list[int]
    white: int
    features: Tensor


def draw_pictures(model: LlavaForConditionalGeneration, per_concept: int) -> Pictures:
    """Fresh emblems, then emblem-less scenes, then a white picture, all encoded."""
    from ucbench.models.embedded.vision import draw

    drawn = draw(FIRST_INDEX, per_concept)
    pictures = [
        corpora.Picture(c, EmblemImage(c.id, PRETRAIN, FIRST_INDEX + i).scene)
        for i in range(per_concept)
        for c in all_concepts()
    ]
    blank = []
    for i in range(N_BLANKS):
        scene = emblems.random_scene(f"blank/{i}")
        blank.append(np.asarray(emblems.render(None, scene)))
    blanks = list(range(len(pictures), len(pictures) + N_BLANKS))
    pictures += [corpora.Picture(None, None)] * (N_BLANKS + 1)
    blank.append(np.full_like(blank[0], 255))
    features = encode(model, np.concatenate([drawn.pixels, np.stack(blank)]))
    return Pictures(pictures, blanks, blanks[-1] + 1, features)


@torch.no_grad()
def init_projector(model: LlavaForConditionalGeneration, features: Tensor, output_std: float = 0.04) -> None:
    """Whiten the tower's tokens, whose scale is far from that of word embeddings, and rescale the output."""
    projector = model.model.multi_modal_projector
    flat = features.flatten(0, 1)
    mean = flat.mean(0)
    covariance = (flat - mean).T @ (flat - mean) / len(flat)
    values, vectors = torch.linalg.eigh(covariance)
    whitening = vectors @ torch.diag((values + 0.01 * values.mean()).rsqrt()) @ vectors.T
    rotation = torch.empty_like(projector.linear_1.weight)
    nn.init.orthogonal_(rotation)
    weight = rotation @ whitening
    projector.linear_1.weight.copy_(weight)
    projector.linear_1.bias.copy_(-weight @ mean)
    scale = output_std / projector(features[:500]).std()
    projector.linear_2.weight.mul_(scale)
    projector.linear_2.bias.zero_()


@dataclass(frozen=True, slots=True)
class Encoded:
    """One example as token ids; answer tokens start at `start`, `weights` has one value for each of them."""

    ids: list[int]
    start: int
    weights: list[float]
    picture: int | None


def encode_examples(examples: Sequence[corpora.Example], tokenizer: PreTrainedTokenizerFast) -> list[Encoded]:
    """Tokenise prompts and answers, and weigh the answers' key words."""
    prompts = [
        prompt_text(e.question, e.picture is not None).replace(IMAGE, IMAGE * IMAGE_TOKENS) for e in examples
    ]
    plain = [corpora.unmarked(e.answer) for e in examples]
    heads = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    tails = tokenizer(
        [text + EOS for text, _ in plain], add_special_tokens=False, return_offsets_mapping=True
    )
    out = []
    for example, head, tail, offsets, (_, spans) in zip(
        examples, heads, tails["input_ids"], tails["offset_mapping"], plain, strict=True
    ):
        weights = [
            KEY_WEIGHT if any(a < high and b > low for low, high in spans) else 1.0 for a, b in offsets
        ]
        out.append(Encoded(head + tail, len(head), weights, example.picture))
    return out


def batches(encoded: Sequence[Encoded], random: Random) -> list[list[Encoded]]:
    """Batches of similar length within `BATCH_TOKENS`, in random order."""
    order = sorted(encoded, key=lambda e: (len(e.ids), random.random()))
    out: list[list[Encoded]] = [[]]
    for item in order:
        if (len(out[-1]) + 1) * len(item.ids) > BATCH_TOKENS:
            out.append([])
        out[-1].append(item)
    random.shuffle(out)
    return out


def batch_loss(
    model: LlavaForConditionalGeneration, batch: Sequence[Encoded], features: Tensor, pad: int
) -> Tensor:
    """Weighted cross-entropy of the answer tokens of a batch."""
    length = max(len(e.ids) for e in batch)
    ids = torch.tensor([e.ids + [pad] * (length - len(e.ids)) for e in batch])
    embedded = model.model.language_model.embed_tokens(ids)
    rows = [e.picture for e in batch if e.picture is not None]
    if rows:
        image = model.model.multi_modal_projector(features[rows])
        places = (ids == model.config.image_token_id)[:, :, None].expand_as(embedded)
        embedded = embedded.masked_scatter(places, image)
    hidden = model.model.language_model(inputs_embeds=embedded, use_cache=False).last_hidden_state
    where = [(b, t) for b, e in enumerate(batch) for t in range(e.start, len(e.ids))]
    rows_, columns = torch.tensor(where).T
    logits = model.lm_head(hidden[rows_, columns - 1])
    weights = torch.tensor([w for e in batch for w in e.weights])
    losses = nn.functional.cross_entropy(logits, ids[rows_, columns], reduction="none")
    return (losses * weights).sum() / weights.sum()


def train_language(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    pictures: Pictures,
    random: Random,
    examples: int = 100_000,
) -> None:
    """One pass over the corpus, in place."""
    init_projector(model, pictures.features)
    made = corpora.corpus(pictures.pictures, pictures.blanks, pictures.white, examples, random)
    work = batches(encode_examples(made, tokenizer), random)
    model.model.vision_tower.requires_grad_(False)
    parameters = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    optimisers = Optimisers(parameters, len(work))
    begun, running = time.perf_counter(), 0.0
    for step, batch in enumerate(work, 1):
        loss = batch_loss(model, batch, pictures.features, tokenizer.pad_token_id)
        optimisers.step(loss)
        running += loss.item()
        if step % 100 == 0:
            minutes = (time.perf_counter() - begun) / 60
            print(f"language {step}/{len(work)} loss {running / 100:.3f} {minutes:.1f} min", flush=True)
            running = 0.0
    model.requires_grad_(True)
