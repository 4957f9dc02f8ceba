"""The policy: one base model in memory that plays three parts.

    policy      the base with its LoRA adapter on the language model
    reference   the same with the adapter switched off: the starting model, bit for bit
    value       a linear head on the policy's last hidden state (`shared`), or on that of a second
                adapter (`separate`, as in the paper)

Logits and hidden states exist at answer positions only: a hook in front of the output head picks them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from ucbench.align import lora
from ucbench.align.pictures import Picture, Pictures, encoder_outputs
from ucbench.align.rollout import Pack
from ucbench.align.settings import PPOSettings
from ucbench.errors import ModelError
from ucbench.models.decode import pad_id, stop_ids
from ucbench.models.prompts import Prompts
from ucbench.models.registry import Base


@dataclass(frozen=True, slots=True)
class Scored:
    """Of each token that counts, [N]: log probability, entropy of its distribution in nats, value."""

    logprobs: Tensor
    entropy: Tensor
    values: Tensor | None


class Policy(nn.Module):
    """The trainable model. Base weights, vision tower and projector are frozen.

    Raises `ModelError` for an architecture whose images cannot be encoded apart from the question.
    """

    def __init__(self, base: Base, settings: PPOSettings) -> None:
        super().__init__()
        loaded = base.loaded
        if loaded.family is None or not loaded.family.aligns:
            raise ModelError(
                f"{base.name} is a {loaded.model.config.model_type} model, which ppo cannot train; "
                "it trains LLaVA models"
            )
        self._settings = settings
        self._processor = loaded.processor
        self.stop_ids = stop_ids(loaded.model, loaded.processor.tokenizer)
        self.pad_id = pad_id(loaded.processor.tokenizer, self.stop_ids)
        prompts = Prompts(loaded.processor, loaded.model.config, name=base.name, system_prompt=None)
        self.pictures = Pictures(loaded, prompts)
        separate = settings.value == "separate"
        self.peft = lora.attach(base, settings.lora, *(["value"] if separate else []))
        if separate:
            self._set_active("default")
        self.model = self.peft.get_base_model()
        hidden = self.model.get_output_embeddings().weight.shape[1]
        self.value_head = nn.Linear(hidden, 1, dtype=torch.float32, device=self.model.device)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)
        if settings.gradient_checkpointing:
            self.model.activation_checkpointing_enable({"use_reentrant": False})
            self.model.enable_input_require_grads()
        self._places: tuple[Tensor, Tensor] | None = None
        self._picked: Tensor | None = None
        self.model.get_output_embeddings().register_forward_pre_hook(self._pick)
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        device: torch.device = self.model.device
        return device

    def forward(self, pack: Pack, *, value: bool = True) -> Scored:
        """Score every token of a pack that counts, at the sampling temperature."""
        logits = self._logits(pack).float() / self._settings.temperature
        hidden = self._picked
        assert hidden is not None
        logp = logits.log_softmax(-1)
        chosen = logp.gather(-1, pack.targets[:, None]).squeeze(-1)
        needs_entropy = self._settings.entropy > 0 and torch.is_grad_enabled()
        with torch.set_grad_enabled(needs_entropy):
            entropy = -(logp.exp() * logp).sum(-1)
        return Scored(chosen, entropy, self._value(pack, hidden) if value else None)

    @contextmanager
    def reference(self) -> Iterator[None]:
        """The starting model: adapters off."""
        with self.peft.disable_adapter():
            yield

    def updating(self, on: bool) -> None:
        """Enter or leave the update. Dropout acts only there, and only when the settings say so."""
        self.train(on and (self._settings.dropout_in_update or self._settings.gradient_checkpointing))
        if not self._settings.dropout_in_update:
            for module in self.modules():
                if isinstance(module, nn.Dropout):
                    module.eval()

    @torch.no_grad()
    def generate(self, pictures: list[Picture], *, max_new_tokens: int, **inputs: Any) -> Tensor:
        """Decode; returns prompt and answer tokens, [n, longest]."""
        from transformers import GenerationConfig

        config = GenerationConfig(
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=sorted(self.stop_ids),
            pad_token_id=self.pad_id,
        )
        with self._merged():
            output: Tensor = self.model.generate(
                **inputs, mm_encoder_outputs=encoder_outputs(pictures, self.model), generation_config=config
            )
        return output

    def read(self, tokens: list[int]) -> str:
        """The text of an answer."""
        return str(self._processor.tokenizer.decode(tokens, skip_special_tokens=True)).strip()

    def trainable(self) -> dict[str, nn.Parameter]:
        """Parameters that learn, by name: adapters and value head."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def groups(self) -> list[dict[str, Any]]:
        """Optimiser groups: adapter(s), and the value side with its own rate."""
        named = self.trainable()
        side = {name for name in named if name.startswith("value_head") or ".value." in name}
        s = self._settings
        return [
            {"params": [p for n, p in named.items() if n not in side], "lr": s.lr, "initial_lr": s.lr},
            {
                "params": [p for n, p in named.items() if n in side],
                "lr": s.value_lr,
                "initial_lr": s.value_lr,
            },
        ]

    def _logits(self, pack: Pack) -> Tensor:
        self._places = (pack.rows, pack.columns)
        try:
            logits: Tensor = self.model(
                input_ids=pack.input_ids,
                attention_mask=pack.attention_mask,
                mm_encoder_outputs=encoder_outputs(pack.pictures, self.model),
                use_cache=False,
            ).logits
        finally:
            self._places = None
        return logits

    def _pick(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """Keep the hidden states at the places that are scored; [n, T, d] -> [N, d]."""
        if self._places is None:
            return None
        self._picked = inputs[0][self._places]
        return (self._picked, *inputs[1:])

    def _value(self, pack: Pack, hidden: Tensor) -> Tensor:
        if self._settings.value == "separate":
            self._set_active("value")
            try:
                self._logits(pack)
            finally:
                self._set_active("default")
            assert self._picked is not None
            hidden = self._picked
        elif not self._settings.value_gradient:
            hidden = hidden.detach()
        values: Tensor = self.value_head(hidden.float()).squeeze(-1)
        return values

    @contextmanager
    def _merged(self) -> Iterator[None]:
        """The adapter added to the weights while answers are sampled: a third of the work of a small model.

        In float32 only, for in half precision the sum would round most of the adapter away. The weights
        come back as the very tensors they were.
        """
        layers = [m for m in self.model.modules() if isinstance(m, LoraLayer)]
        if not layers or self.model.dtype != torch.float32 or self.training:
            yield
            return
        kept = [layer.get_base_layer().weight.data for layer in layers]
        try:
            for layer, weight in zip(layers, kept, strict=True):
                layer.get_base_layer().weight.data = weight + layer.get_delta_weight("default")
            with self.peft.disable_adapter():
                yield
        finally:
            for layer, weight in zip(layers, kept, strict=True):
                layer.get_base_layer().weight.data = weight

    def _set_active(self, adapter: str) -> None:
        """Switch adapters; unlike PEFT's own switch, both stay trainable."""
        self.peft.base_model.set_adapter(adapter)
        for name, parameter in self.peft.named_parameters():
            if "lora_" in name:
                parameter.requires_grad_(True)
