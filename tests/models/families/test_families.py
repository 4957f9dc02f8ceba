"""Every family against plain transformers: one whole prompt at a time through the model's own `generate`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ucbench.models import registry
from ucbench.models.local import LocalVLM
from ucbench.record import Decoding
from ucbench.types import Answer, Sample

NEW_TOKENS = 10
WAYS = {
    "llava": ("shared_prefix", "shared_vision", "batched", "one_at_a_time"),
    "instructblip": ("shared_vision", "batched", "one_at_a_time"),
    "qwen2_vl": ("shared_prefix", "batched", "one_at_a_time"),
    "qwen2_5_vl": ("shared_prefix", "batched", "one_at_a_time"),
    "idefics3": ("shared_prefix", "shared_vision", "batched", "one_at_a_time"),
    "smolvlm": ("shared_prefix", "shared_vision", "batched", "one_at_a_time"),
    "gemma3": ("shared_vision", "batched", "one_at_a_time"),
    "internvl": ("shared_prefix", "shared_vision", "batched", "one_at_a_time"),
    "pixtral": ("shared_prefix", "shared_vision", "batched", "one_at_a_time"),
    "mistral3": ("shared_prefix", "shared_vision", "batched", "one_at_a_time"),
    "llava_next": ("one_at_a_time",),
}
Tokens = dict[tuple[str, str], list[int]]


def load(folder: Path, **options: Any) -> LocalVLM:
    vlm = registry.load(
        str(folder), decoding=Decoding(max_new_tokens=NEW_TOKENS), **{"device": "cpu", **options}
    )
    assert isinstance(vlm, LocalVLM)
    return vlm


def ask(vlm: LocalVLM, samples: list[Sample], batch_size: int) -> tuple[Tokens, list[Answer]]:
    tokens: Tokens = {}
    vlm.on_tokens = lambda sample, question, new: tokens.update({(sample.id, question.id): new})
    answers = [answer for batch in vlm.plan(samples, batch_size) for answer in vlm.answer(batch)]
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


@pytest.mark.parametrize("family", WAYS)
def test_every_way_gives_the_tokens_of_plain_generate(
    family: str, checkpoint: Callable[[str], Path], pictures: list[Sample]
) -> None:
    folder = checkpoint(family)
    vlm = load(folder)
    assert vlm.ways == WAYS[family]
    assert vlm.engine_path == WAYS[family][0]
    expected = plainly(vlm, folder, pictures)
    assert len({tuple(new) for new in expected.values()}) > len(expected) // 2, "answers must differ"
    special = set(vlm.processor.tokenizer.all_special_tokens)
    for way in WAYS[family]:
        vlm.use(way)
        for batch_size in (3, 64):
            tokens, answers = ask(vlm, pictures, batch_size)
            assert tokens == expected, (way, batch_size)
        assert not [answer for answer in answers if answer.error]
        assert not [token for token in special for answer in answers if token in answer.text]
