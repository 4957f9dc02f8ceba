"""Where the adapter goes: the linear layers of the language model, by a regex, and nowhere else.

A bare list of suffixes (q_proj, ...) would hit the vision tower too, whose layers have the same names.
"""

from __future__ import annotations

import re
from typing import Any

from ucbench.align.settings import LoraSettings
from ucbench.errors import ModelError


def targets(model: Any, name: str) -> str:
    """A regex that matches the full names of the decoder's linear layers, the output head left out.

    Raises `ModelError` for a model without a decoder of its own beside the vision tower.
    """
    from torch import nn

    decoder = model.get_decoder()
    prefix = next((path for path, module in model.named_modules() if module is decoder and path), None)
    if prefix is None:
        raise ModelError(f"{name} has no language model apart from its vision part; it cannot be aligned")
    leaves = {
        path.rpartition(".")[2] for path, module in decoder.named_modules() if isinstance(module, nn.Linear)
    }
    if not leaves:
        raise ModelError(f"the language model of {name} has no linear layers for an adapter")
    return rf"{re.escape(prefix)}\..*\b({'|'.join(sorted(leaves))})"


def config(model: Any, name: str, settings: LoraSettings, base: str | None = None) -> Any:
    """The PEFT configuration; `base` is what `adapter_config.json` names as the base model."""
    from peft import LoraConfig

    return LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets(model, name),
        base_model_name_or_path=base or name,
        task_type="CAUSAL_LM",
        bias="none",
    )
