"""Fitting a response classifier: batches of like length, one optimiser step, files of the official layout."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from ucbench.files import atomic_path, write_text

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from transformers import RobertaConfig

#: Token ids with their special tokens, and the index of the right label.
Row = tuple[list[int], int]

#: Batches that are sorted by length together.
POOL = 20
_KEPT = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
    "layer_norm_eps",
    "hidden_act",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
)


def tiny_config(vocabulary: int) -> RobertaConfig:
    """The shape of the classifiers that are shipped; positions and special ids are roberta-base's."""
    from transformers import RobertaConfig

    return RobertaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=192,
        max_position_embeddings=514,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )


def encode(words: Tokenizer, texts: Sequence[str], max_tokens: int = 512) -> list[list[int]]:
    """Token ids of each text between RoBERTa's first and last token, cut to `max_tokens` in all."""
    vocabulary = words.get_vocab()
    start, end = vocabulary["<s>"], vocabulary["</s>"]
    cut = max_tokens - 2
    return [
        [start, *encoding.ids[:cut], end] for encoding in words.encode_batch(texts, add_special_tokens=False)
    ]


def pooled(rows: Sequence[Row], size: int, random: Random) -> list[list[Row]]:
    """Batches of like length, in random order."""
    ordered = sorted(rows, key=lambda row: len(row[0]))
    batches = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    random.shuffle(batches)
    return batches


def epoch(rows: Sequence[Row], size: int, random: Random) -> Iterator[list[Row]]:
    """All rows once: shuffled, then pool by pool in batches of like length."""
    shuffled = list(rows)
    random.shuffle(shuffled)
    for start in range(0, len(shuffled), POOL * size):
        yield from pooled(shuffled[start : start + POOL * size], size, random)


class Fitter:
    """AdamW under one cycle of the learning rate; gradients clipped at norm 1.

    `step` is called `steps` times at most. Inputs are padded to the longest of a batch.
    """

    def __init__(self, model: torch.nn.Module, *, lr: float, steps: int, pad: int, device: str) -> None:
        import torch

        self._model = model
        self._pad = pad
        self._device = device
        self._optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
        # Up to ten steps leave no room for a warm-up of a tenth.
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, lr, total_steps=max(steps, 11), pct_start=0.1
        )

    def step(self, batch: Sequence[Row]) -> float:
        """One update; returns the mean cross-entropy before it."""
        import torch

        logits, labels = self._forward(batch)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimiser.step()
        self._schedule.step()
        return float(loss.item())

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on to the bit: moments and the place on the schedule."""
        return {"optimiser": self._optimiser.state_dict(), "schedule": self._schedule.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where another fitter was."""
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])

    def read(self, rows: Sequence[Row], size: int = 64) -> tuple[list[int], float]:
        """(label index of each row, mean cross-entropy), without learning."""
        import torch

        order = sorted(range(len(rows)), key=lambda index: len(rows[index][0]))
        found, total = [0] * len(rows), 0.0
        training = self._model.training
        self._model.eval()
        with torch.inference_mode():
            for start in range(0, len(order), size):
                chosen = order[start : start + size]
                logits, labels = self._forward([rows[index] for index in chosen])
                total += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
                for index, label in zip(chosen, logits.argmax(-1).tolist(), strict=True):
                    found[index] = label
        self._model.train(training)
        return found, total / max(len(rows), 1)

    def _forward(self, batch: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        width = max(len(ids) for ids, _ in batch)
        padded = [ids + [self._pad] * (width - len(ids)) for ids, _ in batch]
        inputs = torch.tensor(padded, device=self._device)
        labels = torch.tensor([label for _, label in batch], device=self._device)
        return self._model(inputs, inputs.ne(self._pad).long()), labels


def save_weights(model: torch.nn.Module, path: Path, *, half: bool) -> None:
    """The state dict under its official names as safetensors; `half` keeps it in float16."""
    import torch
    from safetensors.torch import save_file

    kind = torch.float16 if half else torch.float32
    state = {key: value.detach().cpu().to(kind).contiguous() for key, value in model.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(state, temporary)


def write_companions(folder: Path, words: Tokenizer, shape: RobertaConfig) -> None:
    """`tokenizer.json` and `config.json`, which a reader looks for beside the weights."""
    write_text(folder / "tokenizer.json", words.to_str())
    write_text(folder / "config.json", config_text(shape))


def config_text(shape: RobertaConfig) -> str:
    """What `config.json` says: the sizes and special ids, nothing else."""
    full: dict[str, Any] = shape.to_dict()
    return json.dumps({"model_type": "roberta", **{key: full[key] for key in _KEPT}}, indent=1) + "\n"
