"""Every family against plain transformers: one whole prompt at a time through the model's own `generate`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ucbench import evaluate, parity
from ucbench.judges import registry as judges
from ucbench.models import registry
from ucbench.models.decode import Decoder
from ucbench.models.families import FAMILIES
from ucbench.models.local import LocalVLM
from ucbench.record import Decoding
from ucbench.tracks import registry as tracks
from ucbench.types import Answer, Sample

NEW_TOKENS = 10
WAYS = {
    "llava": ("shared_prefix", "shared_vision", "batched", "one_at_a_time"),
    "instructblip": ("shared_vision", "batched", "one_at_a_time"),
    "qwen2_vl": ("shared_prefix", "batched", "one_at_a_time"),
    "qwen2_5_vl": ("shared_prefix", "batched", "one_at_a_time"),
    "qwen3_vl": ("shared_prefix", "batched", "one_at_a_time"),
    "idefics3": ("shared_prefix", "shared_vision", "batched", "one_at_a_time"),
    "smolvlm": ("shared_prefix", "shared_vision", "batched", "one_at_a_time"),
    "gemma3": ("shared_vision", "batched", "one_at_a_time"),
    "internvl": ("shared_prefix", "shared_vision", "batched", "one_at_a_time"),
    "pixtral": ("shared_prefix", "shared_vision", "batched", "one_at_a_time"),
    "mistral3": ("shared_prefix", "shared_vision", "batched", "one_at_a_time"),
    "llava_onevision": ("shared_prefix", "batched", "one_at_a_time"),
    "mllama": ("batched", "one_at_a_time"),
    **dict.fromkeys(("llava_next", "glm4v", "gemma4"), ("one_at_a_time",)),  # of no family
}
#: Pictures that processors of transformers refuse: an edge under a pixel after scaling, sides beyond 1:200,
#: a single token.
REFUSED = {
    "pixtral": {"1x60", "60x1", "1x400", "400x1", "900x7", "7x900"},
    "mistral3": {"1x1", "2x3", "1x60", "60x1", "1x400", "400x1", "900x7", "7x900"},
    **{kind: {"1x400", "400x1"} for kind in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "glm4v")},
}
Tokens = dict[tuple[str, str], list[int]]


@pytest.fixture(scope="module")
def load(checkpoint: Callable[..., Path]) -> Callable[[str], LocalVLM]:
    kept: dict[str, LocalVLM] = {}

    def loader(family: str) -> LocalVLM:
        if family not in kept:
            vlm = registry.load(
                str(checkpoint(family)), decoding=Decoding(max_new_tokens=NEW_TOKENS), device="cpu"
            )
            assert isinstance(vlm, LocalVLM)
            kept[family] = vlm
        kept[family].use(kept[family].ways[0])
        return kept[family]

    return loader


def ask(vlm: LocalVLM, samples: list[Sample], batch_size: int) -> tuple[Tokens, list[Answer]]:
    tokens: Tokens = {}
    vlm.on_tokens = lambda sample, question, new: tokens.update({(sample.id, question.id): new})
    answers = [answer for batch in vlm.plan(samples, batch_size) for answer in vlm.answer(batch)]
    vlm.on_tokens = None
    return tokens, answers


def plainly(vlm: LocalVLM, folder: Path, samples: list[Sample]) -> Tokens:
    """A model loaded by transformers, its inputs by the processor's own call, one question at a time."""
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    processor = vlm.processor
    tokens: Tokens = {}
    for sample in samples:
        for question in sample.questions:
            if processor.chat_template is None:
                inputs = processor(images=sample.image.load(), text=question.text, return_tensors="pt")
            else:
                content = [
                    {"type": "image", "image": sample.image.load()},
                    {"type": "text", "text": question.text},
                ]
                inputs = processor.apply_chat_template(
                    [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True,
                    return_dict=True, return_tensors="pt",
                )  # fmt: skip
            output = model.generate(**inputs, do_sample=False, max_new_tokens=NEW_TOKENS)
            tokens[sample.id, question.id] = output[0, inputs["input_ids"].shape[1] :].tolist()
    return tokens


def watch_masks(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The attention mask of every batch that is decoded from now on."""
    masks: list[torch.Tensor] = []
    original = Decoder.__call__

    def watch(self: Decoder, model: Any, rows: Any, **inputs: Any) -> list[list[int]]:
        masks.append(inputs["attention_mask"].long())
        return original(self, model, rows, **inputs)

    monkeypatch.setattr(Decoder, "__call__", watch)
    return masks


def test_every_family_is_here() -> None:
    """ShieldGemma writes no text and is compared in guards/, Llama 4 in test_llama4.py."""
    types = {"llava" if name == "pixtral" else name for name, ways in WAYS.items() if len(ways) > 1}
    assert types == set(FAMILIES) - {"shieldgemma2", "llama4"}


@pytest.mark.parametrize("family", WAYS)
def test_every_way_gives_the_tokens_of_plain_generate(
    family: str, load: Callable[[str], LocalVLM], checkpoint: Callable[..., Path], pictures: list[Sample],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """In one batch of mixed pictures, in small ones, and one at a time."""
    vlm = load(family)
    assert vlm.ways == WAYS[family]
    assert vlm.engine_path == WAYS[family][0]
    expected = plainly(vlm, checkpoint(family), pictures)
    assert len({tuple(new) for new in expected.values()}) > len(expected) // 2, "answers must differ"
    masks = watch_masks(monkeypatch)
    for way in WAYS[family]:
        vlm.use(way)
        for batch_size in (3, 64) if way != "one_at_a_time" else (64,):
            tokens, answers = ask(vlm, pictures, batch_size)
            assert tokens == expected, (way, batch_size)
        assert not [answer for answer in answers if answer.error]
        # Padded on the left: every answer begins right behind its prompt. Only a shared prefix, which is
        # padded by itself, may have pads behind it.
        (*_, mask) = masks
        assert mask[:, -1].all()
        assert (way == "one_at_a_time") == bool(mask.all())
        if way != "shared_prefix":
            assert (mask.diff(dim=1) >= 0).all()


@pytest.mark.parametrize("family", WAYS)
def test_extreme_pictures_are_answered_or_one_typed_error(
    family: str, load: Callable[[str], LocalVLM], extremes: list[Sample]
) -> None:
    vlm = load(family)
    given = {}
    for way in vlm.ways:
        vlm.use(way)
        given[way] = {(a.sample_id, a.question_id): a for a in ask(vlm, extremes, 64)[1]}
    (alone, *others) = reversed(given.values())
    assert all(answers == alone for answers in others)
    assert {a.sample_id for a in alone.values() if a.error} == REFUSED.get(family, set())
    assert {a.error for a in alone.values()} <= {None, "bad_image"}


@pytest.mark.parametrize("family", WAYS)
def test_special_tokens_stay_out_of_answers(
    family: str, load: Callable[[str], LocalVLM], pictures: list[Sample]
) -> None:
    vlm = load(family)
    words = vlm.processor.tokenizer
    special = [token for token in words.all_special_ids if token != words.eos_token_id]
    assert vlm.prompts.image_token_id in special
    yes = words("Yes, it is safe.", add_special_tokens=False)["input_ids"]
    answer = vlm.read(pictures[0], pictures[0].questions[0], [*special, *yes, *special, words.eos_token_id])
    assert answer.text == "Yes, it is safe."
    assert answer.tokens == 2 * len(special) + len(yes)
    assert not answer.truncated


@pytest.mark.parametrize("family", WAYS)
def test_pixels_are_made_without_torchvision(family: str, load: Callable[[str], LocalVLM]) -> None:
    assert type(load(family).processor.image_processor).__name__.endswith("Pil")


@pytest.mark.parametrize("family", WAYS)
def test_parity_names_the_way(family: str, load: Callable[[str], LocalVLM], tmp_path: Path) -> None:
    """`ucbench parity` on the track's own questions; of each way, a run beside it."""
    vlm, track, judge = load(family), tracks.load("pictograms"), judges.load("rules")
    vlm = LocalVLM(vlm._loaded, vlm.entry.model_copy(update={"decoding": Decoding(max_new_tokens=3)}))
    found, path = parity.parity(vlm, track, judge, out=tmp_path, n=1)
    shared = [way for way in WAYS[family][:1] if way.startswith("shared")]
    assert [way.name for way in found.ways] == ["one_at_a_time", "batched", *(shared or ["engine"])]
    assert all(pair.identical == pair.n == found.track.n_questions > 3 for pair in found.pairs)
    assert path.parent.parent == tmp_path / vlm.entry.slug
    if family in ("llava", "gemma3", "mllama", "llava_next"):
        record = evaluate.evaluate(vlm, track, judge, out=tmp_path, limit=1)
        assert record.engine.path == WAYS[family][0]
        assert record.entry == found.entry
