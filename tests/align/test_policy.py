"""The policy against plain transformers and PEFT: same numbers, whatever the layout of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ucbench.align import lora, rollout
from ucbench.align.data import TrainingSet
from ucbench.align.policy import Policy
from ucbench.align.rollout import Rollout
from ucbench.align.settings import LoraSettings, PPOSettings
from ucbench.models.loading import Loaded
from ucbench.models.registry import Base, load_base
from ucbench.record import Decoding

Make = Callable[..., PPOSettings]


def nudge(policy: Policy, scale: float = 0.05) -> None:
    """Make the adapter and the value head something other than their start."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)


def write(policy: Policy, data: TrainingSet, n: int = 6, step: int = 0, at_once: int = 64) -> list[Rollout]:
    decoding = Decoding(temperature=1.0, max_new_tokens=24, seed=3)
    return rollout.sample(policy, data.batch(step, n, 0), decoding=decoding, step=step, at_once=at_once)


def pack(policy: Policy, rollouts: Sequence[Rollout], **kwargs: object) -> rollout.Pack:
    return rollout.pack(rollouts, pad_id=policy.pad_id, device="cpu", **kwargs)  # type: ignore[arg-type]


def plain_logprobs(policy: Policy, one: Rollout) -> Tensor:
    """One answer through the model's own forward, without padding, hooks or kept features."""
    sample = one.draw.item.sample
    pixels = policy._processor(images=sample.image.load(), text="<image>", return_tensors="pt")[
        "pixel_values"
    ]
    ids = torch.tensor([[*one.prompt, *one.answer]])
    with torch.no_grad():
        logits = policy.model(input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids)).logits
    logp = logits[0, len(one.prompt) - 1 : -1].log_softmax(-1)
    return logp.gather(-1, torch.tensor(one.answer)[:, None]).squeeze(-1)


def test_scores_equal_those_of_plain_forwards(base: Base, data: TrainingSet, small: Make) -> None:
    policy = Policy(base, small())
    nudge(policy)
    rollouts = write(policy, data)
    assert len({len(r.answer) for r in rollouts}) > 1, "mixed lengths are the point"
    packed = pack(policy, rollouts)
    with torch.no_grad():
        dense = packed.dense(policy(packed).logprobs)
    for row, one in enumerate(rollouts):
        assert torch.allclose(dense[row, : len(one.answer)], plain_logprobs(policy, one), atol=2e-5)
        assert not dense[row, len(one.answer) :].any()


def test_logprobs_at_generation_equal_those_at_scoring(base: Base, data: TrainingSet, small: Make) -> None:
    """Generation pads on the left and keeps a cache; scoring pads on the right and keeps none."""
    policy = Policy(base, small())
    nudge(policy)
    draws = data.batch(0, 8, 0)
    prompts = [policy.pictures.prompt(d.item.sample, d.question.text) for d in draws]
    assert len(set(map(len, prompts))) > 1
    seen: list[Tensor] = []

    def keep(_ids: Tensor, scores: Tensor) -> Tensor:
        seen.append(scores.log_softmax(-1))
        return scores

    longest = max(map(len, prompts))
    ids = torch.full((8, longest), policy.pad_id)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    pictures = [policy.pictures(d.item.sample) for d in draws]
    policy.generate(pictures, input_ids=ids, attention_mask=mask, logits_processor=[keep], max_new_tokens=24)
    greedy = Decoding(temperature=0.0, max_new_tokens=24)
    rollouts = rollout.sample(policy, draws, decoding=greedy, step=0, at_once=8)
    packed = pack(policy, rollouts)
    with torch.no_grad():
        dense = packed.dense(policy(packed).logprobs)
    for row, one in enumerate(rollouts):
        at_generation = torch.stack([seen[t][row, token] for t, token in enumerate(one.answer)])
        assert torch.allclose(at_generation, dense[row, : len(one.answer)], atol=5e-5)


