"""Presets as they are shipped, and what a wrong setting is told."""

from __future__ import annotations

from typing import Any

import pytest

from ucbench.align import settings
from ucbench.align.settings import METHODS, PRESETS, DPOSettings, PPOSettings, load, pairs, parse
from ucbench.errors import UcbenchError, UnknownNameError


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("method", METHODS)
def test_every_preset_loads_and_comes_back_from_its_json(method: str, preset: str) -> None:
    loaded = load(method, preset)
    assert loaded.method == method
    assert parse(loaded.model_dump(mode="json")) == loaded


def test_the_paper_preset_is_the_papers_setting() -> None:
    ppo = load("ppo", "paper")
    assert isinstance(ppo, PPOSettings)
    assert (ppo.lora.r, ppo.lora.alpha, ppo.lora.dropout) == (128, 256, 0.05)
    assert (ppo.batch_size, ppo.epochs, ppo.lr, ppo.warmup_steps) == (32, 4, 3e-5, 5)
    assert (ppo.schedule, ppo.grad_clip, ppo.ppo_epochs, ppo.temperature) == ("cosine", 1.0, 1, 1.0)
    assert (ppo.kl, ppo.kl_estimator, ppo.kl_in) == (0.1, "k1_positive", "reward")
    assert (ppo.entropy, ppo.clip, ppo.gamma, ppo.lam) == (0.02, 0.2, 1.0, 1.0)
    assert (ppo.value, ppo.value_coefficient, ppo.value_clip) == ("separate", 0.1, 0.2)
    assert (ppo.quantise, ppo.max_new_tokens, ppo.pad_answers) == ("nf4", 512, "max")
    assert (ppo.score_at, ppo.mask_pads, ppo.whiten, ppo.dropout_in_update) == (
        "last_column", False, True, True,
    )  # fmt: skip
    reward = ppo.reward
    assert (reward.normaliser, reward.length_bonus, reward.length_bonus_bounded) == (
        "batch_min_max", 4.0, False,
    )  # fmt: skip
    assert (reward.stop_penalty, reward.scale, reward.repetition_penalty) == (8.0, 10.0, 0.0)
    dpo = load("dpo", "paper")
    assert isinstance(dpo, DPOSettings)
    assert (dpo.lr, dpo.kl) == (2e-6, 0.1)
    assert load("sft", "paper").lr == 3e-5


def test_changes_go_on_top_and_leave_the_preset_alone() -> None:
    before = load("ppo", "tiny")
    changed = load("ppo", "tiny", lr=0.5, kl=None, reward__judge="rules")
    assert isinstance(changed, PPOSettings)
    assert isinstance(before, PPOSettings)
    assert (changed.lr, changed.kl, changed.reward.judge) == (0.5, before.kl, "rules")
    assert changed.reward.length_bonus == before.reward.length_bonus
    assert load("ppo", "tiny") == before


def test_what_is_given_by_hand_wins_and_may_be_nothing() -> None:
    given = pairs(["lr=2e-4", "reward.length_bonus=0.2", "max_kl=null", "lora={r: 2, alpha: 4}"])
    changed = load("ppo", "tiny", given=given, lr=1.0)
    assert isinstance(changed, PPOSettings)
    assert (changed.lr, changed.reward.length_bonus, changed.max_kl, changed.lora.r) == (2e-4, 0.2, None, 2)
    assert changed.reward.judge == "classifier"


@pytest.mark.parametrize(
    ("method", "preset", "sentence"),
    [
        (
            "reinforce",
            "tiny",
            "there is no method 'reinforce'; --method takes one of ppo, sft, dpo, grpo, rloo",
        ),
        ("ppo", "huge", "ppo has no preset 'huge'; --preset takes one of default, paper, tiny"),
    ],
)
def test_unknown_names(method: str, preset: str, sentence: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        load(method, preset)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("method", "changes", "sentence"),
    [
        ("ppo", {"lr": 0.0}, "--lr 0.0 must be greater than 0"),
        ("sft", {"lr": -1.0}, "--lr -1.0 must be greater than 0"),
        ("dpo", {"lr": float("inf")}, "--lr inf must be a finite number"),
        ("sft", {"kl": 0.1}, "sft has no setting kl; leave it out"),
        ("sft", {"reward__judge": "rules"}, "sft has no setting reward; leave it out"),
        ("dpo", {"kl": 0.0}, "--kl 0.0 must be greater than 0"),
        ("ppo", {"batch_size": 0}, "--batch-size 0 must be at least 1"),
        (
            "grpo",
            {"micro_batch_size": -3},
            "--micro-batch-size -3 must be at least 1",
        ),
        ("rloo", {"generations": 1}, "--set generations=1 must be at least 2"),
        ("ppo", {"reward__judge": 5}, "--judge 5 must be a text"),
        ("ppo", {"reward__floor": 0}, "--set reward.floor=0 must be greater than 0"),
        ("ppo", {"reward__colour": 1}, "ppo has no setting reward.colour; leave it out"),
        ("ppo", {"lr__peak": 1}, "ppo has no setting lr.peak; lr is a single value"),
        (
            "ppo",
            {"kl_estimator": "k2"},
            "--set kl_estimator=k2 must be one of k1, k1_positive, k3",
        ),
        ("ppo", {"gamma": 1.5}, "--set gamma=1.5 must be at most 1"),
        ("ppo", {"lora": {"r": 4}}, "ppo needs a value of lora.alpha"),
        ("ppo", {"lora__r": "abc"}, "--set lora.r=abc must be a whole number"),
        ("ppo", {"lora__r": 2.5}, "--set lora.r=2.5 must be a whole number"),
        ("ppo", {"lora": 3}, "--set lora=3 must be set one by one, as --set lora.KEY=VALUE"),
        ("ppo", {"clip": "wide"}, "--set clip=wide must be a number"),
        ("ppo", {"whiten": "perhaps"}, "--set whiten=perhaps must be true or false"),
        ("ppo", {"lora__dropout": 1}, "--set lora.dropout=1 must be less than 1"),
        (
            "ppo",
            {"score_at": "last_column"},
            "the settings of ppo do not fit together: score_at last_column puts the score on padding, so it "
            "needs mask_pads false",
        ),
    ],
)
def test_a_wrong_setting_is_one_sentence(method: str, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UcbenchError) as caught:
        load(method, "tiny", **changes)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("lr", "--set lr names no value; write it as --set KEY=VALUE"),
        ("=3", "--set =3 names no value; write it as --set KEY=VALUE"),
        ("lora={r: 4", "--set lora={r: 4 has no value that YAML can read"),
        ("method=dpo", "--set method=dpo has no effect; name the method with --method"),
    ],
)
def test_what_set_cannot_read(text: str, sentence: str) -> None:
    with pytest.raises(UcbenchError) as caught:
        pairs([text])
    assert str(caught.value) == sentence


def test_options_are_settings_that_some_method_has() -> None:
    fields = {name for method in METHODS for name in type(load(method, "tiny")).model_fields}
    assert set(settings.OPTIONS) <= fields
