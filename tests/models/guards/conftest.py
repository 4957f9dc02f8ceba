"""Tiny checkpoints with random weights of every architecture that guards have, written as published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HIDDEN = 48
TEXTS = (
    "Task: Check if there is unsafe content in 'User' messages in conversations according our safety policy.",
    "Provide a safety assessment for the content provided by the user. Contain content of people.",
    "No Dangerous Content: The image shall not contain content that facilitates or encourages activities.",
    "safe unsafe S1,S9 Yes No An image that shows",
)
#: In the shape of Llama Guard's own: the picture first, then the task, the conversation between marks.
LLAMA_GUARD = (
    "{{ bos_token }}user\n{% set ns = namespace(image=false) %}{% for m in messages %}"
    "{% for part in m['content'] %}{% if part['type'] == 'image' %}{% set ns.image = true %}{% endif %}"
    "{% endfor %}{% endfor %}{% if ns.image %}<|image|> {% endif %}"
    "Task: Check if there is unsafe content.\n<BEGIN UNSAFE CONTENT CATEGORIES>\nS1: Violent Crimes.\n"
    "<END UNSAFE CONTENT CATEGORIES>\n<BEGIN CONVERSATION>\n{% for m in messages %}"
    "{% for part in m['content'] %}{% if part['type'] == 'text' %}User: {{ part['text'] | trim }}\n\n"
    "{% endif %}{% endfor %}{% endfor %}<END CONVERSATION>\nassistant\n"
)
CHAT = (
    "{% for m in messages %}{{ m['role'] }}\n{% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}{% endfor %}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant\n{% endif %}"
)
SHIELDGEMMA = (
    "{{ bos_token }}user\n{% for part in messages[0]['content'] %}{% if part['type'] == 'image' %}"
    "<start_of_image>{% else %}Does it violate this policy: {{ part['text'] }}{% endif %}{% endfor %}\n"
    "model\n"
)


def tokenizer(*special: str, **named: str) -> Any:
    """A byte-level tokenizer with the special tokens of a family; `named` ones are attributes as well."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokens = ["<pad>", "<s>", "</s>", *special, *named.values()]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=tokens, initial_alphabet=alphabet)
    core.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>", padding_side="right",
        extra_special_tokens=list(special), model_specific_special_tokens=named,
    )  # fmt: skip


def text_config(kind: str, words: Any, **changes: Any) -> dict[str, Any]:
    """A language model of two layers."""
    return {
        "model_type": kind, "vocab_size": len(words), "hidden_size": HIDDEN, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 8192, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
        "tie_word_embeddings": False, **changes,
    }  # fmt: skip


def siglip(size: int, patch: int) -> dict[str, Any]:
    return {
        "model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": size, "patch_size": patch,
    }  # fmt: skip


def fill(model: Any, seed: int) -> None:
    """Random weights, large enough for answers to depend on the picture."""
    import torch

    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.normal_(0, 0.3 if "vis" in name else weight[0].numel() ** -0.5 * 1.5)
            elif "gate" in name and weight.ndim:  # Mllama's, zero at first: no picture would be seen
                weight.fill_(1.0)


def save(folder: Path, model: Any, parts: dict[str, Any], template: str, processor: dict[str, Any]) -> Path:
    if hasattr(model, "generation_config"):
        model.generation_config.eos_token_id = 2
    model.save_pretrained(folder)
    for part in parts.values():
        part.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(template)
    (folder / "processor_config.json").write_text(json.dumps(processor))
    return folder


def mllama(folder: Path) -> Path:
    """Llama 3.2 Vision: one layer of the two looks at the picture."""
    from transformers import MllamaConfig, MllamaForConditionalGeneration, MllamaImageProcessorPil

    words = tokenizer("<|image|>", "<|python_tag|>")
    text = text_config("mllama_text_model", words, cross_attention_layers=[1], rope_parameters={
        "rope_type": "default", "rope_theta": 10000.0,
    })  # fmt: skip
    text["vocab_size"] = len(words)
    vision = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_global_layers": 1,
        "attention_heads": 4, "image_size": 32, "patch_size": 8, "max_num_tiles": 4,
        "intermediate_layers_indices": [0], "vision_output_dim": 64,
        "supported_aspect_ratios": [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]],
    }  # fmt: skip
    config = MllamaConfig(
        vision_config=vision, text_config=text, image_token_index=words.convert_tokens_to_ids("<|image|>")
    )
    model = MllamaForConditionalGeneration(config)
    fill(model, 1)
    images = MllamaImageProcessorPil(size={"height": 32, "width": 32}, max_image_tiles=4)
    return save(
        folder, model, {"images": images, "words": words}, LLAMA_GUARD, {"processor_class": "MllamaProcessor"}
    )


def llava_onevision(folder: Path) -> Path:
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessorPil,
    )

    words = tokenizer("<image>", "<video>")
    grid = [[16, 16], [16, 32], [32, 16], [32, 32]]
    config = LlavaOnevisionConfig(
        vision_config=siglip(16, 4),
        text_config=text_config("qwen2", words, use_sliding_window=False),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=grid,
        vision_aspect_ratio="anyres_max_9",
    )
    model = LlavaOnevisionForConditionalGeneration(config)
    fill(model, 2)
    images = LlavaOnevisionImageProcessorPil(size={"height": 16, "width": 16}, image_grid_pinpoints=grid)
    settings = {
        "processor_class": "LlavaOnevisionProcessor", "num_image_tokens": 16,
        "vision_feature_select_strategy": "full", "vision_aspect_ratio": "anyres_max_9",
    }  # fmt: skip
    return save(folder, model, {"images": images, "words": words}, CHAT, settings)


def shieldgemma2(folder: Path) -> Path:
    from transformers import Gemma3ImageProcessorPil, ShieldGemma2Config, ShieldGemma2ForImageClassification

    named = {
        "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>",
    }  # fmt: skip
    words = tokenizer(**named)
    config = ShieldGemma2Config(
        vision_config=siglip(32, 8),
        text_config=text_config(
            "gemma3_text", words, sliding_window=8, head_dim=12, query_pre_attn_scalar=12,
            layer_types=["sliding_attention", "full_attention"],
        ),
        mm_tokens_per_image=4,
        **{f"{name.removesuffix('_token')}_token_index": words.convert_tokens_to_ids(token)
           for name, token in named.items()},
    )  # fmt: skip
    config.yes_token_index, config.no_token_index = (words.encode(word)[0] for word in ("Yes", "No"))
    model = ShieldGemma2ForImageClassification(config)
    fill(model, 3)
    images = Gemma3ImageProcessorPil(size={"height": 32, "width": 32})
    settings = {"processor_class": "ShieldGemma2Processor", "image_seq_length": 4}
    return save(folder, model, {"images": images, "words": words}, SHIELDGEMMA, settings)


BUILDERS: dict[str, Callable[[Path], Path]] = {
    "mllama": mllama, "llava_onevision": llava_onevision, "shieldgemma2": shieldgemma2,
}  # fmt: skip


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`checkpoint("mllama")`: the folder of a tiny guard."""
    kept: dict[str, Path] = {}

    def build(name: str) -> Path:
        if name not in kept:
            kept[name] = BUILDERS[name](tmp_path_factory.mktemp("guards") / name)
        return kept[name]

    return build
