"""Llama 4, whose tiles transformers cuts by torchvision: model and processor are real, the cutting ours.

Where torchvision is missing, loading says so: guards/test_vlm.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ucbench.models.families import FAMILIES
from ucbench.models.loading import Loaded
from ucbench.models.local import LocalVLM
from ucbench.record import Decoding, Entry
from ucbench.types import Sample

NEW_TOKENS = 8


@pytest.fixture(scope="module")
def vlm(checkpoint: Callable[..., Path]) -> LocalVLM:
    """Dense, as Llama Guard 4; every second layer sees chunks far shorter than a prompt."""
    import sys

    from transformers import CLIPImageProcessorPil, Llama4Config, Llama4ForConditionalGeneration
    from transformers.models.llama4.processing_llama4 import Llama4Processor

    checkpoint("llava")  # loads tiny.py
    tiny: Any = sys.modules["tiny_models"]

    class Tiles(CLIPImageProcessorPil):  # type: ignore[misc]  # transformers is not typed
        """Wide pictures as two tiles and the whole, others as one tile."""

        def preprocess(self, images: Any, **_: Any) -> Any:
            from transformers import BatchFeature

            pixels, ratios = [], []
            for picture in [p for group in images for p in (group if isinstance(group, list) else [group])]:
                width, height = picture.size
                wide = width > 1.5 * height
                halves = [(0, 0, width // 2, height), (width // 2, 0, width, height)]
                parts = [*(picture.crop(half) for half in halves if wide), picture]
                pixels.append(super().preprocess(parts, return_tensors="pt")["pixel_values"])
                ratios.append([1, 2] if wide else [1, 1])
            return BatchFeature({"pixel_values": torch.cat(pixels), "aspect_ratios": torch.tensor(ratios)})

    marks = ("<|image|>", "<|patch|>", "<|image_start|>", "<|image_end|>", "<|tile_x_separator|>",
             "<|tile_y_separator|>")  # fmt: skip
    words = tiny.tokenizer(*marks)
    config = Llama4Config(
        vision_config={
            "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128,
            "vision_output_dim": 32, "image_size": 16, "patch_size": 4, "projector_input_dim": 32,
            "projector_output_dim": 32, "pixel_shuffle_ratio": 0.5,
        },
        text_config=tiny.text_config(
            "llama4_text", words, head_dim=12, intermediate_size_mlp=64, moe_layers=[],
            no_rope_layers=[1, 0], attention_chunk_size=16, num_local_experts=1,
        ).to_dict(),
        image_token_index=words.convert_tokens_to_ids("<|patch|>"),
    )  # fmt: skip
    torch.manual_seed(0)
    model = Llama4ForConditionalGeneration(config).eval()
    tiny.fill(model)
    size = {"height": 16, "width": 16}
    processor = Llama4Processor(
        Tiles(size=size, crop_size=size), words, patch_size=4, pixel_shuffle_ratio=0.5,
        chat_template=tiny.chat("<|image|>"),
    )  # fmt: skip
    entry = Entry(model="acme/llama", decoding=Decoding(max_new_tokens=NEW_TOKENS))
    return LocalVLM(Loaded(model, processor, FAMILIES["llama4"], "float32"), entry)


def test_every_way_gives_the_tokens_of_plain_generate(vlm: LocalVLM, pictures: list[Sample]) -> None:
    expected = {}
    for sample in pictures:
        for question in sample.questions:
            inputs = vlm.processor(
                images=sample.image.load(), text=vlm.prompts.render(question.text), add_special_tokens=False,
                return_tensors="pt",
            )  # fmt: skip
            output = vlm.model.generate(**inputs, do_sample=False, max_new_tokens=NEW_TOKENS)
            expected[sample.id, question.id] = output[0, inputs["input_ids"].shape[1] :].tolist()
    assert len({tuple(new) for new in expected.values()}) > len(expected) // 2, "answers must differ"
    assert vlm.ways == ("batched", "one_at_a_time")
    for way in vlm.ways:
        vlm.use(way)
        tokens: dict[tuple[str, str], list[int]] = {}
        vlm.on_tokens = lambda s, q, new, tokens=tokens: tokens.update({(s.id, q.id): new})  # type: ignore[misc]
        answers = [answer for batch in vlm.plan(pictures, 64) for answer in vlm.answer(batch)]
        assert tokens == expected, way
        assert not [answer for answer in answers if answer.error or "<|" in answer.text]
