"""LlavaGuard and QwenGuard: a safety policy as the question, a rating with category and rationale as JSON.

The policy is part of the format these models were trained in, so it stands in llavaguard.txt word for
word: the default policy of https://github.com/ml-research/LlavaGuard, README.md, copyright 2025 Lukas Helff,
under the Apache License 2.0, as this project (LICENSE). The licence of the weights is another one.
"""

from __future__ import annotations

from pathlib import Path

from ucbench.models.guards.base import Guard
from ucbench.models.guards.reading import rating

POLICY = Path(__file__).with_name("llavaguard.txt").read_text(encoding="utf-8").strip()

LLAVAGUARD = Guard(
    name="llavaguard",
    model_types=("llava_onevision", "qwen2_5_vl", "qwen2_vl"),
    picture=(POLICY,),
    read=rating,
    about="a rating of the picture by its authors' default policy of nine categories",
)
