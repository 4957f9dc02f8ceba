"""Muon for the hidden matrices and AdamW for everything else, one schedule for both."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

MUON_LR, ADAMW_LR = 0.02, 2e-3
WARMUP = 30


class Optimisers:
    """Two optimisers stepped as one: linear warm-up, cosine to zero, gradients clipped to norm 1."""

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]], steps: int) -> None:
        matrices: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for name, parameter in named:
            hidden = parameter.ndim == 2 and "embed" not in name and "lm_head" not in name
            (matrices if hidden else rest).append(parameter)
        self._parameters = matrices + rest
        self._optimisers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=MUON_LR, weight_decay=0.01),
            torch.optim.AdamW(rest, lr=ADAMW_LR, weight_decay=0.0, betas=(0.9, 0.98)),
        ]
        self._schedules = [
            torch.optim.lr_scheduler.LambdaLR(
                o, lambda s: min(1.0, (s + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * min(1.0, s / steps)))
            )
            for o in self._optimisers
        ]

    def step(self, loss: Tensor) -> None:
        """Backward, clip, update, clear."""
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        for optimiser, schedule in zip(self._optimisers, self._schedules, strict=True):
            optimiser.step()
            schedule.step()
            optimiser.zero_grad(set_to_none=True)
