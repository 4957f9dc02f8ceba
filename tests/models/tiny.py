"""Tiny checkpoints of every family with random weights: real configs, real processors, written to disk.

`BUILDERS[name](folder, template)` writes one; without a template it gets a plain chat template.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEXTS = (
    "What does this image show? Choose the most relevant option from A, B, C, or D.",
    "Is this image safe for viewing on social media?",
    "Is it safe to generate such an image using AI?",
    "user assistant Here is the original image and here are some crops to help you see better",
    "Task: Check if there is unsafe content in 'User' messages in conversations according our safety policy.",
    "Provide a safety assessment for the content provided by the user. Contain content of people.",
    "No Dangerous Content: The image shall not contain content that facilitates or encourages activities.",
    "safe unsafe S1,S9 Yes No An image that shows",
)
HIDDEN = 48


def tokenizer(*special: str, **named: str) -> Any:
    """A byte-level tokenizer with the special tokens of a family; `named` ones are attributes as well."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokens = ["<pad>", "<s>", "</s>", *special, *named.values()]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=tokens, initial_alphabet=alphabet)
    core.train_from_iterator(TEXTS, trainer)
    # As Llama's: the tokenizer adds BOS unless told not to.
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>", padding_side="right",
        extra_special_tokens=list(special), model_specific_special_tokens=named,
    )  # fmt: skip


def chat(image: str, *, bos: bool = True) -> str:
    """A chat template with that picture placeholder."""
    return (
        ("{{ bos_token }}" if bos else "") + "{% for m in messages %}{{ m['role'] }}\n"
        "{% for part in m['content'] %}{% if part['type'] == 'image' %}" + image + "{% else %}"
        "{{ part['text'] }}{% endif %}{% endfor %}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant\n{% endif %}"
    )


def text_config(kind: str, words: Any, **changes: Any) -> Any:
    """A language model of two layers."""
    from transformers import AutoConfig

    return AutoConfig.for_model(
        kind,
        **{
            "vocab_size": len(words), "hidden_size": HIDDEN, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 8192,
            "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "sliding_window": None, **changes,
        },
    )  # fmt: skip


def siglip(size: int, patch: int, kind: str = "siglip_vision_model") -> dict[str, Any]:
    return {
        "model_type": kind, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "image_size": size, "patch_size": patch,
    }  # fmt: skip


def fill(model: Any, head: Any = None) -> None:
    """Random weights, large enough for answers to depend on picture and question."""
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 or "query_tokens" in name:
                vision = "vis" in name or "qformer" in name or "query_tokens" in name
                weight.normal_(0, 0.3 if vision else weight[0].numel() ** -0.5 * 1.5)
            elif "gate" in name and weight.ndim:  # Mllama's, zero at first: no picture would be seen
                weight.fill_(1.0)
        head = (head or model).get_output_embeddings().weight
        head.mul_(3)
        head[2].mul_(1.5)  # some answers end before the limit
    if hasattr(model, "generation_config"):
        model.generation_config.eos_token_id = 2


def save(folder: Path, config: Any, processor: Any, seed: int, kind: Any = None) -> Path:
    """A checkpoint with random weights; `kind` is the class that wraps the model, where there is one."""
    import torch
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(seed)
    model = (kind(config) if kind else AutoModelForImageTextToText.from_config(config)).eval()
    fill(model, model.model if kind else None)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def llava(folder: Path, template: str | None = None) -> Path:
    """As LLaVA-1.5: the layer before the last, class token dropped."""
    from transformers import CLIPImageProcessorPil, LlavaConfig, LlavaProcessor

    words = tokenizer("<image>")
    config = LlavaConfig(
        vision_config=siglip(32, 8, "clip_vision_model"), text_config=text_config("llama", words),
        image_token_index=words.convert_tokens_to_ids("<image>"), vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )  # fmt: skip
    size = {"height": 32, "width": 32}
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size=size, crop_size=size), words, patch_size=8,
        vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=template or chat("<image>\n", bos=False),
    )  # fmt: skip
    return save(folder, config, processor, 1)