def test_the_reference_is_the_base_bit_for_bit(base: Base, data: TrainingSet, small: Make) -> None:
    policy = Policy(base, small())
    rollouts = write(policy, data)
    packed = pack(policy, rollouts)
    with torch.no_grad():
        fresh = policy(packed).logprobs
        nudge(policy)
        with policy.reference():
            reference = policy(packed, value=False).logprobs
        assert torch.equal(fresh, reference)  # the KL of an untrained adapter is 0
        assert not torch.equal(policy(packed).logprobs, reference)
    whole = load_base("embedded:tiny-vlm").loaded.model
    tensors = dict(whole.named_parameters())
    for name, parameter in policy.model.named_parameters():
        if "lora_" not in name:
            assert torch.equal(parameter, tensors[name.replace(".base_layer", "")])


def test_sampling_leaves_the_weights_as_they_were(base: Base, data: TrainingSet, small: Make) -> None:
    policy = Policy(base, small())
    nudge(policy)
    before = {name: p.data_ptr() for name, p in policy.named_parameters()}
    values = {name: p.clone() for name, p in policy.named_parameters()}
    write(policy, data)
    assert before == {name: p.data_ptr() for name, p in policy.named_parameters()}
    assert all(torch.equal(values[name], p) for name, p in policy.named_parameters())


def test_answers_do_not_depend_on_who_shares_the_batch(base: Base, data: TrainingSet, small: Make) -> None:
    policy = Policy(base, small())
    together = write(policy, data, n=12)
    apart = write(policy, data, n=12, at_once=5)
    assert [r.answer for r in together] == [r.answer for r in apart]
    other_step = rollout.sample(
        policy,
        [r.draw for r in together],
        decoding=Decoding(temperature=1.0, max_new_tokens=24, seed=3),
        step=1,
        at_once=64,
    )
    assert [r.answer for r in together] != [r.answer for r in other_step]


@pytest.mark.parametrize("value", ["shared", "separate"])
def test_more_padding_changes_nothing(base: Base, data: TrainingSet, small: Make, value: str) -> None:
    policy = Policy(base, small(value=value))
    nudge(policy)
    rollouts = write(policy, data)
    tight, wide = pack(policy, rollouts), pack(policy, rollouts, columns=60)
    assert wide.input_ids.shape[1] > tight.input_ids.shape[1]
    with torch.no_grad():
        narrow, broad = policy(tight), policy(wide)
    assert torch.allclose(narrow.logprobs, broad.logprobs, atol=1e-5)
    assert torch.allclose(narrow.entropy, broad.entropy, atol=1e-5)
    assert narrow.values is not None
    assert broad.values is not None
    assert torch.allclose(narrow.values, broad.values, atol=1e-5)


def test_pads_count_only_when_asked(base: Base, data: TrainingSet, small: Make) -> None:
    policy = Policy(base, small())
    rollouts = write(policy, data)
    counted = pack(policy, rollouts, columns=30, count_pads=True)
    assert counted.mask.shape == (6, 30)
    assert bool(counted.mask.all())
    with torch.no_grad():
        dense = counted.dense(policy(counted).logprobs)
    for row, one in enumerate(rollouts):
        assert torch.allclose(dense[row, : len(one.answer)], plain_logprobs(policy, one), atol=2e-5)


def test_logits_exist_at_answer_positions_only(base: Base, data: TrainingSet, small: Make) -> None:
    policy = Policy(base, small())
    packed = pack(policy, write(policy, data))
    rows: list[int] = []
    head = policy.model.get_output_embeddings()
    head.register_forward_hook(lambda _m, _i, output: rows.append(output.shape[:-1].numel()))
    policy(packed)
    assert rows == [len(packed.targets)]
    assert rows[0] < packed.input_ids.numel()


def test_the_value_starts_at_zero_and_does_not_move_the_policy(
    base: Base, data: TrainingSet, small: Make
) -> None:
    policy = Policy(base, small())
    packed = pack(policy, write(policy, data))
    scored = policy(packed)
    assert scored.values is not None
    assert not scored.values.any()
    assert policy.value_head.weight.dtype == torch.float32
    nudge(policy)
    values = policy(packed).values
    assert values is not None
    values.sum().backward()
    moved = {name for name, p in policy.trainable().items() if p.grad is not None and p.grad.any()}
    assert moved == {"value_head.weight", "value_head.bias"}


