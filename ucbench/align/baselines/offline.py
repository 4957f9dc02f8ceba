"""SFT and DPO: learning from fixed answers made of label and concept.

Prompts are tokenised exactly as in evaluation, and answers end with a token that ends answers there. TRL's
own collators do neither for LLaVA-1.5: its template writes no BOS, and no end after an answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import torch
from transformers import TrainerCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from ucbench.align import lora, templates
from ucbench.align.baselines.places import Images, places
from ucbench.align.baselines.plan import Plan
from ucbench.align.baselines.trainer import Maker, Ours
from ucbench.align.data import TrainingSet
from ucbench.align.settings import DPOSettings, SFTSettings
from ucbench.errors import ModelError
from ucbench.models.decode import pad_id, stop_ids
from ucbench.models.prompts import Prompts
from ucbench.models.registry import Base
from ucbench.types import Sample

Rows = Sequence[Mapping[str, Any]]
Batch = dict[str, torch.Tensor]


class _SFT(Ours, SFTTrainer):  # type: ignore[misc]
    pass


class _DPO(Ours, DPOTrainer):  # type: ignore[misc]
    pass


def maker(base: Base, data: TrainingSet, settings: SFTSettings | DPOSettings, plan: Plan) -> Maker:
    """Makes the trainer of the settings' method. Raises `UcbenchError` for items without fixed answers."""
    draws = plan.draws(data)
    pairs = [templates.pair(d.question, d.item.label, data.names[d.item.concept_id]) for d in draws]
    chat = Chat(base)

    def rows(batch: Rows, which: int) -> list[tuple[Sample, str, str]]:
        found = [(draws[row["place"]], pairs[row["place"]]) for row in batch]
        return [(draw.item.sample, draw.question.text, pair[which]) for draw, pair in found]

    def supervised(batch: Rows) -> Batch:
        tensors = chat.encode(rows(batch, 0))
        answers = tensors.pop("completion_mask").bool()
        return {**tensors, "labels": tensors["input_ids"].masked_fill(~answers, -100)}

    def preferred(batch: Rows) -> Batch:
        return chat.encode([*rows(batch, 0), *rows(batch, 1)])

    def make(shared: dict[str, Any], callbacks: list[TrainerCallback]) -> Any:
        common = {
            "model": base.loaded.model,
            "train_dataset": places(plan),
            "processing_class": base.loaded.processor,
            "peft_config": lora.config(base, settings.lora),
            "callbacks": callbacks,
        }
        if isinstance(settings, SFTSettings):
            return _SFT(args=SFTConfig(**shared, max_length=None), data_collator=supervised, **common)
        # Image tokens count towards max_length: none is cut.
        args = DPOConfig(**shared, max_length=None, beta=settings.kl, disable_dropout=True)
        return _DPO(args=args, data_collator=preferred, **common)

    return make


class Chat:
    """Turns (picture, question, answer) into tokens. Raises `ModelError` for an unusable chat template."""

    def __init__(self, base: Base) -> None:
        loaded = base.loaded
        self._name, self._dtype = base.name, loaded.model.dtype
        self._processor, self._tokenizer = loaded.processor, loaded.processor.tokenizer
        self._prompts = Prompts(loaded.processor, loaded.model.config, name=base.name, system_prompt=None)
        self._stop_ids = stop_ids(loaded.model, self._tokenizer)
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token_id = pad_id(self._tokenizer, self._stop_ids)
        self._image = Images()
        self._known: dict[tuple[str, str], tuple[str, int]] = {}

    def encode(self, rows: Sequence[tuple[Sample, str, str]]) -> Batch:
        """The processor's tensors, padded on the right; `completion_mask` [n, T] is 1 on answers."""
        texts, counts = zip(*(self.written(question, answer) for _, question, answer in rows), strict=True)
        batch = self._processor(
            images=[[self._image(sample)] for sample, _, _ in rows],
            text=list(texts),
            add_special_tokens=self._prompts.add_special_tokens,
            padding=True,
            padding_side="right",
            return_tensors="pt",
        ).to(self._dtype)
        lengths = batch["attention_mask"].sum(1, keepdim=True)
        columns = torch.arange(batch["input_ids"].shape[1])
        answers = (columns < lengths) & (columns >= lengths - torch.tensor(counts)[:, None])
        return {**batch, "completion_mask": answers.long()}

    def written(self, question: str, answer: str) -> tuple[str, int]:
        """(prompt and answer as text, number of the answer's tokens with the one that ends it)."""
        known = self._known.get((question, answer))
        if known is None:
            known = self._known[question, answer] = self._write(question, answer)
        return known

    def _write(self, question: str, answer: str) -> tuple[str, int]:
        prompt = self._prompts.render(question)
        messages = [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]},
            {"role": "assistant", "content": [{"type": "text", "text": answer}]},
        ]
        text = str(self._processor.apply_chat_template(messages, tokenize=False)).rstrip()
        if not text.startswith(prompt) or answer not in text[len(prompt) :]:
            raise ModelError(
                f"the chat template of {self._name} writes an answered question otherwise than an open one, "
                "so sft and dpo cannot learn from answers to it; use ppo"
            )
        tokens = self._tokens(text)
        if tokens[-1] not in self._stop_ids:
            text += self._tokenizer.convert_ids_to_tokens(self._end)
            tokens = self._tokens(text)
        # Where tokens join prompt and answer, the first of them that differs is the answer's.
        pairs = zip(self._prompts.tokens(question), tokens, strict=False)
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        return text, len(tokens) - shared

    @property
    def _end(self) -> int:
        own = self._tokenizer.eos_token_id
        return int(own if own in self._stop_ids else min(self._stop_ids))

    def _tokens(self, text: str) -> list[int]:
        encoded = self._tokenizer(text, add_special_tokens=self._prompts.add_special_tokens)
        return list(encoded["input_ids"])