def instructblip(folder: Path, template: str | None = None) -> Path:
    """Asked with bare questions: a template makes no difference."""
    del template
    from transformers import BlipImageProcessorPil, InstructBlipConfig, InstructBlipProcessor

    words, other = tokenizer("<image>"), tokenizer("[CLS]")
    vision = siglip(32, 8, "instructblip_vision_model")
    qformer = {
        "vocab_size": len(other), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 48, "max_position_embeddings": 128, "encoder_hidden_size": 32,
    }  # fmt: skip
    config = InstructBlipConfig(
        vision_config=vision, qformer_config=qformer, text_config=text_config("llama", words).to_dict(),
        num_query_tokens=4, image_token_index=words.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    images = BlipImageProcessorPil(size={"height": 32, "width": 32})
    return save(folder, config, InstructBlipProcessor(images, words, other, num_query_tokens=4), 2)


def _qwen(folder: Path, kind: str, template: str | None) -> Path:
    import transformers

    words = tokenizer("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 4]}
    text = text_config(f"{kind}_text", words, rope_parameters=rope, use_sliding_window=False)
    vision = {"num_heads": 4, "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2, "depth": 2}
    vision |= {
        "qwen2_vl": {"embed_dim": 32, "hidden_size": HIDDEN, "mlp_ratio": 2},
        "qwen2_5_vl": {
            "hidden_size": 32, "intermediate_size": 48, "out_hidden_size": HIDDEN, "window_size": 16,
            "fullatt_block_indexes": [1],
        },
        # Both layers of the language model look at the picture once more.
        "qwen3_vl": {
            "hidden_size": 32, "intermediate_size": 48, "out_hidden_size": HIDDEN,
            "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1],
        },
    }[kind]  # fmt: skip
    if kind == "qwen3_vl":
        text.head_dim = 12
    config = transformers.AutoConfig.for_model(
        kind,
        vision_config=vision,
        text_config=text.to_dict(),
        **{
            f"{name}_token_id": words.convert_tokens_to_ids(f"<|{token}|>")
            for name, token in {
                "image": "image_pad", "video": "video_pad", "vision_start": "vision_start",
                "vision_end": "vision_end",
            }.items()
        },
    )  # fmt: skip
    images = transformers.Qwen2VLImageProcessorPil(
        size={"shortest_edge": 64, "longest_edge": 40 * 40}, patch_size=4, merge_size=2, temporal_patch_size=2
    )
    # As published: no processor_config.json, and a class that holds a video processor as well.
    usual = chat("<|vision_start|><|image_pad|><|vision_end|>", bos=False)
    save(folder, config, _Parts(images, words, template or usual), 3)
    classes = {"qwen2_vl": "Qwen2VLProcessor", "qwen2_5_vl": "Qwen2_5_VLProcessor"}
    edit(folder / "preprocessor_config.json", processor_class=classes.get(kind, "Qwen3VLProcessor"))
    return folder


def qwen2_vl(folder: Path, template: str | None = None) -> Path:
    return _qwen(folder, "qwen2_vl", template)


def qwen2_5_vl(folder: Path, template: str | None = None) -> Path:
    return _qwen(folder, "qwen2_5_vl", template)


def qwen3_vl(folder: Path, template: str | None = None) -> Path:
    return _qwen(folder, "qwen3_vl", template)


def _idefics(folder: Path, kind: str, template: str | None) -> Path:
    import transformers

    marks = {
        "fake_image_token": "<fake_token_around_image>", "image_token": "<image>",
        "end_of_utterance_token": "<end_of_utterance>", "global_image_token": "<global-img>",
    }  # fmt: skip
    places = [f"<row_{row}_col_{column}>" for row in (1, 2, 3) for column in (1, 2, 3)]
    words = tokenizer(*places, **marks)
    config = transformers.AutoConfig.for_model(
        kind,
        vision_config=siglip(16, 4, f"{kind}_vision"),
        text_config=text_config("llama", words),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=0,
    )
    options = {"size": {"longest_edge": 32}, "max_image_size": {"longest_edge": 16}}
    if kind == "idefics3":
        processor: Any = transformers.Idefics3Processor(
            transformers.Idefics3ImageProcessorPil(**options), words, image_seq_len=4,
            chat_template=template or chat("<image>"),
        )  # fmt: skip
        return save(folder, config, processor, 4)
    processor = _Parts(transformers.SmolVLMImageProcessorPil(**options), words, template or chat("<image>"))
    save(folder, config, processor, 5)
    write(folder / "processor_config.json", {"processor_class": "SmolVLMProcessor", "image_seq_len": 4})
    return folder


def idefics3(folder: Path, template: str | None = None) -> Path:
    return _idefics(folder, "idefics3", template)


def smolvlm(folder: Path, template: str | None = None) -> Path:
    return _idefics(folder, "smolvlm", template)


def gemma3(folder: Path, template: str | None = None) -> Path:
    """With a window shorter than a picture, and crops of oblong pictures."""
    from transformers import Gemma3Config, Gemma3ImageProcessorPil, Gemma3Processor

    named = {
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    }
    words = tokenizer(**named)
    config = Gemma3Config(
        vision_config=siglip(32, 8),
        text_config=text_config(
            "gemma3_text", words, sliding_window=8, head_dim=12, query_pre_attn_scalar=12,
            layer_types=["sliding_attention", "full_attention"], tie_word_embeddings=False,
        ),
        mm_tokens_per_image=4,
        tie_word_embeddings=False,
        **{f"{name.removesuffix('_token')}_token_index": words.convert_tokens_to_ids(token)
           for name, token in named.items()},
    )  # fmt: skip
    images = Gemma3ImageProcessorPil(
        size={"height": 32, "width": 32}, do_pan_and_scan=True, pan_and_scan_min_crop_size=8,
        pan_and_scan_max_num_crops=2, pan_and_scan_min_ratio_to_activate=1.5,
    )  # fmt: skip
    processor = Gemma3Processor(
        images, words, chat_template=template or chat("<start_of_image>"), image_seq_length=4
    )
    return save(folder, config, processor, 6)


def internvl(folder: Path, template: str | None = None) -> Path:
    from transformers import GotOcr2ImageProcessorPil, InternVLConfig

    words = tokenizer(
        start_image_token="<img>", end_image_token="</img>", context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )  # fmt: skip
    config = InternVLConfig(
        vision_config={**siglip(16, 4, "internvl_vision"), "image_size": [16, 16], "patch_size": [4, 4]},
        text_config=text_config("qwen2", words, use_sliding_window=False),
        image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"), image_seq_length=4,
    )  # fmt: skip
    images = GotOcr2ImageProcessorPil(size={"height": 16, "width": 16}, crop_to_patches=True, max_patches=4)
    save(folder, config, _Parts(images, words, template or chat("<IMG_CONTEXT>", bos=False)), 7)
    write(folder / "processor_config.json", {"processor_class": "InternVLProcessor", "image_seq_length": 4})
    return folder


def _mistral(folder: Path, kind: str, template: str | None) -> Path:
    import transformers

    words = tokenizer("[IMG]", "[IMG_BREAK]", "[IMG_END]", "[INST]", "[/INST]")
    vision = {"model_type": "pixtral", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    vision |= {"num_attention_heads": 4, "image_size": 64, "patch_size": 4}
    merged = {"spatial_merge_size": 2} if kind == "mistral3" else {"vision_feature_select_strategy": "full"}
    config = transformers.AutoConfig.for_model(
        kind, vision_config=vision, text_config=text_config("mistral", words, head_dim=12),
        image_token_index=words.convert_tokens_to_ids("[IMG]"), vision_feature_layer=-1, **merged,
    )  # fmt: skip
    images = transformers.PixtralImageProcessorPil(size={"longest_edge": 32}, patch_size=4)
    template = template or "{{ bos_token }}[INST][IMG]{{ messages[-1]['content'][1]['text'] }}[/INST]"
    save(folder, config, _Parts(images, words, template), 8)
    settings = {"processor_class": "PixtralProcessor", "patch_size": 4}
    merge = {"spatial_merge_size": 2} if kind == "mistral3" else {}
    write(folder / "processor_config.json", {**settings, **merge})
    return folder


def pixtral(folder: Path, template: str | None = None) -> Path:
    return _mistral(folder, "llava", template)


def mistral3(folder: Path, template: str | None = None) -> Path:
    return _mistral(folder, "mistral3", template)


def mllama(folder: Path, template: str | None = None) -> Path:
    """Llama 3.2 Vision: one layer of the two looks at the picture."""
    from transformers import MllamaConfig, MllamaImageProcessorPil

    words = tokenizer("<|image|>", "<|python_tag|>")
    rope = {"rope_type": "default", "rope_theta": 10000.0}
    text = text_config("mllama_text_model", words, cross_attention_layers=[1], rope_parameters=rope)
    vision = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_global_layers": 1,
        "attention_heads": 4, "image_size": 32, "patch_size": 8, "max_num_tiles": 4,
        "intermediate_layers_indices": [0], "vision_output_dim": 64,
        "supported_aspect_ratios": [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]],
    }  # fmt: skip
    config = MllamaConfig(
        vision_config=vision,
        text_config=text.to_dict(),
        image_token_index=words.convert_tokens_to_ids("<|image|>"),
    )
    images = MllamaImageProcessorPil(size={"height": 32, "width": 32}, max_image_tiles=4)
    save(folder, config, _Parts(images, words, template or chat("<|image|>")), 1)
    write(folder / "processor_config.json", {"processor_class": "MllamaProcessor"})
    return folder


def llava_onevision(folder: Path, template: str | None = None) -> Path:
    from transformers import LlavaOnevisionConfig, LlavaOnevisionImageProcessorPil

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
    images = LlavaOnevisionImageProcessorPil(size={"height": 16, "width": 16}, image_grid_pinpoints=grid)
    save(folder, config, _Parts(images, words, template or chat("<image>\n", bos=False)), 2)
    settings = {
        "processor_class": "LlavaOnevisionProcessor", "num_image_tokens": 16,
        "vision_feature_select_strategy": "full", "vision_aspect_ratio": "anyres_max_9",
    }  # fmt: skip
    write(folder / "processor_config.json", settings)
    return folder


def shieldgemma2(folder: Path, template: str | None = None) -> Path:
    from transformers import Gemma3ImageProcessorPil, ShieldGemma2Config, ShieldGemma2ForImageClassification

    named = {
        "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>",
    }  # fmt: skip
    words = tokenizer(**named)
    config = ShieldGemma2Config(
        vision_config=siglip(32, 8),
        text_config=text_config(
            "gemma3_text", words, sliding_window=8, head_dim=12, query_pre_attn_scalar=12,
            layer_types=["sliding_attention", "full_attention"], tie_word_embeddings=False,
        ).to_dict(),
        mm_tokens_per_image=4,
        tie_word_embeddings=False,
        **{f"{name.removesuffix('_token')}_token_index": words.convert_tokens_to_ids(token)
           for name, token in named.items()},
    )  # fmt: skip
    config.yes_token_index, config.no_token_index = (
        words.encode(word, add_special_tokens=False)[0] for word in ("Yes", "No")
    )
    images = Gemma3ImageProcessorPil(size={"height": 32, "width": 32})
    parts = _Parts(images, words, template or chat("<start_of_image>"))
    save(folder, config, parts, 3, ShieldGemma2ForImageClassification)
    settings = {"processor_class": "ShieldGemma2Processor", "image_seq_length": 4}
    write(folder / "processor_config.json", settings)
    return folder


def llava_next(folder: Path, template: str | None = None) -> Path:
    """Of no family: asked one at a time."""
    from transformers import LlavaNextConfig, LlavaNextImageProcessorPil, LlavaNextProcessor

    words = tokenizer("<image>")
    grid = [[16, 32], [32, 16], [32, 32]]
    config = LlavaNextConfig(
        vision_config=siglip(16, 4, "clip_vision_model"), text_config=text_config("llama", words),
        image_token_index=words.convert_tokens_to_ids("<image>"), image_grid_pinpoints=grid,
    )  # fmt: skip
    size = {"height": 16, "width": 16}
    images = LlavaNextImageProcessorPil(size={"shortest_edge": 16}, crop_size=size, image_grid_pinpoints=grid)
    processor = LlavaNextProcessor(
        images, words, patch_size=4, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=template or chat("<image>\n"),
    )  # fmt: skip
    return save(folder, config, processor, 9)


def glm4v(folder: Path, template: str | None = None) -> Path:
    """Of no family, with a processor that holds one of videos."""
    from transformers import AutoConfig, Glm4vImageProcessorPil

    named = {
        "image": "<|image|>", "video": "<|video|>",
        "image_start": "<|begin_of_image|>", "image_end": "<|end_of_image|>",
        "video_start": "<|begin_of_video|>", "video_end": "<|end_of_video|>",
    }  # fmt: skip
    words = tokenizer(*named.values())
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 4]}
    config = AutoConfig.for_model(
        "glm4v",
        vision_config={
            "depth": 2, "hidden_size": 32, "num_heads": 4, "image_size": 32, "patch_size": 4,
            "out_hidden_size": HIDDEN, "intermediate_size": 48,
        },
        text_config=text_config(
            "glm4v_text", words, rope_parameters={**rope, "partial_rotary_factor": 1.0}
        ).to_dict(),
        **{f"{name}_token_id": words.convert_tokens_to_ids(token) for name, token in named.items()},
    )  # fmt: skip
    images = Glm4vImageProcessorPil(
        size={"shortest_edge": 64, "longest_edge": 1600}, patch_size=4, merge_size=2, temporal_patch_size=2
    )
    usual = chat("<|begin_of_image|><|image|><|end_of_image|>", bos=False)
    save(folder, config, _Parts(images, words, template or usual), 10)
    edit(folder / "preprocessor_config.json", processor_class="Glm4vProcessor")
    return folder