def test_a_shared_value_may_reach_the_adapter(base: Base, data: TrainingSet, small: Make) -> None:
    policy = Policy(base, small(value_gradient=True))
    packed = pack(policy, write(policy, data))
    nudge(policy)
    values = policy(packed).values
    assert values is not None
    values.sum().backward()
    assert any(p.grad is not None and p.grad.any() for n, p in policy.trainable().items() if "lora_B" in n)


def test_a_separate_value_has_an_adapter_of_its_own(base: Base, data: TrainingSet, small: Make) -> None:
    policy = Policy(base, small(value="separate"))
    nudge(policy)
    packed = pack(policy, write(policy, data))
    for part, own in (("values", ".value."), ("logprobs", ".default.")):
        policy.zero_grad()
        getattr(policy(packed), part).sum().backward()
        moved = {n for n, p in policy.trainable().items() if p.grad is not None and p.grad.any()}
        assert moved
        assert all(own in name or name.startswith("value_head") for name in moved), part
    with torch.no_grad(), policy.reference():
        reference = policy(packed, value=False).logprobs
    fresh = Policy(load_base("embedded:tiny-vlm"), small())
    with torch.no_grad():
        assert torch.equal(reference, fresh(packed).logprobs)


def test_only_the_language_model_is_adapted(base: Base, small: Make) -> None:
    policy = Policy(base, small())
    adapted = {name for name, _ in policy.model.named_parameters() if "lora_" in name}
    assert adapted
    assert all(name.startswith("model.language_model.") for name in adapted)
    leaves = {name.split(".lora_")[0].rpartition(".")[2] for name in adapted}
    assert leaves == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    trainable = set(policy.trainable())
    assert {name.split(".")[0] for name in trainable} == {"peft", "value_head"}
    assert not any("vision" in name or "projector" in name or "embed" in name for name in trainable)


def test_dropout_acts_in_the_update_only_and_only_when_asked(
    base: Base, data: TrainingSet, small: Make
) -> None:
    lora_settings = {"r": 4, "alpha": 8, "dropout": 0.5}
    torch.manual_seed(0)
    policy = Policy(base, small(lora=lora_settings))
    nudge(policy)
    packed = pack(policy, write(policy, data))
    with torch.no_grad():
        still = policy(packed).logprobs
        policy.updating(True)
        assert torch.equal(policy(packed).logprobs, still)
    torch.manual_seed(0)
    shaken = Policy(load_base("embedded:tiny-vlm"), small(lora=lora_settings, dropout_in_update=True))
    nudge(shaken)
    with torch.no_grad():
        assert torch.equal(shaken(packed).logprobs, still)
        shaken.updating(True)
        assert not torch.equal(shaken(packed).logprobs, still)
        shaken.updating(False)
        assert torch.equal(shaken(packed).logprobs, still)


def test_recomputing_activations_changes_no_gradient(data: TrainingSet, small: Make) -> None:
    grads = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        policy = Policy(load_base("embedded:tiny-vlm"), small(gradient_checkpointing=checkpointing))
        nudge(policy)
        packed = pack(policy, write(policy, data))
        policy.updating(True)
        policy(packed).logprobs.sum().backward()
        grads.append({n: p.grad for n, p in policy.trainable().items() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    for name, gradient in grads[0].items():
        assert gradient is not None
        assert torch.allclose(gradient, grads[1][name], atol=1e-4), name


def test_a_model_of_an_unknown_family_is_refused(base: Base, small: Make) -> None:
    stranger = replace(base, loaded=Loaded(base.loaded.model, base.loaded.processor, None, "float32"))
    with pytest.raises(Exception, match="ppo cannot train"):
        Policy(stranger, small())


def test_the_target_regex_matches_whole_names(base: Base) -> None:
    import re

    pattern = re.compile(lora.targets(base.loaded.model, "tiny"))
    assert pattern.fullmatch("model.language_model.layers.0.self_attn.q_proj")
    assert not pattern.fullmatch("model.vision_tower.encoder.layers.0.self_attn.q_proj")
    assert not pattern.fullmatch("lm_head")
    config = lora.config(base, LoraSettings(r=2, alpha=4))
    assert config.base_model_name_or_path == "embedded:tiny-vlm"
