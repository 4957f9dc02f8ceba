"""A PPO step as it is usually written, with plain transformers and PEFT.

Policy, reference and critic are three whole models. Answers are padded to a fixed number of columns; every
pass runs the vision tower again and makes logits of the whole vocabulary at all positions, prompt and
padding included; the critic returns the hidden states of all layers.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging

from ucbench.align import ppo
from ucbench.align.data import Draw
from ucbench.align.settings import PPOSettings


@dataclass
class Rows:
    """Some answers of a minibatch: [left pad | prompt | answer | pad], and what the update needs, [n, A]."""

    inputs: dict[str, Tensor]
    answers: Tensor
    mask: Tensor
    scores: Tensor
    old: Tensor
    reference: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor


class NaivePPO:
    """Three models and an optimiser; the policy's adapter begins at `start`."""

    def __init__(self, folder: Path, s: PPOSettings, start: dict[str, Tensor], pad_to: int) -> None:
        logging.disable_progress_bar()
        self._s, self._pad_to = s, pad_to
        self._processor: Any = AutoProcessor.from_pretrained(folder, backend="pil")
        self._processor.tokenizer.padding_side = "left"
        policy, self._reference, critic = (
            AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval() for _ in range(3)
        )
        self._pad = policy.generation_config.pad_token_id or 0
        adapter = LoraConfig(
            r=s.lora.r,
            lora_alpha=s.lora.alpha,
            target_modules=r"model\.language_model\..*_proj",
            task_type="CAUSAL_LM",
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers under an old name
            self._policy, self._critic = get_peft_model(policy, adapter), get_peft_model(critic, adapter)
        self._head = nn.Linear(policy.config.text_config.hidden_size, 1)
        nn.init.zeros_(self._head.weight)
        nn.init.zeros_(self._head.bias)
        named = dict(self._policy.named_parameters())
        with torch.no_grad():
            for name, value in start.items():
                named[name].copy_(value)
        learns = [p for p in self._policy.parameters() if p.requires_grad]
        values = [p for p in [*self._critic.parameters(), *self._head.parameters()] if p.requires_grad]
        self._trainable = [*learns, *values]
        self._optimiser = torch.optim.AdamW(
            [{"params": learns, "lr": s.lr}, {"params": values, "lr": s.value_lr}],
            weight_decay=s.weight_decay,
        )

    def step(
        self,
        draws: Sequence[Draw],
        answers: Sequence[list[int]],
        scores: Sequence[float],
        minibatches: Sequence[Sequence[int]],
    ) -> tuple[list[float], dict[str, float]]:
        """(policy loss of each update, seconds by part). Answers of its own are sampled and thrown away."""
        s, size = self._s, self._s.micro_batch_size
        times, clock = {}, time.perf_counter()
        for start in range(0, len(draws), 4 * size):
            self._sample(draws[start : start + 4 * size])
        times["sample"], clock = time.perf_counter() - clock, time.perf_counter()

        batches = [
            [
                self._score(draws, answers, scores, places[start : start + size])
                for start in range(0, len(places), size)
            ]
            for places in minibatches
        ]
        everything = [rows for batch in batches for rows in batch]
        times["score"], clock = time.perf_counter() - clock, time.perf_counter()

        for rows in everything:
            kl = ppo.KL[s.kl_estimator](rows.old, rows.reference)
            rewards = ppo.token_rewards(rows.scores, kl, rows.mask, s.kl * s.reward.scale)
            rows.advantages, rows.returns = ppo.gae(rewards, rows.values, rows.mask, s.gamma, s.lam)
        white, _ = ppo.whiten(
            torch.cat([rows.advantages for rows in everything]), torch.cat([rows.mask for rows in everything])
        )
        for rows, part in zip(everything, white.split([len(r.mask) for r in everything]), strict=True):
            rows.advantages = part
        losses = [self._update(batch) for _ in range(s.ppo_epochs) for batch in batches]
        times["update"] = time.perf_counter() - clock
        return losses, times

    def _prompts(self, draws: Sequence[Draw]) -> dict[str, Tensor]:
        chats = [
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "image": draw.item.sample.image.load()},
                        {"type": "text", "text": draw.question.text},
                    ],
                }
            ]
            for draw in draws
        ]
        return dict(
            self._processor.apply_chat_template(
                chats, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
                processor_kwargs={"padding": True},
            )
        )  # fmt: skip

    @torch.no_grad()
    def _sample(self, draws: Sequence[Draw]) -> None:
        self._policy.generate(
            **self._prompts(draws),
            do_sample=True,
            temperature=self._s.temperature,
            top_k=0,
            max_new_tokens=self._s.max_new_tokens,
            pad_token_id=self._pad,
        )

    @torch.no_grad()
    def _score(
        self,
        draws: Sequence[Draw],
        answers: Sequence[list[int]],
        scores: Sequence[float],
        places: Sequence[int],
    ) -> Rows:
        inputs = self._prompts([draws[place] for place in places])
        padded = torch.full((len(places), self._pad_to), self._pad)
        mask = torch.zeros_like(padded, dtype=torch.bool)
        for row, place in enumerate(places):
            padded[row, : len(answers[place])] = torch.tensor(answers[place])
            mask[row, : len(answers[place])] = True
        inputs["input_ids"] = torch.cat([inputs["input_ids"], padded], 1)
        inputs["attention_mask"] = torch.cat([inputs["attention_mask"], mask.long()], 1)
        nothing = torch.empty(0)
        return Rows(
            inputs=inputs,
            answers=padded,
            mask=mask,
            scores=torch.tensor([scores[place] for place in places], dtype=torch.float32),
            old=self._logprobs(self._policy, inputs, padded),
            reference=self._logprobs(self._reference, inputs, padded),
            values=self._values(inputs),
            advantages=nothing,
            returns=nothing,
        )

    def _logprobs(self, model: Any, inputs: dict[str, Tensor], answers: Tensor) -> Tensor:
        logits = model(**inputs, use_cache=False).logits / self._s.temperature
        logp = logits.log_softmax(-1)[:, -self._pad_to - 1 : -1]
        return logp.gather(-1, answers[..., None]).squeeze(-1)

    def _values(self, inputs: dict[str, Tensor]) -> Tensor:
        output = self._critic(**inputs, use_cache=False, output_hidden_states=True)
        hidden = output.hidden_states[-1][:, -self._pad_to - 1 : -1]
        values: Tensor = self._head(hidden).squeeze(-1)
        return values

    def _update(self, batch: Sequence[Rows]) -> float:
        s = self._s
        total = torch.stack([rows.mask.sum() for rows in batch]).sum()
        loss = 0.0
        for rows in batch:
            new = self._logprobs(self._policy, rows.inputs, rows.answers)
            part, _ = ppo.policy_loss(new, rows.old, rows.advantages, rows.mask, s.clip, total)
            values = self._values(rows.inputs)
            error = ppo.value_loss(values, rows.values, rows.returns, rows.mask, s.value_clip, total)
            (part + s.value_coefficient * error).backward()
            loss += float(part.detach())
        torch.nn.utils.clip_grad_norm_(self._trainable, s.grad_clip)
        self._optimiser.step()
        self._optimiser.zero_grad()
        return loss