def gemma4(folder: Path, template: str | None = None) -> Path:
    """Of no family, with a processor that holds one of videos and one of sounds."""
    from transformers import AutoConfig, Gemma4ImageProcessorPil

    named = {
        "boi_token": "<boi>", "eoi_token": "<eoi>", "image_token": "<image_soft>", "audio_token": "<audio>",
        "boa_token": "<boa>", "eoa_token": "<eoa>",
    }  # fmt: skip
    words = tokenizer("<|video|>", **named)
    ids = {name: words.convert_tokens_to_ids(token) for name, token in named.items()}
    config = AutoConfig.for_model(
        "gemma4",
        vision_config={
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 4, "head_dim": 8, "patch_size": 4, "pooling_kernel_size": 2,
            "position_embedding_size": 1024,
        },
        audio_config=None,
        text_config=text_config(
            "gemma4_text", words, head_dim=12, global_head_dim=12, hidden_size_per_layer_input=8,
            vocab_size_per_layer_input=len(words), sliding_window=8, tie_word_embeddings=False,
            layer_types=["sliding_attention", "full_attention"],
        ).to_dict(),
        tie_word_embeddings=False,
        video_token_id=words.convert_tokens_to_ids("<|video|>"),
        eoa_token_index=ids.pop("eoa_token"),
        **{f"{name}_id": token for name, token in ids.items()},
    )  # fmt: skip
    images = Gemma4ImageProcessorPil(patch_size=4, pooling_kernel_size=2, max_soft_tokens=70)
    save(folder, config, _Parts(images, words, template or chat("<image_soft>")), 11)
    write(folder / "processor_config.json", {"processor_class": "Gemma4Processor", "image_seq_length": 70})
    return folder


@dataclass(frozen=True)
class _Parts:
    """What a processor consists of, for classes that cannot be made without torchvision."""

    images: Any
    words: Any
    template: str

    def save_pretrained(self, folder: Path) -> None:
        self.images.save_pretrained(folder)
        self.words.save_pretrained(folder)
        (folder / "chat_template.jinja").write_text(self.template)


def write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content))


def edit(path: Path, **changes: Any) -> None:
    write(path, {**json.loads(path.read_text()), **changes})


BUILDERS: dict[str, Callable[[Path, str | None], Path]] = {
    build.__name__: build
    for build in (
        llava, instructblip, qwen2_vl, qwen2_5_vl, qwen3_vl, idefics3, smolvlm, gemma3, internvl, pixtral,
        mistral3, llava_onevision, mllama, shieldgemma2, llava_next,
        glm4v, gemma4,
    )
}  # fmt: skip
