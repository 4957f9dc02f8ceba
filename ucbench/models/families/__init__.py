"""The families of models, a file each."""

from __future__ import annotations

from ucbench.models.families.base import Family
from ucbench.models.families.gemma import GEMMA3
from ucbench.models.families.idefics import IDEFICS3
from ucbench.models.families.instructblip import INSTRUCTBLIP
from ucbench.models.families.internvl import INTERNVL
from ucbench.models.families.llama4 import LLAMA4
from ucbench.models.families.llava import LLAVA
from ucbench.models.families.llava_onevision import LLAVA_ONEVISION
from ucbench.models.families.mllama import MLLAMA
from ucbench.models.families.pixtral import MISTRAL3
from ucbench.models.families.qwen import QWEN2_VL
from ucbench.models.families.shieldgemma import SHIELDGEMMA2

__all__ = ["ALL", "FAMILIES", "Family"]

ALL = (
    LLAVA, INSTRUCTBLIP, QWEN2_VL, IDEFICS3, GEMMA3, INTERNVL, MISTRAL3, LLAVA_ONEVISION, MLLAMA,
    SHIELDGEMMA2, LLAMA4,
)  # fmt: skip

#: Keyed by `config.model_type`.
FAMILIES: dict[str, Family] = {model_type: family for family in ALL for model_type in family.model_types}
