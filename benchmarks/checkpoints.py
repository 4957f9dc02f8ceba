"""Checkpoints with random weights, for sizes that the project does not ship."""

from __future__ import annotations

from pathlib import Path

from ucbench.models import registry
from ucbench.models.loading import Loaded

EMBEDDED = registry.EMBEDDED["embedded:tiny-vlm"]


def mid_size(folder: Path) -> Path:
    """The embedded architecture, tokenizer and processor, with a larger model: about 60 M parameters."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
    from transformers.utils import logging

    logging.disable_progress_bar()
    config = AutoConfig.from_pretrained(EMBEDDED)
    config.text_config.update(
        {"hidden_size": 640, "intermediate_size": 1728, "num_hidden_layers": 10, "num_attention_heads": 10,
         "num_key_value_heads": 10, "head_dim": 64}
    )  # fmt: skip
    config.vision_config.update({"hidden_size": 384, "intermediate_size": 1152, "num_attention_heads": 6})
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(4)  # larger than the default, against near-ties
    model.save_pretrained(folder)
    AutoProcessor.from_pretrained(EMBEDDED, backend="pil").save_pretrained(folder)
    return folder


#: (vision width, MLP, layers, heads), (language width, MLP, layers, heads) of LLaVA-1.5's architecture.
SHAPES = {
    "toy": ((64, 256, 2, 4), (64, 172, 2, 2)),
    "mid": ((256, 1024, 6, 4), (512, 1408, 12, 8)),
    "7b": ((1024, 4096, 24, 16), (4096, 11008, 32, 32)),
}


def llava_shape(device: str, size: str = "7b", dtype: str = "bfloat16") -> Loaded:
    """LLaVA-1.5's architecture with its 576 image tokens, in memory; tokenizer of the embedded model."""
    import torch
    from transformers import (
        AutoModelForImageTextToText,
        AutoProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
    )

    from ucbench.models.families import FAMILIES

    def sizes(width: int, mlp: int, layers: int, heads: int) -> dict[str, int]:
        return {"hidden_size": width, "intermediate_size": mlp, "num_hidden_layers": layers,
                "num_attention_heads": heads}  # fmt: skip

    processor = AutoProcessor.from_pretrained(EMBEDDED, backend="pil")
    processor.image_processor.size = {"shortest_edge": 336}
    processor.image_processor.crop_size = {"height": 336, "width": 336}
    processor.image_processor.do_center_crop = True
    processor.patch_size = 14
    processor.num_additional_image_tokens = 1
    processor.vision_feature_select_strategy = "default"
    vision, text = SHAPES[size]
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**sizes(*vision), image_size=336, patch_size=14),
        text_config=LlamaConfig(
            **sizes(*text), vocab_size=32064, num_key_value_heads=text[-1], max_position_embeddings=4096,
            bos_token_id=1, eos_token_id=2, pad_token_id=0,
        ),
        image_token_index=processor.tokenizer.convert_tokens_to_ids(processor.image_token),
        vision_feature_layer=-2, vision_feature_select_strategy="default", image_seq_length=576,
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(config, dtype=getattr(torch, dtype)).eval()
    model.requires_grad_(False)
    return Loaded(model, processor, FAMILIES["llava"], dtype)
