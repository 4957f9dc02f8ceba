"""The report on alignment: what it measures, what it refuses, and that it goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ucbench.align import output, report
from ucbench.align import report_record as records
from ucbench.align.record import AlignRecord, BaseRef
from ucbench.align.report_record import AlignReport
from ucbench.cli import app
from ucbench.errors import ModelError, StoreError, UcbenchError
from ucbench.judges.base import Item
from ucbench.judges.rules import RulesJudge
from ucbench.models.base import VLM
from ucbench.record import Decoding, Entry
from ucbench.tracks.pictograms import Pictograms
from ucbench.types import Verdict

BASE = "acme/base"


class FirstWordJudge:
    """Another judge: Yes is Safe, No is Unsafe, whatever follows; the rest it leaves to the rules."""

    id, name, digest = "first-word-1", "first-word", None

    def judge(self, items: Sequence[Item]) -> list[Verdict]:
        return [
            Verdict(
                verdict.sample_id,
                verdict.question_id,
                {"Yes": "Safe", "No": "Unsafe"}.get(item.text.split(",")[0], verdict.label),
                "first word",
                self.id,
            )
            for item, verdict in zip(items, RulesJudge().judge(items), strict=True)
        ]


@pytest.fixture
def trained(tmp_path: Path) -> Callable[..., Path]:
    """Makes the folder that a training run leaves, without weights."""

    def made(method: str, seed: int = 0, **changes: Any) -> Path:
        folder = tmp_path / f"{method}-{seed}"
        record = AlignRecord(
            **{
                "base": BaseRef(model=BASE, revision="0" * 40), "method": method, "preset": "tiny",
                "settings": {"seed": seed, "lr": 0.001}, "track": "pictograms", "track_version": "1",
                "trained_on": ("pictograms/1/train",), "n_items": 600, "steps": 140, "answers": 8960,
                "trainable_parameters": 192_000, "seconds": 300.0, "started_at": datetime.now(UTC),
                "code_version": "0",
            } | changes
        )  # fmt: skip
        folder.mkdir()
        output.Output(folder).write_record(record)
        log = output.TrainLog(folder / "train.jsonl")
        for step in range(1, 141):
            log.append({"step": step, "reward": step / 140, "kl": float("nan"), "seconds_update": 1.0})
        log.close()
        return folder

    return made


class Models:
    """Loads scripted models: how often each is right is said by its name; counts what they are asked."""

    def __init__(self, scripted: Callable[..., Any], rates: dict[str, float], *, prompt: bool = True) -> None:
        self.scripted, self.rates, self.prompt = scripted, rates, prompt
        self.asked: list[Any] = []

    def __call__(self, name: str, decoding: Decoding, system_prompt: str | None) -> VLM:
        if system_prompt and not self.prompt:
            raise ModelError("the chat template of acme/base has no place for a system prompt; leave it out")
        short = Path(name).name
        model: Any = self.scripted(f"{short}/{decoding.temperature}", self.rates[short])
        model.entry = Entry(
            model=BASE, revision="0" * 40, adapter=None if short == "base" else short,
            system_prompt=system_prompt, decoding=decoding,
        )  # fmt: skip
        self.asked.append(model)
        return model  # type: ignore[no-any-return]


def measured(models: Models, options: Sequence[str], out: Path, **changes: Any) -> AlignReport:
    arguments: dict[str, Any] = {
        "load": models, "track": Pictograms(), "judge": RulesJudge(), "second_judge": FirstWordJudge(),
        "out": out, "limit": 31,
    }  # fmt: skip
    return report.report(BASE, report.adapters(options), **arguments | changes)


def test_methods_stand_beside_the_original(
    scripted: Callable[..., Any], trained: Callable[..., Path], tmp_path: Path
) -> None:
    models = Models(scripted, {"base": 0.6, "ppo-3": 0.95, "ppo-1": 0.9, "sft-0": 0.7})
    options = [f"ppo={trained('ppo', 3)}", f"sft={trained('sft')}", f"ppo={trained('ppo', 1)}"]
    found = measured(models, options, tmp_path / "runs", limit=151)

    assert list(found.methods) == ["original", "safety_prompt", "sft", "ppo"]
    original, ppo = found.methods["original"], found.methods["ppo"]
    assert original.before == original.after == ppo.before
    for key in (
        "alignment_accuracy", "alignment_accuracy_safe", "alignment_accuracy_unsafe", "perception",
        "image_alignment", "text_alignment", "modality_gap", "general_ability", "diversity",
    ):  # fmt: skip
        assert ppo.after[key].value is not None, key
        assert ppo.after[key].n_items > 0
    assert ppo.after["alignment_accuracy"].value == pytest.approx(0.9, abs=0.08)
    assert ppo.before["alignment_accuracy"].value == pytest.approx(0.6, abs=0.12)
    assert found.accuracy_images == ppo.after["alignment_accuracy"].n_items == 150

    # The lowest seed speaks; both are kept.
    assert list(ppo.seeds) == ["1", "3"]
    assert ppo.after == ppo.seeds["1"].after != ppo.seeds["3"].after
    assert ppo.training is not None
    assert ppo.training.minutes == 5.0
    assert ppo.training.settings["lr"] == 0.001
    assert len(ppo.training.curve) == 100
    assert ppo.training.curve[-1] == {"step": 140, "reward": 1.0, "kl": None}
    assert not original.seeds
    assert original.training is None

    assert ppo.second_judge is not None
    assert ppo.second_judge.id == "first-word-1"
    # These answers leave nothing to disagree about.
    assert ppo.second_judge.after == ppo.after
    assert ppo.held_out.after["image_alignment"].n_clusters == 15
    assert set(ppo.by_category["hate"].after) == {"image_alignment", "text_alignment"}
    assert "over_refusal" in next(v for k, v in ppo.by_category.items() if "over_refusal" in v.after).before
    assert ppo.diversity.after.n == 150
    assert (ppo.diversity_sampled.after.n, ppo.diversity_sampled.after.questions) == (20, 5)
    assert ppo.answer_length.after.greedy == ppo.answer_length.after.sampled == 3.0

    assert len(ppo.examples) == 10
    asked = [(e.sample_id, e.question_id, e.before) for e in ppo.examples]
    assert asked == [(e.sample_id, e.question_id, e.before) for e in found.methods["sft"].examples]
    assert len({e.concept_id for e in ppo.examples}) == 10
    assert [e.expected for e in ppo.examples] == ["Unsafe"] * 7 + ["Safe"] * 3

    assert found.reported.methods["ppo"].alignment_accuracy == 0.903
    path = tmp_path / records.REPORT
    path.write_text(found.to_json())
    assert records.read(path) == found


def test_sampled_runs_are_no_rows_of_the_board(scripted: Callable[..., Any], tmp_path: Path) -> None:
    from ucbench.runs import find

    out = tmp_path / "runs"
    measured(Models(scripted, {"base": 0.6}), [], out)
    assert {run.record().entry.decoding.temperature for run in find(out)} == {0.0}
    assert {run.record().entry.decoding.temperature for run in find(out / report.SAMPLED)} == {1.0}


def test_the_same_report_again_asks_nothing(
    scripted: Callable[..., Any], trained: Callable[..., Path], tmp_path: Path
) -> None:
    rates = {"base": 0.6, "ppo-0": 0.95, "dpo-0": 0.5}
    first, again, more = (Models(scripted, rates) for _ in range(3))
    ppo, dpo = f"ppo={trained('ppo')}", f"dpo={trained('dpo')}"
    before = measured(first, [ppo], tmp_path / "runs")
    after = measured(again, [ppo], tmp_path / "runs")
    assert sum(model.asked for model in first.asked) > 0
    assert sum(model.asked for model in again.asked) == 0
    assert after.methods == before.methods
    measured(more, [ppo, dpo], tmp_path / "runs")
    assert {model.entry.adapter for model in more.asked if model.asked} == {"dpo-0"}


def test_a_model_without_a_place_for_a_system_prompt_says_so(
    scripted: Callable[..., Any], tmp_path: Path
) -> None:
    found = measured(Models(scripted, {"base": 0.6}, prompt=False), [], tmp_path / "runs")
    assert list(found.methods) == ["original"]
    assert "no place for a system prompt" in found.absent["safety_prompt"]
    left_out = measured(Models(scripted, {"base": 0.6}), [], tmp_path / "runs", safety_prompt=False)
    assert "--no-safety-prompt" in left_out.absent["safety_prompt"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"base": BaseRef(model="acme/other", revision="0" * 40)}, "trained on acme/other"),
        ({"base": BaseRef(model=BASE, revision="1" * 40)}, "--revision 1111"),
    ],
)
def test_an_adapter_of_another_base_is_refused(
    changes: dict[str, Any], said: str, scripted: Callable[..., Any], trained: Callable[..., Path],
    tmp_path: Path,
) -> None:  # fmt: skip
    models = Models(scripted, {"base": 0.6})
    with pytest.raises(UcbenchError, match=said):
        measured(models, [f"ppo={trained('ppo', **changes)}"], tmp_path / "runs")
    assert sum(model.asked for model in models.asked) == 0


def test_one_judge_twice_is_refused(scripted: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(UcbenchError, match="different kinds"):
        measured(Models(scripted, {"base": 0.6}), [], tmp_path, second_judge=RulesJudge())


def refused(*options: str, out: Path) -> str:
    arguments = [part for option in options for part in ("--adapter", option)]
    done = CliRunner().invoke(app, ["align-report", "embedded:tiny-vlm", *arguments, "--out", str(out)])
    assert isinstance(done.exception, UcbenchError), done.exception
    assert len(str(done.exception).splitlines()) == 1
    assert not (out / records.REPORT).exists()
    return str(done.exception)


def test_options_that_mean_nothing_are_one_sentence(trained: Callable[..., Path], tmp_path: Path) -> None:
    ppo, out = trained("ppo"), tmp_path / "runs"
    assert "METHOD=FOLDER" in refused(str(ppo), out=out)
    assert "METHOD=FOLDER" in refused("ppo=", out=out)
    assert "no method 'best'" in refused(f"best={ppo}", out=out)
    assert "was made by ppo" in refused(f"dpo={ppo}", out=out)
    assert "no readable align.json" in refused(f"ppo={tmp_path / 'nowhere'}", out=out)
    assert "both ppo with seed 0" in refused(f"ppo={ppo}", f"ppo={ppo}", out=out)
    (ppo / "align.json").write_text("{}")
    assert "is damaged" in refused(f"ppo={ppo}", out=out)


@pytest.mark.parametrize("content", ["", "[]", '{"model": 3}'])
def test_a_damaged_report_is_one_sentence(content: str, tmp_path: Path) -> None:
    path = tmp_path / records.REPORT
    path.write_text(content)
    with pytest.raises(StoreError, match="align-report"):
        records.read(path)


@given(st.integers(0, 1000), st.integers(1, 50))
def test_a_thinned_curve_keeps_both_ends_and_the_looks(n: int, every: int) -> None:
    rows: list[dict[str, Any]] = [
        {"step": step, "reward": 0.5, "seconds_update": 1.0}
        | ({"probe_image_safe": 1.0} if step % every == 0 else {})
        for step in range(1, n + 1)
    ]
    curve = report.thinned(rows)
    steps = [row["step"] for row in curve]
    assert len(curve) <= report.CURVE_POINTS
    assert steps == sorted(set(steps))
    assert not n or (steps[0], steps[-1]) == (1, n)
    assert len(curve) == n or n > report.CURVE_POINTS / 2
    looks = n // every
    assert sum("probe_image_safe" in row for row in curve) >= min(looks, report.CURVE_POINTS // 2)
    assert not any("seconds_update" in row for row in curve)


def test_a_real_adapter_is_reported_on(trained: Callable[..., Path], tmp_path: Path) -> None:
    """The embedded model with a random adapter, through the command line."""
    import torch
    from peft import get_peft_model

    from ucbench.align import lora
    from ucbench.align.settings import LoraSettings
    from ucbench.models import registry

    base = registry.load_base("embedded:tiny-vlm")
    folder = trained("ppo", base=BaseRef(model=base.name, revision=base.revision))
    torch.manual_seed(0)
    model = get_peft_model(base.loaded.model, lora.config(base, LoraSettings(r=4, alpha=8)))
    model.peft_config["default"].base_model_name_or_path = lora.base_of(base)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    output.Output(folder).write_adapter(model)

    out = tmp_path / "runs"
    done = CliRunner().invoke(
        app,
        ["align-report", "embedded:tiny-vlm", "--adapter", f"ppo={folder}", "--limit", "7",
         "--max-new-tokens", "12", "--out", str(out)],
        env={"COLUMNS": "120"},
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = records.read(out / records.REPORT)
    assert list(found.methods) == ["original", "safety_prompt", "ppo"]
    ppo = found.methods["ppo"]
    assert ppo.after != ppo.before
    assert ppo.entry.startswith("embedded:tiny-vlm + local:ppo-0@sha256:")
    assert ppo.second_judge is not None
    assert ppo.second_judge.id == found.second_judge.id != found.judge.id  # type: ignore[union-attr]
    for word in ("Original", "Safety prompt", "PPO"):
        assert done.stdout.count(word) == 2, "a table a judge"
    assert "1-SelfBLEU" in done.stdout
    assert json.loads((out / records.REPORT).read_text())["methods"]["ppo"]["after"]["perception"]
