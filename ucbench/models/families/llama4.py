"""Llama 4: transformers has its pictures' processor for torchvision only; it needs that package."""

from __future__ import annotations

from ucbench.models.families.base import Family

LLAMA4 = Family(
    name="llama4",
    model_types=("llama4",),
    paths=(),
    why="its processor needs torchvision, with which no faster way was tested",
)
