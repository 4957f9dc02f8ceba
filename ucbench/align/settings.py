"""Every number that a training run depends on: presets in YAML, one file a method, validated here.

`paper` is the setting of arXiv 2507.11155 with each oddity of the authors' code as a switch of its own,
`default` the same method without them, `tiny` is `default` sized for the embedded model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from ucbench.errors import UcbenchError, UnknownNameError
from ucbench.record import Frozen

Method = Literal["ppo", "sft", "dpo", "grpo", "rloo"]
#: Settings with an option of their own on the command line; --set reaches the others.
OPTIONS = ("epochs", "max_steps", "batch_size", "micro_batch_size", "lr", "kl", "seed")
METHODS: tuple[Method, ...] = ("ppo", "sft", "dpo", "grpo", "rloo")
PRESETS = ("default", "paper", "tiny")

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class LoraSettings(Frozen):
    """Low-rank adapters on the linear layers of the language model, and nowhere else."""

    r: Count
    alpha: Positive
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0


class RewardSettings(Frozen):
    """What an answer earns; see `ucbench.align.reward` for the terms."""

    judge: str = "classifier"
    """Any judge with probabilities."""
    classifier: NotNegative = 1.0
    """Weight of the normalised cross-entropy term."""
    floor: Positive = 5.0
    """Cross-entropies above this many nats count as this many."""
    normaliser: Literal["fixed", "running", "batch_min_max"] = "fixed"
    """`fixed` maps [-floor, 0] to [-1, 1]; `running` and `batch_min_max` depend on the batches seen."""
    length_bonus: NotNegative = 0.0
    """Weight of tokens / max_new_tokens."""
    length_bonus_bounded: bool = True
    """Only right answers (probability of the right label above one half) get the length bonus."""
    stop_penalty: NotNegative = 0.0
    """Taken from an answer that did not end by itself."""
    repetition_penalty: NotNegative = 0.0
    """Weight of the share of trigrams that are repeated ones."""
    scale: Positive = 1.0
    """Multiplies the sum, the KL term of PPO included."""


class Common(Frozen):
    """What all methods share."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    epochs: Count
    """Passes over the training items."""
    max_steps: Count | None = None
    """Stops there, if the epochs would take longer."""
    batch_size: Count
    """Answers (pairs, for DPO) behind one update of all processes together."""
    micro_batch_size: Count
    """Answers that go through the model at once; changes memory and speed only."""
    lr: Positive
    warmup_steps: Annotated[int, Field(ge=0)] = 5
    schedule: Literal["cosine", "constant"] = "cosine"
    grad_clip: Positive = 1.0
    weight_decay: NotNegative = 0.0
    max_new_tokens: Count = 512
    lora: LoraSettings
    quantise: Literal["nf4"] | None = None
    """4-bit base weights with double quantisation; needs a CUDA device and bitsandbytes."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, a third more time."""
    probe_every: Annotated[int, Field(ge=0)] = 20
    """Steps between two greedy evaluations on held-back pictures; 0 for none."""
    checkpoint_every: Count = 20


class PPOSettings(Common):
    """Proximal policy optimisation (Schulman et al. 2017) with a value head and no reward model."""

    method: Literal["ppo"] = "ppo"
    reward: RewardSettings
    temperature: Positive = 1.0
    focus: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Share of each batch that goes to concepts in proportion to their wrong answers; 0: the plain order."""
    ppo_epochs: Count = 1
    """Passes over one batch of answers."""
    minibatches: Count = 1
    """Updates a pass."""
    clip: Positive = 0.2
    gamma: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    lam: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    kl: NotNegative
    """Coefficient of the distance to the starting model."""
    kl_estimator: Literal["k1", "k1_positive", "k3"] = "k1"
    kl_in: Literal["reward", "loss"] = "reward"
    """Subtracted from each token's reward, or added to the loss."""
    max_kl: Positive | None = None
    """Training stops when the mean KL of an answer passes this many nats."""
    entropy: NotNegative = 0.0
    value: Literal["shared", "separate"] = "shared"
    """A head on the policy's own trunk, or on a trunk with an adapter of its own."""
    value_gradient: bool = False
    """Whether the loss of a shared head reaches the adapter."""
    value_lr: Positive
    value_coefficient: NotNegative = 0.5
    value_clip: Positive | None = 0.2
    judge_every: Annotated[int, Field(ge=0)] = 0
    """The judge also reads the answer as it stands after every so many tokens, and what it thinks is the
    baseline of the tokens that follow: they earn nothing for a verdict that was given before. 0: not so."""
    whiten: bool = True
    dropout_in_update: bool = False
    pad_answers: Literal["longest", "max"] = "longest"
    score_at: Literal["last_token", "last_column"] = "last_token"
    mask_pads: bool = True
    """False: whitening and every mean run over the padding too."""

    @model_validator(mode="after")
    def _consistent(self) -> PPOSettings:
        if self.score_at == "last_column" and self.mask_pads:
            raise ValueError("score_at last_column puts the score on padding, so it needs mask_pads false")
        return self


