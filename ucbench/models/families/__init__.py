"""The families of models, a file each."""

from __future__ import annotations

from ucbench.models.families.base import Family
from ucbench.models.families.gemma import GEMMA3
from ucbench.models.families.idefics import IDEFICS3
from ucbench.models.families.instructblip import INSTRUCTBLIP
from ucbench.models.families.internvl import INTERNVL
from ucbench.models.families.llava import LLAVA
from ucbench.models.families.pixtral import MISTRAL3
from ucbench.models.families.qwen import QWEN2_VL

__all__ = ["ALL", "FAMILIES", "Family"]

ALL = (LLAVA, INSTRUCTBLIP, QWEN2_VL, IDEFICS3, GEMMA3, INTERNVL, MISTRAL3)

#: Keyed by `config.model_type`.
FAMILIES: dict[str, Family] = {model_type: family for family in ALL for model_type in family.model_types}
