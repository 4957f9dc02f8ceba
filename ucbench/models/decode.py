"""Decoding: `generate` as the entry says, and what of its tokens is the answer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ucbench.errors import ModelError
from ucbench.judges.thinking import strip_thinking
from ucbench.models.sampling import GumbelSampling
from ucbench.record import Decoding
from ucbench.types import Answer, Question, Sample

if TYPE_CHECKING:
    from torch import Tensor


class Decoder:
    """Knows what ends an answer. Makes the model's own generation settings those of `decoding`."""

    def __init__(self, model: Any, tokenizer: Any, decoding: Decoding) -> None:
        from transformers import GenerationConfig

        self._tokenizer = tokenizer
        self._decoding = decoding
        self._stop_ids = stop_ids(model, tokenizer)
        self.pad_id = pad_id(tokenizer, self._stop_ids)
        config = GenerationConfig(
            do_sample=False,
            max_new_tokens=decoding.max_new_tokens,
            eos_token_id=sorted(self._stop_ids),
            pad_token_id=self.pad_id,
        )
        # The checkpoint's own generation settings (sampling, penalties) must not leak into the answers.
        for module in _generating(model):
            module.generation_config = config

    def __call__(
        self,
        model: Any,
        rows: Sequence[tuple[str, str]],
        *,
        streamer: Any = None,
        stopped: threading.Event | None = None,
        **inputs: Any,
    ) -> list[list[int]]:
        """The new token ids of each row (sample id, question id), cut after its first stop token."""
        import torch

        sampled = self._decoding.temperature > 0
        processors = [GumbelSampling(self._decoding, rows, self._stop_ids)] if sampled else []

        def interrupted(ids: Tensor, _scores: Tensor, **_: Any) -> Tensor:
            value = stopped is not None and stopped.is_set()
            return torch.full((len(ids),), value, dtype=torch.bool, device=ids.device)

        output = model.generate(
            **inputs,
            logits_processor=processors,
            stopping_criteria=[interrupted] if stopped is not None else [],
            streamer=streamer,
        )
        # The prompt comes back before the answer; given as embeddings alone, it does not.
        prompt = inputs["input_ids"].shape[1] if "input_ids" in inputs else 0
        return [self.cut(row) for row in output[:, prompt:].tolist()]

    def cut(self, tokens: list[int]) -> list[int]:
        """New tokens up to the first that ends an answer, itself included."""
        for index, token in enumerate(tokens):
            if token in self._stop_ids:
                return tokens[: index + 1]
        return tokens

    def read(self, sample: Sample, question: Question, tokens: list[int]) -> Answer:
        """Make an answer of new tokens; the stop token is not counted."""
        ended = bool(tokens) and tokens[-1] in self._stop_ids
        tokens = tokens[:-1] if ended else tokens
        text, thinking = self._without_thinking(tokens)
        thought = len(self._tokenizer(thinking, add_special_tokens=False)["input_ids"]) if thinking else 0
        return Answer(
            sample.id,
            question.id,
            text.strip(),
            len(tokens),
            truncated=not ended and len(tokens) >= self._decoding.max_new_tokens,
            thinking_tokens=thought,
        )

    def _without_thinking(self, tokens: list[int]) -> tuple[str, str]:
        """(answer, thinking). The marks around thinking may be special tokens, so they are read first."""
        text, thinking = strip_thinking(self._tokenizer.decode(tokens, skip_special_tokens=False))
        if not thinking:
            return self._tokenizer.decode(tokens, skip_special_tokens=True), ""
        for mark in self._tokenizer.all_special_tokens:
            text, thinking = text.replace(mark, ""), thinking.replace(mark, "")
        return text, thinking


def stop_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every token that ends an answer: the checkpoint's own and its tokenizer's."""
    ids = {tokenizer.eos_token_id}
    for module in _generating(model):
        own = module.generation_config.eos_token_id
        ids |= set(own if isinstance(own, list) else [own])
    ids -= {None}
    if not ids:
        raise ModelError(
            "the checkpoint names no end-of-answer token; set eos_token_id in generation_config.json"
        )
    return frozenset(ids)


def pad_id(tokenizer: Any, stop_ids: frozenset[int]) -> int:
    """Pads are masked and cut away, so any token will do."""
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(stop_ids))


def _generating(model: Any) -> list[Any]:
    """The model, and a language model within it that generates by itself."""
    return [module for module in model.modules() if getattr(module, "generation_config", None) is not None]
