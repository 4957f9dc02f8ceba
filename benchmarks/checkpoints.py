"""Checkpoints with random weights, for sizes that the project does not ship."""

from __future__ import annotations

from pathlib import Path

from ucbench.models import registry

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
