"""Llama 3.2 Vision: a picture is no tokens; layers of the language model look at it by cross-attention."""

from __future__ import annotations

from ucbench.models.families.base import BATCHED, Family

MLLAMA = Family(
    name="mllama",
    model_types=("mllama",),
    paths=(BATCHED,),
    why="a picture is seen by cross-attention, beside the tokens that a shared prefix keeps",
)
