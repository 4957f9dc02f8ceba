"""Bad input at the command line: one clear sentence, a status that is not 0, no traceback, nothing lost."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def test_what_can_be_refused_early_is_refused_before_anything_large_is_loaded(tmp_path: Path) -> None:
    """Each case in a fork of one process: neither torch nor transformers may be there when it is told."""
    bad = tmp_path / "bad.tsv"
    bad.write_text("index\timage\n1\tx\n")
    here = {
        f"evaluate {MODEL} --dtype float8": "'float8' is no dtype; use one of float32",
        f"evaluate {MODEL} --device gpu": "'gpu' is no device; use cpu",
        f"evaluate {MODEL} --track mme --data {bad}": "lacks the columns question, answer, category",
        f"evaluate {MODEL} --track mme --judge classifier --data {bad}": "lacks the columns question",
        f"evaluate {MODEL} --out {bad}": f"{bad} is a file; choose another folder with --out",
        f"parity {MODEL} --device cuda:x": "'cuda:x' is no device",
        f"parity {MODEL} --track mme --data {bad}": "lacks the columns question, answer, category",
        f"align {MODEL} --dtype float8": "'float8' is no dtype",
        f"align {MODEL} --device gpu": "'gpu' is no device",
        f"align {MODEL} --out {bad}/below": f"cannot write {bad}/below: {bad} is a file",
        f"align {MODEL} --set lora.r=abc": "--set lora.r=abc must be a whole number",
        f"align {MODEL} --judge foo": "choose one of classifier, classifier:official, "
        "classifier:PERCEPTION,ALIGNMENT with --judge",
        f"align {MODEL} --judge contains": "gives no probabilities of Safe and Unsafe, so it cannot reward",
        f"align-report {MODEL} --dtype int4": "'int4' is no dtype",
        f"align-report {MODEL} --second-judge foo": "unknown judge 'foo'",
        f"import-answers {tmp_path} --model x --out {bad}": "is a file; choose another folder",
    }
    script = """
import os, sys
import pandas
import ucbench.evaluate, ucbench.parity, ucbench.align.run, ucbench.align.report, ucbench.importing.run
from ucbench.cli import main
assert "torch" not in sys.modules
for line in sys.stdin.read().splitlines():
    if os.fork() == 0:
        sys.argv = ["ucbench", *line.split()]
        try:
            main()
        except SystemExit as error:
            loaded = {"torch", "transformers", "datasets"} & set(sys.modules)
            print(error.code, *sorted(loaded), file=sys.stderr, flush=True)
        os._exit(0)
    os.wait()
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        input="\n".join(here), capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    told = done.stderr.splitlines()
    assert len(told) == 2 * len(here), done.stderr
    for (command, words), message, status in zip(here.items(), told[::2], told[1::2], strict=True):
        assert message.startswith("error: "), command
        assert words in message, command
        assert status == "2", f"{command} has loaded more than its error needs"
    assert [path.name for path in tmp_path.iterdir()] == ["bad.tsv"]


def test_a_folder_without_a_run_is_told_where_was_looked(refused: Refused, tmp_path: Path) -> None:
    message = refused("judge", "run", str(tmp_path), "--out", str(tmp_path / "runs"))
    assert f"{tmp_path} is no run folder, since there is no {tmp_path / 'record.json'}; and" in message
    assert f"no run '{tmp_path}' in {tmp_path / 'runs'}" in message
    (tmp_path / "runs" / "entry" / "0123").mkdir(parents=True)
    (tmp_path / "runs" / "entry" / "0123" / "record.json").write_text("{}")
    message = refused("judge", "run", str(tmp_path / "runs" / "entry"), "--out", str(tmp_path / "other"))
    assert f"(it holds the runs {tmp_path / 'runs' / 'entry' / '0123'})" in message


def commands() -> list[tuple[str, ...]]:
    """Every command that does something, with the groups before it."""
    from typer.main import get_command

    found: list[tuple[str, ...]] = []

    def walk(command: Any, names: tuple[str, ...]) -> None:
        below = getattr(command, "commands", {})
        found.extend([] if below else [names])
        for name, inner in below.items():
            walk(inner, (*names, name))

    walk(get_command(app), ())
    return found


@pytest.mark.parametrize("names", commands(), ids=" ".join)
def test_help_shows_the_whole_name_of_every_option_in_80_columns(names: tuple[str, ...]) -> None:
    from typer.main import get_command

    command: Any = get_command(app)
    for name in names:
        command = command.commands[name]
    shown = CliRunner().invoke(app, [*names, "--help"], env={"COLUMNS": "80", "TERM": "dumb"}).stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    for parameter in command.params:
        for option in (*parameter.opts, *parameter.secondary_opts):
            assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", shown), option


def test_a_folder_without_runs_makes_no_board(refused: Refused, tmp_path: Path) -> None:
    assert "there are no runs in" in refused("board", "build", str(tmp_path))
    assert not any(tmp_path.iterdir())


def test_a_port_that_is_taken_is_named(refused: Refused) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert f"port {port} is taken" in refused("site", "--host", "127.0.0.1", "--port", port)
