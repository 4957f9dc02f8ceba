"""What a training method hands back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Trained:
    """`model` is the PEFT model; `answers` counts what the updates learned from."""

    model: Any
    steps: int
    answers: int
    trainable_parameters: int
    seconds: float | None = None
    """Time of all steps, those before a resume included; None when it was not kept."""
