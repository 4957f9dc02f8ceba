"""Answers sampled from the policy, and their layout for the passes that score them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ucbench.align.data import Draw
from ucbench.align.pictures import Picture
from ucbench.align.reward import Written
from ucbench.models.sampling import GumbelSampling
from ucbench.record import Decoding

if TYPE_CHECKING:
    from ucbench.align.policy import Policy


@dataclass(frozen=True, slots=True)
class Rollout:
    """One sampled answer. `prompt` has the image expanded; `answer` holds the end token, if there is one."""

    draw: Draw
    picture: Picture
    prompt: list[int]
    answer: list[int]
    written: Written

    @property
    def length(self) -> int:
        """Tokens of prompt and answer."""
        return len(self.prompt) + len(self.answer)


def sample(
    policy: Policy, draws: Sequence[Draw], *, decoding: Decoding, step: int, at_once: int
) -> list[Rollout]:
    """One answer to each draw, `at_once` decoding together.

    The noise belongs to (seed, step, draw): an answer does not depend on who shares the batch, nor on
    the number of processes.
    """
    rollouts = []
    for start in range(0, len(draws), at_once):
        rollouts += _decode(policy, draws[start : start + at_once], decoding, step)
    return rollouts


@torch.no_grad()
def _decode(policy: Policy, draws: Sequence[Draw], decoding: Decoding, step: int) -> list[Rollout]:
    prompts = [policy.pictures.prompt(draw.item.sample, draw.question.text) for draw in draws]
    pictures = [policy.pictures(draw.item.sample) for draw in draws]
    longest = max(map(len, prompts))
    ids = torch.full((len(draws), longest), policy.pad_id)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    rows = [(str(step), draw.key) for draw in draws]
    noise = [GumbelSampling(decoding, rows, policy.stop_ids)] if decoding.temperature > 0 else []
    output = policy.generate(
        pictures,
        input_ids=ids.to(policy.device),
        attention_mask=mask.to(policy.device),
        logits_processor=noise,
        max_new_tokens=decoding.max_new_tokens,
    )
    rollouts = []
    written_rows = zip(draws, pictures, prompts, output[:, longest:].tolist(), strict=True)
    for draw, picture, prompt, tokens in written_rows:
        end = next((i for i, token in enumerate(tokens) if token in policy.stop_ids), None)
        answer = tokens if end is None else tokens[: end + 1]
        text = policy.read(answer)
        written = Written(text, tuple(tokens if end is None else tokens[:end]), end is not None)
        rollouts.append(Rollout(draw, picture, prompt, answer, written))
    return rollouts


@dataclass(frozen=True, slots=True)
class Pack:
    """Rollouts laid out for one pass: [prompt | answer | pad], a row each.

    With A columns for answers: `mask` [n, A] says which columns count; `rows`, `columns` [N] are the
    places in `input_ids` whose next token is predicted, `targets` [N] that token, and `cells` [N] its
    place in a flattened [n, A]. `attention_mask` is None where causality alone hides the pads.
    """

    pictures: list[Picture]
    input_ids: Tensor
    attention_mask: Tensor | None
    rows: Tensor
    columns: Tensor
    targets: Tensor
    cells: Tensor
    mask: Tensor

    def dense(self, values: Tensor) -> Tensor:
        """[N] -> [n, A], zero where nothing counts."""
        flat = torch.zeros(self.mask.numel(), dtype=values.dtype, device=values.device)
        return flat.scatter(0, self.cells, values).view(self.mask.shape)


def pack(
    rollouts: Sequence[Rollout],
    *,
    pad_id: int,
    device: Any,
    columns: int | None = None,
    count_pads: bool = False,
) -> Pack:
    """Lay out rollouts; `columns` widens the answers to that many, `count_pads` makes pads count."""
    n, width = len(rollouts), max(len(r.answer) for r in rollouts)
    width = max(width, columns or 0)
    total = max(len(r.prompt) for r in rollouts) + width if columns else max(r.length for r in rollouts)
    ids = torch.full((n, total), pad_id)
    real = torch.zeros((n, total), dtype=torch.long)
    mask = torch.zeros((n, width), dtype=torch.bool)
    starts = torch.tensor([len(r.prompt) for r in rollouts])
    for row, r in enumerate(rollouts):
        ids[row, : r.length] = torch.tensor([*r.prompt, *r.answer])
        real[row, : r.length] = 1
        mask[row, : len(r.answer) if not count_pads else width] = True
    rows, cells = mask.nonzero(as_tuple=True)
    places = starts[rows] + cells
    return Pack(
        pictures=[r.picture for r in rollouts],
        input_ids=ids.to(device),
        attention_mask=real.to(device) if count_pads else None,
        rows=rows.to(device),
        columns=(places - 1).to(device),
        targets=ids[rows, places].to(device),
        cells=(rows * width + cells).to(device),
        mask=mask.to(device),
    )
