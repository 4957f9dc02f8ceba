"""The PPO loop on the embedded model: what a step computes, kills, processes, and what stops it."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ucbench.align import checkpoint, loop, schedule
from ucbench.align.data import TrainingSet
from ucbench.align.output import Output, read_log
from ucbench.align.reward import Asked, Floats, Gather, Reward, Rewards, Written
from ucbench.align.settings import PPOSettings
from ucbench.errors import StoreError, UcbenchError
from ucbench.judges import registry as judges
from ucbench.models.registry import Base, load_base
from ucbench.tracks.emblems import COLOURS

pytestmark = pytest.mark.xdist_group("align-loop")

HERE = Path(__file__).parent
MODEL = "embedded:tiny-vlm"
Make = Callable[..., PPOSettings]
#: What depends on the clock and the machine.
TIMED = ("tokens_per_second", "seconds_sample", "seconds_judge", "seconds_score", "seconds_update")


def rewarded(settings: PPOSettings) -> Reward:
    return Reward(settings.reward, judges.load("classifier"), settings.max_new_tokens)


def run(
    base: Base, data: TrainingSet, settings: PPOSettings, out: Path, **kwargs: Any
) -> list[dict[str, Any]]:
    kwargs.setdefault("reward", rewarded(settings))
    loop.train(base, data, settings, out=Output(out), **kwargs)
    return untimed(out)


def untimed(out: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in TIMED} for row in read_log(out / "train.jsonl")]


def learner(out: Path) -> bytes:
    return (checkpoint.found(out / "checkpoints")[-1] / "learner.safetensors").read_bytes()


def test_the_first_ratio_is_one_whatever_the_adapter(
    base: Base, data: TrainingSet, small: Make, tmp_path: Path
) -> None:
    """Also when the adapter is no longer zero, since dropout is off and the passes are the same."""
    rows = run(base, data, small(max_steps=3, lr=0.02, lora={"r": 4, "alpha": 8, "dropout": 0.3}), tmp_path)
    # Of the two minibatches a step, the first sees a ratio of exactly 1; so does the second of a first
    # pass only as far as the first has not moved it: one minibatch makes it exact.
    assert rows[0]["kl"] == 0.0
    whole = run(
        load_base(MODEL),
        data,
        small(max_steps=3, lr=0.02, minibatches=1, ppo_epochs=1, lora={"r": 4, "alpha": 8, "dropout": 0.3}),
        tmp_path / "whole",
    )
    assert whole[2]["kl"] > 0
    for row in whole:
        assert row["ratio"] == pytest.approx(1.0, abs=1e-6)
        assert row["clip_fraction"] == 0.0


def test_every_metric_is_there_and_finite(base: Base, data: TrainingSet, small: Make, tmp_path: Path) -> None:
    settings = small()
    run(base, data, settings, tmp_path)
    rows = read_log(tmp_path / "train.jsonl")
    assert [row["step"] for row in rows] == [1, 2]
    wanted = {
        "epoch", "answers", "reward", "reward_classifier", "reward_length", "reward_unended",
        "reward_repetition", "accuracy", "accuracy_safe", "accuracy_unsafe", "kl", "entropy", "length",
        "loss", "policy_loss", "value_loss", "clip_fraction", "ratio", "grad_norm", "lr",
        "explained_variance", "degenerate_batches", *TIMED,
    }  # fmt: skip
    for row in rows:
        assert wanted <= row.keys()
        assert all(value is not None and math.isfinite(value) for value in row.values())
    assert rows[-1]["answers"] == 2 * settings.batch_size


def test_only_adapter_and_value_head_change(
    base: Base, data: TrainingSet, small: Make, tmp_path: Path
) -> None:
    """Vision tower, projector, embeddings: every byte stays."""
    before = {name: p.clone() for name, p in base.loaded.model.named_parameters()}
    run(base, data, small(lr=0.01), tmp_path)
    after = {
        name.replace(".base_layer", ""): p
        for name, p in base.loaded.model.named_parameters()
        if "lora_" not in name
    }
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    moved = [p for name, p in base.loaded.model.named_parameters() if "lora_B" in name]
    assert any(p.any() for p in moved)


class NamesTheColour(Reward):
    """A toy: 1 for an answer that names some colour, else 0."""

    def __call__(
        self,
        _samples: Sequence[Asked],
        answers: Sequence[Written],
        _labels: Sequence[str],
        gather: Gather = lambda values: values,
    ) -> Rewards:
        named = np.array([any(colour in a.text for colour in COLOURS) for a in answers])
        total: Floats = named.astype(np.float64)
        return Rewards(total, {"colour": total}, named, bool(np.ptp(gather(total)) == 0))


def test_a_toy_reward_rises(base: Base, data: TrainingSet, small: Make, tmp_path: Path) -> None:
    settings = small(
        batch_size=32, micro_batch_size=32, max_steps=8, lr=6e-3, max_new_tokens=24, checkpoint_every=100,
    )  # fmt: skip
    toy = NamesTheColour(settings.reward, judges.load("classifier"), settings.max_new_tokens)
    rows = run(base, data, settings, tmp_path, reward=toy)
    rewards = [row["reward"] for row in rows]
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 0.25


def test_paper_quirks_run_and_are_each_a_switch(
    base: Base, data: TrainingSet, small: Make, tmp_path: Path
) -> None:
    quirks: dict[str, Any] = {
        "value": "separate", "kl_estimator": "k1_positive", "pad_answers": "max", "mask_pads": False,
        "score_at": "last_column", "dropout_in_update": True, "entropy": 0.02,
        "lora": {"r": 4, "alpha": 8, "dropout": 0.05},
        "reward__normaliser": "batch_min_max", "reward__length_bonus": 4.0,
        "reward__length_bonus_bounded": False, "reward__stop_penalty": 8.0, "reward__scale": 10.0,
    }  # fmt: skip
    rows = run(base, data, small(**quirks), tmp_path / "all")
    plain = run(load_base(MODEL), data, small(), tmp_path / "none")
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert rows[0]["loss"] != plain[0]["loss"]
    with pytest.raises(UcbenchError, match="mask_pads"):
        small(score_at="last_column")


@pytest.mark.parametrize("kl_in", ["reward", "loss"])
@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_the_kl_term_acts_where_it_is_put(
    data: TrainingSet, small: Make, tmp_path: Path, kl_in: str, estimator: str
) -> None:
    rows = [
        run(
            load_base(MODEL),
            data,
            small(kl=kl, kl_in=kl_in, kl_estimator=estimator, lr=0.005, max_steps=3, max_kl=1e6),
            tmp_path / str(kl),
        )
        for kl in (0.0, 50.0)
    ]
    assert rows[0][0]["reward"] == rows[1][0]["reward"]
    assert rows[1][-1]["kl"] != rows[0][-1]["kl"]


def test_a_degenerate_batch_is_counted_and_stays_finite(
    base: Base, data: TrainingSet, small: Make, tmp_path: Path
) -> None:
    class Indifferent(NamesTheColour):
        def __call__(self, *args: Any, **kwargs: Any) -> Rewards:
            found = super().__call__(*args, **kwargs)
            return replace(found, total=np.zeros_like(found.total), degenerate=True)

    settings = small(kl=0.0, batch_size=1, micro_batch_size=1, minibatches=1)
    indifferent = Indifferent(settings.reward, judges.load("classifier"), settings.max_new_tokens)
    rows = run(base, data, settings, tmp_path, reward=indifferent)
    assert [row["degenerate_batches"] for row in rows] == [1.0, 2.0]
    assert all(value is None or math.isfinite(value) for row in rows for value in row.values())


# Kills and checkpoints


def align(*arguments: str, launcher: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    head = [*launcher, "-m", "ucbench.cli"] if launcher else [sys.executable, "-m", "ucbench.cli"]
    return subprocess.run(
        [*head, "align", *arguments], capture_output=True, text=True, check=False, timeout=280
    )


SMALL = (
    MODEL, "--batch-size", "8", "--micro-batch-size", "4", "--lr", "0.01",
    "--set", "max_new_tokens=16", "--set", "checkpoint_every=1", "--set", "probe_every=0",
    "--set", "reward.normaliser=running",
)  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("align") / "whole"
    done = align(*SMALL, "--max-steps", "4", "--out", str(out))
    assert done.returncode == 0, done.stderr
    return out


def test_killed_twice_and_resumed_equals_undisturbed_bit_for_bit(
    undisturbed: Path, tmp_path: Path, ucbench: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    out = tmp_path / "killed"
    arguments = [*SMALL, "--max-steps", "4", "--out", str(out)]
    # Right behind a checkpoint, then in the middle of writing the next one.
    for step, where, *resume in (("2", "between"), ("3", "middle", "--resume")):
        killer = [sys.executable, str(HERE / "killed_alignment.py"), step, where, *arguments, *resume]
        killed = subprocess.run(killer, capture_output=True, text=True, check=False, timeout=280)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        kept = [int(path.name[-6:]) for path in checkpoint.found(out / "checkpoints")]
        assert kept == [1, 2]
        refused = ucbench("align", *arguments)
        assert refused.returncode == 2
        assert "unfinished alignment; add --resume" in refused.stderr
    resumed = align(*arguments, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert learner(out) == learner(undisturbed)
    assert untimed(out) == untimed(undisturbed)
    adapter = "adapter_model.safetensors"
    assert (out / adapter).read_bytes() == (undisturbed / adapter).read_bytes()
    for name in ("optimiser.pt", "random.pt"):
        ours, theirs = (
            torch.load(checkpoint.found(o / "checkpoints")[-1] / name, weights_only=True)
            for o in (out, undisturbed)
        )
        assert str(ours) == str(theirs)
    assert not [p.name for p in (out / "checkpoints").iterdir() if p.name.startswith(".")]


def test_two_processes_compute_the_same(undisturbed: Path, tmp_path: Path) -> None:
    program = str(Path(sys.executable).with_name("accelerate"))
    out = tmp_path / "two"
    done = align(
        *SMALL, "--max-steps", "4", "--out", str(out),
        launcher=(program, "launch", "--num_processes", "2", "--multi_gpu"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "align.json").read_text())["processes"] == 2
    one, two = untimed(undisturbed), untimed(out)
    assert len(one) == len(two) == 4
    for left, right in zip(one, two, strict=True):
        for name in left.keys() - {"explained_variance"}:
            assert right[name] == pytest.approx(left[name], rel=2e-3, abs=2e-4), (name, left["step"])
    from safetensors.torch import load

    ours, theirs = load(learner(undisturbed)), load(learner(out))
    for name, tensor in ours.items():
        assert torch.allclose(tensor, theirs[name], atol=2e-4), name


def test_a_finished_run_is_not_trained_again(
    undisturbed: Path, ucbench: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    before = {p: p.stat().st_mtime_ns for p in undisturbed.rglob("*") if p.is_file()}
    again = ucbench("align", *SMALL, "--max-steps", "4", "--out", str(undisturbed))
    assert again.returncode == 2
    assert "finished alignment" in again.stderr
    resumed = ucbench("align", *SMALL, "--max-steps", "4", "--out", str(undisturbed), "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert {p: p.stat().st_mtime_ns for p in undisturbed.rglob("*") if p.is_file()} == before


def test_checkpoints_of_other_runs_are_refused(
    base: Base, data: TrainingSet, small: Make, tmp_path: Path
) -> None:
    run(base, data, small(), tmp_path)
    before = learner(tmp_path)
    other = replace(load_base(MODEL), revision="sha256:0000000000000000")
    for stranger, settings, words in (
        (other, small(), "is a checkpoint of embedded:tiny-vlm"),
        (load_base(MODEL), small(lr=0.5), "was written with lr"),
    ):
        with pytest.raises(UcbenchError, match=words):
            run(stranger, data, settings, tmp_path, resume=True)
    fewer = replace(data, items=data.items[:100])
    with pytest.raises(UcbenchError, match="is a checkpoint of"):
        run(load_base(MODEL), fewer, small(), tmp_path, resume=True)
    assert learner(tmp_path) == before


def test_a_damaged_checkpoint_is_one_sentence(
    base: Base, data: TrainingSet, small: Make, tmp_path: Path
) -> None:
    run(base, data, small(), tmp_path)
    last = checkpoint.found(tmp_path / "checkpoints")[-1]
    (last / "optimiser.pt").write_bytes(b"nonsense")
    with pytest.raises(StoreError, match=r"step-000002 is damaged; remove it"):
        run(load_base(MODEL), data, small(), tmp_path, resume=True)


def test_two_checkpoints_are_kept(base: Base, data: TrainingSet, small: Make, tmp_path: Path) -> None:
    run(base, data, small(max_steps=4), tmp_path)
    assert [p.name for p in checkpoint.found(tmp_path / "checkpoints")] == ["step-000003", "step-000004"]


# What stops a run


def test_not_a_number_stops_with_the_last_good_checkpoint(
    base: Base, data: TrainingSet, small: Make, tmp_path: Path
) -> None:
    class Breaks(NamesTheColour):
        calls = 0

        def __call__(self, *args: Any, **kwargs: Any) -> Rewards:
            found = super().__call__(*args, **kwargs)
            self.calls += 1
            return replace(found, total=found.total * (np.nan if self.calls == 3 else 1.0))

    settings = small(max_steps=5, whiten=False)
    breaks = Breaks(settings.reward, judges.load("classifier"), settings.max_new_tokens)
    with pytest.raises(loop.AlignmentStoppedError, match=r"stopped at step 3: .*step-000002"):
        run(base, data, settings, tmp_path, reward=breaks)
    from safetensors.torch import load

    assert all(tensor.isfinite().all() for tensor in load(learner(tmp_path)).values())


def test_too_much_kl_stops(base: Base, data: TrainingSet, small: Make, tmp_path: Path) -> None:
    with pytest.raises(loop.AlignmentStoppedError, match=r"the KL .* nats an answer, above 0.001"):
        run(base, data, small(max_steps=9, lr=0.05, max_kl=0.001), tmp_path)


def test_unequal_shares_are_refused(base: Base, data: TrainingSet, small: Make, tmp_path: Path) -> None:
    with pytest.raises(UcbenchError, match="--batch-size 6 must be a multiple of 4"):
        run(base, data, small(batch_size=6), tmp_path)
    assert not tmp_path.joinpath("train.jsonl").exists()


def test_the_rate_warms_up_and_decays(small: Make) -> None:
    settings = small(warmup_steps=5)
    rates = [schedule.rate(step, 105, settings) for step in range(105)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[5] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.5)
    assert 0 < rates[-1] < 0.01
    assert rates[5:] == sorted(rates[5:], reverse=True)
    constant = small(warmup_steps=2, schedule="constant")
    assert [schedule.rate(step, 9, constant) for step in range(4)] == [0.5, 1.0, 1.0, 1.0]
