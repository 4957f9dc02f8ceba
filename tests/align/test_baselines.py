"""SFT, DPO, GRPO and RLOO on the embedded model, a few steps each."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ucbench.align import baselines, lora, templates
from ucbench.align import settings as presets
from ucbench.align.baselines.plan import plan
from ucbench.align.data import TrainingSet, training_set
from ucbench.align.output import Output, read_log, save_adapter
from ucbench.align.reward import Reward
from ucbench.align.settings import RewardSettings, Settings
from ucbench.align.trained import Trained
from ucbench.errors import StoreError, UcbenchError
from ucbench.judges import registry as judges
from ucbench.models import registry as models
from ucbench.tracks.pictograms import Pictograms

METHODS = ("sft", "dpo", "grpo", "rloo")
STEPS, BATCH = 3, 8
SMALL: dict[str, Any] = {
    "max_steps": STEPS,
    "epochs": 8,
    "batch_size": BATCH,
    "micro_batch_size": 4,
    "checkpoint_every": 2,
    "probe_every": 0,
    "max_new_tokens": 12,
    "lr": 1e-3,
}


@cache
def data() -> TrainingSet:
    return training_set(Pictograms(), limit=16)


def settings(method: str, **changes: Any) -> Settings:
    changes = {**SMALL, **changes}
    if method in ("grpo", "rloo"):
        changes.setdefault("generations", 2)
    return presets.load(method, "tiny", **changes)


def reward_of(chosen: Settings) -> Reward | None:
    own = getattr(chosen, "reward", None)
    return None if own is None else Reward(own, judges.load(own.judge), chosen.max_new_tokens)


def train(
    base: models.Base, chosen: Any, out: Path, progress: Any = lambda *_: None, *, resume: bool = False
) -> Trained:
    return baselines.train(
        base, data(), chosen, out=Output(out), reward=reward_of(chosen), resume=resume, progress=progress
    )


def frozen(model: Any) -> dict[str, bytes]:
    """The bytes of vision tower and projector."""
    parts = {"tower": model.model.vision_tower, "projector": model.model.multi_modal_projector}
    return {
        f"{part}.{name}": tensor.detach().cpu().numpy().tobytes()
        for part, module in parts.items()
        for name, tensor in module.state_dict().items()
    }


def adapter(model: Any) -> dict[str, Any]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if "lora_" in name}


@pytest.mark.parametrize("method", METHODS)
def test_a_few_steps(method: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    base = models.load_base("embedded:tiny-vlm")
    before = frozen(base.loaded.model)
    seen: list[tuple[int, int]] = []
    trained = train(base, settings(method), tmp_path, lambda step, steps, _: seen.append((step, steps)))

    # The libraries under it keep quiet.
    assert capfd.readouterr() == ("", "")
    assert seen == [(1, STEPS), (2, STEPS), (3, STEPS)]
    assert (trained.steps, trained.answers) == (STEPS, STEPS * BATCH)

    # The language model's adapter learned, and nothing else did.
    weights = adapter(trained.model)
    assert trained.trainable_parameters == sum(p.numel() for p in weights.values())
    assert all(".language_model." in name for name in weights)
    assert all(p.abs().max() > 0 for name, p in weights.items() if "lora_B" in name)
    assert frozen(base.loaded.model) == before
    assert not trained.model.training

    rows = read_log(tmp_path / "train.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert [row["answers"] for row in rows] == [8, 16, 24]
    assert [row["lr"] for row in rows] == pytest.approx([2e-4, 4e-4, 6e-4])  # five steps of warm-up
    needed = {"loss", "grad_norm", "lr", "entropy", "seconds", "epoch"}
    if method in ("grpo", "rloo"):
        needed |= {"reward", "reward_classifier", "reward_length", "reward_unended", "reward_repetition"}
        needed |= {"kl", "length", "accuracy", "accuracy_safe", "accuracy_unsafe", "tokens_per_second"}
        assert all(0 <= row["accuracy"] <= 1 and 0 < row["length"] <= 12 for row in rows)
    for row in rows:
        assert needed <= row.keys()
        assert all(math.isfinite(value) for value in row.values())

    # A base model that is ready to be asked, and an adapter that names it.
    assert "forward" not in vars(base.loaded.model)
    save_adapter(trained.model, tmp_path)
    assert lora.base_of(base) in (tmp_path / "adapter_config.json").read_text()


def order(method: str) -> list[list[tuple[str, str, str]]]:
    """(picture, question, label) of each step, as `TrainingSet.batch` has it."""
    chosen = plan(settings(method), data())
    return [
        [(d.item.sample.id, d.question.text, d.item.label) for d in data().batch(step, chosen.questions, 0)]
        for step in range(STEPS)
    ]


def trainer_of(method: str, out: Path) -> Any:
    from ucbench.align.baselines import offline, online, trainer

    chosen: Any = settings(method)
    base, cut, reward = models.load_base("embedded:tiny-vlm"), plan(chosen, data()), reward_of(chosen)
    if reward is None:
        make = offline.maker(base, data(), chosen, cut)
    else:
        make = online.maker(base, data(), chosen, cut, reward)
    return make(trainer.arguments(base, chosen, cut, Output(out)), [])


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_answers_learned_from_come_in_the_order_of_the_training_set(method: str, tmp_path: Path) -> None:
    trainer = trainer_of(method, tmp_path)
    tokenizer = trainer.processing_class.tokenizer
    read, end = tokenizer.decode, tokenizer.eos_token
    pictures = {item.sample.id: item for item in data().items}
    batches = list(trainer.get_train_dataloader())
    assert len(batches) == STEPS * 2  # two micro-batches a step

    expected = [row for step in order(method) for row in step]
    for number, batch in enumerate(batches):
        rows = expected[4 * number : 4 * number + 4]
        n = len(rows) * (2 if method == "dpo" else 1)
        assert batch["pixel_values"].shape[0] == batch["input_ids"].shape[0] == n
        for i, (sample, question, label) in enumerate(rows):
            item = pictures[sample]
            asked = next(q for q in item.questions if q.text == question)
            pair = templates.pair(asked, label, data().names[item.concept_id])
            assert question in read(batch["input_ids"][i])
            if method == "sft":
                learned = batch["labels"][i]
                assert read(learned[learned != -100]) == pair[0] + end
            else:
                for half, answer in enumerate(pair):
                    row = i + half * len(rows)
                    tokens = batch["input_ids"][row][batch["completion_mask"][row].bool()]
                    assert read(tokens) == answer + end


@pytest.mark.parametrize("method", ["grpo", "rloo"])
def test_groups_come_in_the_order_of_the_training_set(method: str, tmp_path: Path) -> None:
    trainer = trainer_of(method, tmp_path)
    draws = plan(settings(method), data()).draws(data())
    # TRL asks for a whole step's questions before each micro-batch of it.
    steps = list(trainer.get_train_dataloader())[::2]
    assert len(steps) == STEPS
    for rows, expected in zip(steps, order(method), strict=True):
        asked = [(draws[row["place"]], row["prompt"][0]["content"][1]["text"]) for row in rows]
        assert [(draw.item.sample.id, question, draw.item.label) for draw, question in asked] == [
            row for row in expected for _ in range(2)
        ]


@pytest.mark.parametrize("method", ["grpo", "rloo"])
def test_sampled_prompts_are_those_of_the_evaluation(method: str, tmp_path: Path) -> None:
    from ucbench.models.prompts import Prompts

    trainer = trainer_of(method, tmp_path)
    processor, config = trainer.processing_class, trainer.model.get_base_model().config
    rows = next(iter(trainer.get_train_dataloader()))
    prompts = []
    for row in rows:
        (message,) = row["prompt"]
        image, text = message["content"]
        prompts.append([{**message, "content": [{**image, "image": row["images"][0]}, text]}])
    tokens, *_ = trainer._tokenize_prompts(prompts)
    own = Prompts(processor, config, name="tiny", system_prompt=None)
    for row, ids in zip(rows, tokens, strict=True):
        expected = own.tokens(row["prompt"][0]["content"][1]["text"])
        assert [t for t in ids if t != own.image_token_id] == [t for t in expected if t != own.image_token_id]


#: As LLaVA-1.5 writes: no BOS, a space after each part, no end after an answer.
LLAVA15 = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>\n"
    "{% else %}{{ part['text'] + ' ' }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def test_an_answer_ends_even_where_the_template_writes_no_end() -> None:
    from ucbench.align.baselines.offline import Chat
    from ucbench.models.prompts import Prompts

    base = models.load_base("embedded:tiny-vlm")
    processor = base.loaded.processor
    processor.chat_template = LLAVA15
    draw = data().batch(0, 1, 0)[0]
    batch = Chat(base).encode([(draw.item.sample, draw.question.text, "No, it is not safe.")])
    answer = batch["completion_mask"][0].bool()
    ids = batch["input_ids"][0]
    assert processor.tokenizer.decode(ids[answer]) == " No, it is not safe." + processor.tokenizer.eos_token
    prompts = Prompts(processor, base.loaded.model.config, name="tiny", system_prompt=None)
    image = prompts.image_token_id
    assert [t for t in ids[~answer].tolist() if t != image] == [
        t for t in prompts.tokens(draw.question.text) if t != image
    ]


class KilledError(Exception):
    pass


def kill_at(step: int) -> Callable[..., None]:
    def progress(done: int, *_: Any) -> None:
        if done == step:
            raise KilledError

    return progress


@pytest.mark.parametrize(
    "method",
    [pytest.param(each, marks=pytest.mark.slow if each in ("sft", "rloo") else ()) for each in METHODS],
)
def test_resumed_training_ends_where_the_whole_one_does(method: str, tmp_path: Path) -> None:
    import torch

    chosen = settings(method, max_steps=4)
    whole = train(models.load_base("embedded:tiny-vlm"), chosen, tmp_path / "whole")

    with pytest.raises(KilledError):
        train(models.load_base("embedded:tiny-vlm"), chosen, tmp_path / "cut", kill_at(3))
    # A checkpoint whose writing was cut off is no checkpoint.
    broken = tmp_path / "cut" / "checkpoints" / "checkpoint-3"
    shutil.copytree(tmp_path / "cut" / "checkpoints" / "checkpoint-2", broken)
    (broken / "state.json").unlink()
    (broken / "adapter_model.safetensors").write_bytes(b"half")

    seen: list[int] = []
    resumed = train(
        models.load_base("embedded:tiny-vlm"),
        chosen,
        tmp_path / "cut",
        lambda step, *_: seen.append(step),
        resume=True,
    )
    assert seen == [3, 4]
    assert not broken.exists()
    assert (resumed.steps, resumed.answers) == (whole.steps, whole.answers) == (4, 32)
    assert [row["step"] for row in read_log(tmp_path / "cut" / "train.jsonl")] == [1, 2, 3, 4]
    ours, theirs = adapter(resumed.model), adapter(whole.model)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)

    # A run that had come to its end goes on to nothing, with the same weights.
    again = train(models.load_base("embedded:tiny-vlm"), chosen, tmp_path / "cut", kill_at(5), resume=True)
    assert all(torch.equal(p, theirs[name]) for name, p in adapter(again.model).items())


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    train(models.load_base("embedded:tiny-vlm"), settings("sft", max_steps=2), tmp_path)
    kept = (tmp_path / "train.jsonl").read_bytes()
    with pytest.raises(UcbenchError, match=r"was written with lr 0\.001, not 0\.002"):
        train(
            models.load_base("embedded:tiny-vlm"),
            settings("sft", max_steps=2, lr=2e-3),
            tmp_path,
            resume=True,
        )
    assert (tmp_path / "train.jsonl").read_bytes() == kept


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        (
            "sft",
            {"batch_size": 8, "micro_batch_size": 3},
            "--micro-batch-size 3 does not divide the 8 answers",
        ),
        ("grpo", {"batch_size": 9, "generations": 2}, "--batch-size 9 counts answers"),
        ("rloo", {"batch_size": 8, "generations": 3}, "multiple of the 3 generations"),
    ],
)
def test_batches_that_do_not_divide(method: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UcbenchError, match=message):
        plan(settings(method, **changes), data())


def test_processes_share_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    cut = plan(settings("sft", batch_size=32, micro_batch_size=4), data())
    assert (cut.micro, cut.accumulation, cut.processes) == (4, 4, 2)
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UcbenchError, match="multiple of the 3 processes"):
        plan(settings("sft", batch_size=32), data())


def test_a_loss_that_is_not_finite_stops_training(tmp_path: Path) -> None:
    from ucbench.align.loop import AlignmentStoppedError

    base = models.load_base("embedded:tiny-vlm")
    chosen = settings("sft", max_steps=4)

    def poison(step: int, *_: Any) -> None:
        if step == 3:
            next(p for n, p in base.loaded.model.named_parameters() if "lora_B" in n).data.fill_(math.nan)

    with pytest.raises(AlignmentStoppedError, match=r"step 4: the loss is not finite.*checkpoint-2"):
        train(base, chosen, tmp_path, poison)


def test_a_checkpoint_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "checkpoint-2").write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot write a checkpoint to .*--resume"):
        train(models.load_base("embedded:tiny-vlm"), settings("sft"), tmp_path)
    assert [row["step"] for row in read_log(tmp_path / "train.jsonl")] == [1, 2]

    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="choose another folder with --out"):
        train(models.load_base("embedded:tiny-vlm"), settings("sft"), tmp_path / "file")


@pytest.mark.parametrize("method", ["dpo", "grpo"])
def test_recomputing_activations_changes_no_number(method: str, tmp_path: Path) -> None:
    import torch

    weights = []
    for on in (False, True):
        chosen = settings(method, max_steps=2, gradient_checkpointing=on)
        base = models.load_base("embedded:tiny-vlm")
        weights.append(adapter(train(base, chosen, tmp_path / str(on)).model))
        assert not base.loaded.model.is_gradient_checkpointing
    assert all(torch.allclose(p, weights[1][name], atol=1e-6) for name, p in weights[0].items())


@pytest.mark.slow
def test_two_processes_compute_what_one_does(tmp_path: Path) -> None:
    script = tmp_path / "align.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from ucbench.align import baselines, data, settings\n"
        "from ucbench.align.output import Output\n"
        "from ucbench.models import registry\n"
        "from ucbench.tracks.pictograms import Pictograms\n"
        "changes = dict(max_steps=2, batch_size=8, micro_batch_size=2, probe_every=0, checkpoint_every=2)\n"
        "chosen = settings.load('sft', 'tiny', **changes)\n"
        "items = data.training_set(Pictograms(), limit=16)\n"
        "base = registry.load_base('embedded:tiny-vlm')\n"
        "baselines.train(base, items, chosen, out=Output(Path(sys.argv[1])))\n"
    )
    logs = []
    for n in (1, 2):
        command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={n}", "--standalone"]
        subprocess.run([*command, str(script), str(tmp_path / str(n))], check=True, timeout=280)
        logs.append(read_log(tmp_path / str(n) / "train.jsonl"))
    assert len(logs[0]) == len(logs[1]) == 2
    for one, two in zip(*logs, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert two["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-4)


def test_a_reward_is_needed_where_answers_are_sampled(tmp_path: Path) -> None:
    chosen: Any = settings("grpo")
    with pytest.raises(UcbenchError, match="grpo needs a reward"):
        baselines.train(models.load_base("embedded:tiny-vlm"), data(), chosen, out=Output(tmp_path))
    assert not (tmp_path / "train.jsonl").exists()


def test_the_running_normaliser_goes_on_where_it_was(tmp_path: Path) -> None:
    chosen: Any = settings("grpo", max_steps=2, checkpoint_every=1)
    chosen = chosen.model_copy(update={"reward": RewardSettings(normaliser="running")})
    reward, fresh = reward_of(chosen), reward_of(chosen)
    assert reward
    assert fresh
    out = Output(tmp_path)
    base = models.load_base("embedded:tiny-vlm")
    baselines.train(base, data(), chosen, out=out, reward=reward)
    base = models.load_base("embedded:tiny-vlm")
    baselines.train(base, data(), chosen, out=out, reward=fresh, resume=True)
    assert fresh.normaliser.state() == reward.normaliser.state()
    assert fresh.normaliser.state()["n"] == 16
