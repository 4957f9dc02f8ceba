"""Bad input at the command line: one clear sentence, a status that is not 0, no traceback, nothing lost."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from ucbench import reported
from ucbench.cli import app
from ucbench.errors import UcbenchError
from ucbench.verify import verify

Refused = Callable[..., str]
MODEL = "embedded:tiny-vlm"
CHECKPOINT = Path(__file__).resolve().parents[1] / "ucbench" / "models" / "embedded" / "tiny-vlm"


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ucbench.cli", *arguments],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode not in (0, 1), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.fixture
def refused(ucbench: Callable[..., subprocess.CompletedProcess[str]]) -> Refused:
    """Runs a command that must be refused; returns its sentence."""
    return lambda *arguments: one_sentence(ucbench(*arguments))


def test_in_a_process_of_its_own_it_is_one_sentence_too(tmp_path: Path) -> None:
    message = one_sentence(command("evaluate", "no-such-model", "--out", str(tmp_path)))
    assert "no-such-model" in message


def test_an_unknown_model_is_told_what_there_is(refused: Refused, tmp_path: Path) -> None:
    message = refused("evaluate", "no-such-model", "--out", str(tmp_path))
    assert "no-such-model" in message
    assert MODEL in message
    assert not any(tmp_path.iterdir())


def test_an_unknown_track_is_told_what_there_is(refused: Refused, tmp_path: Path) -> None:
    message = refused("evaluate", MODEL, "--track", "pictogram", "--out", str(tmp_path))
    assert "'pictogram'" in message
    assert "pictograms" in message


def test_an_unknown_judge_is_told_what_there_is(refused: Refused, tmp_path: Path) -> None:
    message = refused("evaluate", MODEL, "--judge", "oracle", "--out", str(tmp_path))
    assert "oracle" in message
    assert "rules" in message


@pytest.mark.parametrize("damage", ["truncated", "no weights", "no config", "not json"])
def test_a_corrupt_checkpoint_is_named(refused: Refused, damage: str, tmp_path: Path) -> None:
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


def test_a_journal_damaged_in_the_middle_is_left_as_it_is(refused: Refused, tmp_path: Path) -> None:
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


def test_a_damaged_answers_file_is_named(refused: Refused, scripted_store: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(scripted_store, tmp_path / "store"))
    answers = next(store.glob("*/*/answers.parquet"))
    answers.write_bytes(answers.read_bytes()[:1000])
    message = refused("judge", "run", str(answers.parent))
    assert "answers.parquet" in message
    assert "damaged" in message


def test_a_results_folder_that_cannot_be_written(refused: Refused, tmp_path: Path) -> None:
    # A file where the folder should be: refused for every user, the administrator too.
    (tmp_path / "results").write_text("mine")
    message = refused("evaluate", MODEL, "--limit", "2", "--out", str(tmp_path / "results"))
    assert "--out" in message
    assert (tmp_path / "results").read_text() == "mine"


def test_an_unknown_run_names_the_runs_there_are(refused: Refused, scripted_store: Path) -> None:
    message = refused("judge", "run", "nothing", "--out", str(scripted_store))
    known = next(scripted_store.glob("*/*/record.json")).parent.name
    assert known in message


def test_an_unknown_order_names_the_scores(refused: Refused, scripted_store: Path) -> None:
    assert "balanced_accuracy" in refused("board", "show", str(scripted_store), "--order", "size")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--limit", "0"),
        ("--temperature", "inf"),
        ("--seed", "9" * 23),
        ("--draw", "9" * 23),
        ("--top-p", "nan"),
    ],
)
def test_options_out_of_range_are_refused_by_name(option: str, value: str) -> None:
    done = CliRunner().invoke(app, ["evaluate", MODEL, option, value])
    assert done.exit_code == 2
    assert option in done.stderr


def invoked(*arguments: str) -> str:
    """The one sentence of a command run in this process."""
    done = CliRunner().invoke(app, list(arguments))
    assert isinstance(done.exception, UcbenchError), done.exception
    assert len(str(done.exception).splitlines()) == 1
    return str(done.exception)


def test_a_file_or_a_folder_that_is_not_there_is_not_blamed_on_the_network(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert "give the checkpoint's folder" in invoked("evaluate", str(tmp_path / "config.json"))
    assert "no folder models/mistyped" in invoked("evaluate", "models/mistyped")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--device", "meta"), "cpu, cuda"),
        (("--device", "abacus"), "cpu, cuda"),
        (("--dtype", "int3"), "float32"),
        (("--system-prompt", "\udcff"), "UTF-8"),
        (("--out", "x" * 300), "--out"),
    ],
)
def test_other_words_that_mean_nothing(arguments: tuple[str, str], expected: str, tmp_path: Path) -> None:
    assert expected in invoked("evaluate", MODEL, "--limit", "1", "--out", str(tmp_path), *arguments)


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert "there is no store" in invoked("board", "build", str(tmp_path / "typo"))
    assert not (tmp_path / "typo").exists()


def test_an_unknown_track_names_those_on_the_board(scripted_store: Path) -> None:
    assert "pictograms" in invoked("board", "show", str(scripted_store), "--track", "zzz")


def test_reported_figures_cannot_be_judged(tmp_path: Path) -> None:
    run = reported.write(tmp_path)[0]
    for command in (("judge", "run"), ("judge", "agree")):
        assert "no answers to judge" in invoked(*command, str(run.folder))


@pytest.mark.parametrize("damage", ["no options", "no text", "doubled", "emptied"])
def test_answers_of_the_wrong_content_are_named(damage: str, scripted_store: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(scripted_store, tmp_path / "store"))
    path = next(store.glob("*/*/answers.parquet"))
    frame = pd.read_parquet(path)
    if damage.startswith("no "):
        frame[damage[3:]] = frame[damage[3:]].where(frame.index > 0, None)
    frame = {"doubled": pd.concat([frame, frame[:1]]), "emptied": frame[:0]}.get(damage, frame)
    frame.to_parquet(path)
    message = invoked("judge", "run", str(path.parent))
    assert "answers.parquet is damaged" in message
    assert "evaluate again" in message
    checks = verify([store])
    assert len(checks) == 3, "the other runs are still checked"
    assert sum(check.rejudged is True for check in checks) == 2


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"run_id": 3}'])
def test_a_damaged_record_says_what_to_do(content: str, scripted_store: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(scripted_store, tmp_path / "store"))
    next(store.glob("*/*/record.json")).write_text(content)
    assert "away and evaluate again" in invoked("board", "build", str(store))
