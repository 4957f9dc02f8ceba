"""What evaluation code usually does, with transformers alone: one question at a time.

The picture is processed and encoded anew for each question, the whole prompt goes through `generate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ucbench.types import Sample


@dataclass(frozen=True)
class Reply:
    """An answer; `tokens` leaves the end token out, `truncated` says that there was none."""

    text: str
    tokens: int
    truncated: bool


class OneAtATime:
    """A checkpoint's greedy answers by sample id and question id."""

    def __init__(self, folder: Path, *, max_new_tokens: int, device: str = "cpu") -> None:
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
        self._model: Any = model.eval().to(device)
        self._processor: Any = AutoProcessor.from_pretrained(folder, backend="pil")
        self._max_new_tokens = max_new_tokens

    @classmethod
    def of(cls, model: Any, processor: Any, *, max_new_tokens: int) -> OneAtATime:
        """The same with a model that is loaded already."""
        asker = cls.__new__(cls)
        asker._model, asker._processor, asker._max_new_tokens = model, processor, max_new_tokens
        return asker

    def __call__(self, samples: Sequence[Sample]) -> dict[tuple[str, str], Reply]:
        return {(s.id, q.id): self._ask(s, q.text) for s in samples for q in s.questions}

    def _ask(self, sample: Sample, question: str) -> Reply:
        content = [{"type": "image", "image": sample.image.load()}, {"type": "text", "text": question}]
        inputs = self._processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
        ).to(self._model.device, self._model.dtype)  # fmt: skip
        output = self._model.generate(**inputs, do_sample=False, max_new_tokens=self._max_new_tokens)
        new = output[0, inputs["input_ids"].shape[1] :].tolist()
        tokenizer = self._processor.tokenizer
        ended = new[-1] == tokenizer.eos_token_id
        return Reply(tokenizer.decode(new, skip_special_tokens=True).strip(), len(new) - ended, not ended)
