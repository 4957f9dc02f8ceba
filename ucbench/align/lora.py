"""Where the adapter goes: the linear layers of the language model, by a regex, and nowhere else.

A bare list of suffixes (q_proj, ...) would hit the vision tower too, whose layers have the same names.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ucbench.align.settings import LoraSettings
from ucbench.errors import ModelError

if TYPE_CHECKING:
    from ucbench.models.registry import Base


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


def base_of(base: Base) -> str:
    """How an adapter names its base: by the name it is found under, or by the path of a local folder."""
    return str(base.folder.resolve()) if base.name.startswith("local:") else base.name


def config(base: Base, settings: LoraSettings) -> Any:
    """The PEFT configuration of an adapter on `base`. Raises `ModelError`."""
    from peft import LoraConfig

    # PEFT writes this name into adapter_config.json, whatever the configuration says.
    base.loaded.model.name_or_path = base_of(base)
    return LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets(base.loaded.model, base.name),
        base_model_name_or_path=base_of(base),
        task_type="CAUSAL_LM",
        bias="none",
    )


def attach(base: Base, settings: LoraSettings, *more: str) -> Any:
    """The PEFT model of `base` with a new adapter `default`, and one for each name in `more`.

    The base's own modules carry the adapters from now on. Raises `ModelError`.
    """
    import warnings

    from peft import get_peft_model

    configs = {name: config(base, settings) for name in ("default", *more)}
    with warnings.catch_warnings():
        # PEFT asks transformers under an old name; nothing that the user could change.
        warnings.simplefilter("ignore", FutureWarning)
        model = get_peft_model(base.loaded.model, configs.pop("default"))
    for name, own in configs.items():
        model.add_adapter(name, own)
    return model
