"""Llama 4: most layers see chunks of the prompt; transformers has its tiles for torchvision only."""

from __future__ import annotations

from ucbench.models.families.base import BATCHED, Family

LLAMA4 = Family(
    name="llama4",
    model_types=("llama4",),
    paths=(BATCHED,),
    why="most layers see chunks of a prompt, whose cache forgets the beginning; needs torchvision",
)
