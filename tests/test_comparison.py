"""Two entries side by side: by the package and on the command line; what cannot be compared says why."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ucbench.comparison import ahead, compare, furthest, told_apart, why_not
from ucbench.errors import UcbenchError
from ucbench.joined import Part
from ucbench.metrics.compare import Difference
from ucbench.metrics.paired import Contrast
from ucbench.record import JudgeRef
from ucbench.runs import find

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def parts(scripted_store: Path) -> dict[str, Part]:
    found = (Part(run, run.record()) for run in find(scripted_store))
    return {part.record.entry.model.removeprefix("acme/"): part for part in found}


def contrast(value: float, p: float | None = 0.01) -> Contrast:
    return Contrast(0.5, 0.5 + value, Difference(value, None, None, p), (1, 1))


def test_paired_differences_of_whole_runs(parts: dict[str, Part]) -> None:
    found = compare([parts["fair-vlm"]], [parts["sharp-vlm"]], within=("image_alignment",))
    scores = [parts[name].record.scores.overall for name in ("fair-vlm", "sharp-vlm")]
    assert found.n_questions == parts["fair-vlm"].record.track.n_questions == found.asked[0]
    assert (found.n_concepts, dict(found.judges)) == (75, {"pictograms": "rules-1"})
    for key, one in found.scores.items():
        assert one.first == pytest.approx(scores[0][key].value, abs=1e-8)
        assert one.second == pytest.approx(scores[1][key].value, abs=1e-8)
    assert "diversity" not in found.scores
    assert "accuracy" not in found.scores  # no score of this track
    assert len(found.by_concept["image_alignment"]) == 75
    assert len(found.by_category["image_alignment"]) == 9
    apart = told_apart(found.scores)
    assert apart["image_alignment"]
    assert ahead("image_alignment", found.scores["image_alignment"]) == "second"
    assert ahead("over_refusal", found.scores["over_refusal"]) == "second"


def test_what_cannot_be_compared(parts: dict[str, Part]) -> None:
    one, other = parts["fair-vlm"].record, parts["sharp-vlm"].record
    assert why_not(one, other) is None

    def changed(**track: Any) -> str | None:
        return why_not(one, other.model_copy(update={"track": other.track.model_copy(update=track)}))

    assert "the track pictograms, acme/sharp-vlm the track safe" in str(changed(id="safe"))
    assert "other questions or other pictures" in str(changed(version="2"))
    assert changed(version="1-files-abc") is None  # answers from elsewhere name no pictures
    assert "other questions" in str(changed(version="1-own-options"))
    assert "draw 3" in str(changed(draw=3))
    judged = other.model_copy(update={"judge": JudgeRef(id="llm-1", name="llm")})
    assert "a difference could be the judges' own" in str(why_not(one, judged))
    assert "no answers behind them" in str(why_not(one, other.model_copy(update={"provenance": "reported"})))
    with pytest.raises(UcbenchError, match=r"judges' own; compare runs of one track"):
        compare([parts["fair-vlm"]], [replace(parts["sharp-vlm"], record=judged)])


def test_holm_is_over_all_that_is_asked_together() -> None:
    found = {"a": contrast(0.1, 0.02), "b": contrast(0.2, 0.03), "c": contrast(0.1, None)}
    assert told_apart(found) == {"a": True, "b": True}
    assert told_apart({"a": found["a"]}) == {"a": True}
    assert told_apart({"b": contrast(0.1, 0.03), "c": contrast(0.1, 0.04), "d": contrast(0.1, 0.9)}) == {
        "b": False, "c": False, "d": False,
    }  # fmt: skip


def test_the_better_one_by_the_direction_of_the_score() -> None:
    assert ahead("perception", contrast(0.1)) == "second"
    assert ahead("recognised_called_safe", contrast(0.1)) == "first"
    assert ahead("perception", contrast(0.0)) == "neither"
    gap = Contrast(0.3, -0.1, Difference(-0.4, None, None, None), (1, 1))
    assert ahead("modality_gap", gap) == "second"


def test_the_furthest_first() -> None:
    found = {"b": contrast(-0.4), "a": contrast(0.4), "c": contrast(0.9)}
    assert [name for name, _ in furthest(found)] == ["c", "a", "b"]


def test_on_the_command_line(ucbench: Cli, scripted_store: Path, parts: dict[str, Part]) -> None:
    ids = [parts[name].record.run_id for name in ("fair-vlm", "sharp-vlm")]
    shown = ucbench(
        "compare", *ids, "--out", str(scripted_store), "--by-concept", "image_alignment", "--most", "3"
    )
    assert shown.returncode == 0, shown.stderr
    assert "A: acme/fair-vlm, B: acme/sharp-vlm" in shown.stdout
    assert "asked of both: 8,850 questions of pictograms; read by rules-1" in shown.stdout
    told = json.loads(ucbench("compare", *ids, "--out", str(scripted_store), "--json").stdout)
    assert told["scores"]["image_alignment"]["apart"] is True
    assert told["scores"]["image_alignment"]["difference"] == pytest.approx(
        told["scores"]["image_alignment"]["second"] - told["scores"]["image_alignment"]["first"]
    )
    refused = ucbench("compare", ids[0], "nothing", "--out", str(scripted_store))
    assert refused.returncode == 2
    assert "there is no run 'nothing'" in refused.stderr
    wrong = ucbench("compare", *ids, "--out", str(scripted_store), "--by-concept", "charm")
    assert "there is no score called 'charm'" in wrong.stderr
