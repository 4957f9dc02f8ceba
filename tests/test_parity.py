"""Parity on the embedded model: agreement where there is agreement, and differences told as they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from ucbench import evaluate as engine
from ucbench import parity as comparing
from ucbench.cli import app
from ucbench.errors import StoreError, UcbenchError
from ucbench.judges import registry as judges
from ucbench.models import registry as models
from ucbench.models.local import LocalVLM
from ucbench.parity import Parity
from ucbench.record import Decoding
from ucbench.runs import Run
from ucbench.tracks import registry as tracks
from ucbench.types import Answer, Question, Sample

MODEL = "embedded:tiny-vlm"
DECODING = Decoding(max_new_tokens=24)
WAYS = ["one_at_a_time", "batched", "shared_prefix"]


@pytest.fixture(scope="module")
def load() -> Callable[..., LocalVLM]:
    kept: dict[str, LocalVLM] = {}

    def loader(dtype: str = "float32") -> LocalVLM:
        if dtype not in kept:
            vlm = models.load(MODEL, decoding=DECODING, dtype=dtype, device="cpu")
            assert isinstance(vlm, LocalVLM)
            kept[dtype] = vlm
        return kept[dtype]

    return loader


def measure(vlm: LocalVLM, out: Path, n: int = 3, **options: Any) -> tuple[Parity, Path]:
    return comparing.parity(vlm, tracks.load("pictograms"), judges.load("rules"), out=out, n=n, **options)


def test_in_fp32_all_ways_agree(load: Callable[..., LocalVLM], tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    found, path = measure(load(), tmp_path, batch_size=8, progress=lambda *at: seen.append(at))
    assert [way.name for way in found.ways] == WAYS
    assert [(pair.first, pair.second) for pair in found.pairs] == [
        (WAYS[0], WAYS[1]), (WAYS[0], WAYS[2]), (WAYS[1], WAYS[2]),
    ]  # fmt: skip
    for pair in found.pairs:
        assert pair.n == pair.identical == found.track.n_questions
        assert (pair.token_agreement, pair.flips, pair.differences) == (1.0, 0, ())
        assert set(pair.score_changes.values()) <= {0.0, None}
    assert len({way.tokens for way in found.ways}) == 1
    assert all(way.seconds > 0 for way in found.ways)
    assert seen[-1] == (3 * found.track.n_questions, 3 * found.track.n_questions)
    # It lies where the record of the same entry on the whole track is or will be.
    plan = engine.plan(load(), tracks.load("pictograms"), out=tmp_path)
    assert path == plan.run.folder / "parity.json"
    assert comparing.load(plan.run) == found
    assert not plan.run.exists()


def test_the_scores_are_those_of_an_evaluation(load: Callable[..., LocalVLM], tmp_path: Path) -> None:
    # Without the blank picture, whose questions parity thins out, one picture's scores can be compared.
    found, _ = measure(load(), tmp_path, n=1)
    record = engine.evaluate(load(), tracks.load("pictograms"), judges.load("rules"), out=tmp_path, limit=1)
    assert found.track.n_questions == record.track.n_questions
    for way in found.ways:
        assert way.scores == {key: score.value for key, score in record.scores.overall.items()}


class OtherWords(LocalVLM):
    """An engine that gets one answer wrong: it says the second-best token at the second place."""

    def __init__(self, honest: LocalVLM, sample: Sample, question: Question) -> None:
        vars(self).update(vars(honest))
        self.wrong = sample.id, question.id

    def read(self, sample: Sample, question: Question, tokens: list[int]) -> Answer:
        if self.on_tokens and (sample.id, question.id) == self.wrong:
            tokens = [tokens[0], tokens[1] + 1, *tokens[2:]]
        return super().read(sample, question, tokens)


def test_a_difference_is_told_with_its_place_and_its_logits(
    load: Callable[..., LocalVLM], tmp_path: Path
) -> None:
    sample = tracks.load("pictograms").samples(limit=2)[0]
    question = next(q for q in sample.questions if q.kind == "image_alignment")
    vlm = OtherWords(load(), sample, question)
    found, _ = measure(vlm, tmp_path, n=2)
    same, *others = found.pairs
    assert same.differences == ()
    for pair in others:
        assert pair.identical == pair.n - 1
        assert 0.5 < pair.token_agreement < 1
        (difference,) = pair.differences
        assert (difference.sample_id, difference.question_id) == (sample.id, question.id)
        assert difference.token == pair.median_token == 1
        assert difference.margin == pair.median_margin == pytest.approx(gap(vlm, sample, question), abs=1e-4)


def gap(vlm: LocalVLM, sample: Sample, question: Question) -> float:
    """The distance of the two logits by a plain forward pass."""
    inputs = vlm.processor(
        images=sample.image.load(), text=vlm.prompts.render(question.text),
        add_special_tokens=vlm.prompts.add_special_tokens, return_tensors="pt",
    )  # fmt: skip
    with torch.inference_mode():
        begin = vlm.model(**inputs).logits[0, -1].argmax()
        inputs["input_ids"] = torch.cat([inputs["input_ids"], begin[None, None]], dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        logits = vlm.model(**inputs).logits[0, -1]
    best = int(logits.argmax())
    return float(logits[best] - logits[best + 1])


def test_verdicts_and_scores_that_turn_are_counted(load: Callable[..., LocalVLM], tmp_path: Path) -> None:
    """All answers of the engine become one and the same: flips are exactly the verdicts that differ."""

    class Parrot(LocalVLM):
        def __init__(self, honest: LocalVLM) -> None:
            vars(self).update(vars(honest))
            self.words = honest.processor.tokenizer("Yes.", add_special_tokens=False)["input_ids"]

        def read(self, sample: Sample, question: Question, tokens: list[int]) -> Answer:
            new = self.words if self.on_tokens else tokens
            return super().read(sample, question, new)

    found, _ = measure(Parrot(load()), tmp_path)
    before, _, after = found.ways
    pair = found.pairs[1]
    assert after.scores["image_alignment"] == after.scores["text_alignment"] == 0.0
    assert pair.flips == sum(difference.flipped for difference in pair.differences) > 0
    for key, change in pair.score_changes.items():
        first, second = before.scores[key], after.scores[key]
        assert change == (None if first is None or second is None else pytest.approx(second - first))
    assert pair.score_changes["text_alignment"] == pytest.approx(-before.scores["text_alignment"])  # type: ignore[operator]


def test_in_bf16_differences_are_near_ties(load: Callable[..., LocalVLM], tmp_path: Path) -> None:
    found, _ = measure(load("bfloat16"), tmp_path)
    assert found.entry.dtype == "bfloat16"
    for pair in found.pairs:
        assert pair.identical + len(pair.differences) == pair.n
        assert pair.flips <= len(pair.differences)
        assert all(d.margin is None or d.margin < 0.5 for d in pair.differences)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    sampled = models.load(MODEL, decoding=Decoding(temperature=1.0), device="cpu")
    assert isinstance(sampled, LocalVLM)
    with pytest.raises(UcbenchError, match="greedy"):
        measure(sampled, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert comparing.load(run) is None
    (tmp_path / "parity.json").write_text("{}")
    with pytest.raises(StoreError, match="measure it again"):
        comparing.load(run)


def test_the_command_prints_and_writes(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["parity", MODEL, "--n", "2", "--max-new-tokens", "8", "--out", str(tmp_path)]
    )
    assert done.exit_code == 0, (done.output, done.exception)
    assert all(way in done.output for way in WAYS)
    (path,) = tmp_path.glob("*/*/parity.json")
    assert Parity.model_validate(json.loads(path.read_bytes())).entry.model == MODEL
