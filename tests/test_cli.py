"""Bad input at the command line: one clear sentence, a status that is not 0, no traceback, nothing lost."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MODEL = "embedded:tiny-vlm"
CHECKPOINT = Path(__file__).resolve().parents[1] / "ucbench" / "models" / "embedded" / "tiny-vlm"


def ucbench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ucbench.cli", *arguments],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def refused(*arguments: str) -> str:
    done = ucbench(*arguments)
    assert done.returncode not in (0, 1), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


def test_an_unknown_model_is_told_what_there_is(tmp_path: Path) -> None:
    message = refused("evaluate", "no-such-model", "--out", str(tmp_path))
    assert "no-such-model" in message
    assert MODEL in message
    assert not any(tmp_path.iterdir())


def test_an_unknown_track_is_told_what_there_is(tmp_path: Path) -> None:
    message = refused("evaluate", MODEL, "--track", "pictogram", "--out", str(tmp_path))
    assert "'pictogram'" in message
    assert "pictograms" in message


def test_an_unknown_judge_is_told_what_there_is(tmp_path: Path) -> None:
    message = refused("evaluate", MODEL, "--judge", "oracle", "--out", str(tmp_path))
    assert "oracle" in message
    assert "rules" in message


@pytest.mark.parametrize("damage", ["truncated", "no weights", "no config", "not json"])
def test_a_corrupt_checkpoint_is_named(damage: str, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(CHECKPOINT, tmp_path / "checkpoint"))
    weights, config = copy / "model.safetensors", copy / "config.json"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:100_000])
    elif damage == "no weights":
        weights.unlink()
    elif damage == "no config":
        config.unlink()
    else:
        config.write_text("{ not json")
    message = refused("evaluate", str(copy), "--out", str(tmp_path / "runs"))
    assert "checkpoint" in message


def test_a_journal_damaged_in_the_middle_is_left_as_it_is(tmp_path: Path) -> None:
    from ucbench import evaluate
    from ucbench.models import registry as models
    from ucbench.record import Decoding
    from ucbench.tracks import registry as tracks

    vlm = models.load(MODEL, decoding=Decoding())
    folder = evaluate.plan(vlm, tracks.load("pictograms"), out=tmp_path, limit=2).run.folder
    folder.mkdir(parents=True)
    journal = folder / "answers-0.jsonl"
    journal.write_text('{"sample_id": \nnonsense\n{}\n')
    message = refused("evaluate", MODEL, "--limit", "2", "--out", str(tmp_path))
    assert "damaged at line 1" in message
    assert journal.read_text() == '{"sample_id": \nnonsense\n{}\n'


def test_a_damaged_answers_file_is_named(scripted_store: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(scripted_store, tmp_path / "store"))
    answers = next(store.glob("*/*/answers.parquet"))
    answers.write_bytes(answers.read_bytes()[:1000])
    message = refused("judge", "run", str(answers.parent))
    assert "answers.parquet" in message
    assert "damaged" in message


def test_a_results_folder_that_cannot_be_written(tmp_path: Path) -> None:
    # A file where the folder should be: refused for every user, the administrator too.
    (tmp_path / "results").write_text("mine")
    message = refused("evaluate", MODEL, "--limit", "2", "--out", str(tmp_path / "results"))
    assert "--out" in message
    assert (tmp_path / "results").read_text() == "mine"


def test_an_unknown_run_names_the_runs_there_are(scripted_store: Path) -> None:
    message = refused("judge", "run", "nothing", "--out", str(scripted_store))
    known = next(scripted_store.glob("*/*/record.json")).parent.name
    assert known in message


def test_an_unknown_order_names_the_scores(scripted_store: Path) -> None:
    assert "balanced_accuracy" in refused("board", "show", str(scripted_store), "--order", "size")


def test_options_out_of_range_are_refused_by_name() -> None:
    done = ucbench("evaluate", MODEL, "--limit", "0")
    assert done.returncode == 2
    assert "--limit" in done.stderr
    assert "Traceback" not in done.stderr
