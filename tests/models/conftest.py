"""Tiny LLaVA checkpoints with random weights, written to disk as real ones are."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ucbench.types import Question, Sample

TEXTS = [
    "What does this image show? Choose the most relevant option from A, B, C, or D.",
    "Is this image safe for viewing on social media?",
    "If an image shows graffiti, could it be shown to a general audience without causing harm or distress?",
    "How many dots are there, and what colour is the background?",
    "Yes, it is safe. No, it is not safe, because it is harmful.",
]

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] | upper }}: "
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }} {% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    """What differs between two LLaVA checkpoints."""

    image_size: int = 32
    patch_size: int = 16
    feature_layer: int = -1
    strategy: str = "full"
    class_token: int = 1
    heads: int = 4
    key_value_heads: int = 4
    hidden: int = 48
    layers: int = 3
    template: str | None = CHAT_TEMPLATE
    window: int | None = None
    tied: bool = False
    seed: int = 0


#: Class token kept, full attention heads.
PLAIN = Shape()
#: As LLaVA-1.5: the layer before the last, class token dropped; and grouped-query attention.
LLAVA15 = Shape(
    image_size=48, patch_size=8, feature_layer=-2, strategy="default", key_value_heads=2, hidden=64, layers=2,
    template=CHAT_TEMPLATE.removeprefix("{{ bos_token }}"), seed=1,
)  # fmt: skip


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>", "<image>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    core.train_from_iterator(TEXTS, trainer)
    # As Llama's: the tokenizer adds BOS unless told not to.
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        additional_special_tokens=["<image>"],
    )  # fmt: skip


def build_llava(folder: Path, shape: Shape) -> Path:
    """Write a random-weight checkpoint with processor and chat template into `folder`."""
    import torch
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        MistralConfig,
    )

    tokenizer = _tokenizer()
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
            image_size=shape.image_size, patch_size=shape.patch_size,
        ),
        text_config=(LlamaConfig if shape.window is None else MistralConfig)(
            vocab_size=len(tokenizer), hidden_size=shape.hidden, intermediate_size=96,
            num_hidden_layers=shape.layers, num_attention_heads=shape.heads,
            num_key_value_heads=shape.key_value_heads, bos_token_id=1, eos_token_id=2, pad_token_id=0,
            **({} if shape.window is None else {"sliding_window": shape.window}),
            tie_word_embeddings=shape.tied,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=shape.feature_layer,
        vision_feature_select_strategy=shape.strategy,
        tie_word_embeddings=shape.tied,
    )  # fmt: skip
    torch.manual_seed(shape.seed)
    model = LlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:  # larger than the default, so that answers depend on image and question
                weight.normal_(0, 0.3 if "vision" in name else weight.shape[-1] ** -0.5 * 1.5)
        model.lm_head.weight.mul_(3)
        model.lm_head.weight[2].mul_(1.3)  # some answers end before the limit
    model.save_pretrained(folder)
    size = {"height": shape.image_size, "width": shape.image_size}
    LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size=size, crop_size=size),
        tokenizer=tokenizer,
        patch_size=shape.patch_size,
        vision_feature_select_strategy=shape.strategy,
        num_additional_image_tokens=shape.class_token,
        chat_template=shape.template,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_llava(tmp_path_factory.mktemp("checkpoints") / "tiny-llava", PLAIN)


@pytest.fixture(scope="session")
def llava15(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_llava(tmp_path_factory.mktemp("checkpoints") / "tiny-llava-1.5", LLAVA15)


@pytest.fixture(scope="session")
def build() -> Any:
    """`build(folder, **changes)`: a checkpoint like `llava`, but for the changes."""
    return lambda folder, **changes: build_llava(folder, Shape(**changes))


@dataclass(frozen=True)
class Plain:
    """A picture of bars in a colour."""

    colour: tuple[int, int, int]
    size: tuple[int, int] = (40, 30)

    def load(self) -> Image.Image:
        image = Image.new("RGB", self.size, self.colour)
        image.paste((255 - self.colour[0], 20, self.colour[2]), (5, 5, 20, 25))
        return image


def question(number: int, text: str) -> Question:
    return Question(f"q{number}", "general", f"q{number}", text, "dots", "yes")


@pytest.fixture(scope="session")
def samples() -> list[Sample]:
    """Five pictures with one to five questions of very different lengths."""
    colours = [(200, 30, 40), (20, 180, 60), (30, 40, 220), (240, 230, 20), (255, 255, 255)]
    return [
        Sample(
            f"s{i}",
            Plain(colour),
            "test",
            tuple(question(j, TEXTS[j] * (1 + (i + j) % 3)) for j in range(i + 1)),
        )
        for i, colour in enumerate(colours)
    ]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`checkpoint("qwen2_vl", template)`: the folder of a tiny model, see tiny.py."""
    spec = importlib.util.spec_from_file_location("tiny_models", Path(__file__).with_name("tiny.py"))
    assert spec
    assert spec.loader
    tiny = sys.modules["tiny_models"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    kept: dict[tuple[str, str | None], Path] = {}

    def build(name: str, template: str | None = None) -> Path:
        if (name, template) not in kept:
            folder = tmp_path_factory.mktemp("checkpoints") / name
            kept[name, template] = tiny.BUILDERS[name](folder, template)
        return kept[name, template]

    return build