class SFTSettings(Common):
    """Supervised fine-tuning on fixed answers made from label and concept."""

    method: Literal["sft"] = "sft"


class DPOSettings(Common):
    """Direct preference optimisation (Rafailov et al. 2023) on pairs made from label and concept."""

    method: Literal["dpo"] = "dpo"
    kl: Positive
    """DPO's beta."""


class OnlineSettings(Common):
    """What GRPO and RLOO share: several answers to one question are each other's baseline."""

    reward: RewardSettings
    temperature: Positive = 1.0
    generations: Annotated[int, Field(ge=2)] = 8
    """Answers to one question."""
    kl: NotNegative


class GRPOSettings(OnlineSettings):
    """Group-relative policy optimisation (Shao et al. 2024)."""

    method: Literal["grpo"] = "grpo"


class RLOOSettings(OnlineSettings):
    """REINFORCE leave-one-out (Ahmadian et al. 2024)."""

    method: Literal["rloo"] = "rloo"


Settings = PPOSettings | SFTSettings | DPOSettings | GRPOSettings | RLOOSettings
_ADAPTER: TypeAdapter[Settings] = TypeAdapter(Annotated[Settings, Field(discriminator="method")])


@cache
def _presets(method: str) -> dict[str, dict[str, Any]]:
    text = files("ucbench.align").joinpath("presets", f"{method}.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


def load(
    method: str, preset: str = "default", *, given: Mapping[str, Any] | None = None, **changes: Any
) -> Settings:
    """A method's preset with `changes` on top and then `given`; see `pairs` for the latter.

    A change of None is none, `reward__judge` goes deeper; a None in `given` is a value.
    Raises `UnknownNameError` for a method or preset that does not exist, `UcbenchError` for a value out
    of range or a setting that the method does not have.
    """
    if method not in METHODS:
        raise UnknownNameError(f"there is no method {method!r}; --method takes one of {', '.join(METHODS)}")
    presets = _presets(method)
    if preset not in presets:
        raise UnknownNameError(
            f"{method} has no preset {preset!r}; --preset takes one of {', '.join(presets)}"
        )
    content: dict[str, Any] = {"method": method, **presets[preset]}
    wanted = {key.replace("__", "."): value for key, value in changes.items() if value is not None}
    for path, value in {**wanted, **(given or {})}.items():
        *parents, key = path.split(".")
        place = content
        for parent in parents:
            inner = place.get(parent, {})
            if not isinstance(inner, dict):
                raise UcbenchError(f"{method} has no setting {path}; {parent} is a single value")
            place[parent] = dict(inner)
            place = place[parent]
        place[key] = value
    return parse(content)


def pairs(texts: Sequence[str]) -> dict[str, Any]:
    """`reward.length_bonus=0.2` as what is `given` to `load`; values are YAML. Raises `UcbenchError`."""
    given = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UcbenchError(f"--set {text} names no value; write it as --set KEY=VALUE")
        try:
            given[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UcbenchError(f"--set {text} has no value that YAML can read") from error
    if "method" in given:
        raise UcbenchError(f"--set method={given['method']} has no effect; name the method with --method")
    return given


def parse(content: dict[str, Any]) -> Settings:
    """Settings from their JSON form. Raises `UcbenchError`."""
    try:
        return _ADAPTER.validate_python(content)
    except ValidationError as error:
        raise UcbenchError(_sentence(str(content.get("method")), error.errors()[0])) from error


def _sentence(method: str, error: Any) -> str:
    # The discriminator is part of the path: ('ppo', 'reward', 'floor').
    name = ".".join(str(part) for part in error["loc"][1:])
    if error["type"] == "extra_forbidden":
        return f"{method} has no setting {name}; leave it out"
    if not name:
        return f"the settings of {method} do not fit together: {error['msg'].removeprefix('Value error, ')}"
    if error["type"] == "missing":
        return f"{method} needs a value of {name}"
    if name == "reward.judge":
        option = "--judge "
    else:
        option = f"--{name.replace('_', '-')} " if name in OPTIONS else f"--set {name}="
    given = {None: "null", True: "true", False: "false"}
    value = error["input"]
    shown = given.get(value, value) if isinstance(value, bool | None) else value
    return f"{option}{shown} must be {_wanted(name, error)}"


def _wanted(name: str, error: Any) -> str:
    """What a value should be, in plain words."""
    kind, limits = error["type"].removesuffix("_parsing").removesuffix("_type"), error.get("ctx", {})
    words = {
        "int": "a whole number",
        "int_from_float": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "string": "a text",
        "finite_number": "a finite number",
        "model": f"set one by one, as --set {name}.KEY=VALUE",
        "greater_than": f"greater than {limits.get('gt', 0):g}",
        "greater_than_equal": f"at least {limits.get('ge', 0):g}",
        "less_than": f"less than {limits.get('lt', 0):g}",
        "less_than_equal": f"at most {limits.get('le', 0):g}",
        "literal_error": f"one of {str(limits.get('expected')).replace(chr(39), '').replace(' or ', ', ')}",
    }
    return words.get(kind, f"otherwise: {error['msg'][:1].lower()}{error['msg'][1:]}")
